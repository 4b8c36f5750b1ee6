//! Headers forged by an attacker without a key.
//!
//! Their checksums are valid. They are refused, and nothing is written.

use strongroom::ErrorKind::{self, Corrupt, Denied, Invalid};
use strongroom::keys::{KeyId, NewKey};

use crate::forge::{
    CIPHER, COMMITMENT, CREATED, FILE_ID, GENERATION, HEADER, MAC, MEMORY, NONCE, RING, SALT, SLOT,
    SLOTS, VAULT_ID, WRAPPED, forged, sign, slot,
};
use crate::scene::{FIRST, Scene, Secret, assert_filled};
use crate::support::records::assert_error;

const WORD: Secret = Secret::Password("old");
const WORD_TOO: Secret = Secret::Password("another");

/// A change of one byte of a header.
struct Forgery {
    name: &'static str,
    at: usize,
    /// Error of opening with the key of unlock slot 0.
    expected: ErrorKind,
}

const fn forgery(name: &'static str, at: usize, expected: ErrorKind) -> Forgery {
    Forgery { name, at, expected }
}

/// One forgery for each field of the header.
///
/// Any change of the opened unlock slot is `Denied`: the slot no longer matches its key. A changed
/// vault id is `Denied` too, because every unlock slot is bound to it. The MAC detects every other
/// change: `Corrupt`.
const FORGERIES: [Forgery; 16] = [
    forgery("vault id", VAULT_ID + 3, Denied),
    forgery("file id", FILE_ID + 3, Corrupt),
    forgery("generation", GENERATION, Corrupt),
    forgery("generation, high", GENERATION + 7, Corrupt),
    forgery("own id", slot(0), Denied),
    forgery("own time", slot(0) + CREATED, Denied),
    forgery("own salt", slot(0) + SALT, Denied),
    forgery("own commitment", slot(0) + COMMITMENT, Denied),
    forgery("own nonce", slot(0) + NONCE, Denied),
    forgery("own wrapped key", slot(0) + WRAPPED, Denied),
    forgery("own tag", slot(0) + SLOT - 1, Denied),
    forgery("other id", slot(1), Corrupt),
    forgery("other costs", slot(1) + MEMORY, Corrupt),
    forgery("other wrapped key", slot(1) + WRAPPED, Corrupt),
    forgery("key ring", RING + 100, Corrupt),
    forgery("MAC", MAC, Corrupt),
];

/// Asserts that opening a forged header fails and writes nothing.
fn assert_refused(
    scene: &Scene,
    name: &str,
    secret: Secret,
    expected: ErrorKind,
    change: impl Fn(&mut [u8]),
) {
    let good = scene.state();
    let bad = forged(&good, change);
    assert!(bad != good, "{name}: the forgery changes nothing");
    scene.set_state(bad);
    let outcome = scene.unchanged(|| scene.open(secret));
    let error = assert_error(outcome.map_err(|e| e.with_detail(name)), expected, "");
    assert_eq!(error.kind(), expected, "{name}");
    scene.set_state(&good);
}

#[test]
fn forged_header_is_refused_and_nothing_is_written() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    for Forgery { name, at, expected } in FORGERIES {
        assert_refused(&scene, name, FIRST, expected, |header| header[at] ^= 1);
    }
    let cipher = |header: &mut [u8]| header[CIPHER] = 3 - header[CIPHER];
    assert_refused(&scene, "other cipher", FIRST, Corrupt, cipher);
    let one_less = |header: &mut [u8]| header[SLOTS] -= 1;
    assert_refused(&scene, "one slot less", FIRST, Corrupt, one_less);
    let one_more = |header: &mut [u8]| {
        header.copy_within(slot(1)..slot(2), slot(2));
        header[SLOTS] += 1;
    };
    assert_refused(&scene, "one slot twice", FIRST, Corrupt, one_more);
    let swapped = |header: &mut [u8]| {
        let first = header[slot(0)..slot(1)].to_vec();
        header.copy_within(slot(1)..slot(2), slot(0));
        header[slot(1)..slot(2)].copy_from_slice(&first);
    };
    assert_refused(&scene, "slots swapped", FIRST, Corrupt, swapped);
    assert_refused(&scene, "slots swapped", WORD, Corrupt, swapped);
    let other_backend = |header: &mut [u8]| header[55] ^= 1;
    assert_refused(&scene, "another backend", FIRST, Invalid, other_backend);
    assert_filled(&scene.open(FIRST).unwrap());
}

#[test]
fn bytes_outside_the_fields_are_authenticated() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    let unused = [("after the backend's name", 127), ("an unused slot", slot(5) + SALT)];
    for (name, at) in unused.into_iter().chain([("after the key ring", 4000)]) {
        assert_refused(&scene, name, FIRST, Corrupt, |header| header[at] ^= 1);
    }
}

