//! Lanes that commit by a checkpoint policy.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::Memory;
use strongroom::operations::{AutoCheckpoint, Checkpoint, CheckpointPolicy, Lane, OperationState};
use strongroom::{CancelToken, Error, ErrorKind, Result, Vault};
use strongroom_testkit::{Fault, TestKey, World};

use crate::scene::{Scene, lane_status, row, spec, state, status};
use crate::support::clock::SharedClock;
use crate::support::records::{all, assert_error, get, long};
use crate::support::syncs::HookedState;

const EIO: i32 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// A policy under which no commit is due; tests change single fields.
const NEVER: CheckpointPolicy = CheckpointPolicy {
    items: u64::MAX,
    interval: Duration::MAX,
    progress: 1.0,
    cost: 1.0,
    batch_bytes: u64::MAX,
};

/// Asserts equality up to rounding: progress is a sum of fractions.
#[track_caller]
fn assert_near(progress: f64, expected: f64) {
    assert!((progress - expected).abs() < 1e-9, "{progress}, not {expected}");
}

fn begin(vault: &Vault) -> Lane {
    vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap()
}

/// Inserts the row of an item and reports the item as done.
fn step(auto: &mut AutoCheckpoint<'_>, item: u64) -> Result<bool> {
    auto.insert("n", format!("{item:04}"), "row");
    auto.step(|| Checkpoint::encode(&(item + 1)))
}

/// Does `items` items, and returns those after which the lane committed.
fn commits_of(auto: &mut AutoCheckpoint<'_>, items: u64, mut between: impl FnMut(u64)) -> Vec<u64> {
    (0..items)
        .filter(|&item| {
            between(item);
            step(auto, item).unwrap()
        })
        .collect()
}

/// Returns the number of committed items.
///
/// Asserts that exactly their rows exist.
#[track_caller]
fn done(vault: &Vault) -> u64 {
    let done = lane_status(vault, "op", "main").decode().unwrap().unwrap_or(0);
    let rows: Vec<_> = all(vault).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(rows, (0..done).map(|item| format!("{item:04}")).collect::<Vec<_>>());
    done
}

#[test]
fn lane_commits_after_items() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let policy = CheckpointPolicy { items: 3, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap();
    assert_eq!(commits_of(&mut auto, 10, |_| ()), [2, 5, 8]);
    assert_eq!(done(&scene.vault), 9);
    assert_eq!(lane_status(&scene.vault, "op", "main").checkpoints, 3);
}

#[test]
fn lane_commits_after_time_since_its_last_commit() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let policy = CheckpointPolicy { interval: SECOND * 10, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap().total(1_000);
    // An item takes 4 s, only the seventh takes 40 s.
    let work = |item| scene.clock.advance(SECOND * if item == 6 { 40 } else { 4 });
    assert_eq!(commits_of(&mut auto, 11, work), [2, 5, 6, 9]);
    // A jump of the wall clock has no effect.
    scene.clock.jump(3_600_000);
    assert!(!step(&mut auto, 11).unwrap());
}

#[test]
fn lane_commits_after_progress_if_the_total_is_known() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let policy = CheckpointPolicy { progress: 0.25, ..NEVER };
    let mut unknown = lane.auto_checkpoint(policy, 0).unwrap();
    assert_eq!(commits_of(&mut unknown, 100, |_| ()), [0; 0]);
    drop(unknown);
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap().total(10);
    assert_eq!(commits_of(&mut auto, 10, |_| ()), [2, 5, 8]);
    assert_near(lane_status(&scene.vault, "op", "main").progress, 0.9);
}

#[test]
fn progress_of_a_checkpoint_overrides_that_of_items() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let each = CheckpointPolicy { items: 1, ..NEVER };
    let progress = || lane_status(&scene.vault, "op", "main").progress;
    let mut auto = lane.auto_checkpoint(each, 0).unwrap().total(4);
    auto.step(|| Ok(Checkpoint::new("").progress(0.9))).unwrap();
    assert_near(progress(), 0.9);
    auto.step(|| Ok(Checkpoint::new(""))).unwrap();
    assert_near(progress(), 0.5);
    drop(auto);
    let mut unknown = lane.auto_checkpoint(each, 0).unwrap();
    unknown.step(|| Ok(Checkpoint::new(""))).unwrap();
    assert_near(progress(), 0.5);
    drop(unknown);
    // Items beyond the total count as full progress, and so does a total of 0.
    for total in [5, 0] {
        let mut auto = lane.auto_checkpoint(each, 6).unwrap().total(total);
        auto.step(|| Ok(Checkpoint::new(""))).unwrap();
        assert_near(progress(), 1.0);
    }
}

