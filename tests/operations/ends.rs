//! The ends that an operation's handle has, and that nothing of it commits after one.

use std::cell::Cell;

use strongroom::operations::{Checkpoint, FAILURE_BYTES_MAX, Operation, OperationState, Resumable};
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::{FaultTiming, memory_vault};

use crate::scene::{Scene, commit, row, spec, stands, state, status, unfinished};
use crate::support::calls::each_call;
use crate::support::records::{assert_error, assert_whole, get};

type End = fn(&Operation) -> Result<()>;

/// Each end, the state that it leaves, and what is said of resuming then.
const ENDS: [(End, OperationState, Resumable); 4] = [
    (Operation::pause, OperationState::Paused, Resumable::Held),
    (Operation::complete, OperationState::Completed, Resumable::Completed),
    (fail, OperationState::Failed, Resumable::Ready),
    (Operation::cancel, OperationState::Cancelled, Resumable::Cancelled),
];

fn fail(operation: &Operation) -> Result<()> {
    operation.fail("no")
}

#[test]
fn each_end_leaves_its_state_for_whoever_looks_now_or_after_reopening() {
    for (end, left, told) in ENDS {
        let mut scene = Scene::new();
        let operation = scene.vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
        commit(&operation.lane("a").unwrap(), 1).unwrap();
        assert_eq!(stands(&scene.vault, "op"), Resumable::OwnerAlive { generation: 1 });
        end(&operation).unwrap();
        // The handle still lives: its end is what counts.
        for reopened in [false, true] {
            let found = status(&scene.vault, "op");
            assert_eq!((found.state, found.held), (left, left == OperationState::Paused));
            assert_eq!(stands(&scene.vault, "op"), told, "reopened: {reopened}");
            let listed: &[&str] = if left.is_finished() { &[] } else { &["op"] };
            assert_eq!(unfinished(&scene.vault), listed);
            assert_eq!(found.failure.is_some(), left == OperationState::Failed);
            let complete = left == OperationState::Completed;
            assert_eq!(found.lanes_complete(), if complete { 2 } else { 0 });
            let progress = if complete { 1.0 } else { 0.0 };
            assert!(found.lanes.iter().all(|lane| (lane.progress - progress).abs() < 1e-9));
            assert_eq!(found.lanes[0].decode::<u32>().unwrap(), Some(1));
            assert_eq!(get(&scene.vault, "1").unwrap(), b"row", "what was committed stays");
            assert_whole(&scene.vault);
            if !reopened {
                scene = scene.reopen();
            }
        }
        drop(operation);
    }
}

/// Whatever commits by this handle is refused: as `Conflict`, or as `kind` by its lanes.
#[track_caller]
fn assert_commits_nothing(vault: &Vault, operation: &Operation, told: &str, kind: ErrorKind) {
    let before = vault.read().unwrap().operation("op").unwrap();
    for (end, ..) in ENDS {
        assert_error(end(operation), ErrorKind::Conflict, told);
    }
    let unasked = |_: &strongroom::operations::LaneStatus| unreachable!("it may not migrate");
    assert_error(operation.migrate(1, unasked), ErrorKind::Conflict, told);
    // One of its lanes that is opened only now is no better.
    let lane = operation.lane("b").unwrap();
    assert_lane_commits_nothing(vault, &lane, kind);
    assert_eq!(vault.read().unwrap().operation("op").unwrap(), before);
}

#[track_caller]
fn assert_lane_commits_nothing(
    vault: &Vault,
    lane: &strongroom::operations::Lane,
    kind: ErrorKind,
) {
    assert_error(lane.commit(row("late"), Checkpoint::new("late")), kind, "");
    assert_error(lane.complete(), kind, "");
    let outcome = vault.write(|tx| {
        tx.insert("n", "late", "row")?;
        tx.checkpoint(lane, Checkpoint::new("late")).ok();
        Ok::<_, Error>(())
    });
    assert_error(outcome, kind, "");
    assert_eq!(get(vault, "late"), None);
}

