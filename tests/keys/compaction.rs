//! Compaction: returns unused space of the state to the file system.

use std::time::Duration;

use strongroom::content::GcOptions;
use strongroom::{ErrorKind, Vault};

use crate::scene::{FIRST, Scene, assert_filled, fill};
use crate::support::records::{assert_error, get, long, put};

/// Number of rows that make the state grow.
const ROWS: u64 = 1_500;

fn grow_and_shrink(vault: &Vault) {
    fill(vault);
    let grown = vault.write(|tx| {
        (0..ROWS).try_for_each(|i| tx.insert("ballast", i.to_be_bytes(), long(i, 2_000)))
    });
    grown.unwrap();
    vault.write(|tx| tx.delete_namespace("ballast")).unwrap();
    while vault.gc(&GcOptions::new().without_repacking(true)).unwrap().waiting > 0 {}
}

#[test]
fn compaction_frees_space_of_deleted_rows() {
    let scene = Scene::new();
    let vault = scene.create(FIRST);
    grow_and_shrink(&vault);
    let file_before = scene.state().len();
    let report = vault.compact().unwrap();
    assert!(report.bytes_after < report.bytes_before / 2, "{report:?}");
    assert!(scene.state().len() < file_before / 2, "{} of {file_before}", scene.state().len());
    assert_eq!(vault.info().unwrap().state_bytes, report.bytes_after);
    put(&vault, "after", "1");
    assert_filled(&vault);
    vault.close().unwrap();
    let vault = scene.open(FIRST).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!(get(&vault, "after").unwrap(), b"1");
    assert_filled(&vault);
    let again = vault.compact().unwrap();
    assert!(again.bytes_after <= again.bytes_before, "{again:?}");
    assert_filled(&vault);
}

#[test]
fn compaction_with_a_reader_is_locked_after_timeout() {
    let scene = Scene::new();
    let options = scene.options(FIRST).write_timeout(Duration::from_millis(100));
    let vault = options.create("/vault").unwrap();
    grow_and_shrink(&vault);
    let snapshot = vault.read().unwrap();
    let outcome = scene.unchanged(|| vault.compact());
    assert_error(outcome, ErrorKind::Locked, "1 reads did not end within 0.1 s");
    assert_eq!(snapshot.count("n").unwrap(), 21, "the snapshot still reads");
    put(&vault, "after", "1");
    drop(snapshot);
    let report = vault.compact().unwrap();
    assert!(report.bytes_after < report.bytes_before / 2, "{report:?}");
    assert_filled(&vault);
}
