//! Moving chunks into new packs.
//!
//! They come from the index and from mostly unused packs.
//!
//! A pack is put first. Then the index records the new location of each chunk that is still where
//! it was read. Chunks are found by id, so a move breaks no reader. A reader that has the old
//! location keeps that pack by its read epoch.

use std::sync::Arc;

use strongroom_base::{ErrorKind, LongCall, Result};
use strongroom_format::{ChunkPlace, ObjectName};

use super::Pipeline;
use super::chunk_index::{ChunkIndex, GcIndex, Moved};
use super::codec::EncodedChunk;
use super::gc::GcReport;
use super::pack::{list, read_chunk};
use super::writer::{OpenPack, PutPack};

pub(crate) const PACK: &str = "pack chunks";

/// A chunk to move, and its present location.
pub(crate) struct Moving {
    pub(crate) chunk: EncodedChunk,
    pub(crate) from: ChunkPlace,
}

/// Empties packs that are more than half unused, and drops empty packs.
///
/// The caller excludes others from freeing and moving.
pub(crate) fn empty_packs<I: GcIndex + 'static>(
    pipeline: &Pipeline,
    index: &Arc<I>,
    call: LongCall<'_>,
    report: &mut GcReport,
) -> Result<()> {
    let wasteful = index.wasteful_packs()?;
    let mut damaged = 0;
    let chunks = wasteful.iter().flat_map(|&(name, bytes)| {
        let read = call
            .check(PACK)
            .and_then(|()| read_pack(pipeline, &**index, name, bytes, &mut damaged));
        read.unwrap_or_else(|e| vec![Err(e)])
    });
    let moved = move_chunks(pipeline, index, chunks)?;
    report.moved += moved.chunks;
    report.packs += moved.packs;
    report.damaged += damaged;
    // Their uploads may have ended meanwhile.
    let names: Vec<ObjectName> = wasteful.iter().map(|(name, _)| *name).collect();
    report.packs += index.drop_empty_packs(&names)?;
    Ok(())
}

/// Reads the live chunks of a pack. An unreadable one is counted and stays.
fn read_pack(
    pipeline: &Pipeline,
    index: &dyn GcIndex,
    name: ObjectName,
    bytes: u64,
    damaged: &mut u64,
) -> Result<Vec<Result<Moving>>> {
    let _pin = index.enter_epoch();
    let listed = match list(pipeline.objects(), name, bytes) {
        Ok((_, listed)) => Some(listed),
        Err(e) if e.kind() == ErrorKind::Corrupt => None,
        Err(e) => return Err(e),
    };
    let mut chunks = Vec::new();
    for chunk in index.live_chunks(name, listed.as_deref())? {
        match read_chunk(pipeline.objects(), &chunk.place) {
            Ok(stored) => {
                let from = chunk.place.into();
                let chunk = EncodedChunk { id: chunk.id, kind: chunk.kind, len: chunk.len, stored };
                chunks.push(Ok(Moving { chunk, from }));
            }
            Err(e) if e.kind() == ErrorKind::Corrupt => *damaged += 1,
            Err(e) => return Err(e),
        }
    }
    Ok(chunks)
}

/// Puts chunks into new packs, and records their locations.
///
/// Only chunks that are still in place get a new location.
pub(crate) fn move_chunks<I: GcIndex + 'static>(
    pipeline: &Pipeline,
    index: &Arc<I>,
    chunks: impl Iterator<Item = Result<Moving>>,
) -> Result<Moved> {
    let (mut moved, mut from) = (Moved::default(), Vec::new());
    let (mut filling, mut spare) = (None, None);
    let of_packs: Arc<dyn ChunkIndex> = Arc::<I>::clone(index);
    let mut chunks = chunks.peekable();
    while let Some(moving) = chunks.next() {
        let Moving { chunk, from: place } = moving?;
        let mut pack = match filling.take() {
            Some(pack) => pack,
            None => OpenPack::begin(pipeline, &of_packs, spare.take())?,
        };
        pack.add(&chunk)?;
        from.push(place);
        if !pack.is_full() && chunks.peek().is_some() {
            filling = Some(pack);
            continue;
        }
        let PutPack { packed, reservation, spare: emptied } = pack.put()?;
        spare = emptied;
        let Moved { chunks: count, packs } =
            index.repoint(&packed, &std::mem::take(&mut from), &reservation)?;
        moved.chunks += count;
        moved.packs += packs;
        reservation.settled();
        // In case none of its chunks was still in place.
        index.drop_empty_packs(&[packed.name])?;
    }
    Ok(moved)
}
