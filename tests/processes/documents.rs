//! Document updates that are killed, and two processes that alternate updates.
//!
//! Creations of a share space, updates, heals and destructions are killed at random moments.
//! After each kill, every document is whole and has its old or its new text, and the interrupted
//! update can be completed. `STRONGROOM_DOCUMENT_KILLS` sets the number of kills, and
//! `STRONGROOM_DOCUMENT_SECS` the seconds in which two processes alternate. The full run is 200
//! and 60.

use std::path::Path;
use std::time::Duration;

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::documents::{Partition, SecretPartitionKey, SpaceOptions, WriteOptions};
use strongroom::vault::LockPolicy;
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::TestKey;

use crate::support::process::{Worker, WorkerOutput, print_line};
use crate::support::random::Random;
use crate::support::records::assert_whole;

const KILLS_VARIABLE: &str = "STRONGROOM_DOCUMENT_KILLS";
const SECS_VARIABLE: &str = "STRONGROOM_DOCUMENT_SECS";
/// Environment variable of a worker: an action, the key of its partition, and a text.
const ACTION_VARIABLE: &str = "STRONGROOM_DOCUMENT_ACTION";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn password() -> SecretPassword {
    SecretPassword::new("of a document")
}

fn open_vault(path: &Path) -> Vault {
    let patient = LockPolicy {
        timeout: Duration::from_secs(100),
        tries: 100_000,
        first_pause: Duration::from_millis(1),
        growth: 1.0,
    };
    Vault::options(TestKey).cheap_passwords().lock_policy(patient).open(path).unwrap()
}

fn create_vault(path: &Path) -> Vault {
    Vault::options(TestKey).cheap_passwords().create(path).unwrap()
}

fn options() -> SpaceOptions {
    SpaceOptions::default().capacity_bytes(16 << 10)
}

fn open(vault: &Vault, key: &str) -> Partition {
    let key = SecretPartitionKey::parse(key).unwrap();
    vault.documents().space().unwrap().partition(&key, &password()).unwrap()
}

/// Runs one action in a worker that is killed.
pub(crate) fn act(path: &Path) {
    let action = std::env::var(ACTION_VARIABLE).unwrap();
    let mut parts = action.splitn(3, ' ');
    let (act, key, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let vault = open_vault(path);
    print_line("acting");
    match act {
        "create" => drop(vault.documents().create_space(&options()).unwrap()),
        "update" => _ = open(&vault, key).write(text).unwrap(),
        "heal" => _ = open(&vault, key).heal().unwrap(),
        "destroy" => {
            let key = SecretPartitionKey::parse(key).unwrap();
            vault.documents().space().unwrap().destroy_partition(&key).unwrap();
        }
        other => panic!("no such act: {other}"),
    }
    vault.close().unwrap();
    print_line("done");
}

/// Counts up the worker's own document; opens the vault for each step.
pub(crate) fn alternate(path: &Path) {
    let key = std::env::var(ACTION_VARIABLE).unwrap();
    let clock = SystemClock::new();
    let until = Duration::from_secs(setting(SECS_VARIABLE, 3));
    let mut count = 0u64;
    while clock.monotonic() < until {
        let vault = open_vault(path);
        let partition = open(&vault, &key);
        assert_eq!(partition.read().unwrap().text(), count.to_string());
        count += 1;
        partition.write(count.to_string()).unwrap();
        vault.close().unwrap();
    }
    print_line(&count.to_string());
}

fn worker(path: &Path, act: &str, key: &str, text: &str) -> Worker {
    Worker::start_with("document", path, &[(ACTION_VARIABLE, format!("{act} {key} {text}"))])
}

/// Kills a worker at a random moment of `whole`.
///
/// Returns whether its action had ended.
fn kill_within(worker: Worker, whole: Duration, random: &mut Random) -> bool {
    worker.expect("acting");
    let delay = random.below(u64::try_from(whole.as_micros()).unwrap());
    let heard = worker.next_line_within(Duration::from_micros(delay));
    worker.kill();
    heard != WorkerOutput::Silence
}

/// Measures an action that is not killed.
fn timed(worker: Worker) -> Duration {
    let clock = SystemClock::new();
    worker.expect("acting");
    let began = clock.monotonic();
    worker.expect("done");
    clock.monotonic().saturating_sub(began)
}

/// Returns whether a partition exists, and asserts that it is undamaged.
fn exists(vault: &Vault, key: &str) -> bool {
    let key = SecretPartitionKey::parse(key).unwrap();
    match vault.documents().space().unwrap().partition(&key, &password()) {
        Ok(partition) => {
            assert!(!partition.verify().unwrap().any());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            false
        }
    }
}

fn add(vault: &Vault, keep: &[&str]) -> String {
    let keep: Vec<_> = keep.iter().map(|key| SecretPartitionKey::parse(key).unwrap()).collect();
    let keep: Vec<_> = keep.iter().collect();
    let space = vault.documents().space().unwrap();
    space.add_partition(&password(), &keep).unwrap().to_text().to_string()
}

/// Results of kills: the numbers of old and new documents.
#[derive(Debug, Default)]
struct KillCounts {
    old: u32,
    new: u32,
    /// Number of actions that had ended before the kill.
    ended: u32,
}

impl KillCounts {
    fn note(&mut self, new: bool, ended: bool) {
        *(if new { &mut self.new } else { &mut self.old }) += 1;
        self.ended += u32::from(ended);
        assert!(new || !ended, "an ended action took effect");
    }
}

#[test]
fn killed_creation_leaves_no_space_or_a_whole_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("timed");
    create_vault(&path).close().unwrap();
    let whole = timed(worker(&path, "create", "-", "-"));
    let mut random = Random::new(std::process::id().into());
    let mut counts = KillCounts::default();
    for n in 0..setting(KILLS_VARIABLE, 8) / 4 {
        let path = home.path().join(n.to_string());
        create_vault(&path).close().unwrap();
        let ended = kill_within(worker(&path, "create", "-", "-"), whole, &mut random);
        let vault = open_vault(&path);
        assert_whole(&vault);
        let made = vault.documents().space().is_ok();
        counts.note(made, ended);
        if !made {
            vault.documents().create_space(&options()).unwrap();
        }
        let key = add(&vault, &[]);
        assert!(exists(&vault, &key));
        vault.close().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
    println!("killed creations of a space: {counts:?}");
}

#[test]
fn killed_update_heal_or_destruction_leaves_documents_whole() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create_vault(&path);
    vault.documents().create_space(&options()).unwrap();
    let a = add(&vault, &[]);
    let b = add(&vault, &[&a]);
    open(&vault, &b).write("[\"untouched\"]").unwrap();
    vault.close().unwrap();
    let whole = timed(worker(&path, "update", &a, "[0]"));

    let mut random = Random::new(std::process::id().into());
    let (mut updates, mut heals, mut destructions) =
        (KillCounts::default(), KillCounts::default(), KillCounts::default());
    let mut text = "[0]".to_owned();
    for n in 1..=setting(KILLS_VARIABLE, 8) * 3 / 4 {
        let act = ["update", "heal", "update", "destroy"][usize::try_from(n % 4).unwrap()];
        let vault = open_vault(&path);
        let version = open(&vault, &a).read().unwrap().version();
        let c = if act == "destroy" { add(&vault, &[&a, &b]) } else { String::new() };
        vault.close().unwrap();
        let next = format!("[{n}]");
        let key = if act == "destroy" { &c } else { &a };
        let ended = kill_within(worker(&path, act, key, &next), whole, &mut random);

        let vault = open_vault(&path);
        assert_whole(&vault);
        assert_eq!(open(&vault, &b).read().unwrap().text(), "[\"untouched\"]");
        let partition = open(&vault, &a);
        assert!(!partition.verify().unwrap().any());
        let read = partition.read().unwrap();
        match act {
            "update" => {
                let new = read.text() == next;
                assert!(new || read.text() == text, "{}", read.text());
                updates.note(new, ended);
                if !new {
                    complete_update(&partition, &vault, &next);
                }
                text = next;
            }
            "heal" => {
                assert_eq!(read.text(), text);
                heals.note(read.version() != version, ended);
            }
            _ => {
                assert_eq!(read.text(), text);
                let there = exists(&vault, &c);
                destructions.note(!there, ended);
                if there {
                    let key = SecretPartitionKey::parse(&c).unwrap();
                    vault.documents().space().unwrap().destroy_partition(&key).unwrap();
                }
                assert!(!exists(&vault, &c));
            }
        }
        vault.close().unwrap();
    }
    println!("killed updates: {updates:?}, heals: {heals:?}, destructions: {destructions:?}");
}

