//! What the vault does not let happen for the moment, and what comes in between.

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

use crate::gate::Gate;
use crate::runner::{at_gate, ended, nothing, single};
use crate::scene::{Scene, spec, stands, state, status, unfinished};
use crate::support::group::PATIENCE;

/// A vault whose writes wait but a moment for one another.
fn impatient(handlers: Handlers) -> Vault {
    Vault::options(TestKey)
        .handlers(handlers)
        .write_timeout(Duration::from_millis(20))
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

#[test]
fn a_writer_that_takes_long_costs_no_job_its_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let handler = Handler::new(move |job: &Job| {
        held.pass();
        job.lane("main")?.commit(Batch::new(), Checkpoint::new("done"))
    });
    let vault = impatient(Handlers::new().with("op", handler));
    let runner = single_of(&vault);
    let heard = vault.operations().subscribe(100);
    let job = runner.submit(spec("op")).unwrap();
    gate.await_arrivals(1);
    vault
        .write(|_| {
            gate.open();
            // The job's commit, and its failing, wait in vain; the runner says so.
            while !matches!(heard.next_within(PATIENCE).unwrap().kind, EventKind::Warning { .. }) {}
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(ended(&job), OperationState::Completed);
}

#[test]
fn what_is_paused_while_it_waits_for_a_thread_does_not_run() {
    let gate = Gate::default();
    let handlers = Handlers::new().with("held up", at_gate(&gate));
    let scene = Scene::with(handlers.with("op", Handler::new(nothing)));
    let runner = single(&scene);
    let first = runner.submit(spec("first").name("held up")).unwrap();
    gate.await_arrivals(1);
    let waits = runner.submit(spec("op")).unwrap();
    scene.vault.operations().pause("op").unwrap();
    gate.open();
    assert_eq!(ended(&waits), OperationState::Paused);
    assert_eq!(stands(&scene.vault, "op"), Resumable::Held);
    ended(&first);
    // By its id it goes on.
    assert_eq!(ended(&runner.resume("op").unwrap()), OperationState::Completed);
}

#[test]
fn a_cancel_that_cannot_be_committed_is_an_error_and_forgets_nothing() {
    let gate = Gate::default();
    let handlers = Handlers::new().with("held up", at_gate(&gate));
    let vault = impatient(handlers.with("op", Handler::new(nothing)));
    let runner = single_of(&vault);
    let first = runner.submit(spec("first").name("held up")).unwrap();
    gate.await_arrivals(1);
    let waits = runner.submit(spec("op")).unwrap();
    let refused = vault.write(|_| {
        let own = runner.clone();
        Ok::<_, Error>(thread::spawn(move || own.cancel("op")).join().unwrap())
    });
    assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    assert!(runner.job("op").is_some());
    runner.cancel("op").unwrap();
    assert_eq!(ended(&waits), OperationState::Cancelled);
    gate.open();
    ended(&first);
}

#[test]
fn a_try_that_gets_somewhere_and_fails_is_not_repeated_at_once() {
    let handler = Handler::new(|job: &Job| {
        job.lane("main")?.commit(Batch::new(), Checkpoint::new("connecting"))?;
        Err::<(), _>(Error::new(ErrorKind::Unavailable, "reach a host"))
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single(&scene);
    let heard = scene.vault.operations().subscribe(10);
    let job = runner.submit(spec("op").retry(RetryPolicy::DEFAULT)).unwrap();
    // A snapshot may show it a moment before its handle is gone; an event does not.
    let failed = |kind: EventKind| matches!(kind, EventKind::Failed { .. });
    while !failed(heard.next_within(PATIENCE).unwrap().kind) {}
    let wait = RetryPolicy::DEFAULT.backoff_first;
    assert_eq!(stands(&scene.vault, "op"), Resumable::BackingOff { wait });
    assert_eq!(
        (job.wait(Duration::ZERO).unwrap(), status(&scene.vault, "op").generation),
        (None, 1)
    );
}

#[test]
fn who_subscribes_while_a_commit_is_under_way_hears_of_its_end() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["main"]).unwrap();
    let lane = operation.lane("main").unwrap();
    let heard = vault.write(|tx| {
        let heard = vault.operations().subscribe(10);
        assert_eq!(state(&vault, "op"), OperationState::Running);
        tx.checkpoint(&lane, Checkpoint::new("end").complete())?;
        Ok::<_, Error>(heard)
    });
    assert_eq!(heard.unwrap().next_now().map(|event| event.kind), Some(EventKind::Completed));
}

/// Asks after a job from within the commit that ends it.
#[derive(Clone, Default)]
struct Curious {
    job: Arc<Mutex<Option<JobHandle>>>,
    asked: Arc<Mutex<u32>>,
}

impl Recorder for Curious {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(job) = &*self.job.lock() {
            assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
            *self.asked.lock() += 1;
        }
    }
}

#[test]
fn a_recorder_may_ask_after_a_job_from_within_its_commit() {
    let gate = Gate::default();
    let curious = Curious::default();
    let handlers = Handlers::new().with("held up", at_gate(&gate));
    let scene = Scene::heard_by(curious.clone(), handlers.with("op", Handler::new(nothing)));
    let runner = single(&scene);
    let first = runner.submit(spec("first").name("held up")).unwrap();
    gate.await_arrivals(1);
    let waits = runner.submit(spec("op")).unwrap();
    *curious.job.lock() = Some(waits.clone());
    runner.cancel("op").unwrap();
    assert_eq!(ended(&waits), OperationState::Cancelled);
    assert_eq!(*curious.asked.lock(), 1);
    *curious.job.lock() = None;
    gate.open();
    ended(&first);
}

#[test]
fn a_loop_of_crashes_is_given_up_and_expires_and_a_pause_is_no_way_around() {
    let mut scene = Scene::new();
    drop(scene.vault.operations().begin_with(spec("op")).unwrap());
    for _ in 0..2 {
        scene = scene.reopen();
        drop(scene.vault.operations().resume("op").unwrap());
    }
    let scene = scene.reopen();
    let exhausted = Resumable::AttemptsExhausted { attempts: 3 };
    assert_eq!(stands(&scene.vault, "op"), exhausted);
    scene.vault.operations().pause("op").unwrap();
    assert_eq!(stands(&scene.vault, "op"), exhausted);
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
