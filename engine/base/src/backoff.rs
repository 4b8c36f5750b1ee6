//! Pauses between tries. They grow up to a maximum and can be randomised.
//!
//! A [`Backoff`] is the plan. [`Pauses`] follows the plan for one call, and ends after a number of
//! tries or after a time. A [`Jitter`] randomises pauses, so that processes which wait for the same
//! thing do not retry at the same moment.
//!
//! ```
//! use std::time::Duration;
//! use strongroom_base::backoff::{Backoff, Pauses};
//! use strongroom_base::component::SystemClock;
//!
//! const PLAN: Backoff = Backoff::new(Duration::from_millis(1), 2.0, Duration::from_millis(4));
//!
//! let clock = SystemClock::new();
//! let mut pauses = Pauses::new(PLAN, &clock).tries(4);
//! let mut lengths = Vec::new();
//! while let Some(pause) = pauses.next_pause()? {
//!     lengths.push(pause.as_millis());
//! }
//! assert_eq!(lengths, [1, 2, 4]);
//! assert_eq!(pauses.attempts(), 4);
//! # Ok::<(), strongroom_base::Error>(())
//! ```

use std::time::Duration;

use crate::component::{Clock, Entropy};
use crate::error::Result;

/// Pauses that grow by a factor, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    longest: Duration,
}

impl Backoff {
    /// Plans pauses from `first` to `longest`, each `factor` times the one before.
    ///
    /// # Panics
    ///
    /// If the factor is not a finite number of at least 1. The compiler refuses such a constant.
    pub const fn new(first: Duration, factor: f64, longest: Duration) -> Self {
        match Self::checked(first, factor, longest) {
            Some(plan) => plan,
            None => panic!("pauses grow by a finite factor of at least 1"),
        }
    }

    /// Does the same; returns `None` if the factor is not a finite number of at least 1.
    pub const fn checked(first: Duration, factor: f64, longest: Duration) -> Option<Self> {
        if !factor.is_finite() || factor < 1.0 {
            return None;
        }
        // Comparing durations is not const.
        let first = if first.as_nanos() > longest.as_nanos() { longest } else { first };
        Some(Self { first, factor, longest })
    }

    /// Returns the pause after `attempts` tries, without jitter; zero before the first try.
    pub fn after(&self, attempts: u32) -> Duration {
        if attempts == 0 || self.first.is_zero() {
            return Duration::ZERO;
        }
        let steps = i32::try_from(attempts - 1).unwrap_or(i32::MAX);
        times(self.first, self.factor.powi(steps)).min(self.longest)
    }
}

/// The range of a random factor for each pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    least: f64,
    most: f64,
}

impl Jitter {
    /// Half of the planned pause up to all of it.
    pub const HALF_OR_MORE: Self = Self::new(0.5, 1.0);

    /// A quarter less to a quarter more than the planned pause.
    pub const QUARTER_AROUND: Self = Self::new(0.75, 1.25);

    /// Makes a range from `least` to `most` times the planned pause.
    ///
    /// # Panics
    ///
    /// Unless `0 <= least <= most` and both are finite. The compiler refuses such a constant.
    pub const fn new(least: f64, most: f64) -> Self {
        assert!(0.0 <= least && least <= most && most.is_finite(), "a range of factors");
        Self { least, most }
    }

    /// Scales `planned` by one random byte.
    fn apply(self, planned: Duration, drawn: u8) -> Duration {
        times(planned, self.least + (self.most - self.least) * f64::from(drawn) / 255.0)
    }
}

/// Returns `factor` times `duration`, or the maximum on overflow.
fn times(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// The rule by which time ends the tries of a call.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// The last pause is shortened.
    ///
    /// The last try then begins when the time is over.
    LastTryAt(Duration),
    /// No try begins after the time is over.
    NoTryFrom(Duration),
}

