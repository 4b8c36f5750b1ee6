//! Emptying the system's cache of a store's files without root:
//! `posix_fadvise(POSIX_FADV_DONTNEED)`, file by file.
//!
//! It drops pages of data that are on the disk already. Inodes and the block maps of files stay
//! cached, and a disk may have its own cache.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

/// The files of one store.
///
/// They stay open until this is dropped, which must be after the store: when a process closes its
/// first descriptor of a file, it loses all of `SQLite`'s locks on it.
pub(crate) struct PageCache {
    files: Vec<File>,
}

impl PageCache {
    /// Opens the files that are in `dir` now, and syncs them.
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    let file = File::open(entry.path())?;
                    file.sync_all()?;
                    files.push(file);
                }
            }
        }
        Ok(Self { files })
    }

    /// Drops all cached pages.
    pub(crate) fn forget(&self) -> Result<()> {
        for file in &self.files {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

/// Runs `work` and fails if no bytes came from the disk: the pages were then still cached.
pub(crate) fn reading_from_disk<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = bytes_read_from_disk()?;
    let outcome = work()?;
    ensure!(
        bytes_read_from_disk()? > before,
        "this file system keeps its pages in memory; choose a disk with --dir"
    );
    Ok(outcome)
}

/// Returns the bytes that this process has read from disks so far.
fn bytes_read_from_disk() -> Result<u64> {
    let counts = fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let count = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(count.context("/proc/self/io has read_bytes")?.parse()?)
}
