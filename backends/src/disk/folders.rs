//! Folders, created on demand and durable before anything in them is acknowledged.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use strongroom_base::Key;
use strongroom_base::fs::FileSystem;

/// The folders that this handle knows to be durable.
///
/// An existing folder may not be durable: another process may have created it without syncing its
/// parent yet. So the first use of a folder syncs its chain of parents in any case, and this set
/// remembers the folder. The set needs no bound: a store has few folders, and never removes them.
#[derive(Debug, Default)]
pub(super) struct Folders {
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    /// Makes the durable folder of `key` below `objects`.
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

/// Creates a folder, or keeps the existing one.
pub(super) fn make(fs: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    match fs.create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Creates `folder` and its missing parents, and syncs the parent of each.
///
/// The parent of an existing `folder` is synced too, because another process may have created the
/// folder a moment ago. Parents further up are assumed to be durable.
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
        // No process could have created our folder in it just now.
        Err(e) if !created && e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Returns the parent to sync: `.` for a relative path of one segment, nothing for the root and
/// `.`.
fn parent_of(folder: &Path) -> Option<&Path> {
    let parent = folder.parent()?;
    if parent.as_os_str().is_empty() { Some(Path::new(".")) } else { Some(parent) }
}
