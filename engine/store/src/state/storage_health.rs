//! What only the storage sees, told to the store: how large the state is, whether a commit that
//! failed had already written redb's own header, from which moment on it may have happened, and
//! whether anything failed since when redb refuses all else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::panic_as_corrupt;

/// What the storage saw, shared with the store.
#[derive(Debug, Default)]
pub(super) struct StorageHealth {
    len: AtomicU64,
    header_written: AtomicBool,
    touching: AtomicBool,
    failed: AtomicBool,
    closed: AtomicBool,
    uncertain: AtomicBool,
    unauthentic: AtomicBool,
}

impl StorageHealth {
    /// The watch over a state of `len` bytes.
    pub(super) fn of(len: u64) -> Self {
        Self { len: AtomicU64::new(len), ..Self::default() }
    }

    /// A block was met that does not open: for this handle that is for good.
    pub(super) fn distrust(&self) {
        self.unauthentic.store(true, Ordering::Release);
        self.fail();
    }

    /// Whether one was.
    pub(super) fn is_distrusted(&self) -> bool {
        self.unauthentic.load(Ordering::Acquire)
    }

    /// A commit's outcome is unknown: what this instance shows may not be what is on disk.
    pub(super) fn doubt(&self) {
        self.uncertain.store(true, Ordering::Release);
    }

    /// Whether it is.
    pub(super) fn in_doubt(&self) -> bool {
        self.uncertain.load(Ordering::Acquire)
    }

    /// Runs a call of redb: `Closed` once the state is closed, `Corrupt` if it panics, which it
    /// may on damaged pages; then the state counts as failed.
    #[inline]
    pub(super) fn guard<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation)
                .with_reason(Reason::VaultClosed)
                .with_detail("the vault was closed, or reopened its state after a failure"));
        }
        let outcome = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
            self.fail();
            Err(panic_as_corrupt(operation, panic))
        });
        match outcome {
            // redb says only that an earlier call failed.
            Err(e) if e.kind() == ErrorKind::Unavailable && self.is_distrusted() => {
                Err(Error::new(ErrorKind::Corrupt, operation)
                    .with_reason(Reason::BlockDamaged)
                    .with_detail("a damaged block was met before; open the vault again"))
            }
            other => other,
        }
    }

    /// The state is closed; readers that still live are told so.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// From now on the state must be reopened.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Length of the state in bytes, as redb sees it.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Forgets whether the header was written: a commit begins.
    pub(super) fn begin_commit(&self) {
        self.header_written.store(false, Ordering::Release);
    }

    /// redb's header is about to be written: from now on the commit may have happened.
    pub(super) fn note_header(&self) {
        self.header_written.store(true, Ordering::Release);
    }

    /// Whether redb's header was written since.
    pub(super) fn may_have_committed(&self) -> bool {
        self.header_written.load(Ordering::Acquire)
    }

    /// A copy of the super-header that publishes nothing is being written, or is durable.
    pub(super) fn note_touch(&self, under_way: bool) {
        self.touching.store(under_way, Ordering::Release);
    }

    /// Whether the failure was met while one was being written, which may have torn it.
    pub(super) fn may_have_torn_copy(&self) -> bool {
        self.touching.load(Ordering::Acquire)
    }

    /// Whether any call failed, since when redb refuses all others until it is reopened.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.fail();
        }
        result
    }
}
