//! State files that are cut off, foreign, newer, or flipped in single bits, and content objects
//! that are. What damage does to the header alone is in `headers.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use strongroom::check::Problem;
use strongroom::{ErrorKind, Result, Vault, VaultOptions};
use strongroom_testkit::{ManualClock, SeededEntropy, TestKey, World};

use crate::support::folder::{copy, unchanged};
use crate::support::random::Random;
use crate::support::records::{
    all, assert_error, assert_whole, check, create, get, long, open, put, put_long,
};

/// Length of a copy of the header.
const HEADER: usize = 4096;
/// Where the copies of the super-header lie.
const SUPERS: [usize; 2] = [2 * HEADER, 3 * HEADER];
/// Where the blocks begin, and how long one is.
const BLOCKS: usize = 4 * HEADER;
const BLOCK: usize = 24 + 4096 + 16;
/// How many bits are flipped, beside those of the fields in the headers.
const FLIPS: u64 = 6_000;
/// Longest that opening and reading a damaged vault may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn fill(vault: &Vault) {
    for i in 0..20 {
        put(vault, &format!("k{i:02}"), long(i, 300));
    }
    put_long(vault, "long", &long(77, 300_000));
}

/// A small vault in `home` that was closed, and one whose process "died" with it open.
fn closed_and_unclosed(home: &Path) -> [PathBuf; 2] {
    let (closed, unclosed) = (home.join("closed"), home.join("unclosed"));
    let vault = create(&closed);
    fill(&vault);
    copy(&closed, &unclosed);
    vault.close().unwrap();
    [closed, unclosed]
}

/// Lengths to cut a state file of `len` bytes to.
fn lengths(len: usize) -> Vec<usize> {
    let within = [0, 1, 7, 12, 100, HEADER - 1];
    let at_supers = SUPERS.into_iter().flat_map(|at| [at, at + 1, at + 512, at + 4095]);
    let at_blocks = (BLOCKS..len).step_by(BLOCK).flat_map(|at| [at, at + 1, at + 2000]);
    within.into_iter().chain(at_supers).chain(at_blocks).filter(|at| *at < len).collect()
}

fn replace_state(vault: &Path, bytes: &[u8]) {
    fs::write(vault.join("state.redb"), bytes).unwrap();
}

/// Opening `vault`, whose state is cut to `len` bytes, is `Corrupt` and leaves it as it is; but
/// for the super-headers of one that was not closed, which redb writes before it looks further.
fn assert_cut_is_refused(vault: &Path, state: &[u8], len: usize, closed: bool) {
    replace_state(vault, &state[..len]);
    let error = open(vault).map(drop).expect_err(&format!("cut to {len} bytes"));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{len} bytes: {error}");
    let left = fs::read(vault.join("state.redb")).unwrap();
    assert_eq!(left.len(), len, "cut to {len} bytes");
    let may_change =
        |at: &usize| !closed && SUPERS.iter().any(|from| (*from..from + 512).contains(at));
    let changed = (0..len).filter(|at| !may_change(at)).find(|&at| left[at] != state[at]);
    assert_eq!(changed, None, "cut to {len} bytes");
}

#[test]
fn a_truncated_state_file_is_corrupt_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    for original in closed_and_unclosed(home.path()) {
        let state = fs::read(original.join("state.redb")).unwrap();
        let vault = home.path().join("cut");
        copy(&original, &vault);
        let lengths = lengths(state.len());
        for &len in &lengths {
            assert_cut_is_refused(&vault, &state, len, original.ends_with("closed"));
        }
        println!("{} lengths refused", lengths.len());
        replace_state(&vault, &state);
        let vault_again = open(&vault).unwrap();
        assert_eq!(get(&vault_again, "k07").unwrap(), long(7, 300));
        assert_whole(&vault_again);
        drop(vault_again);
        fs::remove_dir_all(&vault).unwrap();
    }
}

#[test]
fn a_state_file_that_ends_within_its_second_header_is_corrupt_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let [vault, _] = closed_and_unclosed(home.path());
    let state = fs::read(vault.join("state.redb")).unwrap();
    for len in [HEADER, HEADER + 1, HEADER + 100, HEADER + 2048, 2 * HEADER - 1] {
        assert_cut_is_refused(&vault, &state, len, true);
    }
}

#[test]
fn a_refused_cut_state_that_was_not_closed_opens_once_its_end_is_back() {
    let home = tempfile::tempdir().unwrap();
    let [_, vault] = closed_and_unclosed(home.path());
    let state = fs::read(vault.join("state.redb")).unwrap();
    for len in (BLOCKS..state.len()).step_by(BLOCK) {
        assert_cut_is_refused(&vault, &state, len, false);
        let mut left = fs::read(vault.join("state.redb")).unwrap();
        left.extend_from_slice(&state[len..]);
        replace_state(&vault, &left);
        let vault = open(&vault).unwrap_or_else(|e| panic!("cut to {len} bytes: {e}"));
        assert_eq!(get(&vault, "k07").unwrap(), long(7, 300));
        assert_whole(&vault);
    }
}

#[test]
fn a_foreign_state_file_is_invalid_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    create(&path).close().unwrap();
    for foreign in [&b"PNG, or whatever this is"[..], &vec![0; 100_000], &long(3, 9_000)] {
        replace_state(&path, foreign);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Invalid, "not a Strongroom vault's");
        let outcome = unchanged(&path, || Vault::options(TestKey).create(&path));
        assert_error(outcome, ErrorKind::AlreadyExists, "create vault");
    }
}

