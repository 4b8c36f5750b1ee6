//! The operating system's memory of a store's files, and how it is made to forget them: without
//! root, file by file, by `posix_fadvise(POSIX_FADV_DONTNEED)`.
//!
//! What it forgets are pages of data, if they are on the disk already. Inodes and the map of where
//! a file's blocks lie stay known, and a disk may remember on its own.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

/// The files of one store.
///
/// They stay open until this is dropped, which must be after the store: with the first descriptor
/// of a file that a process closes, it loses all of `SQLite`'s locks on it.
pub(crate) struct PageCache {
    files: Vec<File>,
}

impl PageCache {
    /// The files that are in `dir` now, written out.
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

    /// Lets all pages go.
    pub(crate) fn forget(&self) -> Result<()> {
        for file in &self.files {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

/// Runs `work` and fails if nothing came from the disk meanwhile: then the pages were not gone.
pub(crate) fn reading_from_disk<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = bytes_read_from_disk()?;
    let outcome = work()?;
    ensure!(
        bytes_read_from_disk()? > before,
        "this file system does not let go of its pages: choose a disk with --dir"
    );
    Ok(outcome)
}

/// How much this process has caused to be read from disks so far.
fn bytes_read_from_disk() -> Result<u64> {
    let counts = fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let count = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(count.context("/proc/self/io tells read_bytes")?.parse()?)
}
