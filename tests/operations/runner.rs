//! Work in the background: submitted, tried again, resumed, watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{
    Checkpoint, CheckpointPolicy, OperationSpec, OperationState, Resumable, RetryPolicy,
};
use strongroom::runner::{Handler, Handlers, Job, JobHandle, Resumed, Runner, RunnerOptions};
use strongroom::{Batch, Error, ErrorKind, Result};

use crate::gate::Gate;
use crate::scene::{AT_ONCE, Scene, lane_status, row, spec, stands, state, status, unfinished};
use crate::support::group::PATIENCE;
use crate::support::records::{all, assert_error, assert_whole, get};

/// A runner whose jobs run one after the other.
pub(crate) fn single(scene: &Scene) -> Runner {
    Runner::start(&scene.vault, RunnerOptions::new().threads(1).queue(1_000)).unwrap()
}

#[track_caller]
pub(crate) fn ended(job: &JobHandle) -> OperationState {
    job.wait(PATIENCE).unwrap().expect("it ends")
}

#[allow(clippy::unnecessary_wraps)] // It is a handler.
pub(crate) fn nothing(_: &Job) -> Result<()> {
    Ok(())
}

/// A handler that waits at `gate`, and then is done.
pub(crate) fn at_gate(gate: &Gate) -> Handler {
    let gate = gate.clone();
    Handler::new(move |_: &Job| {
        gate.pass();
        Ok::<_, Error>(())
    })
}

/// Five rows, each with its checkpoint, from where the lane stands.
fn five_rows(job: &Job) -> Result<()> {
    let lane = job.lane("main")?;
    for n in lane.status()?.decode::<u32>()?.unwrap_or(0)..5 {
        let key = format!("{} {n}", job.status().id);
        lane.commit(row(&key), Checkpoint::encode(&(n + 1))?)?;
    }
    Ok(())
}

#[test]
fn what_is_submitted_runs_on_another_thread_and_completes() {
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    let handler = Handler::new(move |job: &Job| {
        *told.lock() = Some((thread::current().id(), job.status().clone()));
        five_rows(job)
    });
    let scene = Scene::with(Handlers::new().with("import", handler));
    let runner = single(&scene);
    let job = runner.submit(spec("op").name("import").metadata("by", "ada")).unwrap();
    assert_eq!((job.id(), ended(&job)), ("op", OperationState::Completed));
    let (thread, begun) = seen.lock().take().unwrap();
    assert_ne!(thread, thread::current().id());
    assert_eq!((begun.state, begun.attempts), (OperationState::Running, 1));
    assert_eq!((&begun.name[..], &begun.metadata[0].1[..]), ("import", "ada"));
    assert_eq!(all(&scene.vault).unwrap().len(), 5);
    let found = status(&scene.vault, "op");
    assert_eq!((found.state, found.generation, found.attempts), (OperationState::Completed, 1, 0));
    assert_eq!(stands(&scene.vault, "op"), Resumable::Completed);
    // What has ended stays told, and the runner does not have it any more.
    assert_eq!(job.wait(Duration::ZERO).unwrap(), Some(OperationState::Completed));
    assert_error(runner.pause("op"), ErrorKind::NotFound, "does not have the operation");
    assert_whole(&scene.vault);
}

#[test]
fn what_is_submitted_is_durable_before_its_turn_and_a_crash_loses_none() {
    let gate = Gate::default();
    let handlers = || Handlers::new().with("held up", at_gate(&gate));
    let scene = Scene::with(handlers());
    let runner = single(&scene);
    let named = |id: &str| spec(id).name("held up");
    let jobs: Vec<_> = ["1", "2", "3"].map(|id| runner.submit(named(id)).unwrap()).into();
    gate.await_arrivals(1);
    let states = ["1", "2", "3"].map(|id| state(&scene.vault, id));
    let waiting = OperationState::Initialized;
    assert_eq!(states, [OperationState::Running, waiting, waiting]);
    // The vault goes away under it, as in a crash.
    let scene = scene.reopen_with(handlers());
    assert_eq!(unfinished(&scene.vault), ["1", "2", "3"]);
    let next = single(&scene);
    let Resumed { resumed, left, .. } = next.resume_all().unwrap();
    assert_eq!((resumed.len(), left), (3, vec![]));
    gate.open();
    for job in &resumed {
        assert_eq!(ended(job), OperationState::Completed);
    }
    // Each of the old ones is told why it did not end.
    for job in &jobs {
        assert_error(job.wait(PATIENCE), ErrorKind::Closed, "closed");
    }
    runner.shutdown(PATIENCE).unwrap();
    let generations = ["1", "2", "3"].map(|id| status(&scene.vault, id).generation);
    assert_eq!(generations, [2, 1, 1], "those that waited were begun once");
}

