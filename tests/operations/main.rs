//! Operations through the public interface: how they end, go on, are listed, run, heard of, dropped
//! and counted.
//!
//! - `scene.rs`: a vault in memory on a clock that stands, and what tests ask of it.
//! - `handle.rs`: how an operation comes to a handle, and what it keeps from try to try.
//! - `ends.rs`: the ends that a handle has, and that nothing of it commits after one.
//! - `history.rs`: the checkpoints that are kept of a lane.
//! - `resume.rs`: resuming by a callback.
//! - `unfinished.rs`: what is left to do, and why it is left.
//! - `pace.rs`: when a paced lane commits.
//! - `gate.rs`: holds handlers up until a test lets them go.
//! - `runner.rs`: work in the background: submitted, tried again, resumed.
//! - `handlers.rs`: what handlers do to their jobs, and what is told of it.
//! - `stops.rs`: pausing, cancelling and shutting down, wherever a job stands.
//! - `troubles.rs`: what the vault does not let happen for the moment, and what comes in between.
//! - `turns.rs`: who has a job, and when it is tried: stops and hurries that meet one another.
//! - `crowd.rs`: many threads at one runner, and several runners on one vault.
//! - `events.rs`: what is heard of operations, and in which order.
//! - `recorder.rs`: what the host's metrics hear.
//! - `silence.rs`: that updates of documents are in none of these.
//! - `expiry.rs`: what goes by age, and what never does. `statistics.rs`: operations counted.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod ends;
mod events;
mod expiry;
mod gate;
mod handle;
mod handlers;
mod history;
mod pace;
mod recorder;
mod resume;
mod runner;
mod scene;
mod silence;
mod statistics;
mod stops;
mod troubles;
mod turns;
mod unfinished;