/// The pauses of one call, until its last try or limit.
///
/// The first try counts as made. Time is measured from the creation, by the monotonic clock.
#[derive(Debug)]
pub struct Pauses<'a> {
    plan: Backoff,
    clock: &'a dyn Clock,
    jitter: Option<(Jitter, &'a dyn Entropy)>,
    tries: Option<u32>,
    bound: Option<Bound>,
    began: Duration,
    /// Wall time at the beginning, if wall time counts too.
    began_unix_millis: Option<u64>,
    /// Time spent in pauses that the clock may have missed.
    waited: Duration,
    attempts: u32,
    /// Number of pauses that lasted their full time; the next pause grows by it.
    grown: u32,
}

impl<'a> Pauses<'a> {
    /// Makes endless pauses, for a call that makes its first try now.
    pub fn new(plan: Backoff, clock: &'a dyn Clock) -> Self {
        Self {
            plan,
            clock,
            jitter: None,
            tries: None,
            bound: None,
            began: clock.monotonic(),
            began_unix_millis: None,
            waited: Duration::ZERO,
            attempts: 1,
            grown: 0,
        }
    }

    /// Randomises each pause within a range; draws one byte of `entropy` for each.
    pub fn jittered(mut self, jitter: Jitter, entropy: &'a dyn Entropy) -> Self {
        self.jitter = Some((jitter, entropy));
        self
    }

    /// Ends after at most `most` tries, including the first; 0 counts as 1.
    pub fn tries(mut self, most: u32) -> Self {
        self.tries = Some(most);
        self
    }

    /// Shortens the last pause, so that the last try begins after `timeout`.
    pub fn last_try_at(mut self, timeout: Duration) -> Self {
        self.bound = Some(Bound::LastTryAt(timeout));
        self
    }

    /// Ends before a try that would begin at `timeout` or later.
    pub fn no_try_from(mut self, timeout: Duration) -> Self {
        self.bound = Some(Bound::NoTryFrom(timeout));
        self
    }

    /// Counts wall time too, because it advances while a machine is suspended.
    pub fn by_wall_too(mut self) -> Self {
        self.began_unix_millis = Some(self.clock.unix_millis());
        self
    }

    /// Returns the number of tries so far, including the first.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the time since the first try.
    pub fn elapsed(&self) -> Duration {
        let by_wall = self.began_unix_millis.map_or(Duration::ZERO, |began| {
            Duration::from_millis(self.clock.unix_millis().saturating_sub(began))
        });
        self.clock.monotonic().saturating_sub(self.began).max(by_wall).max(self.waited)
    }

    /// Returns whether the time of the call is over.
    pub fn is_late(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        match self.bound {
            Some(Bound::LastTryAt(timeout) | Bound::NoTryFrom(timeout)) => {
                timeout.saturating_sub(self.elapsed())
            }
            None => Duration::MAX,
        }
    }

    /// Counts one more try and returns the pause before it.
    ///
    /// Returns `None` if no try is left. Fails if the entropy source fails.
    pub fn next_pause(&mut self) -> Result<Option<Duration>> {
        self.next_pause_of(Duration::ZERO)
    }

    /// Returns the next pause, lengthened to at least `least`.
    pub fn next_pause_of(&mut self, least: Duration) -> Result<Option<Duration>> {
        let left = self.left();
        if left.is_zero() || self.tries.is_some_and(|tries| self.attempts >= tries) {
            return Ok(None);
        }
        let mut pause = self.plan.after(self.grown.saturating_add(1));
        if let Some((jitter, entropy)) = self.jitter {
            let [drawn] = entropy.draw::<1>()?;
            pause = jitter.apply(pause, drawn);
        }
        pause = pause.max(least);
        match self.bound {
            Some(Bound::NoTryFrom(_)) if pause >= left => return Ok(None),
            _ => pause = pause.min(left),
        }
        self.attempts = self.attempts.saturating_add(1);
        self.grown = self.grown.saturating_add(1);
        Ok(Some(pause))
    }

    /// Sleeps for the next pause on the clock; returns `false` if no try is left.
    pub fn sleep(&mut self) -> Result<bool> {
        let pause = self.next_pause()?;
        if let Some(pause) = pause {
            self.clock.sleep(pause);
        }
        Ok(pause.is_some())
    }

