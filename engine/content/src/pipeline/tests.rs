//! The pipeline over a second index: a plain map, without state and without commits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_backends::Memory;
use strongroom_base::component::{Clock, Entropy, ManualClock, SeededEntropy};
use strongroom_base::{LongCall, Result};
use strongroom_crypto::{
    Cipher, CostBounds, KeySet, NewSlot, PasswordCosts, SecretKey, Unlock, Wrapping,
};
use strongroom_format::{
    Child, ChunkId, ChunkKind, ChunkPlace, ContentRef, ObjectName, PackedChunk, StageId,
};
use strongroom_store::objects::{Objects, ReadEpoch, ReadEpochs};
use uuid::Uuid;

use super::*;

const OBJECT_BYTES: usize = 256 << 10;

/// A chunk of the map.
struct Row {
    kind: ChunkKind,
    len: u32,
    references: u64,
    held: StoredChunk,
}

#[derive(Clone)]
enum StoredChunk {
    Bytes(Vec<u8>),
    Pack(PackPlace),
}

impl Row {
    fn is_in(&self, name: ObjectName) -> bool {
        matches!(&self.held, StoredChunk::Pack(place) if place.pack == name)
    }

    fn stored(&self) -> u32 {
        match &self.held {
            StoredChunk::Bytes(stored) => u32::try_from(stored.len()).unwrap(),
            StoredChunk::Pack(place) => place.stored,
        }
    }
}

#[derive(Default)]
struct Rows {
    chunks: BTreeMap<ChunkId, Row>,
    /// Packs, with their lengths.
    packs: BTreeMap<ObjectName, u64>,
    reserved: BTreeMap<StageId, ObjectName>,
}

impl Rows {
    fn add(&mut self, additions: &Additions, reservations: &[Reservation]) {
        for pack in &additions.packs {
            self.packs.insert(pack.name, pack.bytes);
            for chunk in &pack.chunks {
                let held = StoredChunk::Pack(pack.place(chunk));
                self.place(chunk.id, chunk.kind, chunk.len, held, additions);
            }
        }
        for chunk in &additions.chunks {
            let held = StoredChunk::Bytes(chunk.stored.clone());
            self.place(chunk.id, chunk.kind, chunk.len, held, additions);
        }
        for reservation in reservations {
            self.reserved.remove(&reservation.stage());
        }
    }

    fn place(
        &mut self,
        id: ChunkId,
        kind: ChunkKind,
        len: u32,
        held: StoredChunk,
        new: &Additions,
    ) {
        if let Some(row) = self.chunks.get_mut(&id) {
            row.held = held;
            return;
        }
        self.chunks.insert(id, Row { kind, len, references: 0, held });
        if kind == ChunkKind::Node {
            let children = &new.nodes[&id];
            for child in children {
                self.refer(child);
            }
        }
    }

    fn refer(&mut self, id: &ChunkId) {
        self.chunks.get_mut(id).expect("a child is added before its node").references += 1;
    }
}

struct MapIndex {
    rows: Mutex<Rows>,
    objects: Objects,
    read_epochs: Arc<ReadEpochs>,
}

impl ChunkIndex for MapIndex {
    fn find(&self, id: &ChunkId) -> Result<Option<FoundChunk>> {
        Ok(self.rows.lock().chunks.get(id).map(|row| FoundChunk {
            kind: row.kind,
            len: row.len,
            location: match row.held.clone() {
                StoredChunk::Bytes(stored) => Location::Index(stored),
                StoredChunk::Pack(place) => Location::Pack(place),
            },
        }))
    }

    fn places(&self, chunks: &[Child], visit: &mut dyn FnMut(PlacedChunk) -> bool) -> Result<()> {
        let rows = self.rows.lock();
        for &Child { id, .. } in chunks {
            let Some(Row { kind, len, held: StoredChunk::Pack(place), .. }) = rows.chunks.get(&id)
            else {
                break;
            };
            if !visit(PlacedChunk { id, kind: *kind, len: *len, place: *place }) {
                break;
            }
        }
        Ok(())
    }

    fn is_kept(&self, id: &ChunkId) -> Result<bool> {
        let rows = self.rows.lock();
        let row = rows.chunks.get(id);
        Ok(row.is_some_and(|row| row.references > 0 && matches!(row.held, StoredChunk::Pack(_))))
    }

    fn enter_epoch(&self) -> Arc<ReadEpoch> {
        self.read_epochs.enter_epoch(Arc::new(()))
    }

    fn reserve_pack(&self, stage: StageId, name: ObjectName) -> Result<()> {
        self.rows.lock().reserved.insert(stage, name);
        Ok(())
    }

