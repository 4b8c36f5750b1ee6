//! A disk that is full while the vault writes.
//!
//! The error reports the full disk, and committed data stays. With space again the vault is usable.

use std::fs;
use std::path::Path;

use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::TestKey;

use crate::support::mount::Tmpfs;
use crate::support::records::{
    assert_error, assert_whole, create, get, long, open, put, try_put, try_put_long,
};

const DISK_MIB: u32 = 8;
/// Bytes of a file outside the vault. Its removal makes space.
const BALLAST: usize = 2 << 20;
/// More writes than the disk has space for.
const TRIES: u64 = 2_000;

struct SmallDisk {
    disk: Tmpfs,
    vault: Vault,
}

fn small_disk(test: &str) -> Option<SmallDisk> {
    let disk = Tmpfs::mount(test, DISK_MIB)?;
    fs::write(disk.path().join("ballast"), vec![1; BALLAST]).unwrap();
    let vault = create(&disk.path().join("vault"));
    put(&vault, "before", "kept");
    Some(SmallDisk { disk, vault })
}

/// Writes until the disk is full. Returns the number of acknowledged writes, and the error.
fn fill(mut write: impl FnMut(u64) -> Result<()>) -> (u64, Error) {
    for i in 0..TRIES {
        if let Err(error) = write(i) {
            return (i, error);
        }
    }
    panic!("{TRIES} writes did not fill the disk");
}

fn assert_holds(vault: &Vault, written: u64, len: usize) {
    assert_eq!(get(vault, "before").unwrap(), b"kept");
    for i in 0..written {
        let key = format!("k{i}");
        assert!(get(vault, &key).is_some_and(|v| v == long(i, len)), "{key}");
    }
}

fn make_space(path: &Path) {
    fs::remove_file(path.join("ballast")).unwrap();
}

impl SmallDisk {
    fn assert_usable_with_space(self, written: u64, len: usize) {
        let Self { disk, vault } = self;
        assert_holds(&vault, written, len);
        make_space(&disk.path());
        put(&vault, "after", "written");
        assert_whole(&vault);
        assert_holds(&vault, written, len);
        vault.close().unwrap();
        let vault = open(&disk.path().join("vault")).unwrap();
        assert_eq!(get(&vault, "after").unwrap(), b"written");
        assert_holds(&vault, written, len);
        assert_whole(&vault);
    }
}

#[test]
fn rows_on_full_disk_are_refused_and_vault_stays_usable() {
    let Some(small_disk) = small_disk("rows_on_full_disk_are_refused_and_vault_stays_usable")
    else {
        return;
    };
    let (written, error) = fill(|i| try_put(&small_disk.vault, &format!("k{i}"), &long(i, 60_000)));
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(written > 10, "only {written} written: {error}");
    assert!(get(&small_disk.vault, &format!("k{written}")).is_none());
    small_disk.assert_usable_with_space(written, 60_000);
}

#[test]
fn content_on_full_disk_is_refused_and_vault_stays_usable() {
    let Some(small_disk) = small_disk("content_on_full_disk_is_refused_and_vault_stays_usable")
    else {
        return;
    };
    let (written, error) =
        fill(|i| try_put_long(&small_disk.vault, &format!("k{i}"), &long(i, 300_000)));
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(written > 5, "only {written} written: {error}");
    small_disk.assert_usable_with_space(written, 300_000);
}

#[test]
fn vault_on_full_disk_closes_and_opens() {
    let Some(SmallDisk { disk, vault }) = small_disk("vault_on_full_disk_closes_and_opens") else {
        return;
    };
    let (written, _) = fill(|i| try_put(&vault, &format!("k{i}"), &long(i, 60_000)));
    // The close itself may find no space. No acknowledged write depends on it.
    let _ = vault.close();
    make_space(&disk.path());
    let vault = open(&disk.path().join("vault")).unwrap();
    assert_holds(&vault, written, 60_000);
    assert_whole(&vault);
}

#[test]
fn failed_creation_on_full_disk_blocks_no_later_one() {
    let Some(disk) = Tmpfs::mount("failed_creation_on_full_disk_blocks_no_later_one", 1) else {
        return;
    };
    let filled = fs::write(disk.path().join("ballast"), vec![1; 2 << 20]);
    assert!(filled.is_err());
    let path = disk.path().join("vault");
    let outcome = Vault::options(TestKey).create(&path);
    assert_error(outcome, ErrorKind::Full, "");
    let refused = open(&path);
    assert!(refused.is_err());
    make_space(&disk.path());
    let outcome = Vault::options(TestKey).create(&path);
    match outcome {
        Ok(vault) => {
            put(&vault, "k", "v");
            assert_whole(&vault);
        }
        // Even the smallest vault may not fit on 1 MiB.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
    }
}
