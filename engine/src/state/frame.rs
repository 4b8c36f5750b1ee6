//! Our header before redb's first page.
//!
//! Everything that redb reads and writes lies [`HEADER_BYTES`] further in the storage below.
//! On its way through, the frame notes two things that only the storage sees: how large the
//! state is, and whether a commit that failed had already written redb's own header page, from
//! which moment on it may have happened.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};
use strongroom_backends::{Error, ErrorKind, Result};

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
}

impl Watch {
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
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

/// A storage with our header in front.
#[derive(Debug)]
pub(super) struct Framed {
    inner: Box<dyn StorageBackend>,
    watch: Arc<Watch>,
}

impl Framed {
    /// Writes the header into an empty storage.
    pub(super) fn create(inner: Box<dyn StorageBackend>, header: &Header) -> io::Result<Self> {
        inner.set_len(BASE)?;
        inner.write(0, &header.encode())?;
        Ok(Self {
            inner,
            watch: Arc::default(),
        })
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
        let watch = Watch {
            len: AtomicU64::new(len - BASE),
            ..Watch::default()
        };
        Ok((
            Self {
                inner,
                watch: Arc::new(watch),
            },
            header,
        ))
    }

    pub(super) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

impl StorageBackend for Framed {
    fn len(&self) -> io::Result<u64> {
        let len = self.watch.noting(self.inner.len())?;
        len.checked_sub(BASE)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch.noting(self.inner.read(BASE + offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.noting(self.inner.set_len(BASE + len))?;
        self.watch.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.noting(self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset < REDB_HEADER_BYTES {
            self.watch.header_written.store(true, Ordering::Release);
        }
        self.watch.noting(self.inner.write(BASE + offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
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