#[test]
fn after_each_end_its_handle_and_its_lanes_commit_nothing() {
    for (end, left, _) in ENDS {
        let vault = memory_vault().unwrap();
        let operation = vault.operations().begin("op", ["a", "b"]).unwrap();
        let lane = operation.lane("a").unwrap();
        commit(&lane, 1).unwrap();
        end(&operation).unwrap();
        let kind = ErrorKind::Conflict;
        assert_lane_commits_nothing(&vault, &lane, kind);
        assert_commits_nothing(&vault, &operation, "has ended", kind);
        assert_eq!(state(&vault, "op"), left);
        assert_whole(&vault);
    }
}

#[test]
fn an_end_lets_others_in_and_its_handle_takes_nothing_of_theirs() {
    for (end, left, _) in ENDS.into_iter().filter(|(_, left, _)| !left.is_finished()) {
        let vault = memory_vault().unwrap();
        let ended = vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
        let stale = ended.lane("a").unwrap();
        end(&ended).unwrap();
        let next = vault.operations().resume("op").unwrap();
        let lane = next.lane("a").expect("the ended handle's lane holds nothing open");
        assert_lane_commits_nothing(&vault, &stale, ErrorKind::Conflict);
        assert_commits_nothing(&vault, &ended, "fenced", ErrorKind::Conflict);
        drop((stale, ended));
        assert_eq!(stands(&vault, "op"), Resumable::OwnerAlive { generation: 2 }, "{left}");
        assert_error(next.lane("a"), ErrorKind::Locked, "open already");
        commit(&lane, 1).unwrap();
    }
}

#[test]
fn no_end_of_a_handle_that_was_taken_over_happens() {
    let vault = memory_vault().unwrap();
    let stale = vault.operations().begin("op", ["a", "b"]).unwrap();
    let fresh = vault.operations().take_over("op").unwrap();
    assert_commits_nothing(&vault, &stale, "fenced: generation 2", ErrorKind::Conflict);
    assert_eq!(state(&vault, "op"), OperationState::Recovering);
    fresh.pause().unwrap();
    assert_commits_nothing(&vault, &stale, "fenced: generation 2", ErrorKind::Conflict);
}

/// The generation of an operation that is begun anew is 1 again.
#[test]
fn a_handle_of_a_removed_operation_has_no_right_to_the_next_one_of_its_id() {
    for (end, ..) in ENDS {
        let vault = memory_vault().unwrap();
        let old = vault.operations().begin("op", ["a", "b"]).unwrap();
        let old_lane = old.lane("a").unwrap();
        let mut old_batch = row("late");
        old_batch.checkpoint(&old_lane, Checkpoint::new("late"));
        end(&old).unwrap();
        assert!(vault.operations().delete("op").unwrap());

        let new = vault.operations().begin("op", ["a", "b"]).unwrap();
        assert_eq!((old.generation(), new.generation()), (1, 1));
        let lane = new.lane("a").expect("the old handle's lane is another one");
        assert_lane_commits_nothing(&vault, &old_lane, ErrorKind::Conflict);
        assert_error(vault.apply(old_batch), ErrorKind::Conflict, "has ended");
        assert_commits_nothing(&vault, &old, "", ErrorKind::Conflict);
        drop((old_lane, old));
        assert_eq!(stands(&vault, "op"), Resumable::OwnerAlive { generation: 1 });
        assert_error(new.lane("a"), ErrorKind::Locked, "open already");
        commit(&lane, 1).unwrap();
        new.complete().unwrap();
    }
}

#[test]
fn what_its_lanes_have_completed_cannot_be_ended_again() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["a"]).unwrap();
    operation.lane("a").unwrap().complete().unwrap();
    let before = status(&vault, "op");
    for (end, left, _) in ENDS {
        if left != OperationState::Completed {
            assert_error(end(&operation), ErrorKind::Invalid, "is completed and cannot become");
        }
    }
    // That it is completed once more is fine, and lets go of it.
    operation.complete().unwrap();
    assert_error(operation.complete(), ErrorKind::Conflict, "has ended");
    assert_eq!(status(&vault, "op"), before);
}

