//! Pausing, cancelling and shutting down, wherever a job stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{
    Checkpoint, EventKind, OperationSpec, OperationState, Resumable, RetryPolicy,
};
use strongroom::runner::{Handler, Handlers, Job, JobHandle, Runner, RunnerOptions};
use strongroom::{Batch, Error, ErrorKind, Result, Vault};

use crate::gate::Gate;
use crate::runner::{at_gate, ended, nothing, single};
use crate::scene::{AT_ONCE, Scene, spec, stands, state, status, unfinished};
use crate::support::group::PATIENCE;
use crate::support::random::Random;
use crate::support::records::{assert_error, assert_whole};

/// Checkpoint after checkpoint, until it is stopped.
fn until_stopped(job: &Job) -> Result<()> {
    let lane = job.lane("main")?;
    for n in lane.status()?.checkpoints.. {
        job.check()?;
        lane.commit(Batch::new(), Checkpoint::encode(&n)?)?;
    }
    Ok(())
}

/// Handlers: one that goes on until it is stopped, one that fails, one that is held up.
fn handlers(gate: &Gate) -> Handlers {
    Handlers::new()
        .with("goes on", Handler::new(until_stopped))
        .with("fails", Handler::new(|_: &Job| Err::<(), _>("no")))
        .with("held up", at_gate(gate))
        .with("at once", Handler::new(nothing))
}

fn named(id: &str, name: &str) -> OperationSpec {
    spec(id).name(name)
}

/// Where a job stands when it is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Runs,
    Waits,
    BacksOff,
}

const PLACES: [Where; 3] = [Where::Runs, Where::Waits, Where::BacksOff];

/// A runner with one thread, which has "op" at that place.
fn put(scene: &Scene, gate: &Gate, place: Where) -> (Runner, JobHandle) {
    let runner = single(scene);
    let heard = scene.vault.operations().subscribe(1_000);
    let await_event = |is: &dyn Fn(&EventKind) -> bool| {
        while !is(&heard.next_within(PATIENCE).expect("an event").kind) {}
    };
    let job = match place {
        Where::Runs => {
            let job = runner.submit(named("op", "goes on")).unwrap();
            await_event(&|kind| matches!(kind, EventKind::Progress { .. }));
            job
        }
        Where::Waits => {
            runner.submit(named("before", "held up")).unwrap();
            gate.await_arrivals(1);
            runner.submit(named("op", "goes on")).unwrap()
        }
        Where::BacksOff => {
            let hour = Duration::from_secs(3_600);
            let retry = RetryPolicy { attempts_max: 0, backoff_first: hour, backoff_max: hour };
            let job = runner.submit(named("op", "fails").retry(retry)).unwrap();
            await_event(&|kind| matches!(kind, EventKind::Failed { .. }));
            // The only thread is done with it once it has done another.
            ended(&runner.submit(named("other", "at once")).unwrap());
            job
        }
    };
    (runner, job)
}

#[test]
fn a_pause_lays_it_aside_wherever_it_stands_and_it_goes_on_by_its_id() {
    for place in PLACES {
        let gate = Gate::default();
        let scene = Scene::with(handlers(&gate));
        let (runner, job) = put(&scene, &gate, place);
        runner.pause("op").unwrap();
        assert_eq!(ended(&job), OperationState::Paused, "{place:?}");
        let found = status(&scene.vault, "op");
        assert!(found.held);
        let generations = u64::from(place != Where::Waits);
        assert_eq!(found.generation, generations, "what waits is not begun for that");
        assert_eq!(found.failure.is_some(), place == Where::BacksOff);
        assert_eq!(stands(&scene.vault, "op"), Resumable::Held);
        for outcome in [runner.pause("op"), runner.cancel("op")] {
            assert_error(outcome, ErrorKind::NotFound, "does not have the operation");
        }
        gate.open();
        let report = runner.resume_all().unwrap();
        assert!(report.resumed.iter().all(|job| job.id() != "op"));
        let again = runner.resume("op").unwrap();
        assert!(again.wait(Duration::ZERO).unwrap().is_none(), "it goes on");
        runner.cancel("op").unwrap();
        assert_eq!(ended(&again), OperationState::Cancelled);
        assert_eq!(ended(&job), OperationState::Paused, "the first handle tells what it was");
        assert_whole(&scene.vault);
    }
}