/// Resumes an interrupted update, or repeats it.
///
/// An update can be resumed if its cells were written before the interruption.
fn complete_update(partition: &Partition, vault: &Vault, text: &str) {
    let resume = WriteOptions::new().resume(true);
    match partition.write_with(text, &resume) {
        Ok(_) => {}
        // The update was interrupted earlier. An unfinished update, if any, is another one.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
            partition.write(text).unwrap();
        }
        Err(e) => panic!("{e}"),
    }
    assert_eq!(vault.documents().space().unwrap().info().unwrap().unfinished, None);
    assert_eq!(partition.read().unwrap().text(), text);
}

#[test]
fn two_alternating_processes_lose_no_update() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create_vault(&path);
    vault.documents().create_space(&options()).unwrap();
    let a = add(&vault, &[]);
    let b = add(&vault, &[&a]);
    for key in [&a, &b] {
        open(&vault, key).write("0").unwrap();
    }
    vault.close().unwrap();
    let workers = [&a, &b]
        .map(|key| Worker::start_with("alternate", &path, &[(ACTION_VARIABLE, key.clone())]));
    let counts = workers.map(|worker| worker.finish().pop().unwrap());
    let vault = open_vault(&path);
    assert_whole(&vault);
    for (key, count) in [&a, &b].into_iter().zip(&counts) {
        let partition = open(&vault, key);
        assert_eq!(partition.read().unwrap().text(), count);
        assert!(!partition.verify().unwrap().any());
    }
    println!("two alternating processes: {} and {} updates, none lost", counts[0], counts[1]);
}

#[test]
fn two_concurrent_threads_lose_no_update() {
    let home = tempfile::tempdir().unwrap();
    let vault = create_vault(&home.path().join("vault"));
    vault.documents().create_space(&options()).unwrap();
    let a = add(&vault, &[]);
    let b = add(&vault, &[&a]);
    let until = Duration::from_secs(setting(SECS_VARIABLE, 3));
    let counts = std::thread::scope(|scope| {
        let threads = [&a, &b].map(|key| {
            let partition = open(&vault, key);
            scope.spawn(move || {
                let clock = SystemClock::new();
                let mut count = 0u64;
                while clock.monotonic() < until {
                    count += 1;
                    partition.write(count.to_string()).unwrap();
                    assert_eq!(partition.read().unwrap().text(), count.to_string());
                }
                count
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    for (key, count) in [&a, &b].into_iter().zip(counts) {
        assert_eq!(open(&vault, key).read().unwrap().text(), count.to_string());
    }
    assert_whole(&vault);
    println!("two threads at once: {} and {} updates, none lost", counts[0], counts[1]);
}
