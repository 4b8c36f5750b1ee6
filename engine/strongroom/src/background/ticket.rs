//! An operation in a runner's hands, for those who wait for it, watch it or stop it.
//!
//! ```text
//! new ---> waiting <---> running ---> ending ---> ended
//!             \______________________/   |
//!             ^__________________________|  (it is tried again, or waits on)
//! ```
//!
//! The phase's lock is never held while host code or a commit runs: a ticket is *new* while its
//! operation is made known, and whoever ends it makes it *ending* first; others wait for that to
//! pass.
//!
//! Each time that it begins to wait is a turn of its own. A task runs in its own turn alone, so one
//! that was queued for a later time does nothing once the ticket was hurried.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::Result;

use crate::operations::OperationState;
use strongroom_base::{CancelToken, Progress};

/// The longest wait for somebody who ends a ticket: a commit, and what it waits for.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(60);

/// Why a job is to stop. A later reason replaces an earlier one only if it is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    Shutdown,
    Pause,
    Cancel,
}

pub(super) struct Ticket {
    pub(super) id: String,
    standing: Mutex<Standing>,
    moved: Condvar,
    counts: Counts,
    watcher: Option<Arc<dyn Progress>>,
    /// Somebody asked for it by its id: that it was paused does not hold it.
    by_id: AtomicBool,
    /// It waits for a time, not for a thread.
    backs_off: AtomicBool,
    /// Tries in a row that the vault did not let happen.
    troubles: AtomicU32,
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

struct Standing {
    phase: Phase,
    /// Numbers the times that it has waited.
    turn: u64,
    /// The task of this turn came while somebody was about to end it.
    missed: bool,
}

enum Phase {
    New,
    /// For its turn, or until it is to be tried again.
    Waiting,
    Running {
        cancel: CancelToken,
        stop: Option<Stop>,
    },
    Ending,
    Ended(Result<OperationState>),
}

/// What asking a ticket to stop came to.
pub(super) enum Asked {
    /// A try runs, and was told.
    Running,
    /// No try runs: whoever asks has it, and ends it or [puts it back](Ticket::put_back).
    Yours,
    /// It is over.
    Ended,
    /// Whoever ends it at this moment takes longer.
    Busy,
}

impl Ticket {
    pub(super) fn new(id: String, watcher: Option<Arc<dyn Progress>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            standing: Mutex::new(Standing { phase: Phase::New, turn: 0, missed: false }),
            moved: Condvar::new(),
            counts: Counts::default(),
            watcher,
            by_id: AtomicBool::new(false),
            backs_off: AtomicBool::new(false),
            troubles: AtomicU32::new(0),
        })
    }

    /// Begins the try of that turn; the token that stops it. `None` if another has it, or it is over.
    pub(super) fn start(&self, turn: u64) -> Option<CancelToken> {
        let mut standing = self.standing.lock();
        if standing.turn != turn {
            return None;
        }
        standing.missed = matches!(standing.phase, Phase::Ending);
        let Phase::Waiting = standing.phase else { return None };
        let cancel = CancelToken::new();
        standing.phase = Phase::Running { cancel: cancel.clone(), stop: None };
        self.backs_off.store(false, Ordering::Release);
        Some(cancel)
    }

    /// Why the try that runs was asked to stop.
    pub(super) fn stopped(&self) -> Option<Stop> {
        match &self.standing.lock().phase {
            Phase::Running { stop, .. } => *stop,
            _ => None,
        }
    }

    /// The try is over, and is being settled; why it was asked to stop, up to now.
    pub(super) fn end_try(&self) -> Option<Stop> {
        match std::mem::replace(&mut self.standing.lock().phase, Phase::Ending) {
            Phase::Running { stop, .. } => stop,
            _ => None,
        }
    }

    /// There will be a try, the first or another; its turn.
    pub(super) fn wait_turn(&self, backs_off: bool) -> u64 {
        let mut standing = self.standing.lock();
        self.backs_off.store(backs_off, Ordering::Release);
        standing.phase = Phase::Waiting;
        self.moved.notify_all();
        standing.next_turn()
    }

    /// It waits on, as before somebody was about to end it; the turn, if its task has come meanwhile.
    pub(super) fn put_back(&self) -> Option<u64> {
        let mut standing = self.standing.lock();
        standing.phase = Phase::Waiting;
        self.moved.notify_all();
        standing.missed.then(|| standing.next_turn())
    }

    /// Another turn in place of the one that it waits for; `None` if it does not wait.
    pub(super) fn hurry(&self) -> Option<u64> {
        let mut standing = self.standing.lock();
        let Phase::Waiting = standing.phase else { return None };
        self.backs_off.store(false, Ordering::Release);
        Some(standing.next_turn())
    }

    pub(super) fn end(&self, outcome: Result<OperationState>) {
        self.standing.lock().phase = Phase::Ended(outcome);
        self.moved.notify_all();
    }

    /// Asks it to stop. Waits for whoever brings it in or ends it at this moment, at most so long.
    pub(super) fn stop(&self, why: Stop, at_most: Duration) -> Asked {
        let mut standing = self.standing.lock();
        let busy = |at: &mut Standing| matches!(at.phase, Phase::New | Phase::Ending);
        self.moved.wait_while_for(&mut standing, busy, at_most);
        match &mut standing.phase {
            Phase::Running { cancel, stop } => {
                *stop = (*stop).max(Some(why));
                cancel.cancel();
                Asked::Running
            }
            Phase::Waiting => {
                standing.phase = Phase::Ending;
                Asked::Yours
            }
            Phase::New | Phase::Ending => Asked::Busy,
            Phase::Ended(_) => Asked::Ended,
        }
    }

    /// Whether it waits for a thread, or soon will.
    pub(super) fn is_queued(&self) -> bool {
        let waits = matches!(self.standing.lock().phase, Phase::New | Phase::Waiting);
        waits && !self.backs_off.load(Ordering::Acquire)
    }

    pub(super) fn ask_by_id(&self) {
        self.by_id.store(true, Ordering::Release);
    }

    pub(super) fn is_by_id(&self) -> bool {
        self.by_id.load(Ordering::Acquire)
    }

    /// One more try that the vault did not let happen; how many that makes in a row.
    pub(super) fn trouble(&self) -> u32 {
        self.troubles.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn no_trouble(&self) {
        self.troubles.store(0, Ordering::Relaxed);
    }

    fn wait(&self, at_most: Duration) -> Option<Result<OperationState>> {
        let mut standing = self.standing.lock();
        let goes_on = |at: &mut Standing| !matches!(at.phase, Phase::Ended(_));
        self.moved.wait_while_for(&mut standing, goes_on, at_most);
        match &standing.phase {
            Phase::Ended(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }
}

impl Standing {
    fn next_turn(&mut self) -> u64 {
        self.missed = false;
        self.turn += 1;
        self.turn
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

/// An operation that a [`Runner`](crate::runner::Runner) has, to wait for and to watch. Dropped, it goes on.
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
    /// The operation's id.
    pub fn id(&self) -> &str {
        &self.ticket.id
    }

    /// What its handler told last: units done.
    pub fn done(&self) -> u64 {
        self.ticket.counts.done.load(Ordering::Acquire)
    }

    /// And of how many; 0 if it has not said.
    pub fn total(&self) -> u64 {
        self.ticket.counts.total.load(Ordering::Acquire)
    }

    /// How much of it is done, 0 to 1, by what its handler told last.
    pub fn progress(&self) -> f64 {
        match self.total() {
            0 => 0.0,
            total => (self.done() as f64 / total as f64).min(1.0),
        }
    }

    /// Waits until the runner is done with it: it is completed, cancelled or paused, or it failed
    /// and will not be tried again; or the runner was shut down, and it is in whatever state that
    /// left it. `None` if that takes longer than `at_most`.
    ///
    /// An error is what kept the runner from going on with it: the vault was closed, the operation
    /// was removed or taken over, or it is damaged. What may pass (`Locked`, `Unavailable`, `Full`,
    /// `Uncertain`) is no such error: the runner tries again.
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

    fn stop(ticket: &Ticket) -> Asked {
        ticket.stop(Stop::Pause, Duration::ZERO)
    }

    #[test]
    fn one_that_is_new_takes_a_place_and_nobody_else_has_it() {
        let ticket = ticket();
        assert!(ticket.is_queued() && ticket.start(0).is_none() && ticket.hurry().is_none());
        assert!(matches!(stop(&ticket), Asked::Busy));
        let turn = ticket.wait_turn(true);
        assert!(!ticket.is_queued(), "it waits for a time, not for a thread");
        assert!(ticket.start(turn).is_some());
    }

    #[test]
    fn a_task_runs_in_its_own_turn_alone() {
        let ticket = ticket();
        let first = ticket.wait_turn(true);
        let second = ticket.hurry().unwrap();
        assert!(ticket.is_queued() && ticket.start(first).is_none());
        assert!(ticket.start(second).is_some() && ticket.start(second).is_none());
        assert!(ticket.hurry().is_none(), "it runs");
        ticket.end_try();
        let third = ticket.wait_turn(false);
        assert!(ticket.start(second).is_none() && ticket.start(third).is_some());
    }

    #[test]
    fn what_is_put_back_waits_on_and_a_task_that_came_meanwhile_comes_again() {
        let ticket = ticket();
        let turn = ticket.wait_turn(false);
        assert!(matches!(stop(&ticket), Asked::Yours));
        assert!(ticket.put_back().is_none(), "its task is still to come");
        assert!(matches!(stop(&ticket), Asked::Yours));
        assert!(ticket.start(turn).is_none());
        let again = ticket.put_back().expect("its task has come");
        assert!(ticket.start(turn).is_none() && ticket.start(again).is_some());
    }
}
