//! The guarantees of a pool: limits, order, end, and waits without free threads.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::component::SystemClock;

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn pool(threads: usize) -> Pool {
    Pool::new("test", threads, 1_000, Arc::new(SystemClock::new()))
}

/// A count of calls that run at the same time.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    fn visit(&self) {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::yield_now();
        self.now.fetch_sub(1, SeqCst);
    }
}

/// Keeps one thread of the pool busy until the sender is dropped.
fn occupy(pool: &Pool) -> Sender<()> {
    let (begun, has_begun) = channel();
    let (release, released): (_, Receiver<()>) = channel();
    let hold = move || {
        begun.send(()).unwrap();
        let _ = released.recv();
    };
    pool.spawn(Duration::ZERO, hold).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    release
}

#[test]
fn threads_never_exceed_the_limit_and_survive_a_panic() {
    let pool = pool(3);
    let crowd = Arc::new(Crowd::default());
    let (done, ended) = channel();
    for n in 0..60 {
        let (crowd, done) = (Arc::clone(&crowd), done.clone());
        let task = move || {
            crowd.visit();
            done.send(()).unwrap();
            if n % 5 == 0 {
                resume_unwind(Box::new("on purpose"));
            }
        };
        pool.spawn(Duration::ZERO, task).unwrap();
    }
    for _ in 0..60 {
        ended.recv_timeout(LONG).unwrap();
    }
    assert!(crowd.most.load(SeqCst) <= 3);
    assert!(pool.shared.queue.lock().threads <= 3);
}

