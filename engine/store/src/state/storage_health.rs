//! Facts that only the storage sees, for the store.
//!
//! They are the size of the state, whether a failed commit had already written redb's header (from
//! then on it may have happened), and whether any call failed since redb was opened.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::panic_as_corrupt;

/// The health of the storage, shared with the store.
#[derive(Debug, Default)]
pub(super) struct StorageHealth {
    len: AtomicU64,
    header_written: AtomicBool,
    touching: AtomicBool,
    checking: AtomicBool,
    failed: AtomicBool,
    closed: AtomicBool,
    uncertain: AtomicBool,
    unauthentic: AtomicBool,
}

impl StorageHealth {
    /// Makes the health of a state of `len` bytes.
    pub(super) fn of(len: u64) -> Self {
        Self { len: AtomicU64::new(len), ..Self::default() }
    }

    /// Records a block that does not open. It fails this handle permanently.
    pub(super) fn distrust(&self) {
        self.unauthentic.store(true, Ordering::Release);
        self.fail();
    }

    /// Returns whether a block did not open.
    pub(super) fn is_distrusted(&self) -> bool {
        self.unauthentic.load(Ordering::Acquire)
    }

    /// Records that a commit's outcome is unknown. This instance may differ from the disk.
    pub(super) fn doubt(&self) {
        self.uncertain.store(true, Ordering::Release);
    }

    /// Returns whether a commit's outcome is unknown.
    pub(super) fn in_doubt(&self) -> bool {
        self.uncertain.load(Ordering::Acquire)
    }

    /// Runs a call of redb.
    ///
    /// `Closed` after the state was closed. `Corrupt` if redb panics, which it may on damaged
    /// pages; the state then counts as failed.
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
            // redb reports only that an earlier call failed.
            Err(e) if e.kind() == ErrorKind::Unavailable && self.is_distrusted() => {
                Err(Error::new(ErrorKind::Corrupt, operation)
                    .with_reason(Reason::BlockDamaged)
                    .with_detail("a block of the state file is damaged; open the vault again"))
            }
            other => other,
        }
    }

    /// Records that the state is closed; live readers get `Closed`.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Records that the state must be reopened.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Returns the length of the state in bytes, in redb's view.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Records that a commit begins, and its header is not written.
    pub(super) fn begin_commit(&self) {
        self.header_written.store(false, Ordering::Release);
    }

    /// Records that redb's header is about to be written. The commit may have happened from then
    /// on.
    pub(super) fn note_header(&self) {
        self.header_written.store(true, Ordering::Release);
    }

    /// Returns whether redb's header was written since the commit began.
    pub(super) fn may_have_committed(&self) -> bool {
        self.header_written.load(Ordering::Acquire)
    }

    /// Records the write or sync of a super-header copy.
    ///
    /// The copy publishes nothing.
    pub(super) fn note_touch(&self, under_way: bool) {
        self.touching.store(under_way, Ordering::Release);
    }

    /// Returns whether the failure may have torn such a copy.
    pub(super) fn may_have_torn_copy(&self) -> bool {
        self.touching.load(Ordering::Acquire)
    }

    /// Records that redb's integrity check is under way.
    ///
    /// The check ends with a commit of redb's own that changes no row.
    pub(super) fn note_check(&self, under_way: bool) {
        self.checking.store(under_way, Ordering::Release);
    }

    /// Returns whether the failure interrupted a check.
    ///
    /// The check's own commit may then be missing.
    pub(super) fn may_have_torn_check(&self) -> bool {
        self.checking.load(Ordering::Acquire)
    }

    /// Returns whether any call failed. redb then refuses all others until it is reopened.
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
