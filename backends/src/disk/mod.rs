//! Objects as files of a local file system.
//!
//! ```text
//! <root>/objects/<segment>/…/<last segment>.object   the bodies, verbatim
//! <root>/tmp/<32 hex digits>                          bodies being written
//! <root>/lock                                         the kernel lock of the root, empty
//! ```
//!
//! The suffix separates key `a` (a file) from key `a/b` (in a folder `a`); no key contains a dot.
//!
//! A body is written to a temporary file and synced before it gets its name, so a name always
//! refers to a whole body. The file behind a name never changes, so a reader that has it open is
//! not disturbed. A call ends with a sync of the folder of the name.
//!
//! **Purpose of the lock.** `Matches` compares the current body and then renames; no other call may
//! replace or remove that body in between. So `Any` and `delete` take the lock as well. `Absent`
//! needs no lock: `hard_link` checks and acts in one step. It cannot disturb a `Matches` that has
//! the lock, because it never replaces an existing name and `Matches` never creates a missing one.
//! `list` takes the lock while it reads a folder: several file systems move an entry within its
//! folder when a rename replaces it, and a running listing would miss that entry.
//!
//! **Assumptions.** A local file system with hard links and `flock`. A `rename`, link or unlink
//! that was refused for one of the reasons in [`refused_for_sure`] has not happened. Network file
//! systems repeat requests, which breaks the second assumption.

mod folders;
mod list;
mod lock;
mod temporary;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{Backend, Condition, ListEntry, Object, Version, check_range};
use strongroom_base::Key;
use strongroom_base::component::{Clock, Entropy, OsEntropy, SystemClock};
use strongroom_base::fs::{Access, EntryKind, File, FileSystem, Os};
use strongroom_base::{Error, ErrorKind, Result};

use folders::Folders;
use lock::RootLock;
use temporary::Temporary;

/// Suffix of the file name of every object.
const OBJECT_SUFFIX: &str = ".object";

/// Parallel requests: enough to fill the queue of a local disk during syncs.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not zero");

/// A [`Backend`] on a folder of a local file system. Clones share one handle.
///
/// Any number of handles and processes may use one root at the same time. Beyond the contract's
/// errors, calls that write or list are `Locked` if the root's lock is not free within ten seconds.
/// That happens only if a holder is stopped during a call.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    fs: Arc<dyn FileSystem>,
    entropy: Arc<dyn Entropy>,
    root: PathBuf,
    objects: PathBuf,
    tmp: PathBuf,
    folders: Folders,
    lock: RootLock,
}

impl Disk {
    /// The value of [`Backend::name`].
    pub const NAME: &str = "disk";

