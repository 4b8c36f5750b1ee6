//! Freeing what nothing refers to: `gc`.
//!
//! In steps of bounded size, each a commit: what uploads stored that ended without their commit is released;
//! what is released, and no upload can have found and no reader can reach, is taken out of the index, and its
//! children are let go of; a pack with nothing left in it is doomed, and its object goes once no reader can have found it.
//! Interrupted anywhere, the next run goes on; past what cannot be read it goes on as well, and tells.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::index::{
    find_chunk, leave_place, read_chunk, read_pack, read_released, release, unrefer, write_pack,
};
use super::pack::list;
use super::reader::children;
use super::store::Content;
use strongroom_base::{LongCall, long_call_options};
use strongroom_format::{
    ChunkId, ChunkKind, ChunkPlace, ChunkRow, ObjectName, PackRow, PackedChunk, ReleasedRow,
    UploadId, UploadRow,
};
use strongroom_store::commit::{Tx, View};
use strongroom_store::state::Table;

const GC: &str = "collect garbage";

/// How long an upload that died is kept for whoever goes on with it.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Most chunks that one commit frees or releases, the children that nodes among them let go of included;
/// more only if one node alone has more.
const CHUNKS_PER_COMMIT: usize = 2_048;

/// Options of `Vault::gc`.
///
/// Progress is the chunks that were freed. A cancelled call ends between two commits; what is freed
/// stays so.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions<'a> {
    dry_run: bool,
    without_repacking: bool,
    call: LongCall<'a>,
}

long_call_options!(GcOptions);

impl GcOptions<'_> {
    /// The default options: free what can be freed, and empty wasteful packs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports what would be freed, and frees nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Leaves chunks where they are: no pack is emptied, so this needs no room and little time.
    #[must_use]
    pub fn without_repacking(mut self, without_repacking: bool) -> Self {
        self.without_repacking = without_repacking;
        self
    }
}

/// What was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Uploads that ended without their commit.
    pub uploads_given_up: u64,
    /// Chunks that nothing referred to any more. In a dry run those that are known by now: what they
    /// alone refer to is found when they are freed.
    pub chunks: u64,
    /// Bytes that they took, of which those in packs come back with the last chunk of each.
    pub bytes: u64,
    /// Packs with nothing left in them; their objects go once no reader can have found them.
    pub packs: u64,
    /// Chunks that were moved: out of packs that held more waste than chunks, and out of state.
    pub moved: u64,
    /// Objects deleted from the backend.
    pub objects: u64,
    /// Chunks and objects that stay until a live reader or an upload under way ends; for the next run.
    pub waiting: u64,
    /// Nodes and packs that could not be read: what they alone refer to stays. `check` tells more.
    pub damaged: u64,
}

/// Garbage collection.
impl Content {
    /// Frees content that nothing refers to, beside readers and writers, in commits of bounded size; then
    /// moves chunks out of packs that are more than half waste, and out of state if they are many there; and
    /// deletes what became due.
    ///
    /// It runs by itself, on a thread of the vault's own, once contents of 256 MiB were let go of, and
    /// as often as `VaultOptions::upkeep` says.
    ///
    /// One at a time: `Locked` if another, the vault's own included, or an index that is made anew, takes longer than the write
    /// timeout.
    pub fn gc(&self, options: &GcOptions<'_>) -> Result<GcReport> {
        self.core().refuse_nested_write(GC)?;
        let _turn = self.uploads().upkeep_turn(GC, self.core().write_timeout())?;
        let mut report = GcReport::default();
        if !options.dry_run {
            // The last rows of dropped namespaces let go of values.
            self.core().settle_rows(options.call)?;
        }
        self.give_up_uploads(options, &mut report)?;
        self.free_released(options, &mut report)?;
        if options.dry_run {
            return Ok(report);
        }
        if !options.without_repacking {
            self.empty_packs(options.call, &mut report)?;
            report.moved += self.pack_state(options.call)?;
        }
        // The last: what fails here is nothing's condition.
        report.objects = self.core().delete_due(options.call)?;
        report.waiting += self.core().read()?.state().len(Table::Doomed)?;
        Ok(report)
    }

