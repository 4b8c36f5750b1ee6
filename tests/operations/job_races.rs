//! Races between stops, resumes and shutdowns of one job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{Checkpoint, EventKind, OperationState, Recorder, RetryPolicy};
use strongroom::runner::{Handler, Handlers, Job, JobHandle, Runner, RunnerOptions};
use strongroom::{Batch, Error, ErrorKind, Result};

use crate::latch::Latch;
use crate::runner::{await_end, no_op, run_due_jobs, single_threaded, waits_at_latch};
use crate::scene::{Scene, spec, state, status};
use crate::support::group::WAIT_MAX;
use crate::support::records::assert_error;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a failing job after its first try, with its runner.
///
/// The backoff doubles with each try. The runner has one thread. The counter is the number of
/// tries.
fn backing_off() -> (Scene, Runner, JobHandle, Arc<AtomicU32>) {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let failing = Handler::new(move |_: &Job| {
        counted.fetch_add(1, SeqCst);
        Err::<(), _>("no")
    });
    let handlers = Handlers::new().with("op", failing).with("marker", Handler::new(no_op));
    let scene = Scene::with(handlers);
    let runner = single_threaded(&scene);
    let retry =
        RetryPolicy { attempts_max: 0, backoff_first: SECOND * 10, backoff_max: SECOND * 1_000 };
    let job = runner.submit(spec("op").retry(retry)).unwrap();
    run_due_jobs(&runner, &mut 0);
    assert_eq!(tries.load(SeqCst), 1);
    (scene, runner, job, tries)
}

#[test]
fn resume_all_keeps_the_backoff_of_another_process() {
    let handlers = || {
        let handlers = Handlers::new().with("work", Handler::new(no_op));
        handlers.with("marker", Handler::new(no_op))
    };
    let scene = Scene::with(handlers());
    let retry = RetryPolicy { backoff_first: SECOND * 10, ..RetryPolicy::DEFAULT };
    let begin = scene.vault.operations().begin_with(spec("op").name("work").retry(retry));
    begin.unwrap().fail("no").unwrap();
    scene.clock.advance(SECOND * 4);
    let scene = scene.reopen_with(handlers());
    let (runner, mut marker) = (single_threaded(&scene), 0);
    let job = runner.resume_all().unwrap().resumed.pop().unwrap();
    for (millis, left) in [(5_999, OperationState::Failed), (1, OperationState::Completed)] {
        scene.clock.advance(Duration::from_millis(millis));
        run_due_jobs(&runner, &mut marker);
        assert_eq!(state(&scene.vault, "op"), left);
    }
    assert_eq!(await_end(&job), OperationState::Completed);
}

#[test]
fn resume_skips_one_backoff_and_keeps_the_next() {
    let (scene, runner, job, tries) = backing_off();
    let mut marker = 10;
    let resumed = runner.resume("op").unwrap();
    run_due_jobs(&runner, &mut marker);
    assert_eq!(tries.load(SeqCst), 2, "the resume skips the wait");
    // The skipped wait has ended, and the next wait is twice as long.
    for (secs, tried) in [(10, 2), (9, 2), (1, 3)] {
        scene.clock.advance(SECOND * secs);
        run_due_jobs(&runner, &mut marker);
        assert_eq!(tries.load(SeqCst), tried, "after {secs} s more");
    }
    runner.cancel("op").unwrap();
    assert_eq!([await_end(&job), await_end(&resumed)], [OperationState::Cancelled; 2]);
}

#[test]
fn refused_stop_keeps_the_backoff() {
    let (scene, runner, job, tries) = backing_off();
    let mut marker = 10;
    for stop in [Runner::pause, Runner::cancel] {
        let nested = scene.vault.write(|_| stop(&runner, "op"));
        assert_error(nested, ErrorKind::Invalid, "inside a write");
        run_due_jobs(&runner, &mut marker);
        assert_eq!(tries.load(SeqCst), 1, "the job still waits");
    }
    scene.clock.advance(SECOND * 10);
    run_due_jobs(&runner, &mut marker);
    assert_eq!((tries.load(SeqCst), job.wait(Duration::ZERO).unwrap()), (2, None));
}