/// Has a runner with a single thread do all that is due now.
pub(crate) fn let_run(runner: &Runner, turn: &mut u32) {
    *turn += 1;
    let job = runner.submit(spec(&format!("turn {turn}")).name("turn")).unwrap();
    assert_eq!(ended(&job), OperationState::Completed);
}

#[test]
fn a_failure_is_tried_again_after_its_wait_until_tries_are_used_up() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let failing = Handler::new(move |job: &Job| {
        let attempt = counted.fetch_add(1, SeqCst) + 1;
        assert_eq!(job.status().attempts, attempt);
        Err::<(), _>(format!("failure {attempt}"))
    });
    let handlers = Handlers::new().with("op", failing).with("turn", Handler::new(nothing));
    let scene = Scene::with(handlers);
    let (runner, mut turn) = (single(&scene), 0);
    let retry = RetryPolicy {
        attempts_max: 4,
        backoff_first: Duration::from_secs(10),
        backoff_max: Duration::from_secs(25),
    };
    let job = runner.submit(spec("op").retry(retry)).unwrap();
    for (attempt, wait) in [(1, 10), (2, 20), (3, 25)] {
        // One thread: what is due runs before what is submitted after it.
        let_run(&runner, &mut turn);
        assert_eq!(tries.load(SeqCst), attempt);
        let found = status(&scene.vault, "op");
        assert_eq!((found.state, found.attempts), (OperationState::Failed, attempt));
        assert_eq!(found.failure.unwrap().error, format!("failure {attempt}"));
        assert_eq!(job.wait(Duration::ZERO).unwrap(), None, "it is not done with it");
        scene.clock.advance(Duration::from_millis(wait * 1_000 - 1));
        let_run(&runner, &mut turn);
        assert_eq!(tries.load(SeqCst), attempt, "not before its time");
        scene.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(ended(&job), OperationState::Failed);
    assert_eq!(tries.load(SeqCst), 4);
    assert_eq!(stands(&scene.vault, "op"), Resumable::AttemptsExhausted { attempts: 4 });
    assert_error(runner.resume("op"), ErrorKind::Invalid, "4 tries without a checkpoint");
}

