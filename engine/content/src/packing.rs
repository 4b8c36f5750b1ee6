//! Moving chunks into packs: out of state, where short contents put them, and out of packs that hold more
//! waste than chunks.
//!
//! A pack is put first; one commit then tells each chunk that still lies where it was read that it lies
//! there. Whoever has found a chunk finds it by its id, so moving it breaks nothing; whoever reads an older
//! snapshot finds the old place, which goes once nobody can.

use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Result};

use super::index::{
    Body, add_to_pack, body_part, find_chunk, leave_place, read_body, read_chunk, read_pack,
    read_stored_parts, write_chunk, write_pack,
};
use super::pack::{Packed, list, read_chunk as read_packed};
use super::release::{GcReport, list_by_rows};
use super::store::Content;
use super::writer::{OpenPack, PutPack};
use strongroom_base::LongCall;
use strongroom_format::{ChunkId, ChunkPlace, ChunkRow, ObjectName, PackRow, PackedChunk};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

pub(crate) const PACK: &str = "pack chunks";

/// Chunks in state are packed once they take so many bytes.
pub(crate) const STATE_BYTES_KEPT: u64 = 4 << 20;

/// A pack is emptied into others once less than one part in so many of it is chunks.
const USED_PART_MIN: u64 = 2;

/// What a chunk takes in the list of its pack, about.
const LISTED_BYTES: u64 = 48;

/// But not for less waste than this.
const WASTE_BYTES_MIN: u64 = 64 << 10;

/// Most chunks that one commit moves.
const CHUNKS_PER_COMMIT: usize = 2_048;

/// A chunk to be moved, and where it lies.
struct Moving {
    body: Body,
    from: ChunkPlace,
}

/// What a run of moving has done.
#[derive(Default)]
struct Moved {
    chunks: u64,
    packs: u64,
}

impl Content {
    /// Empties packs that hold more waste than chunks, and drops those that hold none. The caller has the
    /// turn for upkeep.
    pub(crate) fn empty_packs(&self, call: LongCall<'_>, report: &mut GcReport) -> Result<()> {
        let wasteful = self.wasteful_packs()?;
        let mut damaged = 0;
        let chunks = wasteful.iter().flat_map(|&(name, bytes)| {
            let read = call.check(PACK).and_then(|()| self.chunks_of(name, bytes, &mut damaged));
            read.unwrap_or_else(|e| vec![Err(e)])
        });
        let moved = self.move_chunks(chunks)?;
        report.moved += moved.chunks;
        report.packs += moved.packs;
        report.damaged += damaged;
        self.drop_empty_packs(&wasteful, report)
    }

