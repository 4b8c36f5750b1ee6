//! Jobs in the background: submitting, retrying, resuming, progress.

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

use crate::latch::Latch;
use crate::scene::{
    AT_ONCE, Scene, lane_status, resumability, row, spec, state, status, unfinished,
};
use crate::support::group::WAIT_MAX;
use crate::support::records::{all, assert_error, assert_whole, get};

/// Starts a runner with one thread: jobs run one after another.
pub(crate) fn single_threaded(scene: &Scene) -> Runner {
    Runner::start(&scene.vault, RunnerOptions::new().threads(1).queue(1_000)).unwrap()
}

#[track_caller]
pub(crate) fn await_end(job: &JobHandle) -> OperationState {
    job.wait(WAIT_MAX).unwrap().expect("the job ends")
}

#[allow(clippy::unnecessary_wraps)] // Handlers return a result.
pub(crate) fn no_op(_: &Job) -> Result<()> {
    Ok(())
}

/// Returns a handler that waits at `latch` and then succeeds.
pub(crate) fn waits_at_latch(latch: &Latch) -> Handler {
    let latch = latch.clone();
    Handler::new(move |_: &Job| {
        latch.wait();
        Ok::<_, Error>(())
    })
}

/// Commits the rest of five rows, each with a checkpoint.
fn five_rows(job: &Job) -> Result<()> {
    let lane = job.lane("main")?;
    for n in lane.status()?.decode::<u32>()?.unwrap_or(0)..5 {
        let key = format!("{} {n}", job.status().id);
        lane.commit(row(&key), Checkpoint::encode(&(n + 1))?)?;
    }
    Ok(())
}

#[test]
fn submitted_job_runs_on_another_thread_and_completes() {
    let seen = Arc::new(Mutex::new(None));
    let seen_by_job = Arc::clone(&seen);
    let handler = Handler::new(move |job: &Job| {
        *seen_by_job.lock() = Some((thread::current().id(), job.status().clone()));
        five_rows(job)
    });
    let scene = Scene::with(Handlers::new().with("import", handler));
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op").name("import").metadata("by", "ada")).unwrap();
    assert_eq!((job.id(), await_end(&job)), ("op", OperationState::Completed));
    let (thread, begun) = seen.lock().take().unwrap();
    assert_ne!(thread, thread::current().id());
    assert_eq!((begun.state, begun.attempts), (OperationState::Running, 1));
    assert_eq!((&begun.name[..], &begun.metadata[0].1[..]), ("import", "ada"));
    assert_eq!(all(&scene.vault).unwrap().len(), 5);
    let found = status(&scene.vault, "op");
    assert_eq!((found.state, found.generation, found.attempts), (OperationState::Completed, 1, 0));
    assert_eq!(resumability(&scene.vault, "op"), Resumable::Completed);
    // The handle keeps the end state. The runner no longer has the job.
    assert_eq!(job.wait(Duration::ZERO).unwrap(), Some(OperationState::Completed));
    assert_error(runner.pause("op"), ErrorKind::NotFound, "does not have the operation");
    assert_whole(&scene.vault);
}

#[test]
fn submitted_operations_are_durable_before_they_run() {
    let latch = Latch::default();
    let handlers = || Handlers::new().with("blocked", waits_at_latch(&latch));
    let scene = Scene::with(handlers());
    let runner = single_threaded(&scene);
    let named = |id: &str| spec(id).name("blocked");
    let jobs: Vec<_> = ["1", "2", "3"].map(|id| runner.submit(named(id)).unwrap()).into();
    latch.await_waiters(1);
    let states = ["1", "2", "3"].map(|id| state(&scene.vault, id));
    let waiting = OperationState::Initialized;
    assert_eq!(states, [OperationState::Running, waiting, waiting]);
    // Closes the vault under the runner, like a crash.
    let scene = scene.reopen_with(handlers());
    assert_eq!(unfinished(&scene.vault), ["1", "2", "3"]);
    let next = single_threaded(&scene);
    let Resumed { resumed, left, .. } = next.resume_all().unwrap();
    assert_eq!((resumed.len(), left), (3, vec![]));
    latch.release();
    for job in &resumed {
        assert_eq!(await_end(job), OperationState::Completed);
    }
    // The old job handles return the reason.
    for job in &jobs {
        assert_error(job.wait(WAIT_MAX), ErrorKind::Closed, "closed");
    }
    runner.shutdown(WAIT_MAX).unwrap();
    let generations = ["1", "2", "3"].map(|id| status(&scene.vault, id).generation);
    assert_eq!(generations, [2, 1, 1], "waiting operations began once");
}

/// Makes a runner with one thread run all jobs that are due.
///
/// Submits a marker job and waits for it: the thread runs due jobs first.
pub(crate) fn run_due_jobs(runner: &Runner, marker: &mut u32) {
    *marker += 1;
    let job = runner.submit(spec(&format!("marker {marker}")).name("marker")).unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
}

