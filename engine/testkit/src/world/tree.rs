//! Folders, files and names: the contents of a disk at one moment.
//!
//! Each mutating call has two steps. A `plan_…` function checks the call by the rules of POSIX and
//! returns its event. [`Tree::apply`] applies the event and cannot fail. Other files handle the
//! journal, the capacity, the faults and open files in between.
//!
//! There are no symbolic links, no modes and no times. Folders are neither moved nor removed,
//! because the seam cannot do it, so every folder has one name for ever.
//!
//! Invariants: the root folder exists; every name refers to an inode; `links` counts the names of
//! an inode. An inode without names stays until [`Tree::forget`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use strongroom_base::fs::{DirEntry, EntryKind};

use super::content::Content;
use super::journal::{Event, Slot};

/// Longest name, in bytes; `InvalidFilename` beyond.
const NAME_BYTES_MAX: usize = 255;

/// A name within a folder.
pub(super) type Name = Arc<str>;
/// The inodes behind the names of a folder.
pub(super) type Names = BTreeMap<Name, Ino>;

/// The number of an inode; never reused in one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ino(u64);

impl Ino {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The root folder.
pub(super) const ROOT: Ino = Ino(0);

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Arc<Names>),
}

#[derive(Clone, Debug)]
struct Inode {
    node: Node,
    links: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<Ino, Inode>,
}

impl Tree {
    /// Makes a root folder without names.
    pub(super) fn new() -> Self {
        let mut tree = Self { inodes: BTreeMap::new() };
        tree.insert(ROOT, Node::Dir(Arc::default()), 1);
        tree
    }

    fn insert(&mut self, ino: Ino, node: Node, links: u32) {
        self.inodes.insert(ino, Inode { node, links });
    }

    /// Returns the first unused number of an inode.
    pub(super) fn next_ino(&self) -> Ino {
        self.inodes.last_key_value().expect("the root folder exists").0.next()
    }

    /// Returns the sum of all file lengths, even without names.
    pub(super) fn bytes(&self) -> u64 {
        let len = |(_, node): (Ino, &Node)| match node {
            Node::File(content) => content.len(),
            Node::Dir(_) => 0,
        };
        self.inodes().map(len).sum()
    }

    /// Lists all inodes with their nodes.
    pub(super) fn inodes(&self) -> impl Iterator<Item = (Ino, &Node)> {
        self.inodes.iter().map(|(ino, inode)| (*ino, &inode.node))
    }

    /// Returns the bytes of a file.
    pub(super) fn content(&self, file: Ino) -> &Content {
        match self.inodes.get(&file).map(|inode| &inode.node) {
            Some(Node::File(content)) => content,
            _ => unreachable!("{file} is an open file"),
        }
    }

    fn content_mut(&mut self, file: Ino) -> &mut Content {
        match self.inodes.get_mut(&file).map(|inode| &mut inode.node) {
            Some(Node::File(content)) => content,
            _ => unreachable!("{file} is an open file"),
        }
    }

    /// Returns whether an inode has no name any more.
    pub(super) fn is_orphan(&self, ino: Ino) -> bool {
        self.inodes.get(&ino).is_some_and(|inode| inode.links == 0)
    }

    /// Frees an inode.
    pub(super) fn forget(&mut self, ino: Ino) {
        self.inodes.remove(&ino);
    }

    /// Returns the tree without inodes that have no name.
    pub(super) fn without_orphans(&self) -> Self {
        let mut tree = self.clone();
        tree.inodes.retain(|_, inode| inode.links > 0);
        tree
    }

    /// Lists every file and folder by path, with file lengths.
    pub(super) fn listing(&self) -> Vec<(PathBuf, Option<u64>)> {
        let mut listing = Vec::new();
        self.list_into(ROOT, Path::new("/"), &mut listing);
        listing
    }

    fn list_into(&self, dir: Ino, path: &Path, listing: &mut Vec<(PathBuf, Option<u64>)>) {
        for (name, ino) in self.names(dir).expect("only folders are listed").iter() {
            let path = path.join(&**name);
            match &self.inodes[ino].node {
                Node::File(content) => listing.push((path, Some(content.len()))),
                Node::Dir(_) => {
                    listing.push((path.clone(), None));
                    self.list_into(*ino, &path, listing);
                }
            }
        }
    }
}

