//! Operations: long work that survives the death of its process.
//!
//! An [`Operation`] runs in [`Lane`]s, independent streams of writes. Each lane commits its data
//! together with a [`Checkpoint`] that says where it stands, so after a crash it goes on there:
//! nothing is lost and nothing is repeated. The last lane to complete completes the operation.
//!
//! An operation has one owner at a time, with a generation that every begin, resume and
//! take-over raises. A commit under an older generation is refused inside the transaction.
//!
//! - `operation.rs`: begin, resume, take over; the handle. `owners.rs`: which handles live.
//! - `lane.rs`: a lane's handle, and its checkpoint inside a transaction.
//! - `status.rs`: looking at operations from a snapshot.

mod lane;
mod operation;
mod owners;
mod status;

pub(crate) use lane::LaneWriter;
pub use lane::{CHECKPOINT_BYTES_MAX, Checkpoint, Lane};
pub use operation::{LANES_MAX, Operation};
pub(crate) use operation::{begin_own, is_own, remove_own, resume_own};
pub(crate) use owners::Owners;
pub use status::{LaneStatus, OperationState, OperationStatus};
