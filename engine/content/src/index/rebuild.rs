//! Rebuilding the index from the packs, after rows were lost.
//!
//! Every pack lists its chunks under its own seal, and every node lists its children. So locations
//! and counts follow without the index. Chunks in the state exist only there, and their rows stay.
//!
//! A pack without a row belongs to this state, whose row was lost, or to a newer state, if this one
//! is older. Both look the same. So the rebuild indexes such *unknown packs* as those of
//! an upload that does not end by itself. Their chunks can be used, and `gc` frees nothing in them
//! until it is asked to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Result};

use super::LocalIndex;
use super::gc::list_by_rows;
use super::rows::{
    find_chunk, mark_released, read_chunk, refer, set_stored, write_chunk, write_pack,
};
use super::unfinished::KEEPS_UNKNOWN;
use crate::pipeline::{Packed, Pipeline, list_pack, listed, read_node};
use strongroom_base::{LongCall, long_call_options};
use strongroom_format::{
    Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, DoomedKey, ObjectName, PackRow, PendingRow,
    UploadId, UploadRow,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::{StateRead, Table};

const REBUILD: &str = "rebuild index";

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Options of `Vault::rebuild_index`.
///
/// Progress is the number of examined objects. A cancelled call changed nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RebuildOptions<'a> {
    call: LongCall<'a>,
}

long_call_options!(RebuildOptions);

impl RebuildOptions<'_> {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The outcome of a rebuild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Packs that were read.
    pub packs: u64,
    /// Distinct chunks in them.
    pub chunks: u64,
    /// Chunks without a reference; `gc` frees those that are not in unknown packs.
    pub unreferenced: u64,
    /// Packs among these that no row of the state named, and their bytes.
    ///
    /// They may belong to a newer state of the vault. `gc` keeps them until
    /// [`discard_unknown`](crate::GcOptions::discard_unknown).
    pub unknown_packs: u64,
    pub unknown_bytes: u64,
    /// Chunks that have a reference and are in no pack.
    pub missing: u64,
    /// Unreadable lists of packs, nodes, and rows of records.
    pub damaged: u64,
}

/// The packs and their nodes.
#[derive(Default)]
struct FoundPacks {
    /// The known ones first.
    packs: Vec<Packed>,
    /// Packs that no row names.
    unknown: BTreeSet<ObjectName>,
    /// The distinct children of each node.
    nodes: HashMap<ChunkId, Vec<ChunkId>>,
}

/// A catalogue whose rows refer to contents.
pub trait Roots {
    /// Returns the roots of all referenced contents, one for each reference.
    fn roots(&self, tx: &Tx<'_>) -> Result<FoundRoots>;
}

/// The contents that the rows of a catalogue refer to.
#[derive(Debug, Default)]
pub struct FoundRoots {
    pub roots: Vec<ChunkId>,
    /// Rows that could not be read.
    pub damaged: u64,
}

impl LocalIndex {
    /// Rebuilds all rows from the packs: see `Content::rebuild_index`.
    pub(crate) fn rebuild(
        &self,
        pipeline: &Pipeline,
        options: &RebuildOptions<'_>,
        roots: &[&dyn Roots],
    ) -> Result<RebuildReport> {
        let _span = tracing::debug_span!("rebuild index").entered();
        self.core().refuse_nested_write(REBUILD)?;
        let uploads = self.uploads();
        let _turn = uploads.upkeep_turn(REBUILD, self.core().write_timeout())?;
        let _closed = uploads.close().ok_or_else(|| {
            Error::new(ErrorKind::Locked, REBUILD)
                .with_detail("an upload is running; retry after it")
        })?;
        let mut report = RebuildReport::default();
        let found = self.find_packs(pipeline, options, &mut report)?;
        let keeper = UploadId(self.core().entropy().draw()?);
        let change = |tx: &mut Tx<'_>| rewrite(tx, &found, keeper, roots, report);
        self.core().write(REBUILD, change)
    }