#[test]
fn tasks_run_in_order_of_due_time() {
    let pool = pool(1);
    let (done, ended) = channel();
    for (n, millis) in [(3, 60), (1, 0), (2, 30)] {
        let done = done.clone();
        pool.spawn(Duration::from_millis(millis), move || done.send(n).unwrap()).unwrap();
    }
    let order: Vec<_> = (0..3).map(|_| ended.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn close_drops_queued_tasks_and_refuses_new_ones() {
    let pool = pool(1);
    let (alive, dropped) = channel::<()>();
    pool.spawn(Duration::from_secs(3_600), move || drop(alive)).unwrap();
    pool.close();
    assert!(dropped.recv_timeout(LONG).is_err());
    let refused = pool.spawn(Duration::ZERO, || ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert_eq!(pool.start(|| 7).wait().unwrap(), 7, "the caller runs it");
}

#[test]
fn dropped_pool_waits_for_no_task() {
    let pool = pool(1);
    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let (done, ended) = channel();
    let task = move || {
        begun.send(()).unwrap();
        let _ = released.recv();
        done.send(()).unwrap();
    };
    pool.spawn(Duration::ZERO, task).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    drop(pool);
    drop(release);
    ended.recv_timeout(LONG).expect("a running task continues");
}

#[test]
fn full_queue_refuses_tasks_and_callers_run_their_jobs() {
    let pool = Pool::new("test", 1, 2, Arc::new(SystemClock::new()));
    let busy = occupy(&pool);
    let jobs = [pool.start(|| 0), pool.start(|| 1), pool.start(|| 2)];
    let refused = pool.spawn(Duration::ZERO, || ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(jobs.map(|job| job.wait().unwrap()), [0, 1, 2]);
    drop(busy);
}

#[test]
fn idle_threads_end() {
    let idle_max = Duration::from_millis(1);
    let pool = Pool::with_idle_max("test", 4, 100, Arc::new(SystemClock::new()), idle_max);
    assert_eq!(pool.shared.queue.lock().threads, 0, "before there is work");
    let busy: Vec<_> = (0..4).map(|_| occupy(&pool)).collect();
    assert_eq!(pool.shared.queue.lock().threads, 4);
    drop(busy);
    while pool.shared.queue.lock().threads > 0 {
        thread::yield_now();
    }
    let (done, ended) = channel();
    pool.spawn(Duration::ZERO, move || done.send(()).unwrap()).unwrap();
    ended.recv_timeout(LONG).expect("another thread starts");
}

#[test]
fn one_thread_remains_for_scheduled_tasks() {
    let idle_max = Duration::from_millis(1);
    let pool = Pool::with_idle_max("test", 4, 100, Arc::new(SystemClock::new()), idle_max);
    let busy: Vec<_> = (0..4).map(|_| occupy(&pool)).collect();
    pool.spawn(Duration::from_secs(3_600), || ()).unwrap();
    drop(busy);
    while pool.shared.queue.lock().threads > 1 {
        thread::yield_now();
    }
    assert_eq!(pool.shared.queue.lock().waiting.len(), 1);
}

#[test]
fn jobs_return_their_outcome_and_panic() {
    let pool = pool(2);
    let jobs: Vec<_> = (0..50).map(|n| pool.start(move || n * n)).collect();
    let squares: Vec<_> = jobs.into_iter().map(|job| job.wait().unwrap()).collect();
    assert_eq!(squares, (0..50).map(|n| n * n).collect::<Vec<_>>());
    let panics = pool.start(|| resume_unwind(Box::new("on purpose")));
    let panic: thread::Result<()> = panics.wait();
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn queued_job_is_run_by_its_caller() {
    let pool = pool(1);
    let busy = occupy(&pool);
    let job = pool.start(|| thread::current().id());
    assert!(!job.has_ended());
    assert_eq!(job.wait().unwrap(), thread::current().id());
    drop(busy);
}

#[test]
fn job_is_withdrawn_or_awaited() {
    let pool = pool(1);
    let busy = occupy(&pool);
    let (alive, dropped) = channel::<()>();
    let hold = alive.clone();
    assert!(pool.start(move || drop(hold)).cancel().is_none());
    drop(pool.start(move || drop(alive)));
    assert!(dropped.try_recv().is_err_and(|e| e == std::sync::mpsc::TryRecvError::Disconnected));
    drop(busy);

    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let job = pool.start(move || {
        begun.send(()).unwrap();
        let _ = released.recv();
        8
    });
    has_begun.recv_timeout(LONG).unwrap();
    drop(release);
    assert_eq!(job.cancel().map(|outcome| outcome.unwrap()), Some(8));
}

#[test]
fn wave_returns_results_in_order_and_its_first_error() {
    let pool = pool(4);
    let items: Vec<usize> = (0..200).collect();
    let crowd = Crowd::default();
    let squares = pool.run_all(&items, 3, |n| {
        crowd.visit();
        Ok(n * n)
    });
    assert_eq!(squares.unwrap(), items.iter().map(|n| n * n).collect::<Vec<_>>());
    assert!(crowd.most.load(SeqCst) <= 3);

    let calls = AtomicUsize::new(0);
    let failed = pool.run_all(&items, 3, |n| {
        calls.fetch_add(1, SeqCst);
        if *n < 5 {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Full, "n").with_detail(n.to_string()))
        }
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Full);
    assert!(calls.load(SeqCst) < 20, "none begins after an error");
    let none: [u8; 0] = [];
    assert!(pool.run_all(&none, 3, |_| Ok(())).unwrap().is_empty());
}

#[test]
fn panic_in_wave_propagates_and_pool_stays_usable() {
    let pool = pool(4);
    let wave = || {
        pool.run_all(&[0, 1, 2, 3], 4, |n| {
            assert!(*n != 2, "on purpose");
            Ok(())
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(wave)).is_err());
    assert_eq!(pool.shared.queue.lock().guests, 0);
    assert_eq!(pool.run_all(&[1, 2], 2, |n| Ok(n + 1)).unwrap(), [2, 3]);
}

#[test]
fn wave_inside_a_task_of_a_busy_pool_ends() {
    let pool = Arc::new(pool(1));
    let own = Arc::clone(&pool);
    let nested = pool.start(move || {
        let within = own.start(|| 1);
        let wave = own.run_all(&[2, 3], 2, |n| {
            Ok(own
                .start({
                    let n = *n;
                    move || n
                })
                .wait()
                .unwrap())
        });
        (within.wait().unwrap(), wave.unwrap())
    });
    assert_eq!(nested.wait().unwrap(), (1, vec![2, 3]));
}

#[test]
fn waves_and_tasks_share_the_thread_limit() {
    let pool = Arc::new(pool(3));
    let crowd = Arc::new(Crowd::default());
    let (done, ended) = channel();
    for _ in 0..200 {
        let (crowd, done) = (Arc::clone(&crowd), done.clone());
        let task = move || {
            crowd.visit();
            done.send(()).unwrap();
        };
        pool.spawn(Duration::ZERO, task).unwrap();
    }
    for _ in 0..20 {
        pool.run_all(&[(); 30], 3, |()| {
            crowd.visit();
            Ok(())
        })
        .unwrap();
    }
    for _ in 0..200 {
        ended.recv_timeout(LONG).unwrap();
    }
    // The thread that calls `run_all` does not belong to the pool.
    assert!(crowd.most.load(SeqCst) <= 4, "{} at once", crowd.most.load(SeqCst));
}
