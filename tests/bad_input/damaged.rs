//! Damaged state files and content objects: truncated, foreign, newer, or with a flipped bit.
//!
//! Damage of the header alone is tested in `headers.rs`.

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

/// Bytes of one copy of the header.
const HEADER: usize = 4096;
/// Offsets of the copies of the super-header.
const SUPERS: [usize; 2] = [2 * HEADER, 3 * HEADER];
/// Offset of the first block.
const BLOCKS: usize = 4 * HEADER;
/// Bytes of one sealed block.
const BLOCK: usize = 24 + 4096 + 16;
/// Number of random flips, besides those in the fields of the headers.
const FLIPS: u64 = 6_000;
/// Longest time for opening and reading a damaged vault.
const OPEN_TIME_MAX: Duration = Duration::from_secs(60);

fn fill(vault: &Vault) {
    for i in 0..20 {
        put(vault, &format!("k{i:02}"), long(i, 300));
    }
    put_long(vault, "long", &long(77, 300_000));
}

/// Creates a small closed vault, and one left by a killed process.
fn closed_and_unclosed(home: &Path) -> [PathBuf; 2] {
    let (closed, unclosed) = (home.join("closed"), home.join("unclosed"));
    let vault = create(&closed);
    fill(&vault);
    copy(&closed, &unclosed);
    vault.close().unwrap();
    [closed, unclosed]
}

/// Returns the truncated lengths of a state file of `len` bytes.
fn lengths(len: usize) -> Vec<usize> {
    let within = [0, 1, 7, 12, 100, HEADER - 1];
    let at_supers = SUPERS.into_iter().flat_map(|at| [at, at + 1, at + 512, at + 4095]);
    let at_blocks = (BLOCKS..len).step_by(BLOCK).flat_map(|at| [at, at + 1, at + 2000]);
    within.into_iter().chain(at_supers).chain(at_blocks).filter(|at| *at < len).collect()
}

fn replace_state(vault: &Path, bytes: &[u8]) {
    fs::write(vault.join("state.redb"), bytes).unwrap();
}

/// Asserts that a state file cut to `len` bytes is refused unchanged.
///
/// The error is `Corrupt`. The super-headers of an unclosed state may change, because redb writes
/// them before it reads on.
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
fn truncated_state_file_is_corrupt_and_unchanged() {
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
fn state_file_cut_in_second_header_is_corrupt_and_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let [vault, _] = closed_and_unclosed(home.path());
    let state = fs::read(vault.join("state.redb")).unwrap();
    for len in [HEADER, HEADER + 1, HEADER + 100, HEADER + 2048, 2 * HEADER - 1] {
        assert_cut_is_refused(&vault, &state, len, true);
    }
}

#[test]
fn truncated_unclosed_state_opens_once_its_end_is_restored() {
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
fn foreign_state_file_is_invalid_and_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    create(&path).close().unwrap();
    for foreign in [&b"PNG, or some other format"[..], &vec![0; 100_000], &long(3, 9_000)] {
        replace_state(&path, foreign);
        let outcome = unchanged(&path, || open(&path));
        assert_error(outcome, ErrorKind::Invalid, "not a Strongroom vault's");
        let outcome = unchanged(&path, || Vault::options(TestKey).create(&path));
        assert_error(outcome, ErrorKind::AlreadyExists, "create vault");
    }
}

#[test]
fn foreign_state_file_is_invalid_without_creating_a_lock() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    fs::create_dir(&path).unwrap();
    replace_state(&path, b"a file of another program");
    assert_error(open(&path), ErrorKind::Invalid, "not a Strongroom");
    let names: Vec<_> = fs::read_dir(&path).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn refused_open_keeps_the_record_of_the_dead_process() {
    let home = tempfile::tempdir().unwrap();
    let (alive, path) = (home.path().join("alive"), home.path().join("vault"));
    let vault = create(&alive);
    // A process that dies leaves its note and a state that was not closed.
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

/// The outcome of one flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlipOutcome {
    Refused(ErrorKind),
    /// Detected by an error of reading or of the check.
    OnUse(ErrorKind),
    /// Detected by the report of the check.
    ByCheck,
    /// The bit is in an unused page, or the page was repaired.
    Harmless,
    /// Not detected by the check, while other data was returned.
    Silent,
}

