//! Faults of the network, borne: what fails for the moment is tried again, and what may have happened is
//! looked up.

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

/// How often to try, and how long to pause in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreRetryPolicy {
    /// Most tries of a call, the first included; default 6.
    pub tries: u32,
    /// The pause after the first try; default 0.1 s. Each may be three times as long as the one before, and is at
    /// random half of that or more, so that many clients do not come back at once.
    pub first_pause: Duration,
    /// The longest pause; default 10 s. A store that asks for more is given it, up to
    /// [`RETRY_AFTER_MAX`](Self::RETRY_AFTER_MAX).
    pub pause_max: Duration,
    /// After so long no new try begins; default 2 minutes. So a call takes at most this, a pause and a try.
    pub timeout: Duration,
}

impl StoreRetryPolicy {
    /// The longest pause that a store may ask for.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

    /// How much longer each pause is than the one before.
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

/// For implementers of [`Backend`]: among the sources of an error, how long the store asks to be left alone. The
/// object stores' `Retry-After` is read where it tells seconds, not a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store asks for a pause of {} s", self.0.as_secs_f32())
    }
}

impl StdError for RetryAfter {}

impl RetryAfter {
    /// What an error says of it.
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

/// A backend that tries again what is `Unavailable`, or `Uncertain` and harmless to repeat.
///
/// A put whose answer was lost is repeated, and may meet itself: the store then says that there is such an
/// object, or that it has changed. What lies there is looked up then, and is ours if it is the same, byte for
/// byte: bodies that are put under a condition must be unique. If another body lies there the put is
/// `Uncertain`, for it may have happened before that was written.
///
/// A put under [`Condition::Any`] and a delete may happen twice, the second time after somebody else's: keys
/// that are written in this way must have one writer.
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
    /// Waits before the next one, if there is to be one after `error`.
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
    /// Tries again what `inner` fails at, as the policy says.
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
        // By the wall clock too: what was asked before a machine was suspended is not to be asked after it.
        let pauses = Pauses::new(backoff, &*self.clock)
            .jittered(Jitter::HALF_OR_MORE, &*self.entropy)
            .tries(tries)
            .no_try_from(timeout)
            .by_wall_too();
        Tries { clock: &*self.clock, pauses }
    }

    /// What it stands over.
    #[cfg(feature = "clouds")]
    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// A call that is harmless to repeat. If any try of it is `Uncertain`, so is the whole.
    pub(crate) fn repeat<T>(&self, call: impl FnMut() -> Result<T>) -> Result<T> {
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

/// The error of a call of which an earlier try may have happened.
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
                        // A store may refuse it because the try before is still under way.
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
