//! Many threads on one runner, and a second runner on one vault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use parking_lot::Mutex;
use strongroom::operations::{Checkpoint, OperationState};
use strongroom::runner::{Handler, Handlers, Job, Runner, RunnerOptions};
use strongroom::{Batch, ErrorKind, Result};

use crate::latch::Latch;
use crate::runner::{await_end, waits_at_latch};
use crate::scene::{Scene, row, spec, unfinished};
use crate::support::group::WAIT_MAX;
use crate::support::records::{all, assert_error, assert_whole};

const THREADS: usize = 16;
const OPERATIONS: usize = 200;

/// Number of runs of each operation, by its id.
type Runs = Arc<Mutex<BTreeMap<String, u32>>>;

/// Returns a handler that counts its runs.
///
/// It commits three rows, each with a checkpoint. A row that exists already fails the handler.
fn counting_handler(runs: &Runs) -> Handler {
    let runs = Arc::clone(runs);
    Handler::new(move |job: &Job| -> Result<()> {
        let id = &job.status().id;
        *runs.lock().entry(id.clone()).or_default() += 1;
        let lane = job.lane("main")?;
        for n in 0..3 {
            let key = format!("{id} {n}");
            let mut batch = row(&key);
            batch.require_absent("n", key);
            lane.commit(batch, Checkpoint::encode(&n)?)?;
        }
        Ok(())
    })
}

/// Asserts that each operation ran once, completed, and committed its rows.
#[track_caller]
fn assert_each_ran_once(scene: &Scene, runs: &Runs) {
    let runs = runs.lock();
    assert_eq!((runs.len(), runs.values().sum::<u32>() as usize), (OPERATIONS, OPERATIONS));
    assert_eq!(all(&scene.vault).unwrap().len(), OPERATIONS * 3);
    let statistics = scene.vault.operations().statistics().unwrap();
    let completed = statistics.operations[&OperationState::Completed];
    assert_eq!((completed, statistics.total()), (OPERATIONS as u64, OPERATIONS as u64));
    assert_whole(&scene.vault);
}

#[test]
fn each_operation_runs_once_under_submits_and_resumes() {
    let runs = Runs::default();
    let scene = Scene::with(Handlers::new().with("work", counting_handler(&runs)));
    let options = RunnerOptions::new().threads(8).queue(OPERATIONS);
    let runner = Runner::start(&scene.vault, options).unwrap();
    let (next, submitting) = (AtomicUsize::new(0), AtomicUsize::new(THREADS));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let ids = std::iter::from_fn(|| Some(next.fetch_add(1, SeqCst)));
                for n in ids.take_while(|n| *n < OPERATIONS) {
                    let spec = spec(&format!("op {n}")).name("work");
                    let job = runner.submit(spec).expect("submitted during `resume_all`");
                    assert_eq!(await_end(&job), OperationState::Completed);
                }
                submitting.fetch_sub(1, SeqCst);
            });
        }
        scope.spawn(|| {
            while submitting.load(SeqCst) > 0 {
                let report = runner.resume_all().expect("resumed while others submit");
                // The runner has these jobs already, or has just completed them.
                for job in &report.resumed {
                    assert_eq!(await_end(job), OperationState::Completed);
                }
            }
        });
    });
    assert_each_ran_once(&scene, &runs);
    runner.shutdown(WAIT_MAX).unwrap();
}

#[test]
fn second_runner_is_locked_until_shutdown() {
    let runs = Runs::default();
    let scene = Scene::with(Handlers::new().with("work", counting_handler(&runs)));
    for n in 0..OPERATIONS {
        scene.vault.operations().prepare(spec(&format!("op {n}")).name("work")).unwrap();
    }
    let options = RunnerOptions::new().threads(3).queue(1);
    let first = Runner::start(&scene.vault, options).unwrap();
    let second = || Runner::start(&scene.vault, options);
    assert_error(second(), ErrorKind::Locked, "another runner");
    let half = first.resume_all().unwrap().resumed;
    first.shutdown(WAIT_MAX).unwrap();
    let second = second().unwrap();
    // Dropping the first runner does not release the second runner's lock.
    drop((first, half));
    assert_error(Runner::start(&scene.vault, options), ErrorKind::Locked, "another runner");
    for job in second.resume_all().unwrap().resumed {
        assert_eq!(await_end(&job), OperationState::Completed);
    }
    assert_each_ran_once(&scene, &runs);
    assert_eq!(unfinished(&scene.vault), [""; 0]);
}

#[test]
fn concurrent_submits_never_exceed_the_queue() {
    const QUEUE: usize = 5;
    let latch = Latch::default();
    let scene = Scene::with(Handlers::new().with("blocked", waits_at_latch(&latch)));
    let options = RunnerOptions::new().threads(1).queue(QUEUE);
    let runner = Runner::start(&scene.vault, options).unwrap();
    let first = runner.submit(spec("first").name("blocked")).unwrap();
    latch.await_waiters(1);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let submit = |n: usize| runner.submit(spec(&format!("op {n}")).name("blocked"));
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || submit(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), unfinished(&scene.vault).len()), (QUEUE, QUEUE + 1));
    for refusal in refused {
        assert_error(refusal, ErrorKind::Unavailable, "5 operations wait already");
    }
    latch.release();
    for job in accepted.into_iter().flatten().chain([first]) {
        assert_eq!(await_end(&job), OperationState::Completed);
    }
}

#[test]
fn concurrent_submits_of_one_id_run_it_once() {
    let runs = Runs::default();
    let scene = Scene::with(Handlers::new().with("work", counting_handler(&runs)));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let submit = || runner.submit(spec("op").name("work"));
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(submit)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (1, THREADS - 1));
    for refusal in refused {
        assert_error(refusal, ErrorKind::AlreadyExists, "op");
    }
    assert_eq!(
        await_end(&accepted.into_iter().next().unwrap().unwrap()),
        OperationState::Completed
    );
    assert_eq!(runs.lock()["op"], 1);
}

#[test]
fn lanes_of_one_job_run_on_the_handlers_threads() {
    let handler = Handler::new(|job: &Job| {
        let lanes = &job.status().lanes;
        thread::scope(|scope| {
            let threads: Vec<_> = lanes
                .iter()
                .map(|lane| {
                    scope.spawn(|| {
                        let handle = job.lane(&lane.name)?;
                        for n in 0..20_u32 {
                            job.check()?;
                            let batch = row(&format!("{} {n}", lane.name));
                            handle.commit(batch, Checkpoint::encode(&n)?)?;
                        }
                        handle.commit(Batch::new(), Checkpoint::new("end").complete())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    });
    let scene = Scene::with(Handlers::new().with("work", handler));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    let names: Vec<_> = (0..8).map(|n| format!("lane {n}")).collect();
    let job = runner.submit(spec("op").name("work").lanes(&names)).unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
    assert_eq!(all(&scene.vault).unwrap().len(), 8 * 20);
    assert_whole(&scene.vault);
}
