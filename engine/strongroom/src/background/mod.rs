//! Background work: a [`Runner`] runs the host's operations on its own threads.
//!
//! - `handlers.rs`: the host's work, by the name of an operation.
//! - `job.rs`: one try of an operation, from the view of its handler.
//! - `runner.rs`: submits, resumes, pauses and cancels operations, and shuts down.
//! - `jobs.rs`: the jobs of a runner, and their way from phase to phase. `ticket.rs`: the phase of
//!   one job, and its waiters. `attempt.rs`: one try.
//!
//! The queue of a runner is stored in the vault as well. An operation is committed as *initialized*
//! before it is queued. So a crash before, within or between tries loses no operation.

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
