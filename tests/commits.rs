//! Results of commits: each reported result agrees with the committed data.
//!
//! Tested are the members of a group commit, commits that fail, lanes, readers that begin during a
//! commit, the content that a commit releases, deleted operations, and errors of decoding.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;

use serde::{Deserialize, Serialize};
use strongroom::backends::{Backend, Memory};
use strongroom::content::GcOptions;
use strongroom::operations::Checkpoint;
use strongroom::records::TypedNamespace;
use strongroom::storage::MemoryState;
use strongroom::{Batch, Error, ErrorKind, Result, Snapshot, Vault};
use strongroom_testkit::{
    BackendFault, Fault, FaultTiming, FaultyBackend, TestKey, World, memory_vault, world_options,
};

use support::calls::{COMMIT_CALLS_MAX, EIO, each_call};
use support::group::{THREADS, WAIT_MAX, apply_at_once, two_rows};
use support::records::{assert_error, assert_whole, get, long, put, put_long, try_put};
use support::syncs::HookedState;

/// Bytes of a value longer than a row, stored on the backend.
const LONG: usize = 300_000;
/// Maximum number of rounds to wait until threads share a commit.
const ROUNDS_MAX: usize = 50;

/// Returns whether the rows of a writer are there. Asserts that both are there, or neither.
fn whole_or_absent(vault: &Vault, writer: &str) -> bool {
    let first = get(vault, &format!("{writer} first")).is_some();
    assert_eq!(first, get(vault, &format!("{writer} last")).is_some(), "{writer} is torn");
    first
}

/// Asserts that the reported result agrees with the committed data.
fn assert_truthful(result: &Result<()>, there: bool, writer: &str) {
    match result {
        Ok(()) => assert!(there, "{writer} got Ok, and its rows are absent"),
        Err(error) if error.kind() == ErrorKind::Uncertain => {}
        Err(error) => assert!(!there, "{writer} got {error}, and its rows are there"),
    }
}

/// Commits on several threads, while the nth file call and all later ones fail.
///
/// Returns the largest number of threads that shared a commit of unknown outcome.
fn fail_a_group() -> usize {
    let mut shared = 0;
    for nth in 1..COMMIT_CALLS_MAX {
        let world = World::new();
        let vault = world_options(&world, 1).create("/vault").unwrap();
        put(&vault, "before", "x");
        let fail = || world.fail_from(nth, Fault::before(EIO));
        let results = apply_at_once(&vault, false, fail);
        world.clear_faults();
        if results.iter().all(|(_, result)| result.is_ok()) {
            return shared;
        }
        let failed = results.iter().filter(|(_, result)| result.is_err()).count();
        assert!(nth > 1 || failed == THREADS, "only {failed} threads got an error");
        let seen: Vec<_> =
            results.iter().map(|(writer, _)| whole_or_absent(&vault, writer)).collect();
        vault.close().unwrap();
        let vault = world_options(&world, 2).open("/vault").unwrap();
        for ((writer, result), seen) in results.iter().zip(seen) {
            assert_truthful(result, whole_or_absent(&vault, writer), writer);
            assert_eq!(seen, whole_or_absent(&vault, writer), "the reopening changed the rows");
        }
        let uncertain = |result: &Result<()>| {
            result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Uncertain)
        };
        shared = shared.max(results.iter().filter(|(_, result)| uncertain(result)).count());
        assert_eq!(get(&vault, "before").unwrap(), b"x");
        assert_whole(&vault);
    }
    panic!("a group takes more than {COMMIT_CALLS_MAX} calls");
}

#[test]
fn failed_group_commit_is_reported_and_tears_nothing() {
    let shared = (0..ROUNDS_MAX).map(|_| fail_a_group()).find(|shared| *shared > 1);
    assert!(shared.is_some(), "no commit was shared");
}

