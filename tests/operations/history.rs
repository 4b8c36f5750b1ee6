//! The checkpoints that are kept of a lane: so many, the latest first, as they were written.

use std::time::Duration;

use strongroom::operations::{Checkpoint, ExpireOperations, LaneStatus, Operation};
use strongroom::{Batch, Error, ErrorKind, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{Scene, commit, lane_status, spec};
use crate::support::records::{assert_error, assert_whole};

fn kept(vault: &Vault, lane: &str) -> Vec<LaneStatus> {
    vault.read().unwrap().checkpoints("op", lane).unwrap()
}

/// The numbers that the kept checkpoints of a lane hold.
fn numbers(vault: &Vault, lane: &str) -> Vec<u32> {
    kept(vault, lane).iter().map(|kept| kept.decode().unwrap().unwrap()).collect()
}

/// The last `kept` numbers up to `last`, the greatest first.
fn expected(last: u32, kept: u16) -> Vec<u32> {
    (1..=last).rev().take(kept.into()).collect()
}

fn begin(vault: &Vault, kept: u16) -> Operation {
    vault.operations().begin_with(spec("op").lanes(["a", "b"]).checkpoints_kept(kept)).unwrap()
}

#[test]
fn so_many_are_kept_as_asked_for_and_the_latest_come_first() {
    for keep in [1, 2, 3, 10] {
        let vault = memory_vault().unwrap();
        let operation = begin(&vault, keep);
        let lane = operation.lane("a").unwrap();
        assert_eq!(kept(&vault, "a"), []);
        // Three times around.
        for n in 1..=u32::from(keep) * 3 + 1 {
            commit(&lane, n).unwrap();
            assert_eq!(numbers(&vault, "a"), expected(n, keep), "{keep} kept");
            assert_eq!(kept(&vault, "a")[0], lane_status(&vault, "op", "a"));
        }
        assert_whole(&vault);
    }
}

#[test]
fn without_being_asked_ten_are_kept() {
    let vault = memory_vault().unwrap();
    let lane = vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap();
    (1..=25).for_each(|n| commit(&lane, n).unwrap());
    assert_eq!(numbers(&vault, "a"), expected(25, 10));
}

#[test]
fn each_is_kept_as_it_was_written() {
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
fn lanes_keep_their_own_whatever_their_names() {
    let vault = memory_vault().unwrap();
    // Names that begin with one another, and operations whose ids do.
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
        assert_eq!(others.len(), 2, "those of the other operation stay");
    }
    assert_whole(&vault);
}

#[test]
fn it_survives_reopening_and_goes_around_from_there() {
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
fn a_checkpoint_that_is_not_committed_leaves_it_as_it_was() {
    let vault = memory_vault().unwrap();
    let operation = begin(&vault, 3);
    let lane = operation.lane("a").unwrap();
    (1..=5).for_each(|n| commit(&lane, n).unwrap());
    let before = kept(&vault, "a");
    let outcome = vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::encode(&6)?)?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "change its mind"))
    });
    assert_error(outcome, ErrorKind::Invalid, "change its mind");
    assert_eq!(kept(&vault, "a"), before);
    // It is not told as known either: the next one is the sixth.
    commit(&lane, 6).unwrap();
    assert_eq!(kept(&vault, "a")[0].checkpoints, 6);
}

#[test]
fn a_snapshot_keeps_showing_its_own() {
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
fn an_end_keeps_it_and_removing_the_operation_removes_it() {
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
        assert_eq!(numbers(&vault, "a"), [5, 4, 3], "a lane is completed without a checkpoint");
        operation.complete().unwrap();
        assert_eq!(numbers(&vault, "a"), [5, 4, 3]);
        drop((lane, operation));
        end(&vault);
        assert_eq!(vault.operations().statistics().unwrap().checkpoints, 0);
        assert_eq!(kept(&vault, "a"), []);
        let again = begin(&vault, 10);
        assert_eq!(kept(&vault, "a"), [], "nothing of the one before shows");
        commit(&again.lane("a").unwrap(), 1).unwrap();
        assert_eq!(numbers(&vault, "a"), [1]);
        assert_whole(&vault);
    }
}

#[test]
fn what_is_not_there_has_no_history() {
    let vault = memory_vault().unwrap();
    drop(begin(&vault, 3));
    let snapshot = vault.read().unwrap();
    for (operation, lane) in [("none", "a"), ("op", "none"), ("op", "a")] {
        assert_eq!(snapshot.checkpoints(operation, lane).unwrap(), []);
    }
    assert_error(snapshot.checkpoints("", "a"), ErrorKind::Invalid, "is empty");
    assert_error(snapshot.checkpoints("op", "a\0"), ErrorKind::Invalid, "control character");
}