#[test]
fn failed_job_is_retried_after_backoff_until_exhausted() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let failing = Handler::new(move |job: &Job| {
        let attempt = counted.fetch_add(1, SeqCst) + 1;
        assert_eq!(job.status().attempts, attempt);
        Err::<(), _>(format!("failure {attempt}"))
    });
    let handlers = Handlers::new().with("op", failing).with("marker", Handler::new(no_op));
    let scene = Scene::with(handlers);
    let (runner, mut marker) = (single_threaded(&scene), 0);
    let retry = RetryPolicy {
        attempts_max: 4,
        backoff_first: Duration::from_secs(10),
        backoff_max: Duration::from_secs(25),
    };
    let job = runner.submit(spec("op").retry(retry)).unwrap();
    for (attempt, wait) in [(1, 10), (2, 20), (3, 25)] {
        run_due_jobs(&runner, &mut marker);
        assert_eq!(tries.load(SeqCst), attempt);
        let found = status(&scene.vault, "op");
        assert_eq!((found.state, found.attempts), (OperationState::Failed, attempt));
        assert_eq!(found.failure.unwrap().error, format!("failure {attempt}"));
        assert_eq!(job.wait(Duration::ZERO).unwrap(), None, "the job waits for its next try");
        scene.clock.advance(Duration::from_millis(wait * 1_000 - 1));
        run_due_jobs(&runner, &mut marker);
        assert_eq!(tries.load(SeqCst), attempt, "no try before the end of the wait");
        scene.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(await_end(&job), OperationState::Failed);
    assert_eq!(tries.load(SeqCst), 4);
    assert_eq!(resumability(&scene.vault, "op"), Resumable::AttemptsExhausted { attempts: 4 });
    assert_error(runner.resume("op"), ErrorKind::Invalid, "4 tries without a checkpoint");
}

#[test]
fn checkpoint_resets_the_tries_of_a_failing_job() {
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
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op").retry(two)).unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
    assert_eq!(lane_status(&scene.vault, "op", "main").decode::<u32>().unwrap(), Some(10));
    assert_eq!(status(&scene.vault, "op").generation, 21, "two tries for each step");
}

#[test]
fn panicking_handler_does_not_end_the_runner_thread() {
    let panicking = Handler::new(|_: &Job| -> Result<()> { panic!("the host's own bug") });
    let handlers = Handlers::new().with("bad", panicking).with("good", Handler::new(five_rows));
    let scene = Scene::with(handlers);
    let runner = single_threaded(&scene);
    let bad = runner.submit(spec("bad")).unwrap();
    let good = runner.submit(spec("good")).unwrap();
    assert_eq!(
        (await_end(&bad), await_end(&good)),
        (OperationState::Failed, OperationState::Completed)
    );
    let found = status(&scene.vault, "bad");
    assert_eq!((found.attempts, found.generation), (3, 3), "all tries are used");
    assert_eq!(found.failure.unwrap().error, "panicked: the host's own bug");
    assert_eq!(resumability(&scene.vault, "bad"), Resumable::AttemptsExhausted { attempts: 3 });
    runner.shutdown(WAIT_MAX).unwrap();
}

#[test]
fn submit_without_a_matching_handler_is_invalid() {
    let import = Handler::new(no_op).versions(2..=3);
    let scene = Scene::with(Handlers::new().with("import", import));
    let runner = single_threaded(&scene);
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
    assert_error(nested, ErrorKind::Invalid, "inside a write");
    assert_eq!(scene.vault.read().unwrap().operation_count().unwrap(), 0);
    // The refusals leave the runner usable.
    assert_eq!(await_end(&submit(named("op")).unwrap()), OperationState::Completed);
    assert_error(submit(named("op")), ErrorKind::AlreadyExists, "op");
    runner.shutdown(WAIT_MAX).unwrap();
    assert_error(submit(named("late")), ErrorKind::Closed, "was shut down");
    assert_error(runner.resume("op"), ErrorKind::Closed, "was shut down");
    assert_error(runner.resume_all(), ErrorKind::Closed, "was shut down");
    assert_eq!(scene.vault.read().unwrap().operation_count().unwrap(), 1);
}

#[test]
fn runner_without_handlers_or_out_of_bounds_is_invalid() {
    let start = |scene: &Scene, threads, queue| {
        Runner::start(&scene.vault, RunnerOptions::new().threads(threads).queue(queue))
    };
    assert_error(start(&Scene::new(), 1, 1), ErrorKind::Invalid, "without handlers");
    let scene = Scene::with(Handlers::new().with("op", Handler::new(no_op)));
    for (threads, queue) in [(0, 1), (257, 1), (1, 0), (usize::MAX, 1)] {
        assert_error(start(&scene, threads, queue), ErrorKind::Invalid, "1 to 256");
    }
    let runner = start(&scene, 256, usize::MAX).unwrap();
    assert_eq!(await_end(&runner.submit(spec("op")).unwrap()), OperationState::Completed);
}