    /// Frees what is released and due, in commits of bounded size. The caller has the turn for upkeep.
    fn free_released(&self, options: &GcOptions<'_>, report: &mut GcReport) -> Result<()> {
        let mut after: Option<ChunkId> = None;
        let mut freed_before = None;
        loop {
            options.call.check(GC)?;
            let batch = next_batch(self, after.as_ref(), report)?;
            let Some(last) = batch.last().map(|(id, _)| *id) else {
                // Children may have been let go of that come before it: once more, while that frees.
                if options.dry_run || freed_before == Some(report.chunks) {
                    return Ok(());
                }
                freed_before = Some(report.chunks);
                (after, report.waiting, report.damaged) = (None, 0, 0);
                continue;
            };
            if options.dry_run {
                count(&self.core().read()?, &batch, report)?;
            } else {
                let change = |tx: &mut Tx<'_>| {
                    let mut freed = GcReport::default();
                    for (id, children) in &batch {
                        free_chunk(self, tx, id, children.as_ref(), &mut freed)?;
                    }
                    Ok::<_, Error>(freed)
                };
                let freed = self.core().write(GC, change)?;
                report.chunks += freed.chunks;
                report.bytes += freed.bytes;
                report.packs += freed.packs;
                options.call.report(report.chunks, None);
            }
            after = Some(last);
        }
    }

    /// What uploads stored that died long ago, or were given up, and nothing refers to is released.
    fn give_up_uploads(&self, options: &GcOptions<'_>, report: &mut GcReport) -> Result<()> {
        let now = self.core().clock().unix_millis();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut dead = Vec::new();
        for entry in self.core().read()?.state().range(Table::Uploads, all)? {
            let entry = entry?;
            let id = UploadId(key_of(entry.key.as_slice())?);
            let UploadRow::V0 { since_unix_millis } = UploadRow::decode(entry.row.as_slice())?;
            let age = Duration::from_millis(now.saturating_sub(since_unix_millis));
            // One that lives in this process is not dead whatever the clock says.
            if age >= UPLOAD_KEPT && !self.uploads().is_live(id) {
                dead.push(id);
            }
        }
        report.uploads_given_up = dead.len() as u64;
        if dead.is_empty() || options.dry_run {
            return Ok(());
        }
        let mut packs = Vec::new();
        for entry in self.core().read()?.state().range(Table::Packs, all)? {
            let entry = entry?;
            let PackRow::V0 { bytes, upload, .. } = PackRow::decode(entry.row.as_slice())?;
            if upload.is_some_and(|upload| dead.contains(&upload)) {
                packs.push((ObjectName(key_of(entry.key.as_slice())?), bytes));
            }
        }
        for &(name, bytes) in &packs {
            options.call.check(GC)?;
            let chunks = match list(self.core().objects(), name, bytes) {
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
            dead.iter().try_for_each(|id| tx.state.delete(Table::Uploads, &id.0))?;
            // Those that have nothing in them had no use but for it.
            for &(name, _) in &packs {
                if let Some(row @ PackRow::V0 { chunks: 0, .. }) = read_pack(tx, name)? {
                    write_pack(tx, name, &row)?;
                }
            }
            Ok(())
        };
        self.core().write(GC, end)
    }
}

