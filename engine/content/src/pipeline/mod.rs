//! Streams to packs, and back.
//!
//! - `chunker.rs` cuts a stream. `codec.rs` names and compresses a chunk. `pack.rs` seals many
//!   chunks into one object, with a trailer that lists them.
//! - `upload.rs` stores a stream. `prepare.rs` names and compresses its chunks on several threads.
//!   `writer.rs` writes its packs.
//! - `reader.rs` reads a content. `read_ahead.rs` fetches its next chunks from a remote backend.
//! - `gc.rs` frees released chunks. `mover.rs` moves chunks into new packs.
//!
//! The pipeline knows no table of the state. An index knows where chunks are, and which of them
//! stay; `chunk_index.rs` has its traits.

mod chunk_index;
mod chunker;
mod codec;
mod gc;
mod mover;
mod pack;
mod prepare;
mod read_ahead;
mod reader;
#[cfg(test)]
mod tests;
mod upload;
mod writer;

use std::sync::Arc;

use strongroom_base::component::Clock;
use strongroom_base::pool::Pool;
use strongroom_crypto::SecretKey;
use strongroom_store::objects::Objects;

pub(crate) use chunk_index::{
    Additions, ChunkIndex, FoundChunk, Freed, GcIndex, Location, Moved, NewContent, PackPlace,
    PlacedChunk, ReleasedChunk, ToFree, UploadIndex,
};
use chunker::Chunker;
pub(crate) use codec::{EncodedChunk, unpack};
pub(crate) use gc::{GC, free_released};
pub(crate) use mover::{Moving, PACK, empty_packs, move_chunks};
pub(crate) use pack::{MAGIC, Packed, full_bytes, read_chunk, read_node};
pub(crate) use reader::listed;
pub(crate) use upload::PUT;
pub(crate) use writer::Reservation;

pub use codec::{Codecs, IdKeys};
pub use gc::{GcOptions, GcReport, KeptUpload};
pub use pack::list as list_pack;
pub use reader::{ContentReader, Pinned, seek};
pub use upload::Upload;

/// The parts that all streams of one index share.
pub(crate) struct Pipeline {
    objects: Objects,
    chunker: Chunker,
    id_keys: Arc<IdKeys>,
    codecs: Arc<Codecs>,
    /// Prepares the chunks of long uploads on additional threads.
    preparing: Pool,
}

impl Pipeline {
    /// Makes the pipeline for `objects`. Chunks and ids depend on `id_key`.
    pub(crate) fn new(objects: &Objects, id_key: &SecretKey, clock: &Arc<dyn Clock>) -> Self {
        Self {
            objects: objects.clone(),
            chunker: Chunker::new(id_key),
            id_keys: Arc::new(IdKeys::new(id_key)),
            codecs: Arc::default(),
            preparing: prepare::pool(Arc::clone(clock)),
        }
    }

    /// Returns the objects of the packs.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Returns the keys of chunk ids.
    pub(crate) fn id_keys(&self) -> &Arc<IdKeys> {
        &self.id_keys
    }

    /// Returns the codecs.
    pub(crate) fn codecs(&self) -> &Arc<Codecs> {
        &self.codecs
    }
}
