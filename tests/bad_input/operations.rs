//! Operations and lanes that are begun, opened or resumed wrongly.

use strongroom::operations::{
    CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointPolicy, LANES_MAX, OperationSpec, OperationState,
};
use strongroom::{Batch, ErrorKind, Vault};
use strongroom_testkit::memory_vault;

use crate::support::records::{assert_error, get};

fn status(vault: &Vault) -> Option<strongroom::operations::OperationStatus> {
    vault.read().unwrap().operation("import").unwrap()
}

fn insert(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.insert("n", key, "v");
    batch
}

#[test]
fn lanes_must_be_distinct_and_within_limits() {
    let vault = memory_vault().unwrap();
    let none: [&str; 0] = [];
    let lane = |i: usize| format!("lane-{i}");
    let begin = |lanes: Vec<String>| vault.operations().begin("import", lanes);
    let resume = |lanes: Vec<String>| vault.operations().begin_or_resume("import", lanes);
    assert_error(vault.operations().begin("import", none), ErrorKind::Invalid, "at least one");
    let twice = || vec!["a".to_owned(), "b".into(), "a".into()];
    let many = || (0..=LANES_MAX).map(lane).collect::<Vec<_>>();
    assert_error(begin(twice()), ErrorKind::Invalid, "twice");
    assert_error(resume(twice()), ErrorKind::Invalid, "twice");
    assert_error(begin(many()), ErrorKind::Invalid, "4097 lanes, the limit is 4096");
    assert_error(resume(many()), ErrorKind::Invalid, "4097 lanes");
    assert_eq!(status(&vault), None);
    begin((0..LANES_MAX).map(lane).collect()).unwrap();
}

#[test]
fn lane_opens_once_at_a_time() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a", "b"]).unwrap();
    let lane = operation.lane("a").unwrap();
    assert_error(operation.lane("a"), ErrorKind::Locked, "open already");
    assert_error(operation.clone().lane("a"), ErrorKind::Locked, "open already");
    assert_error(operation.lane("c"), ErrorKind::NotFound, "no such lane");
    let other = operation.lane("b").unwrap();
    lane.commit(insert("1"), Checkpoint::new("1")).unwrap();
    drop(lane);
    let again = operation.lane("a").unwrap();
    assert_eq!(again.status().unwrap().data, b"1");
    drop(other);
}

#[test]
fn two_checkpoints_of_one_lane_in_a_batch_are_invalid() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let mut batch = insert("k");
    batch.checkpoint(&lane, Checkpoint::new("1"));
    let outcome = lane.commit(batch, Checkpoint::new("2"));
    assert_error(outcome, ErrorKind::Invalid, "two checkpoints");
    assert_eq!(get(&vault, "k"), None);
}

#[test]
fn operation_begins_once() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let before = status(&vault);
    assert_error(vault.operations().begin("import", ["a"]), ErrorKind::AlreadyExists, "import");
    assert_error(
        vault.operations().begin_or_resume("import", ["a"]),
        ErrorKind::Locked,
        "runs in this process",
    );
    assert_error(vault.operations().resume("import"), ErrorKind::Locked, "runs in");
    assert_eq!(status(&vault), before);
    // The refusals did not change the owner.
    let lane = operation.lane("a").unwrap();
    lane.commit(insert("k"), Checkpoint::new("1")).unwrap();
}

#[test]
fn resume_requires_the_original_lanes() {
    let vault = memory_vault().unwrap();
    drop(vault.operations().begin("import", ["a", "b"]).unwrap());
    let before = status(&vault);
    for lanes in [&["a"][..], &["a", "b", "c"], &["a", "c"]] {
        let outcome = vault.operations().begin_or_resume("import", lanes.iter().copied());
        assert_error(outcome, ErrorKind::Invalid, "lanes");
        assert_eq!(status(&vault), before);
    }
    let operation = vault.operations().begin_or_resume("import", ["b", "a"]).unwrap();
    assert_eq!(operation.generation(), 2);
}

#[test]
fn unknown_operation_is_not_found() {
    let vault = memory_vault().unwrap();
    assert_error(vault.operations().resume("import"), ErrorKind::NotFound, "import");
    assert_error(vault.operations().take_over("import"), ErrorKind::NotFound, "import");
    assert_eq!(status(&vault), None);
}

