//! A process that forks while it has a vault open.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use fork::{Fork, fork, waitpid};
use strongroom::artifacts::{ArtifactName, ArtifactSpec};
use strongroom::{Batch, ErrorKind, Reason, Result, Vault};
use strongroom_testkit::TestKey;

use crate::support::process::{Worker, print_line};
use crate::support::records::{assert_whole, create, get, long, put, put_long, try_put};

/// Describes an outcome that is not `Closed` because of the fork.
fn unexpected<T>(call: &str, outcome: Result<T>) -> Option<String> {
    match outcome {
        Ok(_) => Some(format!("{call} succeeds")),
        Err(e) if e.kind() != ErrorKind::Closed => Some(format!("{call}: {e}")),
        Err(e) if e.reason() != Some(Reason::ForkedProcess) => Some(format!("{call}: {e}")),
        Err(_) => None,
    }
}

/// Uses the inherited vault in the forked child, and returns what is wrong.
fn use_inherited(vault: Vault) -> Vec<String> {
    let mut batch = Batch::new();
    batch.insert("n", "child", "1");
    let spec = ArtifactSpec::new(ArtifactName::new("s", "t", "log").unwrap());
    let handle = vault.clone();
    let found = [
        unexpected("write", try_put(&vault, "child", b"1")),
        unexpected("apply", vault.apply(batch)),
        unexpected("read", vault.read()),
        unexpected("stage", vault.stage(&long(3, 70_000)[..])),
        unexpected("put", vault.artifacts().put(spec, &long(3, 300_000)[..])),
        unexpected("begin", vault.operations().begin("child", ["a"])),
        unexpected("delete key", vault.keys().delete(vault.keys().list()[0].id)),
        unexpected("compact", vault.compact()),
        unexpected("close", vault.close()),
    ];
    drop(handle);
    found.into_iter().flatten().collect()
}

/// Runs the role of the process that forks.
pub(crate) fn fork_and_use(vault: &Path) {
    let vault = Vault::options(TestKey).open(vault).unwrap();
    put(&vault, "before", "1");
    put_long(&vault, "long", &long(1, 300_000));
    match fork().unwrap() {
        Fork::Child => {
            let wrong = use_inherited(vault);
            // The end of the process would run the exit handlers of the parent.
            let mut end = Command::new("sh");
            end.args(["-c", r#"printf '%s' "$1" >&2; test -z "$1""#, "sh", &wrong.join("; ")]);
            panic!("{}", end.exec());
        }
        Fork::Parent(child) => {
            let status = waitpid(child).unwrap();
            put(&vault, "after", "1");
            assert!(get(&vault, "long").unwrap() == long(1, 300_000));
            assert_whole(&vault);
            vault.close().unwrap();
            print_line(&format!("child {status}"));
        }
    }
}

#[test]
fn inherited_vault_is_closed_in_a_forked_child() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    create(&path).close().unwrap();
    let worker = Worker::start("fork", &path);
    assert_eq!(worker.finish(), ["child 0"]);
    let vault = Vault::options(TestKey).open(&path).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!(get(&vault, "before").unwrap(), b"1");
    assert_eq!(get(&vault, "after").unwrap(), b"1");
    assert_eq!(get(&vault, "child"), None);
    assert_whole(&vault);
}
