//! A new file that appears whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use strongroom::backends::component::{Entropy, OsEntropy};
use strongroom::{Error, ErrorKind, Result};

use crate::exit::Failure;
use crate::hint::CliReason;

use crate::output::hex;

/// A file under construction. [`finish`](Self::finish) gives it its name.
///
/// Until then it has a temporary name in the same folder, and dropping it removes it. Only its
/// owner may read it.
#[derive(Debug)]
pub(crate) struct NewFile {
    operation: &'static str,
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl NewFile {
    /// Creates the temporary file. `AlreadyExists` if `path` exists.
    pub(crate) fn create(operation: &'static str, path: &Path) -> Result<Self, Failure> {
        let failed = |e| Error::io(operation, e).with_subject(path.display());
        if path.symlink_metadata().is_ok() {
            let error = Error::new(ErrorKind::AlreadyExists, operation);
            return Err(CliReason::FileExists.failure(error.with_subject(path.display())));
        }
        let Some(name) = path.file_name() else {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .with_detail("the path does not end in a file name")
                .with_subject(path.display())
                .into());
        };
        let mut number = [0; 8];
        OsEntropy.fill(&mut number)?;
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", hex(&number)));
        let partial = path.with_file_name(partial);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = file.map_err(failed)?;
        Ok(Self { operation, path: path.to_owned(), partial, file })
    }

    /// Gives the file its name, durably. `AlreadyExists` if `path` exists by now.
    pub(crate) fn finish(self) -> Result<()> {
        let failed = |e| Error::io(self.operation, e).with_subject(self.path.display());
        self.file.sync_all().map_err(failed)?;
        // Unlike a rename, a link replaces nothing. The drop removes the temporary name.
        match fs::hard_link(&self.partial, &self.path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                // The file system has no hard links.
                fs::rename(&self.partial, &self.path).map_err(failed)?;
            }
            linked => linked.map_err(failed)?,
        }
        let parent = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // An unfinished file is useless. After `finish`, this is only its second name.
        let _ = fs::remove_file(&self.partial);
    }
}
