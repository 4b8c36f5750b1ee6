//! A disk that is full while the vault writes: the error says so, what was there stays, and
//! once there is space again the vault goes on.

use std::fs;
use std::path::Path;

use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::TestKey;

use crate::support::mount::Tmpfs;
use crate::support::records::{
    assert_error, assert_whole, create, get, long, open, put, try_put, try_put_long,
};

const DISK_MIB: u32 = 8;
/// A file that is not the vault's, whose removal makes space.
const BALLAST: usize = 2 << 20;
/// More writes than the disk has space for.
const TRIES: u64 = 2_000;

struct Crowded {
    disk: Tmpfs,
    vault: Vault,
}

fn crowded(test: &str) -> Option<Crowded> {
    let disk = Tmpfs::mount(test, DISK_MIB)?;
    fs::write(disk.path().join("ballast"), vec![1; BALLAST]).unwrap();
    let vault = create(&disk.path().join("vault"));
    put(&vault, "before", "kept");
    Some(Crowded { disk, vault })
}

/// Writes until the disk is full: how many writes were acknowledged, and the error.
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

impl Crowded {
    fn goes_on(self, written: u64, len: usize) {
        let Self { disk, vault } = self;
        assert_holds(&vault, written, len);
        make_space(&disk.path());
        put(&vault, "after", "goes on");
        assert_whole(&vault);
        assert_holds(&vault, written, len);
        vault.close().unwrap();
        let vault = open(&disk.path().join("vault")).unwrap();
        assert_eq!(get(&vault, "after").unwrap(), b"goes on");
        assert_holds(&vault, written, len);
        assert_whole(&vault);
    }
}

#[test]
fn rows_that_fill_the_disk_are_refused_and_the_vault_goes_on() {
    let Some(crowded) = crowded("rows_that_fill_the_disk") else {
        return;
    };
    let (written, error) = fill(|i| try_put(&crowded.vault, &format!("k{i}"), &long(i, 60_000)));
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(written > 10, "only {written} written: {error}");
    assert!(get(&crowded.vault, &format!("k{written}")).is_none());
    crowded.goes_on(written, 60_000);
}

#[test]
fn content_that_fills_the_disk_is_refused_and_the_vault_goes_on() {
    let Some(crowded) = crowded("content_that_fills_the_disk") else {
        return;
    };
    let (written, error) =
        fill(|i| try_put_long(&crowded.vault, &format!("k{i}"), &long(i, 300_000)));
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(written > 5, "only {written} written: {error}");
    crowded.goes_on(written, 300_000);
}

#[test]
fn a_full_disk_can_be_closed_and_opened() {
    let Some(Crowded { disk, vault }) = crowded("a_full_disk_can_be_closed_and_opened") else {
        return;
    };
    let (written, _) = fill(|i| try_put(&vault, &format!("k{i}"), &long(i, 60_000)));
    // The close itself may find no space; nothing that was acknowledged hangs on it.
    let _ = vault.close();
    make_space(&disk.path());
    let vault = open(&disk.path().join("vault")).unwrap();
    assert_holds(&vault, written, 60_000);
    assert_whole(&vault);
}

#[test]
fn creating_on_a_full_disk_leaves_nothing_that_is_in_the_way_later() {
    let Some(disk) = Tmpfs::mount("creating_on_a_full_disk", 1) else {
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
    let disk_of_8 = Vault::options(TestKey).create(&path);
    match disk_of_8 {
        Ok(vault) => {
            put(&vault, "k", "v");
            assert_whole(&vault);
        }
        // The smallest vault may not fit on 1 MiB.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
    }
}
