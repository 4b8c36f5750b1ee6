//! The key copy: kept current, and used to restore a state without headers.

use std::sync::Arc;

use strongroom::backends::{Backend, Memory};
use strongroom::keys::NewKey;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Reason, Result, Vault};
use strongroom_testkit::{BackendFault, FaultyBackend};

use crate::forge::{GENERATION, HEADER, sign, without_header};
use crate::scene::{
    FIRST, Scene, Secret, add, assert_filled, assert_readable, fill, generation, ids,
};
use crate::support::records::{assert_error, assert_whole, get, put, try_put};

const OTHER: Secret = Secret::Key(2);

/// Opens the vault, and asserts whether the open wrote the copy.
#[track_caller]
fn assert_open_writes_copy(scene: &Scene, written: bool) {
    let vault = scene.open(FIRST).unwrap();
    let recovery = vault.recovery();
    assert_eq!(recovery.key_copy_written, written, "{recovery:?}");
    assert_eq!(recovery.was_clean(), !written, "{recovery:?}");
    assert!(recovery.key_copy_ahead.is_none() && recovery.key_copy_error.is_none());
    assert_filled(&vault);
    vault.close().unwrap();
    assert!(scene.key_copy() == scene.state()[..HEADER]);
}

#[test]
fn outdated_copy_is_written_at_open() {
    let scene = Scene::with_vault(&[FIRST]);
    let first = scene.key_copy();
    assert_open_writes_copy(&scene, false);
    let vault = scene.open(FIRST).unwrap();
    add(&vault, OTHER);
    vault.close().unwrap();
    scene.set_key_copy(first);
    assert_open_writes_copy(&scene, true);
    assert_open_writes_copy(&scene, false);
}

/// Opens the vault, and asserts that it is read-only and the copy unchanged.
///
/// A take-over has no effect, because there is nothing to take over.
#[track_caller]
fn assert_unverified(scene: &Scene) {
    let vault = scene.options(FIRST).take_over(true).open("/vault").unwrap();
    let recovery = vault.recovery();
    assert!(recovery.key_copy_unverified && !recovery.was_clean(), "{recovery:?}");
    assert!(!recovery.key_copy_written && recovery.key_copy_ahead.is_none(), "{recovery:?}");
    assert_readable(&vault);
    let error = assert_error(try_put(&vault, "after", b"1"), ErrorKind::Conflict, "missing");
    assert_eq!(error.reason(), Some(Reason::KeyCopyUnverified));
    let outcome = vault.keys().add(&NewKey::new(&Secret::Key(9)));
    assert_error(outcome, ErrorKind::Conflict, "adopt_older_state");
    vault.close().unwrap();
}

#[test]
fn missing_damaged_or_forged_copy_refuses_writes_until_adopted() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let good = scene.key_copy();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let bad = [
        Vec::new(),
        b"something else".to_vec(),
        vec![0; HEADER],
        with(&|bytes| bytes.truncate(HEADER - 1)),
        with(&|bytes| bytes[2000] ^= 1),
        with(&|bytes| bytes[8] = 7),
        // A key copy of another vault.
        with(&|bytes| {
            bytes[15] ^= 1;
            sign(bytes);
        }),
        // An earlier and a later generation, without the MAC of either.
        with(&|bytes| {
            bytes[GENERATION] -= 1;
            sign(bytes);
        }),
        with(&|bytes| {
            bytes[GENERATION] += 1;
            sign(bytes);
        }),
    ];
    for bytes in bad.into_iter().map(Some).chain([None]) {
        match &bytes {
            Some(bytes) => scene.set_key_copy(bytes),
            None => scene.remove_key_copy(),
        }
        assert_unverified(&scene);
        let found = scene.key_copy_path().map(|_| scene.key_copy());
        assert!(found == bytes, "the copy was changed");
        let vault = scene.options(FIRST).adopt_older_state(true).open("/vault").unwrap();
        assert!(vault.recovery().key_copy_written, "{:?}", vault.recovery());
        put(&vault, "after", "1");
        vault.close().unwrap();
        assert!(scene.key_copy() == good, "the generation stays");
        assert!(scene.open(FIRST).unwrap().recovery().was_clean());
    }
}

