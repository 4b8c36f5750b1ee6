//! Jobs on a busy vault, calls during a commit, repeated crashes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{
    Checkpoint, EventKind, ExpireOperations, OperationState, Recorder, Resumable, RetryPolicy,
};
use strongroom::runner::{Handler, Handlers, Job, JobHandle, Runner, RunnerOptions};
use strongroom::storage::MemoryState;
use strongroom::{Batch, Error, ErrorKind, Vault};
use strongroom_testkit::{TestKey, memory_vault};

use crate::latch::Latch;
use crate::runner::{await_end, no_op, single_threaded, waits_at_latch};
use crate::scene::{Scene, resumability, spec, state, status, unfinished};
use crate::support::group::WAIT_MAX;

/// Returns a vault with a write timeout of 20 ms.
fn vault_with_short_timeout(handlers: Handlers) -> Vault {
    Vault::options(TestKey)
        .handlers(handlers)
        .write_timeout(Duration::from_millis(20))
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

#[test]
fn job_completes_despite_a_long_write() {
    let latch = Latch::default();
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        in_job.wait();
        job.lane("main")?.commit(Batch::new(), Checkpoint::new("done"))
    });
    let vault = vault_with_short_timeout(Handlers::new().with("op", handler));
    let runner = single_of(&vault);
    let events = vault.operations().subscribe(100);
    let job = runner.submit(spec("op")).unwrap();
    latch.await_waiters(1);
    vault
        .write(|_| {
            latch.release();
            // The commit of the job and the commit of its failure time out. The runner warns.
            while !matches!(events.next_within(WAIT_MAX).unwrap().kind, EventKind::Warning { .. }) {
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
}

#[test]
fn operation_paused_while_queued_does_not_run() {
    let latch = Latch::default();
    let handlers = Handlers::new().with("blocked", waits_at_latch(&latch));
    let scene = Scene::with(handlers.with("op", Handler::new(no_op)));
    let runner = single_threaded(&scene);
    let first = runner.submit(spec("first").name("blocked")).unwrap();
    latch.await_waiters(1);
    let waits = runner.submit(spec("op")).unwrap();
    scene.vault.operations().pause("op").unwrap();
    latch.release();
    assert_eq!(await_end(&waits), OperationState::Paused);
    assert_eq!(resumability(&scene.vault, "op"), Resumable::Held);
    await_end(&first);
    // A resume by its id runs the job.
    assert_eq!(await_end(&runner.resume("op").unwrap()), OperationState::Completed);
}

#[test]
fn cancel_that_cannot_commit_is_locked_and_keeps_the_job() {
    let latch = Latch::default();
    let handlers = Handlers::new().with("blocked", waits_at_latch(&latch));
    let vault = vault_with_short_timeout(handlers.with("op", Handler::new(no_op)));
    let runner = single_of(&vault);
    let first = runner.submit(spec("first").name("blocked")).unwrap();
    latch.await_waiters(1);
    let waits = runner.submit(spec("op")).unwrap();
    let refused = vault.write(|_| {
        let own = runner.clone();
        Ok::<_, Error>(thread::spawn(move || own.cancel("op")).join().unwrap())
    });
    assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    assert!(runner.job("op").is_some());
    runner.cancel("op").unwrap();
    assert_eq!(await_end(&waits), OperationState::Cancelled);
    latch.release();
    await_end(&first);
}

#[test]
fn failed_try_with_a_checkpoint_still_backs_off() {
    let handler = Handler::new(|job: &Job| {
        job.lane("main")?.commit(Batch::new(), Checkpoint::new("connecting"))?;
        Err::<(), _>(Error::new(ErrorKind::Unavailable, "reach a host"))
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single_threaded(&scene);
    let events = scene.vault.operations().subscribe(10);
    let job = runner.submit(spec("op").retry(RetryPolicy::DEFAULT)).unwrap();
    // A snapshot may show the failure before the handle has ended. An event comes after that.
    let failed = |kind: EventKind| matches!(kind, EventKind::Failed { .. });
    while !failed(events.next_within(WAIT_MAX).unwrap().kind) {}
    let wait = RetryPolicy::DEFAULT.backoff_first;
    assert_eq!(resumability(&scene.vault, "op"), Resumable::BackingOff { wait });
    assert_eq!(
        (job.wait(Duration::ZERO).unwrap(), status(&scene.vault, "op").generation),
        (None, 1)
    );
}

#[test]
fn subscription_made_inside_a_write_gets_its_events() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["main"]).unwrap();
    let lane = operation.lane("main").unwrap();
    let events = vault.write(|tx| {
        let events = vault.operations().subscribe(10);
        assert_eq!(state(&vault, "op"), OperationState::Running);
        tx.checkpoint(&lane, Checkpoint::new("end").complete())?;
        Ok::<_, Error>(events)
    });
    assert_eq!(events.unwrap().next_now().map(|event| event.kind), Some(EventKind::Completed));
}

/// A recorder that queries a job while its end commits.
#[derive(Clone, Default)]
struct JobQueryRecorder {
    job: Arc<Mutex<Option<JobHandle>>>,
    queries: Arc<Mutex<u32>>,
}

impl Recorder for JobQueryRecorder {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(job) = &*self.job.lock() {
            assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
            *self.queries.lock() += 1;
        }
    }
}

#[test]
fn recorder_may_query_a_job_during_its_commit() {
    let latch = Latch::default();
    let recorder = JobQueryRecorder::default();
    let handlers = Handlers::new().with("blocked", waits_at_latch(&latch));
    let scene = Scene::with_recorder(recorder.clone(), handlers.with("op", Handler::new(no_op)));
    let runner = single_threaded(&scene);
    let first = runner.submit(spec("first").name("blocked")).unwrap();
    latch.await_waiters(1);
    let waits = runner.submit(spec("op")).unwrap();
    *recorder.job.lock() = Some(waits.clone());
    runner.cancel("op").unwrap();
    assert_eq!(await_end(&waits), OperationState::Cancelled);
    assert_eq!(*recorder.queries.lock(), 1);
    *recorder.job.lock() = None;
    latch.release();
    await_end(&first);
}

#[test]
fn crash_loop_is_exhausted_and_expires_even_if_paused() {
    let mut scene = Scene::new();
    drop(scene.vault.operations().begin_with(spec("op")).unwrap());
    for _ in 0..2 {
        scene = scene.reopen();
        drop(scene.vault.operations().resume("op").unwrap());
    }
    let scene = scene.reopen();
    let exhausted = Resumable::AttemptsExhausted { attempts: 3 };
    assert_eq!(resumability(&scene.vault, "op"), exhausted);
    scene.vault.operations().pause("op").unwrap();
    assert_eq!(resumability(&scene.vault, "op"), exhausted);
    assert_eq!(scene.vault.operations().resume("op").unwrap_err().kind(), ErrorKind::Invalid);
    let options = ExpireOperations::new().older_than(Duration::ZERO);
    assert_eq!(scene.vault.operations().expire(&options).unwrap().operations, 0);
    let options = options.exhausted(true);
    assert_eq!(scene.vault.operations().expire(&options).unwrap().ids, ["op"]);
    assert_eq!(unfinished(&scene.vault), [""; 0]);
}

fn single_of(vault: &Vault) -> Runner {
    Runner::start(vault, RunnerOptions::new().threads(1).queue(10)).unwrap()
}
