//! Rotations that are cancelled, find no room, or wait for a reader in vain: nothing has changed.

use std::time::Duration;

use strongroom::keys::NewKey;
use strongroom::{CancelToken, ErrorKind, LongCall, Result, Vault};

use crate::scene::{FIRST, NEW_STATE, Scene, Secret, assert_filled, fill, generation, ids};
use crate::support::records::{assert_error, long, put};

const NEW: Secret = Secret::Key(2);

/// A rotation that is refused leaves all as it was, and the vault in use.
#[track_caller]
fn assert_refused(
    scene: &Scene,
    vault: &Vault,
    kind: ErrorKind,
    told: &str,
    rotate: impl FnOnce() -> Result<()>,
) {
    let before = (ids(vault), generation(vault));
    assert_error(scene.unchanged(rotate), kind, told);
    assert!(scene.world.read_file(NEW_STATE).is_err(), "a copy was left");
    assert_eq!((ids(vault), generation(vault)), before);
}

#[track_caller]
fn assert_goes_on(scene: &Scene, vault: Vault) {
    put(&vault, "after", "1");
    assert_filled(&vault);
    vault.close().unwrap();
    let vault = scene.open(FIRST).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_filled(&vault);
    vault.keys().rotate(&[NewKey::new(&NEW)]).unwrap();
    vault.close().unwrap();
    assert_eq!(scene.openers(&[FIRST, NEW]), [NEW]);
}

#[test]
fn a_cancelled_rotation_changes_nothing() {
    let mut steps = 0;
    for stop_at in 0..100 {
        let scene = Scene::with_vault(&[FIRST]);
        let vault = scene.open(FIRST).unwrap();
        let cancel = CancelToken::new();
        if stop_at == 0 {
            cancel.cancel();
        }
        let (switch, reports) = (cancel.clone(), std::sync::atomic::AtomicU32::new(0));
        let progress = move |_: u64, _: Option<u64>| {
            if reports.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == stop_at {
                switch.cancel();
            }
        };
        let mut done = false;
        let keys = [NewKey::new(&NEW)];
        let before = scene.files();
        match vault.keys().rotate_with(&keys, LongCall::new().progress(&progress).cancel(&cancel)) {
            // It was cancelled when nothing more could be stopped.
            Ok(()) => done = true,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Cancelled, "{e}");
                assert!(scene.files() == before, "cancelled at report {stop_at}");
            }
        }
        if done {
            steps = stop_at;
            assert_filled(&vault);
            break;
        }
        assert_goes_on(&scene, vault);
    }
    assert!(steps > 5, "it could be cancelled at {steps} moments only");
}

#[test]
fn a_rotation_without_room_is_full_and_changes_nothing() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let state = vault.info().unwrap().state_bytes;
    let used: u64 = scene.world.tree().into_iter().filter_map(|(_, len)| len).sum();
    // None at all, less than is asked for, as much, and a little more: the copy is longer than
    // what redb has of it.
    for room in [0, 1, state / 2, state - 1, state, state + 4_096] {
        scene.world.set_capacity(Some(used + room));
        let told = if room < state { "there is room for" } else { "" };
        let rotate = || vault.keys().rotate(&[NewKey::new(&NEW)]);
        assert_refused(&scene, &vault, ErrorKind::Full, told, rotate);
    }
    scene.world.set_capacity(None);
    assert_goes_on(&scene, vault);
}

#[test]
fn a_rotation_that_a_reader_outlasts_is_locked_and_changes_nothing() {
    let scene = Scene::new();
    let options = scene.options(FIRST).write_timeout(Duration::from_millis(50));
    let vault = options.create("/vault").unwrap();
    fill(&vault);
    let snapshot = vault.read().unwrap();
    let rotate = || vault.keys().rotate(&[NewKey::new(&NEW)]);
    let told = "1 reads were still under way after 0.05 s";
    assert_refused(&scene, &vault, ErrorKind::Locked, told, rotate);
    let value = snapshot.get("n", "k05").unwrap().unwrap();
    assert_eq!(value.bytes().unwrap(), long(5, 300), "it reads on");
    // Records under way are a read as well.
    let mut records = snapshot.prefix("n", "k").unwrap();
    records.next().unwrap().unwrap();
    drop((value, snapshot));
    assert_refused(&scene, &vault, ErrorKind::Locked, told, rotate);
    assert_eq!(records.count(), 19);
    assert_goes_on(&scene, vault);
}

#[test]
fn a_rotation_that_waits_for_another_write_in_vain_is_locked() {
    let scene = Scene::new();
    let options = scene.options(FIRST).write_timeout(Duration::from_millis(50));
    let vault = options.create("/vault").unwrap();
    fill(&vault);
    let (inside, is_inside) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (vault, scene) = (&vault, &scene);
        let holder = scope.spawn(move || {
            vault.write(|tx| {
                inside.send(()).unwrap();
                // Ends with an error when the test is done, or has failed.
                let _ = released.recv();
                tx.insert("n", "held", "1")
            })
        });
        is_inside.recv().unwrap();
        let rotate = || vault.keys().rotate(&[NewKey::new(&NEW)]);
        assert_refused(scene, vault, ErrorKind::Locked, "0.05 s", rotate);
        drop(release);
        holder.join().unwrap().unwrap();
    });
    assert_goes_on(&scene, vault);
}
