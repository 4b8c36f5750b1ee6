//! Calls of the host's recorder: one for each durable commit, checkpoint and transition.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::Memory;
use strongroom::operations::{Checkpoint, OperationState, OperationsQuery, Recorder};
use strongroom::runner::{Handler, Handlers};
use strongroom::storage::MemoryState;
use strongroom::{Batch, Error, ErrorKind, Result, Vault};
use strongroom_testkit::{Fault, FaultTiming, TestKey, World, world_options};

use crate::runner::{await_end, no_op, single_threaded};
use crate::scene::{Scene, commit, resumability, row, spec, state};
use crate::support::calls::COMMIT_CALLS_MAX;
use crate::support::records::{assert_error, assert_whole, get, put};

const EIO: i32 = 5;

type Transition = (Option<OperationState>, OperationState);

/// Calls that a recorder received.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RecordedCalls {
    pub(crate) commits: u64,
    pub(crate) failed: Vec<ErrorKind>,
    pub(crate) checkpoints: Vec<usize>,
    pub(crate) transitions: Vec<Transition>,
}

#[derive(Clone, Default)]
pub(crate) struct LoggingRecorder {
    calls: Arc<Mutex<RecordedCalls>>,
}

impl LoggingRecorder {
    /// Takes the calls since the last `take`.
    pub(crate) fn take(&self) -> RecordedCalls {
        std::mem::take(&mut *self.calls.lock())
    }
}

impl Recorder for LoggingRecorder {
    fn commit(&self, _took: Duration) {
        self.calls.lock().commits += 1;
    }

    fn commit_failed(&self, kind: ErrorKind) {
        self.calls.lock().failed.push(kind);
    }

    fn checkpoint(&self, bytes: usize) {
        self.calls.lock().checkpoints.push(bytes);
    }

    fn transition(&self, from: Option<OperationState>, to: OperationState) {
        self.calls.lock().transitions.push((from, to));
    }
}

fn calls(commits: u64, checkpoints: &[usize], transitions: &[Transition]) -> RecordedCalls {
    let (checkpoints, transitions) = (checkpoints.to_vec(), transitions.to_vec());
    RecordedCalls { commits, checkpoints, transitions, ..RecordedCalls::default() }
}

#[test]
fn recorder_gets_each_transition_and_checkpoint() {
    use OperationState::{Cancelled, Completed, Failed, Initialized, Paused, Recovering, Running};
    let recorder = LoggingRecorder::default();
    let scene = Scene::with_recorder(recorder.clone(), Handlers::new());
    let vault = &scene.vault;
    let expect = |expected: RecordedCalls| assert_eq!(recorder.take(), expected);
    recorder.take();
    vault.operations().prepare(spec("op").lanes(["a", "b"])).unwrap();
    expect(calls(1, &[], &[(None, Initialized)]));
    let operation = vault.operations().resume("op").unwrap();
    expect(calls(1, &[], &[(Some(Initialized), Running)]));
    let lane = operation.lane("a").unwrap();
    lane.commit(row("k"), Checkpoint::new(vec![0; 300])).unwrap();
    expect(calls(1, &[300], &[]));
    operation.pause().unwrap();
    drop((lane, operation));
    drop(vault.operations().resume("op").unwrap());
    drop(vault.operations().take_over("op").unwrap());
    let changes = [(Some(Running), Paused), (Some(Paused), Running), (Some(Running), Recovering)];
    expect(calls(3, &[], &changes));
    // A recovery from a recovery is a transition too.
    let operation = vault.operations().resume("op").unwrap();
    expect(calls(1, &[], &[(Some(Recovering), Recovering)]));
    let lane = operation.lane("a").unwrap();
    let mut batch = Batch::new();
    let other = operation.lane("b").unwrap();
    batch.checkpoint(&other, Checkpoint::new("12").complete());
    lane.commit(batch, Checkpoint::new("1")).unwrap();
    expect(calls(1, &[2, 1], &[(Some(Recovering), Running)]));
    operation.fail("no").unwrap();
    drop((lane, other, operation));
    vault.operations().resume("op").unwrap().complete().unwrap();
    let changes =
        [(Some(Running), Failed), (Some(Failed), Recovering), (Some(Recovering), Completed)];
    expect(calls(3, &[], &changes));
    vault.operations().begin_with(spec("other")).unwrap().cancel().unwrap();
    expect(calls(2, &[], &[(None, Running), (Some(Running), Cancelled)]));
    // Commits of other changes are recorded as commits only.
    put(vault, "k", "v");
    assert!(vault.operations().delete("op").unwrap());
    expect(calls(2, &[], &[]));
    assert_eq!(vault.operations().statistics().unwrap().commits.count(), 15);
}

#[test]
fn refused_or_rolled_back_calls_are_not_recorded() {
    let recorder = LoggingRecorder::default();
    let scene = Scene::with_recorder(recorder.clone(), Handlers::new());
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let lane = operation.lane("main").unwrap();
    recorder.take();
    scene.vault.operations().begin_with(spec("op")).unwrap_err();
    scene.vault.operations().resume("op").unwrap_err();
    lane.commit(row("k"), Checkpoint::new("").progress(2.0)).unwrap_err();
    let rolled_back = scene.vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::new("").complete())?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "roll back"))
    });
    rolled_back.unwrap_err();
    scene.vault.read().unwrap().operations(&OperationsQuery::new().limit(10)).unwrap();
    assert_eq!(recorder.take(), RecordedCalls::default());
}