#[test]
fn restored_slot_of_a_deleted_key_is_corrupt() {
    let scene = Scene::with_vault(&[FIRST, WORD, WORD_TOO]);
    let before = scene.state();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().delete(KeyId(2)).unwrap();
    vault.close().unwrap();
    // Deleting a key does not change the root key, so the old slot still wraps it. But the
    // header's MAC does not cover the old slot.
    let back = |header: &mut [u8]| {
        header[slot(2)..slot(3)].copy_from_slice(&before[slot(1)..slot(2)]);
        header[SLOTS] = 3;
    };
    assert_refused(&scene, "slot restored", WORD, Corrupt, back);
    assert_refused(&scene, "slot restored", FIRST, Corrupt, back);
    assert_error(scene.open(WORD), Denied, "");
}

#[test]
fn different_headers_of_one_generation_are_corrupt() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    let twin = scene.duplicate();
    let [first, second] = [&scene, &twin].map(|scene| {
        let vault = scene.open(FIRST).unwrap();
        vault.keys().rewrap(&WORD).unwrap();
        vault.close().unwrap();
        scene.state()
    });
    let mut mixed = first.clone();
    mixed[HEADER..2 * HEADER].copy_from_slice(&second[HEADER..2 * HEADER]);
    scene.set_state(&mixed);
    let outcome = scene.unchanged(|| scene.open(FIRST));
    assert_error(outcome, Corrupt, "contradict each other");
    scene.set_state(&first);
    assert_filled(&scene.open(WORD).unwrap());
}

#[test]
fn header_of_another_vault_is_corrupt() {
    let scene = Scene::with_vault(&[FIRST]);
    let mut mixed = scene.state();
    mixed[..2 * HEADER].copy_from_slice(&other_state()[..2 * HEADER]);
    scene.set_state(&mixed);
    let outcome = scene.unchanged(|| scene.open(FIRST));
    assert_error(outcome, Corrupt, "");
}

/// Returns the state of another vault that the same key opens.
fn other_state() -> Vec<u8> {
    let scene = Scene::new().duplicate();
    scene.create(FIRST).close().unwrap();
    scene.state()
}

/// Changes one copy of the header and its checksum.
fn forge_one_copy(scene: &Scene, copy: usize, change: impl Fn(&mut [u8])) {
    let mut state = scene.state();
    let header = &mut state[copy * HEADER..(copy + 1) * HEADER];
    change(header);
    sign(header);
    scene.set_state(state);
}

/// A change of one copy of the header.
type Change = (&'static str, fn(&mut [u8]));

const CHANGES: [Change; 5] = [
    ("generation", |header| header[GENERATION] += 5),
    ("last generation", |header| header[GENERATION..GENERATION + 8].fill(0xff)),
    ("file", |header| header[FILE_ID] ^= 1),
    ("no slot", |header| {
        header[SLOTS] = 0;
        header[slot(0)..RING].fill(0);
    }),
    ("other backend", |header| header[55] ^= 1),
];

#[test]
fn one_forged_header_copy_is_repaired_at_open() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    let good = scene.state();
    for (name, change) in CHANGES {
        for copy in [0, 1] {
            for secret in [FIRST, WORD] {
                forge_one_copy(&scene, copy, |header| {
                    header[GENERATION] += 1;
                    change(header);
                });
                assert_error(scene.open(Secret::Key(9)), Denied, "");
                let vault = scene.open(secret).unwrap();
                assert!(vault.recovery().header_repaired, "{name}: {:?}", vault.recovery());
                assert_filled(&vault);
                vault.close().unwrap();
                assert!(scene.state()[..2 * HEADER] == good[..2 * HEADER], "{name}, copy {copy}");
            }
        }
    }
}

#[test]
fn header_copy_forged_in_an_open_vault_is_not_used() {
    for copy in [0, 1] {
        let scene = Scene::with_vault(&[FIRST]);
        let vault = scene.open(FIRST).unwrap();
        forge_one_copy(&scene, copy, |header| {
            header[GENERATION] += 9;
            header[RING] ^= 1;
        });
        let id = vault.keys().add(&NewKey::new(&WORD)).unwrap();
        assert_eq!((id, vault.info().unwrap().key_generation), (KeyId(2), 2));
        vault.close().unwrap();
        for secret in [FIRST, WORD] {
            let vault = scene.open(secret).unwrap();
            assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
            assert_filled(&vault);
        }
    }
}

#[test]
fn deleted_key_does_not_open_the_older_header_copy() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    let before = scene.state();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().delete(KeyId(2)).unwrap();
    vault.close().unwrap();
    let after = scene.state();
    for copy in [0, 1] {
        // A power cut leaves this between the writes of the two copies.
        let mut half = after.clone();
        let range = copy * HEADER..(copy + 1) * HEADER;
        half[range.clone()].copy_from_slice(&before[range]);
        scene.set_state(&half);
        assert_error(scene.unchanged(|| scene.open(WORD)), Denied, "");
        let vault = scene.open(FIRST).unwrap();
        assert_filled(&vault);
        vault.close().unwrap();
        assert!(scene.state()[..2 * HEADER] == after[..2 * HEADER], "copy {copy} is rewritten");
    }
}
