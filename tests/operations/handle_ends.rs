//! The four ends of an operation's handle: pause, complete, fail, cancel.
//!
//! After an end, the handle and its lanes commit nothing.

use std::cell::Cell;

use strongroom::operations::{Checkpoint, FAILURE_BYTES_MAX, Operation, OperationState, Resumable};
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::{FaultTiming, memory_vault};

use crate::scene::{Scene, commit, resumability, row, spec, state, status, unfinished};
use crate::support::calls::each_call;
use crate::support::records::{assert_error, assert_whole, get};

type End = fn(&Operation) -> Result<()>;

/// Each end, with the state and the resumability after it.
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
fn each_end_sets_a_durable_state() {
    for (end, left, expected) in ENDS {
        let mut scene = Scene::new();
        let operation = scene.vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
        commit(&operation.lane("a").unwrap(), 1).unwrap();
        assert_eq!(resumability(&scene.vault, "op"), Resumable::OwnerAlive { generation: 1 });
        end(&operation).unwrap();
        // The handle still lives, but after its end it is no owner.
        for reopened in [false, true] {
            let found = status(&scene.vault, "op");
            assert_eq!((found.state, found.held), (left, left == OperationState::Paused));
            assert_eq!(resumability(&scene.vault, "op"), expected, "reopened: {reopened}");
            let listed: &[&str] = if left.is_finished() { &[] } else { &["op"] };
            assert_eq!(unfinished(&scene.vault), listed);
            assert_eq!(found.failure.is_some(), left == OperationState::Failed);
            let complete = left == OperationState::Completed;
            assert_eq!(found.lanes_complete(), if complete { 2 } else { 0 });
            let progress = if complete { 1.0 } else { 0.0 };
            assert!(found.lanes.iter().all(|lane| (lane.progress - progress).abs() < 1e-9));
            assert_eq!(found.lanes[0].decode::<u32>().unwrap(), Some(1));
            assert_eq!(get(&scene.vault, "1").unwrap(), b"row", "committed rows stay");
            assert_whole(&scene.vault);
            if !reopened {
                scene = scene.reopen();
            }
        }
        drop(operation);
    }
}

/// Asserts that every commit by this handle fails.
///
/// The handle's own calls return `Conflict`, its lanes return `kind`.
#[track_caller]
fn assert_commits_nothing(vault: &Vault, operation: &Operation, expected: &str, kind: ErrorKind) {
    let before = vault.read().unwrap().operation("op").unwrap();
    for (end, ..) in ENDS {
        assert_error(end(operation), ErrorKind::Conflict, expected);
    }
    let unused = |_: &strongroom::operations::LaneStatus| unreachable!("migrates nothing");
    assert_error(operation.migrate(1, unused), ErrorKind::Conflict, expected);
    // A lane opened after the end commits nothing either.
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
fn ended_handle_and_its_lanes_commit_nothing() {
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
fn ended_handle_does_not_affect_the_next_owner() {
    for (end, left, _) in ENDS.into_iter().filter(|(_, left, _)| !left.is_finished()) {
        let vault = memory_vault().unwrap();
        let ended = vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
        let stale = ended.lane("a").unwrap();
        end(&ended).unwrap();
        let next = vault.operations().resume("op").unwrap();
        let lane = next.lane("a").expect("the ended handle's lane does not block the lane");
        assert_lane_commits_nothing(&vault, &stale, ErrorKind::Conflict);
        assert_commits_nothing(&vault, &ended, "fenced", ErrorKind::Conflict);
        drop((stale, ended));
        assert_eq!(resumability(&vault, "op"), Resumable::OwnerAlive { generation: 2 }, "{left}");
        assert_error(next.lane("a"), ErrorKind::Locked, "open already");
        commit(&lane, 1).unwrap();
    }
}

#[test]
fn ends_of_a_fenced_handle_are_conflicts() {
    let vault = memory_vault().unwrap();
    let stale = vault.operations().begin("op", ["a", "b"]).unwrap();
    let fresh = vault.operations().take_over("op").unwrap();
    assert_commits_nothing(&vault, &stale, "fenced: generation 2", ErrorKind::Conflict);
    assert_eq!(state(&vault, "op"), OperationState::Recovering);
    fresh.pause().unwrap();
    assert_commits_nothing(&vault, &stale, "fenced: generation 2", ErrorKind::Conflict);
}

/// Covers two operations of one id: both have operation generation 1.
#[test]
fn handle_of_a_deleted_operation_is_fenced_from_its_id() {
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
        let lane = new.lane("a").expect("the old handle's lane belongs to another operation");
        assert_lane_commits_nothing(&vault, &old_lane, ErrorKind::Conflict);
        assert_error(vault.apply(old_batch), ErrorKind::Conflict, "has ended");
        assert_commits_nothing(&vault, &old, "", ErrorKind::Conflict);
        drop((old_lane, old));
        assert_eq!(resumability(&vault, "op"), Resumable::OwnerAlive { generation: 1 });
        assert_error(new.lane("a"), ErrorKind::Locked, "open already");
        commit(&lane, 1).unwrap();
        new.complete().unwrap();
    }
}

#[test]
fn completed_operation_cannot_get_another_end() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["a"]).unwrap();
    operation.lane("a").unwrap().complete().unwrap();
    let before = status(&vault, "op");
    for (end, left, _) in ENDS {
        if left != OperationState::Completed {
            assert_error(end(&operation), ErrorKind::Invalid, "is completed and cannot become");
        }
    }
    // Completing a completed operation succeeds, and ends the handle.
    operation.complete().unwrap();
    assert_error(operation.complete(), ErrorKind::Conflict, "has ended");
    assert_eq!(status(&vault, "op"), before);
}

#[test]
fn failure_text_and_time_stay_after_a_resume() {
    let scene = Scene::new();
    let vault = &scene.vault;
    let began = status(vault, &begin_and_fail(&scene, "first")).created_unix_millis;
    let failure = status(vault, "op").failure.unwrap();
    assert_eq!((failure.error.as_str(), failure.unix_millis), ("first", began + 5_000));

    let again = vault.operations().resume("op").unwrap();
    commit(&again.lane("main").unwrap(), 1).unwrap();
    assert_eq!(status(vault, "op").failure, Some(failure), "the failure stays after a resume");
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
fn long_failure_is_truncated_between_characters() {
    // The last character begins before, at, and after the limit. "é" has two bytes, "€" three.
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
fn end_with_a_failed_commit_took_effect_or_can_be_repeated() {
    let happened = Cell::new(0);
    for timing in TIMINGS {
        for (end, left, _) in ENDS {
            each_call(
                timing,
                |vault| vault.operations().begin_with(spec("op")).unwrap(),
                |_, operation| end(operation),
                |_, vault, operation, error| {
                    // A write makes the vault reread its state.
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
                    assert!(!matches!(resumability(vault, "op"), Resumable::OwnerAlive { .. }));
                    assert_whole(vault);
                },
            );
        }
    }
    assert!(happened.get() > 0, "no uncertain end took effect");
}

#[test]
fn lane_after_an_uncertain_checkpoint_must_be_reread() {
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
    assert!(happened.get() > 0, "no uncertain checkpoint took effect");
}
