//! Clocks for vaults in tests: one that the test moves, and one that reports each wait.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::component::{Clock, SystemClock};
use strongroom_testkit::ManualClock;

use super::process::print_line;

/// A shared manual clock that records how long threads slept.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedClock {
    clock: Arc<ManualClock>,
    sleeps: Arc<Mutex<Vec<Duration>>>,
}

impl SharedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn jump(&self, millis: i64) {
        self.clock.jump(millis);
    }

    pub(crate) fn sleeps(&self) -> Vec<Duration> {
        self.sleeps.lock().clone()
    }
}

impl Clock for SharedClock {
    fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.sleeps.lock().push(duration);
        self.clock.sleep(duration);
    }
}

/// The system's clock; a worker prints "waiting" each time the vault sleeps on it.
#[derive(Debug)]
pub(crate) struct ReportingClock {
    clock: SystemClock,
}

impl ReportingClock {
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new() }
    }
}

impl Clock for ReportingClock {
    fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        print_line("waiting");
        self.clock.sleep(duration);
    }
}
