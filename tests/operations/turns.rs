//! Who has a job, and when it is tried: stops, hurries and shutdowns that meet one another, and what
//! is made known at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{Checkpoint, EventKind, OperationState, Recorder, RetryPolicy};
use strongroom::runner::{Handler, Handlers, Job, JobHandle, Runner, RunnerOptions};
use strongroom::{Batch, Error, ErrorKind, Result};

use crate::gate::Gate;
use crate::runner::{at_gate, ended, let_run, nothing, single};
use crate::scene::{Scene, spec, state, status};
use crate::support::group::PATIENCE;
use crate::support::records::assert_error;

const SECOND: Duration = Duration::from_secs(1);

/// An operation whose handler fails, and waits longer each time; how often it was tried; and a
/// runner with a single thread, which has tried it once.
fn backing_off() -> (Scene, Runner, JobHandle, Arc<AtomicU32>) {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let failing = Handler::new(move |_: &Job| {
        counted.fetch_add(1, SeqCst);
        Err::<(), _>("no")
    });
    let handlers = Handlers::new().with("op", failing).with("turn", Handler::new(nothing));
    let scene = Scene::with(handlers);
    let runner = single(&scene);
    let retry =
        RetryPolicy { attempts_max: 0, backoff_first: SECOND * 10, backoff_max: SECOND * 1_000 };
    let job = runner.submit(spec("op").retry(retry)).unwrap();
    let_run(&runner, &mut 0);
    assert_eq!(tries.load(SeqCst), 1);
    (scene, runner, job, tries)
}

#[test]
fn resuming_everything_keeps_to_a_wait_that_began_in_another_process() {
    let handlers = || {
        let handlers = Handlers::new().with("work", Handler::new(nothing));
        handlers.with("turn", Handler::new(nothing))
    };
    let scene = Scene::with(handlers());
    let retry = RetryPolicy { backoff_first: SECOND * 10, ..RetryPolicy::DEFAULT };
    let begin = scene.vault.operations().begin_with(spec("op").name("work").retry(retry));
    begin.unwrap().fail("no").unwrap();
    scene.clock.advance(SECOND * 4);
    let scene = scene.reopen_with(handlers());
    let (runner, mut turn) = (single(&scene), 0);
    let job = runner.resume_all().unwrap().resumed.pop().unwrap();
    for (millis, left) in [(5_999, OperationState::Failed), (1, OperationState::Completed)] {
        scene.clock.advance(Duration::from_millis(millis));
        let_run(&runner, &mut turn);
        assert_eq!(state(&scene.vault, "op"), left);
    }
    assert_eq!(ended(&job), OperationState::Completed);
}

#[test]
fn one_that_was_hurried_keeps_to_its_next_wait() {
    let (scene, runner, job, tries) = backing_off();
    let mut turn = 10;
    let hurried = runner.resume("op").unwrap();
    let_run(&runner, &mut turn);
    assert_eq!(tries.load(SeqCst), 2, "at once");
    // The wait that it was in is over, and counts no more: the next is twice as long.
    for (secs, tried) in [(10, 2), (9, 2), (1, 3)] {
        scene.clock.advance(SECOND * secs);
        let_run(&runner, &mut turn);
        assert_eq!(tries.load(SeqCst), tried, "after {secs} s more");
    }
    runner.cancel("op").unwrap();
    assert_eq!([ended(&job), ended(&hurried)], [OperationState::Cancelled; 2]);
}

#[test]
fn a_stop_that_is_refused_hurries_nothing() {
    let (scene, runner, job, tries) = backing_off();
    let mut turn = 10;
    for stop in [Runner::pause, Runner::cancel] {
        let nested = scene.vault.write(|_| stop(&runner, "op"));
        assert_error(nested, ErrorKind::Invalid, "within a write");
        let_run(&runner, &mut turn);
        assert_eq!(tries.load(SeqCst), 1, "it waits as before");
    }
    scene.clock.advance(SECOND * 10);
    let_run(&runner, &mut turn);
    assert_eq!((tries.load(SeqCst), job.wait(Duration::ZERO).unwrap()), (2, None));
}

