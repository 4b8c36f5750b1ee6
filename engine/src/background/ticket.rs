//! An operation in a runner's hands, for those who wait for it, watch it or stop it.
//!
//! ```text
//! waiting <---> running ---> ending ---> ended
//!    \______________________/   |
//!    ^__________________________|  (it is tried again)
//! ```
//!
//! The phase's lock is never held while host code or a commit runs: whoever ends a ticket makes it
//! *ending* first, and others wait for that to pass.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_backends::Result;

use crate::operations::OperationState;
use crate::progress::{CancelToken, Progress};

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
    phase: Mutex<Phase>,
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

enum Phase {
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
    /// No try runs: whoever asks has it, and ends it or [puts it back](Ticket::wait_again).
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
            phase: Mutex::new(Phase::Waiting),
            moved: Condvar::new(),
            counts: Counts::default(),
            watcher,
            by_id: AtomicBool::new(false),
            backs_off: AtomicBool::new(false),
            troubles: AtomicU32::new(0),
        })
    }

    /// Begins a try; the token that stops it. `None` if another has it, or it is over.
    pub(super) fn start(&self) -> Option<CancelToken> {
        let mut phase = self.phase.lock();
        let Phase::Waiting = *phase else { return None };
        let cancel = CancelToken::new();
        *phase = Phase::Running { cancel: cancel.clone(), stop: None };
        self.backs_off.store(false, Ordering::Release);
        Some(cancel)
    }

    /// Why the try that runs was asked to stop.
    pub(super) fn stopped(&self) -> Option<Stop> {
        match &*self.phase.lock() {
            Phase::Running { stop, .. } => *stop,
            Phase::Waiting | Phase::Ending | Phase::Ended(_) => None,
        }
    }

    /// The try is over, and is being settled; why it was asked to stop, up to now.
    pub(super) fn end_try(&self) -> Option<Stop> {
        match std::mem::replace(&mut *self.phase.lock(), Phase::Ending) {
            Phase::Running { stop, .. } => stop,
            Phase::Waiting | Phase::Ending | Phase::Ended(_) => None,
        }
    }

    /// There will be another try.
    pub(super) fn wait_again(&self, backs_off: bool) {
        self.backs_off.store(backs_off, Ordering::Release);
        *self.phase.lock() = Phase::Waiting;
        self.moved.notify_all();
    }

    pub(super) fn end(&self, outcome: Result<OperationState>) {
        *self.phase.lock() = Phase::Ended(outcome);
        self.moved.notify_all();
    }

    /// Asks it to stop. Waits for whoever ends it at this moment, at most so long.
    pub(super) fn stop(&self, why: Stop, at_most: Duration) -> Asked {
        let mut phase = self.phase.lock();
        let ends = |phase: &mut Phase| matches!(phase, Phase::Ending);
        self.moved.wait_while_for(&mut phase, ends, at_most);
        match &mut *phase {
            Phase::Running { cancel, stop } => {
                *stop = (*stop).max(Some(why));
                cancel.cancel();
                Asked::Running
            }
            Phase::Waiting => {
                *phase = Phase::Ending;
                Asked::Yours
            }
            Phase::Ending => Asked::Busy,
            Phase::Ended(_) => Asked::Ended,
        }
    }

    /// Whether it waits for a thread.
    pub(super) fn is_queued(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Waiting) && !self.backs_off.load(Ordering::Acquire)
    }

    /// Whether it waits, for a thread or for a time.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Waiting)
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
        let mut phase = self.phase.lock();
        let goes_on = |phase: &mut Phase| !matches!(phase, Phase::Ended(_));
        self.moved.wait_while_for(&mut phase, goes_on, at_most);
        match &*phase {
            Phase::Ended(outcome) => Some(outcome.clone()),
            Phase::Waiting | Phase::Running { .. } | Phase::Ending => None,
        }
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

/// An operation that a [`Runner`](crate::Runner) has, to wait for and to watch. Dropped, it goes on.
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
