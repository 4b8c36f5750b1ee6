//! Operations: long work that survives the death of its process.
//!
//! [`Operations`] begins an [`OperationSpec`], and resumes it after a crash. An [`Operation`] runs
//! in [`Lane`]s, independent streams of writes: each commits its data together with a
//! [`Checkpoint`], so nothing is lost and nothing is repeated. The last lane to complete completes
//! the operation. [`OperationStatus`] describes one, [`Statistics`] all, and a [`Subscription`]
//! yields each [`Event`].
//!
//! An operation has one owner at a time, with a generation that every begin, resume and
//! take-over raises. A commit under an older generation is refused inside the transaction.

// - `machine.rs`: the states, and which may follow which. `standing.rs`: whether an operation can
//   be resumed, and why not. Both are pure.
// - `spec.rs`: what an operation is begun with. `claim.rs`: begin, resume, take over.
//   `operation.rs`: the handle, and the ways to end. `owners.rs`: which handles live.
// - `rows.rs`: an operation's rows in a transaction, and what is kept in step with them.
// - `checkpoint.rs`, `lane.rs`: a lane's handle, and its checkpoint inside a transaction.
//   `pace.rs`: when to make one. `resume.rs`: resuming by a callback.
// - `status.rs`: looking at operations from a snapshot. `unfinished.rs`: what is left to do.
//   `query.rs`: pages of either. `statistics.rs`: in numbers. `events.rs`: as they happen. `expiry.rs`: dropping the old.
//
// Who runs operations in the background is `background/`.

mod checkpoint;
mod claim;
mod events;
mod expiry;
mod lane;
mod machine;
mod metrics;
mod operation;
mod owners;
mod pace;
mod query;
mod resume;
mod room;
mod rows;
mod spec;
mod standing;
mod statistics;
mod status;
mod unfinished;

pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
pub(crate) use claim::{begin_own, resume_own, resume_unless_held};
pub use events::{EVENTS_KEPT_MAX, Event, EventKind, Subscription};
pub use expiry::{ExpireOperations, ExpiredOperations};
pub use lane::Lane;
pub use machine::OperationState;
pub use metrics::{Latencies, NoRecorder, Recorder};
pub use operation::{FAILURE_BYTES_MAX, Operation};
pub use pace::{AutoCheckpoint, CheckpointPolicy};
pub use query::OperationsQuery;
pub(crate) use resume::panic_text;
pub(crate) use room::NoKnownWork;
pub use room::{KnownWork, Operations};
pub(crate) use rows::remove_own;
pub use spec::{
    CHECKPOINTS_KEPT_MAX, LANES_MAX, METADATA_BYTES_MAX, ONLY_LANE, OperationSpec, RetryPolicy,
};
pub use standing::Resumable;
pub use statistics::Statistics;
pub use status::{Failure, LaneStatus, OperationStatus};
pub use unfinished::UnfinishedOperation;