#[test]
fn unwinding_leader_reports_true_results_to_its_group() {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&syncs);
    let state = HookedState::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let vault = Vault::options(TestKey).create_on(state, Memory::new()).unwrap();
    let taken = |act: &dyn Fn()| {
        let before = syncs.load(Ordering::SeqCst);
        act();
        syncs.load(Ordering::SeqCst) - before
    };
    let alone = taken(&|| put(&vault, "alone", "x"));
    let shares = |_: &usize| {
        let syncs = taken(&|| {
            for (writer, result) in apply_at_once(&vault, true, || ()) {
                assert_truthful(&result, whole_or_absent(&vault, &writer), &writer);
                assert!(result.is_ok(), "nothing failed: {result:?}");
            }
        });
        vault.write(|tx| tx.delete_namespace("n")).unwrap();
        syncs < THREADS * alone
    };
    assert!((0..ROUNDS_MAX).any(|round| shares(&round)), "no commit was shared");
    assert_whole(&vault);
}

/// Returns the value of "k" as another process reads it.
fn on_disk(world: &World) -> Vec<u8> {
    let vault = world_options(&world.same_as_now(), 2).open("/vault").unwrap();
    get(&vault, "k").unwrap()
}

#[test]
fn read_after_failed_commit_shows_the_disk_or_is_unavailable() {
    let uncertain = AtomicUsize::new(0);
    for timing in [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn] {
        each_call(
            timing,
            |vault| {
                put(vault, "k", "old");
                vault.read().unwrap()
            },
            |vault, _snapshot| try_put(vault, "k", b"new"),
            |world, vault, snapshot, error| {
                let seen = vault.read().and_then(|read| read.get("n", "k")?.unwrap().bytes());
                if error.kind() == ErrorKind::Uncertain {
                    uncertain.fetch_add(1, Ordering::SeqCst);
                    assert_error(seen, ErrorKind::Unavailable, "");
                } else {
                    assert_eq!(on_disk(world), b"old", "{error}");
                    assert!(seen.is_ok_and(|seen| *seen == *b"old"), "{error}");
                }
                drop(snapshot);
                assert_eq!(get(vault, "k").unwrap(), on_disk(world), "{timing:?}: {error}");
            },
        );
    }
    assert!(uncertain.into_inner() > 0, "no commit was uncertain");
}

#[test]
fn failed_take_over_keeps_the_old_handle_registered() {
    for timing in [FaultTiming::Before, FaultTiming::After] {
        each_call(
            timing,
            |vault| {
                let first = vault.operations().begin("op", ["a"]).unwrap();
                let lane = first.lane("a").unwrap();
                (first, lane)
            },
            |vault, _| vault.operations().take_over("op").map(drop),
            |_, vault, (first, lane), error| {
                assert_error(vault.operations().resume("op"), ErrorKind::Locked, "");
                assert_error(first.lane("a"), ErrorKind::Locked, "open already");
                assert_error(vault.operations().delete("op"), ErrorKind::Locked, "");
                let commit = lane.commit(two_rows("w"), Checkpoint::new("1"));
                if error.kind() == ErrorKind::Uncertain {
                    // If the take-over happened, the lane's commit is fenced, and any caller may
                    // resume.
                    commit
                        .or_else(|e| if e.kind() == ErrorKind::Conflict { Ok(()) } else { Err(e) })
                } else {
                    commit
                }
                .unwrap();
                drop(lane);
                let again = first.lane("a").unwrap();
                assert_error(first.lane("a"), ErrorKind::Locked, "open already");
                drop((first, again));
                let third = vault.operations().resume("op").unwrap();
                let done = third.lane("a").unwrap().status().unwrap().checkpoints;
                assert_eq!(done == 1, whole_or_absent(vault, "w"));
            },
        );
    }
}

#[test]
fn lane_after_uncertain_commit_requires_its_status() {
    let happened = AtomicUsize::new(0);
    each_call(
        FaultTiming::After,
        |vault| vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap(),
        |_, lane| lane.commit(two_rows("w1"), Checkpoint::new("1")),
        |_, vault, lane, error| {
            let there = whole_or_absent(vault, "w1");
            assert!(!there || error.kind() == ErrorKind::Uncertain, "{error}");
            if !there {
                // The first commit did not happen, so the lane may commit it again.
                return lane.commit(two_rows("w1"), Checkpoint::new("1")).unwrap();
            }
            happened.fetch_add(1, Ordering::SeqCst);
            for _ in 0..2 {
                let again = lane.commit(two_rows("repeated"), Checkpoint::new("1"));
                assert_error(again, ErrorKind::Conflict, "read its status");
                let again: Result<()> = vault.write(|tx| {
                    tx.insert("n", "repeated first", "x")?;
                    tx.checkpoint(&lane, Checkpoint::new("1"))
                });
                assert_error(again, ErrorKind::Conflict, "read its status");
            }
            let status = lane.status().unwrap();
            assert_eq!((status.checkpoints, &status.data[..]), (1, &b"1"[..]));
            lane.commit(two_rows("w2"), Checkpoint::new("2").complete()).unwrap();
            assert!(whole_or_absent(vault, "w2") && !whole_or_absent(vault, "repeated"));
            assert_eq!(vault.read().unwrap().count("n").unwrap(), 4);
        },
    );
    assert!(happened.into_inner() > 0, "no uncertain commit turned out to have happened");
}

