//! Plain redb: one table of bytes, one-phase commits, each durable on return.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{CACHE_BYTES, OPERATION, Peer, Session};
use crate::data::{Key, Row, touch};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const CHECKPOINTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("checkpoints");

/// A database file.
pub(crate) struct Redb {
    database: Arc<Database>,
}

impl Peer for Redb {
    const LABEL: &'static str = "plain redb";

    fn create(dir: &Path) -> Result<Self> {
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("plain.redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(CHECKPOINTS)?;
        transaction.commit()?;
        Ok(Self { database: Arc::new(database) })
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(RedbSession { database: Arc::clone(&self.database) }))
    }
}

struct RedbSession {
    database: Arc<Database>,
}

impl RedbSession {
    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        // redb's default, said aloud; as is one-phase commit.
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
