//! An older state file that replaces a newer one.
//!
//! The vault is readable. Nothing is written or deleted until the host adopts the older state.

use std::sync::Arc;

use strongroom::backends::{Backend, Memory};
use strongroom::content::GcOptions;
use strongroom::keys::{KeyId, NewKey};
use strongroom::storage::{MemoryState, StateStorage};
use strongroom::{Batch, ErrorKind, Vault};
use strongroom_testkit::{BackendFault, FaultyBackend};

use crate::forge::{GENERATION, sign};
use crate::scene::{FIRST, Scene, Secret, add, assert_filled, assert_readable, generation, ids};
use crate::support::records::{assert_error, get, long, put, put_long, try_put};

const OTHER: Secret = Secret::Key(2);
const LATER: Secret = Secret::Key(3);

/// Returns a vault with an older state file, and the newer file.
///
/// The older state lacks the last key and the last record.
fn with_older_state() -> (Scene, Vec<u8>) {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let older = scene.state();
    let vault = scene.open(FIRST).unwrap();
    add(&vault, LATER);
    put_long(&vault, "newer", &long(6, 70_000));
    vault.close().unwrap();
    let newer = scene.state();
    scene.set_state(older);
    (scene, newer)
}

/// Returns the same as [`with_older_state`], with unfinished work in the older state.
///
/// When the older state was copied, the content of the newer record was staged, and a reader
/// could still reach a deleted value.
fn with_older_state_and_unfinished_work() -> (Scene, Vec<u8>) {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let vault = scene.open(FIRST).unwrap();
    put_long(&vault, "removed", &long(5, 70_000));
    let snapshot = vault.read().unwrap();
    vault.write(|tx| tx.delete("n", "removed")).unwrap();
    let staged = vault.stage(&long(6, 70_000)[..]).unwrap();
    let older = scene.state();
    vault.write(|tx| tx.insert("n", "newer", staged)).unwrap();
    add(&vault, LATER);
    vault.close().unwrap();
    drop(snapshot);
    let newer = scene.state();
    scene.set_state(older);
    (scene, newer)
}

/// Asserts that every call that would write returns `Conflict`.
#[track_caller]
fn assert_writes_nothing(vault: &Vault) {
    let expected = "adopt_older_state";
    let mut batch = Batch::new();
    batch.insert("n", "new", "1");
    assert_error(try_put(vault, "new", b"1"), ErrorKind::Conflict, expected);
    assert_error(vault.apply(batch), ErrorKind::Conflict, expected);
    assert_error(vault.stage(&long(9, 70_000)[..]), ErrorKind::Conflict, expected);
    assert_error(vault.operations().begin("export", ["a"]), ErrorKind::Conflict, expected);
    assert_error(vault.operations().take_over("import"), ErrorKind::Conflict, expected);
    assert_error(
        vault.gc(&GcOptions::new().without_repacking(true)),
        ErrorKind::Conflict,
        expected,
    );
    assert_error(vault.keys().add(&NewKey::new(&Secret::Key(9))), ErrorKind::Conflict, expected);
    assert_error(vault.keys().replace(KeyId(2), &Secret::Key(9)), ErrorKind::Conflict, expected);
    assert_error(vault.keys().rewrap(&FIRST), ErrorKind::Conflict, expected);
    assert_error(vault.keys().delete(KeyId(2)), ErrorKind::Conflict, expected);
    assert_error(vault.keys().rotate(&[NewKey::new(&FIRST)]), ErrorKind::Conflict, expected);
    assert_error(vault.compact(), ErrorKind::Conflict, expected);
}

/// Asserts that the older state is readable, and that nothing is written.
///
/// Objects and the key copy stay as they are. With the newer state file back, the vault is
/// complete.
#[track_caller]
fn assert_only_read(scene: &Scene, newer: &[u8]) {
    let (objects, key_copy) = (scene.objects(), scene.key_copy());
    let vault = scene.open(FIRST).unwrap();
    assert_eq!(vault.recovery().key_copy_ahead, Some(3), "{:?}", vault.recovery());
    assert!(!vault.recovery().was_clean());
    assert_readable(&vault);
    assert_eq!((get(&vault, "newer"), ids(&vault)), (None, vec![1, 2]));
    assert_writes_nothing(&vault);
    assert_readable(&vault);
    assert_eq!(scene.objects(), objects, "while the vault is open");
    vault.close().unwrap();
    assert_eq!(scene.objects(), objects, "after the close");
    assert!(scene.key_copy() == key_copy);
    assert_error(scene.open(LATER), ErrorKind::Denied, "");

    scene.set_state(newer);
    let vault = scene.open(LATER).unwrap();
    assert!(vault.recovery().key_copy_ahead.is_none());
    assert!(get(&vault, "newer").unwrap() == long(6, 70_000));
    assert_filled(&vault);
}

#[test]
fn older_state_is_readable_and_nothing_is_written() {
    let (scene, newer) = with_older_state();
    assert_only_read(&scene, &newer);
}

