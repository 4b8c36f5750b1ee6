//! What the host's metrics hear: each commit, checkpoint and change of a state that has happened,
//! once.

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

use crate::runner::{ended, nothing, single};
use crate::scene::{Scene, commit, row, spec, stands, state};
use crate::support::calls::COMMIT_CALLS_MAX;
use crate::support::records::{assert_error, assert_whole, get, put};

const EIO: i32 = 5;

type Transition = (Option<OperationState>, OperationState);

/// All that it heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) commits: u64,
    pub(crate) failed: Vec<ErrorKind>,
    pub(crate) checkpoints: Vec<usize>,
    pub(crate) transitions: Vec<Transition>,
}

#[derive(Clone, Default)]
pub(crate) struct Ear {
    heard: Arc<Mutex<Heard>>,
}

impl Ear {
    /// What it heard since it was asked last.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock())
    }
}

impl Recorder for Ear {
    fn commit(&self, _took: Duration) {
        self.heard.lock().commits += 1;
    }

    fn commit_failed(&self, kind: ErrorKind) {
        self.heard.lock().failed.push(kind);
    }

    fn checkpoint(&self, bytes: usize) {
        self.heard.lock().checkpoints.push(bytes);
    }

    fn transition(&self, from: Option<OperationState>, to: OperationState) {
        self.heard.lock().transitions.push((from, to));
    }
}

fn heard(commits: u64, checkpoints: &[usize], transitions: &[Transition]) -> Heard {
    let (checkpoints, transitions) = (checkpoints.to_vec(), transitions.to_vec());
    Heard { commits, checkpoints, transitions, ..Heard::default() }
}

#[test]
fn it_hears_of_each_change_of_a_state_and_each_checkpoint() {
    use OperationState::{Cancelled, Completed, Failed, Initialized, Paused, Recovering, Running};
    let ear = Ear::default();
    let scene = Scene::heard_by(ear.clone(), Handlers::new());
    let vault = &scene.vault;
    let expect = |expected: Heard| assert_eq!(ear.take(), expected);
    ear.take();
    vault.operations().prepare(spec("op").lanes(["a", "b"])).unwrap();
    expect(heard(1, &[], &[(None, Initialized)]));
    let operation = vault.operations().resume("op").unwrap();
    expect(heard(1, &[], &[(Some(Initialized), Running)]));
    let lane = operation.lane("a").unwrap();
    lane.commit(row("k"), Checkpoint::new(vec![0; 300])).unwrap();
    expect(heard(1, &[300], &[]));
    operation.pause().unwrap();
    drop((lane, operation));
    drop(vault.operations().resume("op").unwrap());
    drop(vault.operations().take_over("op").unwrap());
    let changes = [(Some(Running), Paused), (Some(Paused), Running), (Some(Running), Recovering)];
    expect(heard(3, &[], &changes));
    // A crash after a crash is one more.
    let operation = vault.operations().resume("op").unwrap();
    expect(heard(1, &[], &[(Some(Recovering), Recovering)]));
    let lane = operation.lane("a").unwrap();
    let mut batch = Batch::new();
    let other = operation.lane("b").unwrap();
    batch.checkpoint(&other, Checkpoint::new("12").complete());
    lane.commit(batch, Checkpoint::new("1")).unwrap();
    expect(heard(1, &[2, 1], &[(Some(Recovering), Running)]));
    operation.fail("no").unwrap();
    drop((lane, other, operation));
    vault.operations().resume("op").unwrap().complete().unwrap();
    let changes =
        [(Some(Running), Failed), (Some(Failed), Recovering), (Some(Recovering), Completed)];
    expect(heard(3, &[], &changes));
    vault.operations().begin_with(spec("other")).unwrap().cancel().unwrap();
    expect(heard(2, &[], &[(None, Running), (Some(Running), Cancelled)]));
    // Other commits are commits, and nothing else.
    put(vault, "k", "v");
    assert!(vault.operations().delete("op").unwrap());
    expect(heard(2, &[], &[]));
    assert_eq!(vault.operations().statistics().unwrap().commits.count(), 15);
}

#[test]
fn it_hears_nothing_of_what_is_refused_or_taken_back() {
    let ear = Ear::default();
    let scene = Scene::heard_by(ear.clone(), Handlers::new());
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let lane = operation.lane("main").unwrap();
    ear.take();
    scene.vault.operations().begin_with(spec("op")).unwrap_err();
    scene.vault.operations().resume("op").unwrap_err();
    lane.commit(row("k"), Checkpoint::new("").progress(2.0)).unwrap_err();
    let changed_its_mind = scene.vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::new("").complete())?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "change its mind"))
    });
    changed_its_mind.unwrap_err();
    scene.vault.read().unwrap().operations(&OperationsQuery::new().limit(10)).unwrap();
    assert_eq!(ear.take(), Heard::default());
}

