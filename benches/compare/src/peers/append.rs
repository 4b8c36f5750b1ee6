//! No store: 4 KiB appended to a file and synced, as a reference for the disk's part of a commit.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};

use super::{APPEND, Peer, Session, Store};
use crate::data::{Key, Row, Stream};

const APPENDED_BYTES: usize = 4096;

pub(super) struct Append;

impl Peer for Append {
    fn label(&self) -> &'static str {
        APPEND
    }

    /// There is no cache.
    fn create(&self, dir: &Path, _: usize) -> Result<Box<dyn Store>> {
        let path = dir.join("appended");
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Box::new(AppendStore { file }))
    }
}

/// A file.
struct AppendStore {
    file: File,
}

impl Store for AppendStore {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(AppendSession {
            file: self.file.try_clone()?,
            block: Stream::new(0, APPENDED_BYTES..=APPENDED_BYTES).row().value,
        }))
    }
}

struct AppendSession {
    file: File,
    block: Vec<u8>,
}

impl Session for AppendSession {
    /// Ignores the rows.
    fn commit(&mut self, _: &[Row]) -> Result<()> {
        self.file.write_all(&self.block)?;
        Ok(self.file.sync_data()?)
    }

    fn commit_with_checkpoint(&mut self, rows: &[Row], _: &[u8]) -> Result<()> {
        self.commit(rows)
    }

    fn get(&mut self, _: &[Key]) -> Result<u64> {
        bail!("only the sync is measured")
    }

    fn scan(&mut self, _: &[Key], _: usize) -> Result<u64> {
        bail!("only the sync is measured")
    }
}