    /// Opens the store at `root` on the operating system's file system; creates it if missing.
    ///
    /// `Denied`, `Full` or `Unavailable` as reported by the file system. `Invalid` if the path
    /// names something other than a folder.
    ///
    /// ```
    /// use strongroom_backends::{Backend, Condition, Disk, Key};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let disk = Disk::open(folder.path().join("store"))?;
    /// let key = Key::new("content/00ff")?;
    /// let version = disk.put(&key, "body".into(), &Condition::Absent)?;
    /// assert_eq!(disk.get(&key)?.version, version);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::with(Arc::new(Os), Arc::new(OsEntropy), Arc::new(SystemClock::new()), root)
    }

    /// Opens a store on other components: a simulated file system, a seed, a test's clock.
    pub fn with(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        root: impl Into<PathBuf>,
    ) -> Result<Self> {
        let root = root.into();
        let file = make_root(&*fs, &root)
            .map_err(|e| Error::io("open disk store", e).with_subject(root.display()))?;
        Ok(Self::of(fs, entropy, clock, root, file))
    }

    /// Opens the store at `root` without syncing its folders.
    ///
    /// The caller knows that an earlier [`with`](Self::with) of this root has returned, so its
    /// folders are durable. This saves two syncs. A folder that is missing after all is created.
    pub fn with_made(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        root: impl Into<PathBuf>,
    ) -> Result<Self> {
        let root = root.into();
        let there = |name| {
            let made = fs.create_dir(&root.join(name));
            made.is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists)
        };
        if !there("objects") || !there("tmp") {
            // Perhaps a copy, made by a tool that omits empty folders.
            return Self::with(fs, entropy, clock, root);
        }
        match fs.open(&root.join("lock"), Access::ReadWrite) {
            Ok(file) => Ok(Self::of(fs, entropy, clock, root, file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::with(fs, entropy, clock, root),
            Err(e) => Err(Error::io("open disk store", e).with_subject(root.display())),
        }
    }

    fn of(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        root: PathBuf,
        lock: Box<dyn File>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                fs,
                entropy,
                objects: root.join("objects"),
                tmp: root.join("tmp"),
                root,
                folders: Folders::default(),
                lock: RootLock::new(lock, clock),
            }),
        }
    }

    /// Removes the temporary files of dead writers; returns their number.
    ///
    /// The caller guarantees that no other process writes to this root meanwhile: files of a living
    /// writer look the same.
    pub fn clear_temporaries(&self) -> Result<u64> {
        let shared = &*self.shared;
        shared
            .clear_temporaries()
            .map_err(|e| Error::io("clear temporary files", e).with_subject(shared.tmp.display()))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("root", &self.shared.root).finish_non_exhaustive()
    }
}

