//! The content store: streams cut into chunks at positions that their bytes decide, each stored
//! once.
//!
//! A content is a tree. Chunks of data are its leaves, nodes list chunks or nodes, and one root is
//! at the top. A chunk is found by its id, the keyed hash of its bytes. Existing bytes are not
//! stored again, whole subtrees included.
//!
//! - `pipeline/`: streams to packs and back. It knows an index only through the traits in
//!   `pipeline/chunk_index.rs`, and no table of the state.
//! - `index/`: the vault's own index: the rows of chunks, packs and uploads, and their counts.
//! - `store.rs`: [`Content`], which joins the two, and its hook.
//! - `survey.rs`: the content of a store whose state is lost, read from its packs alone.
//!
//! **Counting.** A node refers to its children; a version or a record refers to its root. Counts
//! change in the commit that adds or drops a reference, so they are right after any crash. A chunk
//! without references is listed in table `released`, and freed in steps of bounded size.
//!
//! **Uploads and releases.** A released chunk is freed only when no upload from before that commit
//! is left (`index/upload_registry.rs`). An upload does not find a chunk that was released before
//! it began. So every chunk that it found or stored stays in the index until it ends, and its
//! commit has nothing to check again. Readers are protected in the same way, and find each chunk in
//! the newest state.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod index;
mod pipeline;
mod store;
mod survey;

pub use index::{
    FoundRoots, RebuildOptions, RebuildReport, Roots, StoredContent, adopted, body_part,
    read_stored, release,
};
pub use pipeline::{
    Codecs, ContentReader, GcOptions, GcReport, IdKeys, KeptUpload, Pinned, Upload, list_pack, seek,
};
pub use store::{Content, children, fetch};
pub use survey::{WAVE_CHUNKS, or_damage, survey_packs};
