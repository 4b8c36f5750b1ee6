//! Rotations that are cancelled, lack disk space, or time out: nothing changes.

use std::time::Duration;

use strongroom::keys::NewKey;
use strongroom::{CancelToken, ErrorKind, LongCall, Result, Vault};

use crate::scene::{FIRST, NEW_STATE, Scene, Secret, assert_filled, fill, generation, ids};
use crate::support::records::{assert_error, long, put};

const NEW: Secret = Secret::Key(2);

/// Asserts that `rotate` is refused and changes neither files nor keys.
#[track_caller]
fn assert_refused(
    scene: &Scene,
    vault: &Vault,
    kind: ErrorKind,
    expected: &str,
    rotate: impl FnOnce() -> Result<()>,
) {
    let before = (ids(vault), generation(vault));
    assert_error(scene.unchanged(rotate), kind, expected);
    assert!(scene.world.read_file(NEW_STATE).is_err(), "the new state file is removed");
    assert_eq!((ids(vault), generation(vault)), before);
}

/// Asserts that the vault can be written, reopened and rotated.
#[track_caller]
fn assert_usable(scene: &Scene, vault: Vault) {
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
fn cancelled_rotation_changes_nothing() {
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
            // The cancellation came too late to stop the rotation.
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
        assert_usable(&scene, vault);
    }
    assert!(steps > 5, "the rotation reported only {steps} times");
}

#[test]
fn rotation_without_disk_space_is_full() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let state = vault.info().unwrap().state_bytes;
    let used: u64 = scene.world.tree().into_iter().filter_map(|(_, len)| len).sum();
    // No space, less than the rotation requires, exactly that, and a little more. The new file is
    // longer than the state that redb reports, so the larger sizes fail too.
    for room in [0, 1, state / 2, state - 1, state, state + 4_096] {
        scene.world.set_capacity(Some(used + room));
        let expected = if room < state { "are free" } else { "" };
        let rotate = || vault.keys().rotate(&[NewKey::new(&NEW)]);
        assert_refused(&scene, &vault, ErrorKind::Full, expected, rotate);
    }
    scene.world.set_capacity(None);
    assert_usable(&scene, vault);
}

#[test]
fn rotation_with_a_long_reader_is_locked() {
    let scene = Scene::new();
    let options = scene.options(FIRST).write_timeout(Duration::from_millis(50));
    let vault = options.create("/vault").unwrap();
    fill(&vault);
    let snapshot = vault.read().unwrap();
    let rotate = || vault.keys().rotate(&[NewKey::new(&NEW)]);
    let expected = "1 reads did not end within 0.05 s";
    assert_refused(&scene, &vault, ErrorKind::Locked, expected, rotate);
    let value = snapshot.get("n", "k05").unwrap().unwrap();
    assert_eq!(value.bytes().unwrap(), long(5, 300), "the snapshot still reads");
    // An iterator over records counts as a read too.
    let mut records = snapshot.prefix("n", "k").unwrap();
    records.next().unwrap().unwrap();
    drop((value, snapshot));
    assert_refused(&scene, &vault, ErrorKind::Locked, expected, rotate);
    assert_eq!(records.count(), 19);
    assert_usable(&scene, vault);
}

#[test]
fn rotation_with_a_long_write_is_locked() {
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
                // Returns an error when the sender is dropped, also if the test fails.
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
    assert_usable(&scene, vault);
}
