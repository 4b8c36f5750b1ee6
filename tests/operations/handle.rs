//! Handles: preparing, beginning, resuming and taking over, and the status between tries.

use std::time::Duration;

use strongroom::operations::{
    CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT_MAX, Checkpoint, LaneStatus, METADATA_BYTES_MAX,
    ONLY_LANE, Operation, OperationSpec, OperationState, OperationsQuery, Resumable, RetryPolicy,
};
use strongroom::records::NAME_BYTES_MAX;
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{
    AT_ONCE, Scene, commit, lane_status, resumability, row, spec, state, status, unfinished,
};
use crate::support::records::{assert_error, assert_whole};

#[test]
fn prepared_operation_survives_reopening_and_can_be_resumed() {
    let scene = Scene::new();
    let prepared = spec("op").name("import").lanes(["b", "a"]).version(3).metadata("by", "ada");
    scene.vault.operations().prepare(prepared).unwrap();
    let scene = scene.reopen();
    let vault = &scene.vault;
    let found = status(vault, "op");
    assert_eq!((found.state, found.held), (OperationState::Initialized, false));
    assert_eq!((found.generation, found.attempts, found.version), (0, 0, 3));
    assert_eq!(found.name, "import");
    assert_eq!(found.retry, AT_ONCE);
    assert_eq!(found.metadata, [("by".to_owned(), "ada".to_owned())]);
    let lanes: Vec<_> = found.lanes.iter().map(|lane| &lane.name[..]).collect();
    assert_eq!((lanes, found.latest()), (vec!["a", "b"], None));
    assert_eq!(
        (resumability(vault, "op"), unfinished(vault)),
        (Resumable::Ready, vec!["op".to_owned()])
    );

    let operation = vault.operations().resume("op").unwrap();
    let begun = status(vault, "op");
    assert_eq!((begun.state, begun.generation, begun.attempts), (OperationState::Running, 1, 1));
    commit(&operation.lane("a").unwrap(), 1).unwrap();
}

#[test]
fn used_id_already_exists() {
    let vault = memory_vault().unwrap();
    vault.operations().prepare(spec("op")).unwrap();
    let before = status(&vault, "op");
    assert_error(vault.operations().prepare(spec("op")), ErrorKind::AlreadyExists, "op");
    assert_error(vault.operations().begin_with(spec("op")), ErrorKind::AlreadyExists, "op");
    assert_eq!(status(&vault, "op"), before);
    // The call resumes a prepared operation, if the lanes are the same.
    let other = spec("op").lanes(["other"]);
    assert_error(vault.operations().begin_or_resume_with(other), ErrorKind::Invalid, "lanes");
    assert_eq!(status(&vault, "op"), before);
    assert_eq!(vault.operations().begin_or_resume_with(spec("op")).unwrap().generation(), 1);
    assert_error(vault.operations().prepare(spec("op")), ErrorKind::AlreadyExists, "op");
}

#[test]
fn begin_or_resume_keeps_the_spec_of_an_existing_operation() {
    let scene = Scene::new();
    let first = spec("op").name("first").version(1).metadata("k", "1").checkpoints_kept(2);
    drop(scene.vault.operations().begin_or_resume_with(first).unwrap());
    let before = status(&scene.vault, "op");
    let second = OperationSpec::new("op").name("second").version(2).metadata("k", "2");
    let again = scene.vault.operations().begin_or_resume_with(second).unwrap();
    let found = status(&scene.vault, "op");
    assert_eq!((found.generation, found.state), (2, OperationState::Recovering));
    assert_eq!((&found.name, found.version), (&before.name, before.version));
    assert_eq!((&found.metadata, found.retry), (&before.metadata, before.retry));
    assert_eq!(found.checkpoints_kept, 2);
    again.pause().unwrap();
    let held =
        scene.vault.operations().begin_or_resume_with(spec("op")).expect("resumed by its id");
    assert_eq!(state(&scene.vault, "op"), OperationState::Running);
    held.cancel().unwrap();
    let outcome = scene.vault.operations().begin_or_resume_with(spec("op"));
    assert_error(outcome, ErrorKind::Invalid, "was cancelled");
}