#[test]
fn a_commit_that_fails_is_told_once_as_its_caller_is_told() {
    let mut met = 0;
    for timing in [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn] {
        for nth in 1..COMMIT_CALLS_MAX {
            let (world, ear) = (World::new(), Ear::default());
            let options = world_options(&world, 1).recorder(ear.clone());
            let vault = options.create("/vault").unwrap();
            let lane = vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap();
            ear.take();
            let before = world.calls();
            world.fail_at(nth, Fault { timing, ..Fault::before(EIO) });
            let outcome = lane.commit(row("k"), Checkpoint::new("1"));
            let made = world.calls() - before;
            let Err(error) = outcome else {
                assert_eq!(ear.take(), heard(1, &[1], &[]));
                if made < nth {
                    break;
                }
                continue;
            };
            let expected = Heard { failed: vec![error.kind()], ..Heard::default() };
            assert_eq!(ear.take(), expected, "{timing:?} {nth}");
            met += 1;
        }
    }
    assert!(met > 0, "no fault struck");
}

#[test]
fn commits_that_threads_share_are_heard_once_each() {
    const LANES: usize = 8;
    const COMMITS: usize = 40;
    let ear = Ear::default();
    let scene = Scene::heard_by(ear.clone(), Handlers::new());
    let names: Vec<_> = (0..LANES).map(|n| format!("lane {n}")).collect();
    let operation = scene.vault.operations().begin_with(spec("op").lanes(&names)).unwrap();
    ear.take();
    thread::scope(|scope| {
        for (at, name) in names.iter().enumerate() {
            let lane = operation.lane(name).unwrap();
            scope.spawn(move || {
                for n in 0..COMMITS {
                    // A length that no other has.
                    let data = vec![0; at * COMMITS + n];
                    lane.commit(Batch::new(), Checkpoint::new(data)).unwrap();
                }
            });
        }
    });
    operation.complete().unwrap();
    let mut found = ear.take();
    found.checkpoints.sort_unstable();
    assert_eq!(found.checkpoints, (0..LANES * COMMITS).collect::<Vec<_>>());
    let ended = (Some(OperationState::Running), OperationState::Completed);
    assert_eq!((found.transitions, found.failed), (vec![ended], vec![]));
    assert!(found.commits <= (LANES * COMMITS + 1) as u64);
    // The vault has counted the same, and the one that began the operation.
    assert_eq!(scene.vault.operations().statistics().unwrap().commits.count(), found.commits + 1);
}

/// Panics at everything.
struct Fragile;

impl Recorder for Fragile {
    fn commit(&self, _: Duration) {
        panic!("the host's own bug")
    }

    fn commit_failed(&self, _: ErrorKind) {
        panic!("the host's own bug")
    }
}

#[test]
fn a_recorder_that_panics_makes_no_commit_look_as_if_it_had_failed() {
    let handlers = Handlers::new().with("work", Handler::new(nothing));
    let scene = Scene::heard_by(Fragile, handlers);
    let from = scene.vault.operations().subscribe(10);
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let lane = operation.lane("main").unwrap();
    for n in 1..=3 {
        commit(&lane, n).unwrap();
        assert_eq!(get(&scene.vault, &n.to_string()).unwrap(), b"row");
    }
    operation.complete().unwrap();
    assert_eq!(state(&scene.vault, "op"), OperationState::Completed);
    let runner = single(&scene);
    assert_eq!(ended(&runner.submit(spec("work")).unwrap()), OperationState::Completed);
    assert_eq!(std::iter::from_fn(|| from.next_now()).count(), 7, "events are heard all the same");
    assert_eq!(scene.vault.operations().statistics().unwrap().commits.count(), 8);
    assert_whole(&scene.vault);
}

#[test]
fn a_recorder_that_panics_changes_no_error_of_a_commit() {
    let world = World::new();
    let vault = world_options(&world, 1).recorder(Fragile).create("/vault").unwrap();
    world.fail_from(1, Fault::before(EIO));
    let error = vault.write(|tx| tx.insert("n", "k", "v")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Uncertain), "{error}");
    world.clear_faults();
    put(&vault, "k", "v");
}

/// Calls the vault that it hears of.
#[derive(Clone, Default)]
struct Meddler {
    vault: Arc<Mutex<Option<Vault>>>,
    told: Arc<Mutex<Vec<Result<()>>>>,
}

impl Recorder for Meddler {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(vault) = &*self.vault.lock() {
            let mut told = self.told.lock();
            told.push(vault.write(|tx| tx.insert("n", "meddled", "v")));
            told.push(vault.apply(row("meddled")));
            told.push(vault.operations().begin_with(spec("meddled")).map(drop));
            told.push(vault.operations().pause("op"));
            told.push(vault.operations().delete("op").map(drop));
        }
    }
}

#[test]
fn a_recorder_that_calls_the_vault_is_refused_and_holds_up_nobody() {
    let meddler = Meddler::default();
    let options = Vault::options(TestKey).recorder(meddler.clone());
    let vault = options.create_on(MemoryState::new(), Memory::new()).unwrap();
    *meddler.vault.lock() = Some(vault.clone());
    vault.operations().begin_with(spec("op")).unwrap().pause().unwrap();
    let told = std::mem::take(&mut *meddler.told.lock());
    assert_eq!(told.len(), 10);
    for outcome in told {
        assert_error(outcome, ErrorKind::Invalid, "within a write");
    }
    assert_eq!(stands(&vault, "op"), strongroom::operations::Resumable::Held);
    assert_eq!(get(&vault, "meddled"), None);
    // It holds the vault, which holds it.
    meddler.vault.lock().take();
}