/// Resolving paths.
impl Tree {
    fn names(&self, dir: Ino) -> io::Result<&Arc<Names>> {
        match &self.inodes[&dir].node {
            Node::Dir(names) => Ok(names),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn walk(&self, names: &[&str]) -> io::Result<Ino> {
        names.iter().try_fold(ROOT, |dir, name| {
            self.names(dir)?.get(*name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// Returns the file at `path`; `IsADirectory` for a folder.
    pub(super) fn file(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.walk(&components(path)?)?;
        match self.inodes[&ino].node {
            Node::File(_) => Ok(ino),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Returns the folder at `path`; `NotADirectory` for a file.
    pub(super) fn dir(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.walk(&components(path)?)?;
        self.names(ino).map(|_| ino)
    }

    /// Lists the entries of the folder at `path`.
    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.names(self.dir(path)?)?;
        Ok(names
            .iter()
            .map(|(name, ino)| DirEntry { name: name.to_string(), kind: self.kind(*ino) })
            .collect())
    }

    fn kind(&self, ino: Ino) -> EntryKind {
        match &self.inodes[&ino].node {
            Node::File(content) => EntryKind::File { len: content.len() },
            Node::Dir(_) => EntryKind::Dir,
        }
    }

    /// Returns the slot of the name of `path`, used or free. The root folder has none:
    /// `IsADirectory`.
    pub(super) fn slot(&self, path: &Path) -> io::Result<Slot> {
        let components = components(path)?;
        let Some((name, parents)) = components.split_last() else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let dir = self.walk(parents)?;
        self.names(dir)?;
        Ok(Slot { dir, name: Name::from(*name) })
    }

    /// Returns the inode of a slot.
    pub(super) fn bound(&self, slot: &Slot) -> Option<Ino> {
        self.names(slot.dir).ok()?.get(&slot.name).copied()
    }

    fn bound_file(&self, slot: &Slot) -> io::Result<Option<Ino>> {
        match self.bound(slot) {
            Some(ino) if matches!(self.inodes[&ino].node, Node::Dir(_)) => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            bound => Ok(bound),
        }
    }

    fn free_slot(&self, path: &Path) -> io::Result<Slot> {
        let slot = self.slot(path)?;
        match self.bound(&slot) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(slot),
        }
    }
}

/// Checking a call by the rules of POSIX.
impl Tree {
    /// Plans a new file with the number `file`; `AlreadyExists` if the name is taken.
    pub(super) fn plan_create(&self, path: &Path, file: Ino) -> io::Result<Event> {
        Ok(Event::Create { at: self.free_slot(path)?, file })
    }

    /// Plans a new folder with the number `dir`.
    pub(super) fn plan_create_dir(&self, path: &Path, dir: Ino) -> io::Result<Event> {
        if components(path)?.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Event::CreateDir { at: self.free_slot(path)?, dir })
    }

    /// Plans the rename of a file; `None` if both names are the same file, which POSIX leaves
    /// unchanged.
    pub(super) fn plan_rename(&self, from: &Path, to: &Path) -> io::Result<Option<Event>> {
        let (from, to) = (self.slot(from)?, self.slot(to)?);
        let file = self.bound_file(&from)?.ok_or(io::ErrorKind::NotFound)?;
        if self.bound_file(&to)? == Some(file) {
            return Ok(None);
        }
        Ok(Some(Event::Rename { from, to, file }))
    }

    /// Plans an additional name for a file; `PermissionDenied` for a folder.
    pub(super) fn plan_link(&self, from: &Path, to: &Path) -> io::Result<Event> {
        let file = self.file(from).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => io::ErrorKind::PermissionDenied.into(),
            _ => error,
        })?;
        Ok(Event::Link { at: self.free_slot(to)?, file })
    }

    /// Plans the removal of a file's name.
    pub(super) fn plan_remove(&self, path: &Path) -> io::Result<Event> {
        let at = self.slot(path)?;
        self.bound_file(&at)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Event::Remove { at })
    }
}

/// Applying events.
impl Tree {
    /// Applies an event that was planned on this tree; returns the inode that lost a name.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Ino> {
        match event {
            Event::Create { at, file } => {
                self.insert(*file, Node::File(Content::default()), 0);
                self.bind(at, *file)
            }
            Event::CreateDir { at, dir } => {
                self.insert(*dir, Node::Dir(Arc::default()), 0);
                self.bind(at, *dir)
            }
            Event::Write { file, offset, bytes } => {
                self.content_mut(*file).write(bytes, *offset);
                None
            }
            Event::SetLen { file, len } => {
                self.content_mut(*file).set_len(*len);
                None
            }
            Event::Rename { from, to, file } => {
                let replaced = self.bind(to, *file);
                self.unbind(from);
                replaced
            }
            Event::Link { at, file } => self.bind(at, *file),
            Event::Remove { at } => self.unbind(at),
            Event::Sync { .. } | Event::SyncDir { .. } | Event::Settle { .. } => None,
        }
    }

    fn bind(&mut self, at: &Slot, ino: Ino) -> Option<Ino> {
        let replaced = self.names_mut(at.dir).insert(at.name.clone(), ino);
        self.links_mut(ino, |links| links + 1);
        replaced.inspect(|old| self.links_mut(*old, |links| links - 1))
    }

    fn unbind(&mut self, at: &Slot) -> Option<Ino> {
        let removed = self.names_mut(at.dir).remove(&at.name);
        removed.inspect(|old| self.links_mut(*old, |links| links - 1))
    }

    fn names_mut(&mut self, dir: Ino) -> &mut Names {
        match self.inodes.get_mut(&dir).map(|inode| &mut inode.node) {
            Some(Node::Dir(names)) => Arc::make_mut(names),
            _ => unreachable!("{dir} is a folder, and folders stay"),
        }
    }

    fn links_mut(&mut self, ino: Ino, change: impl FnOnce(u32) -> u32) {
        let inode = self.inodes.get_mut(&ino).expect("a name leads to an inode");
        inode.links = change(inode.links);
    }
}

/// Building a tree from the survivors.
impl Tree {
    /// Adds a folder with its names; the inodes behind them must follow.
    pub(super) fn restore_dir(&mut self, dir: Ino, names: Arc<Names>) {
        self.insert(dir, Node::Dir(names), 1);
    }

    /// Counts one name of a file. `content` is called for its first name.
    pub(super) fn restore_file(&mut self, file: Ino, content: impl FnOnce() -> Content) {
        self.inodes
            .entry(file)
            .or_insert_with(|| Inode { node: Node::File(content()), links: 0 })
            .links += 1;
    }
}

/// Splits a path into names, starting from the root folder.
///
/// A relative path starts there too. Without symbolic links `..` is taken literally.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                if name.len() > NAME_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidFilename.into());
                }
                names.push(name);
            }
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir => {}
            Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
