//! The pipeline's view of an index: the traits that an index implements, and their types.
//!
//! - Readers, uploads and the mover of chunks use a [`ChunkIndex`], which they may share.
//! - [`UploadIndex`] is one unfinished upload. It begins when it is made, and ends when it is
//!   dropped.
//! - [`GcIndex`] lists chunks to free and to move, and records both.
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

/// An index of chunks: their locations, and which of them stay.
pub trait ChunkIndex: Send + Sync {
    /// Finds a chunk in the newest state; `None` if the index does not have it.
    fn find(&self, id: &ChunkId) -> Result<Option<FoundChunk>>;

    /// Visits the locations of `chunks` in order, in one state.
    ///
    /// It stops when `visit` returns `false`.
    ///
    /// Ends before the first chunk that is in no pack.
    fn places(&self, chunks: &[Child], visit: &mut dyn FnMut(PlacedChunk) -> bool) -> Result<()>;

    /// Returns whether a live upload may count on the chunk: it is in a pack, and stays.
    ///
    /// If so, the chunk is in the index until each upload ends that lives now.
    fn is_kept(&self, id: &ChunkId) -> Result<bool>;

    /// Registers a read epoch at the newest state.
    ///
    /// A pack that this state names is not deleted while the read epoch lives.
    fn enter_epoch(&self) -> Arc<ReadEpoch>;

    /// Durably records the name of a pack before the pack is put.
    fn reserve_pack(&self, stage: StageId, name: ObjectName) -> Result<()>;

    /// Makes a reserved pack due for deletion. It never waits, so it may be called inside a write.
    fn abandon_pack(&self, stage: StageId);

    /// Returns the cause of a read error, if the index knows one.
    fn explain(&self, error: Error) -> Error {
        error
    }
}

/// An index's part of one unfinished upload. If it is dropped without a commit, its chunks are
/// released.
pub trait UploadIndex {
    /// The content while it waits for its commit.
    type Stored;

    /// Returns the index of the upload.
    fn index(&self) -> Arc<dyn ChunkIndex>;

    /// Indexes packs on the backend, in one commit. They stay until the upload ends.
    fn add(&mut self, additions: Additions, reservations: Vec<Reservation>) -> Result<()>;

    /// Takes over the content and the remaining chunks to index.
    fn finish(self, content: NewContent) -> Result<Self::Stored>;
}

/// An index whose chunks one thread at a time frees or moves.
pub(crate) trait GcIndex: ChunkIndex {
    /// Lists at most `limit` released chunks after `after`, by id.
    fn released(&self, after: Option<&ChunkId>, limit: usize) -> Result<Vec<ReleasedChunk>>;

    /// Frees chunks and their nodes' references in one commit.
    ///
    /// A chunk that is no longer due, or has a reference again, stays.
    fn free(&self, chunks: &[ToFree]) -> Result<Freed>;

    /// Lists empty and mostly unused packs, with their lengths.
    fn wasteful_packs(&self) -> Result<Vec<(ObjectName, u64)>>;

    /// Lists the referenced chunks of a pack.
    ///
    /// `listed` is the pack's own list; `None` if it cannot be read.
    fn live_chunks(
        &self,
        pack: ObjectName,
        listed: Option<&[PackedChunk]>,
    ) -> Result<Vec<PlacedChunk>>;

    /// Records new locations of a pack's chunks.
    ///
    /// Only chunks that are still at `from` change.
    ///
    /// The first commit also removes the pack's pending row.
    fn repoint(&self, pack: &Packed, from: &[ChunkPlace], reserved: &Reservation) -> Result<Moved>;

    /// Drops the packs that are empty; returns their number.
    fn drop_empty_packs(&self, packs: &[ObjectName]) -> Result<u64>;
}

/// A chunk in an index.
#[derive(Debug)]
pub struct FoundChunk {
    pub kind: ChunkKind,
    /// Length of the chunk's bytes.
    pub len: u32,
    pub location: Location,
}

/// The location of a chunk's stored form.
#[derive(Debug)]
pub enum Location {
    /// In the index, which returned these bytes.
    Index(Vec<u8>),
    /// In a pack.
    Pack(PackPlace),
    /// Nowhere, because its pack was lost.
    Lost,
}

/// A location in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackPlace {
    pub pack: ObjectName,
    /// Key epoch of the pack.
    pub epoch: u32,
    pub at: u32,
    pub stored: u32,
}

impl PackPlace {
    /// Returns the location, if it is in a pack.
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
    /// Length of the chunk's bytes.
    pub len: u32,
    pub place: PackPlace,
}

/// Chunks of one upload that the index does not have yet.
#[derive(Debug, Default)]
pub struct Additions {
    /// Packs on the backend.
    pub packs: Vec<Packed>,
    /// Chunks that the index stores itself.
    pub chunks: Vec<EncodedChunk>,
    /// The nodes among those, with their distinct children.
    pub nodes: BTreeMap<ChunkId, Vec<ChunkId>>,
}

/// A stored stream without its commit.
pub struct NewContent {
    pub content: ContentRef,
    /// BLAKE3 of all bytes.
    pub checksum: [u8; 32],
    /// The remaining chunks.
    pub additions: Additions,
    /// The reservations of the packs among them.
    pub reservations: Vec<Reservation>,
}

/// A released chunk.
pub(crate) struct ReleasedChunk {
    pub id: ChunkId,
    /// No live upload can have found it, and no reader reaches it.
    pub is_due: bool,
    /// Its kind and stored length, if indexed without a reference.
    pub unreferenced: Option<(ChunkKind, u32)>,
}

/// A chunk to free; for a node with its distinct children.
pub(crate) type ToFree = (ChunkId, Option<BTreeSet<ChunkId>>);

/// The outcome of one commit that frees.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freed {
    pub chunks: u64,
    /// Sum of their stored lengths.
    pub bytes: u64,
    /// Packs that became empty and were dropped.
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
    /// Packs that became empty and were dropped.
    pub packs: u64,
}
