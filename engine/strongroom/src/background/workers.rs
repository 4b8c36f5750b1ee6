//! A bounded pool of threads that run tasks, now or after a wait.
//!
//! Threads start when there is work and end when there has been none for a while. A pool knows
//! nothing of who owns it, so the last handle of a vault may be dropped on one of its own threads.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::bug;
use strongroom_base::component::Clock;
use strongroom_base::{Error, ErrorKind, Result};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// The longest sleep towards a task that is not due: a clock that is moved is noticed by then.
const NAP: Duration = Duration::from_millis(500);

pub(super) type Task = Box<dyn FnOnce() + Send>;

/// The pool. Dropped, it takes no more tasks and drops those that have not begun.
pub(crate) struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    name: &'static str,
    threads_max: usize,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Numbers the tasks, so that those of one time run in order.
    next: u64,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Waiting {
    due: Duration,
    number: u64,
    task: Task,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.pool.name).finish_non_exhaustive()
    }
}

impl Workers {
    /// A pool of at most so many threads, called `name`.
    pub(crate) fn new(name: &'static str, threads_max: usize, clock: Arc<dyn Clock>) -> Self {
        let (queue, changed) = (Mutex::default(), Condvar::new());
        Self { pool: Arc::new(Pool { name, threads_max, clock, queue, changed }) }
    }

    /// Queues a task that is due after `wait`. `Closed` if the pool is, `Unavailable` if no thread
    /// could be started and none is there.
    pub(crate) fn spawn(&self, wait: Duration, task: impl FnOnce() + Send + 'static) -> Result<()> {
        const SPAWN: &str = "start in background";
        let pool = &self.pool;
        let mut queue = pool.queue.lock();
        if queue.closed {
            return Err(Error::new(ErrorKind::Closed, SPAWN));
        }
        let waiting = queue.waiting.len() + 1;
        if waiting > queue.idle && queue.threads < pool.threads_max {
            let own = Arc::clone(pool);
            match Builder::new().name(pool.name.into()).spawn(move || own.work()) {
                Ok(_) => queue.threads += 1,
                Err(e) if queue.threads == 0 => return Err(Error::io(SPAWN, e)),
                // Those that are there take it in turn.
                Err(_) => {}
            }
        }
        let number = queue.next;
        queue.next += 1;
        let due = pool.clock.monotonic().saturating_add(wait);
        queue.waiting.push(Reverse(Waiting { due, number, task: Box::new(bug::carry(task)) }));
        drop(queue);
        pool.changed.notify_one();
        Ok(())
    }

    /// Takes no more tasks, and drops those that have not begun.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut queue = self.pool.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        self.pool.changed.notify_all();
        // Outside the lock: whatever a task holds may come back here.
        drop(dropped);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pool {
    fn work(&self) {
        while let Some(task) = self.next() {
            // Tasks tell their own panics; this keeps the thread whatever they do.
            if catch_unwind(AssertUnwindSafe(task)).is_err() {
                tracing::warn!("a task in the background panicked");
            }
        }
    }

    /// The next task that is due; `None` when this thread is to end.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        let mut idle = Duration::ZERO;
        loop {
            if queue.closed {
                break;
            }
            let now = self.clock.monotonic();
            let wait = match queue.waiting.peek() {
                Some(Reverse(next)) if next.due <= now => {
                    return queue.waiting.pop().map(|Reverse(next)| next.task);
                }
                Some(Reverse(next)) => next.due.saturating_sub(now).min(NAP),
                None if idle >= IDLE => break,
                None => NAP,
            };
            queue.idle += 1;
            let timed_out = self.changed.wait_for(&mut queue, wait).timed_out();
            queue.idle -= 1;
            idle = if timed_out { idle + wait } else { Duration::ZERO };
        }
        queue.threads -= 1;
        None
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use crossbeam_channel::bounded;
    use strongroom_base::component::SystemClock;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn pool(threads: usize) -> Workers {
        Workers::new("test", threads, Arc::new(SystemClock::new()))
    }

    #[test]
    fn no_more_threads_work_at_once_than_allowed_and_a_panic_costs_none() {
        let workers = pool(3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, ended) = bounded(100);
        for n in 0..60 {
            let (now, most, done) = (Arc::clone(&now), Arc::clone(&most), done.clone());
            let task = move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, SeqCst);
                done.send(()).unwrap();
                if n % 5 == 0 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            };
            workers.spawn(Duration::ZERO, task).unwrap();
        }
        for _ in 0..60 {
            ended.recv_timeout(LONG).unwrap();
        }
        assert!(most.load(SeqCst) <= 3);
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_are_due() {
        let workers = pool(1);
        let (done, ended) = bounded(10);
        for (n, millis) in [(3, 60), (1, 0), (2, 30)] {
            let done = done.clone();
            workers.spawn(Duration::from_millis(millis), move || done.send(n).unwrap()).unwrap();
        }
        let order: Vec<_> = (0..3).map(|_| ended.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn closing_drops_what_has_not_begun_and_refuses_more() {
        let workers = pool(1);
        let (alive, dropped) = bounded::<()>(0);
        workers.spawn(Duration::from_secs(3_600), move || drop(alive)).unwrap();
        workers.close();
        dropped.recv_timeout(LONG).unwrap_err();
        let refused = workers.spawn(Duration::ZERO, || ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed);
    }
}
