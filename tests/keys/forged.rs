//! Headers that were changed by somebody who can make a checksum, and has no key: refused, and
//! nothing is written.

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

/// Changes one place of a header.
struct Forgery {
    name: &'static str,
    at: usize,
    /// How opening with the key of slot 0 ends.
    expected: ErrorKind,
}

const fn forgery(name: &'static str, at: usize, expected: ErrorKind) -> Forgery {
    Forgery { name, at, expected }
}

/// Of the slot that is opened nothing can be changed unseen (`Denied`: it is no slot of this key
/// any more); of all else, whatever it is, the MAC tells.
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

/// Opening with a header that `change` forged, which changes nothing.
fn assert_refused(
    scene: &Scene,
    name: &str,
    secret: Secret,
    expected: ErrorKind,
    change: impl Fn(&mut [u8]),
) {
    let good = scene.state();
    let bad = forged(&good, change);
    assert!(bad != good, "{name} is no forgery");
    scene.set_state(bad);
    let outcome = scene.unchanged(|| scene.open(secret));
    let error = assert_error(outcome.map_err(|e| e.with_detail(name)), expected, "");
    assert_eq!(error.kind(), expected, "{name}");
    scene.set_state(&good);
}

#[test]
fn a_forged_header_is_refused_and_nothing_is_written() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    for Forgery { name, at, expected } in FORGERIES {
        assert_refused(&scene, name, FIRST, expected, |header| header[at] ^= 1);
    }
    let cipher = |header: &mut [u8]| header[CIPHER] = 3 - header[CIPHER];
    assert_refused(&scene, "the other cipher", FIRST, Corrupt, cipher);
    let one_less = |header: &mut [u8]| header[SLOTS] -= 1;
    assert_refused(&scene, "a slot less", FIRST, Corrupt, one_less);
    let one_more = |header: &mut [u8]| {
        header.copy_within(slot(1)..slot(2), slot(2));
        header[SLOTS] += 1;
    };
    assert_refused(&scene, "a slot twice", FIRST, Corrupt, one_more);
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
fn bytes_of_no_field_are_covered_too() {
    let scene = Scene::with_vault(&[FIRST, WORD]);
    let places = [("after the backend's name", 127), ("a slot of nobody", slot(5) + SALT)];
    for (name, at) in places.into_iter().chain([("after the key ring", 4000)]) {
        assert_refused(&scene, name, FIRST, Corrupt, |header| header[at] ^= 1);
    }
}

#[test]
fn a_removed_slot_put_back_is_corrupt() {
    let scene = Scene::with_vault(&[FIRST, WORD, WORD_TOO]);
    let before = scene.state();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().delete(KeyId(2)).unwrap();
    vault.close().unwrap();
    // It still wraps the root key, which a removal leaves; but nobody signed it.
    let back = |header: &mut [u8]| {
        header[slot(2)..slot(3)].copy_from_slice(&before[slot(1)..slot(2)]);
        header[SLOTS] = 3;
    };
    assert_refused(&scene, "put back", WORD, Corrupt, back);
    assert_refused(&scene, "put back", FIRST, Corrupt, back);
    assert_error(scene.open(WORD), Denied, "");
}

#[test]
fn two_headers_of_one_generation_that_differ_are_corrupt() {
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
fn a_header_of_another_vault_opens_nothing() {
    let scene = Scene::with_vault(&[FIRST]);
    let mut mixed = scene.state();
    mixed[..2 * HEADER].copy_from_slice(&other_state()[..2 * HEADER]);
    scene.set_state(&mixed);
    let outcome = scene.unchanged(|| scene.open(FIRST));
    assert_error(outcome, Corrupt, "");
}

/// The state of another vault that the same key opens.
fn other_state() -> Vec<u8> {
    let scene = Scene::new().duplicate();
    scene.create(FIRST).close().unwrap();
    scene.state()
}
