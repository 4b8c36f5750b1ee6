//! Retries after network faults. Calls that may have taken effect are checked first.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::Key;
use strongroom_base::backoff::{Backoff, Jitter, Pauses};
use strongroom_base::component::{Clock, Entropy};
use strongroom_base::{Error, ErrorKind, Result};

/// Number of tries of a call, and the pauses between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreRetryPolicy {
    /// Most tries of a call, including the first; default 6.
    pub tries: u32,
    /// The pause after the first try; default 0.1 s.
    ///
    /// Each pause is up to three times as long as the one before. It is randomised between half of
    /// that and all of it, so that many clients do not retry together.
    pub first_pause: Duration,
    /// The longest pause; default 10 s.
    ///
    /// A store may request a longer one, at most [`RETRY_AFTER_MAX`](Self::RETRY_AFTER_MAX).
    pub pause_max: Duration,
    /// Time after which no new try begins; default 2 minutes.
    ///
    /// A call takes at most this time, a pause and a try.
    pub timeout: Duration,
}

impl StoreRetryPolicy {
    /// The longest pause that a store may request.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

    /// Growth factor of the pauses.
    const GROWTH: f64 = 3.0;
}

impl Default for StoreRetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            first_pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
            timeout: Duration::from_secs(120),
        }
    }
}

/// The pause that a store requests, as a source of an error. For implementers of [`Backend`].
///
/// The object stores' `Retry-After` is read if it gives seconds, not a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store requests a pause of {} s", self.0.as_secs_f32())
    }
}

impl StdError for RetryAfter {}

impl RetryAfter {
    /// Finds the requested pause in an error.
    fn of(error: &Error) -> Option<Duration> {
        let mut source = StdError::source(error);
        while let Some(error) = source {
            if let Some(Self(pause)) = error.downcast_ref() {
                return Some(*pause);
            }
            source = error.source();
        }
        None
    }
}

/// A backend that retries failed calls of another backend.
///
/// It retries calls that are `Unavailable`, or `Uncertain` and harmless to repeat.
///
/// A put whose answer was lost is repeated, and may meet its own success: the store then reports
/// that the object exists or has changed. The stored body is then compared. If it is the same, byte
/// for byte, the put succeeded, because bodies put under a condition are unique. If it differs, the
/// put is `Uncertain`: it may have happened before the other body was written.
///
/// A put under [`Condition::Any`] and a delete may happen twice, the second time after another
/// writer's. Keys that are written in this way must have one writer.
#[derive(Debug)]
pub struct RetryingBackend<B> {
    inner: B,
    policy: StoreRetryPolicy,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The tries of one call.
struct Tries<'a> {
    clock: &'a dyn Clock,
    pauses: Pauses<'a>,
}

impl Tries<'_> {
    /// Waits before the next try; returns `false` if `error` ends the tries.
    fn wait(&mut self, error: &Error) -> bool {
        let asked = RetryAfter::of(error).unwrap_or_default();
        let asked = asked.min(StoreRetryPolicy::RETRY_AFTER_MAX);
        let Ok(Some(pause)) = self.pauses.next_pause_of(asked) else { return false };
        let attempts = self.pauses.attempts();
        tracing::debug!(error = %error.kind(), ?pause, attempts, "tried again");
        self.clock.sleep(pause);
        true
    }
}

impl<B: Backend> RetryingBackend<B> {
    /// Retries failed calls of `inner` according to the policy.
    pub fn new(
        inner: B,
        policy: StoreRetryPolicy,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { inner, policy, clock, entropy }
    }

    fn tries(&self) -> Tries<'_> {
        let StoreRetryPolicy { tries, first_pause, pause_max, timeout } = self.policy;
        let backoff = Backoff::new(first_pause, StoreRetryPolicy::GROWTH, pause_max);
        // By the wall clock too: a request made before a machine was suspended must not be repeated
        // afterwards.
        let pauses = Pauses::new(backoff, &*self.clock)
            .jittered(Jitter::HALF_OR_MORE, &*self.entropy)
            .tries(tries)
            .no_try_from(timeout)
            .by_wall_too();
        Tries { clock: &*self.clock, pauses }
    }

    /// Returns the backend below.
    #[cfg(feature = "clouds")]
    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// Begins the tries of a call that decides by itself whether a retry is harmless.
    ///
    /// The result waits after an error, and returns whether to try again.
    #[cfg(feature = "clouds")]
    pub(crate) fn begin(&self) -> impl FnMut(&Error) -> bool + '_ {
        let mut tries = self.tries();
        move |error| tries.wait(error)
    }

    /// Repeats a harmless call. If any try is `Uncertain`, so is the result.
    fn repeat<T>(&self, call: impl FnMut() -> Result<T>) -> Result<T> {
        self.tries().repeat(call)
    }
}

impl Tries<'_> {
    fn repeat<T>(&mut self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        let mut may_have_happened = false;
        loop {
            let error = match call() {
                Err(error) => error,
                done => return done,
            };
            may_have_happened |= error.kind() == ErrorKind::Uncertain;
            let is_passing = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Uncertain);
            if !is_passing || !self.wait(&error) {
                return Err(doubted(error, may_have_happened));
            }
        }
    }
}

/// Returns the error of a call whose earlier try may have happened.
fn doubted(error: Error, may_have_happened: bool) -> Error {
    if may_have_happened { error.with_kind(ErrorKind::Uncertain) } else { error }
}

impl<B: Backend> Backend for RetryingBackend<B> {
    fn get(&self, key: &Key) -> Result<Object> {
        self.repeat(|| self.inner.get(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.repeat(|| self.inner.get_range(key, range.clone()))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        if *condition == Condition::Any {
            return self.repeat(|| self.inner.put(key, body.clone(), condition));
        }
        let (mut tries, mut may_have_happened) = (self.tries(), false);
        loop {
            let error = match self.inner.put(key, body.clone(), condition) {
                Err(error) => error,
                done => return done,
            };
            match error.kind() {
                ErrorKind::Uncertain => may_have_happened = true,
                ErrorKind::Unavailable => {}
                ErrorKind::AlreadyExists | ErrorKind::Conflict if may_have_happened => {
                    match tries.repeat(|| self.inner.get(key)) {
                        Ok(found) if found.body == body => return Ok(found.version),
                        // The store may refuse the put because the previous try is still running.
                        Ok(found) if *condition == Condition::Matches(found.version.clone()) => {}
                        Err(e)
                            if e.kind() == ErrorKind::NotFound
                                && *condition == Condition::Absent => {}
                        _ => return Err(error.with_kind(ErrorKind::Uncertain)),
                    }
                }
                _ => return Err(doubted(error, may_have_happened)),
            }
            if !tries.wait(&error) {
                return Err(doubted(error, may_have_happened));
            }
        }
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.repeat(|| self.inner.delete(key))
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.repeat(|| self.inner.delete_all(keys))
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.repeat(|| self.inner.list(prefix, after, limit))
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.inner.concurrency()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn available_bytes(&self) -> Result<u64> {
        self.inner.available_bytes()
    }
}
