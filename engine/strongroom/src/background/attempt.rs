//! One try of an operation, from its start to the state that it leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::handlers::{BoxError, Handler};
use super::job::Job;
use super::jobs::Jobs;
use super::ticket::{Stop, Ticket};
use crate::operations::{
    Operation, OperationState, Operations, Resumable, panic_text, resume_unless_paused,
};
use strongroom_base::CancelToken;

/// How far the sources of a host's error are followed.
const SOURCES_MAX: usize = 64;

/// What a try leaves.
pub(super) enum Attempted {
    /// The runner is done with it.
    Ended(OperationState),
    /// It is to be tried again.
    Again(Duration),
}

/// What a handler, or its panic, said of an error.
struct Told {
    text: String,
    /// It is, or comes from, the `Cancelled` that the job was given.
    cancelled: bool,
}

/// Tries the operation of `ticket` once. An error is the vault's.
pub(super) fn attempt(jobs: &Jobs, ticket: &Arc<Ticket>, cancel: CancelToken) -> Result<Attempted> {
    let operation = match claim(&jobs.operations, ticket) {
        Err(e) if matches!(e.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists) => {
            // Since it was queued it was paused, which holds it, or somebody has done it.
            return match jobs.operations.can_resume(&ticket.id)? {
                Resumable::Held => Ok(Attempted::Ended(OperationState::Paused)),
                Resumable::Completed => Ok(Attempted::Ended(OperationState::Completed)),
                Resumable::Cancelled => Ok(Attempted::Ended(OperationState::Cancelled)),
                _ => Err(e),
            };
        }
        claimed => claimed?,
    };
    let status = operation.status()?;
    let handler = jobs.handlers.find(&status.name).cloned().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "run operation")
            .with_reason(Reason::HandlerMissing)
            .with_detail("there is no handler of its name")
    })?;
    let job =
        Job { vault: jobs.vault.clone(), operation, status, cancel, ticket: Arc::clone(ticket) };
    let outcome = run(&handler, &job);
    settle(&job, outcome, ticket.stopped())
}

fn claim(operations: &Operations, ticket: &Ticket) -> Result<Operation> {
    if ticket.is_by_id() {
        operations.resume(&ticket.id)
    } else {
        resume_unless_paused(operations, &ticket.id)
    }
}

/// Runs the host's code. Whatever of it panics, the error's own text and its end included, is told as
/// its error.
fn run(handler: &Handler, job: &Job) -> Result<(), Told> {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        handler.run(job).map_err(|error: BoxError| Told {
            text: error.to_string(),
            cancelled: is_cancelled(&*error),
        })
    }));
    caught.unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        // What was thrown may panic once more when it goes.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(panic)));
        std::mem::forget(dropped);
        Err(Told { text, cancelled: false })
    })
}

fn settle(job: &Job, outcome: Result<(), Told>, stopped: Option<Stop>) -> Result<Attempted> {
    let operation = job.operation();
    let state = operation.status()?.state;
    if !state.is_active() {
        // Its lanes have completed it, or the handler has ended it by its own hand.
        if let Err(told) = outcome
            && !told.cancelled
        {
            job.warn(format!("after its end: {}", told.text));
        }
        return ended(operation, state);
    }
    let Err(told) = outcome else {
        operation.complete()?;
        return Ok(Attempted::Ended(OperationState::Completed));
    };
    if stopped.is_some() && !told.cancelled {
        job.warn(format!("while it was stopped: {}", told.text));
    }
    // What was asked to stop and says so did not fail.
    let failure = (!told.cancelled).then_some(&*told.text);
    match stopped {
        Some(Stop::Cancel) => operation.cancel()?,
        Some(Stop::Pause) => operation.pause_with(true, failure)?,
        Some(Stop::Shutdown) => operation.pause_with(false, failure)?,
        None => {
            operation.fail(&told.text)?;
            return ended(operation, OperationState::Failed);
        }
    }
    ended(operation, operation.status()?.state)
}

/// What failed is tried again, while there are tries left.
fn ended(operation: &Operation, state: OperationState) -> Result<Attempted> {
    if state != OperationState::Failed {
        return Ok(Attempted::Ended(state));
    }
    Ok(match operation.operations().can_resume(operation.id())? {
        Resumable::Ready => Attempted::Again(Duration::ZERO),
        Resumable::BackingOff { wait } => Attempted::Again(wait),
        _ => Attempted::Ended(state),
    })
}

fn is_cancelled(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).take(SOURCES_MAX).any(|error| {
        error.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::Cancelled)
    })
}
