//! The content store: streams cut into chunks where their bytes say so, each stored once.
//!
//! A content is a tree: chunks of data, above them nodes that list chunks, above those nodes that
//! list nodes, up to one root. A chunk is found by its id, the keyed hash of its bytes, so what is there
//! already is not stored again, whole subtrees included.
//!
//! - `cutter.rs` cuts a stream; `body.rs` compresses and hashes a chunk; `pack.rs` seals many of them
//!   into one object of the backend, with a trailer that lists them. None of the three knows state.
//! - `index.rs`: where each chunk lies, and how often it is referred to, in state.
//! - `uploads.rs`: which uploads are under way. `upload.rs` stores a stream, `prepare.rs` hashes and
//!   compresses its chunks on several threads of a pool, `writer.rs` writes its packs; `stored.rs` is what comes of it,
//!   until a commit refers to it; `reader.rs` reads one back.
//! - `release.rs` frees what nothing refers to; `packing.rs` moves chunks into packs: out of state, and out of
//!   packs that are mostly waste. `rebuild.rs` makes the index anew.
//!
//! **Who counts.** A node refers to its children, and whatever a content is of to its root. Counts change
//! in the commit that brings or drops the reference, so they are right after any crash. What nobody refers
//! to any more is listed in table `released`, and freed in steps of bounded size.
//!
//! **Who may find what.** What is let go of is freed only once no upload is left that began before that
//! commit (`uploads.rs`); what was let go of before an upload began, that upload does not find. So whatever
//! it has found, or stored, is in the index until it ends, and its commit has nothing to ask. Nor is it freed
//! while a reader is left that began before that commit, so a reader finds each chunk in the newest state.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod ahead;
mod body;
mod cutter;
mod index;
mod pack;
mod packing;
mod prepare;
mod reader;
mod rebuild;
mod release;
mod store;
mod stored;
mod survey;
mod upload;
mod uploads;
mod writer;

pub use body::{Codecs, IdKeys};
pub use index::{body_part, let_go, read_stored, stored_total};
pub use pack::list as list_pack;
pub use reader::{ContentReader, Pinned, children, fetch, seek};
pub use rebuild::{FoundRoots, RebuildOptions, RebuildReport, Roots};
pub use release::{GcOptions, GcReport};
pub use store::{Content, adopted};
pub use stored::StoredContent;
pub use survey::{WAVE_CHUNKS, or_damage, survey_packs};
pub use upload::Upload;