#[test]
fn operation_without_owner_can_be_paused_and_abandoned() {
    let scene = Scene::new();
    let vault = &scene.vault;
    let begin = |id: &str| vault.operations().begin_with(spec(id)).unwrap();
    vault.operations().prepare(spec("prepared")).unwrap();
    drop(begin("dropped"));
    begin("failed").fail("no").unwrap();
    begin("paused").pause().unwrap();
    for id in ["prepared", "dropped", "failed", "paused"] {
        let generation = status(vault, id).generation;
        for _ in 0..2 {
            vault.operations().pause(id).unwrap();
            assert_eq!((state(vault, id), resumability(vault, id)), held(), "{id}");
        }
        drop(vault.operations().resume(id).unwrap());
        let resumed = status(vault, id);
        assert_eq!((resumed.state, resumed.held), (OperationState::Running, false), "{id}");
        assert_eq!(resumed.generation, generation + 1);
        vault.operations().abandon(id).unwrap();
        assert_eq!((state(vault, id), resumability(vault, id)), cancelled(), "{id}");
        for outcome in [vault.operations().abandon(id), vault.operations().pause(id)] {
            assert_error(outcome, ErrorKind::Invalid, "is cancelled and cannot become");
        }
    }
    assert_eq!(unfinished(vault), [""; 0]);
    assert_whole(vault);
}

fn held() -> (OperationState, Resumable) {
    (OperationState::Paused, Resumable::Held)
}

fn cancelled() -> (OperationState, Resumable) {
    (OperationState::Cancelled, Resumable::Cancelled)
}

#[test]
fn pause_and_abandon_of_a_running_operation_are_locked() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["a"]).unwrap();
    let clone = operation.clone();
    drop(operation);
    let lane = clone.lane("a").unwrap();
    drop(clone);
    // A lane keeps its handle alive, and with it the right to commit.
    for outcome in [vault.operations().pause("op"), vault.operations().abandon("op")] {
        assert_error(outcome, ErrorKind::Locked, "generation 1 of the operation runs");
    }
    assert_eq!(state(&vault, "op"), OperationState::Running);
    commit(&lane, 1).unwrap();
    lane.complete().unwrap();
    drop(lane);
    for outcome in [vault.operations().pause("op"), vault.operations().abandon("op")] {
        assert_error(outcome, ErrorKind::Invalid, "is completed and cannot become");
    }
    for id in ["none", "strongroom.space.update"] {
        let kind = if id == "none" { ErrorKind::NotFound } else { ErrorKind::Invalid };
        assert_error(vault.operations().pause(id), kind, id);
        assert_error(vault.operations().abandon(id), kind, id);
        assert_error(vault.operations().can_resume(id), kind, id);
    }
}

#[test]
fn attempts_count_until_a_checkpoint_resets_them() {
    let vault = memory_vault().unwrap();
    let unlimited = RetryPolicy { attempts_max: 0, ..AT_ONCE };
    let attempts = || status(&vault, "op").attempts;
    drop(vault.operations().begin_with(spec("op").lanes(["a", "b"]).retry(unlimited)).unwrap());
    assert_eq!(attempts(), 1);
    for n in 2..20 {
        let operation = vault.operations().resume("op").unwrap();
        assert_eq!((attempts(), status(&vault, "op").generation), (n, u64::from(n)));
        if n % 2 == 0 {
            operation.fail("no").unwrap();
        }
    }
    let operation = vault.operations().resume("op").unwrap();
    commit(&operation.lane("a").unwrap(), 1).unwrap();
    assert_eq!((attempts(), state(&vault, "op")), (0, OperationState::Running));
    operation.fail("no").unwrap();
    assert_eq!(attempts(), 0, "this try committed a checkpoint");
    // Completing a lane resets the count too.
    let operation = vault.operations().resume("op").unwrap();
    assert_eq!(attempts(), 1);
    operation.lane("b").unwrap().complete().unwrap();
    assert_eq!((attempts(), state(&vault, "op")), (0, OperationState::Running));
}

#[test]
fn pause_does_not_count_as_a_failed_try() {
    let vault = memory_vault().unwrap();
    vault.operations().begin_with(spec("op")).unwrap().pause().unwrap();
    for _ in 0..10 {
        vault.operations().resume("op").unwrap().pause().unwrap();
        assert_eq!(status(&vault, "op").attempts, 0);
    }
    vault.operations().resume("op").unwrap().fail("no").unwrap();
    vault.operations().resume("op").unwrap().pause().unwrap();
    assert_eq!(status(&vault, "op").attempts, 1, "the failed try still counts");
}

#[test]
fn exhausted_operation_needs_a_take_over() {
    let vault = memory_vault().unwrap();
    let two = RetryPolicy { attempts_max: 2, ..AT_ONCE };
    vault.operations().begin_with(spec("op").retry(two)).unwrap().fail("no").unwrap();
    assert_eq!(resumability(&vault, "op"), Resumable::Ready);
    // A crash counts as a try, like a failure.
    drop(vault.operations().resume("op").unwrap());
    let exhausted = Resumable::AttemptsExhausted { attempts: 2 };
    assert_eq!((resumability(&vault, "op"), exhausted.by_id()), (exhausted, false));
    let before = status(&vault, "op");
    assert_error(
        vault.operations().resume("op"),
        ErrorKind::Invalid,
        "2 tries without a checkpoint",
    );
    let outcome = vault.operations().begin_or_resume_with(spec("op"));
    assert_error(outcome, ErrorKind::Invalid, "2 tries without a checkpoint");
    assert_eq!(status(&vault, "op"), before);

    let operation = vault.operations().take_over("op").unwrap();
    assert_eq!((status(&vault, "op").attempts, operation.generation()), (1, 3));
    drop(operation);
    drop(vault.operations().resume("op").expect("a take-over resets the count"));
    assert_eq!(resumability(&vault, "op"), Resumable::AttemptsExhausted { attempts: 2 });
}

