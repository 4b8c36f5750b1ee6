//! Where the bytes of the state lie: in a file, in memory, or wherever a host puts them.
//!
//! redb consumes one storage per open, and the vault opens again after a failed write, so what
//! the builder takes is a factory. It also carries the way in which a state comes into being:
//! built under a name that no open looks at, then published in one step, because a crash while
//! redb creates a file in place can leave one that never opens.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};
use strongroom_base::fs::{Access, File, FileSystem};
use strongroom_base::{Error, ErrorKind, Result};

/// A factory of storages for one vault's state.
///
/// The vault calls it under its own lock and never holds two storages of one state at a time.
pub trait StateStorage: fmt::Debug + Send + Sync {
    /// Whether a published state is there.
    fn exists(&self) -> Result<bool>;

    /// A new, empty storage apart from the published state; what an earlier `create` left
    /// unpublished is discarded.
    fn create(&self) -> Result<Box<dyn StorageBackend>>;

    /// Makes what was last created, and since closed, the published state. All or nothing under
    /// a power cut; durable on return.
    fn publish(&self) -> Result<()>;

    /// Makes durable which state is the published one, after a publish that was cut short or of
    /// unknown outcome.
    fn settle(&self) -> Result<()>;

    /// Removes what was created and not published; fine if there is nothing.
    fn discard(&self) -> Result<()>;

    /// How many more bytes there is room for; `u64::MAX` if that cannot be said.
    fn available_bytes(&self) -> Result<u64>;

    /// The published state's storage. `NotFound` if there is none.
    fn open(&self) -> Result<Box<dyn StorageBackend>>;
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
    /// The name under which a state comes into being.
    pub const NEW_FILE_NAME: &'static str = "state.redb.new";

    /// The state in `folder`, which exists.
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
            Err(e) => Err(Error::io("look for state", e).with_subject(self.path().display())),
        }
    }

    fn create(&self) -> Result<Box<dyn StorageBackend>> {
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
        // From here on it may have happened, whatever is answered.
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
            .map_err(|e| Error::io("look for space", e).with_subject(self.folder.display()))
    }

    fn open(&self) -> Result<Box<dyn StorageBackend>> {
        let path = self.path();
        let file = self
            .fs
            .open(&path, Access::ReadWrite)
            .map_err(|e| Error::io("open state", e).with_subject(path.display()))?;
        Ok(Box::new(FileStorage { file }))
    }
}

/// A file of the seam as redb's storage.
///
/// Of redb's locks it offers the whole file, which is all that its exclusive-writer mode asks
/// for: a program that opens the state file with redb itself is kept out.
#[derive(Debug)]
struct FileStorage {
    file: Box<dyn File>,
}

fn is_whole_file(start: Bound<u64>, end: Bound<u64>) -> bool {
    matches!(start, Bound::Unbounded | Bound::Included(0)) && end == Bound::Unbounded
}

impl StorageBackend for FileStorage {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if is_whole_file(start, end) {
            Ok(self.file.try_lock()?)
        } else {
            Err(BackendError::Unsupported)
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if is_whole_file(start, end) {
            Ok(self.file.unlock()?)
        } else {
            Err(BackendError::Unsupported)
        }
    }
}

/// The state in memory: gone with the last clone, but there again when the vault reopens.
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
    /// No state yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateStorage for MemoryState {
    fn exists(&self) -> Result<bool> {
        Ok(self.cells.lock().published.is_some())
    }

    fn create(&self) -> Result<Box<dyn StorageBackend>> {
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

    fn open(&self) -> Result<Box<dyn StorageBackend>> {
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

/// `offset..offset + len` as indices of a buffer of `size` bytes.
fn span(offset: u64, len: usize, size: usize) -> io::Result<std::ops::Range<usize>> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(len)?))
        .filter(|span| span.end <= size)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for MemoryStorage {
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

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write();
        let span = span(offset, data.len(), bytes.len())?;
        bytes[span].copy_from_slice(data);
        Ok(())
    }
}
