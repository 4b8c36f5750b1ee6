//! Dropping operations by age: what ended, whole, and nothing that can go on.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{
    ExpireOperations, ExpiredOperations, Operation, OperationSpec, OperationState, OperationsQuery,
    RetryPolicy,
};
use strongroom::{CancelToken, ErrorKind, Vault};

use crate::scene::{AT_ONCE, Scene, commit, spec, state};
use crate::support::records::{all, assert_error, assert_whole};

const HOUR: Duration = Duration::from_secs(3_600);

fn older_than(older_than: Duration) -> ExpireOperations<'static> {
    ExpireOperations::new().older_than(older_than)
}

fn expire(vault: &Vault, options: &ExpireOperations<'_>) -> ExpiredOperations {
    let report = vault.operations().expire(options).unwrap();
    assert_eq!(report.operations, report.ids.len() as u64);
    report
}

fn ids(vault: &Vault) -> Vec<String> {
    let listed =
        vault.read().unwrap().operations(&OperationsQuery::new().limit(usize::MAX)).unwrap();
    listed.into_iter().map(|operation| operation.id).collect()
}

/// An operation with a checkpoint and history.
fn worked_on(vault: &Vault, spec: OperationSpec) -> Operation {
    let operation = vault.operations().begin_with(spec).unwrap();
    let lane = operation.lane("main").unwrap();
    (1..=3).for_each(|n| commit(&lane, n).unwrap());
    drop(lane);
    operation
}

/// One operation in each state; of those that failed, one that can be tried again, and one that
/// cannot.
fn in_all_states(vault: &Vault) {
    let once = RetryPolicy { attempts_max: 1, ..AT_ONCE };
    vault.operations().prepare(spec("initialized")).unwrap();
    drop(worked_on(vault, spec("running")));
    drop(worked_on(vault, spec("recovering")));
    drop(vault.operations().resume("recovering").unwrap());
    drop(vault.operations().begin_with(spec("died at its last try").retry(once)).unwrap());
    worked_on(vault, spec("paused")).pause().unwrap();
    worked_on(vault, spec("completed")).complete().unwrap();
    worked_on(vault, spec("failed")).fail("no").unwrap();
    vault.operations().begin_with(spec("exhausted").retry(once)).unwrap().fail("no").unwrap();
    worked_on(vault, spec("cancelled")).cancel().unwrap();
}

#[test]
fn what_ended_is_dropped_and_what_can_go_on_is_not_however_old_it_is() {
    for exhausted in [false, true] {
        let scene = Scene::new();
        in_all_states(&scene.vault);
        scene.clock.advance(HOUR * 24 * 365);
        let options = ExpireOperations::new().exhausted(exhausted);
        let report = expire(&scene.vault, &options);
        let dropped: &[&str] = if exhausted {
            &["cancelled", "completed", "died at its last try", "exhausted"]
        } else {
            &["cancelled", "completed"]
        };
        assert_eq!(report.ids, dropped);
        assert_eq!(report.kept, 9 - dropped.len() as u64);
        let left = ids(&scene.vault);
        assert_eq!(left.len() as u64, report.kept);
        assert!(dropped.iter().all(|id| !left.contains(&(*id).to_owned())));
        assert_eq!(all(&scene.vault).unwrap().len(), 3, "what they committed stays");
        assert_whole(&scene.vault);
        // Their ids can be used again, and nothing of them is met.
        let again = scene.vault.operations().begin_with(spec("completed")).unwrap();
        assert_eq!(again.status().unwrap().lanes[0].checkpoints, 0);
        assert_eq!(scene.vault.read().unwrap().checkpoints("completed", "main").unwrap(), []);
        again.complete().unwrap();
        assert_eq!(expire(&scene.vault, &options).ids, [""; 0], "it has just ended");
    }
}

#[test]
fn age_is_since_the_end_and_to_the_millisecond() {
    let scene = Scene::new();
    let operation = worked_on(&scene.vault, spec("op"));
    scene.clock.advance(HOUR * 1_000);
    operation.complete().unwrap();
    drop(operation);
    scene.clock.advance(HOUR.saturating_sub(Duration::from_millis(1)));
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).kept, 1);
    scene.clock.advance(Duration::from_millis(1));
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).ids, ["op"]);
    // By default 30 days.
    worked_on(&scene.vault, spec("op")).cancel().unwrap();
    scene.clock.advance((HOUR * 24 * 30).saturating_sub(Duration::from_millis(1)));
    assert_eq!(expire(&scene.vault, &ExpireOperations::new()).operations, 0);
    scene.clock.advance(Duration::from_millis(1));
    assert_eq!(expire(&scene.vault, &ExpireOperations::new()).operations, 1);
}

#[test]
fn a_clock_that_has_gone_back_drops_nothing_early() {
    let scene = Scene::new();
    scene.clock.advance(HOUR * 10);
    worked_on(&scene.vault, spec("op")).complete().unwrap();
    for millis in [-3_600_000, -36_000_000, i64::MIN / 4] {
        scene.clock.jump(millis);
        assert_eq!(expire(&scene.vault, &older_than(Duration::from_millis(1))).kept, 1);
        scene.clock.jump(-millis);
    }
    // Nor does one that ends while the clock stands before its beginning end before that.
    scene.clock.jump(-36_000_000);
    drop(worked_on(&scene.vault, spec("other")));
    scene.clock.jump(-36_000_000);
    scene.vault.operations().abandon("other").unwrap();
    scene.clock.jump(36_000_000);
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).kept, 2);
    // What counts as now is old enough for who asks for no age at all.
    assert_eq!(expire(&scene.vault, &older_than(Duration::ZERO)).operations, 2);
}

