//! What is compared: one trait, and a file for each that implements it.

mod append;
mod json_file;
mod redb;
mod sqlite;
mod strongroom;

use std::path::Path;

use anyhow::Result;

use crate::data::{Key, Row};

pub(crate) use append::Append;
pub(crate) use json_file::JsonFile;
pub(crate) use redb::Redb;
pub(crate) use sqlite::Sqlite;
pub(crate) use strongroom::Strongroom;

/// Memory for pages, the same for each peer, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// The operation and lane that checkpoints are of.
const OPERATION: &str = "import-7";

/// A store, created in an empty folder.
pub(crate) trait Peer: Sized {
    /// As the table names it.
    const LABEL: &'static str;

    fn create(dir: &Path) -> Result<Self>;

    /// What one thread works with; the writers have one each.
    fn session(&self) -> Result<Box<dyn Session>>;
}

/// One thread's way to a peer. Every commit is durable on return.
pub(crate) trait Session: Send {
    /// Inserts `rows` in one commit.
    fn commit(&mut self, rows: &[Row]) -> Result<()>;

    /// As `commit`, in the way that suits many writers best.
    fn commit_shared(&mut self, rows: &[Row]) -> Result<()> {
        self.commit(rows)
    }

    /// Inserts `rows` and notes `checkpoint`.
    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()>;

    /// Reads the values of `keys`, all of which are there, in one snapshot; their bytes' sum.
    fn get(&mut self, keys: &[Key]) -> Result<u64>;

    /// Reads `count` rows from each of `starts` on, in one snapshot; the sum of the bytes of
    /// keys and values.
    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64>;
}
