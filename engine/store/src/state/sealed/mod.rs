//! The sealed storage: authenticated encryption between redb and the bytes below.
//!
//! Every page of redb has its own block, sealed under a random nonce and bound to its position in
//! this file (`engine/format/src/layout.rs`). The reasons for this form:
//!
//! - **A block is one page.** redb never rewrites a live page in place, so a torn block never
//!   belongs to a durable commit. Larger blocks would rewrite live neighbours.
//! - **Page 0 is the exception**, so it has two copies ([`super_header`]). It is held back until
//!   the sync, so that a full disk while pages are written is certainly `Full` and not `Uncertain`.
//! - **Strict reading.** A block that does not open is an error, and fails the handle permanently.
//!   There is one exception: in an unclosed state, inside redb's own repair, just before redb
//!   checks its trees against their checksums, a torn block reads as zeros
//!   ([`Sealed::begin_repair`]). Before strict reading resumes, those blocks are written as sealed
//!   zeros ([`Sealed::end_repair`]).
//! - **A closed state is never repaired.** Both copies of page 0 record the close and the length.
//!   The record stays until the first block is written, so opening a state without writing leaves
//!   it unchanged.
//!
//! The seal does not detect an older copy of a block at its own position; redb's checksums do. The
//! storage relies on a write not damaging neighbouring bytes (powersafe overwrite), as redb does
//! for its header and as `SQLite` assumes.

mod blocks;
mod pending;
mod super_header;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::storage::{FileLock, StateFile};
use super::storage_health::StorageHealth;
use pending::Pending;
use strongroom_crypto::SealKey;
use strongroom_format::{Closed, PAGE_BYTES, file_bytes, state_bytes};
use super_header::SuperHeaders;

/// The cipher, key and file id of a state.
#[derive(Clone, Debug)]
pub struct Sealing {
    pub key: Arc<SealKey>,
    /// File id, bound into each block.
    pub file: Uuid,
    pub entropy: Arc<dyn Entropy>,
}

/// The storage for redb. The store keeps another handle of it.
#[derive(Clone)]
pub(super) struct Sealed {
    inner: Arc<SealedInner>,
}

struct SealedInner {
    file: Box<dyn StateFile>,
    sealing: Sealing,
    health: Arc<StorageHealth>,
    pending: Pending,
    supers: Mutex<SuperHeaders>,
    /// Set if this handle created the state.
    fresh: bool,
    /// Set after redb opened it. Only then may closing mark it as closed.
    established: AtomicBool,
    /// Set while torn blocks read as zeros; the list of those that did.
    lenient: AtomicBool,
    torn: Mutex<BTreeSet<u64>>,
}

/// The condition in which a state was left, according to its super-header.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastClose {
    /// The state was closed: every block of it is whole.
    pub(super) closed: bool,
    /// This is the first opening since its creation: its name may not be durable yet.
    pub(super) fresh: bool,
    /// A super-header copy does not open or has another close record.
    pub(super) damaged: bool,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("file", &self.inner.sealing.file).finish_non_exhaustive()
    }
}

impl Sealed {
    /// Makes a new state in `file`, which has only its header.
    pub(super) fn create(file: Box<dyn StateFile>, sealing: Sealing) -> Self {
        Self::new(file, sealing, StorageHealth::default(), SuperHeaders::new(), true)
    }

    /// Opens the state in `file`; returns how it was left. Writes nothing.
    pub(super) fn open(file: Box<dyn StateFile>, sealing: Sealing) -> Result<(Self, LastClose)> {
        let corrupt = |detail: &str| {
            Err(Error::new(ErrorKind::Corrupt, "open vault")
                .with_reason(Reason::StateDamaged)
                .with_detail(detail))
        };
        let bytes = file.len().map_err(|e| Error::io("open vault", e))?;
        let Some(len) = state_bytes(bytes) else {
            return corrupt("the state file was truncated or extended");
        };
        if len == 0 {
            // redb would mistake an empty storage for a new one.
            return corrupt("the state file ends after its header");
        }
        let (supers, left) = super_header::open(&*file, &sealing)?;
        if supers.closed_len().is_some_and(|closed| closed != len) {
            return corrupt("the state file was truncated or extended, after it was closed");
        }
        Ok((Self::new(file, sealing, StorageHealth::of(len), supers, false), left))
    }

