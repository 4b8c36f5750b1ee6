//! Operations: long work that survives a crash of its process.
//!
//! [`Operations`] begins an [`OperationSpec`], and resumes it after a crash. An [`Operation`] runs
//! in [`Lane`]s, which are independent streams of writes. Each lane commits its data together with
//! a [`Checkpoint`], so nothing is lost and nothing is repeated. The last lane to complete
//! completes the operation.
//!
//! [`OperationStatus`] describes one operation, and [`Statistics`] summarizes all of them. A
//! [`Subscription`] yields each [`Event`].
//!
//! An operation has one owner at a time. Its operation generation is raised by every begin, resume
//! and take-over. A commit under an older generation is refused inside the transaction.

// - `machine.rs`: the states and their transitions. `resumability.rs`: whether an operation can be
//   resumed, and if not, why. Both are pure.
// - `spec.rs`: the parameters of a new operation. `acquire.rs`: begin, resume, take over.
//   `operation.rs`: the handle, and the ways to end. `owners.rs`: registry of live handles.
// - `rows.rs`: an operation's rows in a transaction, and the rows derived from them.
// - `lane.rs`: a lane's handle, and its checkpoint in a transaction. `checkpoint.rs`: a
//   checkpoint's data. `auto_checkpoint.rs`: when to commit one. `resume.rs`: resuming by a
//   callback.
// - `status.rs`: operations in a snapshot. `unfinished.rs`: operations that are not finished.
//   `query.rs`: pages of both. `statistics.rs`: counts. `events.rs`: subscriptions. `expiry.rs`:
//   deletion by age.
// - `metrics/`: measurements for statistics and the host. `room.rs`: what the handles share.
//
// `background/` runs operations on its own threads.

mod acquire;
mod auto_checkpoint;
mod checkpoint;
mod events;
mod expiry;
mod lane;
mod machine;
mod metrics;
mod operation;
mod owners;
mod query;
mod resumability;
mod resume;
mod room;
mod rows;
mod spec;
mod statistics;
mod status;
mod unfinished;

pub(crate) use acquire::{begin_own, resume_own, resume_unless_paused};
pub use auto_checkpoint::{AutoCheckpoint, CheckpointPolicy};
pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
pub use events::{EVENTS_KEPT_MAX, Event, EventKind, Subscription};
pub use expiry::{ExpireOperations, ExpiredOperations};
pub use lane::Lane;
pub use machine::OperationState;
pub use metrics::{Latencies, NoRecorder, Recorder};
pub use operation::{FAILURE_BYTES_MAX, Operation};
pub use query::OperationsQuery;
pub use resumability::Resumable;
pub(crate) use resume::panic_text;
pub(crate) use room::NoKnownWork;
pub use room::{KnownWork, Operations};
pub(crate) use rows::remove_own;
pub use spec::{
    CHECKPOINTS_KEPT_MAX, LANES_MAX, METADATA_BYTES_MAX, ONLY_LANE, OperationSpec, RetryPolicy,
};
pub use statistics::Statistics;
pub use status::{Failure, LaneStatus, OperationStatus};
pub use unfinished::UnfinishedOperation;