#[test]
fn a_failure_tells_its_text_and_time_also_once_the_work_goes_on() {
    let scene = Scene::new();
    let vault = &scene.vault;
    let began = status(vault, &begin_and_fail(&scene, "first")).created_unix_millis;
    let failure = status(vault, "op").failure.unwrap();
    assert_eq!((failure.error.as_str(), failure.unix_millis), ("first", began + 5_000));

    let again = vault.operations().resume("op").unwrap();
    commit(&again.lane("main").unwrap(), 1).unwrap();
    assert_eq!(status(vault, "op").failure, Some(failure), "the last one, though it goes on");
    scene.clock.advance(std::time::Duration::from_secs(1));
    again.fail("second").unwrap();
    let failure = status(vault, "op").failure.unwrap();
    assert_eq!((failure.error.as_str(), failure.unix_millis), ("second", began + 6_000));
}

fn begin_and_fail(scene: &Scene, error: &str) -> String {
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    scene.clock.advance(std::time::Duration::from_secs(5));
    operation.fail(error).unwrap();
    operation.id().to_owned()
}

#[test]
fn a_long_failure_is_cut_between_two_characters() {
    // The last character begins before, at, and after the limit; "é" has two bytes, "€" three.
    let cases = [
        ("x".repeat(FAILURE_BYTES_MAX), FAILURE_BYTES_MAX),
        ("x".repeat(FAILURE_BYTES_MAX + 1), FAILURE_BYTES_MAX),
        ("x".repeat(FAILURE_BYTES_MAX - 1) + "é", FAILURE_BYTES_MAX - 1),
        ("x".repeat(FAILURE_BYTES_MAX - 2) + "éx", FAILURE_BYTES_MAX),
        ("x".repeat(FAILURE_BYTES_MAX - 2) + "€", FAILURE_BYTES_MAX - 2),
        ("€".repeat(FAILURE_BYTES_MAX), FAILURE_BYTES_MAX / 3 * 3),
        (String::new(), 0),
    ];
    for (text, kept) in cases {
        let vault = memory_vault().unwrap();
        vault.operations().begin("op", ["a"]).unwrap().fail(&text).unwrap();
        let failure = status(&vault, "op").failure.unwrap();
        assert_eq!(failure.error, text[..kept]);
    }
}

const TIMINGS: [FaultTiming; 3] = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];

#[test]
fn an_end_whose_commit_failed_has_happened_or_can_be_made_again() {
    let happened = Cell::new(0);
    for timing in TIMINGS {
        for (end, left, _) in ENDS {
            each_call(
                timing,
                |vault| vault.operations().begin_with(spec("op")).unwrap(),
                |_, operation| end(operation),
                |_, vault, operation, error| {
                    // A write makes the vault look at its state again.
                    vault.write(|tx| tx.insert("n", "k", "v")).unwrap();
                    if state(vault, "op") == left {
                        assert_eq!(error.kind(), ErrorKind::Uncertain);
                        happened.set(happened.get() + 1);
                    } else {
                        assert_eq!(state(vault, "op"), OperationState::Running);
                        end(&operation).unwrap();
                    }
                    drop(operation);
                    assert_eq!(state(vault, "op"), left);
                    assert!(!matches!(stands(vault, "op"), Resumable::OwnerAlive { .. }));
                    assert_whole(vault);
                },
            );
        }
    }
    assert!(happened.get() > 0, "no end of unknown outcome had happened");
}

#[test]
fn a_lane_is_not_completed_over_a_checkpoint_that_nobody_was_told_of() {
    let happened = Cell::new(0);
    for timing in TIMINGS {
        each_call(
            timing,
            |vault| vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap(),
            |_, lane| commit(lane, 1),
            |_, vault, lane, _| {
                vault.write(|tx| tx.insert("n", "k", "v")).unwrap();
                if status(vault, "op").lanes[0].checkpoints == 1 {
                    happened.set(happened.get() + 1);
                    assert_error(lane.complete(), ErrorKind::Conflict, "read its status");
                }
                assert!(!lane.status().unwrap().complete);
                lane.complete().unwrap();
                assert_eq!(state(vault, "op"), OperationState::Completed);
            },
        );
    }
    assert!(happened.get() > 0, "no checkpoint of unknown outcome had happened");
}