    /// Reads the lists of all packs, and all nodes.
    fn find_packs(
        &self,
        pipeline: &Pipeline,
        options: &RebuildOptions<'_>,
        report: &mut RebuildReport,
    ) -> Result<FoundPacks> {
        let (objects, view) = (self.core().objects(), self.core().read()?);
        let state = view.state();
        let rows = packs_of_rows(state);
        let not_packs = objects_under_way(state)?;
        let mut names = Vec::new();
        objects.list(|name, size| {
            if let Ok(name) = name
                && !not_packs.contains(&name)
            {
                names.push((name, size));
            }
            Ok(())
        })?;
        let (codecs, keys) = (pipeline.codecs(), pipeline.id_keys());
        let mut found = FoundPacks::default();
        for (done, (name, size)) in names.into_iter().enumerate() {
            options.call.check(REBUILD)?;
            options.call.report(done as u64, None);
            let mut pack = match list_pack(objects, name, size) {
                Ok((epoch, chunks)) => Packed { name, epoch, bytes: size, chunks },
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    // Another type of object, unless a row says that it is a pack.
                    let Some(&(epoch, _)) = rows.get(&name) else { continue };
                    report.damaged += 1;
                    // No read needs the pack's list, because its rows are enough.
                    let chunks = list_by_rows(self, name)?;
                    Packed { name, epoch, bytes: size, chunks }
                }
                Err(e) => return Err(e),
            };
            report.packs += 1;
            if !rows.get(&name).is_some_and(|(_, is_known)| *is_known) {
                report.unknown_packs += 1;
                report.unknown_bytes += size;
                found.unknown.insert(name);
            }
            let mut unread = BTreeSet::new();
            for chunk in pack.chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Node) {
                match read_node(objects, codecs, keys, &pack, chunk) {
                    Ok(children) => drop(found.nodes.insert(chunk.id, distinct(&children))),
                    Err(e) if e.kind() == ErrorKind::Corrupt => drop(unread.insert(chunk.id)),
                    Err(e) => return Err(e),
                }
            }
            report.damaged += unread.len() as u64;
            // The children of such a node cannot be counted, so it is lost until it is stored
            // again.
            pack.chunks.retain(|chunk| !unread.contains(&chunk.id));
            found.packs.push(pack);
        }
        // A chunk that several packs have is taken from a known one.
        found.packs.sort_by_key(|pack| found.unknown.contains(&pack.name));
        keep_places(state, &mut found.packs)?;
        for entry in state.range(Table::Chunks, ALL)? {
            let entry = entry?;
            let Ok(id) = ChunkId::of_key(entry.key.as_slice()) else { continue };
            if let Ok(ChunkRow::V0 {
                kind: ChunkKind::Node, place: ChunkPlace::State { .. }, ..
            }) = ChunkRow::decode(entry.row.as_slice())
            {
                let node = pipeline.open(ChunkKind::Node, &id, super::find(state, &id)?)?;
                found.nodes.insert(id, distinct(&listed(&node)?));
            }
        }
        Ok(found)
    }
}

fn distinct(children: &[Child]) -> Vec<ChunkId> {
    let ids: BTreeSet<_> = children.iter().map(|child| child.id).collect();
    ids.into_iter().collect()
}

/// Keeps one copy of a chunk that several packs have: the one of its row.
fn keep_places(state: &StateRead, packs: &mut [Packed]) -> Result<()> {
    let names: BTreeSet<ObjectName> = packs.iter().map(|pack| pack.name).collect();
    for pack in packs {
        let mut kept = Vec::with_capacity(pack.chunks.len());
        for chunk in std::mem::take(&mut pack.chunks) {
            let row = match find_chunk(state, &chunk.id) {
                Err(e) if e.kind() == ErrorKind::Corrupt => None,
                row => row?,
            };
            let is_elsewhere = row.is_some_and(|ChunkRow::V0 { place, .. }| {
                matches!(place, ChunkPlace::Pack { pack: other, .. }
                    if other != pack.name && names.contains(&other))
            });
            if !is_elsewhere {
                kept.push(chunk);
            }
        }
        pack.chunks = kept;
    }
    Ok(())
}

/// Returns the packs in readable rows, with their key epochs.
///
/// Each has a flag: whether it is known, and not an unknown pack of an earlier rebuild.
fn packs_of_rows(state: &StateRead) -> BTreeMap<ObjectName, (u32, bool)> {
    let keeps_unknown = |upload: UploadId| {
        let row = state.get(Table::Uploads, &upload.0).ok().flatten();
        let row = row.and_then(|row| UploadRow::decode(row.as_slice()).ok());
        matches!(row, Some(UploadRow::V0 { since_unix_millis: KEEPS_UNKNOWN }))
    };
    let rows = state.range(Table::Packs, ALL).into_iter().flatten();
    rows.flatten()
        .filter_map(|entry| {
            let name = entry.key.as_slice().try_into().ok().map(ObjectName)?;
            let PackRow::V0 { epoch, upload, .. } = PackRow::decode(entry.row.as_slice()).ok()?;
            Some((name, (epoch, !upload.is_some_and(keeps_unknown))))
        })
        .collect()
}

/// Returns the objects that are being put, or wait for their deletion.
fn objects_under_way(state: &StateRead) -> Result<BTreeSet<ObjectName>> {
    let mut names = BTreeSet::new();
    for entry in state.range(Table::Pending, ALL)? {
        names.extend(PendingRow::decode(entry?.row.as_slice())?.names().iter().copied());
    }
    for entry in state.range(Table::Doomed, ALL)? {
        names.insert(DoomedKey::decode(entry?.key.as_slice())?.name);
    }
    Ok(names)
}

