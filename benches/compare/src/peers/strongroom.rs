//! Strongroom: a vault in a folder, content on the disk backend, in the unsealed development
//! format (version 0), which is the only one there is yet.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use strongroom::testing::TestKey;
use strongroom::{Batch, Checkpoint, Lane, Operation, Value, Vault};

use super::{CACHE_BYTES, OPERATION, Peer, Session};
use crate::data::{Key, Row, touch};

const NAMESPACE: &str = "records";

/// One for each writer of the largest workload, and one for the thread that fills the vault.
const LANES: usize = 9;

/// A vault, with an operation under way.
pub(crate) struct Strongroom {
    vault: Vault,
    operation: Operation,
    sessions: AtomicUsize,
}

impl Peer for Strongroom {
    const LABEL: &'static str = "strongroom";

    fn create(dir: &Path) -> Result<Self> {
        let vault = Vault::options(TestKey).cache_bytes(CACHE_BYTES).create(dir.join("vault"))?;
        let operation = vault.begin_or_resume(OPERATION, (0..LANES).map(lane_name))?;
        Ok(Self { vault, operation, sessions: AtomicUsize::new(0) })
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(StrongroomSession {
            vault: self.vault.clone(),
            lane: self.operation.lane(&lane_name(number))?,
        }))
    }
}

fn lane_name(number: usize) -> String {
    format!("lane-{number}")
}

struct StrongroomSession {
    vault: Vault,
    lane: Lane,
}

fn batch_of(rows: &[Row]) -> Batch {
    let mut batch = Batch::new();
    for row in rows {
        batch.insert(NAMESPACE, row.key, &row.value);
    }
    batch
}

fn sum_of(value: &Value) -> Result<u64> {
    Ok(touch(value.as_inline().context("the value is in state")?))
}

impl Session for StrongroomSession {
    fn commit(&mut self, rows: &[Row]) -> Result<()> {
        Ok(self.vault.write(|tx| {
            rows.iter().try_for_each(|row| tx.insert(NAMESPACE, row.key, &row.value))
        })?)
    }

    fn commit_shared(&mut self, rows: &[Row]) -> Result<()> {
        Ok(self.vault.apply(batch_of(rows))?)
    }

    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()> {
        Ok(self.lane.commit(batch_of(rows), Checkpoint::new(checkpoint))?)
    }

    fn get(&mut self, keys: &[Key]) -> Result<u64> {
        let snapshot = self.vault.read()?;
        let mut sum = 0;
        for key in keys {
            let value = snapshot.get(NAMESPACE, key)?.context("the row is there")?;
            sum += sum_of(&value)?;
        }
        Ok(sum)
    }

    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64> {
        let snapshot = self.vault.read()?;
        let mut sum = 0;
        for start in starts {
            for record in snapshot.range(NAMESPACE, &start[..]..)?.take(count) {
                let record = record?;
                sum += touch(record.key()) + sum_of(record.value())?;
            }
        }
        Ok(sum)
    }
}
