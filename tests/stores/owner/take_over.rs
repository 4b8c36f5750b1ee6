//! What a take-over leaves to whoever had the content, and to whoever took it.

use std::sync::Arc;
use std::time::Duration;

use strongroom::backends::{Backend, Condition};
use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::vault::LockRefused;
use strongroom::{ErrorKind, SecretPassword};
use strongroom_testkit::{BackendFault, FaultyBackend};

use super::{DAY, Scene, insert, refused};
use crate::scene::{noise, put, whole};

const CENTURY_MILLIS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;

#[test]
fn of_two_copies_the_second_is_locked_out_until_it_takes_over_and_then_the_first_stops() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let kept = put(&first, "kept", &noise(600_000, 1));
    let error = refused(scene.open("b"), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(told.holder.as_ref().unwrap().process.pid, std::process::id());

    let second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    let taken_over = second.recovery().taken_over.clone().unwrap();
    assert_eq!((taken_over.from.as_ref(), told.attempts), (told.holder.as_ref(), 1));
    assert!(!second.recovery().was_clean());
    let own = put(&second, "own", &noise(600_000, 2));
    // The first has not heard of it. What it reads, it still reads; what it would delete, it does not.
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
    assert_eq!(scene.objects(), before, "nothing was deleted");
    first.close().unwrap();

    // The winner has all that is its own, also after the loser's close.
    assert!(second.artifacts().read(&own).unwrap() == noise(600_000, 2));
    whole(&second);
    insert(&second, "goes on").unwrap();
    refused(scene.open("a"), ErrorKind::Locked);
    second.close().unwrap();
    let error = refused(scene.open("a"), ErrorKind::Denied);
    assert!(error.to_string().contains("another state"), "{error}");
    assert!(scene.open("b").unwrap().recovery().was_clean());
}

#[test]
fn what_the_winner_has_deleted_is_no_damage_to_the_loser() {
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
fn a_commit_finds_out_within_a_minute_that_the_content_was_taken_over() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let _second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    insert(&first, "unheard").expect("it was heard of a moment ago");
    scene.clock.advance(Duration::from_secs(61));
    insert(&first, "asks").expect("no commit waits for the store");
    let stopped = (0..1_000_000).find_map(|n| {
        std::thread::yield_now();
        insert(&first, &format!("{n}")).err()
    });
    assert_eq!(stopped.expect("it stops").kind(), ErrorKind::Closed);
}

#[test]
fn an_older_copy_is_denied_though_nobody_has_the_content_open() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    refused(scene.open("b"), ErrorKind::Denied);
    assert!(scene.open("a").unwrap().artifacts().exists(&uri).unwrap(), "nothing was changed");

    let older = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    assert!(!older.artifacts().exists(&uri).unwrap());
    older.close().unwrap();
    refused(scene.open("a"), ErrorKind::Denied);
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

    // It is kept over an open, which is none of a take-over.
    let vault = scene.open("b").unwrap();
    assert_eq!(scene.objects(), before);
    scene.clock.advance(DAY);
    assert!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects > 0);
    assert_eq!(scene.objects(), 0);
    drop(held);
}

#[test]
fn a_take_over_by_a_clock_that_was_ahead_does_not_stop_deletes_for_good() {
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
fn a_store_without_the_ref_is_not_written_to_before_it_is_taken_over() {
    let scene = Scene::new();
    let store = scene.store();
    for entry in store.list("", None, 1_000).unwrap() {
        store.delete(&entry.key).unwrap();
    }
    let error = refused(scene.open("a"), ErrorKind::NotFound);
    assert!(error.to_string().contains("emptied"), "{error}");
    assert_eq!(store.list("", None, 10).unwrap(), [], "nothing was put there");
    let vault = scene.options().take_over(true).open(scene.folder("a")).unwrap();
    assert_eq!(vault.recovery().taken_over.clone().unwrap().from, None);
    insert(&vault, "k").unwrap();
    vault.close().unwrap();
    scene.open("a").unwrap();
}

#[test]
fn a_take_over_that_fails_leaves_the_content_as_unknown_as_it_was() {
    for fault in
        [BackendFault::before(ErrorKind::Unavailable), BackendFault::before(ErrorKind::Uncertain)]
    {
        let scene = Scene::new();
        scene.copy("a", "b");
        let holder = scene.open("a").unwrap();
        let store = Arc::new(FaultyBackend::new(scene.store()));
        let shared: Arc<dyn Backend> = store.clone();
        // Reads the ref twice, and fails from there on.
        store.fail_from(3, fault);
        let failed = scene.on(&shared).take_over(true).open(scene.folder("b"));
        failed.expect_err("the store does not answer");
        put(&holder, "1", &noise(600_000, 1));
        holder.close().unwrap();
        scene.clock.advance(2 * DAY);
        refused(scene.open("b"), ErrorKind::Denied);
        assert!(scene.open("a").unwrap().recovery().was_clean());
    }
}

#[test]
fn whatever_it_is_opened_for_it_can_be_opened_again_and_a_damaged_ref_can_be_taken_over() {
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
fn a_store_that_is_emptied_behind_an_open_vault_stops_its_deletes_and_nothing_else() {
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
    // It was only a stray answer.
    store.put(&name, body, &Condition::Absent).unwrap();
    assert!(vault.gc(&GcOptions::new().without_repacking(true)).unwrap().objects > 0);
    vault.close().unwrap();
    scene.open("a").unwrap();
}
