//! A rotation that is killed many times, and a waiting process.
//!
//! After each kill exactly one key opens the vault, the old or the new one, and every record
//! exists. `STRONGROOM_ROTATE_MB` sets the size of the state in MB, and `STRONGROOM_KILLS` the
//! number of kills. The full run is 100 and 50.

use std::path::Path;
use std::time::Duration;

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::keys::NewKey;
use strongroom::vault::LockPolicy;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::NumberedKey;

use crate::support::process::{Worker, WorkerOutput, print_line};
use crate::support::random::Random;
use crate::support::records::{assert_whole, long};

const MEGABYTES_VARIABLE: &str = "STRONGROOM_ROTATE_MB";
const KILLS_VARIABLE: &str = "STRONGROOM_KILLS";
/// Environment variable of a worker: the numbers of its old and its new key.
const KEYS_VARIABLE: &str = "STRONGROOM_ROTATE_KEYS";

/// Length of a record's value, in bytes.
const VALUE_BYTES: usize = 8_000;
/// Length of a value that is stored on the backend, in bytes.
const STAGED_BYTES: usize = 200_000;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn keys() -> (NumberedKey, NumberedKey) {
    let keys = std::env::var(KEYS_VARIABLE).unwrap();
    let (old, new) = keys.split_once(' ').unwrap();
    (NumberedKey(old.parse().unwrap()), NumberedKey(new.parse().unwrap()))
}

/// Rotates in a worker that is killed.
pub(crate) fn rotate(path: &Path) {
    let (old, new) = keys();
    let vault = Vault::options(old).open(path).unwrap();
    print_line("rotating");
    vault.keys().rotate(&[NewKey::new(&new)]).unwrap();
    vault.close().unwrap();
    print_line("rotated");
}

/// Waits for the vault, and opens it with the new key.
pub(crate) fn wait_for_new_file(path: &Path) {
    let (_, new) = keys();
    let patient = LockPolicy {
        timeout: Duration::from_secs(100),
        tries: 10_000,
        first_pause: Duration::from_millis(5),
        growth: 1.0,
    };
    print_line("waiting");
    let vault = Vault::options(new).lock_policy(patient).open(path).unwrap();
    vault.write(|tx| tx.insert("after", "k", "v")).unwrap();
    vault.close().unwrap();
    print_line("opened");
}

fn worker(role: &str, path: &Path, old: u8, new: u8) -> Worker {
    Worker::start_with(role, path, &[(KEYS_VARIABLE, format!("{old} {new}"))])
}

fn fill(path: &Path, key: u8, records: u32) {
    let vault = Vault::options(NumberedKey(key)).create(path).unwrap();
    for numbers in (0..records).collect::<Vec<_>>().chunks(1_000) {
        vault
            .write(|tx| {
                for number in numbers {
                    tx.insert("n", number.to_be_bytes(), long(u64::from(*number), VALUE_BYTES))?;
                }
                Ok::<_, strongroom::Error>(())
            })
            .unwrap();
    }
    let staged = vault.stage(&long(1, STAGED_BYTES)[..]).unwrap();
    vault.write(|tx| tx.insert("staged", "k", staged)).unwrap();
    vault.close().unwrap();
}

/// Opens with the old or the new key, and returns that key.
///
/// Asserts that the other key is `Denied`.
fn open_with_either(path: &Path, old: u8, new: u8) -> (Vault, u8) {
    let open = |key| Vault::options(NumberedKey(key)).open(path);
    match open(old) {
        Ok(vault) => {
            assert_eq!(vault.keys().find(&NumberedKey(new)).unwrap_err().kind(), ErrorKind::Denied);
            (vault, old)
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Denied, "{e}");
            (open(new).unwrap(), new)
        }
    }
}

fn assert_all_records(vault: &Vault, records: u32) {
    let snapshot = vault.read().unwrap();
    assert_eq!(snapshot.count("n").unwrap(), u64::from(records));
    for (number, record) in (0..records).zip(snapshot.prefix("n", "").unwrap()) {
        let record = record.unwrap();
        assert_eq!(record.key(), number.to_be_bytes());
        let value = record.value().as_inline().unwrap();
        assert!(value == long(u64::from(number), VALUE_BYTES), "record {number}");
    }
    let staged = snapshot.get("staged", "k").unwrap().unwrap().bytes().unwrap();
    assert!(staged == long(1, STAGED_BYTES));
}

#[test]
fn killed_rotation_leaves_the_old_or_the_new_state() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let megabytes = setting(MEGABYTES_VARIABLE, 4);
    let records = megabytes * 1_000_000 / u32::try_from(VALUE_BYTES).unwrap();
    fill(&path, 1, records);

    // Measures a rotation that is not killed.
    let clock = SystemClock::new();
    let began = clock.monotonic();
    assert_eq!(worker("rotate", &path, 1, 2).finish().last().map(String::as_str), Some("rotated"));
    let whole = clock.monotonic().saturating_sub(began);

    let mut random = Random::new(u64::from(std::process::id()));
    let (mut current, mut old, mut new, mut ended) = (2u8, 0, 0, 0);
    for _ in 0..setting(KILLS_VARIABLE, 10) {
        let next = current.wrapping_add(1);
        let rotating = worker("rotate", &path, current, next);
        rotating.expect("rotating");
        let delay = random.below(u64::try_from(whole.as_micros()).unwrap());
        let heard = rotating.next_line_within(Duration::from_micros(delay));
        rotating.kill();
        ended += u32::from(heard != WorkerOutput::Silence);
        let (vault, opened_with) = open_with_either(&path, current, next);
        assert_all_records(&vault, records);
        *(if opened_with == current { &mut old } else { &mut new }) += 1;
        current = opened_with;
        vault.close().unwrap();
        assert!(!path.join("state.redb.new").exists());
    }
    // The last rotation is not killed. Afterwards only the new key opens the vault.
    let next = current.wrapping_add(1);
    worker("rotate", &path, current, next).finish();
    for key in (0..=255).filter(|key| *key != next) {
        let refused = Vault::options(NumberedKey(key)).open(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
    }
    let vault = Vault::options(NumberedKey(next)).open(&path).unwrap();
    assert_all_records(&vault, records);
    assert_whole(&vault);
    println!(
        "rotation of {} bytes killed {} times: {old} old, {new} new of which {ended} had ended",
        vault.info().unwrap().state_bytes,
        old + new
    );
}

#[test]
fn process_waiting_for_a_rotation_opens_the_new_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    fill(&path, 1, 300);
    let rotating = worker("rotate", &path, 1, 2);
    rotating.expect("rotating");
    let waiting = worker("wait for new file", &path, 1, 2);
    waiting.expect("waiting");
    rotating.expect("rotated");
    waiting.expect("opened");
    let vault = Vault::options(NumberedKey(2)).open(&path).unwrap();
    assert_all_records(&vault, 300);
    assert_eq!(vault.read().unwrap().count("after").unwrap(), 1);
}
