//! The vault's own index, in the state: the location and reference count of each chunk.
//!
//! - `rows.rs`: the rows of chunks and packs. The only code that changes counts.
//! - `upload_registry.rs`: the unfinished uploads, their read epochs and their quota.
//! - `stored.rs`: a stored content, until a commit refers to it.
//! - `unfinished.rs` lists the unfinished uploads in the rows, and what they keep.
//! - `gc.rs` ends dead uploads and frees released chunks. `repack.rs` records moves of chunks into
//!   packs.
//! - `rebuild.rs` rebuilds all rows from the packs.
//!
//! [`LocalIndex`] is the index in the pipeline's terms. `store.rs` joins it with the pipeline.

mod gc;
mod rebuild;
mod repack;
mod rows;
mod stored;
mod unfinished;
mod upload_registry;

use std::sync::Arc;

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, Result};
use strongroom_format::{Child, ChunkId, ChunkPlace, ChunkRow, ObjectName, StageId};
use strongroom_store::commit::{Core, Tx};
use strongroom_store::objects::ReadEpoch;
use strongroom_store::state::{StateRead, Table};

use crate::pipeline::{ChunkIndex, FoundChunk, Location, PackPlace, PlacedChunk};
use rows::{find_chunk, read_body};

pub use rebuild::{FoundRoots, RebuildOptions, RebuildReport, Roots};
pub(crate) use repack::HELD_BYTES_KEPT;
pub use rows::{body_part, read_stored, release};
pub(crate) use rows::{stored_total, write_stored};
pub(crate) use stored::LocalUpload;
pub use stored::StoredContent;
pub(crate) use upload_registry::UploadRegistry;

/// The index of one vault, in its state.
pub(crate) struct LocalIndex {
    core: Arc<Core>,
    /// The unfinished uploads.
    uploads: Arc<UploadRegistry>,
}

/// The effects of a transaction on the index.
#[derive(Default)]
pub(crate) struct Effects {
    /// Contents to which it refers first.
    pub(crate) adopted: Vec<Arc<StoredContent>>,
    /// Bytes of the store in the state, if it adopted any content.
    pub(crate) state_bytes: u64,
    /// The new total of bytes in state and packs, if changed.
    pub(crate) stored: Option<(u64, u64)>,
    /// Sum of the lengths of contents that it releases, in bytes.
    pub(crate) released_bytes: u64,
    /// Number of uploads whose rows this commit stamps.
    pub(crate) stamps: usize,
}

/// Returns the contents to which a transaction refers first.
pub fn adopted<'t>(tx: &'t Tx<'_>) -> &'t [Arc<StoredContent>] {
    tx.parts.get::<Effects>().map_or(&[], |effects| &effects.adopted)
}

impl LocalIndex {
    pub(crate) fn new(core: &Arc<Core>, uploads: &Arc<UploadRegistry>) -> Self {
        Self { core: Arc::clone(core), uploads: Arc::clone(uploads) }
    }

    /// Returns the core of the index.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the unfinished uploads.
    pub(crate) fn uploads(&self) -> &UploadRegistry {
        &self.uploads
    }
}

/// Finds a chunk in one read of the state.
pub(crate) fn find(state: &StateRead, id: &ChunkId) -> Result<Option<FoundChunk>> {
    let Some(ChunkRow::V0 { kind, len, place, .. }) = find_chunk(state, id)? else {
        return Ok(None);
    };
    let location = match place {
        ChunkPlace::State { stored } => Location::Index(read_body(state, id, stored)?),
        ChunkPlace::Pack { pack, epoch, at, stored } => {
            Location::Pack(PackPlace { pack, epoch, at, stored })
        }
        ChunkPlace::Lost => Location::Lost,
    };
    Ok(Some(FoundChunk { kind, len, location }))
}

impl ChunkIndex for LocalIndex {
    fn find(&self, id: &ChunkId) -> Result<Option<FoundChunk>> {
        find(&self.core.read_state()?, id)
    }

    fn places(&self, chunks: &[Child], visit: &mut dyn FnMut(PlacedChunk) -> bool) -> Result<()> {
        let state = self.core.read_state()?;
        for &Child { id, .. } in chunks {
            let Some(ChunkRow::V0 { kind, len, place, .. }) = find_chunk(&state, &id)? else {
                break;
            };
            let Some(place) = PackPlace::of(place) else { break };
            if !visit(PlacedChunk { id, kind, len, place }) {
                break;
            }
        }
        Ok(())
    }

    /// A released chunk counts as absent.
    ///
    /// The upload's read epoch is older than this look-up.
    ///
    /// A chunk in the state is packed again with a long content that has it.
    fn is_kept(&self, id: &ChunkId) -> Result<bool> {
        let view = self.core.read()?;
        let state = view.state();
        let Some(ChunkRow::V0 { references, place, .. }) = find_chunk(state, id)? else {
            return Ok(false);
        };
        let is_packed = matches!(place, ChunkPlace::Pack { .. });
        let finds_released = bug::is_planted(Bug::FindsReleased);
        let is_kept = references > 0 || state.get(Table::Released, &id.0)?.is_none();
        Ok(is_packed && (is_kept || finds_released))
    }

    fn enter_epoch(&self) -> Arc<ReadEpoch> {
        self.core.enter_epoch()
    }

    fn reserve_pack(&self, stage: StageId, name: ObjectName) -> Result<()> {
        self.core.reserve(stage, 0, &[name])
    }

    fn abandon_pack(&self, stage: StageId) {
        self.core.abandon(stage);
    }

    fn explain(&self, error: Error) -> Error {
        self.core.unless_taken_over(error)
    }
}
