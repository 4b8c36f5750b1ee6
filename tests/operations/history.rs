//! The checkpoints that a lane keeps: the newest ones, unchanged, newest first.

use std::time::Duration;

use strongroom::operations::{Checkpoint, ExpireOperations, LaneStatus, Operation};
use strongroom::{Batch, Error, ErrorKind, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{Scene, commit, lane_status, spec};
use crate::support::records::{assert_error, assert_whole};

fn kept(vault: &Vault, lane: &str) -> Vec<LaneStatus> {
    vault.read().unwrap().checkpoints("op", lane).unwrap()
}

/// Returns the numbers in the kept checkpoints of a lane, newest first.
fn numbers(vault: &Vault, lane: &str) -> Vec<u32> {
    kept(vault, lane).iter().map(|kept| kept.decode().unwrap().unwrap()).collect()
}

/// Returns the last `kept` numbers up to `last`, in descending order.
fn expected(last: u32, kept: u16) -> Vec<u32> {
    (1..=last).rev().take(kept.into()).collect()
}

fn begin(vault: &Vault, kept: u16) -> Operation {
    vault.operations().begin_with(spec("op").lanes(["a", "b"]).checkpoints_kept(kept)).unwrap()
}

#[test]
fn newest_checkpoints_are_kept_up_to_the_limit() {
    for keep in [1, 2, 3, 10] {
        let vault = memory_vault().unwrap();
        let operation = begin(&vault, keep);
        let lane = operation.lane("a").unwrap();
        assert_eq!(kept(&vault, "a"), []);
        // Overwrites each kept checkpoint three times.
        for n in 1..=u32::from(keep) * 3 + 1 {
            commit(&lane, n).unwrap();
            assert_eq!(numbers(&vault, "a"), expected(n, keep), "{keep} kept");
            assert_eq!(kept(&vault, "a")[0], lane_status(&vault, "op", "a"));
        }
        assert_whole(&vault);
    }
}

#[test]
fn ten_checkpoints_are_kept_by_default() {
    let vault = memory_vault().unwrap();
    let lane = vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap();
    (1..=25).for_each(|n| commit(&lane, n).unwrap());
    assert_eq!(numbers(&vault, "a"), expected(25, 10));
}

#[test]
fn kept_checkpoints_are_unchanged() {
    let scene = Scene::new();
    let operation = begin(&scene.vault, 3);
    let lane = operation.lane("a").unwrap();
    let mut written = Vec::new();
    for n in 1..=5_u8 {
        scene.clock.advance(Duration::from_secs(n.into()));
        let checkpoint = Checkpoint::new(vec![n; usize::from(n) * 1_000]);
        lane.commit(Batch::new(), checkpoint.progress(f64::from(n) / 8.0)).unwrap();
        written.insert(0, lane.status().unwrap());
    }
    assert_eq!(kept(&scene.vault, "a"), written[..3]);
    assert_eq!(written[0].updated_unix_millis - written[1].updated_unix_millis, 5_000);
}

#[test]
fn lanes_with_similar_names_keep_separate_checkpoints() {
    let vault = memory_vault().unwrap();
    // Some names are prefixes of others, and so is one operation id.
    let names = ["a", "a b", "ab", "b", "\u{1F600}"];
    let spec = |id: &str| spec(id).lanes(names).checkpoints_kept(3);
    let (op, opera) =
        (vault.operations().begin_with(spec("op")), vault.operations().begin_with(spec("op a")));
    let (op, opera) = (op.unwrap(), opera.unwrap());
    for (i, name) in names.iter().enumerate() {
        let lane = op.lane(name).unwrap();
        (1..=10 * u32::try_from(i).unwrap()).for_each(|n| commit(&lane, n).unwrap());
        let other = opera.lane(name).unwrap();
        (1..=2).for_each(|n| commit(&other, n + 100).unwrap());
    }
    for (i, name) in names.iter().enumerate() {
        assert_eq!(numbers(&vault, name), expected(10 * u32::try_from(i).unwrap(), 3), "{name}");
    }
    drop((op, opera));
    assert!(vault.operations().delete("op").unwrap());
    for name in names {
        let others = vault.read().unwrap().checkpoints("op a", name).unwrap();
        assert_eq!(others.len(), 2, "the other operation keeps its checkpoints");
    }
    assert_whole(&vault);
}

#[test]
fn kept_checkpoints_survive_reopening() {
    let mut scene = Scene::new();
    drop(begin(&scene.vault, 4));
    for n in 1..=13 {
        let operation = scene.vault.operations().resume("op").unwrap();
        commit(&operation.lane("a").unwrap(), n).unwrap();
        drop(operation);
        scene = scene.reopen();
        assert_eq!(numbers(&scene.vault, "a"), expected(n, 4));
    }
    assert_whole(&scene.vault);
}

#[test]
fn rolled_back_checkpoint_is_not_kept() {
    let vault = memory_vault().unwrap();
    let operation = begin(&vault, 3);
    let lane = operation.lane("a").unwrap();
    (1..=5).for_each(|n| commit(&lane, n).unwrap());
    let before = kept(&vault, "a");
    let outcome = vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::encode(&6)?)?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "roll back"))
    });
    assert_error(outcome, ErrorKind::Invalid, "roll back");
    assert_eq!(kept(&vault, "a"), before);
    // The rolled-back checkpoint is not counted: the next one is the sixth.
    commit(&lane, 6).unwrap();
    assert_eq!(kept(&vault, "a")[0].checkpoints, 6);
}