    fn abandon_pack(&self, stage: StageId) {
        if let Some(name) = self.rows.lock().reserved.remove(&stage) {
            self.objects.delete(name).unwrap();
        }
    }
}

struct MapUpload(Arc<MapIndex>);

impl UploadIndex for MapUpload {
    type Stored = ContentRef;

    fn index(&self) -> Arc<dyn ChunkIndex> {
        Arc::<MapIndex>::clone(&self.0)
    }

    fn add(&mut self, additions: Additions, reservations: Vec<Reservation>) -> Result<()> {
        self.0.rows.lock().add(&additions, &reservations);
        reservations.into_iter().for_each(Reservation::settled);
        Ok(())
    }

    fn finish(self, new: NewContent) -> Result<ContentRef> {
        let mut rows = self.0.rows.lock();
        rows.add(&new.additions, &new.reservations);
        rows.refer(&new.content.root);
        drop(rows);
        new.reservations.into_iter().for_each(Reservation::settled);
        Ok(new.content)
    }
}

impl GcIndex for MapIndex {
    fn released(&self, after: Option<&ChunkId>, limit: usize) -> Result<Vec<ReleasedChunk>> {
        let rows = self.rows.lock();
        let released = rows
            .chunks
            .iter()
            .filter(|(id, row)| row.references == 0 && after.is_none_or(|after| *id > after));
        let listed = released.take(limit).map(|(id, row)| {
            let unreferenced = Some((row.kind, row.stored()));
            ReleasedChunk { id: *id, is_due: true, unreferenced }
        });
        Ok(listed.collect())
    }

    fn free(&self, chunks: &[ToFree]) -> Result<Freed> {
        let mut rows = self.rows.lock();
        let mut freed = Freed::default();
        for (id, children) in chunks {
            let row = rows.chunks.remove(id).expect("one thread frees");
            assert_eq!(row.references, 0);
            freed.chunks += 1;
            freed.bytes += u64::from(row.stored());
            for child in children.iter().flatten() {
                rows.chunks.get_mut(child).expect("its node counted it").references -= 1;
            }
        }
        Ok(freed)
    }

    fn wasteful_packs(&self) -> Result<Vec<(ObjectName, u64)>> {
        let rows = self.rows.lock();
        let live = |name: ObjectName| {
            let chunks = rows.chunks.values().filter(|row| row.is_in(name));
            chunks.map(|row| u64::from(row.stored())).sum::<u64>()
        };
        let packs = rows.packs.iter().map(|(name, bytes)| (*name, *bytes));
        Ok(packs.filter(|(name, bytes)| live(*name) < bytes / 2).collect())
    }

    fn live_chunks(
        &self,
        pack: ObjectName,
        listed: Option<&[PackedChunk]>,
    ) -> Result<Vec<PlacedChunk>> {
        let rows = self.rows.lock();
        let listed = listed.expect("no pack is damaged");
        let live = listed.iter().filter_map(|chunk| {
            let row = rows.chunks.get(&chunk.id)?;
            let StoredChunk::Pack(place) = row.held else { return None };
            (place.pack == pack).then_some(PlacedChunk {
                id: chunk.id,
                kind: row.kind,
                len: row.len,
                place,
            })
        });
        Ok(live.collect())
    }

    fn repoint(&self, pack: &Packed, from: &[ChunkPlace], reserved: &Reservation) -> Result<Moved> {
        let mut rows = self.rows.lock();
        rows.reserved.remove(&reserved.stage());
        rows.packs.insert(pack.name, pack.bytes);
        for (chunk, from) in pack.chunks.iter().zip(from) {
            let row = rows.chunks.get_mut(&chunk.id).expect("one thread moves");
            assert!(
                matches!(&row.held, StoredChunk::Pack(place) if ChunkPlace::from(*place) == *from)
            );
            row.held = StoredChunk::Pack(pack.place(chunk));
        }
        Ok(Moved { chunks: pack.chunks.len() as u64, packs: 0 })
    }

