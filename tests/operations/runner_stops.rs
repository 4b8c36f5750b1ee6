//! Pause, cancel and shutdown in each phase of a job.

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

use crate::latch::Latch;
use crate::runner::{await_end, no_op, single_threaded, waits_at_latch};
use crate::scene::{AT_ONCE, Scene, resumability, spec, state, status, unfinished};
use crate::support::group::WAIT_MAX;
use crate::support::random::Random;
use crate::support::records::{assert_error, assert_whole};

/// Commits checkpoints until the job is stopped.
fn until_stopped(job: &Job) -> Result<()> {
    let lane = job.lane("main")?;
    for n in lane.status()?.checkpoints.. {
        job.check()?;
        lane.commit(Batch::new(), Checkpoint::encode(&n)?)?;
    }
    Ok(())
}

/// Returns handlers that loop, fail, wait at `latch`, or succeed.
fn handlers(latch: &Latch) -> Handlers {
    Handlers::new()
        .with("loops", Handler::new(until_stopped))
        .with("fails", Handler::new(|_: &Job| Err::<(), _>("no")))
        .with("blocked", waits_at_latch(latch))
        .with("at once", Handler::new(no_op))
}

fn named(id: &str, name: &str) -> OperationSpec {
    spec(id).name(name)
}

/// Phase of a job when it is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Running,
    Queued,
    BackingOff,
}

const PHASES: [Phase; 3] = [Phase::Running, Phase::Queued, Phase::BackingOff];

/// Starts a runner with one thread, and brings job "op" to `phase`.
fn start_job(scene: &Scene, latch: &Latch, phase: Phase) -> (Runner, JobHandle) {
    let runner = single_threaded(scene);
    let events = scene.vault.operations().subscribe(1_000);
    let await_event = |is: &dyn Fn(&EventKind) -> bool| {
        while !is(&events.next_within(WAIT_MAX).expect("an event").kind) {}
    };
    let job = match phase {
        Phase::Running => {
            let job = runner.submit(named("op", "loops")).unwrap();
            await_event(&|kind| matches!(kind, EventKind::Progress { .. }));
            job
        }
        Phase::Queued => {
            runner.submit(named("before", "blocked")).unwrap();
            latch.await_waiters(1);
            runner.submit(named("op", "loops")).unwrap()
        }
        Phase::BackingOff => {
            let hour = Duration::from_secs(3_600);
            let retry = RetryPolicy { attempts_max: 0, backoff_first: hour, backoff_max: hour };
            let job = runner.submit(named("op", "fails").retry(retry)).unwrap();
            await_event(&|kind| matches!(kind, EventKind::Failed { .. }));
            // The only thread has left "op" when it has run another job.
            await_end(&runner.submit(named("other", "at once")).unwrap());
            job
        }
    };
    (runner, job)
}

#[test]
fn pause_in_each_phase_holds_the_job_until_resumed_by_id() {
    for phase in PHASES {
        let latch = Latch::default();
        let scene = Scene::with(handlers(&latch));
        let (runner, job) = start_job(&scene, &latch, phase);
        runner.pause("op").unwrap();
        assert_eq!(await_end(&job), OperationState::Paused, "{phase:?}");
        let found = status(&scene.vault, "op");
        assert!(found.held);
        let generations = u64::from(phase != Phase::Queued);
        assert_eq!(found.generation, generations, "a queued job does not begin");
        assert_eq!(found.failure.is_some(), phase == Phase::BackingOff);
        assert_eq!(resumability(&scene.vault, "op"), Resumable::Held);
        for outcome in [runner.pause("op"), runner.cancel("op")] {
            assert_error(outcome, ErrorKind::NotFound, "does not have the operation");
        }
        latch.release();
        let report = runner.resume_all().unwrap();
        assert!(report.resumed.iter().all(|job| job.id() != "op"));
        let again = runner.resume("op").unwrap();
        assert!(again.wait(Duration::ZERO).unwrap().is_none(), "the job runs again");
        runner.cancel("op").unwrap();
        assert_eq!(await_end(&again), OperationState::Cancelled);
        assert_eq!(await_end(&job), OperationState::Paused, "the first handle keeps its state");
        assert_whole(&scene.vault);
    }
}

