//! Damage to rows that no host can do.

use std::ops::Bound;

use strongroom_base::{Error, Result};

use crate::Vault;
use crate::transaction::WriteTx;
use strongroom_format::{ChunkPlace, ChunkRow};
use strongroom_store::state::Table;

/// Removes all rows that tell of packs and of what lies in them, as if these had been lost.
pub fn forget_packs(vault: &Vault) -> Result<()> {
    let keys = |tx: &WriteTx<'_>, table| {
        let rows = tx.state.range(table, (Bound::Unbounded, Bound::Unbounded))?;
        rows.map(|entry| Ok(entry?.key.as_slice().to_vec())).collect::<Result<Vec<_>>>()
    };
    vault.write(|tx| {
        for key in keys(tx, Table::Packs)? {
            tx.state.delete(Table::Packs, &key)?;
        }
        for key in keys(tx, Table::Chunks)? {
            let row = tx.state.get(Table::Chunks, &key, |row| row.map(ChunkRow::decode))?;
            if let Some(ChunkRow::V0 { place: ChunkPlace::Pack { .. }, .. }) = row.transpose()? {
                tx.state.delete(Table::Chunks, &key)?;
            }
        }
        Ok::<_, Error>(())
    })
}