#[test]
fn a_cancel_gives_it_up_wherever_it_stands() {
    for place in PLACES {
        let gate = Gate::default();
        let scene = Scene::with(handlers(&gate));
        let (runner, job) = put(&scene, &gate, place);
        let committed = status(&scene.vault, "op").lanes[0].checkpoints;
        runner.cancel("op").unwrap();
        assert_eq!(ended(&job), OperationState::Cancelled, "{place:?}");
        let found = status(&scene.vault, "op");
        assert!(found.lanes[0].checkpoints >= committed, "what is committed stays");
        assert_eq!(found.generation, u64::from(place != Where::Waits));
        assert!(!unfinished(&scene.vault).contains(&"op".to_owned()));
        assert_error(runner.resume("op"), ErrorKind::Invalid, "was cancelled");
        gate.open();
        runner.shutdown(PATIENCE).unwrap();
        assert_eq!(state(&scene.vault, "op"), OperationState::Cancelled);
    }
}

#[test]
fn a_shutdown_leaves_everything_to_the_next_runner_and_none_of_it_paused_for_good() {
    for place in PLACES {
        let gate = Gate::default();
        let scene = Scene::with(handlers(&gate));
        let (runner, job) = put(&scene, &gate, place);
        let left = match place {
            Where::Runs => OperationState::Paused,
            Where::Waits => OperationState::Initialized,
            Where::BacksOff => OperationState::Failed,
        };
        if place == Where::Waits {
            // What runs before it does not stop: that is told, and it is not ended by force.
            let outcome = runner.shutdown(Duration::from_millis(1));
            assert_error(outcome, ErrorKind::Locked, "1 operations did not stop");
            assert_error(runner.shutdown(Duration::ZERO), ErrorKind::Locked, "1 operations");
            assert_eq!(state(&scene.vault, "before"), OperationState::Running);
        }
        gate.open();
        runner.shutdown(PATIENCE).unwrap();
        assert_eq!(job.wait(Duration::ZERO).unwrap(), Some(left), "{place:?}: told at once");
        let found = status(&scene.vault, "op");
        assert_eq!((found.state, found.held), (left, false));
        for outcome in [runner.pause("op"), runner.cancel("op")] {
            assert_error(outcome, ErrorKind::NotFound, "does not have the operation");
        }
        runner.shutdown(Duration::ZERO).expect("what is shut down stays so");
        if place == Where::Waits {
            // It came to its end although it was asked to stop.
            assert_eq!(state(&scene.vault, "before"), OperationState::Completed);
        }

        let scene = scene.reopen_with(handlers(&gate));
        let next = single(&scene);
        let report = next.resume_all().unwrap();
        assert_eq!((report.resumed.len(), report.left.len()), (1, 0));
        next.cancel("op").unwrap();
        assert_eq!(ended(&report.resumed[0]), OperationState::Cancelled);
        assert_whole(&scene.vault);
    }
}

#[test]
fn a_shutdown_costs_what_runs_no_try() {
    let gate = Gate::default();
    let mut scene = Scene::with(handlers(&gate));
    let two = RetryPolicy { attempts_max: 2, ..AT_ONCE };
    let waits = Handler::new(move |job: &Job| {
        while job.check().is_ok() {
            thread::yield_now();
        }
        job.check()
    });
    let handlers = Handlers::new().with("waits", waits);
    scene.vault.operations().prepare(named("op", "waits").retry(two)).unwrap();
    for generation in 1..=5 {
        scene = scene.reopen_with(handlers.clone());
        let heard = scene.vault.operations().subscribe(10);
        let runner = single(&scene);
        let job = runner.resume_all().unwrap().resumed.pop().unwrap();
        assert_eq!(heard.next_within(PATIENCE).unwrap().kind, EventKind::Started);
        runner.shutdown(PATIENCE).unwrap();
        assert_eq!(ended(&job), OperationState::Paused);
        let found = status(&scene.vault, "op");
        assert_eq!((found.attempts, found.generation), (0, generation));
    }
}

