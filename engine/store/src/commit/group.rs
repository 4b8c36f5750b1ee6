//! Group commit: prepared work of many threads in one transaction, with one sync.
//!
//! Threads queue up. The thread at the head leads: it waits for the write turn, takes all pieces in
//! the queue, checks and applies them in order, commits once, and distributes the results. Then the
//! next head leads. A piece whose check fails gets its own error and has written nothing. If the
//! commit fails, all of its pieces get that error.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::tx::Tx;
use super::writer::{Turn, Writer};

/// Most pieces of work in one commit.
const GROUP_MAX: usize = 256;

/// Prepared work. After its check only the storage can fail it.
pub trait Work: Send {
    /// Checks the work against the transaction so far. Writes nothing.
    fn check(&self, tx: &Tx<'_>) -> Result<()>;

    /// Makes the changes.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()>;
}

/// The queue of one vault.
#[derive(Debug, Default)]
pub(super) struct Group {
    queue: Mutex<VecDeque<Arc<Ticket>>>,
}

struct Ticket {
    stage: Mutex<Stage>,
    moved: Condvar,
}

enum Stage {
    Waiting(Box<dyn Work>),
    /// Its thread heads the queue and leads the commit.
    Leading(Box<dyn Work>),
    /// A leader has taken the piece.
    Taken,
    Done(Result<()>),
    /// The result was fetched, or the wait ended.
    Gone,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// One piece, taken by a leader.
pub(super) struct QueuedWork {
    ticket: Arc<Ticket>,
    work: Box<dyn Work>,
    outcome: Result<()>,
}

impl Group {
    /// Queues `work` and returns its result.
    ///
    /// If this thread leads, `commit` runs a transaction over all pieces.
    pub(super) fn submit(
        &self,
        operation: &'static str,
        writer: &Writer,
        work: Box<dyn Work>,
        commit: impl FnOnce(&Turn<'_>, &mut [QueuedWork]) -> Result<()>,
    ) -> Result<()> {
        writer.refuse_nested(operation)?;
        let ticket =
            Arc::new(Ticket { stage: Mutex::new(Stage::Waiting(work)), moved: Condvar::new() });
        let at_head = {
            let mut queue = self.queue.lock();
            queue.push_back(Arc::clone(&ticket));
            queue.len() == 1
        };
        if at_head {
            ticket.promote();
        }
        match ticket.wait(operation, writer.timeout()) {
            WaitOutcome::Done(outcome) => outcome,
            WaitOutcome::Lead => self.lead(operation, writer, &ticket, commit),
            WaitOutcome::TooLong(error) => {
                self.leave(&ticket);
                Err(error)
            }
        }
    }

    fn lead(
        &self,
        operation: &'static str,
        writer: &Writer,
        own: &Arc<Ticket>,
        commit: impl FnOnce(&Turn<'_>, &mut [QueuedWork]) -> Result<()>,
    ) -> Result<()> {
        let turn = match writer.acquire(operation) {
            Ok(turn) => turn,
            Err(error) => {
                self.leave(own);
                return Err(error);
            }
        };
        let mut led = LedCommit { group: self, pieces: self.take(), finished: false };
        let outcome = commit(&turn, &mut led.pieces);
        drop(turn);
        if let Err(error) = outcome {
            for piece in &mut led.pieces {
                // A refused piece was not part of the commit.
                if piece.outcome.is_ok() {
                    piece.outcome = Err(error.clone());
                }
            }
        }
        led.finished = true;
        led.pieces[0].outcome.clone()
    }

    /// Takes the queued pieces, the leading head first.
    fn take(&self) -> Vec<QueuedWork> {
        let queue = self.queue.lock();
        queue.iter().take(GROUP_MAX).filter_map(Ticket::take).collect()
    }

    /// Removes a ticket whose wait ended without a result.
    fn leave(&self, ticket: &Arc<Ticket>) {
        let mut queue = self.queue.lock();
        let was_head = queue.front().is_some_and(|head| Arc::ptr_eq(head, ticket));
        queue.retain(|other| !Arc::ptr_eq(other, ticket));
        if was_head && let Some(head) = queue.front() {
            head.promote();
        }
    }
}

/// Pieces of a running commit.
///
/// Whichever way leading ends, also by a panic, each piece gets a result and the queue a new head.
struct LedCommit<'a> {
    group: &'a Group,
    pieces: Vec<QueuedWork>,
    /// The outcomes are known.
    finished: bool,
}

impl Drop for LedCommit<'_> {
    fn drop(&mut self) {
        // The work is dropped first, so that callers with a result find its resources released.
        let pieces: Vec<_> = self
            .pieces
            .drain(..)
            .map(|QueuedWork { ticket, work, outcome }| {
                drop(work);
                (ticket, outcome)
            })
            .collect();
        let mut queue = self.group.queue.lock();
        for (ticket, outcome) in pieces {
            queue.retain(|other| !Arc::ptr_eq(other, &ticket));
            let outcome = if self.finished {
                outcome
            } else {
                Err(Error::new(ErrorKind::Uncertain, "apply batch")
                    .with_detail("the thread that led the commit panicked"))
            };
            *ticket.stage.lock() = Stage::Done(outcome);
            ticket.moved.notify_one();
        }
        if let Some(head) = queue.front() {
            head.promote();
        }
    }
}

enum WaitOutcome {
    Done(Result<()>),
    Lead,
    TooLong(Error),
}

impl Ticket {
    /// Makes its thread the leader.
    fn promote(&self) {
        let mut stage = self.stage.lock();
        *stage = match std::mem::replace(&mut *stage, Stage::Gone) {
            Stage::Waiting(work) => Stage::Leading(work),
            other => other,
        };
        self.moved.notify_one();
    }

