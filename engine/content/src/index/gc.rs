//! Ending dead uploads, and freeing chunks in the rows.
//!
//! When an upload ended without a commit, its unreferenced chunks are released. A released chunk
//! that no upload can have found and no reader can reach is removed from the index, and the
//! references to its children are dropped. An empty pack is doomed; its object is deleted when no
//! reader can have found it.

use std::collections::BTreeSet;
use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::LocalIndex;
use super::rows::{
    find_chunk, leave_place, mark_released, read_chunk, read_pack, read_released, unrefer,
    write_pack,
};
use super::unfinished::Unfinished;
use crate::pipeline::{
    Freed, GC, GcIndex, GcOptions, GcReport, Moved, Packed, PlacedChunk, ReleasedChunk,
    Reservation, ToFree, list_pack,
};
use strongroom_format::{
    ChunkId, ChunkKind, ChunkPlace, ChunkRow, ObjectName, PackRow, PackedChunk, ReleasedRow,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Most chunks that one commit releases.
const CHUNKS_PER_COMMIT: usize = 2_048;

impl LocalIndex {
    /// Releases unreferenced chunks of uploads that died long ago, were ended, or are superseded.
    ///
    /// The caller holds the maintenance lock.
    pub(crate) fn give_up_uploads(
        &self,
        options: &GcOptions<'_>,
        report: &mut GcReport,
    ) -> Result<()> {
        let now = self.uploads().now_unix_millis();
        let mut dead = self.unfinished(options.call)?;
        dead.retain(|upload| upload.is_over(now, options.discard_unknown));
        report.uploads_given_up =
            dead.iter().filter(|upload| !upload.keeps_unknown()).count() as u64;
        if dead.is_empty() || options.dry_run {
            return Ok(());
        }
        let packs: Vec<_> = dead.iter().flat_map(|upload| upload.packs.iter().copied()).collect();
        for &(name, bytes) in &packs {
            options.call.check(GC)?;
            let chunks = match list_pack(self.core().objects(), name, bytes) {
                Ok((_, chunks)) => chunks,
                Err(e) if e.kind() == ErrorKind::Corrupt => list_by_rows(self, name)?,
                Err(e) => return Err(e),
            };
            for some in chunks.chunks(CHUNKS_PER_COMMIT) {
                let change = |tx: &mut Tx<'_>| release_of(tx, name, some);
                self.core().write(GC, change)?;
            }
        }
        let end = |tx: &mut Tx<'_>| {
            dead.iter().try_for_each(|upload| tx.state.delete(Table::Uploads, &upload.id.0))?;
            // Only the upload kept the empty packs.
            for &(name, _) in &packs {
                if let Some(row @ PackRow::V0 { chunks: 0, .. }) = read_pack(tx, name)? {
                    write_pack(tx, name, &row)?;
                }
            }
            Ok(())
        };
        self.core().write(GC, end)
    }

    /// Reports what the unfinished uploads keep that have not ended.
    pub(crate) fn report_kept(&self, options: &GcOptions<'_>, report: &mut GcReport) -> Result<()> {
        let now = self.uploads().now_unix_millis();
        let mut kept = self.unfinished(options.call)?;
        kept.retain(|upload| !upload.is_over(now, options.discard_unknown));
        let (unknown, kept): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(Unfinished::keeps_unknown);
        report.unknown_packs = unknown.iter().map(|upload| upload.packs.len() as u64).sum();
        report.unknown_bytes = unknown.iter().map(|upload| upload.bytes).sum();
        report.note_kept(kept.iter().map(Unfinished::to_kept));
        Ok(())
    }

    /// Returns whether a released chunk can be freed.
    ///
    /// No upload can have found it, and no reader can reach it.
    fn is_due(&self, released: &ReleasedRow) -> bool {
        let ReleasedRow::V0 { session, commit } = *released;
        let due = self.uploads().due().min(self.core().read_epochs().due());
        session != self.core().session() || commit <= due
    }

    /// Removes a released, due and unreferenced chunk from the index.
    fn free_chunk(
        &self,
        tx: &mut Tx<'_>,
        id: &ChunkId,
        children: Option<&BTreeSet<ChunkId>>,
        freed: &mut Freed,
    ) -> Result<()> {
        let Some(released) = read_released(tx, id)? else { return Ok(()) };
        let Some(row) = read_chunk(tx, id)? else { return tx.state.delete(Table::Released, &id.0) };
        let ChunkRow::V0 { references, kind, place, .. } = row;
        if references > 0 {
            return tx.state.delete(Table::Released, &id.0);
        }
        if !self.is_due(&released) || (kind == ChunkKind::Node && children.is_none()) {
            // It was released again after it was listed: left to the next run.
            return Ok(());
        }
        tx.state.delete(Table::Released, &id.0)?;
        tx.state.delete(Table::Chunks, &id.0)?;
        freed.packs += u64::from(leave_place(tx, id, place)?);
        freed.chunks += 1;
        freed.bytes += u64::from(stored(&place));
        children.into_iter().flatten().try_for_each(|child| unrefer(tx, child))
    }
}