#[test]
fn the_stronger_of_two_stops_counts() {
    type Stops = [fn(&Runner) -> Result<()>; 2];
    let pause = |runner: &Runner| runner.pause("op");
    let cancel = |runner: &Runner| runner.cancel("op");
    let shut_down = |runner: &Runner| runner.shutdown(Duration::ZERO).or(Ok(()));
    let cases: [(Stops, OperationState, bool); 5] = [
        ([pause, cancel], OperationState::Cancelled, false),
        ([cancel, pause], OperationState::Cancelled, false),
        ([cancel, shut_down], OperationState::Cancelled, false),
        ([pause, shut_down], OperationState::Paused, true),
        ([shut_down, pause], OperationState::Paused, true),
    ];
    for (stops, left, held) in cases {
        let gate = Gate::default();
        let held_up = gate.clone();
        let handler = Handler::new(move |job: &Job| {
            held_up.pass();
            job.check()
        });
        let scene = Scene::with(Handlers::new().with("op", handler));
        let runner = single(&scene);
        let job = runner.submit(spec("op")).unwrap();
        gate.await_arrivals(1);
        for stop in stops {
            stop(&runner).unwrap();
        }
        gate.open();
        assert_eq!((ended(&job), status(&scene.vault, "op").held), (left, held));
    }
}

#[test]
fn a_handler_that_comes_to_its_end_while_it_is_stopped_is_done() {
    let gate = Gate::default();
    let scene = Scene::with(handlers(&gate));
    let runner = single(&scene);
    let job = runner.submit(named("op", "held up")).unwrap();
    gate.await_arrivals(1);
    runner.cancel("op").unwrap();
    gate.open();
    assert_eq!(ended(&job), OperationState::Completed);
}

#[test]
fn an_error_while_it_is_stopped_is_told_and_is_a_failed_try() {
    let outcomes: [fn() -> Result<()>; 2] = [
        || Err(Error::new(ErrorKind::Unavailable, "reach a host")),
        || panic!("the host's own bug"),
    ];
    for (outcome, told) in outcomes.into_iter().zip(["reach a host", "panicked: the host's"]) {
        let gate = Gate::default();
        let held = gate.clone();
        let handler = Handler::new(move |_: &Job| {
            held.pass();
            outcome()
        });
        let scene = Scene::with(Handlers::new().with("op", handler));
        let heard = scene.vault.operations().subscribe(10);
        let runner = single(&scene);
        let job = runner.submit(spec("op")).unwrap();
        gate.await_arrivals(1);
        runner.pause("op").unwrap();
        gate.open();
        assert_eq!(ended(&job), OperationState::Paused);
        let found = status(&scene.vault, "op");
        assert_eq!(found.attempts, 1);
        assert!(found.failure.is_some_and(|failure| failure.error.contains(told)));
        let kinds: Vec<_> = std::iter::from_fn(|| heard.next_now()).map(|e| e.kind).collect();
        assert!(matches!(
            &kinds[..],
            [EventKind::Started, EventKind::Warning { text }, EventKind::Paused]
                if text.contains("while it was stopped") && text.contains(told)
        ));
    }
}

#[test]
fn a_stop_that_meets_the_start_of_a_try_is_not_lost() {
    let gate = Gate::default();
    let scene = Scene::with(handlers(&gate));
    let runner = single(&scene);
    let mut random = Random::new(1);
    for n in 0..500 {
        let id = format!("op {n}");
        let job = runner.submit(named(&id, "goes on")).unwrap();
        (0..random.below(200)).for_each(|_| std::hint::spin_loop());
        runner.cancel(&id).unwrap();
        assert_eq!(ended(&job), OperationState::Cancelled, "{n}");
    }
}