    /// Counts a pause that was not slept on the clock.
    ///
    /// The clock may have stopped.
    pub fn lasted(&mut self, pause: Duration) {
        self.waited = self.waited.saturating_add(pause);
    }

    /// Keeps the next pause as long as the last, interrupted one.
    pub fn ended_early(&mut self) {
        self.grown = self.grown.saturating_sub(1);
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use crate::component::{ManualClock, SeededEntropy};
    use crate::{Error, ErrorKind};

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const PLAN: Backoff = Backoff::new(millis(100), 4.0, millis(10_000));

    /// An entropy source that returns one byte for ever.
    #[derive(Debug)]
    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, bytes: &mut [u8]) -> Result<()> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Failing;

    impl Entropy for Failing {
        fn fill(&self, _: &mut [u8]) -> Result<()> {
            Err(Error::new(ErrorKind::Unavailable, "draw entropy"))
        }
    }

    #[test]
    fn pauses_grow_up_to_the_maximum() {
        let lengths = [0, 1, 2, 3, 4, 5, 6, 1_000, u32::MAX].map(|n| PLAN.after(n).as_millis());
        assert_eq!(lengths, [0, 100, 400, 1_600, 6_400, 10_000, 10_000, 10_000, 10_000]);
        let clipped = Backoff::new(Duration::MAX, 2.0, millis(7));
        assert_eq!([clipped.after(1), clipped.after(9)], [millis(7); 2]);
    }

    #[test]
    fn growth_saturates_and_zero_remains_zero() {
        let endless = Backoff::new(millis(1), f64::MAX, Duration::MAX);
        assert_eq!(endless.after(2), Duration::MAX);
        assert_eq!(endless.after(u32::MAX), Duration::MAX);
        assert_eq!(Backoff::new(Duration::ZERO, f64::MAX, Duration::MAX).after(9), Duration::ZERO);
        let constant = Backoff::new(millis(3), 1.0, Duration::MAX);
        assert_eq!(constant.after(u32::MAX), millis(3));
        let most = Jitter::QUARTER_AROUND.apply(Duration::MAX, 255);
        assert_eq!(most, Duration::MAX);
    }