#[test]
fn failed_commit_is_recorded_once_with_its_kind() {
    let mut failed = 0;
    for timing in [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn] {
        for nth in 1..COMMIT_CALLS_MAX {
            let (world, recorder) = (World::new(), LoggingRecorder::default());
            let options = world_options(&world, 1).recorder(recorder.clone());
            let vault = options.create("/vault").unwrap();
            let lane = vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap();
            recorder.take();
            let before = world.calls();
            world.fail_at(nth, Fault { timing, ..Fault::before(EIO) });
            let outcome = lane.commit(row("k"), Checkpoint::new("1"));
            let made = world.calls() - before;
            let Err(error) = outcome else {
                assert_eq!(recorder.take(), calls(1, &[1], &[]));
                if made < nth {
                    break;
                }
                continue;
            };
            let expected = RecordedCalls { failed: vec![error.kind()], ..RecordedCalls::default() };
            assert_eq!(recorder.take(), expected, "{timing:?} {nth}");
            failed += 1;
        }
    }
    assert!(failed > 0, "no fault struck");
}

#[test]
fn group_commits_are_recorded_once_each() {
    const LANES: usize = 8;
    const COMMITS: usize = 40;
    let recorder = LoggingRecorder::default();
    let scene = Scene::with_recorder(recorder.clone(), Handlers::new());
    let names: Vec<_> = (0..LANES).map(|n| format!("lane {n}")).collect();
    let operation = scene.vault.operations().begin_with(spec("op").lanes(&names)).unwrap();
    recorder.take();
    thread::scope(|scope| {
        for (at, name) in names.iter().enumerate() {
            let lane = operation.lane(name).unwrap();
            scope.spawn(move || {
                for n in 0..COMMITS {
                    // No other checkpoint has the same length.
                    let data = vec![0; at * COMMITS + n];
                    lane.commit(Batch::new(), Checkpoint::new(data)).unwrap();
                }
            });
        }
    });
    operation.complete().unwrap();
    let mut found = recorder.take();
    found.checkpoints.sort_unstable();
    assert_eq!(found.checkpoints, (0..LANES * COMMITS).collect::<Vec<_>>());
    let completed = (Some(OperationState::Running), OperationState::Completed);
    assert_eq!((found.transitions, found.failed), (vec![completed], vec![]));
    assert!(found.commits <= (LANES * COMMITS + 1) as u64);
    // The statistics count the same commits, and the commit that began the operation.
    assert_eq!(scene.vault.operations().statistics().unwrap().commits.count(), found.commits + 1);
}

/// A recorder that panics in each call.
struct PanickingRecorder;

impl Recorder for PanickingRecorder {
    fn commit(&self, _: Duration) {
        panic!("the host's own bug")
    }

    fn commit_failed(&self, _: ErrorKind) {
        panic!("the host's own bug")
    }
}

#[test]
fn panicking_recorder_fails_no_commit() {
    let handlers = Handlers::new().with("work", Handler::new(no_op));
    let scene = Scene::with_recorder(PanickingRecorder, handlers);
    let from = scene.vault.operations().subscribe(10);
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let lane = operation.lane("main").unwrap();
    for n in 1..=3 {
        commit(&lane, n).unwrap();
        assert_eq!(get(&scene.vault, &n.to_string()).unwrap(), b"row");
    }
    operation.complete().unwrap();
    assert_eq!(state(&scene.vault, "op"), OperationState::Completed);
    let runner = single_threaded(&scene);
    assert_eq!(await_end(&runner.submit(spec("work")).unwrap()), OperationState::Completed);
    assert_eq!(std::iter::from_fn(|| from.next_now()).count(), 7, "events are still sent");
    assert_eq!(scene.vault.operations().statistics().unwrap().commits.count(), 8);
    assert_whole(&scene.vault);
}

#[test]
fn panicking_recorder_keeps_the_error_of_a_commit() {
    let world = World::new();
    let vault = world_options(&world, 1).recorder(PanickingRecorder).create("/vault").unwrap();
    world.fail_from(1, Fault::before(EIO));
    let error = vault.write(|tx| tx.insert("n", "k", "v")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Uncertain), "{error}");
    world.clear_faults();
    put(&vault, "k", "v");
}

/// A recorder that calls its own vault.
#[derive(Clone, Default)]
struct ReentrantRecorder {
    vault: Arc<Mutex<Option<Vault>>>,
    outcomes: Arc<Mutex<Vec<Result<()>>>>,
}

impl Recorder for ReentrantRecorder {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(vault) = &*self.vault.lock() {
            let mut outcomes = self.outcomes.lock();
            outcomes.push(vault.write(|tx| tx.insert("n", "reentrant", "v")));
            outcomes.push(vault.apply(row("reentrant")));
            outcomes.push(vault.operations().begin_with(spec("reentrant")).map(drop));
            outcomes.push(vault.operations().pause("op"));
            outcomes.push(vault.operations().delete("op").map(drop));
        }
    }
}

#[test]
fn recorder_that_calls_the_vault_is_refused() {
    let recorder = ReentrantRecorder::default();
    let options = Vault::options(TestKey).recorder(recorder.clone());
    let vault = options.create_on(MemoryState::new(), Memory::new()).unwrap();
    *recorder.vault.lock() = Some(vault.clone());
    vault.operations().begin_with(spec("op")).unwrap().pause().unwrap();
    let outcomes = std::mem::take(&mut *recorder.outcomes.lock());
    assert_eq!(outcomes.len(), 10);
    for outcome in outcomes {
        assert_error(outcome, ErrorKind::Invalid, "inside a write");
    }
    assert_eq!(resumability(&vault, "op"), strongroom::operations::Resumable::Held);
    assert_eq!(get(&vault, "reentrant"), None);
    // Breaks the cycle: the recorder has the vault, and the vault has the recorder.
    recorder.vault.lock().take();
}