#[test]
fn cancel_that_races_a_submit_is_not_lost() {
    let scene = Scene::with(Handlers::new().with("work", Handler::new(no_op)));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    for n in 0..300 {
        let id = format!("op {n}");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            // Cancels the job as soon as the runner has it.
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    match runner.cancel(&id) {
                        Err(e) if e.kind() == ErrorKind::NotFound => {}
                        outcome => {
                            outcome.unwrap();
                            break;
                        }
                    }
                }
            });
            let job = runner.submit(spec(&id).name("work")).unwrap();
            let left = job.wait(WAIT_MAX);
            over.store(true, SeqCst);
            let left = left.expect("the job has no error").expect("the job ends");
            assert!(left.is_finished(), "{n}: {left}");
            assert_eq!(state(&scene.vault, &id), left, "{n}");
        });
    }
}

#[test]
fn resume_that_races_a_submit_runs_the_job_once() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let counts = Handler::new(move |_: &Job| {
        counted.fetch_add(1, SeqCst);
        Ok::<_, Error>(())
    });
    let scene = Scene::with(Handlers::new().with("work", counts));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    for n in 0..300 {
        let id = format!("op {n}");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    if let Some(job) = runner.job(&id) {
                        assert_eq!(await_end(&job), OperationState::Completed);
                    }
                    drop(runner.resume(&id));
                }
            });
            let job = runner.submit(spec(&id).name("work")).unwrap();
            assert_eq!(await_end(&job), OperationState::Completed, "{n}");
            over.store(true, SeqCst);
        });
    }
    assert_eq!(tries.load(SeqCst), 300);
}

#[test]
fn shutdown_settles_every_job_handle() {
    let looping = Handler::new(|job: &Job| -> Result<()> {
        let lane = job.lane("main")?;
        loop {
            job.check()?;
            lane.commit(Batch::new(), Checkpoint::new(""))?;
        }
    });
    let handlers = Handlers::new().with("loops", looping);
    let scene = Scene::with(handlers.with("at once", Handler::new(no_op)));
    for round in 0..100 {
        let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
        let submit = |n: usize| {
            let name = if n.is_multiple_of(2) { "loops" } else { "at once" };
            runner.submit(spec(&format!("op {round} {n}")).name(name)).unwrap()
        };
        let jobs: Vec<_> = (0..4).map(submit).collect();
        runner.shutdown(WAIT_MAX).unwrap();
        for job in jobs {
            let left = job.wait(Duration::ZERO).unwrap();
            assert_eq!(left, Some(state(&scene.vault, job.id())), "{round}");
        }
    }
}

/// A recorder that cancels a paused operation from another thread.
#[derive(Clone, Default)]
struct CancelOnPause {
    runner: Arc<Mutex<Option<Runner>>>,
}

impl Recorder for CancelOnPause {
    fn transition(&self, _: Option<OperationState>, to: OperationState) {
        let runner = self.runner.lock().clone();
        if let Some(runner) = runner.filter(|_| to == OperationState::Paused) {
            thread::spawn(move || runner.cancel("op")).join().unwrap().unwrap();
        }
    }
}

#[test]
fn cancel_during_the_commit_of_a_pause_wins() {
    let (latch, recorder) = (Latch::default(), CancelOnPause::default());
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        in_job.wait();
        job.check()
    });
    let scene = Scene::with_recorder(recorder.clone(), Handlers::new().with("op", handler));
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    latch.await_waiters(1);
    *recorder.runner.lock() = Some(runner.clone());
    runner.pause("op").unwrap();
    latch.release();
    assert_eq!(await_end(&job), OperationState::Cancelled);
    assert_eq!(state(&scene.vault, "op"), OperationState::Cancelled);
    // Breaks the cycle: the recorder has the runner, the runner has the vault, and the vault has
    // the recorder.
    recorder.runner.lock().take();
}

#[test]
fn stop_inside_a_write_does_not_deadlock() {
    let latch = Latch::default();
    let scene = Scene::with(Handlers::new().with("op", waits_at_latch(&latch)));
    let events = scene.vault.operations().subscribe(10);
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    latch.await_waiters(1);
    let stopped = scene.vault.write(|_| {
        latch.release();
        // Lets the job wait for the write turn, to complete the operation.
        (0..2_000).for_each(|_| thread::yield_now());
        runner.pause("op")
    });
    assert_error(stopped, ErrorKind::Invalid, "inside a write");
    assert_eq!(await_end(&job), OperationState::Completed);
    let kinds: Vec<_> = std::iter::from_fn(|| events.next_now()).map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Started, EventKind::Completed], "no warning of a timeout");
    assert_eq!(status(&scene.vault, "op").generation, 1);
}
