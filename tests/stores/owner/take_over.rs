//! Take-overs of content, seen by the old and the new owner.

use std::sync::Arc;
use std::time::Duration;

use strongroom::backends::{Backend, Condition};
use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::vault::LockRefused;
use strongroom::{ErrorKind, Reason, SecretPassword};
use strongroom_testkit::{BackendFault, FaultyBackend};

use super::{DAY, Scene, assert_refused, insert};
use crate::scene::{assert_all_data, noise, put};

const CENTURY_MILLIS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;

#[test]
fn second_copy_is_locked_until_its_take_over_stops_the_first() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let kept = put(&first, "kept", &noise(600_000, 1));
    let error = assert_refused(scene.open("b"), ErrorKind::Locked);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(source.holder.as_ref().unwrap().process.pid, std::process::id());

    let second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    let taken_over = second.recovery().taken_over.clone().unwrap();
    assert_eq!((taken_over.from.as_ref(), source.attempts), (source.holder.as_ref(), 1));
    assert!(!second.recovery().was_clean());
    let own = put(&second, "own", &noise(600_000, 2));
    // The first vault does not know of the take-over yet. It still reads, but must not delete.
    assert!(first.artifacts().read(&kept).is_ok());
    first.artifacts().delete(&kept).unwrap();
    let before = scene.objects();
    let lost = first.gc(&GcOptions::new().without_repacking(true)).unwrap_err();
    assert_eq!((lost.kind(), lost.action()), (ErrorKind::Closed, "acquire content"));
    assert!(lost.to_string().contains("taken over"), "{lost}");
    for stopped in [
        insert(&first, "after").unwrap_err(),
        first
            .keys()
            .add(&strongroom::keys::NewKey::new(&strongroom::SecretKey::new([9; 32])))
            .unwrap_err(),
        first.gc(&GcOptions::new()).unwrap_err(),
    ] {
        assert_eq!(stopped.kind(), ErrorKind::Closed, "{stopped}");
    }
    assert_eq!(scene.objects(), before, "no object is deleted");
    assert_commits_superseded(first.close());

    // The winner keeps all its content, also after the loser's close.
    assert!(second.artifacts().read(&own).unwrap() == noise(600_000, 2));
    assert_all_data(&second);
    insert(&second, "after the take-over").unwrap();
    assert_refused(scene.open("a"), ErrorKind::Locked);
    second.close().unwrap();
    let error = assert_refused(scene.open("a"), ErrorKind::Denied);
    assert!(error.to_string().contains("another state"), "{error}");
    assert!(scene.open("b").unwrap().recovery().was_clean());
}

#[test]
fn deletes_by_the_new_owner_close_the_old_one_without_damage() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    let password = SecretPassword::new("of a partition");
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    drop(space);
    vault.close().unwrap();
    scene.copy("a", "b");
    let loser = scene.open("a").unwrap();
    let read = loser.documents().space().unwrap().partition(&key, &password).unwrap();
    let winner = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    scene.clock.advance(2 * DAY);
    winner.artifacts().delete(&uri).unwrap();
    winner.gc(&GcOptions::new()).unwrap();
    let written = winner.documents().space().unwrap().partition(&key, &password).unwrap();
    written.write("[1]").unwrap();
    winner.gc(&GcOptions::new().without_repacking(true)).unwrap();
    for error in [
        loser.artifacts().read(&uri).unwrap_err(),
        read.read().unwrap_err(),
        loser.documents().space().unwrap().partition(&key, &password).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    assert_eq!(written.read().unwrap().text(), "[1]");
}

#[test]
fn commit_detects_a_take_over_within_a_minute() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let _second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    insert(&first, "unchecked").expect("the ownership was checked a moment ago");
    scene.clock.advance(Duration::from_secs(61));
    insert(&first, "checks").expect("no commit waits for the store");
    let stopped = (0..1_000_000).find_map(|n| {
        std::thread::yield_now();
        insert(&first, &format!("{n}")).err()
    });
    assert_eq!(stopped.expect("commits stop").kind(), ErrorKind::Closed);
}

/// Asserts that a close reports commits in a superseded state.
#[track_caller]
fn assert_commits_superseded(closed: strongroom::Result<()>) {
    let error = closed.expect_err("the session has committed");
    let found = (error.kind(), error.reason(), error.action());
    assert_eq!(found, (ErrorKind::Conflict, Some(Reason::CommitsSuperseded), "close vault"));
    assert!(error.to_string().contains("taken over by pid"), "{error}");
}

#[test]
fn close_after_a_take_over_returns_lost_commits() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    insert(&first, "before").unwrap();
    let second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    insert(&first, "after").expect("the ownership was checked a moment ago");
    let clone = first.clone();
    assert_commits_superseded(first.close());
    assert_eq!(insert(&clone, "closed").unwrap_err().kind(), ErrorKind::Closed);
    assert_refused(scene.open("a"), ErrorKind::Locked);
    insert(&second, "of the owner").unwrap();
    second.close().unwrap();
}

#[test]
fn close_after_a_take_over_without_commits_succeeds() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let _second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    assert_eq!(first.read().unwrap().count("records").unwrap(), 0);
    first.close().unwrap();
}

