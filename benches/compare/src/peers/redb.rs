//! Plain redb: one table of bytes, one-phase commits, each durable on return.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{OPERATION, Peer, REDB, Session, Store};
use crate::data::{Key, Row, touch};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const CHECKPOINTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("checkpoints");

const FILE_NAME: &str = "plain.redb";

pub(super) struct Redb;

impl Peer for Redb {
    fn label(&self) -> &'static str {
        REDB
    }

    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let database = Builder::new().set_cache_size(cache_bytes).create(dir.join(FILE_NAME))?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(CHECKPOINTS)?;
        transaction.commit()?;
        Ok(Box::new(RedbStore { database: Arc::new(database), repaired: false }))
    }

    fn open(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let repaired = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&repaired);
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .set_repair_callback(move |_| note.store(true, Ordering::Relaxed))
            .open(dir.join(FILE_NAME))?;
        let repaired = repaired.load(Ordering::Relaxed);
        Ok(Box::new(RedbStore { database: Arc::new(database), repaired }))
    }
}

/// A database file.
struct RedbStore {
    database: Arc<Database>,
    repaired: bool,
}

impl Store for RedbStore {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(RedbSession { database: Arc::clone(&self.database) }))
    }

    fn recovered(&self) -> bool {
        self.repaired
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(Arc::into_inner(self.database).context("a session still lives")?.close()?)
    }
}

struct RedbSession {
    database: Arc<Database>,
}

impl RedbSession {
    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        // redb's default, made explicit; likewise one-phase commit.
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

fn insert(transaction: &WriteTransaction, rows: &[Row]) -> Result<()> {
    let mut table = transaction.open_table(RECORDS)?;
    for row in rows {
        table.insert(&row.key[..], &row.value[..])?;
    }
    Ok(())
}

impl Session for RedbSession {
    fn commit(&mut self, rows: &[Row]) -> Result<()> {
        let transaction = self.begin()?;
        insert(&transaction, rows)?;
        Ok(transaction.commit()?)
    }

    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()> {
        let transaction = self.begin()?;
        insert(&transaction, rows)?;
        transaction.open_table(CHECKPOINTS)?.insert(OPERATION.as_bytes(), checkpoint)?;
        Ok(transaction.commit()?)
    }

    fn get(&mut self, keys: &[Key]) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut sum = 0;
        for key in keys {
            let value = table.get(&key[..])?.context("the row is there")?;
            sum += touch(value.value());
        }
        Ok(sum)
    }

    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut sum = 0;
        for start in starts {
            for entry in table.range::<&[u8]>(&start[..]..)?.take(count) {
                let (key, value) = entry?;
                sum += touch(key.value()) + touch(value.value());
            }
        }
        Ok(sum)
    }
}
