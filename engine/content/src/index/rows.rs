//! Rows of chunks, packs and references, inside a transaction.
//!
//! The only code that changes counts. A commit either adds the chunks of an upload ([`Additions`]),
//! with the references of its new nodes, or drops a reference.

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Effects;
use crate::pipeline::{Additions, EncodedChunk, Packed};
use strongroom_format::{
    ChunkId, ChunkKind, ChunkPlace, ChunkRow, ContentRef, ObjectName, PackRow, PackedChunk,
    ReleasedRow, StoredTotal, TotalKey, UploadId,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::{StateRead, Table};

/// Returns the most bytes that `additions` will use. `find` looks a chunk up.
pub(crate) fn added_bytes(
    additions: &Additions,
    find: impl Fn(&ChunkId) -> Result<Option<ChunkRow>>,
) -> Result<u64> {
    let mut bytes = additions.packs.iter().map(|pack| pack.bytes).sum();
    for chunk in &additions.chunks {
        let is_there = find(&chunk.id)?.is_some_and(|row| {
            let ChunkRow::V0 { references, place, .. } = row;
            references > 0 && place != ChunkPlace::Lost
        });
        bytes += if is_there { 0 } else { chunk.stored.len() as u64 };
    }
    Ok(bytes)
}

/// Writes the rows of `additions`; its packs belong to `upload`, if that has not ended.
pub(crate) fn add(tx: &mut Tx<'_>, additions: &Additions, upload: Option<UploadId>) -> Result<()> {
    let mut new_nodes = Vec::new();
    for pack in &additions.packs {
        let (mut chunks, mut chunk_bytes) = (0, 0);
        for chunk in &pack.chunks {
            let PackedChunk { id, kind, len, stored, .. } = *chunk;
            let place = pack.place(chunk).into();
            if place_chunk(tx, &id, kind, len, place, &mut new_nodes)? {
                chunks += 1;
                chunk_bytes += u64::from(stored);
            }
        }
        let (epoch, bytes) = (pack.epoch, pack.bytes);
        let row = PackRow::V0 { epoch, bytes, chunks, chunk_bytes, upload };
        write_pack(tx, pack.name, &row)?;
    }
    for chunk in &additions.chunks {
        let stored = u32::try_from(chunk.stored.len()).expect("a chunk is short");
        let place = ChunkPlace::State { stored };
        if place_chunk(tx, &chunk.id, chunk.kind, chunk.len, place, &mut new_nodes)? {
            put_body(tx, chunk)?;
            change_stored(tx, |state, _| *state += u64::from(stored))?;
        }
    }
    for node in new_nodes {
        let children = additions.nodes.get(&node).ok_or_else(|| missing("a node's list"))?;
        children.iter().try_for_each(|child| refer(tx, child))?;
    }
    Ok(())
}

/// Sets a chunk's location; returns whether it is `place` from now on.
///
/// That is so if the chunk is new, was lost, or was in the state and is packed now. It is also so
/// if the chunk was released and an upload stored it again, because the upload needs its own copy.
fn place_chunk(
    tx: &mut Tx<'_>,
    id: &ChunkId,
    kind: ChunkKind,
    len: u32,
    place: ChunkPlace,
    new_nodes: &mut Vec<ChunkId>,
) -> Result<bool> {
    let mut row = ChunkRow::V0 { kind, references: 0, len, place };
    if let Some(found) = read_chunk(tx, id)? {
        let ChunkRow::V0 { references, place: old, .. } = found;
        let is_released = references == 0 && read_released(tx, id)?.is_some();
        let is_packed = matches!((old, place), (ChunkPlace::State { .. }, ChunkPlace::Pack { .. }));
        if old == place && matches!(place, ChunkPlace::Pack { .. }) {
            // The index was rebuilt after the pack was put.
            return Ok(true);
        }
        let was_lost = old == ChunkPlace::Lost;
        if !is_released && !is_packed && !was_lost {
            return Ok(false);
        }
        if was_lost && kind == ChunkKind::Node {
            new_nodes.push(*id);
        }
        leave_place(tx, id, old)?;
        tx.state.delete(Table::Released, &id.0)?;
        // An existing node already counts for its children; a lost one does not.
        row = ChunkRow::V0 { kind, references, len, place };
    } else if kind == ChunkKind::Node {
        new_nodes.push(*id);
    }
    write_chunk(tx, id, &row)?;
    Ok(true)
}

/// Removes a chunk from its location; returns whether its pack is now empty.
pub(crate) fn leave_place(tx: &mut Tx<'_>, id: &ChunkId, place: ChunkPlace) -> Result<bool> {
    let (pack, stored) = match place {
        ChunkPlace::Pack { pack, stored, .. } => (pack, stored),
        ChunkPlace::State { stored } => {
            change_stored(tx, |state, _| *state = state.saturating_sub(stored.into()))?;
            return delete_body(tx, id, stored).map(|()| false);
        }
        ChunkPlace::Lost => return Ok(false),
    };
    let Some(mut row) = read_pack(tx, pack)? else { return Err(missing("a chunk's pack")) };
    let PackRow::V0 { chunks, chunk_bytes, .. } = &mut row;
    *chunks = chunks.checked_sub(1).ok_or_else(|| missing("a chunk of a pack"))?;
    *chunk_bytes = chunk_bytes.saturating_sub(stored.into());
    write_pack(tx, pack, &row)
}

/// Longest part of a chunk's bytes in one row of table `bodies`.
///
/// Longer rows occupy up to twice as much.
const BODY_PART_BYTES: usize = 65_000;

/// Returns the key of a part of a chunk's bytes: its id, then the part's number.
fn body_key(id: &ChunkId, part: usize) -> [u8; 33] {
    let mut key = [0; 33];
    key[..32].copy_from_slice(&id.0);
    key[32] = u8::try_from(part).expect("a chunk has few parts");
    key
}

/// Reads a key of table `bodies`: the chunk, and the number of the part.
pub fn body_part(key: &[u8]) -> Result<(ChunkId, u8)> {
    let (&part, id) = key.split_last().ok_or_else(|| missing("a part of a chunk"))?;
    Ok((ChunkId::of_key(id)?, part))
}

fn body_parts(stored: u32) -> usize {
    (stored as usize).div_ceil(BODY_PART_BYTES).max(1)
}

fn put_body(tx: &mut Tx<'_>, chunk: &EncodedChunk) -> Result<()> {
    // A replaced body has the same length, because an id has one stored form.
    for (part, bytes) in chunk.stored.chunks(BODY_PART_BYTES).enumerate() {
        tx.state.put(Table::Bodies, &body_key(&chunk.id, part), bytes)?;
    }
    Ok(())
}

fn delete_body(tx: &mut Tx<'_>, id: &ChunkId, stored: u32) -> Result<()> {
    (0..body_parts(stored)).try_for_each(|part| tx.state.delete(Table::Bodies, &body_key(id, part)))
}

/// Reads the stored form of a chunk in the state.
pub(crate) fn read_body(state: &StateRead, id: &ChunkId, stored: u32) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(stored as usize);
    for part in 0..body_parts(stored) {
        let row = state.get(Table::Bodies, &body_key(id, part))?;
        body.extend_from_slice(row.ok_or_else(|| missing("a part of a chunk"))?.as_slice());
    }
    Ok(body)
}

