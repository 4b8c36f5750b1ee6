//! One process rotates while another process waits for the vault.

use std::path::Path;
use std::time::Duration;

use strongroom::Vault;
use strongroom::keys::NewKey;
use strongroom::vault::LockPolicy;

use crate::scene::{FIRST, Secret, assert_filled, fill};
use crate::support::clock::ReportingClock;
use crate::support::process::{Worker, print_line, wait_for_go};
use crate::support::records::{get, put};

const NEW: Secret = Secret::Key(2);

/// Runs the role of a child process.
pub(crate) fn work(role: &str, path: &Path) {
    match role {
        "rotate" => {
            let vault = Vault::options(FIRST).open(path).unwrap();
            print_line("held");
            wait_for_go();
            vault.keys().rotate(&[NewKey::new(&NEW)]).unwrap();
            put(&vault, "after", "1");
            print_line("rotated");
            // The test kills this process, so the vault is never closed.
            std::thread::park_timeout(Duration::from_secs(100));
        }
        "wait with the new key" => wait(path, NEW),
        "wait with the old key" => wait(path, FIRST),
        other => panic!("no such role: {other}"),
    }
}

fn wait(path: &Path, secret: Secret) {
    let patient = LockPolicy {
        timeout: Duration::from_secs(100),
        tries: 10_000,
        first_pause: Duration::from_millis(20),
        growth: 1.0,
    };
    let options = Vault::options(secret).clock(ReportingClock::new()).lock_policy(patient);
    match options.open(path) {
        Ok(vault) => {
            assert_eq!(get(&vault, "after").unwrap(), b"1");
            assert_filled(&vault);
            print_line("opened");
        }
        Err(e) => print_line(&format!("{:?}", e.kind())),
    }
}

#[test]
fn waiting_process_opens_the_rotated_state_with_a_new_key() {
    for (role, expected) in
        [("wait with the new key", "opened"), ("wait with the old key", "Denied")]
    {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        let vault = Vault::options(FIRST).create(&path).unwrap();
        fill(&vault);
        vault.close().unwrap();

        let mut rotator = Worker::start("rotate", &path);
        rotator.expect("held");
        let waiter = Worker::start(role, &path);
        waiter.expect("waiting");
        rotator.go();
        rotator.expect("rotated");
        assert!(rotator.kill());
        let said = waiter.finish();
        let last = said.iter().find(|line| *line != "waiting");
        assert_eq!(last.map(String::as_str), Some(expected), "{role}");
        assert_filled(&Vault::options(NEW).open(&path).unwrap());
    }
}
