//! Transactions: who may write when, what one commit holds, and what a reader sees.
//!
//! - `writer.rs`: the one writer at a time, with a bounded wait.
//! - `write.rs`: [`WriteTx`], all changes of one commit, and what goes along with every commit.
//! - `snapshot.rs`: [`Snapshot`], a consistent read.
//! - `batch.rs`: [`Batch`], prepared changes with conditions; `group.rs`: many of them in one
//!   commit.
//!
//! What the rows mean is told in `records/`, `operations/` and `objects/`; how a commit becomes
//! durable in `state/store.rs`.

mod batch;
mod group;
mod snapshot;
mod write;
mod writer;

pub use batch::Batch;
pub(crate) use group::{Group, Piece, Work, apply_pieces};
pub use snapshot::Snapshot;
pub use write::WriteTx;
pub(crate) use writer::Writer;
