//! Statistics of operations, compared with a recount.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom::operations::{
    Checkpoint, OperationState, OperationStatus, OperationsQuery, Statistics,
};
use strongroom::{Batch, Snapshot, Vault};

use crate::scene::{Scene, commit, spec};
use crate::support::random::Random;
use crate::support::records::put;

/// Statistics recounted from a snapshot.
#[derive(Debug, Default, PartialEq)]
struct Recount {
    operations: BTreeMap<OperationState, u64>,
    lanes: u64,
    checkpoints: u64,
    checkpoint_bytes: u64,
    /// Id of the operation, and its creation time in Unix milliseconds.
    oldest_unfinished: Option<(String, u64)>,
    /// Operation id, time of the failure in Unix milliseconds, and its text.
    last_failure: Option<(String, u64, String)>,
}

fn count(snapshot: &Snapshot) -> Recount {
    let mut counted = Recount {
        operations: OperationState::ALL.map(|state| (state, 0)).into(),
        ..Recount::default()
    };
    for operation in snapshot.operations(&OperationsQuery::new().limit(usize::MAX)).unwrap() {
        let OperationStatus { id, state, failure, created_unix_millis: began, .. } = &operation;
        *counted.operations.get_mut(state).unwrap() += 1;
        for lane in &operation.lanes {
            counted.lanes += 1;
            for kept in snapshot.checkpoints(id, &lane.name).unwrap() {
                counted.checkpoints += 1;
                counted.checkpoint_bytes += kept.data.len() as u64;
            }
        }
        let oldest = counted.oldest_unfinished.as_ref();
        if !state.is_finished() && oldest.is_none_or(|(_, oldest)| began < oldest) {
            counted.oldest_unfinished = Some((id.clone(), *began));
        }
        let last = counted.last_failure.as_ref();
        if let Some(failure) = failure
            && last.is_none_or(|(_, last, _)| failure.unix_millis > *last)
        {
            let failure = (id.clone(), failure.unix_millis, failure.error.clone());
            counted.last_failure = Some(failure);
        }
    }
    counted
}

#[track_caller]
fn assert_recount_matches(vault: &Vault) -> Statistics {
    let found = vault.operations().statistics().unwrap();
    let expected = count(&vault.read().unwrap());
    assert_eq!(found.total(), expected.operations.values().sum::<u64>());
    assert_eq!(found.unreadable_operations + found.unreadable_checkpoints, 0);
    let failure = |(id, failure): &(String, strongroom::operations::Failure)| {
        (id.clone(), failure.unix_millis, failure.error.clone())
    };
    let reported = Recount {
        operations: found.operations.clone(),
        lanes: found.lanes,
        checkpoints: found.checkpoints,
        checkpoint_bytes: found.checkpoint_bytes,
        oldest_unfinished: found.oldest_unfinished.clone(),
        last_failure: found.last_failure.as_ref().map(failure),
    };
    assert_eq!(reported, expected);
    found
}

/// Resumes an operation, if possible, and makes random changes and ends.
fn act(vault: &Vault, random: &mut Random, id: &str) {
    let Ok(operation) = vault.operations().resume(id).or_else(|_| vault.operations().take_over(id))
    else {
        return;
    };
    let lanes = operation.status().unwrap().lanes;
    let lane = &lanes[usize::try_from(random.below(lanes.len() as u64)).unwrap()];
    if let Ok(handle) = operation.lane(&lane.name)
        && !lane.complete
    {
        for _ in 0..random.below(6) {
            let data = vec![0; usize::try_from(random.below(500)).unwrap()];
            handle.commit(Batch::new(), Checkpoint::new(data)).unwrap();
        }
        if random.below(4) == 0 {
            handle.complete().unwrap();
        }
    }
    // The calls may fail: the lanes may have completed the operation.
    match random.below(8) {
        0 => operation.pause().ok(),
        1 => operation.fail(format!("failure of {id}")).ok(),
        2 => operation.cancel().ok(),
        3 => operation.complete().ok(),
        _ => None,
    };
}

