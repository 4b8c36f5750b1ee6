//! A temporary file: a body, written and synced before it gets its name.

use std::io;
use std::path::{Path, PathBuf};

use strongroom_base::component::Entropy;
use strongroom_base::fs::{Access, File, FileSystem};
use strongroom_base::{Error, ErrorKind, Result};

/// Length of the random part of a name, in bytes: two writers never draw the same.
const NAME_BYTES: usize = 16;
/// Names drawn before giving up.
///
/// The first is free unless the entropy repeats, as a test's does when it opens a root again with
/// the same seed and finds old files.
const NAME_TRIES: usize = 16;

/// A synced temporary file. Dropping it removes its temporary name, if that still exists.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    fs: &'a dyn FileSystem,
    path: PathBuf,
    renamed: bool,
}

impl<'a> Temporary<'a> {
    /// Writes `body` to a new file in `folder` and syncs it.
    pub(super) fn write(
        fs: &'a dyn FileSystem,
        entropy: &dyn Entropy,
        folder: &Path,
        body: &[u8],
    ) -> Result<Self> {
        let (path, file) = create(fs, entropy, folder)?;
        let temporary = Self { fs, path, renamed: false };
        file.write_all_at(body, 0)
            .and_then(|()| file.sync())
            .map_err(|e| Error::io("write temporary file", e))?;
        Ok(temporary)
    }

    /// Renames the file to `target`, and replaces an existing file.
    pub(super) fn rename_to(mut self, target: &Path) -> io::Result<()> {
        self.fs.rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }

    /// Links the file to `target`; `AlreadyExists` if the name is taken.
    pub(super) fn link_to(self, target: &Path) -> io::Result<()> {
        self.fs.hard_link(&self.path, target)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        // Best effort: a remaining file is a second name of an object, or a file that no call
        // reads. `Disk::clear_temporaries` removes it.
        if let Err(error) = self.fs.remove_file(&self.path) {
            tracing::debug!(%error, "could not remove temporary file");
        }
    }
}

fn create(
    fs: &dyn FileSystem,
    entropy: &dyn Entropy,
    folder: &Path,
) -> Result<(PathBuf, Box<dyn File>)> {
    for _ in 0..NAME_TRIES {
        let path = folder.join(name_of(entropy.draw::<NAME_BYTES>()?));
        match fs.open(&path, Access::CreateNew) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("make temporary file", e)),
        }
    }
    // Not `AlreadyExists`, which the caller would mistake for the result of `Condition::Absent`.
    Err(Error::new(ErrorKind::Unavailable, "make temporary file")
        .with_detail(format!("{NAME_TRIES} random names were all taken")))
}

fn name_of(random: [u8; NAME_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(random))
}

/// Returns whether [`Temporary::write`] makes names like `name`.
pub(super) fn is_name(name: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.len() == 2 * NAME_BYTES && name.bytes().all(is_hex)
}
