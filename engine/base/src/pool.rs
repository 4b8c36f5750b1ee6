//! A bounded pool of named threads.
//!
//! Only this code starts threads, except the runtime of the object stores.
//!
//! Threads start when work arrives, and end after some time without work. A pool does not know its
//! owner, so it may be dropped on one of its own threads.
//!
//! There are three ways to use a pool:
//!
//! - [`spawn`](Pool::spawn) queues a task, due now or after a wait. No caller waits for it, so a
//!   full queue refuses it.
//! - [`start`](Pool::start) queues a [`Job`], whose outcome a caller waits for. If no thread has
//!   begun the job, that caller runs it. A job therefore needs neither a thread nor room in the
//!   queue.
//! - [`run_all`](Pool::run_all) calls a function for each item of a slice. The caller works too, so
//!   the call ends even if the pool has no free thread.
//!
//! No wait in this file depends on a free thread, and tasks of a pool may use the pool themselves.

mod job;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::bug;
use crate::component::{Clock, HomeProcess};
use crate::error::{Error, ErrorKind, Result};

pub use job::Job;

/// Time after which a thread without work ends.
const IDLE: Duration = Duration::from_secs(10);

/// Longest sleep before a task is due. A clock that was moved is noticed by then.
const NAP: Duration = Duration::from_millis(500);

const SPAWN: &str = "start in background";

type Task = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads.
///
/// A dropped pool takes no more tasks and drops those that have not begun. Running tasks continue,
/// and nothing waits for them.
pub struct Pool {
    shared: Arc<Shared>,
    home: HomeProcess,
}

struct Shared {
    name: &'static str,
    threads_max: usize,
    queue_max: usize,
    idle_max: Duration,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<QueuedJob>>,
    /// Number of the next task. Tasks that are due at the same time run in this order.
    next: u64,
    threads: usize,
    idle: usize,
    /// Threads of `run_all`, which count towards the pool's limit.
    guests: usize,
    closed: bool,
}