/// A vault on a faulty backend over a memory.
///
/// The memory outlives the vault.
struct Scene {
    state: MemoryState,
    memory: Memory,
    faulty: Arc<FaultyBackend>,
    vault: Vault,
}

impl Scene {
    /// Creates the vault with one long value, "k".
    fn new() -> Self {
        let (state, memory) = (MemoryState::new(), Memory::new());
        let faulty = Arc::new(FaultyBackend::new(Arc::new(memory.clone())));
        let options = Vault::options(TestKey).object_bytes(8 << 10);
        let vault = options.create_on(state.clone(), Arc::clone(&faulty)).unwrap();
        put_long(&vault, "k", &long(1, LONG));
        Self { state, memory, faulty, vault }
    }

    fn assert_no_objects(&self, vault: &Vault) {
        let report = assert_whole(vault);
        assert_eq!((report.objects, self.memory.list("content/", None, 10).unwrap().len()), (0, 0));
    }
}

#[test]
fn failed_deletes_are_repeated_and_leave_no_object() {
    let lost = BackendFault::after(ErrorKind::Uncertain);
    for fault in [BackendFault::before(ErrorKind::Unavailable), lost] {
        for (nth, lasting, reopens) in (1..24)
            .flat_map(|nth| [(false, false), (true, false), (true, true)].map(|(l, r)| (nth, l, r)))
        {
            let scene = Scene::new();
            let staged = scene.vault.stage(&long(2, LONG)[..]).unwrap();
            if lasting {
                scene.faulty.fail_from(nth, fault);
            } else {
                scene.faulty.fail_at(nth, fault);
            }
            // These commits succeed despite the fault, because objects are deleted only later.
            scene.vault.write(|tx| tx.delete("n", "k")).unwrap();
            drop(staged);
            put(&scene.vault, "other", "x");
            // A gc reports a failed delete, and the next gc repeats it.
            let cleaned =
                [(); 2].map(|()| scene.vault.gc(&GcOptions::new().without_repacking(true)));
            assert!(cleaned[1].as_ref().is_ok_and(|report| report.waiting == 0) || lasting);
            if reopens {
                scene.vault.clone().close().unwrap();
            }
            scene.faulty.clear();
            if !reopens {
                scene.assert_no_objects(&scene.vault);
                scene.vault.clone().close().unwrap();
            }
            let backend = Arc::clone(&scene.faulty);
            let vault = Vault::options(TestKey).open_on(scene.state.clone(), backend).unwrap();
            scene.assert_no_objects(&vault);
        }
    }
}

/// Returns a snapshot that another thread took.
fn read_elsewhere(vault: &Vault) -> Snapshot {
    let (sender, taken) = channel();
    let vault = vault.clone();
    thread::spawn(move || sender.send(vault.read().unwrap()).unwrap());
    taken.recv_timeout(WAIT_MAX).unwrap()
}

/// Asserts that a snapshot reads the old value of "k".
///
/// The snapshot is from before the overwrite. A gc runs first.
fn assert_old_value_is_kept(vault: &Vault, memory: &Memory, snapshot: Snapshot) {
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert!(snapshot.get("n", "k").unwrap().unwrap().bytes().unwrap() == long(1, LONG));
    assert_eq!(get(vault, "k").unwrap(), b"short");
    drop(snapshot);
    assert_whole(vault);
    assert!(memory.list("content/", None, 1).unwrap().is_empty());
}

