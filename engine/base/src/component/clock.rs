//! The clock: wall time for people, monotonic time for waits, and sleeping.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
///
/// Wall time may jump in either direction. It is only displayed, or compared with a tolerance.
/// Every bound on a wait uses the monotonic clock.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns milliseconds since the Unix epoch, UTC; 0 for a system clock set before it.
    fn unix_millis(&self) -> u64;

    /// Returns the time since some fixed moment of this process. It never decreases.
    fn monotonic(&self) -> Duration;

    /// Blocks the calling thread for at least `duration`.
    fn sleep(&self, duration: Duration);
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Makes a clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods)] // The ban in clippy.toml names this component.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::disallowed_methods)] // The ban in clippy.toml names this component.
impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that moves only by its methods or by sleeping threads.
///
/// Clones share one time.
#[cfg(feature = "testing")]
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    elapsed_millis: std::sync::Arc<std::sync::atomic::AtomicU64>,
    /// Milliseconds by which wall time was set forward or back.
    jumped_millis: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

#[cfg(feature = "testing")]
impl ManualClock {
    /// Wall time of a new manual clock: 2026-01-01T00:00:00Z, in milliseconds.
    pub const START_UNIX_MILLIS: u64 = 1_767_225_600_000;

    /// Makes a clock that shows [`Self::START_UNIX_MILLIS`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_millis.fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
    }

    /// Sets wall time forward or back, and leaves monotonic time unchanged.
    pub fn jump(&self, millis: i64) {
        self.jumped_millis.fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
    }

    fn elapsed(&self) -> u64 {
        self.elapsed_millis.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(feature = "testing")]
impl Clock for ManualClock {
    fn unix_millis(&self) -> u64 {
        let jumped = self.jumped_millis.load(std::sync::atomic::Ordering::SeqCst);
        (Self::START_UNIX_MILLIS + self.elapsed()).saturating_add_signed(jumped)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.elapsed())
    }

    /// Returns at once, after advancing the time by `duration`.
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
