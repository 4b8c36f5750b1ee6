//! Phase of one job, for threads that wait for or stop it.
//!
//! ```text
//! new ---> waiting <---> running ---> ending ---> ended
//!             \______________________/   |
//!             ^__________________________|  (tried again, or not ended after all)
//! ```
//!
//! The phase's lock is never held while host code or a commit runs. A ticket is *new* while its
//! operation is being registered. A thread that ends the operation makes the ticket *ending* first;
//! other threads wait until that phase has passed.
//!
//! Each wait has a number of its own. A task runs only for the wait that it was queued for. So a
//! task that was queued for a later time does nothing after its wait was skipped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::Result;

use crate::operations::OperationState;
use strongroom_base::{CancelToken, Progress};

/// Longest wait for a thread that is ending a ticket: a commit, and the waits before it.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(60);

/// Why a job must stop. A stronger reason replaces a weaker one; the order is that of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StopReason {
    Shutdown,
    Pause,
    Cancel,
}

pub(super) struct Ticket {
    pub(super) id: String,
    state: Mutex<TicketState>,
    moved: Condvar,
    counts: Counts,
    watcher: Option<Arc<dyn Progress>>,
    /// Set if the host asked for the operation by its id: then a pause does not keep it from
    /// running.
    by_id: AtomicBool,
    /// Set while the ticket waits for a time, not for a thread.
    is_backing_off: AtomicBool,
    /// Number of successive tries that failed because of the vault.
    vault_failures: AtomicU32,
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

struct TicketState {
    phase: Phase,
    /// Number of the current or last wait.
    wait_id: u64,
    /// Set if this wait's task came while the ticket was ending.
    missed: bool,
}

enum Phase {
    New,
    /// Waits for a thread, or for the time of the next try.
    Waiting,
    Running {
        cancel: CancelToken,
        stop: Option<StopReason>,
    },
    Ending,
    Ended(Result<OperationState>),
}

/// Outcome of a request to stop a ticket.
pub(super) enum StopOutcome {
    /// A try runs; its token was cancelled.
    Running,
    /// No try runs. The caller has the ticket: it must end it or [put it back](Ticket::put_back).
    Taken,
    /// The job has ended.
    Ended,
    /// Another thread is still ending the ticket; the wait for it timed out.
    Busy,
}

impl Ticket {
    pub(super) fn new(id: String, watcher: Option<Arc<dyn Progress>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::new(TicketState { phase: Phase::New, wait_id: 0, missed: false }),
            moved: Condvar::new(),
            counts: Counts::default(),
            watcher,
            by_id: AtomicBool::new(false),
            is_backing_off: AtomicBool::new(false),
            vault_failures: AtomicU32::new(0),
        })
    }

    /// Begins the try of a wait, and returns its cancel token.
    ///
    /// `None` if the wait is over or another thread has the ticket.
    pub(super) fn start(&self, wait_id: u64) -> Option<CancelToken> {
        let mut state = self.state.lock();
        if state.wait_id != wait_id {
            return None;
        }
        state.missed = matches!(state.phase, Phase::Ending);
        let Phase::Waiting = state.phase else { return None };
        let cancel = CancelToken::new();
        state.phase = Phase::Running { cancel: cancel.clone(), stop: None };
        self.is_backing_off.store(false, Ordering::Release);
        Some(cancel)
    }

    /// Returns why the running try must stop, if so.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        match &self.state.lock().phase {
            Phase::Running { stop, .. } => *stop,
            _ => None,
        }
    }

    /// Ends the try, which is being settled now; returns why it had to stop, if so.
    pub(super) fn end_try(&self) -> Option<StopReason> {
        match std::mem::replace(&mut self.state.lock().phase, Phase::Ending) {
            Phase::Running { stop, .. } => stop,
            _ => None,
        }
    }

    /// Begins to wait for a try, and returns the wait's number.
    pub(super) fn begin_wait(&self, is_backing_off: bool) -> u64 {
        let mut state = self.state.lock();
        self.is_backing_off.store(is_backing_off, Ordering::Release);
        state.phase = Phase::Waiting;
        self.moved.notify_all();
        state.next_wait()
    }

    /// Returns the ticket to waiting when a caller could not end it.
    ///
    /// Returns a new wait's number if the task came meanwhile, and must be queued again.
    pub(super) fn put_back(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.phase = Phase::Waiting;
        self.moved.notify_all();
        state.missed.then(|| state.next_wait())
    }

    /// Replaces the current wait by a new one; `None` if the ticket does not wait.
    pub(super) fn skip_wait(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let Phase::Waiting = state.phase else { return None };
        self.is_backing_off.store(false, Ordering::Release);
        Some(state.next_wait())
    }

    pub(super) fn end(&self, outcome: Result<OperationState>) {
        self.state.lock().phase = Phase::Ended(outcome);
        self.moved.notify_all();
    }

    /// Asks the job to stop.
    ///
    /// Waits at most `at_most` while another thread registers or ends the operation.
    pub(super) fn stop(&self, reason: StopReason, at_most: Duration) -> StopOutcome {
        let mut state = self.state.lock();
        let busy = |at: &mut TicketState| matches!(at.phase, Phase::New | Phase::Ending);
        self.moved.wait_while_for(&mut state, busy, at_most);
        match &mut state.phase {
            Phase::Running { cancel, stop } => {
                *stop = (*stop).max(Some(reason));
                cancel.cancel();
                StopOutcome::Running
            }
            Phase::Waiting => {
                state.phase = Phase::Ending;
                StopOutcome::Taken
            }
            Phase::New | Phase::Ending => StopOutcome::Busy,
            Phase::Ended(_) => StopOutcome::Ended,
        }
    }

    /// Returns whether the ticket waits for a thread, or soon will.
    pub(super) fn is_queued(&self) -> bool {
        let waits = matches!(self.state.lock().phase, Phase::New | Phase::Waiting);
        waits && !self.is_backing_off.load(Ordering::Acquire)
    }

    pub(super) fn set_by_id(&self) {
        self.by_id.store(true, Ordering::Release);
    }

    pub(super) fn is_by_id(&self) -> bool {
        self.by_id.load(Ordering::Acquire)
    }

    /// Counts a try that failed because of the vault; returns the number of successive ones.
    pub(super) fn count_vault_failure(&self) -> u32 {
        self.vault_failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn reset_vault_failures(&self) {
        self.vault_failures.store(0, Ordering::Relaxed);
    }

    fn wait(&self, at_most: Duration) -> Option<Result<OperationState>> {
        let mut state = self.state.lock();
        let is_open = |at: &mut TicketState| !matches!(at.phase, Phase::Ended(_));
        self.moved.wait_while_for(&mut state, is_open, at_most);
        match &state.phase {
            Phase::Ended(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }
}

impl TicketState {
    fn next_wait(&mut self) -> u64 {
        self.missed = false;
        self.wait_id += 1;
        self.wait_id
    }
}

impl Progress for Ticket {
    fn report(&self, done: u64, total: Option<u64>) {
        self.counts.total.store(total.unwrap_or(0), Ordering::Release);
        self.counts.done.store(done, Ordering::Release);
        if let Some(watcher) = &self.watcher {
            watcher.report(done, total);
        }
    }
}

/// A job of a [`Runner`](crate::runner::Runner), to wait for and to watch.
///
/// Dropping the handle does not stop the job.
#[derive(Clone)]
pub struct JobHandle {
    pub(super) ticket: Arc<Ticket>,
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("done", &self.done())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

impl JobHandle {
    /// Returns the operation's id.
    pub fn id(&self) -> &str {
        &self.ticket.id
    }

    /// Returns the units done, as the handler last reported.
    pub fn done(&self) -> u64 {
        self.ticket.counts.done.load(Ordering::Acquire)
    }

    /// Returns the total of units; 0 if the handler has not reported one.
    pub fn total(&self) -> u64 {
        self.ticket.counts.total.load(Ordering::Acquire)
    }

    /// Returns the fraction done, from 0 to 1, as last reported.
    pub fn progress(&self) -> f64 {
        match self.total() {
            0 => 0.0,
            total => (self.done() as f64 / total as f64).min(1.0),
        }
    }

    /// Waits until the job ends, and returns the operation's state.
    ///
    /// The operation is then completed, cancelled or paused, or has failed with no try left. After
    /// a shutdown of the runner it may be in any other state. `None` if that takes longer than
    /// `at_most`.
    ///
    /// An error is the reason why the runner could not continue: the vault was closed, or the
    /// operation was deleted, taken over or damaged. Errors that may pass (`Locked`, `Unavailable`,
    /// `Full`, `Uncertain`) are not returned: the runner tries again.
    pub fn wait(&self, at_most: Duration) -> Result<Option<OperationState>> {
        self.ticket.wait(at_most).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Arc<Ticket> {
        Ticket::new("op".into(), None)
    }

    fn stop(ticket: &Ticket) -> StopOutcome {
        ticket.stop(StopReason::Pause, Duration::ZERO)
    }

    #[test]
    fn new_ticket_counts_as_queued_and_does_not_start() {
        let ticket = ticket();
        assert!(ticket.is_queued() && ticket.start(0).is_none() && ticket.skip_wait().is_none());
        assert!(matches!(stop(&ticket), StopOutcome::Busy));
        let wait_id = ticket.begin_wait(true);
        assert!(!ticket.is_queued(), "it waits for a time, not for a thread");
        assert!(ticket.start(wait_id).is_some());
    }

    #[test]
    fn task_runs_only_for_its_own_wait() {
        let ticket = ticket();
        let first = ticket.begin_wait(true);
        let second = ticket.skip_wait().unwrap();
        assert!(ticket.is_queued() && ticket.start(first).is_none());
        assert!(ticket.start(second).is_some() && ticket.start(second).is_none());
        assert!(ticket.skip_wait().is_none(), "it runs");
        ticket.end_try();
        let third = ticket.begin_wait(false);
        assert!(ticket.start(second).is_none() && ticket.start(third).is_some());
    }

    #[test]
    fn ticket_put_back_waits_and_missed_task_is_requeued() {
        let ticket = ticket();
        let wait_id = ticket.begin_wait(false);
        assert!(matches!(stop(&ticket), StopOutcome::Taken));
        assert!(ticket.put_back().is_none(), "its task is still to come");
        assert!(matches!(stop(&ticket), StopOutcome::Taken));
        assert!(ticket.start(wait_id).is_none());
        let again = ticket.put_back().expect("its task has come");
        assert!(ticket.start(wait_id).is_none() && ticket.start(again).is_some());
    }
}