#[test]
fn reader_begun_within_a_write_keeps_doomed_objects() {
    let memory = Memory::new();
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), memory.clone()).unwrap();
    put_long(&vault, "k", &long(1, LONG));
    let snapshot = vault.write(|tx| {
        tx.insert("n", "k", "short")?;
        Ok::<_, Error>(read_elsewhere(&vault))
    });
    assert_old_value_is_kept(&vault, &memory, snapshot.unwrap());
}

#[test]
fn reader_begun_before_commit_sync_keeps_doomed_objects() {
    let (armed, own) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::<Vault>::new()));
    let (sender, taken) = channel();
    let (trigger, handle) = (Arc::clone(&armed), Arc::clone(&own));
    let state = HookedState::new(move || {
        if trigger.swap(false, Ordering::SeqCst) {
            sender.send(read_elsewhere(handle.get().unwrap())).unwrap();
        }
    });
    let memory = Memory::new();
    let vault = Vault::options(TestKey).create_on(state, memory.clone()).unwrap();
    own.set(vault.clone()).unwrap();
    put_long(&vault, "k", &long(1, LONG));
    armed.store(true, Ordering::SeqCst);
    put(&vault, "k", "short");
    assert_old_value_is_kept(&vault, &memory, taken.recv_timeout(WAIT_MAX).unwrap());
    vault.close().unwrap();
}

#[test]
fn deleted_operation_is_gone_and_its_id_is_reusable() {
    let vault = memory_vault().unwrap();
    let first = vault.operations().begin("op", ["a", "b"]).unwrap();
    first.lane("a").unwrap().commit(two_rows("w"), Checkpoint::new("1").complete()).unwrap();
    assert_error(vault.operations().delete("op"), ErrorKind::Locked, "op");
    drop(first);
    assert!(vault.operations().delete("op").unwrap());
    assert!(!vault.operations().delete("op").unwrap(), "the second delete reported a deletion");
    assert_error(vault.operations().resume("op"), ErrorKind::NotFound, "op");
    let second = vault.operations().begin("op", ["a"]).unwrap();
    let status = second.lane("a").unwrap().status().unwrap();
    assert_eq!((status.checkpoints, status.complete, status.data.len()), (0, false, 0));
    assert_eq!(second.status().unwrap().lanes.len(), 1);
    assert!(whole_or_absent(&vault, "w"), "the committed rows are gone");
    second.lane("a").unwrap().commit(Batch::new(), Checkpoint::new("").complete()).unwrap();
    drop(second);
    assert!(vault.operations().delete("op").unwrap(), "the completed operation was not deleted");
    assert_whole(&vault);
}

#[derive(Debug, Serialize, Deserialize)]
enum Choice {
    Only,
}

#[test]
fn decoding_error_never_contains_stored_data() {
    const SECRET: &str = "hunter2";
    const STORED: TypedNamespace<String, String> = TypedNamespace::new("secrets");
    const NUMBERS: TypedNamespace<String, u32> = TypedNamespace::new("secrets");
    const CHOICES: TypedNamespace<String, Choice> = TypedNamespace::new("secrets");
    const KEYS: TypedNamespace<u64, String> = TypedNamespace::new("secrets");
    let vault = memory_vault().unwrap();
    let key = SECRET.to_owned();
    vault.write(|tx| STORED.insert(tx, &key, &key)).unwrap();
    let snapshot = vault.read().unwrap();
    let errors = [
        NUMBERS.get(&snapshot, &key).map(drop),
        CHOICES.get(&snapshot, &key).map(drop),
        CHOICES.range(&snapshot, ..).unwrap().try_for_each(|record| record.map(drop)),
        KEYS.range(&snapshot, ..).unwrap().try_for_each(|record| record.map(drop)),
        vault.write(|tx| NUMBERS.get_in(tx, &key)).map(drop),
    ];
    for outcome in errors {
        let error = assert_error(outcome, ErrorKind::Corrupt, "does not decode");
        let text = format!("{error} {error:?} {error:#?}");
        assert!(!text.contains(SECRET) && !text.contains("unter"), "{text}");
    }
    assert!(!format!("{:?}", snapshot.get("secrets", "x")).contains(SECRET));
}