/// What lies in a pack whose own list cannot be read.
pub(crate) fn list_by_rows(content: &Content, name: ObjectName) -> Result<Vec<PackedChunk>> {
    let mut found = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    for entry in content.core().read()?.state().range(Table::Chunks, all)? {
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

/// Chunks that lie in that pack and that nothing refers to are released.
fn release_of(tx: &mut Tx<'_>, name: ObjectName, chunks: &[PackedChunk]) -> Result<()> {
    for chunk in chunks {
        if let Some(ChunkRow::V0 { references: 0, place, .. }) = read_chunk(tx, &chunk.id)?
            && matches!(place, ChunkPlace::Pack { pack, .. } if pack == name)
            && read_released(tx, &chunk.id)?.is_none()
        {
            release(tx, &chunk.id)?;
        }
    }
    Ok(())
}

/// Whether no upload can have found what was let go of then, and no reader can reach it.
fn is_due(content: &Content, released: &ReleasedRow) -> bool {
    let ReleasedRow::V0 { session, commit } = *released;
    let due = content.uploads().due().min(content.core().pins().due());
    session != content.core().session() || commit <= due
}

/// A chunk to be freed; of a node with its children, each once.
type Released = (ChunkId, Option<BTreeSet<ChunkId>>);

/// The next chunks that are released and due, as many as a commit frees. What a node refers to never
/// changes, so it is read before the transaction.
fn next_batch(
    content: &Content,
    after: Option<&ChunkId>,
    report: &mut GcReport,
) -> Result<Vec<Released>> {
    let view = content.core().read()?;
    let state = view.state();
    let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(&id.0[..]));
    let (mut batch, mut weight) = (Vec::new(), 0);
    for entry in state.range(Table::Released, (lower, Bound::Unbounded))? {
        let entry = entry?;
        let id = ChunkId::of_key(entry.key.as_slice())?;
        if !is_due(content, &ReleasedRow::decode(entry.row.as_slice())?) {
            report.waiting += 1;
            continue;
        }
        let node = match find_chunk(state, &id)? {
            Some(ChunkRow::V0 { kind: ChunkKind::Node, references: 0, .. }) => {
                match children(content, state, &id) {
                    Ok(children) => Some(children.into_iter().map(|child| child.id).collect()),
                    Err(e) if e.kind() == ErrorKind::Corrupt => {
                        report.damaged += 1;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
            }
            _ => None,
        };
        weight += 1 + node.as_ref().map_or(0, BTreeSet::len);
        batch.push((id, node));
        if weight >= CHUNKS_PER_COMMIT {
            break;
        }
    }
    Ok(batch)
}

fn count(view: &View, batch: &[Released], report: &mut GcReport) -> Result<()> {
    for (id, _) in batch {
        if let Some(ChunkRow::V0 { references: 0, place, .. }) = find_chunk(view.state(), id)? {
            report.chunks += 1;
            report.bytes += u64::from(stored(&place));
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

/// Takes a chunk out of the index, if it is released, due, and nothing refers to it.
fn free_chunk(
    content: &Content,
    tx: &mut Tx<'_>,
    id: &ChunkId,
    children: Option<&BTreeSet<ChunkId>>,
    freed: &mut GcReport,
) -> Result<()> {
    let Some(released) = read_released(tx, id)? else { return Ok(()) };
    let Some(row) = read_chunk(tx, id)? else { return tx.state.delete(Table::Released, &id.0) };
    let ChunkRow::V0 { references, kind, place, .. } = row;
    if references > 0 {
        return tx.state.delete(Table::Released, &id.0);
    }
    if !is_due(content, &released) || (kind == ChunkKind::Node && children.is_none()) {
        // It was let go of once more since it was looked at: for the next run.
        return Ok(());
    }
    tx.state.delete(Table::Released, &id.0)?;
    tx.state.delete(Table::Chunks, &id.0)?;
    freed.packs += u64::from(leave_place(tx, id, place)?);
    freed.chunks += 1;
    freed.bytes += u64::from(stored(&place));
    children.into_iter().flatten().try_for_each(|child| unrefer(tx, child))
}

pub(crate) fn key_of(key: &[u8]) -> Result<[u8; 16]> {
    key.try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "read pack row")
            .with_reason(Reason::RowDamaged)
            .with_detail("key has a wrong length")
    })
}