    /// Drops those of the packs that hold nothing and are still there: their upload may have ended since.
    fn drop_empty_packs(&self, packs: &[(ObjectName, u64)], report: &mut GcReport) -> Result<()> {
        let snapshot = self.core().read()?;
        let mut empty = Vec::new();
        for &(name, _) in packs {
            let row = snapshot.state().get(Table::Packs, &name.0)?;
            let row = row.map(|row| PackRow::decode(row.as_slice())).transpose()?;
            if matches!(row, Some(PackRow::V0 { chunks: 0, .. })) {
                empty.push(name);
            }
        }
        drop(snapshot);
        if empty.is_empty() {
            return Ok(());
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
        report.packs += self.core().write(PACK, change)?;
        Ok(())
    }

    /// Moves what lies in state into packs, if that is much. The caller has the turn for upkeep.
    pub(crate) fn pack_state(&self, call: LongCall<'_>) -> Result<u64> {
        let (state_bytes, _) = read_stored_parts(self.core().read()?.state())?;
        if state_bytes < STATE_BYTES_KEPT {
            return Ok(0);
        }
        let (mut after, mut moved): (Option<ChunkId>, u64) = (None, 0);
        loop {
            call.check(PACK)?;
            let bodies = self.next_bodies(after.as_ref())?;
            let Some(last) = bodies.last() else {
                // What is left was let go of: it is no reason to look again.
                let (left, _) = read_stored_parts(self.core().read()?.state())?;
                self.keep_in_state(left);
                return Ok(moved);
            };
            after = Some(last.body.id);
            moved += self.move_chunks(bodies.into_iter().map(Ok))?.chunks;
        }
    }

    /// Packs that should be emptied, or are empty.
    fn wasteful_packs(&self) -> Result<Vec<(ObjectName, u64)>> {
        let snapshot = self.core().read()?;
        let mut wasteful = Vec::new();
        for entry in snapshot.state().range(Table::Packs, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            let name = ObjectName(super::release::key_of(entry.key.as_slice())?);
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

    /// The chunks that lie in a pack, read; what cannot be read is counted and left.
    fn chunks_of(
        &self,
        name: ObjectName,
        bytes: u64,
        damaged: &mut u64,
    ) -> Result<Vec<Result<Moving>>> {
        let listed = match list(self.core().objects(), name, bytes) {
            Ok((_, listed)) => listed,
            Err(e) if e.kind() == ErrorKind::Corrupt => list_by_rows(self, name)?,
            Err(e) => return Err(e),
        };
        let snapshot = self.core().read()?;
        let mut chunks = Vec::new();
        for PackedChunk { id, kind, len, .. } in listed {
            let Some(ChunkRow::V0 { place, references, .. }) = find_chunk(snapshot.state(), &id)?
            else {
                continue;
            };
            let ChunkPlace::Pack { pack, epoch, at, stored } = place else { continue };
            if pack != name || references == 0 {
                continue;
            }
            match read_packed(self.core().objects(), pack, epoch, at, stored) {
                Ok(stored) => {
                    chunks.push(Ok(Moving { body: Body { id, kind, len, stored }, from: place }));
                }
                Err(e) if e.kind() == ErrorKind::Corrupt => *damaged += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(chunks)
    }

    /// The next chunks in state, as many as fill a pack.
    fn next_bodies(&self, after: Option<&ChunkId>) -> Result<Vec<Moving>> {
        let snapshot = self.core().read()?;
        let state = snapshot.state();
        let full = super::pack::full_bytes(self.core().objects());
        // Behind all parts of that one.
        let after = after.map(|id| [&id.0[..], &[u8::MAX]].concat());
        let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut bodies, mut bytes) = (Vec::new(), 0);
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
            bodies.push(Moving { body: Body { id, kind, len, stored }, from: place });
            if bytes >= full {
                break;
            }
        }
        Ok(bodies)
    }

    /// Puts chunks into new packs, and tells those that still lie where they lay.
    fn move_chunks(&self, chunks: impl Iterator<Item = Result<Moving>>) -> Result<Moved> {
        let (mut moved, mut from) = (Moved::default(), Vec::new());
        let (mut filling, mut spare) = (None, None);
        let mut chunks = chunks.peekable();
        while let Some(moving) = chunks.next() {
            let Moving { body, from: place } = moving?;
            let mut pack = match filling.take() {
                Some(pack) => pack,
                None => OpenPack::begin(self.core(), spare.take())?,
            };
            pack.add(self.core().objects(), &body)?;
            from.push(place);
            if !pack.is_full() && chunks.peek().is_some() {
                filling = Some(pack);
                continue;
            }
            let PutPack { packed, reservation, spare: emptied } = pack.put()?;
            spare = emptied;
            let places = std::mem::take(&mut from);
            let mut is_settled = false;
            for (chunks, places) in
                packed.chunks.chunks(CHUNKS_PER_COMMIT).zip(places.chunks(CHUNKS_PER_COMMIT))
            {
                let change = |tx: &mut Tx<'_>| {
                    if !is_settled {
                        tx.state.delete(Table::Pending, &reservation.stage().key(0))?;
                    }
                    repoint(tx, &packed, chunks, places)
                };
                let (count, emptied) = self.core().write(PACK, change)?;
                is_settled = true;
                moved.chunks += count;
                moved.packs += emptied;
            }
            reservation.settled();
            // If all of them had gone somewhere else.
            self.drop_empty_packs(&[(packed.name, packed.bytes)], &mut GcReport::default())?;
        }
        Ok(moved)
    }
}

/// Tells those of the chunks that still lie where they lay that they lie in the pack; how many, and how many
/// packs that left empty.
fn repoint(
    tx: &mut Tx<'_>,
    packed: &Packed,
    chunks: &[PackedChunk],
    places: &[ChunkPlace],
) -> Result<(u64, u64)> {
    let (mut count, mut bytes, mut emptied) = (0, 0, 0);
    for (chunk, old) in chunks.iter().zip(places) {
        let Some(ChunkRow::V0 { kind, references, len, place }) = read_chunk(tx, &chunk.id)? else {
            continue;
        };
        if place != *old {
            continue;
        }
        emptied += u64::from(leave_place(tx, &chunk.id, place)?);
        let row = ChunkRow::V0 { kind, references, len, place: packed.place(chunk) };
        write_chunk(tx, &chunk.id, &row)?;
        count += 1;
        bytes += u64::from(chunk.stored);
    }
    add_to_pack(tx, packed, count, bytes)?;
    Ok((u64::from(count), emptied))
}