#[test]
fn snapshot_keeps_its_checkpoints() {
    let vault = memory_vault().unwrap();
    let lane = begin(&vault, 2).lane("a").unwrap();
    (1..=2).for_each(|n| commit(&lane, n).unwrap());
    let snapshot = vault.read().unwrap();
    let before = snapshot.checkpoints("op", "a").unwrap();
    (3..=9).for_each(|n| commit(&lane, n).unwrap());
    assert_eq!(snapshot.checkpoints("op", "a").unwrap(), before);
    assert_eq!(numbers(&vault, "a"), [9, 8]);
}

#[test]
fn checkpoints_survive_the_end_and_go_with_the_operation() {
    let expire = |vault: &Vault| {
        let at_once = ExpireOperations::new().older_than(Duration::ZERO);
        assert_eq!(vault.operations().expire(&at_once).unwrap().ids, ["op"]);
    };
    let remove = |vault: &Vault| assert!(vault.operations().delete("op").unwrap());
    for end in [&expire as &dyn Fn(&Vault), &remove] {
        let vault = memory_vault().unwrap();
        let operation = begin(&vault, 3);
        let lane = operation.lane("a").unwrap();
        (1..=5).for_each(|n| commit(&lane, n).unwrap());
        lane.complete().unwrap();
        assert_eq!(numbers(&vault, "a"), [5, 4, 3], "completing a lane adds no checkpoint");
        operation.complete().unwrap();
        assert_eq!(numbers(&vault, "a"), [5, 4, 3]);
        drop((lane, operation));
        end(&vault);
        assert_eq!(vault.operations().statistics().unwrap().checkpoints, 0);
        assert_eq!(kept(&vault, "a"), []);
        let again = begin(&vault, 10);
        assert_eq!(kept(&vault, "a"), [], "no checkpoint of the deleted operation");
        commit(&again.lane("a").unwrap(), 1).unwrap();
        assert_eq!(numbers(&vault, "a"), [1]);
        assert_whole(&vault);
    }
}

#[test]
fn missing_operation_or_lane_has_no_checkpoints() {
    let vault = memory_vault().unwrap();
    drop(begin(&vault, 3));
    let snapshot = vault.read().unwrap();
    for (operation, lane) in [("none", "a"), ("op", "none"), ("op", "a")] {
        assert_eq!(snapshot.checkpoints(operation, lane).unwrap(), []);
    }
    assert_error(snapshot.checkpoints("", "a"), ErrorKind::Invalid, "is empty");
    assert_error(snapshot.checkpoints("op", "a\0"), ErrorKind::Invalid, "control character");
}