    #[test]
    fn factor_below_1_or_not_finite_is_refused() {
        for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 0.99] {
            assert_eq!(Backoff::checked(millis(1), factor, millis(2)), None, "{factor}");
        }
    }

    #[test]
    fn jitter_stays_within_its_range_and_reaches_both_ends() {
        for (jitter, least, most) in
            [(Jitter::HALF_OR_MORE, 50, 100), (Jitter::QUARTER_AROUND, 75, 125)]
        {
            assert_eq!(jitter.apply(millis(100), 0), millis(least));
            assert_eq!(jitter.apply(millis(100), 255), millis(most));
            let (clock, entropy) = (ManualClock::new(), SeededEntropy::new(7));
            let flat = Backoff::new(millis(100), 1.0, millis(100));
            let mut pauses = Pauses::new(flat, &clock).jittered(jitter, &entropy);
            let drawn: Vec<_> =
                (0..200).map(|_| pauses.next_pause().unwrap().expect("without an end")).collect();
            assert!(drawn.iter().all(|p| (millis(least)..=millis(most)).contains(p)), "{drawn:?}");
            assert!(drawn.iter().any(|p| *p != drawn[0]), "all are {:?}", drawn[0]);
        }
    }

    #[test]
    fn tries_include_the_first() {
        let clock = ManualClock::new();
        let mut pauses = Pauses::new(PLAN, &clock).tries(3);
        assert_eq!((pauses.attempts(), pauses.elapsed()), (1, Duration::ZERO));
        assert!(pauses.sleep().unwrap() && pauses.sleep().unwrap());
        assert!(!pauses.sleep().unwrap());
        assert_eq!((pauses.attempts(), pauses.elapsed()), (3, millis(500)));
        for most in [0, 1] {
            assert_eq!(Pauses::new(PLAN, &clock).tries(most).next_pause().unwrap(), None);
        }
    }

    #[test]
    fn last_pause_is_cut_to_the_remaining_time() {
        let clock = ManualClock::new();
        let mut pauses = Pauses::new(PLAN, &clock).last_try_at(millis(1_000));
        while pauses.sleep().unwrap() {}
        assert_eq!((pauses.attempts(), pauses.elapsed()), (4, millis(1_000)));
        assert!(pauses.is_late());
        let none = Pauses::new(PLAN, &clock).last_try_at(Duration::ZERO).next_pause();
        assert_eq!(none.unwrap(), None);
    }

    #[test]
    fn no_try_begins_after_the_time_limit() {
        let clock = ManualClock::new();
        let mut pauses = Pauses::new(PLAN, &clock).no_try_from(millis(500));
        assert!(pauses.sleep().unwrap());
        // Pauses of 100 ms and 400 ms would reach the time limit.
        assert!(!pauses.sleep().unwrap());
        assert_eq!((pauses.attempts(), pauses.elapsed()), (2, millis(100)));
        assert!(!pauses.is_late());
    }

    #[test]
    fn longer_pause_is_granted_within_the_time_limit() {
        let clock = ManualClock::new();
        let mut pauses = Pauses::new(PLAN, &clock).no_try_from(millis(60_000));
        assert_eq!(pauses.next_pause_of(millis(5_000)).unwrap(), Some(millis(5_000)));
        assert_eq!(pauses.next_pause().unwrap(), Some(millis(400)), "it has grown as planned");
        assert_eq!(pauses.next_pause_of(millis(60_000)).unwrap(), None);
    }

    #[test]
    fn stopped_clock_ends_the_wait() {
        let clock = ManualClock::new();
        let mut pauses = Pauses::new(PLAN, &clock).last_try_at(millis(600));
        let first = pauses.next_pause().unwrap().expect("there is time");
        pauses.ended_early();
        let second = pauses.next_pause().unwrap().expect("there is time");
        assert_eq!((first, second), (millis(100), millis(100)), "the first ended early");
        pauses.lasted(second);
        let third = pauses.next_pause().unwrap().expect("there is time");
        assert_eq!(third, millis(400));
        pauses.lasted(third);
        assert_eq!(pauses.next_pause().unwrap(), Some(millis(100)));
        pauses.lasted(millis(100));
        assert_eq!(pauses.next_pause().unwrap(), None);
        assert_eq!((pauses.attempts(), pauses.elapsed()), (5, millis(600)));
    }

    #[test]
    fn wall_time_counts_on_request() {
        let clock = ManualClock::new();
        let by_wall = Pauses::new(PLAN, &clock).by_wall_too().no_try_from(millis(1_000));
        let by_monotonic = Pauses::new(PLAN, &clock).no_try_from(millis(1_000));
        clock.jump(3_600_000);
        assert!(by_wall.is_late() && !by_monotonic.is_late());
        clock.jump(-7_200_000);
        assert!(!by_wall.is_late(), "a clock that went back ends nothing");
    }

    #[test]
    fn entropy_is_drawn_once_per_pause_and_its_failure_returned() {
        let clock = ManualClock::new();
        let mut pauses =
            Pauses::new(PLAN, &clock).jittered(Jitter::QUARTER_AROUND, &Always(255)).tries(2);
        assert_eq!(pauses.next_pause().unwrap(), Some(millis(125)));
        let mut pauses = Pauses::new(PLAN, &clock).jittered(Jitter::HALF_OR_MORE, &Failing);
        assert_eq!(pauses.next_pause().unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(pauses.attempts(), 1, "no try was counted");
        let mut ended = Pauses::new(PLAN, &clock).jittered(Jitter::HALF_OR_MORE, &Failing).tries(1);
        assert_eq!(ended.next_pause().unwrap(), None, "nothing is drawn for no pause");
    }
}
