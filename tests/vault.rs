//! A vault through its public interface: records, transactions, batches, operations.

// Clippy exempts tests, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::operations::{Checkpoint, OperationState};
use strongroom::records::ROW_BYTES_MAX;
use strongroom::{Batch, ErrorKind, Result, Vault};
use strongroom_testkit::{TestKey, memory_vault};

fn put(vault: &Vault, namespace: &str, key: &str, value: impl AsRef<[u8]>) {
    vault.write(|tx| tx.insert(namespace, key, value.as_ref())).unwrap();
}

fn get(vault: &Vault, namespace: &str, key: &str) -> Option<Vec<u8>> {
    let value = vault.read().unwrap().get(namespace, key).unwrap();
    value.map(|value| value.bytes().unwrap().to_vec())
}

fn keys(vault: &Vault, namespace: &str) -> Vec<String> {
    let records = vault.read().unwrap().prefix(namespace, "").unwrap();
    records.map(|r| String::from_utf8(r.unwrap().key().to_vec()).unwrap()).collect()
}

/// Returns bytes that do not compress, so their stored length is full.
fn long(len: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()[0]
    };
    (0..len).map(|_| draw()).collect()
}

#[test]
fn write_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let vault = Vault::options(TestKey).create(&path).unwrap();
    put(&vault, "people", "ada", "1815");
    vault.close().unwrap();
    let vault = Vault::options(TestKey).open(&path).unwrap();
    assert_eq!(get(&vault, "people", "ada").unwrap(), b"1815");
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert!(vault.check(&CheckOptions::new()).unwrap().is_ok());
}