pub(crate) fn read_released(tx: &Tx<'_>, id: &ChunkId) -> Result<Option<ReleasedRow>> {
    tx.state.get(Table::Released, &id.0, |row| row.map(ReleasedRow::decode))?.transpose()
}

/// Lists a chunk as released by this commit.
pub(crate) fn mark_released(tx: &mut Tx<'_>, id: &ChunkId) -> Result<()> {
    let row = ReleasedRow::V0 { session: tx.session(), commit: tx.number() };
    tx.state.put(Table::Released, &id.0, &row.encode())
}

pub(crate) fn read_chunk(tx: &Tx<'_>, id: &ChunkId) -> Result<Option<ChunkRow>> {
    tx.state.get(Table::Chunks, &id.0, |row| row.map(ChunkRow::decode))?.transpose()
}

pub(crate) fn write_chunk(tx: &mut Tx<'_>, id: &ChunkId, row: &ChunkRow) -> Result<()> {
    tx.state.put(Table::Chunks, &id.0, &row.encode())
}

/// Finds a chunk's row in a read of the state.
pub(crate) fn find_chunk(state: &StateRead, id: &ChunkId) -> Result<Option<ChunkRow>> {
    state.get(Table::Chunks, &id.0)?.map(|row| ChunkRow::decode(row.as_slice())).transpose()
}

pub(crate) fn read_pack(tx: &Tx<'_>, name: ObjectName) -> Result<Option<PackRow>> {
    tx.state.get(Table::Packs, &name.0, |row| row.map(PackRow::decode))?.transpose()
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read chunk row")
        .with_reason(Reason::RowDamaged)
        .with_detail(format!("{what} has no row"))
}

/// Adds a reference to a chunk that is in the index.
pub(crate) fn refer(tx: &mut Tx<'_>, id: &ChunkId) -> Result<()> {
    let Some(mut row) = read_chunk(tx, id)? else { return Err(missing("a chunk")) };
    let ChunkRow::V0 { references, .. } = &mut row;
    *references += 1;
    write_chunk(tx, id, &row)
}

/// Drops a reference to a content.
pub fn release(tx: &mut Tx<'_>, content: &ContentRef) -> Result<()> {
    let effects = tx.parts.get_mut::<Effects>();
    effects.released_bytes = effects.released_bytes.saturating_add(content.len);
    unrefer(tx, &content.root)
}

