//! A time for retention to count from, which no clock that is put back makes earlier.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_base::component::Clock;

/// The latest time that was seen, carried on by the monotonic clock.
#[derive(Debug)]
pub(crate) struct RetentionClock {
    clock: Arc<dyn Clock>,
    /// Milliseconds since the Unix epoch, and when that was by the monotonic clock.
    latest: Mutex<(u64, Duration)>,
}

impl RetentionClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let latest = Mutex::new((clock.unix_millis(), clock.monotonic()));
        Self { clock, latest }
    }

    /// Now, or later: no earlier than any time it told or was told, plus what has passed since.
    pub(super) fn at_least(&self, told_unix_millis: u64, now_unix_millis: u64) -> u64 {
        let monotonic = self.clock.monotonic();
        let mut latest = self.latest.lock();
        let passed = u64::try_from(monotonic.saturating_sub(latest.1).as_millis());
        let carried = latest.0.saturating_add(passed.unwrap_or(u64::MAX));
        let now = now_unix_millis.max(told_unix_millis).max(carried);
        *latest = (now, monotonic);
        now
    }
}
