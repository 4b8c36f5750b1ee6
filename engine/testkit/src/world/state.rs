//! A running world: its disk, the files that programs have open, and its limits.
//!
//! Every change takes the same steps: the tree plans it, the capacity allows it, and
//! [`commit`](State::commit) applies and records it. Durability is not known here; a running
//! program cannot see it either.
//!
//! Invariants: the tree is the base with all events of the log applied, less the unreachable
//! inodes. The number of an inode is used once, because histories depend on it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_base::fs::Access;

use super::content::end_of;
use super::defect::Defect;
use super::fault::FaultPlan;
use super::journal::{Event, Journal, Log, Slot};
use super::tree::{Ino, Tree};

#[derive(Debug)]
pub(super) struct State {
    base: Arc<Tree>,
    /// Shared with `base` until the first event.
    tree: Arc<Tree>,
    log: Log,
    open: BTreeMap<Ino, OpenFile>,
    next_ino: Ino,
    next_handle: Handle,
    pub(super) defect: Option<Defect>,
    pub(super) faults: FaultPlan,
    pub(super) capacity: Option<u64>,
}

/// The open handles of one inode.
#[derive(Debug, Default)]
struct OpenFile {
    handles: usize,
    locked_by: Option<Handle>,
}

/// The number of an open file, like a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(u64);

/// A file just opened. It must be [closed](State::close).
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Ino,
    pub(super) handle: Handle,
    pub(super) writable: bool,
}

impl State {
    pub(super) fn new(tree: Tree, defect: Option<Defect>) -> Self {
        let next_ino = tree.next_ino();
        let base = Arc::new(tree);
        Self {
            tree: base.clone(),
            base,
            log: Log::default(),
            open: BTreeMap::new(),
            next_ino,
            next_handle: Handle(0),
            defect,
            faults: FaultPlan::default(),
            capacity: None,
        }
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn events(&self) -> u64 {
        self.log.lock().len() as u64
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::new(self.base.clone(), self.log.clone(), self.defect)
    }

    /// Applies a planned event.
    fn commit(&mut self, event: Event) {
        let unnamed = Arc::make_mut(&mut self.tree).apply(&event);
        self.log.lock().push(event);
        if let Some(ino) = unnamed {
            self.forget_unreachable(ino);
        }
    }

    fn forget_unreachable(&mut self, ino: Ino) {
        if self.tree.is_orphan(ino) && !self.open.contains_key(&ino) {
            Arc::make_mut(&mut self.tree).forget(ino);
        }
    }

    fn take_ino(&mut self) -> Ino {
        let taken = self.next_ino;
        self.next_ino = taken.next();
        taken
    }

    /// Returns the free capacity.
    pub(super) fn available(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.tree.bytes()))
    }

    fn allow_growth(&self, bytes: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if bytes > 0 && self.tree.bytes() + bytes > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn allow_name(&self) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.tree.bytes() >= capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

/// The calls on names.
impl State {
    pub(super) fn open(&mut self, path: &Path, access: Access) -> io::Result<Opened> {
        let file = match access {
            Access::Read | Access::ReadWrite => self.tree.file(path)?,
            Access::CreateNew => self.create(path)?,
            Access::OpenOrCreate => match self.tree.file(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.create(path)?,
                found => found?,
            },
        };
        let handle = self.next_handle;
        self.next_handle = Handle(handle.0 + 1);
        self.open.entry(file).or_default().handles += 1;
        Ok(Opened { file, handle, writable: access != Access::Read })
    }

    fn create(&mut self, path: &Path) -> io::Result<Ino> {
        let event = self.tree.plan_create(path, self.next_ino)?;
        self.allow_name()?;
        let file = self.take_ino();
        self.commit(event);
        Ok(file)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let event = self.tree.plan_create_dir(path, self.next_ino)?;
        self.allow_name()?;
        self.take_ino();
        self.commit(event);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(event) = self.tree.plan_rename(from, to)? {
            self.commit(event);
        }
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let event = self.tree.plan_link(from, to)?;
        self.allow_name()?;
        self.commit(event);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let event = self.tree.plan_remove(path)?;
        self.commit(event);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.tree.dir(path)?;
        self.commit(Event::SyncDir { dir });
        Ok(())
    }

    /// Makes the file at `path` durable with these bytes.
    ///
    /// Every name on the path becomes durable too.
    pub(super) fn place(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let limit = self.capacity.take();
        let placed = self.place_without_limit(path, bytes);
        self.capacity = limit;
        placed
    }

    fn place_without_limit(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        parents.reverse();
        for parent in parents {
            if matches!(self.tree.dir(&parent), Err(e) if e.kind() == io::ErrorKind::NotFound) {
                self.create_dir(&parent)?;
            }
            // The root folder has no name, and is always durable.
            if let Ok(at) = self.tree.slot(&parent) {
                self.settle(at);
            }
        }
        let file = match self.tree.file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create(path)?,
            found => found?,
        };
        self.set_len(file, 0)?;
        self.write(file, bytes, 0)?;
        self.settle(self.tree.slot(path)?);
        Ok(())
    }

    fn settle(&mut self, at: Slot) {
        if let Some(ino) = self.tree.bound(&at) {
            self.commit(Event::Settle { at, ino });
        }
    }
}

/// The calls on an open file.
impl State {
    pub(super) fn write(&mut self, file: Ino, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, bytes.len())?;
        self.allow_growth(end.saturating_sub(self.tree.content(file).len()))?;
        self.commit(Event::Write { file, offset, bytes: bytes.into() });
        Ok(())
    }

    pub(super) fn set_len(&mut self, file: Ino, len: u64) -> io::Result<()> {
        end_of(len, 0)?;
        self.allow_growth(len.saturating_sub(self.tree.content(file).len()))?;
        self.commit(Event::SetLen { file, len });
        Ok(())
    }

    pub(super) fn sync(&mut self, file: Ino) {
        self.commit(Event::Sync { file });
    }

    /// Returns whether `handle` has the lock of `file` now.
    pub(super) fn try_lock(&mut self, file: Ino, handle: Handle) -> bool {
        let open = self.open.get_mut(&file).expect("who locks a file holds it open");
        *open.locked_by.get_or_insert(handle) == handle
    }

    pub(super) fn unlock(&mut self, file: Ino, handle: Handle) {
        let open = self.open.get_mut(&file).expect("who unlocks a file holds it open");
        open.locked_by.take_if(|holder| *holder == handle);
    }

    pub(super) fn close(&mut self, file: Ino, handle: Handle) {
        self.unlock(file, handle);
        let open = self.open.get_mut(&file).expect("who closes a file holds it open");
        open.handles -= 1;
        if open.handles == 0 {
            self.open.remove(&file);
            self.forget_unreachable(file);
        }
    }
}
