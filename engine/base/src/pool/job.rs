//! A job: work whose outcome a caller waits for.
//!
//! The caller runs the job itself if no thread has begun it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

/// Work whose outcome a caller waits for.
///
/// Dropping it prevents the start. If it has begun, it continues, and its outcome is dropped.
#[must_use = "a job that is dropped may never run"]
pub struct Job<R> {
    cell: Arc<Cell<R>>,
}

struct Cell<R> {
    stage: Mutex<Stage<R>>,
    ended: Condvar,
}

enum Stage<R> {
    Waiting(Box<dyn FnOnce() -> R + Send>),
    Running,
    Ended(thread::Result<R>),
    /// The outcome was taken, or is not wanted.
    Done,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl<R> Cell<R> {
    /// Runs the job, unless another thread has begun it.
    fn run(&self) {
        let job = {
            let mut stage = self.stage.lock();
            match std::mem::replace(&mut *stage, Stage::Running) {
                Stage::Waiting(job) => job,
                other => {
                    *stage = other;
                    return;
                }
            }
        };
        // The job's captures are dropped before its end becomes visible.
        let outcome = catch_unwind(AssertUnwindSafe(job));
        *self.stage.lock() = Stage::Ended(outcome);
        self.ended.notify_all();
    }

    /// Drops a job that has not begun.
    fn forget(&self) {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Waiting(_)) {
            let job = std::mem::replace(&mut *stage, Stage::Done);
            drop(stage);
            drop(job);
        }
    }

    /// Waits for the end of a job that has begun.
    fn outcome(&self) -> Option<thread::Result<R>> {
        let mut stage = self.stage.lock();
        self.ended.wait_while(&mut stage, |stage| matches!(stage, Stage::Running));
        match std::mem::replace(&mut *stage, Stage::Done) {
            Stage::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }
}

impl<R> Job<R> {
    /// Makes a job that has not begun.
    pub(super) fn new(job: impl FnOnce() -> R + Send + 'static) -> Self {
        let stage = Mutex::new(Stage::Waiting(Box::new(job)));
        Self { cell: Arc::new(Cell { stage, ended: Condvar::new() }) }
    }

    /// Returns a closure that runs the job, unless it has begun.
    pub(super) fn runner(&self) -> impl FnOnce() + use<R> {
        let cell = Arc::clone(&self.cell);
        move || cell.run()
    }

    /// Returns whether the job has ended.
    pub fn has_ended(&self) -> bool {
        matches!(*self.cell.stage.lock(), Stage::Ended(_))
    }

    /// Waits for the outcome, or runs the job here if not begun.
    ///
    /// `Err` is the job's panic.
    pub fn wait(self) -> thread::Result<R> {
        self.cell.run();
        self.cell.outcome().expect("only this takes the outcome")
    }

    /// Cancels the job if no thread has begun it; otherwise waits for its outcome.
    pub fn cancel(self) -> Option<thread::Result<R>> {
        self.cell.forget();
        self.cell.outcome()
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        self.cell.forget();
    }
}