#[test]
fn unfinished_work_of_an_older_state_is_not_deleted() {
    let (scene, newer) = with_older_state_and_unfinished_work();
    assert_only_read(&scene, &newer);
}

#[test]
fn adopted_older_state_is_writable() {
    for (scene, newer) in [with_older_state(), with_older_state_and_unfinished_work()] {
        let adopting = || scene.options(FIRST).adopt_older_state(true).open("/vault");
        let vault = adopting().unwrap();
        let recovery = vault.recovery().clone();
        assert!(recovery.key_copy_ahead.is_none() && recovery.key_copy_written, "{recovery:?}");
        assert!(recovery.clean_up_error.is_none(), "{recovery:?}");
        assert_eq!((ids(&vault), generation(&vault)), (vec![1, 2], 4), "above both states");
        put(&vault, "after", "1");
        assert_eq!(add(&vault, Secret::Key(4)), KeyId(3));
        assert_readable(&vault);
        vault.close().unwrap();

        assert_error(scene.open(LATER), ErrorKind::Denied, "");
        let vault = adopting().unwrap();
        assert!(vault.recovery().was_clean(), "only once: {:?}", vault.recovery());
        assert_eq!((ids(&vault), generation(&vault)), (vec![1, 2, 3], 5));
        assert_eq!(get(&vault, "after").unwrap(), b"1");
        vault.close().unwrap();

        // The state that was newer is now the older one.
        scene.set_state(newer);
        let vault = scene.open(FIRST).unwrap();
        assert_eq!(vault.recovery().key_copy_ahead, Some(5));
        assert_writes_nothing(&vault);
    }
}

#[test]
fn different_copy_of_the_same_generation_is_ahead() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let twin = scene.duplicate();
    for scene in [&scene, &twin] {
        let vault = scene.open(FIRST).unwrap();
        vault.keys().rewrap(&OTHER).unwrap();
        vault.close().unwrap();
    }
    scene.set_state(twin.state());
    let vault = scene.open(FIRST).unwrap();
    assert_eq!(vault.recovery().key_copy_ahead, Some(3));
    assert_writes_nothing(&vault);
    vault.close().unwrap();
    let vault = scene.options(FIRST).adopt_older_state(true).open("/vault").unwrap();
    assert_eq!(generation(&vault), 4);
    assert_filled(&vault);
}

/// Forges the key copy to have another generation.
fn forge_copy_generation(scene: &Scene, generation: u64) {
    let mut copy = scene.key_copy();
    copy[GENERATION..GENERATION + 8].copy_from_slice(&generation.to_le_bytes());
    sign(&mut copy);
    scene.set_key_copy(copy);
}

#[test]
fn forged_copy_is_not_ahead_and_does_not_raise_the_generation() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    for forged in [3, u64::MAX - 1, u64::MAX] {
        forge_copy_generation(&scene, forged);
        let vault = scene.open(FIRST).unwrap();
        assert_eq!(vault.recovery().key_copy_ahead, None, "{:?}", vault.recovery());
        assert!(vault.recovery().key_copy_unverified, "{:?}", vault.recovery());
        assert_readable(&vault);
        assert_writes_nothing(&vault);
        vault.close().unwrap();
        let vault = scene.options(FIRST).adopt_older_state(true).open("/vault").unwrap();
        assert_eq!(generation(&vault), 2);
        vault.close().unwrap();
    }
    let vault = scene.open(FIRST).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    add(&vault, LATER);
    assert_eq!(generation(&vault), 3);
    assert_filled(&vault);
}

/// Returns all bytes of a closed state.
fn bytes_of(state: &MemoryState) -> Vec<u8> {
    let storage = state.open().unwrap();
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn copy_ahead_but_unreadable_at_open_is_not_overwritten() {
    let (state, memory) = (MemoryState::new(), Memory::new());
    let faulty = Arc::new(FaultyBackend::new(Arc::new(memory.clone())));
    let open = || Vault::options(FIRST).open_on(state.clone(), Arc::clone(&faulty)).unwrap();
    Vault::options(FIRST).create_on(state.clone(), memory.clone()).unwrap().close().unwrap();
    let older = bytes_of(&state);
    let vault = open();
    add(&vault, OTHER);
    add(&vault, LATER);
    vault.close().unwrap();
    let storage = state.open().unwrap();
    storage.set_len(older.len() as u64).unwrap();
    storage.write(0, &older).unwrap();

    let key = memory.list("keys/", None, 1).unwrap().remove(0).key;
    let ahead = memory.get(&key).unwrap().body;
    faulty.fail_at(1, BackendFault::before(ErrorKind::Unavailable));
    let vault = open();
    assert!(vault.recovery().key_copy_error.is_some());
    let changed = vault.keys().add(&NewKey::new(&Secret::Key(9)));
    assert!(memory.get(&key).unwrap().body == ahead, "the copy was overwritten: {changed:?}");
    assert_error(changed, ErrorKind::Conflict, "");
}