    fn drop_empty_packs(&self, packs: &[ObjectName]) -> Result<u64> {
        let mut rows = self.rows.lock();
        let mut dropped = 0;
        for &name in packs {
            if !rows.chunks.values().any(|row| row.is_in(name))
                && rows.packs.remove(&name).is_some()
            {
                self.objects.delete(name)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}

/// The pipeline over a map and a backend in memory.
struct Fixture {
    pipeline: Arc<Pipeline>,
    index: Arc<MapIndex>,
}

impl Fixture {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let vault = Uuid::from_bytes([1; 16]);
        let unlock = Unlock::Key(SecretKey::new([2; SecretKey::BYTES]));
        let with = Wrapping {
            vault,
            entropy: &*entropy,
            now_unix_millis: 0,
            costs: PasswordCosts::default(),
            bounds: CostBounds::DEFAULT,
        };
        let slot = NewSlot { unlock: &unlock, label: "test" };
        let keys = KeySet::create("memory", Cipher::Aes256GcmSiv, &slot, &with).unwrap();
        let objects = Objects::new(
            Arc::new(Memory::new()),
            entropy,
            OBJECT_BYTES,
            vault,
            keys.content_keys(),
            Arc::clone(&clock),
        );
        let pipeline = Arc::new(Pipeline::new(&objects, keys.id_key(), &clock));
        let (rows, read_epochs) = (Mutex::default(), ReadEpochs::new(0));
        Self { pipeline, index: Arc::new(MapIndex { rows, objects, read_epochs }) }
    }

    fn store(&self, bytes: &[u8]) -> ContentRef {
        let upload = Upload::new(&self.pipeline, MapUpload(Arc::clone(&self.index))).unwrap();
        upload.store(&mut &bytes[..], None, LongCall::new()).unwrap()
    }

    fn reader(&self, content: ContentRef) -> ContentReader {
        let (index, read_epoch) = (Arc::<MapIndex>::clone(&self.index), self.index.enter_epoch());
        ContentReader::new(Pinned::new(&self.pipeline, index, &read_epoch), content)
    }

    fn read(&self, content: ContentRef) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader(content).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn release(&self, content: ContentRef) {
        let mut rows = self.index.rows.lock();
        rows.chunks.get_mut(&content.root).unwrap().references -= 1;
    }

    fn gc(&self) -> GcReport {
        let (options, mut report) = (GcOptions::new(), GcReport::default());
        free_released(&self.pipeline, &*self.index, &options, &mut report).unwrap();
        empty_packs(&self.pipeline, &self.index, LongCall::new(), &mut report).unwrap();
        report
    }

    /// Returns the objects on the backend; each must be a pack in the index.
    fn packs(&self) -> BTreeSet<ObjectName> {
        let mut names = BTreeSet::new();
        let each = |name: std::result::Result<ObjectName, &str>, _| {
            names.insert(name.unwrap());
            Ok(())
        };
        self.index.objects.list(each).unwrap();
        let rows = self.index.rows.lock();
        assert!(rows.reserved.is_empty());
        assert_eq!(names, rows.packs.keys().copied().collect());
        names
    }
}

/// Makes bytes that do not repeat.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; len];
    stream.fill(&mut bytes);
    bytes
}

#[test]
fn repeated_stream_puts_no_new_pack() {
    let fixture = Fixture::new();
    let stream = bytes(5_000_000, 1);
    let content = fixture.store(&stream);
    let packs = fixture.packs();
    assert!(packs.len() > 5, "{} packs", packs.len());
    assert_eq!(fixture.read(content), stream);
    let mut reader = fixture.reader(content);
    reader.seek(SeekFrom::Start(3_000_000)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == stream[3_000_000..]);

    assert_eq!(fixture.store(&stream), content);
    assert_eq!(fixture.packs(), packs);
    assert_eq!(fixture.read(content), stream);
}

#[test]
fn short_stream_is_stored_in_the_index() {
    let fixture = Fixture::new();
    let stream = bytes(10_000, 1);
    let content = fixture.store(&stream);
    assert!(fixture.packs().is_empty());
    assert_eq!(fixture.read(content), stream);
}

#[test]
fn gc_frees_and_moves_chunks_of_any_index() {
    let fixture = Fixture::new();
    let one = bytes(3_000_000, 1);
    let other = [&one[..100_000], &bytes(400_000, 2), &one[2_000_000..2_300_000]].concat();
    let (first, second) = (fixture.store(&one), fixture.store(&other));
    let before = fixture.packs().len();
    assert_eq!(fixture.gc(), GcReport::default());

    fixture.release(first);
    let report = fixture.gc();
    assert!(report.chunks > 10 && report.moved > 0 && report.packs > 1, "{report:?}");
    assert!(fixture.packs().len() < before);
    assert_eq!(fixture.read(second), other);

    fixture.release(second);
    let report = fixture.gc();
    assert!(report.chunks > 0 && report.moved == 0, "{report:?}");
    assert!(fixture.packs().is_empty() && fixture.index.rows.lock().chunks.is_empty());
}