#[test]
fn a_checkpoint_gives_a_failing_handler_all_its_tries_again() {
    let handler = Handler::new(|job: &Job| {
        let lane = job.lane("main")?;
        let done = lane.status()?.decode::<u32>()?.unwrap_or(0);
        if done < 10 && job.status().attempts == 2 {
            lane.commit(Batch::new(), Checkpoint::encode(&(done + 1))?)?;
        }
        if done == 10 { Ok(()) } else { Err(Error::new(ErrorKind::Unavailable, "reach a host")) }
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let two = RetryPolicy { attempts_max: 2, ..AT_ONCE };
    let runner = single(&scene);
    let job = runner.submit(spec("op").retry(two)).unwrap();
    assert_eq!(ended(&job), OperationState::Completed);
    assert_eq!(lane_status(&scene.vault, "op", "main").decode::<u32>().unwrap(), Some(10));
    assert_eq!(status(&scene.vault, "op").generation, 21, "two tries for each step");
}

#[test]
fn no_handler_s_panic_costs_the_runner_its_thread() {
    let panicking = Handler::new(|_: &Job| -> Result<()> { panic!("the host's own bug") });
    let handlers = Handlers::new().with("bad", panicking).with("good", Handler::new(five_rows));
    let scene = Scene::with(handlers);
    let runner = single(&scene);
    let bad = runner.submit(spec("bad")).unwrap();
    let good = runner.submit(spec("good")).unwrap();
    assert_eq!((ended(&bad), ended(&good)), (OperationState::Failed, OperationState::Completed));
    let found = status(&scene.vault, "bad");
    assert_eq!((found.attempts, found.generation), (3, 3), "tried as often as it may be");
    assert_eq!(found.failure.unwrap().error, "panicked: the host's own bug");
    assert_eq!(stands(&scene.vault, "bad"), Resumable::AttemptsExhausted { attempts: 3 });
    runner.shutdown(PATIENCE).unwrap();
}

#[test]
fn what_no_handler_takes_is_refused_and_not_written() {
    let import = Handler::new(nothing).versions(2..=3);
    let scene = Scene::with(Handlers::new().with("import", import));
    let runner = single(&scene);
    let submit = |spec: OperationSpec| runner.submit(spec);
    assert_error(submit(spec("op")), ErrorKind::Invalid, "no handler for its name");
    assert_error(submit(spec("import")), ErrorKind::Invalid, "does not read version 0");
    let named = |id: &str| spec(id).name("import").version(2);
    assert_error(submit(named("op").version(4)), ErrorKind::Invalid, "version 4");
    assert_error(submit(named("")), ErrorKind::Invalid, "is empty");
    assert_error(submit(named("strongroom.op")), ErrorKind::Invalid, "engine's own");
    assert_error(submit(named("op").lanes([""; 0])), ErrorKind::Invalid, "at least one");
    assert_error(submit(named("op").checkpoints_kept(0)), ErrorKind::Invalid, "to keep");
    let nested = scene.vault.write(|_| runner.submit(named("op")));
    assert_error(nested, ErrorKind::Invalid, "within a write");
    assert_eq!(scene.vault.read().unwrap().operation_count().unwrap(), 0);
    // None of that is in the runner's way.
    assert_eq!(ended(&submit(named("op")).unwrap()), OperationState::Completed);
    assert_error(submit(named("op")), ErrorKind::AlreadyExists, "op");
    runner.shutdown(PATIENCE).unwrap();
    assert_error(submit(named("late")), ErrorKind::Closed, "was shut down");
    assert_error(runner.resume("op"), ErrorKind::Closed, "was shut down");
    assert_error(runner.resume_all(), ErrorKind::Closed, "was shut down");
    assert_eq!(scene.vault.read().unwrap().operation_count().unwrap(), 1);
}

#[test]
fn a_runner_is_started_with_handlers_and_within_bounds() {
    let start = |scene: &Scene, threads, queue| {
        Runner::start(&scene.vault, RunnerOptions::new().threads(threads).queue(queue))
    };
    assert_error(start(&Scene::new(), 1, 1), ErrorKind::Invalid, "without handlers");
    let scene = Scene::with(Handlers::new().with("op", Handler::new(nothing)));
    for (threads, queue) in [(0, 1), (257, 1), (1, 0), (usize::MAX, 1)] {
        assert_error(start(&scene, threads, queue), ErrorKind::Invalid, "1 to 256");
    }
    let runner = start(&scene, 256, usize::MAX).unwrap();
    assert_eq!(ended(&runner.submit(spec("op")).unwrap()), OperationState::Completed);
}

#[test]
fn a_full_queue_refuses_and_writes_nothing_until_there_is_room() {
    let gate = Gate::default();
    let scene = Scene::with(Handlers::new().with("held up", at_gate(&gate)));
    let runner = Runner::start(&scene.vault, RunnerOptions::new().threads(1).queue(2)).unwrap();
    let submit = |id: &str| runner.submit(spec(id).name("held up"));
    let runs = submit("runs").unwrap();
    gate.await_arrivals(1);
    let waiting = [submit("1").unwrap(), submit("2").unwrap()];
    for _ in 0..2 {
        assert_error(submit("3"), ErrorKind::Unavailable, "2 operations wait already");
    }
    assert_eq!(unfinished(&scene.vault), ["1", "2", "runs"]);
    // One that is given up waits no more.
    runner.cancel("1").unwrap();
    let third = submit("3").unwrap();
    assert_error(submit("4"), ErrorKind::Unavailable, "2 operations wait already");
    gate.open();
    assert_eq!(ended(&waiting[0]), OperationState::Cancelled);
    for job in [&runs, &waiting[1], &third] {
        assert_eq!(ended(job), OperationState::Completed);
    }
    assert_eq!(ended(&submit("4").unwrap()), OperationState::Completed);
}

#[test]
fn a_handler_s_progress_is_told_by_the_handle_and_to_whoever_was_named() {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = Handler::new(move |job: &Job| {
        job.progress().report(3, None);
        held.pass();
        let lane = job.lane("main")?;
        let policy = CheckpointPolicy { items: 2, progress: 1.0, ..CheckpointPolicy::EACH };
        let mut paced = job.auto_checkpoint(&lane, policy, 4)?.total(7);
        for item in 4..7_u32 {
            paced.step(|| Checkpoint::encode(&item))?;
        }
        paced.finish(Checkpoint::encode(&7)?)
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single(&scene);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let progress = move |done, total| told.lock().push((done, total));
    let job = runner.submit_with(spec("op"), progress).unwrap();
    gate.await_arrivals(1);
    assert_eq!((job.done(), job.total()), (3, 0));
    assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
    assert_eq!(job.wait(Duration::from_millis(1)).unwrap(), None, "it still runs");
    gate.open();
    assert_eq!(ended(&job), OperationState::Completed);
    assert_eq!((job.done(), job.total()), (7, 7));
    let expected = [(3, None), (5, Some(7)), (6, Some(7)), (7, Some(7))];
    assert_eq!(*heard.lock(), expected);
    assert_eq!(lane_status(&scene.vault, "op", "main").checkpoints, 2);
}

#[test]
fn resuming_everything_takes_what_can_go_on_and_tells_why_the_rest_is_left() {
    let handlers = || Handlers::new().with("work", Handler::new(five_rows).checkpoints::<u32>());
    let scene = Scene::with(handlers());
    let vault = &scene.vault;
    let work = |id: &str| spec(id).name("work");
    let begin = |id: &str| vault.operations().begin_with(work(id)).unwrap();
    let commit = |id: &str, checkpoint| {
        begin(id).lane("main").unwrap().commit(row(id), checkpoint).unwrap();
    };
    vault.operations().prepare(work("prepared")).unwrap();
    commit("half", Checkpoint::encode(&3).unwrap());
    commit("unreadable", Checkpoint::new(vec![0xc1]));
    begin("held").pause().unwrap();
    begin("done").complete().unwrap();
    vault.operations().prepare(work("foreign").name("other")).unwrap();
    let live = begin("live");
    let runner = single(&scene);
    let report = runner.resume_all().unwrap();
    let resumed: Vec<_> = report.resumed.iter().map(JobHandle::id).collect();
    assert_eq!(resumed, ["half", "prepared"]);
    let left: Vec<_> = report.left.iter().map(|op| (&op.id[..], &op.resumable)).collect();
    let alive = Resumable::OwnerAlive { generation: 1 };
    assert_eq!(
        left[..3],
        [("foreign", &Resumable::UnknownName), ("held", &Resumable::Held), ("live", &alive),]
    );
    assert_eq!(left[3..], [("unreadable", &Resumable::UnknownData { lane: "main".into() })]);
    for job in &report.resumed {
        assert_eq!(ended(job), OperationState::Completed);
    }
    assert!(get(vault, "half 2").is_none() && get(vault, "half 3").is_some());
    drop(live);
    assert_eq!(runner.resume_all().unwrap().resumed.len(), 1);
}

#[test]
fn one_operation_is_resumed_by_its_id_paused_or_not_and_others_are_refused() {
    let gate = Gate::default();
    let handlers = Handlers::new().with("work", Handler::new(five_rows));
    let scene = Scene::with(handlers.with("held up", at_gate(&gate)));
    let vault = &scene.vault;
    let runner = single(&scene);
    vault.operations().begin_with(spec("held").name("work")).unwrap().pause().unwrap();
    assert_eq!(ended(&runner.resume("held").unwrap()), OperationState::Completed);

    assert_error(runner.resume("held"), ErrorKind::AlreadyExists, "is completed");
    assert_error(runner.resume("none"), ErrorKind::NotFound, "none");
    vault.operations().begin_with(spec("given up")).unwrap().cancel().unwrap();
    assert_error(runner.resume("given up"), ErrorKind::Invalid, "was cancelled");
    vault.operations().prepare(spec("foreign")).unwrap();
    assert_error(runner.resume("foreign"), ErrorKind::Invalid, "no handler for its name");
    let live = vault.operations().begin_with(spec("live").name("work")).unwrap();
    assert_error(runner.resume("live"), ErrorKind::Locked, "generation 1");
    drop(live);
    // What it has, whether it runs or waits, it does not take in twice, and runs once.
    let jobs = ["runs", "waits"].map(|id| runner.submit(spec(id).name("held up")).unwrap());
    gate.await_arrivals(1);
    for id in ["runs", "waits"] {
        assert_eq!(runner.resume(id).unwrap().id(), id);
    }
    assert_eq!(runner.resume_all().unwrap().resumed[0].id(), "live", "nor with everything");
    gate.open();
    for job in &jobs {
        assert_eq!(ended(job), OperationState::Completed);
    }
}