/// Replaces the rows of all packs and of the chunks in them.
fn rewrite(
    tx: &mut Tx<'_>,
    found: &FoundPacks,
    keeper: UploadId,
    roots: &[&dyn Roots],
    mut report: RebuildReport,
) -> Result<RebuildReport> {
    let state_bytes = forget(tx)?;
    set_stored(tx, state_bytes, 0);
    if !found.unknown.is_empty() {
        let row = UploadRow::V0 { since_unix_millis: KEEPS_UNKNOWN };
        tx.state.put(Table::Uploads, &keeper.0, &row.encode())?;
    }
    for pack in &found.packs {
        let (mut chunks, mut chunk_bytes) = (0, 0);
        for chunk in &pack.chunks {
            if read_chunk(tx, &chunk.id)?.is_some() {
                continue;
            }
            let (kind, len, place) = (chunk.kind, chunk.len, pack.place(chunk).into());
            write_chunk(tx, &chunk.id, &ChunkRow::V0 { kind, references: 0, len, place })?;
            chunks += 1;
            chunk_bytes += u64::from(chunk.stored);
        }
        report.chunks += u64::from(chunks);
        let (epoch, bytes) = (pack.epoch, pack.bytes);
        let upload = found.unknown.contains(&pack.name).then_some(keeper);
        let row = PackRow::V0 { epoch, bytes, chunks, chunk_bytes, upload };
        write_pack(tx, pack.name, &row)?;
    }
    count_references(tx, found, roots, &mut report)?;
    release_rest(tx, &found.unknown, &mut report)?;
    Ok(report)
}

/// Removes all rows except those of chunks in the state; returns the bytes of those.
///
/// Their reference counts are zero from here on.
fn forget(tx: &mut Tx<'_>) -> Result<u64> {
    for table in [Table::Packs, Table::Released, Table::Uploads] {
        for key in keys(tx, table)? {
            tx.state.delete(table, &key)?;
        }
    }
    let mut state_bytes = 0;
    for key in keys(tx, Table::Chunks)? {
        let row = tx.state.get(Table::Chunks, &key, |row| row.map(ChunkRow::decode))?;
        match (ChunkId::of_key(&key), row) {
            (
                Ok(id),
                Some(Ok(ChunkRow::V0 {
                    kind,
                    len,
                    place: place @ ChunkPlace::State { stored },
                    ..
                })),
            ) => {
                state_bytes += u64::from(stored);
                write_chunk(tx, &id, &ChunkRow::V0 { kind, references: 0, len, place })?;
            }
            _ => tx.state.delete(Table::Chunks, &key)?,
        }
    }
    Ok(state_bytes)
}

fn keys(tx: &Tx<'_>, table: Table) -> Result<Vec<Vec<u8>>> {
    tx.state.range(table, ALL)?.map(|entry| Ok(entry?.key.as_slice().to_vec())).collect()
}

/// Counts the references of nodes, artifacts and values.
fn count_references(
    tx: &mut Tx<'_>,
    found: &FoundPacks,
    roots: &[&dyn Roots],
    report: &mut RebuildReport,
) -> Result<()> {
    let mut missing = 0;
    let mut count = |tx: &mut Tx<'_>, id: &ChunkId| {
        if read_chunk(tx, id)?.is_none() {
            missing += 1;
            // Its kind and length become known when it is stored again.
            let (kind, place) = (ChunkKind::Data, ChunkPlace::Lost);
            write_chunk(tx, id, &ChunkRow::V0 { kind, references: 0, len: 0, place })?;
        }
        refer(tx, id)
    };
    for (node, children) in &found.nodes {
        if read_chunk(tx, node)?.is_some() {
            children.iter().try_for_each(|child| count(tx, child))?;
        }
    }
    for catalogue in roots {
        let found = catalogue.roots(tx)?;
        report.damaged += found.damaged;
        found.roots.iter().try_for_each(|root| count(tx, root))?;
    }
    report.missing = missing;
    Ok(())
}

/// Releases all chunks without a reference, except those in unknown packs.
fn release_rest(
    tx: &mut Tx<'_>,
    unknown: &BTreeSet<ObjectName>,
    report: &mut RebuildReport,
) -> Result<()> {
    for key in keys(tx, Table::Chunks)? {
        let id = ChunkId::of_key(&key)?;
        if let Some(ChunkRow::V0 { references: 0, place, .. }) = read_chunk(tx, &id)? {
            report.unreferenced += 1;
            if !matches!(place, ChunkPlace::Pack { pack, .. } if unknown.contains(&pack)) {
                mark_released(tx, &id)?;
            }
        }
    }
    Ok(())
}