#[test]
fn full_queue_is_unavailable_and_writes_nothing() {
    let latch = Latch::default();
    let scene = Scene::with(Handlers::new().with("blocked", waits_at_latch(&latch)));
    let runner = Runner::start(&scene.vault, RunnerOptions::new().threads(1).queue(2)).unwrap();
    let submit = |id: &str| runner.submit(spec(id).name("blocked"));
    let runs = submit("runs").unwrap();
    latch.await_waiters(1);
    let waiting = [submit("1").unwrap(), submit("2").unwrap()];
    for _ in 0..2 {
        assert_error(submit("3"), ErrorKind::Unavailable, "2 operations wait already");
    }
    assert_eq!(unfinished(&scene.vault), ["1", "2", "runs"]);
    // A cancelled job leaves the queue.
    runner.cancel("1").unwrap();
    let third = submit("3").unwrap();
    assert_error(submit("4"), ErrorKind::Unavailable, "2 operations wait already");
    latch.release();
    assert_eq!(await_end(&waiting[0]), OperationState::Cancelled);
    for job in [&runs, &waiting[1], &third] {
        assert_eq!(await_end(job), OperationState::Completed);
    }
    assert_eq!(await_end(&submit("4").unwrap()), OperationState::Completed);
}

#[test]
fn progress_of_a_handler_reaches_handle_and_callback() {
    let latch = Latch::default();
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        job.progress().report(3, None);
        in_job.wait();
        let lane = job.lane("main")?;
        let policy = CheckpointPolicy { items: 2, progress: 1.0, ..CheckpointPolicy::EACH };
        let mut auto = job.auto_checkpoint(&lane, policy, 4)?.total(7);
        for item in 4..7_u32 {
            auto.step(|| Checkpoint::encode(&item))?;
        }
        auto.finish(Checkpoint::encode(&7)?)
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single_threaded(&scene);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let progress = move |done, total| sink.lock().push((done, total));
    let job = runner.submit_with(spec("op"), progress).unwrap();
    latch.await_waiters(1);
    assert_eq!((job.done(), job.total()), (3, 0));
    assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
    assert_eq!(job.wait(Duration::from_millis(1)).unwrap(), None, "the job still runs");
    latch.release();
    assert_eq!(await_end(&job), OperationState::Completed);
    assert_eq!((job.done(), job.total()), (7, 7));
    let expected = [(3, None), (5, Some(7)), (6, Some(7)), (7, Some(7))];
    assert_eq!(*reports.lock(), expected);
    assert_eq!(lane_status(&scene.vault, "op", "main").checkpoints, 2);
}

#[test]
fn resume_all_starts_the_ready_and_lists_the_others() {
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
    let runner = single_threaded(&scene);
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
        assert_eq!(await_end(job), OperationState::Completed);
    }
    assert!(get(vault, "half 2").is_none() && get(vault, "half 3").is_some());
    drop(live);
    assert_eq!(runner.resume_all().unwrap().resumed.len(), 1);
}

#[test]
fn resume_by_id_accepts_paused_and_refuses_unresumable() {
    let latch = Latch::default();
    let handlers = Handlers::new().with("work", Handler::new(five_rows));
    let scene = Scene::with(handlers.with("blocked", waits_at_latch(&latch)));
    let vault = &scene.vault;
    let runner = single_threaded(&scene);
    vault.operations().begin_with(spec("held").name("work")).unwrap().pause().unwrap();
    assert_eq!(await_end(&runner.resume("held").unwrap()), OperationState::Completed);

    assert_error(runner.resume("held"), ErrorKind::AlreadyExists, "is completed");
    assert_error(runner.resume("none"), ErrorKind::NotFound, "none");
    vault.operations().begin_with(spec("given up")).unwrap().cancel().unwrap();
    assert_error(runner.resume("given up"), ErrorKind::Invalid, "was cancelled");
    vault.operations().prepare(spec("foreign")).unwrap();
    assert_error(runner.resume("foreign"), ErrorKind::Invalid, "no handler for its name");
    let live = vault.operations().begin_with(spec("live").name("work")).unwrap();
    assert_error(runner.resume("live"), ErrorKind::Locked, "generation 1");
    drop(live);
    // A job that runs or waits is not accepted twice, and runs once.
    let jobs = ["runs", "waits"].map(|id| runner.submit(spec(id).name("blocked")).unwrap());
    latch.await_waiters(1);
    for id in ["runs", "waits"] {
        assert_eq!(runner.resume(id).unwrap().id(), id);
    }
    assert_eq!(runner.resume_all().unwrap().resumed[0].id(), "live", "not the runner's own jobs");
    latch.release();
    for job in &jobs {
        assert_eq!(await_end(job), OperationState::Completed);
    }
}
