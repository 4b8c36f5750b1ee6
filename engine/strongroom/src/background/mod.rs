//! Work in the background: the host's operations by a [`Runner`], and the engine's own jobs.
//!
//! - `handlers.rs`: what the host does, by the name of an operation.
//! - `job.rs`: one try of an operation, as its handler sees it.
//! - `runner.rs`: submits operations, resumes what is left, stops, pauses, shuts down. `jobs.rs`: what a
//!   runner has, from hand to hand. `ticket.rs`: in whose hands one is, and who waits for it.
//!   `attempt.rs`: one try, from its start to the state that it leaves.
//!
//! All of a runner's queue is in the vault as well: an operation is committed as *initialized* before
//! it is queued, so what a crash interrupts before, within or between tries is found again.

mod attempt;
mod handlers;
mod job;
mod jobs;
mod runner;
mod ticket;

pub use handlers::{BoxError, Handler, Handlers};
pub use job::Job;
pub use runner::{Resumed, Runner, RunnerOptions};
pub use ticket::JobHandle;