/// Drops a reference to a chunk; the last one releases the chunk.
pub(crate) fn unrefer(tx: &mut Tx<'_>, id: &ChunkId) -> Result<()> {
    let Some(mut row) = read_chunk(tx, id)? else { return Err(missing("a chunk")) };
    let ChunkRow::V0 { references, .. } = &mut row;
    *references = references.checked_sub(1).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "read chunk row")
            .with_reason(Reason::RowDamaged)
            .with_detail("a chunk has more references than its row counts")
    })?;
    if *references == 0 {
        mark_released(tx, id)?;
    }
    write_chunk(tx, id, &row)
}

/// Writes a pack's row, or dooms an empty, unowned pack.
///
/// A live upload can still have the pack.
///
/// Returns whether it was doomed.
pub(crate) fn write_pack(tx: &mut Tx<'_>, name: ObjectName, row: &PackRow) -> Result<bool> {
    let PackRow::V0 { bytes, chunks, upload, .. } = row;
    if *chunks == 0 && !is_under_way(tx, *upload)? {
        if tx.state.remove(Table::Packs, &name.0, |row| row.is_some())? {
            change_stored(tx, |_, packs| *packs = packs.saturating_sub(*bytes))?;
        }
        return tx.doom(vec![name]).map(|()| true);
    }
    let is_new = tx.state.insert(Table::Packs, &name.0, &row.encode(), |old| old.is_none())?;
    if is_new {
        change_stored(tx, |_, packs| *packs += bytes)?;
    }
    Ok(false)
}

/// Adds chunks to the count of a pack on the backend.
///
/// Creates the pack's row if it is missing, even for no chunk.
pub(crate) fn add_to_pack(
    tx: &mut Tx<'_>,
    packed: &Packed,
    more: u32,
    more_bytes: u64,
) -> Result<()> {
    let (epoch, bytes) = (packed.epoch, packed.bytes);
    let row = read_pack(tx, packed.name)?;
    let is_new = row.is_none();
    let PackRow::V0 { chunks, chunk_bytes, .. } =
        row.unwrap_or(PackRow::V0 { epoch, bytes, chunks: 0, chunk_bytes: 0, upload: None });
    let (chunks, chunk_bytes) = (chunks + more, chunk_bytes + more_bytes);
    let row = PackRow::V0 { epoch, bytes, chunks, chunk_bytes, upload: None };
    tx.state.put(Table::Packs, &packed.name.0, &row.encode())?;
    if is_new {
        change_stored(tx, |_, packs| *packs += bytes)?;
    }
    Ok(())
}

/// Returns the bytes in state and packs, in the transaction.
pub(crate) fn stored_total(tx: &Tx<'_>) -> Result<(u64, u64)> {
    if let Some(total) = tx.parts.get::<Effects>().and_then(|effects| effects.stored) {
        return Ok(total);
    }
    let key = TotalKey::Stored.encode();
    let row = tx.state.get(Table::Totals, &key, |row| row.map(StoredTotal::decode))?;
    let StoredTotal::V0 { state_bytes, pack_bytes } =
        row.transpose()?.unwrap_or(StoredTotal::V0 { state_bytes: 0, pack_bytes: 0 });
    Ok((state_bytes, pack_bytes))
}

fn change_stored(tx: &mut Tx<'_>, change: impl FnOnce(&mut u64, &mut u64)) -> Result<()> {
    let (mut state_bytes, mut pack_bytes) = stored_total(tx)?;
    change(&mut state_bytes, &mut pack_bytes);
    set_stored(tx, state_bytes, pack_bytes);
    Ok(())
}

/// Sets the total, which [`write_stored`] writes once for the whole transaction.
pub(crate) fn set_stored(tx: &mut Tx<'_>, state_bytes: u64, pack_bytes: u64) {
    tx.parts.get_mut::<Effects>().stored = Some((state_bytes, pack_bytes));
}

/// Writes the total, if the transaction changed it.
pub(crate) fn write_stored(tx: &mut Tx<'_>) -> Result<()> {
    let Some((state_bytes, pack_bytes)) = tx.parts.get::<Effects>().and_then(|e| e.stored) else {
        return Ok(());
    };
    let row = StoredTotal::V0 { state_bytes, pack_bytes };
    tx.state.put(Table::Totals, &TotalKey::Stored.encode(), &row.encode())
}

/// Returns the bytes in state and packs, in a read.
pub(crate) fn read_stored_parts(state: &StateRead) -> Result<(u64, u64)> {
    let row = state.get(Table::Totals, &TotalKey::Stored.encode())?;
    match row.map(|row| StoredTotal::decode(row.as_slice())).transpose()? {
        Some(StoredTotal::V0 { state_bytes, pack_bytes }) => Ok((state_bytes, pack_bytes)),
        None => Ok((0, 0)),
    }
}

/// Returns the bytes of the content store, in a read.
pub fn read_stored(state: &StateRead) -> Result<u64> {
    read_stored_parts(state).map(|(in_state, in_packs)| in_state.saturating_add(in_packs))
}

fn is_under_way(tx: &Tx<'_>, upload: Option<UploadId>) -> Result<bool> {
    upload.map_or(Ok(false), |id| tx.state.get(Table::Uploads, &id.0, |row| row.is_some()))
}