#[test]
fn cancel_in_each_phase_ends_the_job() {
    for phase in PHASES {
        let latch = Latch::default();
        let scene = Scene::with(handlers(&latch));
        let (runner, job) = start_job(&scene, &latch, phase);
        let committed = status(&scene.vault, "op").lanes[0].checkpoints;
        runner.cancel("op").unwrap();
        assert_eq!(await_end(&job), OperationState::Cancelled, "{phase:?}");
        let found = status(&scene.vault, "op");
        assert!(found.lanes[0].checkpoints >= committed, "committed checkpoints stay");
        assert_eq!(found.generation, u64::from(phase != Phase::Queued));
        assert!(!unfinished(&scene.vault).contains(&"op".to_owned()));
        assert_error(runner.resume("op"), ErrorKind::Invalid, "was cancelled");
        latch.release();
        runner.shutdown(WAIT_MAX).unwrap();
        assert_eq!(state(&scene.vault, "op"), OperationState::Cancelled);
    }
}

#[test]
fn shutdown_in_each_phase_leaves_jobs_to_the_next_runner() {
    for phase in PHASES {
        let latch = Latch::default();
        let scene = Scene::with(handlers(&latch));
        let (runner, job) = start_job(&scene, &latch, phase);
        let left = match phase {
            Phase::Running => OperationState::Paused,
            Phase::Queued => OperationState::Initialized,
            Phase::BackingOff => OperationState::Failed,
        };
        if phase == Phase::Queued {
            // The running job does not stop. The shutdown reports it and does not kill it.
            let outcome = runner.shutdown(Duration::from_millis(1));
            assert_error(outcome, ErrorKind::Locked, "1 operations did not stop");
            assert_error(runner.shutdown(Duration::ZERO), ErrorKind::Locked, "1 operations");
            assert_eq!(state(&scene.vault, "before"), OperationState::Running);
        }
        latch.release();
        runner.shutdown(WAIT_MAX).unwrap();
        assert_eq!(job.wait(Duration::ZERO).unwrap(), Some(left), "{phase:?}: without a wait");
        let found = status(&scene.vault, "op");
        assert_eq!((found.state, found.held), (left, false));
        for outcome in [runner.pause("op"), runner.cancel("op")] {
            assert_error(outcome, ErrorKind::NotFound, "does not have the operation");
        }
        runner.shutdown(Duration::ZERO).expect("a second shutdown succeeds");
        if phase == Phase::Queued {
            // The handler ignored the stop and succeeded.
            assert_eq!(state(&scene.vault, "before"), OperationState::Completed);
        }

        let scene = scene.reopen_with(handlers(&latch));
        let next = single_threaded(&scene);
        let report = next.resume_all().unwrap();
        assert_eq!((report.resumed.len(), report.left.len()), (1, 0));
        next.cancel("op").unwrap();
        assert_eq!(await_end(&report.resumed[0]), OperationState::Cancelled);
        assert_whole(&scene.vault);
    }
}

#[test]
fn shutdown_does_not_count_as_a_try() {
    let latch = Latch::default();
    let mut scene = Scene::with(handlers(&latch));
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
        let events = scene.vault.operations().subscribe(10);
        let runner = single_threaded(&scene);
        let job = runner.resume_all().unwrap().resumed.pop().unwrap();
        assert_eq!(events.next_within(WAIT_MAX).unwrap().kind, EventKind::Started);
        runner.shutdown(WAIT_MAX).unwrap();
        assert_eq!(await_end(&job), OperationState::Paused);
        let found = status(&scene.vault, "op");
        assert_eq!((found.attempts, found.generation), (0, generation));
    }
}

