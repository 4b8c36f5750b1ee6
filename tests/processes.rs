//! Several processes on one vault: locking, waiting, and recovery after kills.
//!
//! - `documents.rs`: document updates that are killed, and two processes that alternate.
//! - `exactly_once.rs`: an import over eight lanes that is killed many times.
//! - `fork.rs`: a child that inherits an open vault.
//! - `rotation.rs`: a rotation of keys that is killed many times.
//! - This file: the lock, its holder and its policy.
//!
//! `STRONGROOM_KILL_ROWS` sets the number of rows of the import, `STRONGROOM_KILLS` the number of
//! kills. The full run is 50000 and 100.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

mod support;

#[path = "processes/documents.rs"]
mod documents;
#[path = "processes/exactly_once.rs"]
mod exactly_once;
#[path = "processes/fork.rs"]
mod fork;
#[path = "processes/rotation.rs"]
mod rotation;

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use strongroom::vault::{LockPolicy, LockRefused};
use strongroom::{ErrorKind, Result, Vault, VaultOptions};
use strongroom_testkit::{SeededEntropy, TestKey, World};

use support::clock::{ReportingClock, SharedClock};
use support::process::{Worker, print_line, role, wait_for_go};
use support::records::{assert_error, assert_whole, create, get, put};

/// Runs the role of a child process; passes at once in the test program itself.
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
            print_line("held");
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
            let options = Vault::options(TestKey).clock(ReportingClock::new());
            let vault = options.lock_policy(patient).open(vault).unwrap();
            let died = vault.recovery().died.as_ref();
            print_line(&format!("died {:?}", died.map(|holder| holder.process.pid)));
            assert_eq!(get(&vault, "held").unwrap(), b"1");
            put(&vault, "taken", "1");
            assert_whole(&vault);
        }
        "document" => documents::act(&vault),
        "alternate" => documents::alternate(&vault),
        "fork" => fork::fork_and_use(&vault),
        "import" => exactly_once::import(&vault),
        "rotate" => rotation::rotate(&vault),
        "wait for new file" => rotation::wait_for_new_file(&vault),
        other => panic!("no such role: {other}"),
    }
}

fn role_vault() -> std::path::PathBuf {
    role().expect("in a worker").1
}

/// Returns options that try the lock `tries` times with short pauses.
fn short_policy(tries: u32) -> VaultOptions {
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

/// Asserts that opening is `Locked` and that the error names the holder.
#[track_caller]
fn assert_locked_by(path: &Path, holder: &Worker) {
    let refused = refused(short_policy(3).open(path));
    let note = refused.holder.as_ref().expect("the holder's note");
    assert_eq!(note.process.pid, holder.pid());
    assert_eq!(note.operation, "nightly import");
    assert_eq!(refused.attempts, 3);
    let line = refused.to_string();
    assert!(line.contains(&format!("pid {}", holder.pid())), "{line}");
}

/// Stops a process and waits until the kernel reports it as stopped.
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
fn stopped_holder_keeps_the_lock_and_a_killed_one_loses_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    create(&path).close().unwrap();
    let holder = Worker::start("hold", &path);
    holder.expect("held");
    assert_locked_by(&path, &holder);
    stop(&holder);
    assert_locked_by(&path, &holder);
    let waiter = Worker::start("wait", &path);
    for _ in 0..5 {
        waiter.expect("waiting");
    }
    let dead = holder.pid();
    assert!(holder.kill(), "SIGKILL ends a stopped process too");
    let said = waiter.finish();
    let last = said.iter().find(|line| *line != "waiting");
    assert_eq!(last, Some(&format!("died Some({dead})")));
    let vault = short_policy(1).open(&path).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!(get(&vault, "taken").unwrap(), b"1");
}

#[test]
fn waiter_opens_after_the_holder_closes() {
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

/// Opens a locked vault with `policy`; returns the refusal and pauses.
fn open_locked(policy: LockPolicy, seed: u64) -> (LockRefused, Vec<Duration>) {
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
    put(&held, "k", "the holder still writes after the refusal");
    (refused, clock.sleeps())
}

#[test]
fn default_policy_tries_five_times_with_growing_pauses() {
    let mut first_pauses = Vec::new();
    for seed in 1..20 {
        let (refused, pauses) = open_locked(LockPolicy::default(), seed);
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
fn timeout_ends_the_wait_before_the_last_try() {
    let policy =
        LockPolicy { timeout: Duration::from_secs(1), tries: 100, ..LockPolicy::default() };
    let (refused, pauses) = open_locked(policy, 3);
    assert_eq!((refused.attempts, pauses.len()), (4, 3));
    assert_eq!(refused.elapsed.as_millis().abs_diff(1_000) / 5, 0);
    let at_once = LockPolicy { timeout: Duration::ZERO, ..policy };
    let (refused, pauses) = open_locked(at_once, 3);
    assert_eq!((refused.attempts, pauses.len()), (1, 0));
    let none = LockPolicy { tries: 0, ..policy };
    assert_eq!(open_locked(none, 3).0.attempts, 1);
}
