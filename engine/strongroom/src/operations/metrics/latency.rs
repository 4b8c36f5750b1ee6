//! A histogram of durations.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest duration that is recorded exactly: an hour, in microseconds.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// A histogram of durations.
///
/// It is exact to two digits, from 1 µs to an hour. Shorter and longer durations count as these
/// limits.
#[derive(Clone)]
pub struct Latencies {
    micros: Histogram<u64>,
}

impl Latencies {
    pub(super) fn new() -> Self {
        let micros = Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("bounds are in order");
        Self { micros }
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// Returns the shortest duration; zero if there is none.
    pub fn least(&self) -> Duration {
        self.when_any(|| self.micros.min())
    }

    /// Returns the longest duration; zero if there is none.
    pub fn most(&self) -> Duration {
        self.when_any(|| self.micros.max())
    }

    /// Returns a quantile of the durations.
    ///
    /// The fraction `quantile` of all durations did not exceed the result. `quantile` is from 0 to
    /// 1: 0.5 is the median. A value outside is moved to the nearer limit. Zero if there is no
    /// duration.
    pub fn quantile(&self, quantile: f64) -> Duration {
        self.when_any(|| self.micros.value_at_quantile(quantile))
    }

    fn when_any(&self, micros: impl FnOnce() -> u64) -> Duration {
        if self.count() == 0 { Duration::ZERO } else { Duration::from_micros(micros()) }
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count())
            .field("median", &self.quantile(0.5))
            .field("most", &self.most())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_digits() {
        let mut latencies = Latencies::new();
        assert_eq!((latencies.count(), latencies.quantile(0.5)), (0, Duration::ZERO));
        for millis in 1..=1_000 {
            latencies.record(Duration::from_millis(millis));
        }
        let median = latencies.quantile(0.5).as_secs_f64();
        assert!((median - 0.5).abs() < 0.01, "{median}");
        assert!((latencies.quantile(0.99).as_secs_f64() - 0.99).abs() < 0.01);
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 1_002);
        assert!(latencies.most() >= Duration::from_secs(3_600));
        assert_eq!(latencies.quantile(7.0), latencies.most());
    }
}
