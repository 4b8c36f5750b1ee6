//! Selecting chunks for new packs, and recording their moves.

use std::ops::Bound;
use std::sync::Arc;

use strongroom_base::{Error, LongCall, Result};

use super::LocalIndex;
use super::gc::{key_of, list_by_rows};
use super::rows::{
    add_to_pack, body_part, find_chunk, leave_place, read_body, read_chunk, read_pack,
    read_stored_parts, write_chunk, write_pack,
};
use crate::pipeline::{
    EncodedChunk, Moved, Moving, PACK, PackPlace, Packed, Pipeline, PlacedChunk, full_bytes,
    move_chunks,
};
use strongroom_format::{ChunkId, ChunkPlace, ChunkRow, ObjectName, PackRow, PackedChunk, StageId};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Bytes of chunks in the state from which they are packed.
pub(crate) const HELD_BYTES_KEPT: u64 = 4 << 20;

/// Divisor for the share of chunks below which a pack is emptied.
const USED_PART_MIN: u64 = 2;

/// Approximate bytes of a chunk in its pack's list.
const LISTED_BYTES: u64 = 48;

/// Least unused space for which a pack is emptied.
const WASTE_BYTES_MIN: u64 = 64 << 10;

/// Most chunks that one commit moves.
const CHUNKS_PER_COMMIT: usize = 2_048;

impl LocalIndex {
    /// Moves chunks from the state into packs, if there are many.
    ///
    /// Returns the number of moved chunks, and the bytes left. The caller holds the maintenance
    /// lock.
    pub(crate) fn pack_held(
        self: &Arc<Self>,
        pipeline: &Pipeline,
        call: LongCall<'_>,
    ) -> Result<(u64, Option<u64>)> {
        let (state_bytes, _) = read_stored_parts(self.core().read()?.state())?;
        if state_bytes < HELD_BYTES_KEPT {
            return Ok((0, None));
        }
        let (mut after, mut moved): (Option<ChunkId>, u64) = (None, 0);
        loop {
            call.check(PACK)?;
            let held = self.next_held(full_bytes(pipeline.objects()), after.as_ref())?;
            let Some(last) = held.last() else {
                // The remaining chunks are released, so packing need not look at them again.
                let (left, _) = read_stored_parts(self.core().read()?.state())?;
                return Ok((moved, Some(left)));
            };
            after = Some(last.chunk.id);
            moved += move_chunks(pipeline, self, held.into_iter().map(Ok))?.chunks;
        }
    }

