//! The seam between Strongroom and a file system.
//!
//! All file access goes through these two traits: the disk backend, the vault's state file, its
//! lock and its notes. In production the operating system is behind them ([`Os`]). In tests it is a
//! simulated world, which can cut the power at any call. The seam therefore has exactly the calls
//! whose crash behaviour matters, and no buffering.

use std::fmt;
use std::io;
use std::path::Path;

mod os;

pub use os::Os;

/// The calls on names. Errors are those of the operating system.
///
/// None of them is durable by itself. A change of a name survives a power cut after
/// [`sync_dir`](Self::sync_dir) on the folder of that name has returned.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Opens the file at `path`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// Renames `from` to `to`, and replaces a file there. Atomic for readers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Adds the name `to` for the file at `from`; `AlreadyExists` if the name is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file; `NotFound` if there is none.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder, mode 0700; `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists the entries of a folder in no particular order; `NotFound` if it is missing.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Waits until all name changes in this folder survive power cuts.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns how many more bytes this process may write below `path`.
    ///
    /// The value is `u64::MAX` if the file system does not know. Another process may use the space
    /// first.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The calls on an open file. Positions are absolute; there is no cursor.
///
/// Dropping the file closes it and releases its lock. It does not sync.
pub trait File: fmt::Debug + Send + Sync {
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends earlier.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Truncates the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the bytes and the length survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Tries to lock this file exclusively in the kernel, without waiting.
    ///
    /// Returns `false` if another open file has the lock, in this process or another. The kernel
    /// releases it when the file is closed, also by the death of the process.
    fn try_lock(&self) -> io::Result<bool>;

    /// Releases the lock.
    fn unlock(&self) -> io::Result<()>;

    /// Returns the file's identity, unique on the host while it exists.
    ///
    /// It does not depend on the name, and a copy has another. Empty if the system has none.
    fn identity(&self) -> io::Result<String>;
}

/// The way a file is opened. New files get mode 0600.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// A new file, to read and write; `AlreadyExists` if the name is taken.
    CreateNew,
    /// The file at that name, created empty if it is missing; to read and write.
    OpenOrCreate,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name within the folder.
    ///
    /// Names that are not UTF-8 are shown with replacements; none of ours is such a name.
    pub name: String,
    /// Type of the entry.
    pub kind: EntryKind,
}

/// The type of an entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length in bytes.
        len: u64,
    },
    /// A folder.
    Dir,
    /// Another type: a link, a device, a socket.
    Other,
}
