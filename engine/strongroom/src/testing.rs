//! Private parts of the engine that the crate `strongroom-testkit` passes to tests.

use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{Error, Result};
use strongroom_format::{ChunkPlace, ChunkRow};
use strongroom_store::state::Table;

use crate::Vault;
use crate::records::WriteTx;

pub use crate::documents::share_testing::{ShareSlots, ShareTester};
pub use crate::documents::share_testing_bench::ShareBench;
pub use strongroom_crypto::passwords_hashed;

/// Removes all rows of packs and contents, as if lost.
pub fn forget_packs(vault: &Vault) -> Result<()> {
    let keys = |tx: &WriteTx<'_>, table| {
        let rows = tx.tx.state.range(table, (Bound::Unbounded, Bound::Unbounded))?;
        rows.map(|entry| Ok(entry?.key.as_slice().to_vec())).collect::<Result<Vec<_>>>()
    };
    vault.write(|tx| {
        for key in keys(tx, Table::Packs)? {
            tx.tx.state.delete(Table::Packs, &key)?;
        }
        for key in keys(tx, Table::Chunks)? {
            let row = tx.tx.state.get(Table::Chunks, &key, |row| row.map(ChunkRow::decode))?;
            if let Some(ChunkRow::V0 { place: ChunkPlace::Pack { .. }, .. }) = row.transpose()? {
                tx.tx.state.delete(Table::Chunks, &key)?;
            }
        }
        Ok::<_, Error>(())
    })
}

/// Advances the manual clock of a vault.
///
/// For a vault whose clock the test does not have, such as one that `crash_test` opened.
pub fn pass_time(vault: &Vault, by: Duration) {
    // A sleep advances a manual clock.
    vault.core().clock().sleep(by);
}
