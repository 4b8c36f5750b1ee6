//! Checks chunks and packs against one another.
//!
//! References are counted again, for which all nodes are read, even if no data is. The check takes
//! some hundred bytes of memory for each chunk.

use std::collections::{BTreeSet, HashMap, HashSet};

use strongroom_base::{ErrorKind, Result};

use super::{Check, NamedObject, Problem};
use strongroom_content::{WAVE_CHUNKS, body_part, children, fetch, list_pack, or_damage};
use strongroom_format::{
    Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, ContentRef, ObjectName, PackRow, PackedChunk,
    ReleasedRow, StoredTotal, TotalKey, UploadId, UploadRow,
};
use strongroom_store::state::{StateRead, Table};

/// A chunk's row, and the check's findings about it.
struct CountedChunk {
    row: ChunkRow,
    /// Number of references found.
    found: u64,
    /// Children of a node.
    children: Vec<Child>,
    /// Set if the chunk, or one under it, cannot be read.
    damaged: bool,
}

/// All chunks of the vault.
#[derive(Default)]
pub(super) struct Chunks {
    by_id: HashMap<ChunkId, CountedChunk>,
}

impl Chunks {
    /// Counts a reference from a row of the state; returns the problem with it, if any.
    pub(super) fn refer(&mut self, content: &ContentRef) -> Option<&'static str> {
        let Some(chunk) = self.by_id.get_mut(&content.root) else {
            return Some("a content has no chunk");
        };
        chunk.found += 1;
        let mut id = content.root;
        for _ in 0..content.height {
            match self.by_id.get(&id).and_then(|chunk| chunk.children.first()) {
                Some(first) => id = first.id,
                // A node that cannot be read is reported as damaged.
                None if self.is_damaged(&id) => return None,
                None => return Some("a content has fewer levels than its reference says"),
            }
        }
        if self.kind(&id) == Some(ChunkKind::Data) {
            (self.len(&content.root) != Some(content.len) && !self.is_damaged(&content.root))
                .then_some("a content's length is not that of its reference")
        } else {
            Some("a content has more levels than its reference says")
        }
    }

    /// Returns whether the content under a chunk cannot be read entirely.
    pub(super) fn is_damaged(&self, id: &ChunkId) -> bool {
        self.by_id.get(id).is_none_or(|chunk| chunk.damaged)
    }

    fn kind(&self, id: &ChunkId) -> Option<ChunkKind> {
        self.by_id.get(id).map(|CountedChunk { row: ChunkRow::V0 { kind, .. }, .. }| *kind)
    }

    /// Returns the length of the content under a chunk, in bytes.
    fn len(&self, id: &ChunkId) -> Option<u64> {
        self.by_id.get(id).map(|chunk| match chunk.row {
            ChunkRow::V0 { kind: ChunkKind::Data, len, .. } => len.into(),
            ChunkRow::V0 { .. } => chunk.children.iter().map(|child| child.len).sum(),
        })
    }

    /// Marks chunks of lost packs as damaged, with all nodes above.
    pub(super) fn spread_damage(&mut self, lost: &HashSet<ObjectName>) {
        let mut parents: HashMap<ChunkId, Vec<ChunkId>> = HashMap::new();
        let mut damaged = Vec::new();
        for (id, chunk) in &mut self.by_id {
            let ChunkRow::V0 { place, .. } = chunk.row;
            chunk.damaged |= matches!(place, ChunkPlace::Pack { pack, .. } if lost.contains(&pack));
            if chunk.damaged {
                damaged.push(*id);
            }
        }
        if damaged.is_empty() {
            return;
        }
        for (id, chunk) in &self.by_id {
            for child in &chunk.children {
                parents.entry(child.id).or_default().push(*id);
            }
        }
        while let Some(id) = damaged.pop() {
            for parent in parents.remove(&id).unwrap_or_default() {
                if let Some(chunk) = self.by_id.get_mut(&parent)
                    && !std::mem::replace(&mut chunk.damaged, true)
                {
                    damaged.push(parent);
                }
            }
        }
    }
}

