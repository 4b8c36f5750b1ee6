//! Operations through the public interface: handles, lanes, runners, events and statistics.
//!
//! - `scene.rs`: a vault in memory on a manual clock, and helpers.
//! - `handle.rs`: beginning, resuming and taking over; the status that operations keep.
//! - `handle_ends.rs`: the four ends of a handle, after which it commits nothing.
//! - `history.rs`: the checkpoints that a lane keeps.
//! - `resume.rs`: resuming with a callback.
//! - `unfinished.rs`: the list of unfinished operations, with their resumability.
//! - `auto_checkpoint.rs`: lanes that commit by a checkpoint policy.
//! - `latch.rs`: blocks handlers until a test releases them.
//! - `runner.rs`: jobs in the background: submitted, retried, resumed.
//! - `handlers.rs`: handlers that end their own jobs, and the events of that.
//! - `runner_stops.rs`: pause, cancel and shutdown in each phase of a job.
//! - `contention.rs`: jobs while the vault is busy, and calls during a commit.
//! - `job_races.rs`: stops, resumes and shutdowns of one job that race.
//! - `concurrency.rs`: many threads on one runner, and a second runner on one vault.
//! - `events.rs`: events of operations, and their order.
//! - `recorder.rs`: calls of the host's recorder.
//! - `document_updates.rs`: updates of documents, which none of these may reveal.
//! - `expiry.rs`: deletion of finished operations by age.
//! - `statistics.rs`: statistics compared with a recount.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod auto_checkpoint;
mod concurrency;
mod contention;
mod document_updates;
mod events;
mod expiry;
mod handle;
mod handle_ends;
mod handlers;
mod history;
mod job_races;
mod latch;
mod recorder;
mod resume;
mod runner;
mod runner_stops;
mod scene;
mod statistics;
mod unfinished;
