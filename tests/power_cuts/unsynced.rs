//! The control: the operating system's files, with syncs that do nothing.

use std::io;
use std::path::Path;

use strongroom::backends::fs::{Access, DirEntry, File, FileSystem, Os};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unsynced {
    os: Os,
}

impl FileSystem for Unsynced {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Ok(Box::new(UnsyncedFile { file: self.os.open(path, access)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.os.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.os.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.os.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.os.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.os.read_dir(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.os.available_bytes(path)
    }
}

#[derive(Debug)]
struct UnsyncedFile {
    file: Box<dyn File>,
}

impl File for UnsyncedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn identity(&self) -> io::Result<String> {
        self.file.identity()
    }
}