    fn new(
        file: Box<dyn StateFile>,
        sealing: Sealing,
        health: StorageHealth,
        supers: SuperHeaders,
        fresh: bool,
    ) -> Self {
        let inner = SealedInner {
            file,
            sealing,
            health: Arc::new(health),
            pending: Pending::default(),
            supers: Mutex::new(supers),
            fresh,
            established: AtomicBool::new(false),
            lenient: AtomicBool::new(false),
            torn: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn health(&self) -> Arc<StorageHealth> {
        Arc::clone(&self.inner.health)
    }

    /// Returns the file id.
    pub(super) fn id(&self) -> Uuid {
        self.inner.sealing.file
    }

    /// Records that redb opened the state and found it whole.
    ///
    /// Until then closing writes nothing, because redb also closes a storage that it refuses.
    pub(super) fn establish(&self) {
        self.inner.established.store(true, Ordering::Release);
    }

    /// Returns the file below, for access to its header.
    pub(super) fn file(&self) -> &dyn StateFile {
        &*self.inner.file
    }

    /// Lets torn blocks read as zeros.
    ///
    /// redb is about to compare its trees with their checksums.
    pub(super) fn begin_repair(&self) {
        if bug::is_planted(Bug::NoLeniency) {
            return;
        }
        self.inner.lenient.store(true, Ordering::Release);
    }

    /// Ends the repair; returns the number of torn blocks.
    ///
    /// The trees are whole. Blocks that read as zeros are written as sealed zeros, and every block
    /// must open from now on.
    pub(super) fn end_repair(&self) -> u64 {
        self.inner.lenient.store(false, Ordering::Release);
        let torn = std::mem::take(&mut *self.inner.torn.lock());
        for &page in &torn {
            self.inner.pending.insert(page, &[0; PAGE_BYTES]);
        }
        torn.len() as u64
    }
}

impl SealedInner {
    /// Writes the pending pages, then the super-header; durable on return.
    fn sync(&self) -> io::Result<()> {
        if self.pending.is_empty() && self.supers.lock().defer() {
            return Ok(());
        }
        self.flush()?;
        let mut supers = self.supers.lock();
        supers.touch(&*self.file, &self.sealing, &self.health)?;
        // A write may have failed that redb does not wait for; its bytes are not in the file.
        if self.health.failed() {
            return Err(io::Error::other("an earlier write failed"));
        }
        supers.write_if_changed(&*self.file, &self.sealing, &self.health)?;
        self.file.sync()?;
        supers.note_sync();
        Ok(())
    }

    /// Makes everything durable, and marks both copies of the super-header as closed.
    fn close(&self) -> io::Result<()> {
        self.sync()?;
        let len = state_bytes(self.file.len()?).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.supers.lock().close(&*self.file, &self.sealing, Closed { len, fresh: self.fresh })
    }
}

impl StorageBackend for Sealed {
    fn len(&self) -> io::Result<u64> {
        let bytes = self.inner.health.noting(self.inner.file.len())?;
        state_bytes(bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = &*self.inner;
        if offset < PAGE_BYTES as u64 {
            return inner.health.noting(inner.supers.lock().read(
                &*inner.file,
                &inner.sealing,
                &inner.health,
                offset,
                out,
            ));
        }
        inner.health.noting(inner.read_pages(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let inner = &*self.inner;
        if !len.is_multiple_of(PAGE_BYTES as u64) {
            return inner.health.noting(Err(io::ErrorKind::InvalidInput.into()));
        }
        let touched = inner.supers.lock().touch(&*inner.file, &inner.sealing, &inner.health);
        inner.health.noting(touched)?;
        // No page beyond the end may be on its way into the file.
        let _turn = inner.pending.cut(len / PAGE_BYTES as u64);
        inner.health.noting(inner.file.set_len(file_bytes(len)))?;
        inner.health.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.health.noting(self.inner.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inner = &*self.inner;
        if offset < PAGE_BYTES as u64 {
            return inner.health.noting(inner.supers.lock().write(offset, data));
        }
        inner.health.noting(inner.write_pages(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        // After a failure redb leaves the file as it is, for the next open to repair.
        let inner = &*self.inner;
        let whole = inner.established.load(Ordering::Acquire) && !inner.health.failed();
        let closed = if whole { inner.close() } else { Ok(()) };
        closed.and(inner.file.close())
    }

    // Lock ranges refer to bytes of the file. redb's modes for several processes lock parts of it,
    // and write page 0 twice between two syncs, which two copies do not tolerate. So only the
    // exclusive lock of the whole file is passed on. Other locks are unsupported.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        expect_whole_file(start, end)?;
        match self.inner.file.try_lock()? {
            FileLock::Acquired => Ok(true),
            FileLock::Refused => Ok(false),
            FileLock::Unsupported => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        expect_whole_file(start, end)?;
        Ok(self.inner.file.unlock()?)
    }
}

fn expect_whole_file(start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
    let whole = matches!(start, Bound::Unbounded | Bound::Included(0)) && end == Bound::Unbounded;
    if whole { Ok(()) } else { Err(BackendError::Unsupported) }
}