#[test]
fn a_dry_run_tells_what_would_go_and_drops_nothing() {
    let scene = Scene::new();
    in_all_states(&scene.vault);
    let live = worked_on(&scene.vault, spec("live"));
    live.lane("main").unwrap().complete().unwrap();
    let before = (ids(&scene.vault), scene.vault.operations().statistics().unwrap().checkpoints);
    let run = |dry_run| {
        let options = older_than(Duration::ZERO);
        expire(&scene.vault, &options.dry_run(dry_run).exhausted(true))
    };
    let told = run(true);
    assert_eq!(
        (ids(&scene.vault), scene.vault.operations().statistics().unwrap().checkpoints),
        before
    );
    assert_eq!(run(true), told);
    assert_eq!(run(false), told, "just that goes");
    assert_eq!(told.ids, ["cancelled", "completed", "died at its last try", "exhausted"]);
    assert_eq!((told.operations, told.kept), (4, 6));
    assert_eq!(run(true), {
        let mut nothing = ExpiredOperations::default();
        nothing.kept = 6;
        nothing
    });
}

#[test]
fn what_a_handle_lives_of_is_not_dropped() {
    let scene = Scene::new();
    let operation = worked_on(&scene.vault, spec("op"));
    let lane = operation.lane("main").unwrap();
    lane.complete().unwrap();
    drop(operation);
    assert_eq!(state(&scene.vault, "op"), OperationState::Completed);
    let options = older_than(Duration::ZERO);
    let report = expire(&scene.vault, &options);
    assert_eq!((report.operations, report.kept), (0, 1));
    assert!(lane.status().unwrap().complete);
    drop(lane);
    assert_eq!(expire(&scene.vault, &options).ids, ["op"]);
    // A handle that has ended it lives no more.
    let ended = worked_on(&scene.vault, spec("op"));
    ended.cancel().unwrap();
    assert_eq!(expire(&scene.vault, &options).ids, ["op"]);
    assert_error(ended.status(), ErrorKind::NotFound, "op");
}

/// Operations that ended, of which a commit drops two: it counts what history they may have.
fn many(vault: &Vault, many: usize) {
    for n in 0..many {
        let spec = spec(&format!("op {n:02}")).checkpoints_kept(1_000);
        worked_on(vault, spec).complete().unwrap();
    }
}

#[test]
fn it_is_cancelled_between_two_commits_and_goes_on_next_time() {
    let scene = Scene::new();
    many(&scene.vault, 9);
    let (cancel, calls) = (CancelToken::new(), AtomicUsize::new(0));
    let progress = |_: u64, _: Option<u64>| {
        if calls.fetch_add(1, SeqCst) == 1 {
            cancel.cancel();
        }
    };
    let options = older_than(Duration::ZERO).progress(&progress).cancel(&cancel);
    let outcome = scene.vault.operations().expire(&options);
    assert_error(outcome, ErrorKind::Cancelled, "expire operations");
    assert_eq!((calls.load(SeqCst), ids(&scene.vault).len()), (2, 5), "two commits of two");
    assert_whole(&scene.vault);
    let outcome = scene.vault.operations().expire(&options);
    assert_error(outcome, ErrorKind::Cancelled, "expire operations");
    assert_eq!(ids(&scene.vault).len(), 5, "a token that is cancelled drops nothing");
    let report = expire(&scene.vault, &older_than(Duration::ZERO));
    assert_eq!((report.operations, report.kept), (5, 0));
    assert_whole(&scene.vault);
}

#[test]
fn progress_goes_up_to_all_operations_whether_they_go_or_stay() {
    let scene = Scene::new();
    many(&scene.vault, 7);
    (0..2_100)
        .for_each(|n| scene.vault.operations().prepare(spec(&format!("next {n:04}"))).unwrap());
    let heard = Mutex::new(Vec::new());
    let progress = |done, total| heard.lock().push((done, total));
    let options = older_than(Duration::ZERO).progress(&progress);
    let report = expire(&scene.vault, &options);
    assert_eq!((report.operations, report.kept), (7, 2_100));
    let heard = heard.into_inner();
    assert!(heard.len() >= 4 && heard.is_sorted(), "{heard:?}");
    assert!(heard.iter().all(|(_, total)| *total == Some(2_107)));
    assert_eq!(heard.last(), Some(&(2_107, Some(2_107))));
    assert_eq!(ids(&scene.vault).len(), 2_100);
}

#[test]
fn it_is_refused_within_a_write_and_in_a_vault_without_operations_does_nothing() {
    let scene = Scene::new();
    let options = older_than(Duration::ZERO);
    assert_eq!(expire(&scene.vault, &options), ExpiredOperations::default());
    worked_on(&scene.vault, spec("op")).complete().unwrap();
    let nested = scene.vault.write(|_| scene.vault.operations().expire(&options));
    assert_error(nested, ErrorKind::Invalid, "within a write");
    assert_eq!(ids(&scene.vault), ["op"]);
}