#[test]
fn statistics_match_a_recount_after_random_changes() {
    let mut covered = BTreeSet::new();
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut scene = Scene::new();
        assert_eq!(assert_recount_matches(&scene.vault).total(), 0);
        for n in 0..60 {
            let lanes: Vec<_> = (0..=random.below(3)).map(|n| format!("lane {n}")).collect();
            let kept = u16::try_from(1 + random.below(4)).unwrap();
            let id = format!("op {n:02}");
            scene
                .vault
                .operations()
                .prepare(spec(&id).lanes(lanes).checkpoints_kept(kept))
                .unwrap();
            // Gives each failure a distinct time.
            scene.clock.advance(Duration::from_millis(1));
            for _ in 0..random.below(6) {
                act(&scene.vault, &mut random, &id);
                scene.clock.advance(Duration::from_millis(1));
            }
            if n % 20 == 19 {
                assert_recount_matches(&scene.vault);
            }
            if n % 15 == 7 {
                assert!(scene.vault.operations().delete(&format!("op {:02}", n / 2)).unwrap());
            }
        }
        let before = assert_recount_matches(&scene.vault);
        covered.extend(before.operations.iter().filter(|(_, count)| **count > 0).map(|(s, _)| *s));
        scene = scene.reopen();
        let after = assert_recount_matches(&scene.vault);
        assert_eq!((after.operations, after.checkpoints), (before.operations, before.checkpoints));
    }
    assert_eq!(covered.into_iter().collect::<Vec<_>>(), OperationState::ALL, "all states occur");
}

#[test]
fn last_failure_stays_after_a_resume_and_oldest_until_its_end() {
    let scene = Scene::new();
    let begin = |id: &str| {
        scene.clock.advance(Duration::from_secs(1));
        scene.vault.operations().begin_with(spec(id)).unwrap()
    };
    let (z, a) = (begin("z"), begin("a"));
    let reported = || {
        let found = assert_recount_matches(&scene.vault);
        (
            found.oldest_unfinished.map(|(id, _)| id),
            found.last_failure.map(|(id, failure)| (id, failure.error)),
        )
    };
    let some = |id: &str, error: &str| Some((id.to_owned(), error.to_owned()));
    assert_eq!(reported(), (Some("z".into()), None));
    a.fail("first").unwrap();
    scene.clock.advance(Duration::from_secs(1));
    z.fail("second").unwrap();
    assert_eq!(reported(), (Some("z".into()), some("z", "second")));
    let z = scene.vault.operations().resume("z").unwrap();
    commit(&z.lane("main").unwrap(), 1).unwrap();
    z.complete().unwrap();
    assert_eq!(reported(), (Some("a".into()), some("z", "second")));
    drop(z);
    assert!(scene.vault.operations().delete("z").unwrap());
    assert_eq!(reported(), (Some("a".into()), some("a", "first")));
    scene.vault.operations().abandon("a").unwrap();
    assert_eq!(reported(), (None, some("a", "first")));
}

#[test]
fn commits_and_missed_events_count_from_this_open() {
    let scene = Scene::new();
    let before = scene.vault.operations().statistics().unwrap().commits.count();
    let missing = scene.vault.operations().subscribe(1);
    put(&scene.vault, "k", "v");
    let lane = scene.vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap();
    commit(&lane, 1).unwrap();
    let found = scene.vault.operations().statistics().unwrap();
    assert_eq!((found.commits.count() - before, found.events_missed), (3, 1));
    let latencies = &found.commits;
    // The manual clock does not advance during a commit.
    assert_eq!((latencies.least(), latencies.most()), (Duration::ZERO, Duration::ZERO));
    drop((lane, missing));
    let scene = scene.reopen();
    let found = scene.vault.operations().statistics().unwrap();
    assert_eq!((found.commits.count(), found.events_missed), (0, 0));
    assert_eq!(found.commits.quantile(0.99), Duration::ZERO);
}