#[test]
fn copy_from_before_an_interrupted_rotation_is_replaced() {
    let scene = Scene::with_vault(&[FIRST]);
    let before = scene.key_copy();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().rotate(&[NewKey::new(&OTHER)]).unwrap();
    vault.close().unwrap();
    // The process ended between the publication of the state and the put of the copy.
    scene.set_key_copy(before);
    let vault = scene.open(OTHER).unwrap();
    assert!(vault.recovery().key_copy_written, "{:?}", vault.recovery());
    assert_filled(&vault);
    put(&vault, "after", "1");
    vault.close().unwrap();
    assert!(scene.open(OTHER).unwrap().recovery().was_clean());
}

#[test]
fn overwritten_beginning_is_restored_from_copy() {
    let scene = Scene::with_vault(&[FIRST]);
    let mut state = scene.state();
    state[..2 * HEADER].fill(0);
    scene.set_state(&state);
    let error = assert_error(scene.unchanged(|| scene.open(FIRST)), ErrorKind::Invalid, "");
    assert_eq!(error.reason(), Some(Reason::NotAVault));
    let restoring = |secret| scene.options(secret).restore_key_set(true).open("/vault");
    assert_error(scene.unchanged(|| restoring(OTHER)), ErrorKind::Denied, "");
    let vault = restoring(FIRST).unwrap();
    assert!(vault.recovery().key_set_restored, "{:?}", vault.recovery());
    assert_filled(&vault);
    vault.close().unwrap();
    assert!(scene.open(FIRST).unwrap().recovery().was_clean());
}

#[test]
fn foreign_file_is_not_overwritten_by_a_restored_key_set() {
    let scene = Scene::with_vault(&[FIRST]);
    for len in [0, 100, 2 * HEADER, 100_000] {
        scene.set_state(vec![0x20; len]);
        let options = scene.options(FIRST).restore_key_set(true);
        let outcome = scene.unchanged(|| options.open("/vault"));
        assert!(outcome.is_err(), "{len} bytes");
    }
}

#[test]
fn every_change_updates_the_copy() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let vault = scene.open(FIRST).unwrap();
    let mut seen = scene.key_copy();
    let mut assert_updated = |change: &str| {
        let now = scene.key_copy();
        assert!(now != seen, "{change}");
        assert!(now == scene.state()[..HEADER], "{change}");
        seen = now;
    };
    let id = add(&vault, Secret::Key(3));
    assert_updated("add");
    vault.keys().replace(id, &Secret::Key(4)).unwrap();
    assert_updated("replace");
    vault.keys().rewrap(&FIRST).unwrap();
    assert_updated("rewrap");
    vault.keys().delete(id).unwrap();
    assert_updated("remove");
    vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
    assert_updated("rotate");
    // A refused change does not write the copy.
    assert_error(vault.keys().delete(id), ErrorKind::NotFound, "");
    assert!(scene.key_copy() == seen);
}

#[test]
fn state_with_both_headers_damaged_is_restored_from_copy() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    let good = scene.state();
    let bad = without_header(&good);
    scene.set_state(&bad);
    let outcome = scene.unchanged(|| scene.open(FIRST));
    assert_error(outcome, ErrorKind::Corrupt, "a copy of the key set is on the backend");
    // Restoring needs a key of the copied key set.
    let restoring = |secret| scene.options(secret).restore_key_set(true).open("/vault");
    let outcome = scene.unchanged(|| restoring(Secret::Key(9)));
    assert_error(outcome, ErrorKind::Denied, "");
    let vault = restoring(OTHER).unwrap();
    let recovery = vault.recovery();
    assert!(recovery.key_set_restored && !recovery.was_clean(), "{recovery:?}");
    assert!(recovery.key_copy_ahead.is_none() && !recovery.key_copy_written, "{recovery:?}");
    assert_filled(&vault);
    add(&vault, Secret::Key(3));
    vault.close().unwrap();
    // The option has no effect on an undamaged state.
    let vault = restoring(FIRST).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!(ids(&vault), [1, 2, 3]);
}

