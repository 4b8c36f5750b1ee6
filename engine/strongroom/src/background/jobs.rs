//! The jobs of a runner: each waits for a thread, runs, is stopped, is tried again, or leaves.
//!
//! A job's ticket (`ticket.rs`) holds its phase. This module moves tickets from phase to phase, and
//! acts on the outcome of each try (`attempt.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::attempt::{TryOutcome, run_try};
use super::handlers::Handlers;
use super::ticket::{StopOutcome, StopReason, Ticket};
use crate::Vault;
use crate::operations::Operations;
use crate::operations::{Event, EventKind, OperationState, RetryPolicy};
use strongroom_base::Progress;

/// Most waiting tries, far above the needs of hosts; a further one is refused.
const WAITING_MAX: usize = 1 << 20;

/// State that a runner shares with its tasks.
pub(super) struct Jobs {
    pub(super) vault: Vault,
    pub(super) operations: Operations,
    pub(super) handlers: Handlers,
    workers: Pool,
    queue_max: usize,
    tickets: Mutex<HashMap<String, Arc<Ticket>>>,
    /// Notified whenever a job leaves.
    job_left: Condvar,
    stopping: AtomicBool,
    /// Set once another runner may use the vault: a vault has one runner at a time.
    released: AtomicBool,
}

/// Guard that ends a ticket if the code that has it panics.
struct TicketGuard<'a> {
    jobs: &'a Jobs,
    ticket: &'a Arc<Ticket>,
    settled: bool,
}

impl Drop for TicketGuard<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let error = Error::new(ErrorKind::Unavailable, "run operation")
                .with_detail("the runner panicked");
            self.jobs.end(self.ticket, Err(error));
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.release();
    }
}

impl Jobs {
    /// Creates an empty set of jobs over `vault`, run by `threads` threads.
    pub(super) fn new(vault: Vault, handlers: Handlers, threads: usize, queue_max: usize) -> Self {
        let operations = vault.operations();
        let clock = Arc::clone(operations.core().clock());
        Self {
            vault,
            operations,
            handlers,
            workers: Pool::new("strongroom-job", threads, WAITING_MAX, clock),
            queue_max,
            tickets: Mutex::default(),
            job_left: Condvar::new(),
            stopping: AtomicBool::new(false),
            released: AtomicBool::new(false),
        }
    }

    /// Returns the number of jobs.
    pub(super) fn len(&self) -> usize {
        self.tickets.lock().len()
    }

