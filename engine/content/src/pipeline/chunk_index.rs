//! The index under the pipeline: the traits that it implements, and the types that cross them.
//!
//! - [`ChunkIndex`] is asked by readers, by uploads and by the mover of chunks; each may share it.
//! - [`UploadIndex`] is one upload under way. It begins when it is made, and ends when it is dropped.
//! - [`GcIndex`] lists the chunks to free and to move, and records that they were.
//!
//! An index never sees a stream, and the pipeline never sees a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_base::{Error, Result};
use strongroom_format::{
    Child, ChunkId, ChunkKind, ChunkPlace, ContentRef, ObjectName, PackedChunk, StageId,
};
use strongroom_store::objects::ReadEpoch;

use super::codec::EncodedChunk;
use super::gc::GcReport;
use super::pack::Packed;
use super::writer::Reservation;

/// An index of chunks: which there are, where each is, and which of them stay.
pub trait ChunkIndex: Send + Sync {
    /// Finds a chunk in the newest state; `None` if the index has none of that id.
    fn find(&self, id: &ChunkId) -> Result<Option<FoundChunk>>;

    /// Visits the places of `chunks` in order, as one state has them, until `visit` answers `false`.
    ///
    /// Ends before the first that is in no pack.
    fn places(&self, chunks: &[Child], visit: &mut dyn FnMut(PlacedChunk) -> bool) -> Result<()>;

    /// Returns whether a live upload may count on the chunk: it is in a pack, and stays.
    ///
    /// A chunk for which this is true is in the index until each upload ends that is live now.
    fn is_kept(&self, id: &ChunkId) -> Result<bool>;

    /// Enters the epoch of the newest state: a pack that it names is not deleted while the read epoch lives.
    fn enter_epoch(&self) -> Arc<ReadEpoch>;

    /// Records durably that a pack of that name may be put, before it is.
    fn reserve_pack(&self, stage: StageId, name: ObjectName) -> Result<()>;

    /// Makes a reserved pack due for deletion. It waits for nothing: it may be called within a write.
    fn abandon_pack(&self, stage: StageId);

    /// Returns the cause of an error of a read, if the index knows of one behind it.
    fn explain(&self, error: Error) -> Error {
        error
    }
}

/// One upload under way, as an index keeps it. Dropped before its commit, it is given up.
pub trait UploadIndex {
    /// The content as it waits for its commit.
    type Stored;

    /// Returns the index that the upload is of.
    fn index(&self) -> Arc<dyn ChunkIndex>;

    /// Indexes packs that are on the backend, in one commit. They stay until the upload ends.
    fn add(&mut self, additions: Additions, reservations: Vec<Reservation>) -> Result<()>;

    /// Takes over the content with the rest of its chunks, which its commit will index.
    fn finish(self, content: NewContent) -> Result<Self::Stored>;
}

/// An index whose chunks are freed and moved. One thread at a time does so.
pub(crate) trait GcIndex: ChunkIndex {
    /// Lists at most `limit` released chunks behind `after`, in the order of their ids.
    fn released(&self, after: Option<&ChunkId>, limit: usize) -> Result<Vec<ReleasedChunk>>;

    /// Frees chunks in one commit, and drops the references of nodes among them.
    ///
    /// A chunk that is not due any more, or has a reference again, stays.
    fn free(&self, chunks: &[ToFree]) -> Result<Freed>;

    /// Lists packs that are empty or more than half waste, with their lengths.
    fn wasteful_packs(&self) -> Result<Vec<(ObjectName, u64)>>;

    /// Lists the chunks in a pack that have references.
    ///
    /// `listed` is the pack's own list; `None` if that cannot be read.
    fn live_chunks(
        &self,
        pack: ObjectName,
        listed: Option<&[PackedChunk]>,
    ) -> Result<Vec<PlacedChunk>>;

    /// Records the new places of a pack's chunks, of those that are still at `from`.
    ///
    /// The first commit takes the pack's reservation along.
    fn repoint(&self, pack: &Packed, from: &[ChunkPlace], reserved: &Reservation) -> Result<Moved>;

    /// Drops those of the packs that are empty; returns how many.
    fn drop_empty_packs(&self, packs: &[ObjectName]) -> Result<u64>;
}

/// A chunk that an index has.
#[derive(Debug)]
pub struct FoundChunk {
    pub kind: ChunkKind,
    /// Length of its bytes.
    pub len: u32,
    pub location: Location,
}

/// Where the stored form of a chunk is.
#[derive(Debug)]
pub enum Location {
    /// In the index: these bytes.
    Index(Vec<u8>),
    /// In a pack.
    Pack(PackPlace),
    /// Nowhere: its pack was lost.
    Lost,
}

/// A place in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackPlace {
    pub pack: ObjectName,
    /// Number of the key that the pack is sealed under.
    pub epoch: u32,
    pub at: u32,
    pub stored: u32,
}

impl PackPlace {
    /// Returns the place, if it is one in a pack.
    pub(crate) fn of(place: ChunkPlace) -> Option<Self> {
        match place {
            ChunkPlace::Pack { pack, epoch, at, stored } => Some(Self { pack, epoch, at, stored }),
            ChunkPlace::State { .. } | ChunkPlace::Lost => None,
        }
    }
}

impl From<PackPlace> for ChunkPlace {
    fn from(PackPlace { pack, epoch, at, stored }: PackPlace) -> Self {
        Self::Pack { pack, epoch, at, stored }
    }
}

/// A chunk in a pack.
#[derive(Clone, Copy, Debug)]
pub struct PlacedChunk {
    pub id: ChunkId,
    pub kind: ChunkKind,
    /// Length of its bytes.
    pub len: u32,
    pub place: PackPlace,
}

/// Chunks of one upload that the index does not have yet.
#[derive(Debug, Default)]
pub struct Additions {
    /// Packs on the backend.
    pub packs: Vec<Packed>,
    /// Chunks that the index holds itself.
    pub chunks: Vec<EncodedChunk>,
    /// Nodes that are among those, with their children, each once.
    pub nodes: BTreeMap<ChunkId, Vec<ChunkId>>,
}

/// A stream that is stored, but for its commit.
pub struct NewContent {
    pub content: ContentRef,
    /// BLAKE3 of all of its bytes.
    pub checksum: [u8; 32],
    /// The rest of its chunks.
    pub additions: Additions,
    /// Those of the packs among them.
    pub reservations: Vec<Reservation>,
}

/// A chunk that was released.
pub(crate) struct ReleasedChunk {
    pub id: ChunkId,
    /// No live upload can have found it, and no live reader can reach it.
    pub is_due: bool,
    /// Its kind and stored length, if it is in the index without a reference.
    pub unreferenced: Option<(ChunkKind, u32)>,
}

/// A chunk to be freed; of a node with its children, each once.
pub(crate) type ToFree = (ChunkId, Option<BTreeSet<ChunkId>>);

/// The outcome of one commit that frees.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freed {
    pub chunks: u64,
    /// Their stored length.
    pub bytes: u64,
    /// Packs that are empty now, and dropped.
    pub packs: u64,
}

impl Freed {
    pub(crate) fn add_to(self, report: &mut GcReport) {
        report.chunks += self.chunks;
        report.bytes += self.bytes;
        report.packs += self.packs;
    }
}

/// The outcome of moving chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub chunks: u64,
    /// Packs that were left empty, and dropped.
    pub packs: u64,
}
