//! State files with one or both copies of the header damaged, or with the header of another
//! format.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom::backends::Version;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::NumberedKey;

use crate::support::folder::{contents, unchanged};
use crate::support::records::{assert_error, assert_whole, create, get, open, put};

/// Length of a copy of the header.
const HEADER: usize = 4096;
/// Where its checksum begins: BLAKE3 of all before it.
const CHECKSUM: usize = HEADER - 32;
/// Where its version is.
const VERSION: std::ops::Range<usize> = 8..12;

/// A vault with a record, closed, and the bytes of its state.
fn closed(home: &Path) -> (PathBuf, Vec<u8>) {
    let path = home.join("vault");
    let vault = create(&path);
    put(&vault, "k", "v");
    vault.close().unwrap();
    let state = fs::read(path.join("state.redb")).unwrap();
    assert!(state[..HEADER] == state[HEADER..2 * HEADER], "both copies are the same");
    (path, state)
}

fn replace_state(vault: &Path, bytes: &[u8]) {
    fs::write(vault.join("state.redb"), bytes).unwrap();
}

/// Both copies with another version, and the checksum made to match.
fn with_version(state: &[u8], version: u32) -> Vec<u8> {
    let mut state = state.to_vec();
    for header in state[..2 * HEADER].chunks_exact_mut(HEADER) {
        header[VERSION].copy_from_slice(&version.to_le_bytes());
        let checksum = Version::of_content(&header[..CHECKSUM]);
        for (at, digits) in checksum.as_str().as_bytes().chunks_exact(2).enumerate() {
            let digits = std::str::from_utf8(digits).unwrap();
            header[CHECKSUM + at] = u8::from_str_radix(digits, 16).unwrap();
        }
    }
    state
}

/// Places within a header: magic, version, generation, slots, key ring, MAC, checksum, end.
const PLACES: [usize; 9] = [0, 8, 44, 52, 130, 2000, 4040, CHECKSUM, HEADER - 1];

#[test]
fn one_damaged_copy_of_the_header_is_written_anew() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    for at in PLACES.into_iter().flat_map(|at| [at, HEADER + at]) {
        let mut state = good.clone();
        state[at] ^= 0x10;
        replace_state(&path, &state);
        let vault = open(&path).unwrap_or_else(|e| panic!("byte {at}: {e}"));
        let recovery = vault.recovery().clone();
        assert!(recovery.header_repaired && !recovery.was_clean(), "byte {at}: {recovery:?}");
        assert!(!recovery.state_repaired && !recovery.key_set_restored, "{recovery:?}");
        assert_eq!(get(&vault, "k").unwrap(), b"v");
        assert_whole(&vault);
        vault.close().unwrap();
        let repaired = fs::read(path.join("state.redb")).unwrap();
        assert!(repaired[..2 * HEADER] == good[..2 * HEADER], "byte {at}");
        assert!(open(&path).unwrap().recovery().was_clean(), "byte {at}");
    }
}

#[test]
fn a_damaged_copy_of_the_header_is_not_written_for_a_wrong_key() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    for at in [2000, HEADER + 2000] {
        let mut state = good.clone();
        state[at] ^= 0x10;
        replace_state(&path, &state);
        let outcome = unchanged(&path, || Vault::options(NumberedKey(9)).open(&path));
        assert_error(outcome, ErrorKind::Denied, "");
    }
}

#[test]
fn two_damaged_copies_of_the_header_are_corrupt_and_the_third_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    for (first, second) in PLACES.into_iter().skip(2).zip(PLACES.into_iter().rev()) {
        let mut state = good.clone();
        state[first] ^= 0x10;
        state[HEADER + second] ^= 0x10;
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Corrupt, "a copy of the key set lies on the backend");
    }
    // Where it is said to be, it is: nothing was removed by the refusals.
    let copies = contents(&path.join("content/objects/keys"));
    assert_eq!(copies.len(), 1, "{:?}", copies.keys());
}

#[test]
fn a_newer_format_is_invalid_and_told_by_its_number() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    let mut unlike_ours = with_version(&good, 7);
    for at in [CHECKSUM, HEADER + CHECKSUM] {
        // The checksum of a newer format may lie elsewhere.
        unlike_ours[at] ^= 1;
    }
    for state in [with_version(&good, 7), unlike_ours] {
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Invalid, "format 7");
    }
}

#[test]
fn the_unsealed_format_0_is_invalid_and_told() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    let mut first_header_only = with_version(&good, 0);
    // It had one header, then redb's own first page.
    first_header_only[HEADER..2 * HEADER].fill(0x5a);
    for state in [with_version(&good, 0), first_header_only] {
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        let error = assert_error(outcome, ErrorKind::Invalid, "format 0");
        assert!(error.to_string().contains("create it anew"), "{error}");
    }
}