#[test]
fn lane_commits_at_batch_bytes_at_any_cost() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let policy = CheckpointPolicy { batch_bytes: 1_000, cost: f64::MIN_POSITIVE, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap();
    let insert = |auto: &mut AutoCheckpoint<'_>, bytes: usize| {
        // The namespace has one byte, and the key four.
        auto.insert("n", "0000", vec![0; bytes - 5]);
        auto.step(|| Checkpoint::encode(&1)).unwrap()
    };
    assert!(!insert(&mut auto, 999));
    assert!(insert(&mut auto, 5));
    assert!(insert(&mut auto, 1_000), "a commit resets the count");
    assert!(!insert(&mut auto, 600));
    // A staged value is on the backend and does not count. A deletion counts its key.
    let staged = scene.vault.stage(&long(1, 300_000)[..]).unwrap();
    auto.insert("n", "0000", staged);
    assert!(!auto.step(|| Checkpoint::encode(&1)).unwrap());
    auto.delete("n", vec![b'k'; 390]);
    assert!(!auto.step(|| Checkpoint::encode(&1)).unwrap());
    auto.delete("n", "kkkk");
    assert!(auto.step(|| Checkpoint::encode(&1)).unwrap());
}

/// Returns a vault whose clock advances by one second in each sync.
fn slow_vault() -> (Vault, SharedClock) {
    let clock = SharedClock::default();
    let ticking = clock.clone();
    let state = HookedState::new(move || ticking.advance(SECOND));
    let options = Vault::options(TestKey).clock(clock.clone());
    (options.create_on(state, Memory::new()).unwrap(), clock)
}

/// Measures a commit of a lane on a slow vault.
fn commit_time(vault: &Vault, clock: &SharedClock, lane: &Lane) -> Duration {
    use strongroom::backends::component::Clock;
    let before = clock.monotonic();
    lane.commit(row("0000"), Checkpoint::encode(&1).unwrap()).unwrap();
    vault.write(|tx| tx.delete("n", "0000")).unwrap();
    let took = clock.monotonic().saturating_sub(before) / 2;
    assert!(took >= SECOND);
    took
}

#[test]
fn commit_is_delayed_until_its_cost_is_small() {
    let (vault, clock) = slow_vault();
    let lane = begin(&vault);
    let cost = commit_time(&vault, &clock, &lane);
    let policy = CheckpointPolicy { items: 1, cost: 0.1, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap();
    // An item takes as long as a commit. The first commit is not delayed: its cost is unknown.
    let commits = commits_of(&mut auto, 31, |_| clock.advance(cost));
    assert_eq!(commits, [0, 10, 20, 30]);
    // Half the work for each item allows half as many commits.
    drop(auto);
    let mut auto = lane.auto_checkpoint(policy, 31).unwrap();
    let commits = commits_of(&mut auto, 41, |_| clock.advance(cost / 2));
    assert_eq!(commits, [0, 20, 40]);
}

#[test]
fn due_commit_without_a_cost_bound_is_not_delayed() {
    let (vault, clock) = slow_vault();
    let lane = begin(&vault);
    assert!(commit_time(&vault, &clock, &lane) >= SECOND);
    let mut auto = lane.auto_checkpoint(CheckpointPolicy::EACH, 0).unwrap();
    assert_eq!(commits_of(&mut auto, 5, |_| ()), [0, 1, 2, 3, 4]);
    drop(auto);
    let policy = CheckpointPolicy { items: 2, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 5).unwrap();
    assert_eq!(commits_of(&mut auto, 5, |_| ()), [1, 3]);
}

#[test]
fn cancelled_lane_commits_done_items_and_returns_cancelled() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let cancel = CancelToken::new();
    let mut auto = lane.auto_checkpoint(NEVER, 0).unwrap().cancel(&cancel);
    (0..5).for_each(|item| assert!(!step(&mut auto, item).unwrap()));
    assert_eq!(done(&scene.vault), 0);
    cancel.cancel();
    assert_error(step(&mut auto, 5), ErrorKind::Cancelled, "");
    assert_eq!(done(&scene.vault), 6, "the step commits its own item");
    // Each later step returns the error again, and commits its item too.
    assert_error(step(&mut auto, 6), ErrorKind::Cancelled, "");
    assert_eq!((done(&scene.vault), state(&scene.vault, "op")), (7, OperationState::Running));
}

#[test]
fn finish_commits_the_rest_and_completes_the_lane() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let cancel = CancelToken::new();
    let mut auto = lane.auto_checkpoint(NEVER, 0).unwrap().total(8).cancel(&cancel);
    (0..5).for_each(|item| assert!(!step(&mut auto, item).unwrap()));
    // A finish succeeds even after a cancellation.
    cancel.cancel();
    auto.finish(Checkpoint::encode(&5_u64).unwrap()).unwrap();
    assert_eq!(done(&scene.vault), 5);
    let found = status(&scene.vault, "op");
    assert_eq!((found.state, found.progress()), (OperationState::Completed, 1.0));
    // A finish without any item succeeds too.
    let vault = Scene::new().vault;
    let lane = begin(&vault);
    lane.auto_checkpoint(NEVER, 0).unwrap().finish(Checkpoint::new("")).unwrap();
    assert_eq!(state(&vault, "op"), OperationState::Completed);
}

