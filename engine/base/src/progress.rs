//! How a long call tells how far it is, and how it is told to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::reason::Reason;

/// Hears how far a long call is. Called on the thread that works, so it should return at once.
pub trait Progress: Send + Sync {
    /// `done` units of `total`, if the total is known. Each call names its unit: bytes for
    /// `Vault::stage`, rows for `Vault::check`.
    fn report(&self, done: u64, total: Option<u64>);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _done: u64, _total: Option<u64>) {}
}

impl<F: Fn(u64, Option<u64>) + Send + Sync> Progress for F {
    fn report(&self, done: u64, total: Option<u64>) {
        self(done, total);
    }
}

/// Ends long calls from outside: clones share one switch, which is never switched back.
#[derive(Clone, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every call that has a clone to end. It answers `Cancelled` at its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Returns `Cancelled`, met in `operation`, if the token was cancelled.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::new(ErrorKind::Cancelled, operation).with_reason(Reason::Cancelled))
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({})", self.is_cancelled())
    }
}