#[test]
fn resume_by_id_ignores_the_backoff() {
    let scene = Scene::new();
    let retry = RetryPolicy {
        attempts_max: 0,
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(3),
    };
    let waits = |secs| Resumable::BackingOff { wait: Duration::from_secs(secs) };
    scene.vault.operations().begin_with(spec("op").retry(retry)).unwrap().fail("no").unwrap();
    for (expected, secs) in [(waits(1), 1), (waits(2), 2), (waits(3), 3), (waits(3), 3)] {
        assert_eq!(resumability(&scene.vault, "op"), expected);
        scene.clock.advance(Duration::from_millis(secs * 1_000 - 1));
        let wait = Duration::from_millis(1);
        assert_eq!(resumability(&scene.vault, "op"), Resumable::BackingOff { wait });
        let operation = scene.vault.operations().resume("op").expect("the wait is advice");
        operation.fail("no").unwrap();
    }
    scene.clock.advance(Duration::from_secs(3));
    assert_eq!(resumability(&scene.vault, "op"), Resumable::Ready);
}

#[test]
fn last_completed_lane_completes_the_operation() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("op", ["a", "b"]).unwrap();
    let (a, b) = (operation.lane("a").unwrap(), operation.lane("b").unwrap());
    a.commit(row("k"), Checkpoint::new("half").progress(0.5)).unwrap();
    let mut expected = lane_status(&vault, "op", "a");
    (expected.progress, expected.complete) = (1.0, true);
    a.complete().unwrap();
    assert_eq!(lane_status(&vault, "op", "a"), expected, "no further checkpoint");
    assert_eq!(state(&vault, "op"), OperationState::Running);
    assert_error(a.complete(), ErrorKind::Invalid, "the lane is complete");
    b.complete().unwrap();
    let found = status(&vault, "op");
    assert_eq!((found.state, found.progress()), (OperationState::Completed, 1.0));
    assert_eq!((found.lanes[1].checkpoints, found.latest().unwrap().name.as_str()), (0, "a"));
    assert_whole(&vault);
}

/// Begins an operation of version 0 with three lanes.
///
/// Lane "a" has a checkpoint and is complete, "b" has two checkpoints, "c" has none.
fn begin_three_lanes(vault: &Vault) -> Operation {
    let operation = vault.operations().begin_with(spec("op").lanes(["a", "b", "c"])).unwrap();
    for (lane, n) in [("a", 1), ("b", 1), ("b", 2)] {
        commit(&operation.lane(lane).unwrap(), n).unwrap();
    }
    operation.lane("a").unwrap().complete().unwrap();
    operation
}

#[test]
fn migration_changes_only_the_data_of_lanes() {
    // The manual clock keeps all times equal.
    let Scene { vault, .. } = Scene::new();
    let operation = begin_three_lanes(&vault);
    let before = status(&vault, "op");
    let mut called = Vec::new();
    let migrated = operation.migrate(7, |lane| {
        called.push(lane.name.clone());
        let old: u32 = lane.decode()?.expect("the lane has a checkpoint");
        Ok(format!("{old} of version 7").into_bytes())
    });
    migrated.unwrap();
    assert_eq!(called, ["a", "b"], "the third lane has no data");
    let mut expected = before;
    expected.version = 7;
    expected.lanes[0].data = b"1 of version 7".to_vec();
    expected.lanes[1].data = b"2 of version 7".to_vec();
    assert_eq!(status(&vault, "op"), expected);
    // Older checkpoints keep their data.
    let history = vault.read().unwrap().checkpoints("op", "b").unwrap();
    assert_eq!(history[0].data, b"2 of version 7");
    assert_eq!(history[1].decode::<u32>().unwrap(), Some(1));
    // The lanes stay usable.
    commit(&operation.lane("b").unwrap(), 3).unwrap();
    operation.lane("c").unwrap().complete().unwrap();
    assert_whole(&vault);
}

