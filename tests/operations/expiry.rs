//! Expiry: deletes finished operations by age, and no operation that can be resumed.

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

/// Begins an operation and commits three checkpoints.
fn begin_with_checkpoints(vault: &Vault, spec: OperationSpec) -> Operation {
    let operation = vault.operations().begin_with(spec).unwrap();
    let lane = operation.lane("main").unwrap();
    (1..=3).for_each(|n| commit(&lane, n).unwrap());
    drop(lane);
    operation
}

/// Creates nine operations, at least one in each state.
///
/// Of the failed operations, one can be retried and one cannot.
fn create_in_all_states(vault: &Vault) {
    let once = RetryPolicy { attempts_max: 1, ..AT_ONCE };
    vault.operations().prepare(spec("initialized")).unwrap();
    drop(begin_with_checkpoints(vault, spec("running")));
    drop(begin_with_checkpoints(vault, spec("recovering")));
    drop(vault.operations().resume("recovering").unwrap());
    drop(vault.operations().begin_with(spec("died at its last try").retry(once)).unwrap());
    begin_with_checkpoints(vault, spec("paused")).pause().unwrap();
    begin_with_checkpoints(vault, spec("completed")).complete().unwrap();
    begin_with_checkpoints(vault, spec("failed")).fail("no").unwrap();
    vault.operations().begin_with(spec("exhausted").retry(once)).unwrap().fail("no").unwrap();
    begin_with_checkpoints(vault, spec("cancelled")).cancel().unwrap();
}

#[test]
fn expiry_deletes_ended_and_keeps_resumable_operations() {
    for exhausted in [false, true] {
        let scene = Scene::new();
        create_in_all_states(&scene.vault);
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
        assert_eq!(all(&scene.vault).unwrap().len(), 3, "the rows of the operations stay");
        assert_whole(&scene.vault);
        // The ids can be used again, and the deleted operations leave no trace.
        let again = scene.vault.operations().begin_with(spec("completed")).unwrap();
        assert_eq!(again.status().unwrap().lanes[0].checkpoints, 0);
        assert_eq!(scene.vault.read().unwrap().checkpoints("completed", "main").unwrap(), []);
        again.complete().unwrap();
        assert_eq!(expire(&scene.vault, &options).ids, [""; 0], "the operation has just ended");
    }
}

#[test]
fn age_counts_from_the_end_in_milliseconds() {
    let scene = Scene::new();
    let operation = begin_with_checkpoints(&scene.vault, spec("op"));
    scene.clock.advance(HOUR * 1_000);
    operation.complete().unwrap();
    drop(operation);
    scene.clock.advance(HOUR.saturating_sub(Duration::from_millis(1)));
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).kept, 1);
    scene.clock.advance(Duration::from_millis(1));
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).ids, ["op"]);
    // The default age is 30 days.
    begin_with_checkpoints(&scene.vault, spec("op")).cancel().unwrap();
    scene.clock.advance((HOUR * 24 * 30).saturating_sub(Duration::from_millis(1)));
    assert_eq!(expire(&scene.vault, &ExpireOperations::new()).operations, 0);
    scene.clock.advance(Duration::from_millis(1));
    assert_eq!(expire(&scene.vault, &ExpireOperations::new()).operations, 1);
}

#[test]
fn clock_set_back_expires_nothing_early() {
    let scene = Scene::new();
    scene.clock.advance(HOUR * 10);
    begin_with_checkpoints(&scene.vault, spec("op")).complete().unwrap();
    for millis in [-3_600_000, -36_000_000, i64::MIN / 4] {
        scene.clock.jump(millis);
        assert_eq!(expire(&scene.vault, &older_than(Duration::from_millis(1))).kept, 1);
        scene.clock.jump(-millis);
    }
    // An operation never ends before its beginning, even if the clock is set back meanwhile.
    scene.clock.jump(-36_000_000);
    drop(begin_with_checkpoints(&scene.vault, spec("other")));
    scene.clock.jump(-36_000_000);
    scene.vault.operations().abandon("other").unwrap();
    scene.clock.jump(36_000_000);
    assert_eq!(expire(&scene.vault, &older_than(HOUR)).kept, 2);
    // With an age of zero, an end in the future of the clock counts as now.
    assert_eq!(expire(&scene.vault, &older_than(Duration::ZERO)).operations, 2);
}