#[test]
fn stronger_of_two_stops_wins() {
    type Stops = [fn(&Runner) -> Result<()>; 2];
    let pause = |runner: &Runner| runner.pause("op");
    let cancel = |runner: &Runner| runner.cancel("op");
    let shut_down = |runner: &Runner| runner.shutdown(Duration::ZERO).or(Ok(()));
    // The stops, the state after them, and `held`.
    let cases: [(Stops, OperationState, bool); 5] = [
        ([pause, cancel], OperationState::Cancelled, false),
        ([cancel, pause], OperationState::Cancelled, false),
        ([cancel, shut_down], OperationState::Cancelled, false),
        ([pause, shut_down], OperationState::Paused, true),
        ([shut_down, pause], OperationState::Paused, true),
    ];
    for (stops, left, held) in cases {
        let latch = Latch::default();
        let in_job = latch.clone();
        let handler = Handler::new(move |job: &Job| {
            in_job.wait();
            job.check()
        });
        let scene = Scene::with(Handlers::new().with("op", handler));
        let runner = single_threaded(&scene);
        let job = runner.submit(spec("op")).unwrap();
        latch.await_waiters(1);
        for stop in stops {
            stop(&runner).unwrap();
        }
        latch.release();
        assert_eq!((await_end(&job), status(&scene.vault, "op").held), (left, held));
    }
}

#[test]
fn handler_that_succeeds_despite_a_stop_completes() {
    let latch = Latch::default();
    let scene = Scene::with(handlers(&latch));
    let runner = single_threaded(&scene);
    let job = runner.submit(named("op", "blocked")).unwrap();
    latch.await_waiters(1);
    runner.cancel("op").unwrap();
    latch.release();
    assert_eq!(await_end(&job), OperationState::Completed);
}

#[test]
fn error_during_a_stop_is_a_warning_and_a_failed_try() {
    let outcomes: [fn() -> Result<()>; 2] = [
        || Err(Error::new(ErrorKind::Unavailable, "reach a host")),
        || panic!("the host's own bug"),
    ];
    for (outcome, expected) in outcomes.into_iter().zip(["reach a host", "panicked: the host's"]) {
        let latch = Latch::default();
        let in_job = latch.clone();
        let handler = Handler::new(move |_: &Job| {
            in_job.wait();
            outcome()
        });
        let scene = Scene::with(Handlers::new().with("op", handler));
        let events = scene.vault.operations().subscribe(10);
        let runner = single_threaded(&scene);
        let job = runner.submit(spec("op")).unwrap();
        latch.await_waiters(1);
        runner.pause("op").unwrap();
        latch.release();
        assert_eq!(await_end(&job), OperationState::Paused);
        let found = status(&scene.vault, "op");
        assert_eq!(found.attempts, 1);
        assert!(found.failure.is_some_and(|failure| failure.error.contains(expected)));
        let kinds: Vec<_> = std::iter::from_fn(|| events.next_now()).map(|e| e.kind).collect();
        assert!(matches!(
            &kinds[..],
            [EventKind::Started, EventKind::Warning { text }, EventKind::Paused]
                if text.contains("while it was stopped") && text.contains(expected)
        ));
    }
}

#[test]
fn stop_at_the_start_of_a_try_is_not_lost() {
    let latch = Latch::default();
    let scene = Scene::with(handlers(&latch));
    let runner = single_threaded(&scene);
    let mut random = Random::new(1);
    for n in 0..500 {
        let id = format!("op {n}");
        let job = runner.submit(named(&id, "loops")).unwrap();
        (0..random.below(200)).for_each(|_| std::hint::spin_loop());
        runner.cancel(&id).unwrap();
        assert_eq!(await_end(&job), OperationState::Cancelled, "{n}");
    }
}

#[test]
fn stop_inside_a_write_is_invalid() {
    let latch = Latch::default();
    let scene = Scene::with(handlers(&latch));
    let (runner, job) = start_job(&scene, &latch, Phase::Queued);
    for stop in [Runner::pause, Runner::cancel] {
        let nested = scene.vault.write(|_| stop(&runner, "op"));
        assert_error(nested, ErrorKind::Invalid, "inside a write");
    }
    assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
    runner.pause("op").unwrap();
    assert_eq!(await_end(&job), OperationState::Paused);
    latch.release();
}

