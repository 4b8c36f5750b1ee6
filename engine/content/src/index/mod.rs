//! The vault's own index: where each chunk is, and how often it is referred to, in state.
//!
//! - `rows.rs`: the rows of chunks and packs. The one place that changes counts.
//! - `upload_registry.rs`: the uploads under way, their read epochs and their quota.
//! - `stored.rs`: a content that is stored, until a commit refers to it.
//! - `gc.rs` gives up dead uploads and frees released chunks; `repack.rs` records moves of chunks into packs.
//! - `rebuild.rs` makes all rows again from the packs.
//!
//! [`LocalIndex`] is the index as the pipeline sees it. `store.rs` puts the two together.

mod gc;
mod rebuild;
mod repack;
mod rows;
mod stored;
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
    /// The uploads under way.
    uploads: Arc<UploadRegistry>,
}

/// The effects of a transaction on the index.
#[derive(Default)]
pub(crate) struct Effects {
    /// Contents that it refers to first.
    pub(crate) adopted: Vec<Arc<StoredContent>>,
    /// If it adopted any: how much of the store is in state, in bytes.
    pub(crate) state_bytes: u64,
    /// If it changes how much is stored: the bytes in state and in packs.
    pub(crate) stored: Option<(u64, u64)>,
    /// Lengths of contents that it releases, in bytes together.
    pub(crate) released_bytes: u64,
    /// Uploads whose rows say from this commit on that they were given up.
    pub(crate) given_up: usize,
}

/// Returns the contents that a transaction refers to first.
pub fn adopted<'t>(tx: &'t Tx<'_>) -> &'t [Arc<StoredContent>] {
    tx.parts.get::<Effects>().map_or(&[], |effects| &effects.adopted)
}

impl LocalIndex {
    pub(crate) fn new(core: &Arc<Core>, uploads: &Arc<UploadRegistry>) -> Self {
        Self { core: Arc::clone(core), uploads: Arc::clone(uploads) }
    }

    /// Returns the core that it is in.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the uploads under way.
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

    /// The read epoch of an upload is older than this look-up, so a released chunk counts as absent.
    ///
    /// A chunk in state is packed with the content, if one that has it is long.
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