#[test]
fn dry_run_reports_the_same_and_deletes_nothing() {
    let scene = Scene::new();
    create_in_all_states(&scene.vault);
    let live = begin_with_checkpoints(&scene.vault, spec("live"));
    live.lane("main").unwrap().complete().unwrap();
    let before = (ids(&scene.vault), scene.vault.operations().statistics().unwrap().checkpoints);
    let run = |dry_run| {
        let options = older_than(Duration::ZERO);
        expire(&scene.vault, &options.dry_run(dry_run).exhausted(true))
    };
    let planned = run(true);
    assert_eq!(
        (ids(&scene.vault), scene.vault.operations().statistics().unwrap().checkpoints),
        before
    );
    assert_eq!(run(true), planned);
    assert_eq!(run(false), planned, "the real run deletes what the dry run reports");
    assert_eq!(planned.ids, ["cancelled", "completed", "died at its last try", "exhausted"]);
    assert_eq!((planned.operations, planned.kept), (4, 6));
    assert_eq!(run(true), {
        let mut report = ExpiredOperations::default();
        report.kept = 6;
        report
    });
}

#[test]
fn operation_with_a_live_handle_is_kept() {
    let scene = Scene::new();
    let operation = begin_with_checkpoints(&scene.vault, spec("op"));
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
    // A handle after its end does not protect the operation.
    let ended = begin_with_checkpoints(&scene.vault, spec("op"));
    ended.cancel().unwrap();
    assert_eq!(expire(&scene.vault, &options).ids, ["op"]);
    assert_error(ended.status(), ErrorKind::NotFound, "op");
}

/// Creates `count` completed operations.
///
/// One commit of an expiry deletes two of them: it counts the checkpoints that they may keep.
fn create_completed(vault: &Vault, count: usize) {
    for n in 0..count {
        let spec = spec(&format!("op {n:02}")).checkpoints_kept(1_000);
        begin_with_checkpoints(vault, spec).complete().unwrap();
    }
}

#[test]
fn cancelled_expiry_continues_in_the_next_call() {
    let scene = Scene::new();
    create_completed(&scene.vault, 9);
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
    assert_eq!(ids(&scene.vault).len(), 5, "a call with a cancelled token deletes nothing");
    let report = expire(&scene.vault, &older_than(Duration::ZERO));
    assert_eq!((report.operations, report.kept), (5, 0));
    assert_whole(&scene.vault);
}

#[test]
fn progress_counts_deleted_and_kept_operations() {
    let scene = Scene::new();
    create_completed(&scene.vault, 7);
    (0..2_100)
        .for_each(|n| scene.vault.operations().prepare(spec(&format!("next {n:04}"))).unwrap());
    let reports = Mutex::new(Vec::new());
    let progress = |done, total| reports.lock().push((done, total));
    let options = older_than(Duration::ZERO).progress(&progress);
    let report = expire(&scene.vault, &options);
    assert_eq!((report.operations, report.kept), (7, 2_100));
    let reports = reports.into_inner();
    assert!(reports.len() >= 4 && reports.is_sorted(), "{reports:?}");
    assert!(reports.iter().all(|(_, total)| *total == Some(2_107)));
    assert_eq!(reports.last(), Some(&(2_107, Some(2_107))));
    assert_eq!(ids(&scene.vault).len(), 2_100);
}

#[test]
fn expiry_is_refused_in_a_write_and_deletes_nothing_if_empty() {
    let scene = Scene::new();
    let options = older_than(Duration::ZERO);
    assert_eq!(expire(&scene.vault, &options), ExpiredOperations::default());
    begin_with_checkpoints(&scene.vault, spec("op")).complete().unwrap();
    let nested = scene.vault.write(|_| scene.vault.operations().expire(&options));
    assert_error(nested, ErrorKind::Invalid, "inside a write");
    assert_eq!(ids(&scene.vault), ["op"]);
}
