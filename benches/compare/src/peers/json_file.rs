//! Data in plain redb, and one JSON file for each checkpoint.
//!
//! The file is replaced atomically: temporary file, sync, rename, sync of the folder. Hosts without
//! a store that commits both do this. Data is written first, so that a checkpoint is never ahead of
//! it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{JSON_FILE, OPERATION, Peer, Redb, Session, Store};
use crate::data::{Key, Row};

pub(super) struct JsonFile;

impl Peer for JsonFile {
    fn label(&self) -> &'static str {
        JSON_FILE
    }

    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let folder = dir.join("checkpoints");
        fs::create_dir(&folder)?;
        let data = Redb.create(dir, cache_bytes)?;
        Ok(Box::new(JsonFileStore { data, folder }))
    }
}

/// A database file, and a folder of checkpoints.
struct JsonFileStore {
    data: Box<dyn Store>,
    folder: PathBuf,
}

impl Store for JsonFileStore {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(JsonFileSession {
            data: self.data.session()?,
            folder: File::open(&self.folder)?,
            path: self.folder.join(format!("{OPERATION}.json")),
            temporary: self.folder.join(format!("{OPERATION}.json.new")),
        }))
    }
}

struct JsonFileSession {
    data: Box<dyn Session>,
    folder: File,
    path: PathBuf,
    /// A fixed name is enough, because one thread writes.
    temporary: PathBuf,
}

impl Session for JsonFileSession {
    fn commit(&mut self, rows: &[Row]) -> Result<()> {
        self.data.commit(rows)
    }

    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()> {
        self.data.commit(rows)?;
        let mut file = File::create(&self.temporary)?;
        file.write_all(checkpoint)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        Ok(self.folder.sync_all()?)
    }

    fn get(&mut self, _: &[Key]) -> Result<u64> {
        bail!("only checkpoints are measured")
    }

    fn scan(&mut self, _: &[Key], _: usize) -> Result<u64> {
        bail!("only checkpoints are measured")
    }
}