#[test]
fn dropped_lane_keeps_its_last_commit() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let policy = CheckpointPolicy { items: 4, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap();
    commits_of(&mut auto, 6, |_| ());
    drop(auto);
    assert_eq!(done(&scene.vault), 4);
    // The lane continues there: items 4 and 5 are done again, and stored once.
    let mut auto = lane.auto_checkpoint(policy, 4).unwrap();
    assert_eq!((4..8).filter(|&item| step(&mut auto, item).unwrap()).count(), 1);
    drop(auto);
    assert_eq!(done(&scene.vault), 8);
}

#[test]
fn progress_reports_each_item_in_order() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let reports = Mutex::new(Vec::new());
    let progress = |done, total| reports.lock().push((done, total));
    let policy = CheckpointPolicy { items: 3, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 10).unwrap().total(13).progress(&progress);
    commits_of(&mut auto, 3, |_| ());
    assert_eq!(*reports.lock(), [11, 12, 13].map(|done| (done, Some(13))));
}

#[test]
fn checkpoint_is_built_only_for_a_commit() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let made = Cell::new(0);
    let policy = CheckpointPolicy { items: 3, ..NEVER };
    let mut auto = lane.auto_checkpoint(policy, 0).unwrap();
    for item in 0..9_u64 {
        auto.insert("n", format!("{item:04}"), "row");
        let checkpoint = || {
            made.set(made.get() + 1);
            Checkpoint::encode(&(item + 1))
        };
        auto.step(checkpoint).unwrap();
    }
    assert_eq!((made.get(), done(&scene.vault)), (3, 9));
    let failing = || Err(Error::new(ErrorKind::Denied, "ask the host"));
    let outcomes: Vec<_> = (0..3).map(|_| auto.step(failing)).collect();
    assert_error(outcomes.into_iter().collect::<Result<Vec<_>>>(), ErrorKind::Denied, "host");
    assert_eq!(done(&scene.vault), 9);
}

#[test]
fn lane_after_a_failed_commit_must_be_reread() {
    let world = World::new();
    let vault = strongroom_testkit::world_options(&world, 1).create("/vault").unwrap();
    let lane = begin(&vault);
    let each = CheckpointPolicy { items: 1, ..NEVER };
    let mut auto = lane.auto_checkpoint(each, 0).unwrap();
    assert!(step(&mut auto, 0).unwrap());
    world.fail_from(1, Fault::before(EIO));
    let failed = step(&mut auto, 1).unwrap_err();
    assert!(matches!(failed.kind(), ErrorKind::Unavailable | ErrorKind::Uncertain), "{failed}");
    world.clear_faults();
    for _ in 0..2 {
        assert_error(step(&mut auto, 2), ErrorKind::Invalid, "read the lane's status");
    }
    let finish = auto.finish(Checkpoint::encode(&3_u64).unwrap());
    assert_error(finish, ErrorKind::Invalid, "read the lane's status");
    // A write makes the vault reread its state. Then the lane returns its committed status.
    vault.write(|tx| tx.delete("n", "none")).unwrap();
    let committed = lane.status().unwrap().decode::<u64>().unwrap().unwrap();
    let mut auto = lane.auto_checkpoint(each, committed).unwrap();
    (committed..5).for_each(|item| assert!(step(&mut auto, item).unwrap()));
    drop(auto);
    assert_eq!(done(&vault), 5);
}

#[test]
fn lane_after_a_refused_commit_is_invalid() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let each = CheckpointPolicy { items: 1, ..NEVER };
    let mut auto = lane.auto_checkpoint(each, 0).unwrap();
    let fresh = scene.vault.operations().take_over("op").unwrap();
    assert_error(step(&mut auto, 0), ErrorKind::Conflict, "fenced");
    assert_error(step(&mut auto, 1), ErrorKind::Invalid, "an earlier commit failed");
    assert_eq!((done(&scene.vault), get(&scene.vault, "0000")), (0, None));
    drop(fresh);
}

#[test]
fn policy_out_of_bounds_is_invalid() {
    let scene = Scene::new();
    let lane = begin(&scene.vault);
    let refused = RefCell::new(0);
    let refuse = |policy: CheckpointPolicy| {
        assert_error(lane.auto_checkpoint(policy, 0), ErrorKind::Invalid, "must be above 0");
        *refused.borrow_mut() += 1;
    };
    refuse(CheckpointPolicy { items: 0, ..NEVER });
    refuse(CheckpointPolicy { batch_bytes: 0, ..NEVER });
    for part in [0.0, -0.5, 1.000_1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refuse(CheckpointPolicy { progress: part, ..NEVER });
        refuse(CheckpointPolicy { cost: part, ..NEVER });
    }
    assert_eq!(refused.take(), 14);
    for policy in [NEVER, CheckpointPolicy::DEFAULT, CheckpointPolicy::EACH] {
        lane.auto_checkpoint(policy, 0).unwrap();
    }
    let always = CheckpointPolicy { interval: Duration::ZERO, ..NEVER };
    assert_eq!(commits_of(&mut lane.auto_checkpoint(always, 0).unwrap(), 3, |_| ()), [0, 1, 2]);
}
