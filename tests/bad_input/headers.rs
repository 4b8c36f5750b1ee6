//! State files with damaged header copies or another format's header.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom::backends::Version;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::NumberedKey;

use crate::support::folder::{contents, unchanged};
use crate::support::records::{assert_error, assert_whole, create, get, open, put};

/// Bytes of one copy of the header.
const HEADER: usize = 4096;
/// Offset of the checksum: BLAKE3 of all bytes before it.
const CHECKSUM: usize = HEADER - 32;
/// Range of the format version.
const VERSION: std::ops::Range<usize> = 8..12;

/// Creates a closed vault with one record. Returns its path and the bytes of its state file.
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

/// Returns the state with another version in both copies, and matching checksums.
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

/// Offsets in a header: magic, version, generation, slots, key ring, MAC, checksum, end.
const OFFSETS: [usize; 9] = [0, 8, 44, 52, 130, 2000, 4040, CHECKSUM, HEADER - 1];

#[test]
fn damaged_header_copy_is_rewritten() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    for at in OFFSETS.into_iter().flat_map(|at| [at, HEADER + at]) {
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
fn damaged_header_copy_is_not_rewritten_for_a_wrong_key() {
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
fn two_damaged_header_copies_are_corrupt_with_a_hint() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    for (first, second) in OFFSETS.into_iter().skip(2).zip(OFFSETS.into_iter().rev()) {
        let mut state = good.clone();
        state[first] ^= 0x10;
        state[HEADER + second] ^= 0x10;
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Corrupt, "a copy of the key set is on the backend");
    }
    // The key copy that the error names is still on the backend after the refusals.
    let copies = contents(&path.join("content/objects/keys"));
    assert_eq!(copies.len(), 1, "{:?}", copies.keys());
}

#[test]
fn newer_format_is_invalid_and_named_by_its_number() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    let mut unlike_ours = with_version(&good, 7);
    for at in [CHECKSUM, HEADER + CHECKSUM] {
        // A newer format may have its checksum elsewhere.
        unlike_ours[at] ^= 1;
    }
    for state in [with_version(&good, 7), unlike_ours] {
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Invalid, "format 7");
    }
}

#[test]
fn unsealed_format_0_is_invalid_and_named() {
    let home = tempfile::tempdir().unwrap();
    let (path, good) = closed(home.path());
    let mut first_header_only = with_version(&good, 0);
    // Format 0 had one header, followed by redb's first page.
    first_header_only[HEADER..2 * HEADER].fill(0x5a);
    for state in [with_version(&good, 0), first_header_only] {
        replace_state(&path, &state);
        let outcome = unchanged(&path, || open(&path));
        let error = assert_error(outcome, ErrorKind::Invalid, "format 0");
        assert!(error.to_string().contains("create a new vault"), "{error}");
    }
}
