//! The jobs that a runner has: each waits for its turn, runs, is stopped, is tried again, or leaves.
//!
//! A job's ticket (`ticket.rs`) says in whose hands it is at each moment; this room moves it from hand to
//! hand, and does what follows from what a try has left (`attempt.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::attempt::{Attempted, attempt};
use super::handlers::Handlers;
use super::ticket::{Asked, Stop, Ticket};
use crate::Vault;
use crate::operations::Operations;
use crate::operations::{Event, EventKind, OperationState, RetryPolicy};
use strongroom_base::Progress;

/// Tries that wait for a thread or their time, far above what hosts submit; one more is refused.
const WAITING_MAX: usize = 1 << 20;

/// What a runner shares with its tasks.
pub(super) struct Jobs {
    pub(super) vault: Vault,
    pub(super) operations: Operations,
    pub(super) handlers: Handlers,
    workers: Pool,
    queue_max: usize,
    by_id: Mutex<HashMap<String, Arc<Ticket>>>,
    /// Whenever one leaves.
    left: Condvar,
    stopping: AtomicBool,
    /// A vault has one runner at a time; this one has let go of it.
    released: AtomicBool,
}

/// A ticket that is taken out and ended whatever happens to the code that has it.
struct Guarded<'a> {
    jobs: &'a Jobs,
    ticket: &'a Arc<Ticket>,
    settled: bool,
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let error = Error::new(ErrorKind::Unavailable, "run operation")
                .with_detail("the runner panicked over it");
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
    /// None yet, over `vault`, on so many threads.
    pub(super) fn new(vault: Vault, handlers: Handlers, threads: usize, queue_max: usize) -> Self {
        let operations = vault.operations();
        let clock = Arc::clone(operations.core().clock());
        Self {
            vault,
            operations,
            handlers,
            workers: Pool::new("strongroom-job", threads, WAITING_MAX, clock),
            queue_max,
            by_id: Mutex::default(),
            left: Condvar::new(),
            stopping: AtomicBool::new(false),
            released: AtomicBool::new(false),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// One of them.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Ticket>> {
        self.by_id.lock().get(id).cloned()
    }

    /// Waits until there is none, at most so long; how many there are then.
    pub(super) fn wait_for_none(&self, at_most: Duration) -> usize {
        let mut jobs = self.by_id.lock();
        self.left.wait_while_for(&mut jobs, |jobs| !jobs.is_empty(), at_most);
        jobs.len()
    }

    pub(super) fn refuse_stopping(&self, call: &'static str) -> Result<()> {
        if !self.stopping.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, call).with_detail("the runner was shut down"))
    }

    /// Another runner may have the vault.
    pub(super) fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            self.operations.runner().store(false, Ordering::Release);
        }
    }

    /// A ticket for an operation that the runner does not have; if the queue `is_bounded` for it,
    /// `Unavailable` if too many wait for a thread already.
    pub(super) fn enter(
        &self,
        call: &'static str,
        id: &str,
        progress: Option<Arc<dyn Progress>>,
        is_bounded: bool,
    ) -> Result<Arc<Ticket>> {
        let refuse =
            |kind, detail: String| Err(Error::new(kind, call).with_detail(detail).with_subject(id));
        let mut jobs = self.by_id.lock();
        // Asked under the lock: who shuts down goes over all tickets after it.
        self.refuse_stopping(call)?;
        if jobs.contains_key(id) {
            return refuse(ErrorKind::AlreadyExists, "the runner has it already".into());
        }
        let queued = || jobs.values().filter(|ticket| ticket.is_queued()).count();
        let most = self.queue_max;
        if is_bounded && jobs.len() >= most && queued() >= most {
            return refuse(ErrorKind::Unavailable, format!("{most} operations wait already"));
        }
        let ticket = Ticket::new(id.to_owned(), progress);
        jobs.insert(id.to_owned(), Arc::clone(&ticket));
        Ok(ticket)
    }

    /// Has it wait for a try.
    pub(super) fn queue(jobs: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) -> Result<()> {
        let turn = ticket.wait_turn(wait > Duration::ZERO);
        Self::spawn(jobs, ticket, turn, wait)
    }

    pub(super) fn spawn(
        jobs: &Arc<Self>,
        ticket: &Arc<Ticket>,
        turn: u64,
        wait: Duration,
    ) -> Result<()> {
        let (own, job) = (Arc::clone(jobs), Arc::clone(ticket));
        jobs.workers.spawn(wait, move || Self::run(&own, &job, turn))
    }

    fn run(jobs: &Arc<Self>, ticket: &Arc<Ticket>, turn: u64) {
        let Some(cancel) = ticket.start(turn) else { return };
        let mut guarded = Guarded { jobs, ticket, settled: false };
        let outcome = if jobs.stopping.load(Ordering::Acquire) {
            jobs.state(&ticket.id).map(Attempted::Ended)
        } else {
            attempt(jobs, ticket, cancel)
        };
        let stop = ticket.end_try();
        let next = jobs.next(ticket, outcome, stop);
        guarded.settled = true;
        match next {
            Ok(Attempted::Ended(state)) => jobs.end(ticket, Ok(state)),
            Err(error) => jobs.end(ticket, Err(error)),
            Ok(Attempted::Again(wait)) => Self::wait_again(jobs, ticket, wait),
        }
    }

    /// Queues what this thread has once more; or, if the runner was shut down meanwhile, ends it as it
    /// stands.
    fn wait_again(jobs: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) {
        if Self::queue(jobs, ticket, wait).is_err() {
            jobs.end_as_it_stands(ticket);
        }
    }

    /// Has what this thread could not end wait on.
    pub(super) fn put_back(jobs: &Arc<Self>, ticket: &Arc<Ticket>) {
        let missed = ticket.put_back();
        let lost =
            missed.is_some_and(|turn| Self::spawn(jobs, ticket, turn, Duration::ZERO).is_err());
        // Who shut down meanwhile left it to this thread.
        if lost || jobs.stopping.load(Ordering::Acquire) {
            jobs.end_as_it_stands(ticket);
        }
    }

    /// Ends what waits, and nothing will come for.
    fn end_as_it_stands(&self, ticket: &Arc<Ticket>) {
        if let Asked::Yours = ticket.stop(Stop::Shutdown, Duration::ZERO) {
            self.end(ticket, self.state(&ticket.id));
        }
    }

    /// What follows a try that was asked to stop by `stop` before it was settled.
    fn next(
        &self,
        ticket: &Ticket,
        outcome: Result<Attempted>,
        stop: Option<Stop>,
    ) -> Result<Attempted> {
        if let Err(error) = &outcome {
            self.warn(&ticket.id, error);
        }
        // What is paused can still be given up.
        let is_over = |state: OperationState, why| {
            state.is_finished() || (state == OperationState::Paused && why != Stop::Cancel)
        };
        match (outcome, stop) {
            (Ok(Attempted::Ended(state)), None | Some(Stop::Shutdown)) => {
                Ok(Attempted::Ended(state))
            }
            // The try has heard of it, or has ended otherwise.
            (Ok(Attempted::Ended(state)), Some(why)) if is_over(state, why) => {
                Ok(Attempted::Ended(state))
            }
            (Ok(_), Some(why)) => self.obey(&ticket.id, why).map(Attempted::Ended),
            (Err(error), Some(why)) => match self.obey(&ticket.id, why) {
                Ok(state) => Ok(Attempted::Ended(state)),
                Err(_) => Err(error),
            },
            (Ok(again @ Attempted::Again(_)), None) => {
                ticket.no_trouble();
                Ok(again)
            }
            (Err(error), None) => match error.kind() {
                // It may pass, and the operation goes on from its checkpoints then.
                ErrorKind::Locked
                | ErrorKind::Unavailable
                | ErrorKind::Full
                | ErrorKind::Uncertain => {
                    Ok(Attempted::Again(RetryPolicy::DEFAULT.backoff(ticket.trouble())))
                }
                _ => Err(error),
            },
        }
    }

    /// Ends an operation that nobody runs as it was asked to; its state then.
    pub(super) fn obey(&self, id: &str, why: Stop) -> Result<OperationState> {
        match why {
            Stop::Cancel => self.operations.abandon(id).map(|()| OperationState::Cancelled),
            Stop::Pause => self.operations.pause(id).map(|()| OperationState::Paused),
            Stop::Shutdown => self.state(id),
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
            let kind = EventKind::warning(format!("the runner could not go on with it: {error}"));
            Event::new(id, None, self.operations.core().clock().unix_millis(), kind)
        });
    }

    /// Takes a ticket out and ends it, at once: whoever waited for it may bring the operation back,
    /// and who waited for the runner to have none finds all of them ended.
    pub(super) fn end(&self, ticket: &Arc<Ticket>, outcome: Result<OperationState>) {
        let mut jobs = self.by_id.lock();
        if jobs.get(&ticket.id).is_some_and(|found| Arc::ptr_eq(found, ticket)) {
            jobs.remove(&ticket.id);
        }
        ticket.end(outcome);
        drop(jobs);
        self.left.notify_all();
    }

    pub(super) fn begin_stopping(&self) {
        let tickets: Vec<Arc<Ticket>> = {
            let jobs = self.by_id.lock();
            self.stopping.store(true, Ordering::Release);
            jobs.values().cloned().collect()
        };
        self.workers.close();
        for ticket in tickets {
            // Whoever brings one in or ends it at this moment finds the pool closed.
            self.end_as_it_stands(&ticket);
        }
    }
}
