//! Headers forged by an attacker without a key.
//!
//! Their checksums are valid. They are refused, and nothing is written.

use strongroom::ErrorKind::{self, Corrupt, Denied, Invalid};
use strongroom::keys::KeyId;

use crate::forge::{
    CIPHER, COMMITMENT, CREATED, FILE_ID, GENERATION, HEADER, MAC, MEMORY, NONCE, RING, SALT, SLOT,
    SLOTS, VAULT_ID, WRAPPED, forged, slot,
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