impl Check<'_> {
    /// Reads all chunk rows and all nodes.
    pub(super) fn chunks(&mut self, state: &StateRead) -> Result<Chunks> {
        let mut chunks = Chunks::default();
        self.scan(state, Table::Chunks, |check, entry| {
            check.report.chunks += 1;
            let (id, row) = (entry.key.as_slice(), entry.row.as_slice());
            match ChunkId::of_key(id).and_then(|id| Ok((id, ChunkRow::decode(row)?))) {
                Ok((id, row)) => {
                    let chunk =
                        CountedChunk { row, found: 0, children: Vec::new(), damaged: false };
                    chunks.by_id.insert(id, chunk);
                }
                Err(e) => check.wrong(Table::Chunks, e.to_string()),
            }
            Ok(())
        })?;
        self.nodes(state, &mut chunks)?;
        Ok(chunks)
    }

    /// Checks the rest of the content store.
    ///
    /// All references to it have been counted before.
    pub(super) fn content(
        &mut self,
        state: &StateRead,
        chunks: &Chunks,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) -> Result<()> {
        let (uploads, pack_bytes) = self.packs(state, chunks, named)?;
        let state_bytes = self.bodies(state, chunks)?;
        self.references(state, chunks, &uploads)?;
        self.stored_total(state, state_bytes, pack_bytes)
    }

    /// Reads nodes and the requested data, and counts nodes' references.
    fn nodes(&mut self, state: &StateRead, chunks: &mut Chunks) -> Result<()> {
        let (mut reads, mut lost) = (Vec::new(), 0);
        for (id, chunk) in &mut chunks.by_id {
            let ChunkRow::V0 { kind, place, .. } = chunk.row;
            let is_read = match place {
                ChunkPlace::Pack { pack, .. } => self.options.read_data.has(&pack.0),
                ChunkPlace::State { .. } => self.options.read_data != super::ReadData::No,
                ChunkPlace::Lost => {
                    lost += 1;
                    chunk.damaged = true;
                    continue;
                }
            };
            if is_read || kind == ChunkKind::Node {
                reads.push((*id, kind, place));
            }
        }
        // Sorted by location, so that each pack is read in order.
        reads.sort_unstable_by_key(|(_, _, place)| match place {
            ChunkPlace::Pack { pack, at, .. } => (pack.0, *at),
            ChunkPlace::State { .. } | ChunkPlace::Lost => ([0; 16], 0),
        });
        let mut damaged: HashMap<ObjectName, u64> = HashMap::new();
        for wave in reads.chunks(WAVE_CHUNKS) {
            let content = self.content;
            let read = content.core().objects().for_all(wave, |(id, kind, _)| {
                or_damage(match kind {
                    ChunkKind::Data => fetch(content, state, *kind, id).map(|_| Vec::new()),
                    ChunkKind::Node => children(content, state, id),
                })
            })?;
            for ((id, _, place), read) in wave.iter().zip(read) {
                self.step()?;
                self.node(chunks, id, place, read, &mut damaged);
            }
        }
        let is_short = |child: &Child| {
            !chunks.is_damaged(&child.id) && chunks.len(&child.id) != Some(child.len)
        };
        if chunks.by_id.values().any(|chunk| chunk.children.iter().any(is_short)) {
            self.wrong(Table::Chunks, "a chunk's length is not that in its node");
        }
        if lost > 0 {
            self.wrong(Table::Chunks, format!("{lost} chunks are lost with their packs"));
        }
        for (pack, count) in damaged {
            let detail = format!("{count} chunks of the pack cannot be read");
            self.report.problems.push(Problem::Damaged { object: pack.key().to_string(), detail });
        }
        Ok(())
    }

    /// Notes what was read of a chunk: the children of a node, or damage.
    fn node(
        &mut self,
        chunks: &mut Chunks,
        id: &ChunkId,
        place: &ChunkPlace,
        read: Result<Vec<Child>>,
        damaged: &mut HashMap<ObjectName, u64>,
    ) {
        let children = match read {
            Ok(children) => children,
            Err(e) => {
                match place {
                    ChunkPlace::Pack { pack, .. } => *damaged.entry(*pack).or_default() += 1,
                    _ => self.wrong(Table::Bodies, e.to_string()),
                }
                chunks.by_id.get_mut(id).expect("it has a row").damaged = true;
                return;
            }
        };
        let distinct: BTreeSet<ChunkId> = children.iter().map(|child| child.id).collect();
        for child in distinct {
            match chunks.by_id.get_mut(&child) {
                Some(chunk) => chunk.found += 1,
                None => self.wrong(Table::Chunks, "a node refers to a chunk without a row"),
            }
        }
        chunks.by_id.get_mut(id).expect("it has a row").children = children;
    }

    /// Checks the chunk counts of packs; returns the packs of active uploads, and all packs' bytes.
    fn packs(
        &mut self,
        state: &StateRead,
        chunks: &Chunks,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) -> Result<(HashSet<ObjectName>, u64)> {
        let mut by_pack: HashMap<ObjectName, Vec<(u32, PackedChunk)>> = HashMap::new();
        for (id, CountedChunk { row: ChunkRow::V0 { kind, len, place, .. }, .. }) in &chunks.by_id {
            if let ChunkPlace::Pack { pack, epoch, at, stored } = *place {
                let chunk = PackedChunk { id: *id, kind: *kind, len: *len, at, stored };
                by_pack.entry(pack).or_default().push((epoch, chunk));
            }
        }
        let mut active = HashSet::new();
        self.scan(state, Table::Uploads, |check, entry| {
            match entry.key.as_slice().try_into() {
                Ok(id) if UploadRow::decode(entry.row.as_slice()).is_ok() => {
                    active.insert(UploadId(id));
                }
                _ => check.wrong(Table::Uploads, "a row does not decode"),
            }
            Ok(())
        })?;
        let (mut uploads, mut total) = (HashSet::new(), 0);
        self.scan(state, Table::Packs, |check, entry| {
            let name = entry.key.as_slice().try_into().map(ObjectName);
            let (Ok(name), Ok(row)) = (name, PackRow::decode(entry.row.as_slice())) else {
                check.wrong(Table::Packs, "a row does not decode");
                return Ok(());
            };
            let PackRow::V0 { bytes, upload, .. } = row;
            total += bytes;
            check.pack_row(name, &row, &by_pack.remove(&name).unwrap_or_default())?;
            if upload.is_some_and(|upload| active.contains(&upload)) {
                uploads.insert(name);
            }
            if named.insert(name, NamedObject::Pack(bytes)).is_some() {
                check.wrong(Table::Packs, "a pack is referred to as another object");
            }
            Ok(())
        })?;
        if !by_pack.is_empty() {
            let detail = format!("{} packs have chunks but no row", by_pack.len());
            self.wrong(Table::Packs, detail);
        }
        Ok((uploads, total))
    }

    /// Checks a pack's row against its chunks and its list.
    ///
    /// The list is read only if data is read.
    fn pack_row(
        &mut self,
        name: ObjectName,
        row: &PackRow,
        chunks_in_pack: &[(u32, PackedChunk)],
    ) -> Result<()> {
        let PackRow::V0 { epoch, bytes, chunks, chunk_bytes, .. } = *row;
        let sum: u64 = chunks_in_pack.iter().map(|(_, chunk)| u64::from(chunk.stored)).sum();
        if (chunks_in_pack.len() as u64, sum) != (u64::from(chunks), chunk_bytes) {
            self.wrong(Table::Packs, "a pack's row does not match its chunks");
        }
        let is_within =
            |chunk: &PackedChunk| u64::from(chunk.at) + u64::from(chunk.stored) <= bytes;
        if chunks_in_pack.iter().any(|(of, chunk)| *of != epoch || !is_within(chunk)) {
            self.wrong(Table::Packs, "a chunk is beyond its pack, or under another key");
        }
        if !self.options.read_data.has(&name.0) {
            return Ok(());
        }
        self.step()?;
        let detail = match list_pack(self.content.core().objects(), name, bytes) {
            Ok((_, listed)) => {
                let listed: HashSet<PackedChunk> = listed.into_iter().collect();
                if chunks_in_pack.iter().all(|(_, chunk)| listed.contains(chunk)) {
                    return Ok(());
                }
                "the pack's list lacks chunks that are in the pack".to_owned()
            }
            Err(e) if e.kind() == ErrorKind::Corrupt => format!("the pack's list is damaged: {e}"),
            Err(e) => return Err(e),
        };
        self.report.problems.push(Problem::Damaged { object: name.key().to_string(), detail });
        Ok(())
    }

    /// Checks chunk bodies in the state against their chunks' rows; returns their total bytes.
    fn bodies(&mut self, state: &StateRead, chunks: &Chunks) -> Result<u64> {
        let mut left: HashMap<ChunkId, u64> = chunks
            .by_id
            .iter()
            .filter_map(|(id, CountedChunk { row: ChunkRow::V0 { place, .. }, .. })| match place {
                ChunkPlace::State { stored } => Some((*id, u64::from(*stored))),
                ChunkPlace::Pack { .. } | ChunkPlace::Lost => None,
            })
            .collect();
        let total = left.values().sum();
        self.scan(state, Table::Bodies, |check, entry| {
            let len = entry.row.as_slice().len() as u64;
            let rest = body_part(entry.key.as_slice()).ok().and_then(|(id, _)| left.get_mut(&id));
            match rest.map(|rest| rest.checked_sub(len).map(|less| *rest = less)) {
                Some(Some(())) => {}
                Some(None) => {
                    check.wrong(Table::Bodies, "a chunk has more bytes than its row says");
                }
                None => check.wrong(Table::Bodies, "bytes of a chunk that is not in the state"),
            }
            Ok(())
        })?;
        let short = left.values().filter(|&&rest| rest > 0).count();
        if short > 0 {
            self.wrong(
                Table::Bodies,
                format!("{short} chunks have fewer bytes than their rows say"),
            );
        }
        Ok(total)
    }

    /// Checks the reference counts. A chunk without references must be released or of an upload.
    fn references(
        &mut self,
        state: &StateRead,
        chunks: &Chunks,
        uploads: &HashSet<ObjectName>,
    ) -> Result<()> {
        let mut released = HashSet::new();
        self.scan(state, Table::Released, |check, entry| {
            let id = ChunkId::of_key(entry.key.as_slice());
            match id.and_then(|id| ReleasedRow::decode(entry.row.as_slice()).map(|_| id)) {
                Ok(id) => drop(released.insert(id)),
                Err(e) => check.wrong(Table::Released, e.to_string()),
            }
            Ok(())
        })?;
        // References of an unreadable node are counted in rows, but were not found.
        let is_complete = !chunks.by_id.values().any(|chunk| {
            let ChunkRow::V0 { kind, .. } = chunk.row;
            kind == ChunkKind::Node && chunk.children.is_empty()
        });
        for (id, CountedChunk { row: ChunkRow::V0 { references, place, .. }, found, .. }) in
            &chunks.by_id
        {
            if references < found || (references > found && is_complete) {
                let detail =
                    format!("a chunk's row counts {references} references, {found} were found");
                self.wrong(Table::Chunks, detail);
            }
            let is_of_upload =
                matches!(place, ChunkPlace::Pack { pack, .. } if uploads.contains(pack));
            if *references == 0 && !released.contains(id) && !is_of_upload {
                self.wrong(Table::Chunks, "a chunk without references is not released");
            }
        }
        if released.iter().any(|id| !chunks.by_id.contains_key(id)) {
            self.wrong(Table::Released, "a released chunk has no row");
        }
        Ok(())
    }

    fn stored_total(&mut self, state: &StateRead, in_state: u64, in_packs: u64) -> Result<()> {
        let row = state.get(Table::Totals, &TotalKey::Stored.encode())?;
        let recorded = match row.map(|row| StoredTotal::decode(row.as_slice())).transpose() {
            Ok(None) => (0, 0),
            Ok(Some(StoredTotal::V0 { state_bytes, pack_bytes })) => (state_bytes, pack_bytes),
            // The scan of all totals reports this row.
            Err(_) => return Ok(()),
        };
        if recorded != (in_state, in_packs) {
            self.wrong(Table::Totals, "the stored total is not the sum of chunks and packs");
        }
        Ok(())
    }

    pub(super) fn pack(&mut self, name: ObjectName, bytes: u64, size: u64) {
        self.report.objects += 1;
        self.report.object_bytes += size;
        if bytes != size {
            let detail = format!("the pack has {size} bytes, should have {bytes}");
            self.report.problems.push(Problem::Damaged { object: name.key().to_string(), detail });
        }
    }
}