#[test]
fn waits_keep_their_timeout_while_a_stop_commits() {
    let latch = Latch::default();
    let scene = Scene::with(handlers(&latch));
    let (runner, job) = start_job(&scene, &latch, Phase::Queued);
    let (stops, stopping) = channel();
    let stopper = scene.vault.write(|_| {
        let own = runner.clone();
        let stopper = thread::spawn(move || {
            stops.send(()).unwrap();
            own.cancel("op")
        });
        stopping.recv_timeout(WAIT_MAX).unwrap();
        // Lets the cancel wait for the write turn, which this thread holds.
        (0..2_000).for_each(|_| thread::yield_now());
        assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
        runner.shutdown(Duration::ZERO).expect_err("the cancel is not committed yet");
        Ok::<_, Error>(stopper)
    });
    stopper.unwrap().join().unwrap().unwrap();
    assert_eq!(await_end(&job), OperationState::Cancelled);
    latch.release();
}

#[test]
fn last_handles_may_drop_on_a_job_thread() {
    let slot: Arc<Mutex<Option<(Runner, Vault)>>> = Arc::default();
    let (latch, slot_of_job) = (Latch::default(), Arc::clone(&slot));
    let (sender, outcomes) = channel();
    let sender = Mutex::new(sender);
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        in_job.wait();
        drop(slot_of_job.lock().take());
        let outcome = job.check();
        sender.lock().send(outcome.as_ref().map_err(Error::kind).copied()).unwrap();
        outcome
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    let waits = runner.submit(spec("waits").name("op")).unwrap();
    latch.await_waiters(1);
    // The job drops these handles. Only the scene keeps one, to read the state afterwards.
    *slot.lock() = Some((runner, scene.vault.clone()));
    latch.release();
    assert_eq!(outcomes.recv_timeout(WAIT_MAX).unwrap(), Err(ErrorKind::Cancelled));
    assert_eq!(await_end(&job), OperationState::Paused);
    assert_eq!(await_end(&waits), OperationState::Initialized);
}

#[test]
fn runner_stops_when_its_last_clone_is_dropped() {
    let latch = Latch::default();
    let scene = Scene::with(handlers(&latch));
    let (runner, job) = start_job(&scene, &latch, Phase::Running);
    let clone = runner.clone();
    drop(runner);
    let second = clone.submit(named("second", "at once")).unwrap();
    drop(clone);
    assert_eq!(await_end(&job), OperationState::Paused);
    assert_eq!(await_end(&second), OperationState::Initialized);
    assert!(!status(&scene.vault, "op").held);
}

#[test]
fn shutdown_from_a_job_does_not_wait_for_itself() {
    let slot: Arc<Mutex<Option<Runner>>> = Arc::default();
    let (latch, own, tries) = (Latch::default(), Arc::clone(&slot), Arc::new(AtomicU32::new(0)));
    let (in_job, counted) = (latch.clone(), Arc::clone(&tries));
    let handler = Handler::new(move |job: &Job| {
        counted.fetch_add(1, SeqCst);
        in_job.wait();
        let runner = own.lock().clone().unwrap();
        let outcome = runner.shutdown(Duration::from_millis(1));
        assert_error(outcome, ErrorKind::Locked, "1 operations did not stop");
        job.check()
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    let job = runner.submit(spec("op")).unwrap();
    *slot.lock() = Some(runner.clone());
    latch.release();
    assert_eq!(await_end(&job), OperationState::Paused);
    runner.shutdown(WAIT_MAX).unwrap();
    assert_eq!(tries.load(SeqCst), 1);
    // Breaks the cycle: the handler has the runner, the runner has the vault, and the vault has
    // the handler.
    slot.lock().take();
}
