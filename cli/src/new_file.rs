//! A new file that is there whole or not at all.

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

/// Written under another name beside its own, which it gets at the end; dropped before, it is gone. Only
/// its owner may read it.
#[derive(Debug)]
pub(crate) struct NewFile {
    operation: &'static str,
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl NewFile {
    /// `AlreadyExists` if there is something of that name.
    pub(crate) fn create(operation: &'static str, path: &Path) -> Result<Self, Failure> {
        let failed = |e| Error::io(operation, e).with_subject(path.display());
        if path.symlink_metadata().is_ok() {
            let error = Error::new(ErrorKind::AlreadyExists, operation);
            return Err(CliReason::FileExists.failure(error.with_subject(path.display())));
        }
        let Some(name) = path.file_name() else {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .with_detail("this is no name of a file")
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

    /// Gives it its name, durably. `AlreadyExists` if something has got that meanwhile.
    pub(crate) fn finish(self) -> Result<()> {
        let failed = |e| Error::io(self.operation, e).with_subject(self.path.display());
        self.file.sync_all().map_err(failed)?;
        // A link replaces nothing, as a rename does; what remains of the other name goes at the drop.
        match fs::hard_link(&self.partial, &self.path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                // A file system without links.
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
        // A part of it is of no use; and if it has its name, this is but the other one.
        let _ = fs::remove_file(&self.partial);
    }
}