#[test]
fn a_damaged_state_file_of_a_folder_without_lock_is_told_without_making_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    fs::create_dir(&path).unwrap();
    replace_state(&path, b"a program of mine keeps a file of that name");
    assert_error(open(&path), ErrorKind::Invalid, "not a Strongroom");
    let names: Vec<_> = fs::read_dir(&path).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn an_open_that_is_refused_does_not_hide_who_died_before() {
    let home = tempfile::tempdir().unwrap();
    let (alive, path) = (home.path().join("alive"), home.path().join("vault"));
    let vault = create(&alive);
    // What a process leaves that dies: its note, and a state that was not closed.
    copy(&alive, &path);
    drop(vault);
    let state = fs::read(path.join("state.redb")).unwrap();
    replace_state(&path, &state[..2 * HEADER]);
    assert_error(open(&path), ErrorKind::Corrupt, "after its header");
    replace_state(&path, &state);
    let vault = open(&path).unwrap();
    let died = vault.recovery().died.as_ref().map(|dead| dead.process.pid);
    assert_eq!(died, Some(std::process::id()));
}

const STATE: &str = "/vault/state.redb";

fn on(world: World) -> VaultOptions {
    Vault::options(TestKey)
        .file_system(world)
        .clock(ManualClock::new())
        .entropy(SeededEntropy::new(5))
}

/// What became of one flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Refused(ErrorKind),
    /// By an error of reading or of the check.
    OnUse(ErrorKind),
    /// By the report of the check.
    ByCheck,
    /// It is in no page that matters, or was repaired.
    Harmless,
    /// The check found nothing, and other data was served.
    Silent,
}

fn use_damaged(world: World, expected: &[(String, Vec<u8>)]) -> Found {
    let vault = match on(world).open("/vault") {
        Ok(vault) => vault,
        Err(error) => return Found::Refused(error.kind()),
    };
    let look = |vault: &Vault| -> Result<(bool, bool)> {
        let report = check(vault)?;
        Ok((report.is_ok(), all(vault)? == expected))
    };
    // Before the check, which may repair: no more than that it does not panic.
    let before = all(&vault).map(|records| records == expected);
    match (before, look(&vault)) {
        (_, Ok((false, _))) => Found::ByCheck,
        (_, Err(error)) | (Err(error), _) => Found::OnUse(error.kind()),
        (Ok(true), Ok((true, true))) => Found::Harmless,
        (Ok(_), Ok((true, _))) => Found::Silent,
    }
}

#[test]
fn a_flipped_bit_never_panics_and_wrong_data_never_passes_the_check() {
    let world = World::new();
    let vault = on(world.clone()).create("/vault").unwrap();
    fill(&vault);
    let expected = all(&vault).unwrap();
    vault.close().unwrap();
    let world = world.same_as_now();
    let state = world.read_file(STATE).unwrap();
    let mut random = Random::new(41);
    let fields = [0, HEADER].into_iter().chain(SUPERS).flat_map(|at| (at..at + 64).step_by(3));
    // Most of a small file is pages that were never used: flips are spent where bytes are.
    let used: Vec<usize> = (0..state.len()).filter(|&at| state[at] != 0).collect();
    let sampled: Vec<usize> = (0..FLIPS)
        .map(|_| used[usize::try_from(random.below(used.len() as u64)).unwrap()])
        .collect();
    let mut found = std::collections::BTreeMap::<String, u64>::new();
    let mut bad = Vec::new();
    for at in fields.chain(sampled) {
        let bit = 1u8 << random.below(8);
        let mut bytes = state.clone();
        bytes[at] ^= bit;
        let damaged = world.same_as_now();
        damaged.write_file(STATE, bytes).unwrap();
        let (sender, receiver) = channel();
        let expected = expected.clone();
        let reader = std::thread::spawn(move || {
            let found = use_damaged(damaged, &expected);
            let _ = sender.send(found);
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(Found::Silent) => bad.push(format!("byte {at} bit {bit:#x}: silent")),
            Ok(fate) => *found.entry(format!("{fate:?}")).or_default() += 1,
            Err(RecvTimeoutError::Disconnected) => {
                let panic = reader.join().expect_err("it ended without an answer");
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                bad.push(format!("byte {at} bit {bit:#x}: panic {said:?}"));
            }
            Err(RecvTimeoutError::Timeout) => bad.push(format!("byte {at} bit {bit:#x}: hangs")),
        }
    }
    println!("flipped bits of {} bytes: {found:?}", state.len());
    assert!(bad.is_empty(), "{} bad: {bad:#?}", bad.len());
}

#[test]
fn a_flipped_bit_of_content_is_found_by_reading_and_by_the_check() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    fill(&vault);
    let object = walk(&path.join("content/objects/content"));
    let good = fs::read(&object).unwrap();
    let mut flipped = good.clone();
    flipped[40_000] ^= 4;
    let cut = &good[..good.len() / 2];
    let told_of_cut = format!("{} bytes", cut.len());
    for (bytes, error, told) in
        [(&flipped[..], "is damaged", "cannot be read"), (cut, "cut short", &told_of_cut)]
    {
        fs::write(&object, bytes).unwrap();
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        assert_error(value.bytes(), ErrorKind::Corrupt, error);
        let report = check(&vault).unwrap();
        assert_eq!(report.records_affected, 1, "{report:?}");
        let tells = |problem: &Problem| problem.to_string().contains(told);
        assert!(report.problems.iter().any(tells), "{report:?}");
    }
    fs::remove_file(&object).unwrap();
    let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
    assert_error(value.bytes(), ErrorKind::Corrupt, "missing");
    assert!(!check(&vault).unwrap().is_ok());
}

/// The only file below `folder`.
fn walk(folder: &Path) -> PathBuf {
    let mut at = folder.to_owned();
    while at.is_dir() {
        let mut entries = fs::read_dir(&at).unwrap();
        at = entries.next().expect("an object").unwrap().path();
    }
    at
}
