//! Several processes on one vault: who gets it, who waits, and what a killed one leaves.
//!
//! - `documents.rs`: documents whose process is killed, and two that update in turn.
//! - `exactly_once.rs`: an import over eight lanes that is killed again and again.
//! - `rotation.rs`: a rotation of keys that is killed again and again.
//! - here: the lock, its holder and its policy.
//!
//! `STRONGROOM_KILL_ROWS` and `STRONGROOM_KILLS` set the size of the import and how often it is
//! killed; the full run is 50000 and 100.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

mod support;

#[path = "processes/documents.rs"]
mod documents;
#[path = "processes/exactly_once.rs"]
mod exactly_once;
#[path = "processes/rotation.rs"]
mod rotation;

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use strongroom::vault::{LockPolicy, LockRefused};
use strongroom::{ErrorKind, Result, Vault, VaultOptions};
use strongroom_testkit::{SeededEntropy, TestKey, World};

use support::clock::{SharedClock, TellingClock};
use support::process::{Worker, role, say, wait_for_go};
use support::records::{assert_error, assert_whole, create, get, put};

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    let Some((role, vault)) = role() else {
        return;
    };
    match role.as_str() {
        "hold" => {
            let vault = Vault::options(TestKey).purpose("nightly import");
            let vault = vault.open(role_vault()).unwrap();
            put(&vault, "held", "1");
            say("held");
            wait_for_go();
            vault.close().unwrap();
        }
        "wait" => {
            let patient = LockPolicy {
                timeout: Duration::from_secs(100),
                tries: 10_000,
                first_pause: Duration::from_millis(20),
                growth: 1.0,
            };
            let options = Vault::options(TestKey).clock(TellingClock::new());
            let vault = options.lock_policy(patient).open(vault).unwrap();
            let died = vault.recovery().died.as_ref();
            say(&format!("died {:?}", died.map(|holder| holder.process.pid)));
            assert_eq!(get(&vault, "held").unwrap(), b"1");
            put(&vault, "taken", "1");
            assert_whole(&vault);
        }
        "document" => documents::act(&vault),
        "take turns" => documents::take_turns(&vault),
        "import" => exactly_once::import(&vault),
        "rotate" => rotation::rotate(&vault),
        "wait for new file" => rotation::wait_for_new_file(&vault),
        other => panic!("no such role: {other}"),
    }
}

fn role_vault() -> std::path::PathBuf {
    role().expect("in a worker").1
}

/// Tries `tries` times in short order.
fn impatient(tries: u32) -> VaultOptions {
    Vault::options(TestKey).lock_policy(LockPolicy {
        timeout: Duration::from_secs(60),
        tries,
        first_pause: Duration::from_millis(10),
        growth: 1.5,
    })
}

#[track_caller]
fn refused(outcome: Result<Vault>) -> LockRefused {
    let error = assert_error(outcome, ErrorKind::Locked, "held by");
    let refused = error.source().and_then(|e| e.downcast_ref());
    Clone::clone(refused.expect("the source is `LockRefused`"))
}

#[track_caller]
fn assert_kept_out(path: &Path, holder: &Worker) {
    let refused = refused(impatient(3).open(path));
    let told = refused.holder.as_ref().expect("the holder's note");
    assert_eq!(told.process.pid, holder.pid());
    assert_eq!(told.operation, "nightly import");
    assert_eq!(refused.attempts, 3);
    let line = refused.to_string();
    assert!(line.contains(&format!("pid {}", holder.pid())), "{line}");
}

/// Waits until the kernel says that the process is stopped.
fn stop(holder: &Worker) {
    holder.signal("STOP");
    let stat = format!("/proc/{}/stat", holder.pid());
    for _ in 0..10_000 {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        if state.starts_with('T') {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the holder does not stop");
}

#[test]
fn a_stopped_holder_keeps_others_out_and_a_killed_one_lets_them_in() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    create(&path).close().unwrap();
    let holder = Worker::start("hold", &path);
    holder.expect("held");
    assert_kept_out(&path, &holder);
    stop(&holder);
    assert_kept_out(&path, &holder);
    let waiter = Worker::start("wait", &path);
    for _ in 0..5 {
        waiter.expect("waiting");
    }
    let dead = holder.pid();
    assert!(holder.kill(), "a stopped process is killed all the same");
    let said = waiter.finish();
    let last = said.iter().find(|line| *line != "waiting");
    assert_eq!(last, Some(&format!("died Some({dead})")));
    let vault = impatient(1).open(&path).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!(get(&vault, "taken").unwrap(), b"1");
}

#[test]
fn a_holder_that_closes_lets_others_in_and_did_not_die() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    create(&path).close().unwrap();
    let holder = Worker::start("hold", &path);
    holder.expect("held");
    let waiter = Worker::start("wait", &path);
    waiter.expect("waiting");
    holder.finish();
    let said = waiter.finish();
    let last = said.iter().find(|line| *line != "waiting");
    assert_eq!(last.map(String::as_str), Some("died None"));
}

/// A held vault in a simulated world, and who tries to open it with `policy`.
fn tried(policy: LockPolicy, seed: u64) -> (LockRefused, Vec<Duration>) {
    let world = World::new();
    let on = |seed| {
        let entropy = SeededEntropy::new(seed);
        let options = Vault::options(TestKey).file_system(world.clone());
        options.entropy(entropy).lock_policy(policy)
    };
    let held = on(0).purpose("backup").create("/vault").unwrap();
    let clock = SharedClock::default();
    let outcome = on(seed).clock(clock.clone()).open("/vault");
    let refused = refused(outcome);
    assert_eq!(refused.holder.as_ref().unwrap().operation, "backup");
    put(&held, "k", "the refusal does not disturb the holder");
    (refused, clock.sleeps())
}

#[test]
fn the_default_policy_tries_five_times_with_growing_pauses() {
    let mut first_pauses = Vec::new();
    for seed in 1..20 {
        let (refused, pauses) = tried(LockPolicy::default(), seed);
        assert_eq!((refused.attempts, pauses.len()), (5, 4));
        assert!(pauses.is_sorted_by(|a, b| a < b), "{pauses:?}");
        for (pause, planned) in pauses.iter().zip([100, 400, 1_600, 6_400]) {
            let planned = Duration::from_millis(planned);
            let off = pause.abs_diff(planned);
            assert!(off <= planned / 4, "{pause:?} for {planned:?}");
        }
        let slept: Duration = pauses.iter().sum();
        // The clock counts whole milliseconds.
        assert!(slept.abs_diff(refused.elapsed) < Duration::from_millis(5));
        assert!(refused.elapsed <= Duration::from_secs(10));
        first_pauses.push(pauses[0]);
    }
    first_pauses.dedup();
    assert!(first_pauses.len() > 5, "jitter: {first_pauses:?}");
}

#[test]
fn the_timeout_ends_the_wait_before_the_tries_do() {
    let policy =
        LockPolicy { timeout: Duration::from_secs(1), tries: 100, ..LockPolicy::default() };
    let (refused, pauses) = tried(policy, 3);
    assert_eq!((refused.attempts, pauses.len()), (4, 3));
    assert_eq!(refused.elapsed.as_millis().abs_diff(1_000) / 5, 0);
    let at_once = LockPolicy { timeout: Duration::ZERO, ..policy };
    let (refused, pauses) = tried(at_once, 3);
    assert_eq!((refused.attempts, pauses.len()), (1, 0));
    let none = LockPolicy { tries: 0, ..policy };
    assert_eq!(tried(none, 3).0.attempts, 1);
}
