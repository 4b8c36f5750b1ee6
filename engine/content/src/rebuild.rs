//! The index anew, from the packs alone: for when rows of it are lost or wrong.
//!
//! Every pack lists its chunks under its own seal, and every node its children; so where chunks lie, and how
//! often each is referred to, can be told without the index. Chunks that lie in state live and die with it:
//! their rows stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Result};

use super::body::{self, Codecs, IdKeys};
use super::index::{find_chunk, read_chunk, refer, release, set_stored, write_chunk, write_pack};
use super::pack::{Packed, list, read_chunk as read_packed};
use super::reader::children;
use super::release::list_by_rows;
use super::store::Content;
use strongroom_base::{LongCall, long_call_options};
use strongroom_format::{
    Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, DoomedKey, NodeBody, ObjectName, PackRow,
    PackedChunk, PendingRow,
};
use strongroom_store::commit::Tx;
use strongroom_store::objects::Objects;
use strongroom_store::state::{StateRead, Table};

const REBUILD: &str = "rebuild index";

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Options of `Vault::rebuild_index`.
///
/// Progress is the objects that were looked at. A cancelled call has changed nothing.
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

/// What was found in the packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Packs that were read.
    pub packs: u64,
    /// Chunks that lie in them, each once.
    pub chunks: u64,
    /// Chunks that nothing refers to; `gc` frees them.
    pub unreferenced: u64,
    /// Chunks that something refers to and no pack has.
    pub missing: u64,
    /// Packs whose list could not be read, nodes, and rows of records.
    pub damaged: u64,
}

/// What the packs hold.
#[derive(Default)]
struct Found {
    packs: Vec<Packed>,
    /// The children of each node, each once.
    nodes: HashMap<ChunkId, Vec<ChunkId>>,
}

/// A catalogue whose rows refer to contents.
pub trait Roots {
    /// Returns the roots of all contents that its rows refer to, one for each reference.
    fn roots(&self, tx: &Tx<'_>) -> Result<FoundRoots>;
}

/// What the rows of a catalogue refer to.
#[derive(Debug, Default)]
pub struct FoundRoots {
    pub roots: Vec<ChunkId>,
    /// Rows that could not be read.
    pub damaged: u64,
}

impl Content {
    /// Makes the index of chunks anew from the packs on the backend, in one commit: which chunks there are,
    /// where they lie, and how often each is referred to. What lay in packs that are gone, and nodes that
    /// cannot be read, are known to be lost then: a put of the same bytes stores them again, for all that had
    /// them. Of a pack whose list is damaged counts what rows say. Damaged chunks of data stay where they are;
    /// `check` with all data read tells of them. Takes memory for each chunk, some hundred bytes.
    ///
    /// `Locked` while something is being stored.
    pub fn rebuild_index(
        &self,
        options: &RebuildOptions<'_>,
        roots: &[&dyn Roots],
    ) -> Result<RebuildReport> {
        let _span = tracing::debug_span!("rebuild index").entered();
        self.core().refuse_nested_write(REBUILD)?;
        let uploads = self.uploads();
        let _turn = uploads.upkeep_turn(REBUILD, self.core().write_timeout())?;
        let _closed = uploads.close().ok_or_else(|| {
            Error::new(ErrorKind::Locked, REBUILD)
                .with_detail("something is being stored, which has looked up what is there")
        })?;
        let mut report = RebuildReport::default();
        let found = self.find_packs(options, &mut report)?;
        let change = |tx: &mut Tx<'_>| rewrite(tx, &found, roots, report);
        self.core().write(REBUILD, change)
    }

    /// Reads the lists of all packs, and all nodes.
    fn find_packs(
        &self,
        options: &RebuildOptions<'_>,
        report: &mut RebuildReport,
    ) -> Result<Found> {
        let (objects, view) = (self.core().objects(), self.core().read()?);
        let state = view.state();
        let known = packs_of_rows(state);
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
        let mut found = Found::default();
        for (done, (name, size)) in names.into_iter().enumerate() {
            options.call.check(REBUILD)?;
            options.call.report(done as u64, None);
            let mut pack = match list(objects, name, size) {
                Ok((epoch, chunks)) => Packed { name, epoch, bytes: size, chunks },
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    // Another object, unless a row says that it is a pack.
                    let Some(&epoch) = known.get(&name) else { continue };
                    report.damaged += 1;
                    // Its list is needed for no read: what rows say of it counts on.
                    let chunks = list_by_rows(self, name)?;
                    Packed { name, epoch, bytes: size, chunks }
                }
                Err(e) => return Err(e),
            };
            report.packs += 1;
            let mut unread = BTreeSet::new();
            for chunk in pack.chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Node) {
                match read_node(objects, self.codecs(), self.id_keys(), &pack, chunk) {
                    Ok(children) => drop(found.nodes.insert(chunk.id, distinct(&children))),
                    Err(e) if e.kind() == ErrorKind::Corrupt => drop(unread.insert(chunk.id)),
                    Err(e) => return Err(e),
                }
            }
            report.damaged += unread.len() as u64;
            // What such a node lists cannot be counted: it is lost, until it is stored again.
            pack.chunks.retain(|chunk| !unread.contains(&chunk.id));
            found.packs.push(pack);
        }
        keep_places(state, &mut found.packs)?;
        for entry in state.range(Table::Chunks, ALL)? {
            let entry = entry?;
            let Ok(id) = ChunkId::of_key(entry.key.as_slice()) else { continue };
            if let Ok(ChunkRow::V0 {
                kind: ChunkKind::Node, place: ChunkPlace::State { .. }, ..
            }) = ChunkRow::decode(entry.row.as_slice())
            {
                found.nodes.insert(id, distinct(&children(self, state, &id)?));
            }
        }
        Ok(found)
    }
}