impl Backend for Disk {
    fn get(&self, key: &Key) -> Result<Object> {
        self.shared.read(key).map_err(|e| Error::io("get object", e).with_subject(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.shared.read_range(key, range).map_err(|e| e.with_subject(key))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.shared.put(key, &body, condition).map_err(|e| store_gone(e).with_subject(key))?;
        Ok(Version::of_content(&body))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.delete_all(slice::from_ref(key)).map_err(|e| e.with_subject(key))
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.shared.delete(keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        list::page(&self.shared, prefix, after, limit)
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn concurrency(&self) -> NonZeroUsize {
        CONCURRENCY
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn available_bytes(&self) -> Result<u64> {
        let Shared { fs, root, .. } = &*self.shared;
        fs.available_bytes(root)
            .map_err(|e| Error::io("read free space", e).with_subject(root.display()))
    }
}

impl Shared {
    fn object_path(&self, key: &Key) -> PathBuf {
        self.objects.join(format!("{key}{OBJECT_SUFFIX}"))
    }

    fn read(&self, key: &Key) -> io::Result<Object> {
        let file = self.fs.open(&self.object_path(key), Access::Read)?;
        let body = read_part(&*file, 0..file.len()?)?;
        let version = Version::of_content(&body);
        Ok(Object { body, version })
    }

    fn read_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let io = |e| Error::io("get range of object", e);
        let file = self.fs.open(&self.object_path(key), Access::Read).map_err(io)?;
        let len = file.len().map_err(io)?;
        check_range(&range, len)?;
        read_part(&*file, range).map_err(io)
    }

    /// All errors before [`commit`](Self::commit) mean that nothing happened, and keep their kind.
    fn put(&self, key: &Key, body: &[u8], condition: &Condition) -> Result<()> {
        let target = self.object_path(key);
        self.folders
            .ensure(&*self.fs, &self.objects, key)
            .map_err(|e| Error::io("make folder of object", e))?;
        let temporary = Temporary::write(&*self.fs, &*self.entropy, &self.tmp, body)?;
        self.commit(key, temporary, &target, condition)?;
        // Outside the lock, so that other writers do not wait for this disk. A writer that builds
        // on the new name meanwhile syncs the same folder before it returns.
        self.sync_folder("put object", &target)
    }

    /// Renames the temporary file to its name if the condition holds.
    fn commit(
        &self,
        key: &Key,
        temporary: Temporary<'_>,
        target: &Path,
        condition: &Condition,
    ) -> Result<()> {
        let failed = |e| commit_error("put object", e);
        match condition {
            Condition::Absent => temporary.link_to(target).map_err(failed),
            Condition::Any => {
                let _held = self.lock.acquire()?;
                temporary.rename_to(target).map_err(failed)
            }
            Condition::Matches(_) => {
                let _held = self.lock.acquire()?;
                let current = match self.read(key) {
                    Ok(object) => Some(object.version),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                    Err(e) => return Err(Error::io("compare object", e)),
                };
                condition.check(current.as_ref())?;
                temporary.rename_to(target).map_err(failed)
            }
        }
    }

    fn delete(&self, keys: &[Key]) -> Result<()> {
        const DELETE: &str = "delete object";
        let targets: Vec<PathBuf> = keys.iter().map(|key| self.object_path(key)).collect();
        {
            let _held = self.lock.acquire()?;
            for target in &targets {
                match self.fs.remove_file(target) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(commit_error(DELETE, e));
                    }
                    _ => {}
                }
            }
        }
        // Absent keys are included: another process may have removed one without syncing, and the
        // absence that we report must be durable too. Without a folder it is durable already.
        let folders: BTreeSet<&Path> = targets.iter().map(|target| folder_of(target)).collect();
        for folder in folders {
            match self.fs.sync_dir(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(not_durable(DELETE, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sync_folder(&self, operation: &'static str, target: &Path) -> Result<()> {
        self.fs.sync_dir(folder_of(target)).map_err(|e| not_durable(operation, e))
    }

    fn clear_temporaries(&self) -> io::Result<u64> {
        let mut removed = 0;
        for entry in self.fs.read_dir(&self.tmp)? {
            let is_file = matches!(entry.kind, EntryKind::File { .. });
            if !is_file || !temporary::is_name(&entry.name) {
                continue;
            }
            self.fs.remove_file(&self.tmp.join(&entry.name))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// Creates the folders of a store and opens its lock file.
fn make_root(fs: &dyn FileSystem, root: &Path) -> io::Result<Box<dyn File>> {
    folders::make_durable(fs, root)?;
    folders::make(fs, &root.join("objects"))?;
    folders::make(fs, &root.join("tmp"))?;
    let lock = fs.open(&root.join("lock"), Access::OpenOrCreate)?;
    // Existing folders are synced too, because their creator may not have synced yet.
    fs.sync_dir(root)?;
    Ok(lock)
}

fn folder_of(object: &Path) -> &Path {
    object.parent().expect("an object's file is inside the folder of objects")
}

fn read_part(file: &dyn File, range: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(range.end - range.start)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

/// Returns whether a failed link, rename or unlink certainly changed nothing.
///
/// The kernel checks these conditions before it changes anything.
fn refused_for_sure(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(
        error.kind(),
        Io::AlreadyExists
            | Io::NotFound
            | Io::StorageFull
            | Io::QuotaExceeded
            | Io::PermissionDenied
            | Io::ReadOnlyFilesystem
    )
}

/// Returns the error of the call that publishes a put or delete.
fn commit_error(operation: &'static str, error: io::Error) -> Error {
    if refused_for_sure(&error) {
        return Error::io(operation, error);
    }
    Error::io(operation, error).with_kind(ErrorKind::Uncertain)
}

/// Returns the error of the sync after the change became visible.
fn not_durable(operation: &'static str, error: io::Error) -> Error {
    let detail = format!("the change happened, but may not survive a power cut: {error}");
    Error::io(operation, error).with_kind(ErrorKind::Uncertain).with_detail(detail)
}

/// Translates `NotFound` of a put: only the store's own folders can be missing.
fn store_gone(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    error.with_kind(ErrorKind::Unavailable).with_detail("a folder of the store is gone")
}

#[cfg(test)]
mod tests;
