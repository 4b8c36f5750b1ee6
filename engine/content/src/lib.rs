//! The content store: streams cut into chunks at places their bytes choose, each stored once.
//!
//! A content is a tree: chunks of data, above them nodes that list chunks, above those nodes that
//! list nodes, up to one root. A chunk is found by its id, the keyed hash of its bytes. Bytes that are
//! there already are not stored again, whole subtrees included.
//!
//! - `pipeline/`: streams to packs and back. It knows an index only by the traits in
//!   `pipeline/chunk_index.rs`, and no table of state.
//! - `index/`: the vault's own index: the rows of chunks, packs and uploads, and their counts.
//! - `store.rs`: [`Content`], the two put together, and its part in every commit.
//! - `survey.rs`: the content of a store whose state is lost, read from its packs alone.
//!
//! **Who counts.** A node refers to its children, and a version or a record to its root. Counts change in the
//! commit that brings or drops the reference, so they are right after any crash. A chunk without a
//! reference is listed in table `released`, and freed in steps of bounded size.
//!
//! **Who may find which chunk.** A released chunk is freed only once no upload is left that began before that
//! commit (`index/upload_registry.rs`). An upload does not find a chunk that was released before it began. So each
//! chunk that it has found, or stored, is in the index until it ends, and its commit has nothing to ask. Nor
//! is a chunk freed while a reader is left that began before that commit: a reader finds each chunk in the
//! newest state.

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
    Codecs, ContentReader, GcOptions, GcReport, IdKeys, Pinned, Upload, list_pack, seek,
};
pub use store::{Content, children, fetch};
pub use survey::{WAVE_CHUNKS, or_damage, survey_packs};