fn use_damaged(world: World, expected: &[(String, Vec<u8>)]) -> FlipOutcome {
    let vault = match on(world).open("/vault") {
        Ok(vault) => vault,
        Err(error) => return FlipOutcome::Refused(error.kind()),
    };
    let check_and_read = |vault: &Vault| -> Result<(bool, bool)> {
        let report = check(vault)?;
        Ok((report.is_ok(), all(vault)? == expected))
    };
    // Read before the check, because the check may repair. This read may fail but must not panic.
    let before = all(&vault).map(|records| records == expected);
    match (before, check_and_read(&vault)) {
        (_, Ok((false, _))) => FlipOutcome::ByCheck,
        (_, Err(error)) | (Err(error), _) => FlipOutcome::OnUse(error.kind()),
        (Ok(true), Ok((true, true))) => FlipOutcome::Harmless,
        (Ok(_), Ok((true, _))) => FlipOutcome::Silent,
    }
}

#[test]
fn flipped_bit_never_panics_and_never_passes_the_check() {
    let world = World::new();
    let vault = on(world.clone()).create("/vault").unwrap();
    fill(&vault);
    let expected = all(&vault).unwrap();
    vault.close().unwrap();
    let world = world.same_as_now();
    let state = world.read_file(STATE).unwrap();
    let mut random = Random::new(41);
    let fields = [0, HEADER].into_iter().chain(SUPERS).flat_map(|at| (at..at + 64).step_by(3));
    // A small file consists mostly of unused pages, so only bytes in use are flipped.
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
        match receiver.recv_timeout(OPEN_TIME_MAX) {
            Ok(FlipOutcome::Silent) => bad.push(format!("byte {at} bit {bit:#x}: silent")),
            Ok(fate) => *found.entry(format!("{fate:?}")).or_default() += 1,
            Err(RecvTimeoutError::Disconnected) => {
                let panic = reader.join().expect_err("the reader ended without a result");
                let message = panic.downcast_ref::<String>().cloned();
                let message =
                    message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                bad.push(format!("byte {at} bit {bit:#x}: panic {message:?}"));
            }
            Err(RecvTimeoutError::Timeout) => bad.push(format!("byte {at} bit {bit:#x}: hangs")),
        }
    }
    println!("flipped bits of {} bytes: {found:?}", state.len());
    assert!(bad.is_empty(), "{} bad: {bad:#?}", bad.len());
}

#[test]
fn flipped_bit_of_content_is_found_by_read_and_check() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    fill(&vault);
    let object = only_file_below(&path.join("content/objects/content"));
    let good = fs::read(&object).unwrap();
    let mut flipped = good.clone();
    flipped[40_000] ^= 4;
    let cut = &good[..good.len() / 2];
    let cut_problem = format!("{} bytes", cut.len());
    for (bytes, error, problem) in
        [(&flipped[..], "is damaged", "cannot be read"), (cut, "cut short", &cut_problem)]
    {
        fs::write(&object, bytes).unwrap();
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        assert_error(value.bytes(), ErrorKind::Corrupt, error);
        let report = check(&vault).unwrap();
        assert_eq!(report.records_affected, 1, "{report:?}");
        let is_reported = |found: &Problem| found.to_string().contains(problem);
        assert!(report.problems.iter().any(is_reported), "{report:?}");
    }
    fs::remove_file(&object).unwrap();
    let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
    assert_error(value.bytes(), ErrorKind::Corrupt, "missing");
    assert!(!check(&vault).unwrap().is_ok());
}

/// Returns the only file below `folder`.
fn only_file_below(folder: &Path) -> PathBuf {
    let mut at = folder.to_owned();
    while at.is_dir() {
        let mut entries = fs::read_dir(&at).unwrap();
        at = entries.next().expect("an object").unwrap().path();
    }
    at
}