#[test]
fn records_are_ordered_and_namespaces_are_separate() {
    let vault = memory_vault().unwrap();
    for key in ["b", "a", "c", "ab"] {
        put(&vault, "one", key, key);
        put(&vault, "two", key, "2");
    }
    assert_eq!(keys(&vault, "one"), ["a", "ab", "b", "c"]);
    let snapshot = vault.read().unwrap();
    let back: Vec<_> = snapshot
        .range("one", "ab".."c")
        .unwrap()
        .rev()
        .map(|r| r.unwrap().key().to_vec())
        .collect();
    assert_eq!(back, [b"b".to_vec(), b"ab".to_vec()]);
    assert_eq!(snapshot.prefix("one", "a").unwrap().count(), 2);
    assert_eq!(snapshot.count("one").unwrap(), 4);
    assert_eq!(snapshot.count("three").unwrap(), 0);
    let names: Vec<_> = snapshot.namespaces().unwrap().into_iter().map(|n| n.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn error_or_panic_in_a_write_leaves_nothing() {
    let vault = memory_vault().unwrap();
    let refused: Result<()> = vault.write(|tx| {
        tx.insert("people", "ada", "1815")?;
        Err(strongroom::Error::new(ErrorKind::Invalid, "test"))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        vault.write(|tx| -> Result<()> {
            tx.insert("people", "ada", "1815")?;
            panic!("a bug of the host");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(get(&vault, "people", "ada"), None);
    put(&vault, "people", "ada", "1815");
    assert_eq!(keys(&vault, "people"), ["ada"]);
    assert!(vault.check(&CheckOptions::new()).unwrap().is_ok());
}

#[test]
fn long_value_is_staged_and_streamed_back() {
    let vault = memory_vault().unwrap();
    let value = long((8 << 20) * 2 + 77);
    let staged = vault.stage(&value[..]).unwrap();
    vault.write(|tx| tx.insert("files", "big", staged)).unwrap();
    let snapshot = vault.read().unwrap();
    let stored = snapshot.get("files", "big").unwrap().unwrap();
    assert_eq!((stored.len(), stored.as_inline()), (value.len() as u64, None));
    let mut back = Vec::new();
    stored.into_reader().read_to_end(&mut back).unwrap();
    assert!(back == value);
    drop(snapshot);
    assert!(vault.check(&CheckOptions::new()).unwrap().objects > 0);
    vault.write(|tx| tx.delete("files", "big")).unwrap();
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.objects, report.unknown.len()), (0, 0));
    assert!(report.is_ok(), "{report:?}");
}

#[test]
fn row_beyond_limit_is_invalid_with_its_length() {
    let vault = memory_vault().unwrap();
    put(&vault, "rows", "most", vec![7; ROW_BYTES_MAX]);
    let error =
        vault.write(|tx| tx.insert("rows", "more", vec![7; ROW_BYTES_MAX + 1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("65281"), "{error}");
}

#[test]
fn batches_apply_whole_or_not_at_all() {
    let vault = memory_vault().unwrap();
    let mut batch = Batch::new();
    batch.insert("n", "a", "1").insert("n", "b", "2").require_absent("n", "a");
    vault.apply(batch).unwrap();
    let mut batch = Batch::new();
    batch.insert("n", "c", "3").delete("n", "b").require_equal("n", "a", "other");
    assert_eq!(vault.apply(batch).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(keys(&vault, "n"), ["a", "b"]);
}

#[test]
fn lanes_complete_an_operation_and_stale_owner_is_refused() {
    let vault = memory_vault().unwrap();
    let first = vault.operations().begin("import", ["a", "b"]).unwrap();
    let lane = first.lane("a").unwrap();
    assert_eq!(first.lane("a").unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(vault.operations().resume("import").unwrap_err().kind(), ErrorKind::Locked);
    let mut batch = Batch::new();
    batch.insert("rows", "1", "x");
    lane.commit(batch, Checkpoint::new("1").progress(0.5)).unwrap();

    let second = vault.operations().take_over("import").unwrap();
    let mut batch = Batch::new();
    batch.insert("rows", "2", "stale");
    let error = lane.commit(batch, Checkpoint::new("2")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let ignored = vault.write(|tx| {
        tx.insert("rows", "2", "stale")?;
        tx.checkpoint(&lane, Checkpoint::new("2")).ok();
        Ok::<_, strongroom::Error>(())
    });
    assert_eq!(ignored.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(keys(&vault, "rows"), ["1"]);

    for name in ["a", "b"] {
        let lane = second.lane(name).unwrap();
        lane.commit(Batch::new(), Checkpoint::new("end").complete()).unwrap();
    }
    let status = vault.read().unwrap().operation("import").unwrap().unwrap();
    assert_eq!((status.state, status.progress()), (OperationState::Completed, 1.0));
    assert_eq!(status.latest().unwrap().name, "b");
    drop(second);
    assert_eq!(vault.operations().resume("import").unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn dropped_namespace_is_gone_at_once_with_its_content() {
    let vault = memory_vault().unwrap();
    for i in 0..2_500 {
        if i % 500 == 0 {
            let staged = vault.stage(&long(70_000)[..]).unwrap();
            vault.write(|tx| tx.insert("n", format!("s{i}"), staged)).unwrap();
        }
    }
    vault.write(|tx| (0..2_500).try_for_each(|i| tx.insert("n", format!("k{i}"), "v"))).unwrap();
    assert!(vault.write(|tx| tx.delete_namespace("n")).unwrap());
    assert_eq!(keys(&vault, "n"), [""; 0]);
    put(&vault, "n", "new", "value");
    assert_eq!(keys(&vault, "n"), ["new"]);
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.records, report.objects, report.due), (1, 0, 0), "{report:?}");
    assert!(report.is_ok());
}

#[test]
fn write_within_a_write_is_invalid() {
    let vault = memory_vault().unwrap();
    vault
        .write(|_| {
            let nested = vault.write(|_| Ok::<_, strongroom::Error>(()));
            assert_eq!(nested.unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(vault.apply(Batch::new()).unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(vault.stage(&b"x"[..]).unwrap_err().kind(), ErrorKind::Invalid);
            Ok::<_, strongroom::Error>(())
        })
        .unwrap();
}

#[test]
fn calls_of_a_closed_vault_are_closed() {
    let vault = memory_vault().unwrap();
    put(&vault, "n", "k", "v");
    let other = vault.clone();
    let snapshot = vault.read().unwrap();
    vault.close().unwrap();
    assert_eq!(other.read().unwrap_err().kind(), ErrorKind::Closed);
    let write = other.write(|tx| tx.insert("n", "k", "w"));
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Closed);
    drop(snapshot);
}
