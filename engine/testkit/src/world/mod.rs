//! A simulated file system whose power can be cut.
//!
//! A [`World`] replaces the operating system behind the file-system seam. One world serves the
//! whole vault, with all its files and folders and a single counter of events. The bugs worth
//! finding are *between* files: a row that is durable before its object, a name that is durable
//! before its bytes.
//!
//! Running and crashing are separate. While a program runs, the world only applies each event to
//! its tree and records it in a [`Journal`]. Afterwards a [`Replay`] processes the journal and
//! makes, after any event, any number of images of the disk. Each image is a world, to be opened,
//! checked and crashed again.
//!
//! ```
//! use std::path::Path;
//! use strongroom::backends::fs::{Access, FileSystem};
//! use strongroom_testkit::{Replay, World};
//!
//! let world = World::new();
//! let file = world.open(Path::new("/note"), Access::CreateNew)?;
//! file.write_all_at(b"durable?", 0)?;
//! file.sync()?;
//!
//! // The bytes are synced, the name is not: it exists in some images only.
//! let mut replay = Replay::new(&world.journal());
//! replay.advance_to(world.events());
//! let found = (0..100).filter(|seed| replay.image(*seed).read_file("/note").is_ok()).count();
//! assert!(0 < found && found < 100);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The disk is harsher than real ones, so that no proof depends on the behaviour of one file
//! system:
//!
//! - In a file that was not synced, each sector of 512 bytes survives independently, as any of its
//!   versions since the last sync of the file. So does the length. Bytes past the surviving length
//!   are gone. Bytes inside it that no surviving sector wrote are zeros.
//! - In a folder that was not synced, each name survives independently, as any of its bindings
//!   since the last sync of the folder. A rename may lose both names, or leave both.
//! - The sync of a file does not make its name durable. The sync of a folder makes neither the
//!   bytes of its files nor its own name durable. A folder whose name is lost is gone with its
//!   contents.
//!
//! The world knows no vaults and backends; it sees only the seam. Times, modes and symbolic links
//! do not exist. Reading is not an event. A failed call is not one either, unless its [`Fault`] has
//! an effect.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_base::fs::{Access, DirEntry, File, FileSystem};

mod content;
mod defect;
mod fate;
mod fault;
mod file;
mod history;
mod journal;
mod replay;
mod state;
#[cfg(test)]
mod tests;
mod tree;

pub use defect::Defect;
pub use fault::{Fault, FaultError, FaultTiming};
pub use journal::Journal;
pub use replay::Replay;

use file::WorldFile;
use state::State;
use tree::Tree;

/// A simulated file system. The [module](self) describes how it loses data.
///
/// Clones share one disk. It can be used from many threads. Each call is atomic, and the order of
/// the calls is the order of their events.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
}

impl World {
    /// Makes a disk with an empty, durable root folder `/`.
    pub fn new() -> Self {
        Self::from_tree(Tree::new(), None)
    }

    fn from_tree(tree: Tree, defect: Option<Defect>) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(tree, defect))) }
    }

    /// Returns this world with a disk that breaks a promise.
    ///
    /// It replaces any other defect.
    ///
    /// It applies to the journals taken from now on, with all their events.
    pub fn with_defect(self, defect: Defect) -> Self {
        self.state.lock().defect = Some(defect);
        self
    }

    /// Returns the number of disk changes since the world was made.
    ///
    /// Each created file or folder, write, change of length, rename, hard link, removal, and sync
    /// of a file or folder counts as one.
    pub fn events(&self) -> u64 {
        self.state.lock().events()
    }

    /// Returns all events up to now.
    pub fn journal(&self) -> Journal {
        self.state.lock().journal()
    }

    /// Returns the world after an orderly end, with everything durable.
    ///
    /// It has no faults, no capacity and no locks. The defect stays.
    pub fn same_as_now(&self) -> Self {
        let state = self.state.lock();
        Self::from_tree(state.tree().without_orphans(), state.defect)
    }
}

/// Faults and limits on command.
impl World {
    /// Returns the number of seam calls, including reads, locks and failures. Closing a file is not
    /// a call.
    pub fn calls(&self) -> u64 {
        self.state.lock().faults.calls()
    }

    /// Makes one call fail: the `nth` from now on, where 1 is the next.
    ///
    /// Faults of different calls do not affect each other.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        self.state.lock().faults.fail_at(nth, fault);
    }

    /// Makes every call fail from the `nth` from now on.
    ///
    /// The next call is 1. It lasts until [`clear_faults`](Self::clear_faults).
    pub fn fail_from(&self, nth: u64, fault: Fault) {
        self.state.lock().faults.fail_from(nth, fault);
    }

    /// Removes all faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Limits the sum of the lengths of all files, in bytes. Holes count in full, and so do open
    /// files without a name.
    ///
    /// A call that would grow a file past the limit returns `StorageFull` without effect. So does a
    /// new name, but not a rename, once the limit is reached.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }
}

/// Views and bad inputs past the seam: these are not calls, and no fault affects them.
impl World {
    /// Lists every file and folder below the root, by path.
    ///
    /// A file has its length in bytes, a folder `None`.
    pub fn tree(&self) -> Vec<(PathBuf, Option<u64>)> {
        self.state.lock().tree().listing()
    }

    /// Returns all bytes of a file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let file = state.tree().file(path.as_ref())?;
        Ok(state.tree().content(file).to_vec())
    }

    /// Replaces all bytes of a file by `bytes`; creates the file and its folders if needed.
    ///
    /// Folders, name and bytes are durable at once, whatever the defect or capacity. Open files see
    /// the new bytes. Counts as several events.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.state.lock().place(path.as_ref(), bytes.as_ref())
    }
}

impl World {
    /// Runs one call of the seam, which may be set to fail.
    fn call<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.call_or_tear(act, |_| Ok(()))
    }

    /// Runs one seam call, with its partial effect if torn.
    fn call_or_tear<T>(
        &self,
        act: impl FnOnce(&mut State) -> io::Result<T>,
        tear: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let Some(fault) = state.faults.next_call() else {
            return act(&mut state);
        };
        match fault.timing {
            FaultTiming::Before => {}
            FaultTiming::Torn => tear(&mut state)?,
            FaultTiming::After => {
                let outcome = act(&mut state);
                // Dropping an opened file closes it, which needs the lock.
                drop(state);
                drop(outcome?);
            }
        }
        Err(fault.error.into())
    }
}

impl FileSystem for World {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        self.call(|state| {
            let opened = state.open(path, access)?;
            Ok(Box::new(WorldFile::new(self.clone(), opened)) as Box<dyn File>)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| state.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| state.hard_link(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(|state| state.remove_file(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|state| state.create_dir(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(|state| state.tree().entries(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|state| state.sync_dir(path))
    }

    fn available_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().available())
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("World")
            .field("events", &state.events())
            .field("calls", &state.faults.calls())
            .field("defect", &state.defect)
            .finish_non_exhaustive()
    }
}