impl GcIndex for LocalIndex {
    fn released(&self, after: Option<&ChunkId>, limit: usize) -> Result<Vec<ReleasedChunk>> {
        let view = self.core().read()?;
        let state = view.state();
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(&id.0[..]));
        let rows = state.range(Table::Released, (lower, Bound::Unbounded))?.take(limit);
        rows.map(|entry| {
            let entry = entry?;
            let id = ChunkId::of_key(entry.key.as_slice())?;
            let is_due = self.is_due(&ReleasedRow::decode(entry.row.as_slice())?);
            let row = if is_due { find_chunk(state, &id)? } else { None };
            let unreferenced = match row {
                Some(ChunkRow::V0 { kind, references: 0, place, .. }) => {
                    Some((kind, stored(&place)))
                }
                _ => None,
            };
            Ok(ReleasedChunk { id, is_due, unreferenced })
        })
        .collect()
    }

    fn free(&self, chunks: &[ToFree]) -> Result<Freed> {
        let change = |tx: &mut Tx<'_>| {
            let mut freed = Freed::default();
            for (id, children) in chunks {
                self.free_chunk(tx, id, children.as_ref(), &mut freed)?;
            }
            Ok::<_, Error>(freed)
        };
        self.core().write(GC, change)
    }

    fn wasteful_packs(&self) -> Result<Vec<(ObjectName, u64)>> {
        self.list_wasteful()
    }

    fn live_chunks(
        &self,
        pack: ObjectName,
        listed: Option<&[PackedChunk]>,
    ) -> Result<Vec<PlacedChunk>> {
        self.list_live(pack, listed)
    }

    fn repoint(&self, pack: &Packed, from: &[ChunkPlace], reserved: &Reservation) -> Result<Moved> {
        self.record_move(pack, from, reserved.stage())
    }

    fn drop_empty_packs(&self, packs: &[ObjectName]) -> Result<u64> {
        self.drop_empty(packs)
    }
}

/// Lists the chunks of a pack whose own list cannot be read.
pub(super) fn list_by_rows(index: &LocalIndex, name: ObjectName) -> Result<Vec<PackedChunk>> {
    let mut found = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    for entry in index.core().read()?.state().range(Table::Chunks, all)? {
        let entry = entry?;
        let id = ChunkId::of_key(entry.key.as_slice())?;
        let ChunkRow::V0 { kind, len, place, .. } = ChunkRow::decode(entry.row.as_slice())?;
        if let ChunkPlace::Pack { pack, at, stored, .. } = place
            && pack == name
        {
            found.push(PackedChunk { id, kind, len, at, stored });
        }
    }
    Ok(found)
}

/// Releases the chunks that are in the pack and have no reference.
fn release_of(tx: &mut Tx<'_>, name: ObjectName, chunks: &[PackedChunk]) -> Result<()> {
    for chunk in chunks {
        if let Some(ChunkRow::V0 { references: 0, place, .. }) = read_chunk(tx, &chunk.id)?
            && matches!(place, ChunkPlace::Pack { pack, .. } if pack == name)
            && read_released(tx, &chunk.id)?.is_none()
        {
            mark_released(tx, &chunk.id)?;
        }
    }
    Ok(())
}

fn stored(place: &ChunkPlace) -> u32 {
    match *place {
        ChunkPlace::State { stored } | ChunkPlace::Pack { stored, .. } => stored,
        ChunkPlace::Lost => 0,
    }
}

pub(super) fn key_of(key: &[u8]) -> Result<[u8; 16]> {
    key.try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "read pack row")
            .with_reason(Reason::RowDamaged)
            .with_detail("key has a wrong length")
    })
}