    fn take(self: &Arc<Self>) -> Option<QueuedWork> {
        let mut stage = self.stage.lock();
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Waiting(work) | Stage::Leading(work) => {
                Some(QueuedWork { ticket: Arc::clone(self), work, outcome: Ok(()) })
            }
            other => {
                *stage = other;
                None
            }
        }
    }

    fn wait(&self, operation: &'static str, timeout: std::time::Duration) -> WaitOutcome {
        let mut stage = self.stage.lock();
        loop {
            match &*stage {
                Stage::Leading(_) => return WaitOutcome::Lead,
                Stage::Done(_) => {
                    let Stage::Done(outcome) = std::mem::replace(&mut *stage, Stage::Gone) else {
                        unreachable!("matched above")
                    };
                    return WaitOutcome::Done(outcome);
                }
                _ => {}
            }
            // A piece that a leader has taken gets its result from the leader. Giving up here would
            // make a known outcome unknown. The leader's own waits are bounded.
            let timed_out = self.moved.wait_for(&mut stage, timeout).timed_out();
            if timed_out && matches!(*stage, Stage::Waiting(_)) {
                *stage = Stage::Gone;
                return WaitOutcome::TooLong(
                    Error::new(ErrorKind::Locked, operation)
                        .with_reason(Reason::WriteTimeout)
                        .with_detail(format!(
                            "earlier writes did not end within {} s",
                            timeout.as_secs_f32()
                        )),
                );
            }
        }
    }
}

/// Checks and applies each piece in order.
///
/// An error is a failure of the storage, which concerns all pieces, or a refusal that left nothing
/// to commit.
pub(super) fn apply_pieces(pieces: &mut [QueuedWork], tx: &mut Tx<'_>) -> Result<()> {
    let mut refusal = None;
    let mut applied = false;
    for piece in pieces {
        match piece.work.check(tx) {
            Ok(()) => {
                piece.work.apply(tx)?;
                applied = true;
            }
            Err(refused) => {
                piece.outcome = Err(refused.clone());
                refusal = Some(refused);
            }
        }
    }
    match refusal {
        Some(refusal) if !applied => Err(refusal),
        _ => Ok(()),
    }
}
