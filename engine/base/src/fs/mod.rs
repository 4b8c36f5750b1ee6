//! The seam between Strongroom and a file system.
//!
//! Everything that touches a file goes through these two traits: the disk backend, the vault's
//! state file, its lock and its notes. The operating system's file system stands behind them in
//! production ([`Os`]); in tests a simulated world does, which can cut the power at any call.
//! So the seam has exactly the calls whose crash behaviour matters, and no buffering of its own.

use std::fmt;
use std::io;
use std::path::Path;

mod os;

pub use os::Os;

/// The calls on names. Errors are the operating system's.
///
/// None of them is durable by itself: a change of a name survives a power cut once
/// [`sync_dir`](Self::sync_dir) on the folder that holds the name has returned.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Opens the file at `path`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// Makes `from` the file at `to`, replacing a file there. Atomic for readers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the file at `from` also the file at `to`; `AlreadyExists` if there is one.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file; `NotFound` if there is none.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder, mode 0700; `AlreadyExists` if anything has that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a folder, in no particular order; `NotFound` if there is no such folder.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Waits until every change of names in this folder survives a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// How many more bytes this process may write below the folder `path`, as far as the file
    /// system knows; `u64::MAX` if it does not. Another process may take them first.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The calls on an open file. Positions are absolute; there is no cursor.
///
/// Dropping the file closes it and releases its lock. It does not sync.
pub trait File: fmt::Debug + Send + Sync {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the bytes and the length survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Tries to take the exclusive kernel lock of this file, without waiting; `false` if another
    /// open file holds it, in this process or another. The kernel releases it when the file is
    /// closed, also by the death of the process.
    fn try_lock(&self) -> io::Result<bool>;

    /// Releases the lock.
    fn unlock(&self) -> io::Result<()>;

    /// Names this file among all of the host, whatever it is called, while it exists: a copy has another. Empty
    /// where the system does not tell.
    fn identity(&self) -> io::Result<String>;
}

/// How a file is opened. Files are made with mode 0600.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// A new file, to read and write; `AlreadyExists` if the name is taken.
    CreateNew,
    /// The file at that name, made empty if there is none; to read and write.
    OpenOrCreate,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name within the folder. Names that are not UTF-8 are shown with replacements; none
    /// of ours is such a name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, of so many bytes.
    File {
        /// Length in bytes.
        len: u64,
    },
    /// A folder.
    Dir,
    /// Something else: a link, a device, a socket.
    Other,
}
