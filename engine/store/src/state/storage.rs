//! The medium of the state: a file, memory, or a host's own storage.
//!
//! redb consumes one storage for each open, and the vault reopens after a failed write, so the
//! builder takes a factory. The factory also creates states safely: it builds a state under a name
//! that no open uses, then publishes it in one step. A crash while redb creates a file in place can
//! leave a file that never opens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_base::fs::{Access, File, FileSystem};
use strongroom_base::{Error, ErrorKind, Result};

/// The bytes of one opened state.
///
/// Calls come from several threads. A wrapper passes every call on, including `close` and the
/// locks.
#[allow(clippy::len_without_is_empty)] // No caller asks whether a state is empty.
pub trait StateFile: fmt::Debug + Send + Sync + 'static {
    /// Returns its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`. `UnexpectedEof` if that reaches beyond the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, within the length.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Truncates the state, or extends it with zeros, to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes all writes and the length durable; they then survive a loss of power.
    fn sync(&self) -> io::Result<()>;

    /// Releases its locks and resources. The last call for each opened state.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    /// Tries to lock the whole state against other programs.
    fn try_lock(&self) -> io::Result<FileLock> {
        Ok(FileLock::Unsupported)
    }

    /// Releases the lock that [`try_lock`](Self::try_lock) acquired.
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The outcome of an attempt to lock a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLock {
    /// The lock is held from now on.
    Acquired,
    /// Another program has the lock.
    Refused,
    /// This storage has no locks; the vault opens without one.
    Unsupported,
}

/// A factory of storages for one vault's state.
///
/// The vault calls it under its own lock, and never holds two storages of one state.
pub trait StateStorage: fmt::Debug + Send + Sync {
    /// Returns whether a published state exists.
    fn exists(&self) -> Result<bool>;

    /// Creates an empty storage, separate from the published state.
    ///
    /// An unpublished state of an earlier `create` is discarded.
    fn create(&self) -> Result<Box<dyn StateFile>>;

    /// Publishes the last created state, which was closed.
    ///
    /// Atomic under a power cut; durable on return.
    fn publish(&self) -> Result<()>;

    /// Makes durable which state is published, after an interrupted or uncertain publish.
    fn settle(&self) -> Result<()>;

    /// Removes an unpublished state; succeeds if there is none.
    fn discard(&self) -> Result<()>;

    /// Returns the free space in bytes; `u64::MAX` if it is unknown.
    fn available_bytes(&self) -> Result<u64>;

    /// Opens the published state's storage. `NotFound` if there is none.
    fn open(&self) -> Result<Box<dyn StateFile>>;
}

/// The state in a file of a folder; the default.
#[derive(Clone, Debug)]
pub struct FileState {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
}

impl FileState {
    /// The published state's name in the folder.
    pub const FILE_NAME: &'static str = "state.redb";
    /// Name of an unpublished state.
    pub const NEW_FILE_NAME: &'static str = "state.redb.new";

    /// Makes the factory for `folder`, which exists.
    pub fn new(fs: Arc<dyn FileSystem>, folder: impl Into<PathBuf>) -> Self {
        Self { fs, folder: folder.into() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(Self::FILE_NAME)
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join(Self::NEW_FILE_NAME)
    }
}

impl StateStorage for FileState {
    fn exists(&self) -> Result<bool> {
        match self.fs.open(&self.path(), Access::Read) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("find state", e).with_subject(self.path().display())),
        }
    }

    fn create(&self) -> Result<Box<dyn StateFile>> {
        self.discard()?;
        let path = self.new_path();
        let failed = |e| Error::io("create state", e).with_subject(path.display());
        let file = self.fs.open(&path, Access::CreateNew).map_err(failed)?;
        Ok(Box::new(FileStorage { file }))
    }

    fn publish(&self) -> Result<()> {
        let path = self.path();
        let failed = |e| Error::io("publish state", e).with_subject(path.display());
        let file = self.fs.open(&self.new_path(), Access::ReadWrite).map_err(failed)?;
        file.sync().map_err(failed)?;
        // From here on it may have happened, whatever the result is.
        if let Err(e) = self.fs.rename(&self.new_path(), &path) {
            let refused = self.fs.open(&self.new_path(), Access::Read).is_ok();
            let error = failed(e);
            return Err(if refused { error } else { error.with_kind(ErrorKind::Uncertain) });
        }
        self.fs.sync_dir(&self.folder).map_err(|e| failed(e).with_kind(ErrorKind::Uncertain))
    }

    fn settle(&self) -> Result<()> {
        self.fs
            .sync_dir(&self.folder)
            .map_err(|e| Error::io("settle state", e).with_subject(self.folder.display()))
    }

    fn discard(&self) -> Result<()> {
        let path = self.new_path();
        match self.fs.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("discard state", e).with_subject(path.display()))
            }
            _ => Ok(()),
        }
    }

    fn available_bytes(&self) -> Result<u64> {
        self.fs
            .available_bytes(&self.folder)
            .map_err(|e| Error::io("read free space", e).with_subject(self.folder.display()))
    }

    fn open(&self) -> Result<Box<dyn StateFile>> {
        let path = self.path();
        let file = self
            .fs
            .open(&path, Access::ReadWrite)
            .map_err(|e| Error::io("open state", e).with_subject(path.display()))?;
        Ok(Box::new(FileStorage { file }))
    }
}

/// A file of the file-system seam.
///
/// Its lock excludes a program that opens the state file with redb itself.
#[derive(Debug)]
struct FileStorage {
    file: Box<dyn File>,
}

impl StateFile for FileStorage {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn try_lock(&self) -> io::Result<FileLock> {
        Ok(if self.file.try_lock()? { FileLock::Acquired } else { FileLock::Refused })
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

/// The state in memory. It survives reopening, and ends with the last clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    cells: Arc<Mutex<Cells>>,
}

#[derive(Debug, Default)]
struct Cells {
    published: Option<MemoryStorage>,
    created: Option<MemoryStorage>,
}

impl MemoryState {
    /// Makes a factory without a state.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateStorage for MemoryState {
    fn exists(&self) -> Result<bool> {
        Ok(self.cells.lock().published.is_some())
    }

    fn create(&self) -> Result<Box<dyn StateFile>> {
        let storage = MemoryStorage::default();
        self.cells.lock().created = Some(storage.clone());
        Ok(Box::new(storage))
    }

    fn publish(&self) -> Result<()> {
        let mut cells = self.cells.lock();
        let created = cells.created.take().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "publish state").with_detail("none was created")
        })?;
        cells.published = Some(created);
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self) -> Result<()> {
        self.cells.lock().created = None;
        Ok(())
    }

    fn available_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn open(&self) -> Result<Box<dyn StateFile>> {
        let published = self.cells.lock().published.clone();
        let storage = published
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "open state").with_subject("memory"))?;
        Ok(Box::new(storage))
    }
}

#[derive(Clone, Default)]
struct MemoryStorage {
    bytes: Arc<parking_lot::RwLock<Vec<u8>>>,
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

/// Returns `offset..offset + len` as indices of a buffer of `size` bytes.
fn span(offset: u64, len: usize, size: usize) -> io::Result<std::ops::Range<usize>> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(len)?))
        .filter(|span| span.end <= size)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StateFile for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read();
        let span = span(offset, out.len(), bytes.len())?;
        out.copy_from_slice(&bytes[span]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        self.bytes.write().resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write();
        let span = span(offset, data.len(), bytes.len())?;
        bytes[span].copy_from_slice(data);
        Ok(())
    }
}
