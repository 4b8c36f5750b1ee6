//! A simulated file system whose power can be cut.
//!
//! A [`World`] stands behind the file-system seam in place of the operating system. It is one
//! for the whole vault, with all its files and folders and a single counter of events, because
//! the bugs worth finding lie *between* files: the row that is durable before its object, the
//! name that is durable before its bytes.
//!
//! Running and crashing are apart. While a program runs, the world only applies each event to
//! its tree and notes it in a [`Journal`]. Afterwards a [`Replay`] walks through the journal
//! and makes, after any event, as many images of the disk as wanted; each is a world of its
//! own, to be opened, checked and crashed again.
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
//! // The bytes are synced, the name is not: it is there in some images only.
//! let mut replay = Replay::new(&world.journal());
//! replay.advance_to(world.events());
//! let found = (0..100).filter(|seed| replay.image(*seed).read_file("/note").is_ok()).count();
//! assert!(0 < found && found < 100);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The disk is harsher than real ones, so that no proof rests on the habits of one file system:
//!
//! - Of a file that was not synced, each sector of 512 bytes survives by itself, as any of its
//!   versions since the last sync of the file; so does the length. Bytes past the surviving
//!   length are gone, and bytes inside it that no surviving sector wrote are zeros.
//! - Of a folder that was not synced, each name survives by itself, as any of its bindings
//!   since the last sync of the folder. A rename may lose both names, or leave both.
//! - The sync of a file does not make its name durable, nor the sync of a folder the bytes of
//!   its files, nor its own name. A folder whose name is lost is gone with all in it.
//!
//! It knows nothing of vaults and backends; the seam is all that it sees. Times, modes and
//! symbolic links do not exist. Reading is not an event, and a failed call is none either,
//! unless its [`Fault`] says that something happened.

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

/// A simulated file system; see the [module](self) for how it loses data.
///
/// Clones share one disk. It can be used from many threads; each call is atomic, and the order
/// in which calls happened is the order of their events.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
}

impl World {
    /// A disk with an empty root folder `/`, which is durable.
    pub fn new() -> Self {
        Self::from_tree(Tree::new(), None)
    }

    fn from_tree(tree: Tree, defect: Option<Defect>) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(tree, defect))) }
    }

    /// This world with a disk that breaks a promise, in place of any other defect it had. It
    /// counts for the journals taken from now on, with all their events.
    pub fn with_defect(self, defect: Defect) -> Self {
        self.state.lock().defect = Some(defect);
        self
    }

    /// How many changes of the disk there were since the world was made: each file or folder
    /// created, write, change of length, rename, hard link, removal, and sync of a file or
    /// folder counts as one.
    pub fn events(&self) -> u64 {
        self.state.lock().events()
    }

    /// All events up to now.
    pub fn journal(&self) -> Journal {
        self.state.lock().journal()
    }

    /// The world after an orderly end, with all that was not synced yet made durable; without
    /// faults, limit of capacity and locks. The defect stays.
    pub fn same_as_now(&self) -> Self {
        let state = self.state.lock();
        Self::from_tree(state.tree().without_orphans(), state.defect)
    }
}

/// Trouble on command.
impl World {
    /// How many calls of the seam there were, including reads, locks and those that failed.
    /// Closing a file is not a call.
    pub fn calls(&self) -> u64 {
        self.state.lock().faults.calls()
    }

    /// Lets one call fail: the `nth` from now on, where 1 is the next. Faults at different
    /// calls wait side by side.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        self.state.lock().faults.fail_at(nth, fault);
    }

    /// Lets every call fail from the `nth` from now on, where 1 is the next, until
    /// [`clear_faults`](Self::clear_faults).
    pub fn fail_from(&self, nth: u64, fault: Fault) {
        self.state.lock().faults.fail_from(nth, fault);
    }

    /// Takes back all faults that have not struck.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Limits the lengths of all files together to so many bytes; holes count in full, open
    /// files without a name too. `StorageFull` is what a call returns, without effect, that
    /// would grow a file past the limit, and a new name (but not a rename) once it is reached.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }
}

/// Views and bad inputs, past the seam: these are no calls, and no fault strikes them.
impl World {
    /// Every file and folder below the root in the order of their paths, with the length in
    /// bytes of files and `None` for folders.
    pub fn tree(&self) -> Vec<(PathBuf, Option<u64>)> {
        self.state.lock().tree().listing()
    }

    /// All bytes of a file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let file = state.tree().file(path.as_ref())?;
        Ok(state.tree().content(file).to_vec())
    }

    /// Puts `bytes` in place of all bytes of a file, which is made if there is none, with the
    /// folders on its way. They, the name and the bytes are durable at once, whatever the
    /// defect or capacity. Files that are open see the new bytes.
    ///
    /// Counts as several events.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.state.lock().place(path.as_ref(), bytes.as_ref())
    }
}

impl World {
    /// One call of the seam, which may be told to fail.
    fn call<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.call_or_tear(act, |_| Ok(()))
    }

    /// One call of the seam, and what remains of it when it is torn.
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
                // An opened file closes when it is dropped, and needs the lock for it.
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