#[test]
fn migration_failing_for_one_lane_changes_none() {
    let vault = memory_vault().unwrap();
    let operation = begin_three_lanes(&vault);
    let before = status(&vault, "op");
    let second = |lane: &LaneStatus, bad: Result<Vec<u8>>| match &lane.name[..] {
        "a" => Ok(b"new".to_vec()),
        _ => bad,
    };
    let failing = operation
        .migrate(1, |lane| second(lane, Err(Error::new(ErrorKind::Unavailable, "ask the host"))));
    assert_error(failing, ErrorKind::Unavailable, "ask the host");
    let long = vec![0; CHECKPOINT_BYTES_MAX + 1];
    let too_long = operation.migrate(1, |lane| second(lane, Ok(long.clone())));
    assert_error(too_long, ErrorKind::Invalid, "32769 bytes, the limit is 32768");
    let nested = operation.migrate(1, |lane| second(lane, operation.pause().map(|()| Vec::new())));
    assert_error(nested, ErrorKind::Invalid, "inside a write");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        operation.migrate(1, |lane| second(lane, Ok(lane.data[9..].to_vec())))
    }));
    assert!(panicked.is_err(), "the panic reaches the caller");
    assert_eq!(status(&vault, "op"), before);
    let most = operation.migrate(1, |lane| second(lane, Ok(long[1..].to_vec())));
    most.expect("data of the largest length");
    assert_eq!(status(&vault, "op").version, 1);
}

#[test]
fn metadata_beyond_its_limit_is_invalid() {
    let vault = memory_vault().unwrap();
    let filled = |bytes: usize| spec("op").metadata("k", "x".repeat(bytes - 2)).metadata("b", "");
    let outcome = vault.operations().begin_with(filled(METADATA_BYTES_MAX + 1));
    assert_error(outcome, ErrorKind::Invalid, "16385 bytes, the limit is 16384");
    let outcome = vault.operations().prepare(filled(METADATA_BYTES_MAX + 1));
    assert_error(outcome, ErrorKind::Invalid, "16385 bytes, the limit is 16384");
    assert!(vault.read().unwrap().operation("op").unwrap().is_none());
    // Only the last value of a key is kept and counted.
    let most = filled(METADATA_BYTES_MAX).metadata("b", "y").metadata("b", "");
    drop(vault.operations().begin_with(most).unwrap());
    let found = status(&vault, "op").metadata;
    let keys: Vec<_> = found.iter().map(|(key, value)| (&key[..], value.len())).collect();
    assert_eq!(keys, [("b", 0), ("k", METADATA_BYTES_MAX - 2)]);
}

#[test]
fn names_and_kept_checkpoints_have_bounds() {
    let vault = memory_vault().unwrap();
    let named = |name: &str| vault.operations().begin_with(spec("op").name(name));
    assert_error(named(""), ErrorKind::Invalid, "is empty");
    assert_error(named(&"x".repeat(NAME_BYTES_MAX + 1)), ErrorKind::Invalid, "129 bytes");
    assert_error(named("a\nb"), ErrorKind::Invalid, "control character");
    for kept in [0, CHECKPOINTS_KEPT_MAX + 1, u16::MAX] {
        let outcome = vault.operations().begin_with(spec("op").checkpoints_kept(kept));
        assert_error(outcome, ErrorKind::Invalid, &format!("{kept} checkpoints to keep"));
    }
    let own = vault.operations().prepare(spec("strongroom.op"));
    assert_error(own, ErrorKind::Invalid, "the engine's own");
    assert_eq!(vault.read().unwrap().operations(&OperationsQuery::new().limit(10)).unwrap(), []);

    let most = OperationSpec::new("op").name("x".repeat(NAME_BYTES_MAX));
    drop(vault.operations().begin_with(most.checkpoints_kept(CHECKPOINTS_KEPT_MAX)).unwrap());
    let found = status(&vault, "op");
    assert_eq!((found.lanes.len(), &found.lanes[0].name[..]), (1, ONLY_LANE));
    assert_eq!((found.version, found.retry), (0, RetryPolicy::DEFAULT));
}

#[test]
fn list_pairs_lanes_with_similar_ids_correctly() {
    let vault = memory_vault().unwrap();
    let ids = ["a", "a ", "a b", "a!", "aa", "b", "\u{e9}"];
    for (n, id) in ids.iter().enumerate() {
        let lanes = (0..=n).map(|lane| format!("{id} {lane}"));
        drop(vault.operations().begin(id, lanes).unwrap());
    }
    let snapshot = vault.read().unwrap();
    for limit in 1..=ids.len() + 1 {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = snapshot
                .operations(&OperationsQuery::new().after(after.as_deref()).limit(limit))
                .unwrap();
            let is_last = page.len() < limit;
            after = page.last().map(|last| last.id.clone());
            listed.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(listed.len(), ids.len());
        for (n, (found, id)) in listed.iter().zip(ids).enumerate() {
            assert_eq!((&*found.id, found.lanes.len()), (id, n + 1));
            assert_eq!(*found, snapshot.operation(id).unwrap().unwrap());
        }
    }
}
