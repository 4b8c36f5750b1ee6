//! Concurrent creations, and a state file replaced during a wait.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use strongroom::vault::LockPolicy;
use strongroom::{ErrorKind, Result, Vault};
use strongroom_testkit::TestKey;

use crate::support::clock::ReportingClock;
use crate::support::folder::copy;
use crate::support::process::{Worker, print_line, wait_for_go};
use crate::support::records::{assert_whole, create, get, open, put};

const CREATORS: usize = 4;

/// Tries once without waiting.
const AT_ONCE: LockPolicy =
    LockPolicy { timeout: Duration::ZERO, tries: 1, first_pause: Duration::ZERO, growth: 1.0 };

/// Runs the role of a worker process.
pub(crate) fn work(role: &str, vault: &Path) {
    match role {
        "create" => {
            print_line("ready");
            wait_for_go();
            match try_create(vault) {
                Ok(vault) => {
                    put(&vault, "winner", std::process::id().to_string());
                    print_line("won");
                }
                Err(kind) => print_line(&format!("{kind:?}")),
            }
        }
        "hold" => {
            let _vault = open(vault).unwrap();
            print_line("held");
            wait_for_go();
        }
        "wait" => {
            let options = Vault::options(TestKey).clock(ReportingClock::new());
            let vault = options
                .lock_policy(LockPolicy {
                    timeout: Duration::from_secs(60),
                    tries: 1_000,
                    first_pause: Duration::from_millis(20),
                    growth: 1.0,
                })
                .open(vault)
                .unwrap();
            let new = get(&vault, "new").map(|value| String::from_utf8(value).unwrap());
            print_line(&format!("new: {new:?}"));
            assert_whole(&vault);
        }
        other => panic!("no such role: {other}"),
    }
}

fn try_create(path: &Path) -> Result<Vault, ErrorKind> {
    let options = Vault::options(TestKey).lock_policy(AT_ONCE);
    options.create(path).map_err(|error| error.kind())
}

fn assert_refused(kind: ErrorKind) {
    assert!(matches!(kind, ErrorKind::AlreadyExists | ErrorKind::Locked), "{kind:?}");
}

#[test]
fn one_of_several_threads_creates_the_vault() {
    for _ in 0..10 {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        let barrier = Barrier::new(CREATORS);
        let outcomes: Vec<Result<Vault, ErrorKind>> = std::thread::scope(|scope| {
            let create = || {
                barrier.wait();
                try_create(&path)
            };
            let creators: Vec<_> = (0..CREATORS).map(|_| scope.spawn(create)).collect();
            creators.into_iter().map(|creator| creator.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for lost in lost {
            assert_refused(lost.unwrap_err());
        }
        let winner = won.into_iter().next().unwrap().unwrap();
        put(&winner, "k", "v");
        winner.close().unwrap();
        let vault = open(&path).unwrap();
        assert_eq!(get(&vault, "k").unwrap(), b"v");
        assert_whole(&vault);
    }
}

#[test]
fn one_of_several_processes_creates_the_vault() {
    for _ in 0..3 {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        let mut workers: Vec<_> = (0..CREATORS).map(|_| Worker::start("create", &path)).collect();
        for worker in &workers {
            worker.expect("ready");
        }
        workers.iter_mut().for_each(Worker::go);
        let mut winners = Vec::new();
        for worker in workers {
            let pid = worker.pid().to_string();
            match &worker.finish()[..] {
                [won] if won == "won" => winners.push(pid),
                [lost] if lost == "AlreadyExists" || lost == "Locked" => {}
                other => panic!("a creator reported {other:?}"),
            }
        }
        let vault = open(&path).unwrap();
        let kept = String::from_utf8(get(&vault, "winner").unwrap()).unwrap();
        assert_eq!(winners, [kept]);
        assert_whole(&vault);
    }
}

#[test]
fn waiting_process_opens_the_replaced_state_file() {
    for holder_is_killed in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let (path, next) = (home.path().join("vault"), home.path().join("next"));
        let vault = create(&path);
        put(&vault, "old", "1");
        vault.close().unwrap();
        copy(&path, &next);
        let vault = open(&next).unwrap();
        put(&vault, "new", "2");
        vault.close().unwrap();

        let holder = Worker::start("hold", &path);
        holder.expect("held");
        let waiter = Worker::start("wait", &path);
        waiter.expect("waiting");
        fs::rename(next.join("state.redb"), path.join("state.redb")).unwrap();
        if holder_is_killed {
            holder.kill();
        } else {
            holder.finish();
        }
        let lines = waiter.finish();
        let last = lines.iter().find(|line| *line != "waiting");
        assert_eq!(last.map(String::as_str), Some("new: Some(\"2\")"));
    }
}
