//! Folders, made on demand and durable before anything in them is acknowledged.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use strongroom_base::Key;
use strongroom_base::fs::FileSystem;

/// The folders that this handle knows to be durable.
///
/// A folder that exists need not be: another process may have made it and not have synced its
/// parent yet. So the first use of a folder syncs its chain of parents whether it was there or
/// not, and the set remembers it. The set needs no bound: it grows with the folders of the
/// store, which are few and never removed.
#[derive(Debug, Default)]
pub(super) struct Folders {
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    /// Makes the folder of `key` under `objects`, which is durable.
    pub(super) fn ensure(&self, fs: &dyn FileSystem, objects: &Path, key: &Key) -> io::Result<()> {
        let Some((segments, _)) = key.as_str().rsplit_once('/') else {
            return Ok(());
        };
        let mut parent = objects.to_path_buf();
        for segment in segments.split('/') {
            let folder = parent.join(segment);
            if !self.durable.lock().contains(&folder) {
                make(fs, &folder)?;
                fs.sync_dir(&parent)?;
                self.durable.lock().insert(folder.clone());
            }
            parent = folder;
        }
        Ok(())
    }
}

/// Makes a folder, or leaves the one that is there.
pub(super) fn make(fs: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    match fs.create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Makes `folder` and the parents that it lacks, each followed by a sync of its own parent.
///
/// If `folder` is there its parent is synced nevertheless, for another process may have made it
/// a moment ago; parents further up are taken to be durable.
pub(super) fn make_durable(fs: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    let Some(parent) = parent_of(folder) else {
        return Ok(());
    };
    let created = match fs.create_dir(folder) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_durable(fs, parent)?;
            make(fs, folder)?;
            true
        }
        Err(e) => return Err(e),
    };
    match fs.sync_dir(parent) {
        // Nobody could have made our folder in there just now.
        Err(e) if !created && e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// The parent to sync: `.` for a relative path of one segment, nothing for the root and `.`.
fn parent_of(folder: &Path) -> Option<&Path> {
    let parent = folder.parent()?;
    if parent.as_os_str().is_empty() { Some(Path::new(".")) } else { Some(parent) }
}