    /// Reads the next chunks in the state, enough to fill a pack.
    fn next_held(&self, full: usize, after: Option<&ChunkId>) -> Result<Vec<Moving>> {
        let snapshot = self.core().read()?;
        let state = snapshot.state();
        // After all parts of that chunk.
        let after = after.map(|id| [&id.0[..], &[u8::MAX]].concat());
        let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut held, mut bytes) = (Vec::new(), 0);
        for entry in state.range(Table::Bodies, (lower, Bound::Unbounded))? {
            let entry = entry?;
            let (id, part) = body_part(entry.key.as_slice())?;
            let Some(ChunkRow::V0 { kind, len, references, place }) = find_chunk(state, &id)?
            else {
                continue;
            };
            let ChunkPlace::State { stored } = place else { continue };
            if references == 0 || part > 0 {
                continue;
            }
            let stored = read_body(state, &id, stored)?;
            bytes += stored.len();
            held.push(Moving { chunk: EncodedChunk { id, kind, len, stored }, from: place });
            if bytes >= full {
                break;
            }
        }
        Ok(held)
    }

    /// Lists packs that should be emptied or are empty, with their lengths.
    pub(super) fn list_wasteful(&self) -> Result<Vec<(ObjectName, u64)>> {
        let snapshot = self.core().read()?;
        let mut wasteful = Vec::new();
        for entry in snapshot.state().range(Table::Packs, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            let name = ObjectName(key_of(entry.key.as_slice())?);
            let row = PackRow::decode(entry.row.as_slice())?;
            let PackRow::V0 { bytes, chunks, chunk_bytes, upload, .. } = row;
            let is_used = match upload {
                Some(id) => snapshot.state().get(Table::Uploads, &id.0)?.is_some(),
                None => false,
            };
            let used = chunk_bytes + u64::from(chunks) * LISTED_BYTES;
            let waste = bytes.saturating_sub(used);
            let is_wasteful = chunks == 0 || waste > (bytes / USED_PART_MIN).max(WASTE_BYTES_MIN);
            if !is_used && is_wasteful {
                wasteful.push((name, bytes));
            }
        }
        Ok(wasteful)
    }

    /// Lists the chunks in a pack that have references.
    pub(super) fn list_live(
        &self,
        name: ObjectName,
        listed: Option<&[PackedChunk]>,
    ) -> Result<Vec<PlacedChunk>> {
        let by_rows = if listed.is_none() { list_by_rows(self, name)? } else { Vec::new() };
        let snapshot = self.core().read()?;
        let mut chunks = Vec::new();
        for &PackedChunk { id, kind, len, .. } in listed.unwrap_or(&by_rows) {
            let Some(ChunkRow::V0 { place, references, .. }) = find_chunk(snapshot.state(), &id)?
            else {
                continue;
            };
            match PackPlace::of(place) {
                Some(place) if place.pack == name && references > 0 => {
                    chunks.push(PlacedChunk { id, kind, len, place });
                }
                _ => {}
            }
        }
        Ok(chunks)
    }

    /// Records the locations of a pack's chunks, in commits of bounded size.
    pub(super) fn record_move(
        &self,
        packed: &Packed,
        from: &[ChunkPlace],
        stage: StageId,
    ) -> Result<Moved> {
        let (mut moved, mut is_settled) = (Moved::default(), false);
        for (chunks, places) in
            packed.chunks.chunks(CHUNKS_PER_COMMIT).zip(from.chunks(CHUNKS_PER_COMMIT))
        {
            let change = |tx: &mut Tx<'_>| {
                if !is_settled {
                    tx.state.delete(Table::Pending, &stage.key(0))?;
                }
                repoint(tx, packed, chunks, places)
            };
            let some = self.core().write(PACK, change)?;
            is_settled = true;
            moved.chunks += some.chunks;
            moved.packs += some.packs;
        }
        Ok(moved)
    }

    /// Drops the packs that are empty and still exist; returns their number.
    pub(super) fn drop_empty(&self, packs: &[ObjectName]) -> Result<u64> {
        let snapshot = self.core().read()?;
        let mut empty = Vec::new();
        for &name in packs {
            let row = snapshot.state().get(Table::Packs, &name.0)?;
            let row = row.map(|row| PackRow::decode(row.as_slice())).transpose()?;
            if matches!(row, Some(PackRow::V0 { chunks: 0, .. })) {
                empty.push(name);
            }
        }
        drop(snapshot);
        if empty.is_empty() {
            return Ok(0);
        }
        let change = |tx: &mut Tx<'_>| {
            let mut dropped = 0;
            for &name in &empty {
                if let Some(row @ PackRow::V0 { chunks: 0, .. }) = read_pack(tx, name)? {
                    dropped += u64::from(write_pack(tx, name, &row)?);
                }
            }
            Ok::<_, Error>(dropped)
        };
        self.core().write(PACK, change)
    }
}

/// Records new locations of chunks that are still at the old ones.
fn repoint(
    tx: &mut Tx<'_>,
    packed: &Packed,
    chunks: &[PackedChunk],
    places: &[ChunkPlace],
) -> Result<Moved> {
    let (mut count, mut bytes, mut emptied) = (0, 0, 0);
    for (chunk, old) in chunks.iter().zip(places) {
        let Some(ChunkRow::V0 { kind, references, len, place }) = read_chunk(tx, &chunk.id)? else {
            continue;
        };
        if place != *old {
            continue;
        }
        emptied += u64::from(leave_place(tx, &chunk.id, place)?);
        let row = ChunkRow::V0 { kind, references, len, place: packed.place(chunk).into() };
        write_chunk(tx, &chunk.id, &row)?;
        count += 1;
        bytes += u64::from(chunk.stored);
    }
    add_to_pack(tx, packed, count, bytes)?;
    Ok(Moved { chunks: u64::from(count), packs: emptied })
}
