//! Our header before redb's first page.
//!
//! Everything that redb reads and writes lies [`HEADER_BYTES`] further in the storage below.
//! On its way through, the frame notes two things that only the storage sees: how large the
//! state is, and whether a commit that failed had already written redb's own header page, from
//! which moment on it may have happened.
//!
//! redb writes its header and its pages in no order and then syncs. The frame keeps the header
//! back until that sync: so a disk that fills up while pages are written is `Full`, for sure,
//! and not `Uncertain`.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use strongroom_backends::{Error, ErrorKind, Result};

use super::failure::panic_as_corrupt;
use crate::format::{HEADER_BYTES, Header};

const BASE: u64 = HEADER_BYTES as u64;

/// Length of the page in which redb keeps its own header and commit slots.
const REDB_HEADER_BYTES: u64 = 4096;

/// What the frame saw, shared with the store.
#[derive(Debug, Default)]
pub(super) struct Watch {
    len: AtomicU64,
    header_written: AtomicBool,
    failed: AtomicBool,
    closed: AtomicBool,
    uncertain: AtomicBool,
}

impl Watch {
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
                .with_detail("the vault was closed, or reopened its state after a failure"));
        }
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
            self.fail();
            Err(panic_as_corrupt(operation, panic))
        })
    }

    /// The state is closed; readers that still live are told so.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// From now on the state must be reopened.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Length of redb's part in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Forgets whether the header was written: a commit begins.
    pub(super) fn begin_commit(&self) {
        self.header_written.store(false, Ordering::Release);
    }

    /// Whether redb's header was written since.
    pub(super) fn may_have_committed(&self) -> bool {
        self.header_written.load(Ordering::Acquire)
    }

    /// Whether any call failed, since when redb refuses all others until it is reopened.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.fail();
        }
        result
    }
}

/// A storage with our header in front.
#[derive(Debug)]
pub(super) struct Framed {
    inner: Box<dyn StorageBackend>,
    watch: Arc<Watch>,
    /// Writes of redb's header page since the last sync, oldest first.
    header: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Framed {
    /// Writes the header into an empty storage.
    pub(super) fn create(inner: Box<dyn StorageBackend>, header: &Header) -> io::Result<Self> {
        inner.set_len(BASE)?;
        inner.write(0, &header.encode())?;
        Ok(Self::new(inner, Watch::default()))
    }

    /// Reads and checks the header.
    pub(super) fn open(inner: Box<dyn StorageBackend>) -> Result<(Self, Header)> {
        let io = |e| Error::io("open vault", e);
        let len = inner.len().map_err(io)?;
        let mut bytes = vec![0; HEADER_BYTES.min(usize::try_from(len).unwrap_or(usize::MAX))];
        inner.read(0, &mut bytes).map_err(io)?;
        let header = Header::decode(&bytes)?;
        if len == BASE {
            // redb would take an empty storage for a new one.
            return Err(Error::new(ErrorKind::Corrupt, "open vault")
                .with_detail("the state file ends after its header"));
        }
        let watch = Watch { len: AtomicU64::new(len - BASE), ..Watch::default() };
        Ok((Self::new(inner, watch), header))
    }

    fn new(inner: Box<dyn StorageBackend>, watch: Watch) -> Self {
        Self { inner, watch: Arc::new(watch), header: Mutex::default() }
    }

    /// Writes what was kept back of redb's header.
    fn flush_header(&self) -> io::Result<()> {
        for (offset, bytes) in self.header.lock().drain(..) {
            self.watch.header_written.store(true, Ordering::Release);
            self.inner.write(BASE + offset, &bytes)?;
        }
        Ok(())
    }

    pub(super) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

impl StorageBackend for Framed {
    fn len(&self) -> io::Result<u64> {
        let len = self.watch.noting(self.inner.len())?;
        len.checked_sub(BASE).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch.noting(self.inner.read(BASE + offset, out))?;
        if offset < REDB_HEADER_BYTES {
            for (at, bytes) in &*self.header.lock() {
                lay_over(out, offset, bytes, *at);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.noting(self.inner.set_len(BASE + len))?;
        self.watch.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.noting(self.flush_header().and_then(|()| self.inner.sync_data()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 <= REDB_HEADER_BYTES {
            let mut header = self.header.lock();
            // A later write of the same bytes stands for the earlier one.
            header.retain(|(at, bytes)| *at != offset || bytes.len() != data.len());
            header.push((offset, data.to_vec()));
            return Ok(());
        }
        self.watch.noting(self.inner.write(BASE + offset, data))
    }

    fn close(&self) -> io::Result<()> {
        // After a failure redb means to leave the file as it is, for the next open to repair.
        let flushed = if self.watch.failed() { Ok(()) } else { self.flush_header() };
        flushed.and(self.inner.close())
    }

    // Lock ranges name bytes of the file, not of redb's part: they are passed on as they are.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// Copies the part of `bytes`, which lie at `at`, that falls into `out`, which lies at `offset`.
fn lay_over(out: &mut [u8], offset: u64, bytes: &[u8], at: u64) {
    let start = offset.max(at);
    let end = (offset + out.len() as u64).min(at + bytes.len() as u64);
    if start < end {
        let index = |position: u64, base: u64| {
            usize::try_from(position - base).expect("both lie in one page")
        };
        out[index(start, offset)..index(end, offset)]
            .copy_from_slice(&bytes[index(start, at)..index(end, at)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_kept_back_is_read_where_it_lies() {
        let mut out = *b"........";
        lay_over(&mut out, 100, b"abcd", 98);
        lay_over(&mut out, 100, b"xyz", 104);
        lay_over(&mut out, 100, b"tail", 106);
        lay_over(&mut out, 100, b"away", 200);
        assert_eq!(&out, b"cd..xyta");
    }
}
