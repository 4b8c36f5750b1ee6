//! An older state file in the place of a newer one: it can be read, and nothing is written or
//! deleted until the host says that it shall count.

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

/// A vault whose state file is older than its last key and record, and the newer state file.
fn put_back() -> (Scene, Vec<u8>) {
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

/// The same; but when the older state was copied, the content of the newer record was being
/// staged, and a removed value was still being read.
fn put_back_with_work_under_way() -> (Scene, Vec<u8>) {
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

/// Everything that would write is `Conflict`.
#[track_caller]
fn assert_writes_nothing(vault: &Vault) {
    let told = "adopt_older_state";
    let mut batch = Batch::new();
    batch.insert("n", "new", "1");
    assert_error(try_put(vault, "new", b"1"), ErrorKind::Conflict, told);
    assert_error(vault.apply(batch), ErrorKind::Conflict, told);
    assert_error(vault.stage(&long(9, 70_000)[..]), ErrorKind::Conflict, told);
    assert_error(vault.operations().begin("export", ["a"]), ErrorKind::Conflict, told);
    assert_error(vault.operations().take_over("import"), ErrorKind::Conflict, told);
    assert_error(vault.gc(&GcOptions::new().without_repacking(true)), ErrorKind::Conflict, told);
    assert_error(vault.keys().add(&NewKey::new(&Secret::Key(9))), ErrorKind::Conflict, told);
    assert_error(vault.keys().replace(KeyId(2), &Secret::Key(9)), ErrorKind::Conflict, told);
    assert_error(vault.keys().rewrap(&FIRST), ErrorKind::Conflict, told);
    assert_error(vault.keys().delete(KeyId(2)), ErrorKind::Conflict, told);
    assert_error(vault.keys().rotate(&[NewKey::new(&FIRST)]), ErrorKind::Conflict, told);
    assert_error(vault.compact(), ErrorKind::Conflict, told);
}

/// The older state is opened and used, and neither objects nor the key set are touched; nor
/// anything of the newer state, once that is back.
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
    assert_eq!(scene.objects(), objects, "while it is open");
    vault.close().unwrap();
    assert_eq!(scene.objects(), objects, "once it is closed");
    assert!(scene.key_copy() == key_copy);
    assert_error(scene.open(LATER), ErrorKind::Denied, "");

    scene.set_state(newer);
    let vault = scene.open(LATER).unwrap();
    assert!(vault.recovery().key_copy_ahead.is_none());
    assert!(get(&vault, "newer").unwrap() == long(6, 70_000));
    assert_filled(&vault);
}

#[test]
fn an_older_state_is_read_and_nothing_is_written_or_deleted() {
    let (scene, newer) = put_back();
    assert_only_read(&scene, &newer);
}

#[test]
fn what_was_under_way_in_an_older_state_is_not_deleted() {
    let (scene, newer) = put_back_with_work_under_way();
    assert_only_read(&scene, &newer);
}

#[test]
fn an_older_state_that_is_adopted_goes_on() {
    for (scene, newer) in [put_back(), put_back_with_work_under_way()] {
        let adopting = || scene.options(FIRST).adopt_older_state(true).open("/vault");
        let vault = adopting().unwrap();
        let recovery = vault.recovery().clone();
        assert!(recovery.key_copy_ahead.is_none() && recovery.key_copy_written, "{recovery:?}");
        assert!(recovery.clean_up_error.is_none(), "{recovery:?}");
        assert_eq!((ids(&vault), generation(&vault)), (vec![1, 2], 4), "above what was seen");
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

        // Now what was the newer one is the older one.
        scene.set_state(newer);
        let vault = scene.open(FIRST).unwrap();
        assert_eq!(vault.recovery().key_copy_ahead, Some(5));
        assert_writes_nothing(&vault);
    }
}

#[test]
fn a_copy_of_the_same_generation_and_another_is_ahead() {
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

/// The copy of the key set, forged to claim another generation.
fn claim(scene: &Scene, generation: u64) {
    let mut copy = scene.key_copy();
    copy[GENERATION..GENERATION + 8].copy_from_slice(&generation.to_le_bytes());
    sign(&mut copy);
    scene.set_key_copy(copy);
}

#[test]
fn a_copy_that_claims_to_be_ahead_stops_writes_and_reads_nothing_of_it() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    for generation in [3, u64::MAX] {
        claim(&scene, generation);
        let vault = scene.open(FIRST).unwrap();
        assert_eq!(vault.recovery().key_copy_ahead, Some(generation));
        assert_readable(&vault);
        assert_writes_nothing(&vault);
    }
    claim(&scene, u64::MAX - 1);
    let adopting = scene.options(FIRST).adopt_older_state(true);
    assert_filled(&adopting.open("/vault").unwrap());
}

/// All bytes of a state that is closed.
fn bytes_of(state: &MemoryState) -> Vec<u8> {
    let storage = state.open().unwrap();
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_copy_that_could_not_be_read_at_open_and_is_ahead_is_not_written_over() {
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
    assert!(memory.get(&key).unwrap().body == ahead, "written over, {changed:?}");
    assert_error(changed, ErrorKind::Conflict, "");
}

#[test]
fn a_copy_that_claims_the_last_generation_can_be_overcome_or_is_an_error() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    claim(&scene, u64::MAX);
    let adopted = scene.options(FIRST).adopt_older_state(true).open("/vault");
    if let Ok(vault) = adopted {
        assert!(vault.recovery().key_copy_ahead.is_none());
        put(&vault, "after", "1");
        vault.close().unwrap();
        assert!(scene.open(FIRST).unwrap().recovery().was_clean());
    }
}
