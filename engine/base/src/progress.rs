//! Progress and cancellation of long calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::reason::Reason;

/// A receiver of the progress of a long call.
///
/// The working thread calls it, so it should return at once.
pub trait Progress: Send + Sync {
    /// Reports that `done` units are done. `total` is `None` if it is unknown.
    ///
    /// Each call documents its unit: bytes for `Vault::stage`, rows and objects for
    /// `Vault::check`.
    fn report(&self, done: u64, total: Option<u64>);
}

impl<F: Fn(u64, Option<u64>) + Send + Sync> Progress for F {
    fn report(&self, done: u64, total: Option<u64>) {
        self(done, total);
    }
}

/// A switch that ends long calls from outside.
///
/// Clones share the switch. It cannot be reset.
#[derive(Clone, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// Makes a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every call that has a clone of this token to end.
    ///
    /// Such a call returns `Cancelled` at its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Returns whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Returns the error `Cancelled` of `action` if the token was cancelled.
    pub fn check(&self, action: &'static str) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::new(ErrorKind::Cancelled, action).with_reason(Reason::Cancelled))
        } else {
            Ok(())
        }
    }
}

/// Receiver of the progress of one long call, and its cancellation.
///
/// By default neither is set. A long call takes this as its last argument, perhaps in a variant of
/// the call, or has options with the methods `progress` and `cancel`. Cheap to copy.
///
/// ```
/// use strongroom_base::{CancelToken, LongCall};
///
/// let (progress, cancel) = (|done, _total: Option<u64>| println!("{done}"), CancelToken::new());
/// let call = LongCall::new().progress(&progress).cancel(&cancel);
/// # call.check("example").unwrap();
/// ```
#[derive(Clone, Copy, Default)]
pub struct LongCall<'a> {
    progress: Option<&'a dyn Progress>,
    cancel: Option<&'a CancelToken>,
}

impl<'a> LongCall<'a> {
    /// Makes a `LongCall` without progress or cancellation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports progress to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Lets `cancel` end the call: it returns `Cancelled` at its next step.
    #[must_use]
    pub fn cancel(mut self, cancel: &'a CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Reports that `done` units are done. `total` is `None` if it is unknown.
    pub fn report(&self, done: u64, total: Option<u64>) {
        if let Some(progress) = self.progress {
            progress.report(done, total);
        }
    }

    /// Returns the error `Cancelled` of `action` if the call was cancelled.
    pub fn check(&self, action: &'static str) -> Result<()> {
        self.cancel.map_or(Ok(()), |cancel| cancel.check(action))
    }

    /// Returns whether the call was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(CancelToken::is_cancelled)
    }
}

impl fmt::Debug for LongCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongCall").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// Implements `progress` and `cancel` for options with a field `call`.
#[macro_export]
macro_rules! long_call_options {
    ($options:ident) => {
        impl<'a> $options<'a> {
            /// Reports progress to `progress`.
            #[must_use]
            pub fn progress(mut self, progress: &'a dyn $crate::Progress) -> Self {
                self.call = self.call.progress(progress);
                self
            }

            /// Lets `cancel` end the call: it returns `Cancelled` at its next step.
            #[must_use]
            pub fn cancel(mut self, cancel: &'a $crate::CancelToken) -> Self {
                self.call = self.call.cancel(cancel);
                self
            }
        }
    };
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({})", self.is_cancelled())
    }
}