#[test]
fn a_stop_within_a_write_is_refused_and_changes_nothing() {
    let gate = Gate::default();
    let scene = Scene::with(handlers(&gate));
    let (runner, job) = put(&scene, &gate, Where::Waits);
    for stop in [Runner::pause, Runner::cancel] {
        let nested = scene.vault.write(|_| stop(&runner, "op"));
        assert_error(nested, ErrorKind::Invalid, "within a write");
    }
    assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
    runner.pause("op").unwrap();
    assert_eq!(ended(&job), OperationState::Paused);
    gate.open();
}

#[test]
fn nobody_waits_longer_than_asked_while_a_stop_is_committed() {
    let gate = Gate::default();
    let scene = Scene::with(handlers(&gate));
    let (runner, job) = put(&scene, &gate, Where::Waits);
    let (stops, stopping) = channel();
    let stopper = scene.vault.write(|_| {
        let own = runner.clone();
        let stopper = thread::spawn(move || {
            stops.send(()).unwrap();
            own.cancel("op")
        });
        stopping.recv_timeout(PATIENCE).unwrap();
        // It gets to queue up for the writer's turn, which this thread has.
        (0..2_000).for_each(|_| thread::yield_now());
        assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
        runner.shutdown(Duration::ZERO).expect_err("it is not over");
        Ok::<_, Error>(stopper)
    });
    stopper.unwrap().join().unwrap().unwrap();
    assert_eq!(ended(&job), OperationState::Cancelled);
    gate.open();
}

#[test]
fn the_last_handles_may_go_on_a_job_s_own_thread() {
    let slot: Arc<Mutex<Option<(Runner, Vault)>>> = Arc::default();
    let (gate, taken) = (Gate::default(), Arc::clone(&slot));
    let (told, hears) = channel();
    let told = Mutex::new(told);
    let held = gate.clone();
    let handler = Handler::new(move |job: &Job| {
        held.pass();
        drop(taken.lock().take());
        let outcome = job.check();
        told.lock().send(outcome.as_ref().map_err(Error::kind).copied()).unwrap();
        outcome
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single(&scene);
    let job = runner.submit(spec("op")).unwrap();
    let waits = runner.submit(spec("waits").name("op")).unwrap();
    gate.await_arrivals(1);
    // But for the scene's own, which the test keeps to look at what is left.
    *slot.lock() = Some((runner, scene.vault.clone()));
    gate.open();
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::Cancelled));
    assert_eq!(ended(&job), OperationState::Paused);
    assert_eq!(ended(&waits), OperationState::Initialized);
}

#[test]
fn a_runner_that_is_dropped_stops_and_its_clones_keep_it() {
    let gate = Gate::default();
    let scene = Scene::with(handlers(&gate));
    let (runner, job) = put(&scene, &gate, Where::Runs);
    let clone = runner.clone();
    drop(runner);
    let second = clone.submit(named("second", "at once")).unwrap();
    drop(clone);
    assert_eq!(ended(&job), OperationState::Paused);
    assert_eq!(ended(&second), OperationState::Initialized);
    assert!(!status(&scene.vault, "op").held);
}

#[test]
fn a_shutdown_is_asked_for_from_a_job_without_waiting_for_itself() {
    let slot: Arc<Mutex<Option<Runner>>> = Arc::default();
    let (gate, own, tries) = (Gate::default(), Arc::clone(&slot), Arc::new(AtomicU32::new(0)));
    let (held, counted) = (gate.clone(), Arc::clone(&tries));
    let handler = Handler::new(move |job: &Job| {
        counted.fetch_add(1, SeqCst);
        held.pass();
        let runner = own.lock().clone().unwrap();
        let outcome = runner.shutdown(Duration::from_millis(1));
        assert_error(outcome, ErrorKind::Locked, "1 operations did not stop");
        job.check()
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    let job = runner.submit(spec("op")).unwrap();
    *slot.lock() = Some(runner.clone());
    gate.open();
    assert_eq!(ended(&job), OperationState::Paused);
    runner.shutdown(PATIENCE).unwrap();
    assert_eq!(tries.load(SeqCst), 1);
    // The handler holds the runner, which holds the vault, which holds the handler.
    slot.lock().take();
}
