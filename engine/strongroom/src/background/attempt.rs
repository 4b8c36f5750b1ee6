//! One try of an operation, from its start to its final state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::handlers::{BoxError, Handler};
use super::job::Job;
use super::jobs::Jobs;
use super::ticket::{StopReason, Ticket};
use crate::operations::{
    Operation, OperationState, Operations, Resumable, panic_text, resume_unless_paused,
};
use strongroom_base::CancelToken;

/// Most levels of a host error's source chain that are searched.
const SOURCES_MAX: usize = 64;

/// Outcome of a try.
pub(super) enum TryOutcome {
    /// The runner is finished with the operation, in this state.
    Ended(OperationState),
    /// The operation is tried again after this wait.
    RetryAfter(Duration),
}

/// An error that a handler returned, or its panic.
struct HandlerError {
    text: String,
    /// Set if the error is `Cancelled`, or has it among its sources.
    cancelled: bool,
}

/// Tries the operation of `ticket` once. Errors are those of the vault, not of the handler.
pub(super) fn run_try(
    jobs: &Jobs,
    ticket: &Arc<Ticket>,
    cancel: CancelToken,
) -> Result<TryOutcome> {
    let operation = match acquire(&jobs.operations, ticket) {
        Err(e) if matches!(e.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists) => {
            // The operation was paused, ended or run elsewhere since it was queued.
            return match jobs.operations.can_resume(&ticket.id)? {
                Resumable::Held => Ok(TryOutcome::Ended(OperationState::Paused)),
                Resumable::Completed => Ok(TryOutcome::Ended(OperationState::Completed)),
                Resumable::Cancelled => Ok(TryOutcome::Ended(OperationState::Cancelled)),
                _ => Err(e),
            };
        }
        acquired => acquired?,
    };
    let status = operation.status()?;
    let handler = jobs.handlers.find(&status.name).cloned().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "run operation")
            .with_reason(Reason::HandlerMissing)
            .with_detail("there is no handler for its name")
    })?;
    let job =
        Job { vault: jobs.vault.clone(), operation, status, cancel, ticket: Arc::clone(ticket) };
    let outcome = run(&handler, &job);
    settle(&job, outcome, ticket.stopped())
}

fn acquire(operations: &Operations, ticket: &Ticket) -> Result<Operation> {
    if ticket.is_by_id() {
        operations.resume(&ticket.id)
    } else {
        resume_unless_paused(operations, &ticket.id)
    }
}

/// Runs the handler, and turns panics into errors.
///
/// A panic in the text or the drop of the handler's error is caught too.
fn run(handler: &Handler, job: &Job) -> Result<(), HandlerError> {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        handler.run(job).map_err(|error: BoxError| HandlerError {
            text: error.to_string(),
            cancelled: is_cancelled(&*error),
        })
    }));
    caught.unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        // Dropping the payload may panic once more.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(panic)));
        std::mem::forget(dropped);
        Err(HandlerError { text, cancelled: false })
    })
}

/// Brings the operation into the state that follows from the try's outcome.
fn settle(
    job: &Job,
    outcome: Result<(), HandlerError>,
    stopped: Option<StopReason>,
) -> Result<TryOutcome> {
    let operation = job.operation();
    let state = operation.status()?.state;
    if !state.is_active() {
        // The lanes have completed the operation, or the handler has ended it.
        if let Err(error) = outcome
            && !error.cancelled
        {
            job.warn(format!("the handler failed after the operation ended: {}", error.text));
        }
        return ended(operation, state);
    }
    let Err(error) = outcome else {
        operation.complete()?;
        return Ok(TryOutcome::Ended(OperationState::Completed));
    };
    if stopped.is_some() && !error.cancelled {
        job.warn(format!("the handler failed while it was stopped: {}", error.text));
    }
    // A handler that returns `Cancelled` when it must stop has not failed.
    let failure = (!error.cancelled).then_some(&*error.text);
    match stopped {
        Some(StopReason::Cancel) => operation.cancel()?,
        Some(StopReason::Pause) => operation.pause_with(true, failure)?,
        Some(StopReason::Shutdown) => operation.pause_with(false, failure)?,
        None => {
            operation.fail(&error.text)?;
            return ended(operation, OperationState::Failed);
        }
    }
    ended(operation, operation.status()?.state)
}

/// Returns the outcome of a try that left `state`: a failed operation is retried while tries are
/// left.
fn ended(operation: &Operation, state: OperationState) -> Result<TryOutcome> {
    if state != OperationState::Failed {
        return Ok(TryOutcome::Ended(state));
    }
    Ok(match operation.operations().can_resume(operation.id())? {
        Resumable::Ready => TryOutcome::RetryAfter(Duration::ZERO),
        Resumable::BackingOff { wait } => TryOutcome::RetryAfter(wait),
        _ => TryOutcome::Ended(state),
    })
}

fn is_cancelled(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).take(SOURCES_MAX).any(|error| {
        error.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::Cancelled)
    })
}
