//! The folder of a vault on a file system.
//!
//! ```text
//! VAULT/
//!   lock             the kernel lock of the one process; never renamed or unlinked
//!   holder           the process that holds the lock (JSON), while it lives
//!   state.redb       the state
//!   state.redb.new   a state that is being created; discarded if found
//!   content/         the disk backend, unless the host chose another
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_base::fs::{Access, FileSystem};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_store::state::FileState;

/// The folder of a vault.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) fs: Arc<dyn FileSystem>,
    path: PathBuf,
}

/// Content of a folder before a vault is created in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderContent {
    /// Nothing, or leftovers of an unfinished creation.
    Free,
    /// A vault.
    Vault,
}

impl Folder {
    pub(super) fn new(fs: Arc<dyn FileSystem>, path: &Path) -> Self {
        Self { fs, path: path.to_owned() }
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(super) fn note_path(&self) -> PathBuf {
        self.path.join("holder")
    }

    pub(super) fn content_path(&self) -> PathBuf {
        self.path.join("content")
    }

    pub(super) fn state(&self) -> FileState {
        FileState::new(Arc::clone(&self.fs), &self.path)
    }

    /// Creates the folder durably; its parent must exist.
    pub(super) fn create(&self) -> Result<()> {
        let failed = |e| Error::io("create vault", e).with_subject(self.path.display());
        match self.fs.create_dir(&self.path) {
            Ok(()) => {}
            // Another process may be creating it at this moment, so it is synced all the same.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(failed(e).with_reason(Reason::ParentFolderMissing));
            }
            Err(e) => return Err(failed(e)),
        }
        let parent = match self.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        self.fs.sync_dir(parent).map_err(failed)
    }

    /// Inspects the folder; `Invalid` if it holds anything but a vault.
    pub(super) fn inspect(&self) -> Result<FolderContent> {
        let names = self.names("create vault")?;
        if names.iter().any(|name| name == FileState::FILE_NAME) {
            return Ok(FolderContent::Vault);
        }
        let ours = ["lock", "holder", "content", FileState::NEW_FILE_NAME];
        let foreign = names.iter().any(|name| !ours.contains(&name.as_str()));
        if foreign || self.has_foreign_content()? {
            return Err(Error::new(ErrorKind::Invalid, "create vault")
                .with_reason(Reason::FolderNotEmpty)
                .with_detail("the folder is neither empty nor a vault")
                .with_subject(self.path.display()));
        }
        Ok(FolderContent::Free)
    }

    /// Returns whether the content folder has entries that no unfinished creation leaves.
    fn has_foreign_content(&self) -> Result<bool> {
        let names = |path: &Path| match self.fs.read_dir(path) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io("create vault", e).with_subject(path.display())),
        };
        let content = self.content_path();
        let ours = ["objects", "tmp", "lock"];
        Ok(names(&content)?.iter().any(|name: &String| !ours.contains(&name.as_str()))
            || !names(&content.join("objects"))?.is_empty())
    }

    /// Checks that the folder has a vault. Changes nothing.
    pub(super) fn expect_vault(&self) -> Result<()> {
        let names = self.names("open vault")?;
        let refuse = |kind, detail: &str| {
            Err(Error::new(kind, "open vault")
                .with_reason(Reason::VaultMissing)
                .with_detail(detail)
                .with_subject(self.path.display()))
        };
        if names.iter().any(|name| name == FileState::FILE_NAME) {
            Ok(())
        } else if names.iter().any(|name| name == "lock") {
            refuse(ErrorKind::NotFound, "the vault's creation did not finish; create it again")
        } else {
            refuse(ErrorKind::NotFound, "the folder has no vault")
        }
    }

    /// Deletes a state of unfinished creation, and returns whether one existed.
    pub(super) fn discard_unfinished(&self) -> Result<bool> {
        let path = self.path.join(FileState::NEW_FILE_NAME);
        match self.fs.remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("open vault", e).with_subject(path.display())),
        }
    }

    /// Returns whether the lock file exists.
    pub(super) fn has_lock(&self) -> bool {
        self.fs.open(&self.lock_path(), Access::Read).is_ok()
    }

    fn names(&self, operation: &'static str) -> Result<Vec<String>> {
        let entries = self.fs.read_dir(&self.path).map_err(|e| {
            let error = match e.kind() {
                io::ErrorKind::NotADirectory => Error::new(ErrorKind::Invalid, operation)
                    .with_reason(Reason::NotAFolder)
                    .with_detail("a vault is a folder, but this is a file"),
                io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, operation)
                    .with_reason(Reason::VaultMissing)
                    .with_detail("the folder does not exist"),
                _ => Error::io(operation, e),
            };
            error.with_subject(self.path.display())
        })?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }
}