#[test]
fn restore_from_missing_damaged_or_forged_copy_is_refused() {
    let scene = Scene::with_vault(&[FIRST, OTHER]);
    scene.set_state(without_header(&scene.state()));
    let good = scene.key_copy();
    let restore = || {
        let options = scene.options(FIRST).restore_key_set(true);
        scene.unchanged(|| options.open("/vault"))
    };
    let mut damaged = good.clone();
    damaged[2000] ^= 1;
    scene.set_key_copy(&damaged);
    assert_error(restore(), ErrorKind::Corrupt, "");
    let mut forged = good.clone();
    forged[GENERATION] ^= 4;
    sign(&mut forged);
    scene.set_key_copy(&forged);
    assert_error(restore(), ErrorKind::Corrupt, "");
    scene.remove_key_copy();
    assert_error(restore(), ErrorKind::NotFound, "the backend has no key set");
}

#[test]
fn restore_into_state_of_other_keys_is_corrupt() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let copy_of_before = scene.key_copy();
    vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
    vault.close().unwrap();
    let rotated = without_header(&scene.state());
    let restore = || {
        let options = scene.options(FIRST).restore_key_set(true);
        scene.unchanged(|| options.open("/vault"))
    };
    // Truncated by one block, and truncated within the headers.
    for len in [rotated.len() - 4_136, 6_000] {
        scene.set_state(&rotated[..len]);
        assert_error(restore(), ErrorKind::Corrupt, "");
    }
    scene.set_state(&rotated);
    let good = scene.key_copy();
    scene.set_key_copy(copy_of_before);
    assert_error(restore(), ErrorKind::Corrupt, "");
    scene.set_key_copy(good);
    let options = scene.options(FIRST).restore_key_set(true);
    assert_filled(&options.open("/vault").unwrap());
}

#[test]
fn two_vaults_share_one_backend() {
    let memory = Memory::new();
    let states = [MemoryState::new(), MemoryState::new()];
    let secrets = [FIRST, OTHER];
    for (state, secret) in states.iter().zip(secrets) {
        let vault = Vault::options(secret).create_on(state.clone(), memory.clone()).unwrap();
        fill(&vault);
    }
    assert_eq!(memory.list("keys/", None, 10).unwrap().len(), 2);
    for (state, secret) in states.iter().zip(secrets) {
        let open = |secret| Vault::options(secret).open_on(state.clone(), memory.clone());
        let vault = open(secret).unwrap();
        assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
        add(&vault, Secret::Key(7));
        vault.keys().rotate(&[NewKey::new(&secret), NewKey::new(&Secret::Key(8))]).unwrap();
        vault.write(|tx| tx.delete("n", "long")).unwrap();
        vault.write(|tx| tx.delete("n", "k00")).unwrap();
        vault.close().unwrap();
        let vault = open(Secret::Key(8)).unwrap();
        assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
        assert_eq!(get(&vault, "k01").unwrap().len(), 300);
        vault.close().unwrap();
    }
    let left = memory.list("content/", None, 10).unwrap().len();
    assert_eq!(left, 0, "each vault deletes its own objects");
    assert_eq!(memory.list("keys/", None, 10).unwrap().len(), 2);
}

/// A vault with state in memory and content on a faulty backend.
struct Failing {
    state: MemoryState,
    faulty: Arc<FaultyBackend>,
}

impl Failing {
    fn new() -> Self {
        let faulty = Arc::new(FaultyBackend::new(Arc::new(Memory::new())));
        let this = Self { state: MemoryState::new(), faulty };
        let options = Vault::options(FIRST).cheap_passwords();
        let vault = options.create_on(this.state.clone(), Arc::clone(&this.faulty)).unwrap();
        fill(&vault);
        add(&vault, OTHER);
        this
    }

    fn open(&self, secret: Secret) -> Result<Vault> {
        Vault::options(secret).open_on(self.state.clone(), Arc::clone(&self.faulty))
    }
}