    /// Returns the ticket of operation `id`, if the runner has it.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Ticket>> {
        self.tickets.lock().get(id).cloned()
    }

    /// Waits at most `at_most` for all jobs to leave; returns how many remain.
    pub(super) fn wait_for_none(&self, at_most: Duration) -> usize {
        let mut jobs = self.tickets.lock();
        self.job_left.wait_while_for(&mut jobs, |jobs| !jobs.is_empty(), at_most);
        jobs.len()
    }

    pub(super) fn refuse_stopping(&self, call: &'static str) -> Result<()> {
        if !self.stopping.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, call).with_detail("the runner was shut down"))
    }

    /// Lets another runner use the vault.
    pub(super) fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            self.operations.runner().store(false, Ordering::Release);
        }
    }

    /// Adds a ticket for an operation that the runner does not have.
    ///
    /// If `is_bounded`, fails with `Unavailable` when the queue is full.
    pub(super) fn enter(
        &self,
        call: &'static str,
        id: &str,
        progress: Option<Arc<dyn Progress>>,
        is_bounded: bool,
    ) -> Result<Arc<Ticket>> {
        let refuse =
            |kind, detail: String| Err(Error::new(kind, call).with_detail(detail).with_subject(id));
        let mut jobs = self.tickets.lock();
        // Checked under the lock: a shutdown sets the flag under it, and then visits all tickets.
        self.refuse_stopping(call)?;
        if jobs.contains_key(id) {
            return refuse(ErrorKind::AlreadyExists, "the runner already has the operation".into());
        }
        let queued = || jobs.values().filter(|ticket| ticket.is_queued()).count();
        let most = self.queue_max;
        if is_bounded && jobs.len() >= most && queued() >= most {
            return refuse(
                ErrorKind::Unavailable,
                format!("{most} operations wait already; retry later"),
            );
        }
        let ticket = Ticket::new(id.to_owned(), progress);
        jobs.insert(id.to_owned(), Arc::clone(&ticket));
        Ok(ticket)
    }

    /// Queues a try of the ticket after `wait`.
    pub(super) fn queue(jobs: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) -> Result<()> {
        let wait_id = ticket.begin_wait(wait > Duration::ZERO);
        Self::spawn(jobs, ticket, wait_id, wait)
    }

    pub(super) fn spawn(
        jobs: &Arc<Self>,
        ticket: &Arc<Ticket>,
        wait_id: u64,
        wait: Duration,
    ) -> Result<()> {
        let (own, job) = (Arc::clone(jobs), Arc::clone(ticket));
        jobs.workers.spawn(wait, move || Self::run(&own, &job, wait_id))
    }

    fn run(jobs: &Arc<Self>, ticket: &Arc<Ticket>, wait_id: u64) {
        let Some(cancel) = ticket.start(wait_id) else { return };
        let mut guarded = TicketGuard { jobs, ticket, settled: false };
        let outcome = if jobs.stopping.load(Ordering::Acquire) {
            jobs.state(&ticket.id).map(TryOutcome::Ended)
        } else {
            run_try(jobs, ticket, cancel)
        };
        let stop = ticket.end_try();
        let next = jobs.next(ticket, outcome, stop);
        guarded.settled = true;
        match next {
            Ok(TryOutcome::Ended(state)) => jobs.end(ticket, Ok(state)),
            Err(error) => jobs.end(ticket, Err(error)),
            Ok(TryOutcome::RetryAfter(wait)) => Self::wait_again(jobs, ticket, wait),
        }
    }

    /// Queues another try of a ticket that this thread has.
    ///
    /// After a shutdown, ends the ticket instead; the operation keeps its state.
    fn wait_again(jobs: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) {
        if Self::queue(jobs, ticket, wait).is_err() {
            jobs.end_idle(ticket);
        }
    }

    /// Puts back a ticket that this thread could not end.
    pub(super) fn put_back(jobs: &Arc<Self>, ticket: &Arc<Ticket>) {
        let missed = ticket.put_back();
        let lost = missed
            .is_some_and(|wait_id| Self::spawn(jobs, ticket, wait_id, Duration::ZERO).is_err());
        // A shutdown that came meanwhile has left the ticket to this thread.
        if lost || jobs.stopping.load(Ordering::Acquire) {
            jobs.end_idle(ticket);
        }
    }

    /// Ends a waiting ticket that no task will run. The operation keeps its state.
    fn end_idle(&self, ticket: &Arc<Ticket>) {
        if let StopOutcome::Taken = ticket.stop(StopReason::Shutdown, Duration::ZERO) {
            self.end(ticket, self.state(&ticket.id));
        }
    }

    /// Decides what follows a try; `stop` was requested before it was settled.
    fn next(
        &self,
        ticket: &Ticket,
        outcome: Result<TryOutcome>,
        stop: Option<StopReason>,
    ) -> Result<TryOutcome> {
        if let Err(error) = &outcome {
            self.warn(&ticket.id, error);
        }
        // A paused operation can still be cancelled.
        let is_over = |state: OperationState, reason| {
            state.is_finished() || (state == OperationState::Paused && reason != StopReason::Cancel)
        };
        match (outcome, stop) {
            (Ok(TryOutcome::Ended(state)), None | Some(StopReason::Shutdown)) => {
                Ok(TryOutcome::Ended(state))
            }
            // The try has obeyed, or has ended otherwise.
            (Ok(TryOutcome::Ended(state)), Some(reason)) if is_over(state, reason) => {
                Ok(TryOutcome::Ended(state))
            }
            (Ok(_), Some(reason)) => self.apply_stop(&ticket.id, reason).map(TryOutcome::Ended),
            (Err(error), Some(reason)) => match self.apply_stop(&ticket.id, reason) {
                Ok(state) => Ok(TryOutcome::Ended(state)),
                Err(_) => Err(error),
            },
            (Ok(again @ TryOutcome::RetryAfter(_)), None) => {
                ticket.reset_vault_failures();
                Ok(again)
            }
            (Err(error), None) => match error.kind() {
                // The cause may pass; then the operation continues from its checkpoints.
                ErrorKind::Locked
                | ErrorKind::Unavailable
                | ErrorKind::Full
                | ErrorKind::Uncertain => Ok(TryOutcome::RetryAfter(
                    RetryPolicy::DEFAULT.backoff(ticket.count_vault_failure()),
                )),
                _ => Err(error),
            },
        }
    }

    /// Pauses or cancels an operation without an owner, as requested; returns its state.
    pub(super) fn apply_stop(&self, id: &str, reason: StopReason) -> Result<OperationState> {
        match reason {
            StopReason::Cancel => self.operations.abandon(id).map(|()| OperationState::Cancelled),
            StopReason::Pause => self.operations.pause(id).map(|()| OperationState::Paused),
            StopReason::Shutdown => self.state(id),
        }
    }

    fn state(&self, id: &str) -> Result<OperationState> {
        let status = self.operations.snapshot()?.operation(id)?;
        status.map(|status| status.state).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "run operation")
                .with_reason(Reason::OperationMissing)
                .with_subject(id)
        })
    }

    fn warn(&self, id: &str, error: &Error) {
        self.operations.bus().warn(|| {
            let kind =
                EventKind::warning(format!("the runner could not run the operation: {error}"));
            Event::new(id, None, self.operations.core().clock().unix_millis(), kind)
        });
    }

    /// Removes a ticket and ends it, in one step under the lock.
    ///
    /// So a thread that waited for the job can submit the operation again. And a thread that waited
    /// until no job was left finds all tickets ended.
    pub(super) fn end(&self, ticket: &Arc<Ticket>, outcome: Result<OperationState>) {
        let mut jobs = self.tickets.lock();
        if jobs.get(&ticket.id).is_some_and(|found| Arc::ptr_eq(found, ticket)) {
            jobs.remove(&ticket.id);
        }
        ticket.end(outcome);
        drop(jobs);
        self.job_left.notify_all();
    }

    pub(super) fn begin_stopping(&self) {
        let tickets: Vec<Arc<Ticket>> = {
            let jobs = self.tickets.lock();
            self.stopping.store(true, Ordering::Release);
            jobs.values().cloned().collect()
        };
        self.workers.close();
        for ticket in tickets {
            // A thread that registers or ends one now finds the pool closed.
            self.end_idle(&ticket);
        }
    }
}