#[test]
fn close_on_an_unreachable_store_keeps_commits() {
    let scene = Scene::new();
    let store = Arc::new(FaultyBackend::new(scene.store()));
    let shared: Arc<dyn Backend> = store.clone();
    let vault = scene.options_on(&shared).open(scene.folder("a")).unwrap();
    insert(&vault, "k").unwrap();
    store.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
    vault.close().unwrap();
    assert_eq!(scene.open("a").unwrap().read().unwrap().count("records").unwrap(), 1);
}

#[test]
fn older_copy_is_denied_even_if_the_content_is_closed() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    assert_refused(scene.open("b"), ErrorKind::Denied);
    assert!(scene.open("a").unwrap().artifacts().exists(&uri).unwrap(), "no change by the refusal");

    let older = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    assert!(!older.artifacts().exists(&uri).unwrap());
    older.close().unwrap();
    assert_refused(scene.open("a"), ErrorKind::Denied);
    scene.open("b").unwrap();
}

#[test]
fn nothing_is_deleted_for_a_day_after_a_take_over() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    scene.copy("a", "b");
    let held = scene.open("a").unwrap();
    let vault = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    let before = scene.objects();
    vault.artifacts().delete(&uri).unwrap();
    vault.gc(&GcOptions::new()).unwrap();
    let report = vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_eq!((scene.objects(), report.objects), (before, 0));
    assert!(report.waiting > 0, "{report:?}");
    vault.close().unwrap();

    // An open without a take-over keeps the delay.
    let vault = scene.open("b").unwrap();
    assert_eq!(scene.objects(), before);
    scene.clock.advance(DAY);
    assert!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects > 0);
    assert_eq!(scene.objects(), 0);
    drop(held);
}

#[test]
fn take_over_with_a_fast_clock_delays_deletes_temporarily() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    scene.clock.jump(CENTURY_MILLIS);
    let vault = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    vault.artifacts().delete(&uri).unwrap();
    assert_eq!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects, 0);
    scene.clock.jump(-CENTURY_MILLIS + 2 * 24 * 60 * 60 * 1_000);
    assert!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects > 0);
}

#[test]
fn store_without_a_ref_is_not_written_before_a_take_over() {
    let scene = Scene::new();
    let store = scene.store();
    for entry in store.list("", None, 1_000).unwrap() {
        store.delete(&entry.key).unwrap();
    }
    let error = assert_refused(scene.open("a"), ErrorKind::NotFound);
    assert!(error.to_string().contains("emptied"), "{error}");
    assert_eq!(store.list("", None, 10).unwrap(), [], "no object was put");
    let vault = scene.options().take_over(true).open(scene.folder("a")).unwrap();
    assert_eq!(vault.recovery().taken_over.clone().unwrap().from, None);
    insert(&vault, "k").unwrap();
    vault.close().unwrap();
    scene.open("a").unwrap();
}

#[test]
fn failed_take_over_leaves_the_owner_unchanged() {
    for fault in
        [BackendFault::before(ErrorKind::Unavailable), BackendFault::before(ErrorKind::Uncertain)]
    {
        let scene = Scene::new();
        scene.copy("a", "b");
        let holder = scene.open("a").unwrap();
        let store = Arc::new(FaultyBackend::new(scene.store()));
        let shared: Arc<dyn Backend> = store.clone();
        // The store answers the two reads of the ref, and then fails.
        store.fail_from(3, fault);
        let failed = scene.options_on(&shared).take_over(true).open(scene.folder("b"));
        failed.expect_err("the store does not answer");
        put(&holder, "1", &noise(600_000, 1));
        holder.close().unwrap();
        scene.clock.advance(2 * DAY);
        assert_refused(scene.open("b"), ErrorKind::Denied);
        assert!(scene.open("a").unwrap().recovery().was_clean());
    }
}

#[test]
fn long_purpose_or_damaged_ref_does_not_block_a_later_open() {
    let scene = Scene::new();
    let long = "purpose ".repeat(20_000);
    scene.options().purpose(long).open(scene.folder("a")).unwrap().close().unwrap();
    scene.open("a").unwrap().close().unwrap();
    let store = scene.store();
    let name = store.list("refs/", None, 10).unwrap()[0].key.clone();
    store.put(&name, "no ref".into(), &Condition::Any).unwrap();
    let damaged = scene.open("a").unwrap_err();
    assert_eq!((damaged.kind(), damaged.action()), (ErrorKind::Corrupt, "read ref"));
    let vault = scene.options().take_over(true).open(scene.folder("a")).unwrap();
    let taken_over = vault.recovery().taken_over.clone().unwrap();
    assert_eq!(taken_over.from, None);
    vault.close().unwrap();
    scene.open("a").unwrap();
}

#[test]
fn missing_owner_ref_stops_deletes_of_an_open_vault_only() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    let store = scene.store();
    let name = store.list("refs/", None, 10).unwrap()[0].key.clone();
    let body = store.get(&name).unwrap().body;
    store.delete(&name).unwrap();
    vault.artifacts().delete(&uri).unwrap();
    let error = vault.gc(&GcOptions::new().without_repacking(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    insert(&vault, "k").unwrap();
    // The answer was wrong: the ref exists again.
    store.put(&name, body, &Condition::Absent).unwrap();
    assert!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects > 0);
    vault.close().unwrap();
    scene.open("a").unwrap();
}