/// The children of a node in a pack.
pub(crate) fn read_node(
    objects: &Objects,
    codecs: &Codecs,
    keys: &IdKeys,
    pack: &Packed,
    chunk: &PackedChunk,
) -> Result<Vec<Child>> {
    let stored = read_packed(objects, pack.name, pack.epoch, chunk.at, chunk.stored)?;
    let bytes = body::unpack(codecs, keys, ChunkKind::Node, &chunk.id, chunk.len, &stored)?;
    let NodeBody::V0 { children } = NodeBody::decode(&bytes)?;
    Ok(children)
}

fn distinct(children: &[Child]) -> Vec<ChunkId> {
    let ids: BTreeSet<_> = children.iter().map(|child| child.id).collect();
    ids.into_iter().collect()
}

/// Of a chunk that several packs have, the copy that its row knew counts: that one was read before.
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

/// The packs that rows name, as far as they can be read, with the numbers of their keys.
fn packs_of_rows(state: &StateRead) -> BTreeMap<ObjectName, u32> {
    let rows = state.range(Table::Packs, ALL).into_iter().flatten();
    rows.flatten()
        .filter_map(|entry| {
            let name = entry.key.as_slice().try_into().ok().map(ObjectName)?;
            let PackRow::V0 { epoch, .. } = PackRow::decode(entry.row.as_slice()).ok()?;
            Some((name, epoch))
        })
        .collect()
}

/// Objects that are being put, or wait for their deletion.
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

/// Writes the rows of all packs and of the chunks in them, in the place of those that are there.
fn rewrite(
    tx: &mut Tx<'_>,
    found: &Found,
    roots: &[&dyn Roots],
    mut report: RebuildReport,
) -> Result<RebuildReport> {
    let state_bytes = forget(tx)?;
    set_stored(tx, state_bytes, 0)?;
    for pack in &found.packs {
        let (mut chunks, mut chunk_bytes) = (0, 0);
        for chunk in &pack.chunks {
            if read_chunk(tx, &chunk.id)?.is_some() {
                continue;
            }
            let (kind, len, place) = (chunk.kind, chunk.len, pack.place(chunk));
            write_chunk(tx, &chunk.id, &ChunkRow::V0 { kind, references: 0, len, place })?;
            chunks += 1;
            chunk_bytes += u64::from(chunk.stored);
        }
        report.chunks += u64::from(chunks);
        let (epoch, bytes) = (pack.epoch, pack.bytes);
        let row = PackRow::V0 { epoch, bytes, chunks, chunk_bytes, upload: None };
        write_pack(tx, pack.name, &row)?;
    }
    count_references(tx, found, roots, &mut report)?;
    release_rest(tx, &mut report)?;
    Ok(report)
}

/// Removes all rows but those of chunks in state, which count no references from here on; how many bytes
/// they take.
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

/// Counts what nodes, artifacts and values refer to.
fn count_references(
    tx: &mut Tx<'_>,
    found: &Found,
    roots: &[&dyn Roots],
    report: &mut RebuildReport,
) -> Result<()> {
    let mut missing = 0;
    let mut count = |tx: &mut Tx<'_>, id: &ChunkId| {
        if read_chunk(tx, id)?.is_none() {
            missing += 1;
            // What it was is told when it is stored again.
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

/// Whatever nothing refers to is released.
fn release_rest(tx: &mut Tx<'_>, report: &mut RebuildReport) -> Result<()> {
    for key in keys(tx, Table::Chunks)? {
        let id = ChunkId::of_key(&key)?;
        if let Some(ChunkRow::V0 { references: 0, .. }) = read_chunk(tx, &id)? {
            release(tx, &id)?;
            report.unreferenced += 1;
        }
    }
    Ok(())
}
