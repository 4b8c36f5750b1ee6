//! Strongroom: a vault in a folder, sealed with one of its ciphers, content on the disk backend.

use std::path::Path;

use anyhow::{Context, Result};
use strongroom::keys::Cipher;
use strongroom::operations::{Checkpoint, Lane, Operation};
use strongroom::{Batch, SecretPassword, Value, Vault, VaultOptions};
use strongroom_testkit::TestKey;

use super::{OPERATION, PASSWORD, Peer, Session, Store, Unlock};
use crate::data::{Key, Row, touch};

const NAMESPACE: &str = "records";
const LANE: &str = "lane-0";

pub(super) struct Strongroom {
    pub(super) label: &'static str,
    pub(super) cipher: Cipher,
    pub(super) unlock: Unlock,
}

impl Strongroom {
    fn options(&self, cache_bytes: usize) -> VaultOptions {
        let options = match self.unlock {
            Unlock::Key => Vault::options(TestKey),
            Unlock::Password => Vault::options(SecretPassword::new(PASSWORD)),
        };
        options.cipher(self.cipher).cache_bytes(cache_bytes)
    }
}

impl Peer for Strongroom {
    fn label(&self) -> &'static str {
        self.label
    }

    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let vault = self.options(cache_bytes).create(dir.join("vault"))?;
        Ok(Box::new(StrongroomStore { vault }))
    }

    fn open(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let vault = self.options(cache_bytes).open(dir.join("vault"))?;
        Ok(Box::new(StrongroomStore { vault }))
    }
}

/// A vault.
struct StrongroomStore {
    vault: Vault,
}

impl Store for StrongroomStore {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(StrongroomSession { vault: self.vault.clone(), at_work: None }))
    }

    fn recovered(&self) -> bool {
        self.vault.recovery().state_repaired
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.vault.close()?)
    }
}

struct StrongroomSession {
    vault: Vault,
    /// Begun by the first checkpoint. The operation lives as long as its lane.
    at_work: Option<(Operation, Lane)>,
}

impl StrongroomSession {
    fn lane(&mut self) -> Result<&Lane> {
        if self.at_work.is_none() {
            let operation = self.vault.operations().begin_or_resume(OPERATION, [LANE])?;
            let lane = operation.lane(LANE)?;
            self.at_work = Some((operation, lane));
        }
        let (_, lane) = self.at_work.as_ref().expect("begun above");
        Ok(lane)
    }
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
        Ok(self.lane()?.commit(batch_of(rows), Checkpoint::new(checkpoint))?)
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