#[test]
fn completed_lane_and_operation_accept_nothing() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    lane.commit(insert("1"), Checkpoint::new("end").complete()).unwrap();
    let outcome = lane.commit(insert("2"), Checkpoint::new("more"));
    assert_error(outcome, ErrorKind::Invalid, "the lane is complete");
    assert_eq!(get(&vault, "2"), None);
    drop((lane, operation));
    let before = status(&vault);
    assert_eq!(before.as_ref().unwrap().state, OperationState::Completed);
    assert_error(vault.operations().resume("import"), ErrorKind::AlreadyExists, "completed");
    assert_error(vault.operations().take_over("import"), ErrorKind::AlreadyExists, "completed");
    assert_error(
        vault.operations().begin_or_resume("import", ["a"]),
        ErrorKind::AlreadyExists,
        "completed",
    );
    assert_error(vault.operations().begin("import", ["a"]), ErrorKind::AlreadyExists, "import");
    assert_eq!(status(&vault), before);
}

#[test]
fn owner_after_take_over_commits_nothing() {
    let vault = memory_vault().unwrap();
    let stale = vault.operations().begin("import", ["a"]).unwrap();
    let stale_lane = stale.lane("a").unwrap();
    let fresh = vault.operations().take_over("import").unwrap();
    let outcome = stale_lane.commit(insert("k"), Checkpoint::new("1"));
    assert_error(outcome, ErrorKind::Conflict, "fenced");
    let outcome = vault.write(|tx| {
        tx.insert("n", "k", "v")?;
        tx.checkpoint(&stale_lane, Checkpoint::new("1")).ok();
        Ok::<_, strongroom::Error>(())
    });
    assert_error(outcome, ErrorKind::Conflict, "fenced");
    assert_eq!(get(&vault, "k"), None);
    // Dropping the stale handles releases nothing of the new owner.
    let lane = fresh.lane("a").unwrap();
    drop((stale_lane, stale));
    assert_error(fresh.lane("a"), ErrorKind::Locked, "open already");
    assert_error(vault.operations().resume("import"), ErrorKind::Locked, "runs in");
    lane.commit(insert("k"), Checkpoint::new("1")).unwrap();
}

#[test]
fn operation_ids_of_the_engine_are_invalid() {
    let vault = memory_vault().unwrap();
    for id in ["strongroom.", "strongroom.update", "strongroom.\u{1F600}"] {
        let message = "the engine's own";
        assert_error(vault.operations().begin(id, ["a"]), ErrorKind::Invalid, message);
        assert_error(vault.operations().begin_or_resume(id, ["a"]), ErrorKind::Invalid, message);
        assert_error(
            vault.operations().prepare(OperationSpec::new(id)),
            ErrorKind::Invalid,
            message,
        );
        assert_error(vault.operations().resume(id), ErrorKind::Invalid, message);
        assert_error(vault.operations().take_over(id), ErrorKind::Invalid, message);
        assert_error(vault.operations().can_resume(id), ErrorKind::Invalid, message);
        assert_error(vault.operations().pause(id), ErrorKind::Invalid, message);
        assert_error(vault.operations().abandon(id), ErrorKind::Invalid, message);
        assert_error(vault.operations().delete(id), ErrorKind::Invalid, message);
        assert_eq!(vault.read().unwrap().operation(id).unwrap(), None);
    }
    // Similar ids are allowed.
    for id in ["strongroom", "Strongroom.update", "my strongroom.update"] {
        vault.operations().begin(id, ["a"]).unwrap().complete().unwrap();
    }
}

#[test]
fn paced_lane_refuses_checkpoint_beyond_limits() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let before = status(&vault);
    let bad = [
        (Checkpoint::new("").progress(f64::NAN), "NaN"),
        (Checkpoint::new(vec![0; CHECKPOINT_BYTES_MAX + 1]), "32769 bytes"),
    ];
    for (checkpoint, message) in bad {
        let mut paced = lane.auto_checkpoint(CheckpointPolicy::EACH, 0).unwrap().total(10);
        paced.insert("n", "k", "v");
        let outcome = paced.step(|| Ok(checkpoint.clone()));
        assert_error(outcome, ErrorKind::Invalid, message);
        let finish = lane.auto_checkpoint(CheckpointPolicy::EACH, 0).unwrap().finish(checkpoint);
        assert_error(finish, ErrorKind::Invalid, message);
    }
    assert_eq!((status(&vault), get(&vault, "k")), (before, None));
    lane.commit(insert("k"), Checkpoint::new("1")).unwrap();
}
