//! Folders without a vault, other backends, and files that are read-only.

use std::fs;
use std::process::Command;

use strongroom::backends::Memory;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::TestKey;

use crate::support::folder::unchanged;
use crate::support::mount::Tmpfs;
use crate::support::records::{assert_error, assert_whole, create, get, open, put};

#[test]
fn file_instead_of_folder_is_invalid() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "text").unwrap();
    let outcome = unchanged(home.path(), || open(&path));
    assert_error(outcome, ErrorKind::Invalid, "this is a file");
    let outcome = unchanged(home.path(), || Vault::options(TestKey).create(&path));
    assert_error(outcome, ErrorKind::Invalid, "this is a file");
}

#[test]
fn folder_without_a_vault_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    for (name, message) in [("empty", "no vault"), ("absent", "the folder does not exist")] {
        let path = home.path().join(name);
        if name == "empty" {
            fs::create_dir(&path).unwrap();
        }
        let outcome = unchanged(home.path(), || open(&path));
        assert_error(outcome, ErrorKind::NotFound, message);
    }
    let orphan = home.path().join("absent/vault");
    let outcome = unchanged(home.path(), || Vault::options(TestKey).create(orphan));
    assert_error(outcome, ErrorKind::NotFound, "absent/vault");
}

#[test]
fn vault_is_not_created_among_foreign_files() {
    for foreign in ["notes.txt", "content/notes.txt"] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("folder");
        fs::create_dir_all(path.join(foreign).parent().unwrap()).unwrap();
        fs::write(path.join(foreign), "mine").unwrap();
        let outcome = unchanged(home.path(), || Vault::options(TestKey).create(&path));
        assert_error(outcome, ErrorKind::Invalid, "neither empty nor a vault");
    }
}

#[test]
fn vault_is_not_created_over_a_vault() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    put(&vault, "k", "v");
    vault.close().unwrap();
    let outcome = unchanged(&path, || Vault::options(TestKey).create(&path));
    assert_error(outcome, ErrorKind::AlreadyExists, "vault");
    assert_eq!(get(&open(&path).unwrap(), "k").unwrap(), b"v");
}

#[test]
fn vault_opens_only_on_its_kind_of_backend() {
    let home = tempfile::tempdir().unwrap();
    let (on_disk, on_memory) = (home.path().join("disk"), home.path().join("memory"));
    let memory = Memory::new();
    let vault = create(&on_disk);
    put(&vault, "k", "v");
    vault.close().unwrap();
    let options = Vault::options(TestKey).backend(memory.clone());
    let vault = options.create(&on_memory).unwrap();
    put(&vault, "k", "v");
    vault.close().unwrap();

    let options = Vault::options(TestKey).backend(Memory::new());
    let outcome = unchanged(&on_disk, || options.open(&on_disk));
    assert_error(outcome, ErrorKind::Invalid, "is on \"disk\"");
    let outcome = unchanged(&on_memory, || open(&on_memory));
    assert_error(outcome, ErrorKind::Invalid, "is on \"memory\"");

    let options = Vault::options(TestKey).backend(memory);
    for vault in [open(&on_disk).unwrap(), options.open(&on_memory).unwrap()] {
        assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
        assert_eq!(get(&vault, "k").unwrap(), b"v");
    }
}

#[test]
fn read_only_folder_is_denied() {
    let Some(disk) = Tmpfs::mount("read_only_folder_is_denied", 8) else {
        return;
    };
    let path = disk.path().join("vault");
    let vault = create(&path);
    put(&vault, "k", "v");
    assert_read_only_disk_is_denied(&disk, vault, &path);
}

fn assert_read_only_disk_is_denied(disk: &Tmpfs, vault: Vault, path: &std::path::Path) {
    vault.close().unwrap();
    disk.make_read_only();
    let outcome = unchanged(&disk.path(), || open(path));
    assert_error(outcome, ErrorKind::Denied, "vault");
    let new = disk.path().join("new");
    let outcome = unchanged(&disk.path(), || Vault::options(TestKey).create(new));
    assert_error(outcome, ErrorKind::Denied, "create vault");
}

#[test]
fn read_only_state_file_is_denied() {
    let Some(disk) = Tmpfs::mount("read_only_state_file_is_denied", 8) else {
        return;
    };
    let path = disk.path().join("vault");
    let vault = create(&path);
    put(&vault, "k", "v");
    vault.close().unwrap();
    let state = path.join("state.redb");
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount").args(arguments).arg(&state).status();
        done.is_ok_and(|status| status.success())
    };
    let bound = mount(&["--bind", state.to_str().unwrap()]);
    if !(bound && mount(&["-o", "remount,ro,bind"])) {
        println!("\nSKIPPED: read_only_state_file_is_denied: no bind mount here");
        return;
    }
    let outcome = unchanged(&path, || open(&path));
    assert_error(outcome, ErrorKind::Denied, "open state");
    let unmounted = Command::new("umount").arg(&state).status().unwrap();
    assert!(unmounted.success());
    let vault = open(&path).unwrap();
    assert_eq!(get(&vault, "k").unwrap(), b"v");
    assert_whole(&vault);
}