/// Name of a change, the change, and the key ids after it.
type Change = (&'static str, fn(&Vault) -> Result<()>, &'static [u32]);

const CHANGES: [Change; 5] = [
    ("add", |vault| vault.keys().add(&NewKey::new(&Secret::Key(3))).map(drop), &[1, 2, 3]),
    ("remove", |vault| vault.keys().delete(strongroom::keys::KeyId(2)), &[1]),
    ("replace", |vault| vault.keys().replace(strongroom::keys::KeyId(2), &Secret::Key(3)), &[1, 2]),
    ("rewrap", |vault| vault.keys().rewrap(&OTHER).map(drop), &[1, 2]),
    ("rotate", |vault| vault.keys().rotate(&[NewKey::new(&FIRST)]), &[3]),
];

/// Returns the number of the backend call that puts the copy.
///
/// Calls are counted from 1. A change finds the copy, reads it, and puts the new one. A rotation
/// lists objects first.
fn put_of_copy(name: &str) -> u64 {
    if name == "rotate" { 4 } else { 3 }
}

#[test]
fn failed_put_of_copy_is_completed_by_the_next_open() {
    let lost = BackendFault::after(ErrorKind::Uncertain);
    let refused = BackendFault::before(ErrorKind::Unavailable);
    for (name, change, expected) in CHANGES {
        for fault in [refused, lost] {
            let nth = put_of_copy(name);
            let failing = Failing::new();
            let vault = failing.open(FIRST).unwrap();
            let before = generation(&vault);
            failing.faulty.fail_at(nth, fault);
            let error = assert_error(change(&vault), ErrorKind::Uncertain, "the change was made");
            assert_eq!((&ids(&vault)[..], generation(&vault)), (expected, before + 1), "{error}");
            put(&vault, "after", name);
            vault.close().unwrap();
            let vault = failing.open(FIRST).unwrap();
            let recovery = vault.recovery();
            assert_eq!(recovery.key_copy_written, fault == refused, "{name}: {recovery:?}");
            assert_eq!((&ids(&vault)[..], generation(&vault)), (expected, before + 1), "{name}");
            assert_filled(&vault);
            vault.close().unwrap();
            assert!(failing.open(FIRST).unwrap().recovery().was_clean(), "{name}");
        }
    }
}

#[test]
fn unreadable_copy_refuses_change_before_any_write() {
    for (name, change, _) in CHANGES {
        for nth in [1, 2] {
            let failing = Failing::new();
            let vault = failing.open(FIRST).unwrap();
            let before = (ids(&vault), generation(&vault));
            failing.faulty.fail_at(nth, BackendFault::before(ErrorKind::Unavailable));
            assert_error(change(&vault), ErrorKind::Unavailable, "injected fault");
            assert_eq!((ids(&vault), generation(&vault)), before, "{name}");
            vault.close().unwrap();
            assert!(failing.open(FIRST).unwrap().recovery().was_clean(), "{name}");
        }
    }
}

#[test]
fn failed_put_of_copy_is_completed_by_the_next_change() {
    for (name, change, _) in CHANGES {
        let failing = Failing::new();
        let vault = failing.open(FIRST).unwrap();
        failing.faulty.fail_at(put_of_copy(name), BackendFault::before(ErrorKind::Full));
        assert_error(change(&vault), ErrorKind::Uncertain, "the change was made");
        add(&vault, Secret::Key(6));
        vault.close().unwrap();
        let vault = failing.open(Secret::Key(6)).unwrap();
        assert!(vault.recovery().was_clean(), "{name}: {:?}", vault.recovery());
    }
}

#[test]
fn unreachable_backend_leaves_state_usable() {
    let failing = Failing::new();
    failing.faulty.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
    let vault = failing.open(OTHER).unwrap();
    let error = vault.recovery().key_copy_error.clone().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(get(&vault, "k03").unwrap().len(), 300);
    put(&vault, "offline", "1");
    failing.faulty.clear();
    assert_whole(&vault);
    vault.close().unwrap();
    assert!(failing.open(FIRST).unwrap().recovery().was_clean());
}