#[test]
fn what_is_stopped_while_it_is_made_known_is_stopped_and_not_forgotten() {
    let scene = Scene::with(Handlers::new().with("work", Handler::new(nothing)));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    for n in 0..300 {
        let id = format!("op {n}");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            // As soon as the runner has it.
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    match runner.cancel(&id) {
                        Err(e) if e.kind() == ErrorKind::NotFound => {}
                        told => {
                            told.unwrap();
                            break;
                        }
                    }
                }
            });
            let job = runner.submit(spec(&id).name("work")).unwrap();
            let left = job.wait(PATIENCE);
            over.store(true, SeqCst);
            let left = left.expect("nothing went wrong").expect("it ends");
            assert!(left.is_finished(), "{n}: {left}");
            assert_eq!(state(&scene.vault, &id), left, "{n}");
        });
    }
}

#[test]
fn what_is_asked_for_while_it_is_made_known_runs_once() {
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
                        assert_eq!(ended(&job), OperationState::Completed);
                    }
                    drop(runner.resume(&id));
                }
            });
            let job = runner.submit(spec(&id).name("work")).unwrap();
            assert_eq!(ended(&job), OperationState::Completed, "{n}");
            over.store(true, SeqCst);
        });
    }
    assert_eq!(tries.load(SeqCst), 300);
}

#[test]
fn after_a_shutdown_every_handle_tells_at_once() {
    let goes_on = Handler::new(|job: &Job| -> Result<()> {
        let lane = job.lane("main")?;
        loop {
            job.check()?;
            lane.commit(Batch::new(), Checkpoint::new(""))?;
        }
    });
    let handlers = Handlers::new().with("goes on", goes_on);
    let scene = Scene::with(handlers.with("at once", Handler::new(nothing)));
    for round in 0..100 {
        let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
        let submit = |n: usize| {
            let name = if n.is_multiple_of(2) { "goes on" } else { "at once" };
            runner.submit(spec(&format!("op {round} {n}")).name(name)).unwrap()
        };
        let jobs: Vec<_> = (0..4).map(submit).collect();
        runner.shutdown(PATIENCE).unwrap();
        for job in jobs {
            let left = job.wait(Duration::ZERO).unwrap();
            assert_eq!(left, Some(state(&scene.vault, job.id())), "{round}");
        }
    }
}

/// Has somebody else give an operation up when it hears that it is paused.
#[derive(Clone, Default)]
struct GivesUp {
    runner: Arc<Mutex<Option<Runner>>>,
}

impl Recorder for GivesUp {
    fn transition(&self, _: Option<OperationState>, to: OperationState) {
        let runner = self.runner.lock().clone();
        if let Some(runner) = runner.filter(|_| to == OperationState::Paused) {
            thread::spawn(move || runner.cancel("op")).join().unwrap().unwrap();
        }
    }
}

#[test]
fn a_cancel_that_comes_while_a_pause_is_settled_is_not_too_late() {
    let (gate, gives_up) = (Gate::default(), GivesUp::default());
    let held = gate.clone();
    let handler = Handler::new(move |job: &Job| {
        held.pass();
        job.check()
    });
    let scene = Scene::heard_by(gives_up.clone(), Handlers::new().with("op", handler));
    let runner = single(&scene);
    let job = runner.submit(spec("op")).unwrap();
    gate.await_arrivals(1);
    *gives_up.runner.lock() = Some(runner.clone());
    runner.pause("op").unwrap();
    gate.open();
    assert_eq!(ended(&job), OperationState::Cancelled);
    assert_eq!(state(&scene.vault, "op"), OperationState::Cancelled);
    // It holds the runner, which holds the vault, which holds it.
    gives_up.runner.lock().take();
}

#[test]
fn a_stop_within_a_write_does_not_wait_for_what_waits_for_that_write() {
    let gate = Gate::default();
    let scene = Scene::with(Handlers::new().with("op", at_gate(&gate)));
    let heard = scene.vault.operations().subscribe(10);
    let runner = single(&scene);
    let job = runner.submit(spec("op")).unwrap();
    gate.await_arrivals(1);
    let stopped = scene.vault.write(|_| {
        gate.open();
        // It gets to queue up for the writer's turn, to complete the operation.
        (0..2_000).for_each(|_| thread::yield_now());
        runner.pause("op")
    });
    assert_error(stopped, ErrorKind::Invalid, "within a write");
    assert_eq!(ended(&job), OperationState::Completed);
    let kinds: Vec<_> = std::iter::from_fn(|| heard.next_now()).map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Started, EventKind::Completed], "it has not waited in vain");
    assert_eq!(status(&scene.vault, "op").generation, 1);
}
