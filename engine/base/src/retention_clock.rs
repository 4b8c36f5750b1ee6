//! The clock for retention, which never runs backwards.

use std::sync::Arc;
use std::time::Duration;

use crate::component::Clock;
use parking_lot::Mutex;

/// The latest known time, advanced by the monotonic clock.
#[derive(Debug)]
pub struct RetentionClock {
    clock: Arc<dyn Clock>,
    /// Milliseconds since the Unix epoch, and the monotonic time at that moment.
    latest: Mutex<(u64, Duration)>,
}

impl RetentionClock {
    /// Makes a clock that begins at the present time of `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let latest = Mutex::new((clock.unix_millis(), clock.monotonic()));
        Self { clock, latest }
    }

    /// Returns a present time that never goes backwards.
    ///
    /// It is at least each time it returned or got, plus the time since then.
    pub fn at_least(&self, given_unix_millis: u64, now_unix_millis: u64) -> u64 {
        let monotonic = self.clock.monotonic();
        let mut latest = self.latest.lock();
        let passed = u64::try_from(monotonic.saturating_sub(latest.1).as_millis());
        let carried = latest.0.saturating_add(passed.unwrap_or(u64::MAX));
        let now = now_unix_millis.max(given_unix_millis).max(carried);
        *latest = (now, monotonic);
        now
    }
}