struct QueuedJob {
    due: Duration,
    number: u64,
    task: Task,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl Pool {
    /// Makes a pool of at most `threads_max` working threads, called `name`.
    ///
    /// A limit of 0 counts as 1. At most `queue_max` tasks wait. No thread starts before there is
    /// work. Waits are measured on `clock`.
    pub fn new(
        name: &'static str,
        threads_max: usize,
        queue_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::with_idle_max(name, threads_max, queue_max, clock, IDLE)
    }

    fn with_idle_max(
        name: &'static str,
        threads_max: usize,
        queue_max: usize,
        clock: Arc<dyn Clock>,
        idle_max: Duration,
    ) -> Self {
        let (threads_max, queue, changed) = (threads_max.max(1), Mutex::default(), Condvar::new());
        let shared = Shared { name, threads_max, queue_max, idle_max, clock, queue, changed };
        Self { shared: Arc::new(shared), home: HomeProcess::current() }
    }

    /// Queues a task that is due after `wait`. Tasks due at the same time begin in order.
    ///
    /// `Closed` if the pool is closed. `Unavailable` if its queue is full, or if it has no thread
    /// and cannot start one. A panic of the task is logged and ends nothing else.
    pub fn spawn(&self, wait: Duration, task: impl FnOnce() + Send + 'static) -> Result<()> {
        let shared = &self.shared;
        let mut queue = shared.queue.lock();
        if queue.closed {
            return Err(Error::new(ErrorKind::Closed, SPAWN));
        }
        let waiting = queue.waiting.len() + 1;
        if waiting > shared.queue_max {
            let detail = format!("{} tasks wait already", shared.queue_max);
            return Err(Error::new(ErrorKind::Unavailable, SPAWN).with_detail(detail));
        }
        if waiting > queue.idle && queue.threads < shared.threads_max {
            let own = Arc::clone(shared);
            match Builder::new().name(shared.name.into()).spawn(move || own.work()) {
                Ok(_) => queue.threads += 1,
                Err(e) if queue.threads == 0 => return Err(Error::io(SPAWN, e)),
                // The existing threads take the task in turn.
                Err(_) => {}
            }
        }
        let number = queue.next;
        queue.next += 1;
        let due = shared.clock.monotonic().saturating_add(wait);
        queue.waiting.push(Reverse(QueuedJob { due, number, task: Box::new(bug::carry(task)) }));
        drop(queue);
        shared.changed.notify_one();
        Ok(())
    }

    /// Queues a job, for a caller that waits for its outcome.
    ///
    /// If the pool is closed, its queue is full or no thread can start, the job is not queued: its
    /// [`wait`](Job::wait) runs it.
    pub fn start<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Job<R> {
        let job = Job::new(job);
        // If the queue refuses the job, the waiting caller runs it.
        let _ = self.spawn(Duration::ZERO, job.runner());
        job
    }

    /// Returns the results of `call` for all `items`, in their order.
    ///
    /// At most `at_most` calls run at once: one on the calling thread, the others on threads that
    /// the pool's limit allows. After an error no more calls begin; of several errors the first in
    /// the order is returned. All calls have ended when it returns. A panic of a call is
    /// propagated.
    pub fn run_all<T: Sync, R: Send>(
        &self,
        items: &[T],
        at_most: usize,
        call: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let at_most = at_most.min(items.len());
        if at_most <= 1 {
            return items.iter().map(call).collect();
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut answers = Vec::new();
            while !failed.load(Relaxed)
                && let number = next.fetch_add(1, Relaxed)
                && let Some(item) = items.get(number)
            {
                let answer = call(item);
                if answer.is_err() {
                    failed.store(true, Relaxed);
                }
                answers.push((number, answer));
            }
            answers
        };
        let guests = GuestThreads::enter(&self.shared, at_most - 1);
        // These threads borrow from the caller, so they cannot be threads of the pool.
        let mut answers = thread::scope(|scope| {
            let start = |_| Builder::new().name(self.shared.name.into()).spawn_scoped(scope, work);
            let started: Vec<_> = (0..guests.count).map_while(|n| start(n).ok()).collect();
            let mut answers = work();
            for thread in started {
                answers.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            answers
        });
        drop(guests);
        answers.sort_unstable_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Closes the pool to new tasks, and drops tasks not begun.
    pub fn close(&self) {
        let dropped = {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        self.shared.changed.notify_all();
        // Dropped outside the lock, because dropping a task may call the pool.
        drop(dropped);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a forked child, the queue may be locked for ever by a thread of the parent.
        if self.home.is_current() {
            self.close();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(task) = self.next() {
            if catch_unwind(AssertUnwindSafe(task)).is_err() {
                tracing::warn!(pool = self.name, "a task in the background panicked");
            }
        }
    }

    /// Returns the next task that is due; `None` if this thread should end.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        let mut idle = Duration::ZERO;
        while !queue.closed {
            let now = self.clock.monotonic();
            let next_due = queue.waiting.peek().map(|Reverse(next)| next.due);
            let others = queue.threads - queue.idle - 1 + queue.guests;
            let wait = match next_due {
                Some(due) if due > now => due.saturating_sub(now).min(NAP),
                Some(_) if others < self.threads_max => {
                    return queue.waiting.pop().map(|Reverse(next)| next.task);
                }
                // Each guest wakes one thread when it leaves.
                _ => self.idle_max,
            };
            // One thread is enough to wait for tasks that are not due.
            if idle >= self.idle_max && (next_due.is_none() || queue.idle > 0) {
                break;
            }
            queue.idle += 1;
            let timed_out = self.changed.wait_for(&mut queue, wait).timed_out();
            queue.idle -= 1;
            idle = if timed_out { idle + wait } else { Duration::ZERO };
        }
        queue.threads -= 1;
        None
    }
}

/// Room for threads outside the pool, returned when dropped.
struct GuestThreads<'a> {
    pool: &'a Shared,
    count: usize,
}

impl<'a> GuestThreads<'a> {
    /// Takes room for at most `most` threads, as far as available.
    fn enter(pool: &'a Shared, most: usize) -> Self {
        let mut queue = pool.queue.lock();
        let working = queue.threads - queue.idle + queue.guests;
        let count = most.min(pool.threads_max.saturating_sub(working));
        queue.guests += count;
        Self { pool, count }
    }
}

impl Drop for GuestThreads<'_> {
    fn drop(&mut self) {
        self.pool.queue.lock().guests -= self.count;
        for _ in 0..self.count {
            self.pool.changed.notify_one();
        }
    }
}

impl Ord for QueuedJob {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for QueuedJob {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for QueuedJob {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for QueuedJob {}
