//! Long values of records in the content store.
//!
//! They are stored once, readable inside and after their transaction, counted, and freed with the
//! last reference.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use strongroom::artifacts::{ArtifactSpec, Quota};
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::backends::{Backend, Key, Memory};
use strongroom::content::{GcOptions, RebuildOptions};
use strongroom::storage::MemoryState;
use strongroom::{Batch, CancelToken, Error, ErrorKind, LongCall, Staged, Value, Vault, WriteTx};
use strongroom_testkit::{TestKey, memory_vault};

use crate::scene::{ActingSource, collect, name, noise, put, whole};

/// Bytes of values in state, in one pack, and in several packs.
const LENGTHS: [usize; 3] = [100_000, 1_000_000, 40_000_000];

fn staged(vault: &Vault, bytes: &[u8]) -> Staged {
    vault.stage(bytes).unwrap()
}

fn insert(vault: &Vault, key: &str, bytes: &[u8]) {
    let value = staged(vault, bytes);
    vault.write(|tx| tx.insert("values", key, value)).unwrap();
}

fn value(vault: &Vault, key: &str) -> Value {
    vault.read().unwrap().get("values", key).unwrap().unwrap()
}

/// Asserts that reads from the start and from a third are right.
#[track_caller]
fn assert_reads(value: Value, bytes: &[u8]) {
    assert_eq!((value.len(), value.as_inline()), (bytes.len() as u64, None));
    assert!(value.bytes().unwrap() == bytes);
    let mut reader = value.into_reader();
    let at = bytes.len() / 3;
    reader.seek(SeekFrom::Start(at as u64)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == bytes[at..]);
}

/// Returns the number of bytes that the content store uses.
fn stored(vault: &Vault) -> u64 {
    vault.artifacts().usage().unwrap().stored_bytes
}

/// Asserts that gc leaves no content.
#[track_caller]
fn assert_empty(vault: &Vault) {
    collect(vault);
    let report = whole(vault);
    assert_eq!((report.chunks, report.objects, stored(vault)), (0, 0, 0), "{report:?}");
}

#[test]
fn equal_values_and_artifacts_are_stored_once() {
    for len in LENGTHS {
        let vault = memory_vault().unwrap();
        let bytes = noise(len, 1);
        insert(&vault, "a", &bytes);
        let once = stored(&vault);
        assert!(once > len as u64);
        insert(&vault, "b", &bytes);
        let uri = put(&vault.artifacts(), "1", &bytes);
        // Copies that were stored before the match was known are dropped by the commit.
        collect(&vault);
        let more = stored(&vault) - once;
        assert!(more < 1_000, "two more of {len} bytes took {more}");
        assert!(vault.artifacts().read(&uri).unwrap() == bytes);

        vault.write(|tx| tx.delete("values", "a")).unwrap();
        vault.artifacts().delete(&uri).unwrap();
        collect(&vault);
        assert_reads(value(&vault, "b"), &bytes);
        whole(&vault);

        insert(&vault, "b", &noise(len, 2));
        collect(&vault);
        assert_reads(value(&vault, "b"), &noise(len, 2));
        vault.write(|tx| tx.delete_namespace("values")).unwrap();
        assert_empty(&vault);
    }
}

/// Returns all values as read in `tx`, singly and as a range.
fn values_in(tx: &WriteTx<'_>) -> Vec<Value> {
    let one = |n| tx.get("values", format!("{n}")).unwrap().unwrap();
    let range = tx.prefix("values", "").unwrap().map(|record| record.unwrap().into_value());
    (0..LENGTHS.len()).map(one).chain(range).collect()
}

#[test]
fn value_is_read_within_and_after_its_transaction() {
    for commits in [true, false] {
        let vault = memory_vault().unwrap();
        let all: Vec<Vec<u8>> = (5..).zip(LENGTHS).map(|(seed, len)| noise(len, seed)).collect();
        let values: Vec<Staged> = all.iter().map(|bytes| staged(&vault, bytes)).collect();
        let mut read = Vec::new();
        let outcome = vault.write(|tx| {
            for (n, value) in values.into_iter().enumerate() {
                tx.insert("values", format!("{n}"), value)?;
            }
            for (value, bytes) in values_in(tx).into_iter().zip(all.iter().cycle()) {
                assert_reads(value, bytes);
            }
            read = values_in(tx);
            if commits { Ok(()) } else { Err(Error::new(ErrorKind::Conflict, "test")) }
        });
        assert_eq!(outcome.is_ok(), commits);
        // The values that were read keep their chunks.
        vault.write(|tx| tx.delete_namespace("values")).unwrap();
        collect(&vault);
        for (value, bytes) in read.into_iter().zip(all.iter().cycle()) {
            assert_reads(value, bytes);
        }
        assert_empty(&vault);
    }
}

#[test]
fn transaction_replaces_and_removes_its_own_inserts() {
    for len in LENGTHS {
        let vault = memory_vault().unwrap();
        let bytes = noise(len, 9);
        let [first, again, third, fourth] = [(); 4].map(|()| staged(&vault, &bytes));
        vault
            .write(|tx| {
                tx.insert("values", "a", first)?;
                tx.insert("values", "a", again)?;
                tx.insert("values", "b", third)?;
                assert!(tx.delete("values", "a")?);
                assert!(tx.delete("values", "b")?);
                tx.insert("values", "c", fourth)
            })
            .unwrap();
        assert_reads(value(&vault, "c"), &bytes);
        collect(&vault);
        whole(&vault);
        assert_reads(value(&vault, "c"), &bytes);

        // The same bytes again under the same key. The insert releases the old value.
        insert(&vault, "c", &bytes);
        collect(&vault);
        assert_reads(value(&vault, "c"), &bytes);
        let mut batch = Batch::new();
        batch.insert("values", "d", staged(&vault, &bytes)).delete("values", "c");
        vault.apply(batch).unwrap();
        collect(&vault);
        assert_reads(value(&vault, "d"), &bytes);
        vault.write(|tx| tx.delete("values", "d")).unwrap();
        assert_empty(&vault);
    }
}

#[test]
fn staged_value_without_insert_is_freed() {
    let vault = memory_vault().unwrap();
    for len in LENGTHS {
        drop(staged(&vault, &noise(len, 3)));
        // The drop happens inside a write, where nothing else can be written. The next commit
        // records it.
        let unused = staged(&vault, &noise(len, 4));
        let within = vault.write(|_| {
            drop(unused);
            Ok::<_, Error>(())
        });
        within.unwrap();
        let taken = staged(&vault, &noise(len, 5));
        let refused = vault.write(|tx| {
            tx.insert("values", "a", taken)?;
            Err::<(), _>(Error::new(ErrorKind::Conflict, "test"))
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        assert_empty(&vault);
    }
}

#[test]
fn chunks_found_by_staging_are_kept() {
    let vault = memory_vault().unwrap();
    let bytes = noise(3_000_000, 6);
    insert(&vault, "a", &bytes);
    let found = staged(&vault, &bytes);
    vault.write(|tx| tx.delete("values", "a")).unwrap();
    assert!(vault.gc(&GcOptions::new()).unwrap().waiting > 0);
    vault.write(|tx| tx.insert("values", "b", found)).unwrap();
    collect(&vault);
    assert_reads(value(&vault, "b"), &bytes);
    whole(&vault);
}

#[test]
fn value_beyond_quota_is_refused_and_changes_nothing() {
    let vault = memory_vault().unwrap();
    insert(&vault, "a", &noise(100_000, 1));
    let full =
        |outcome: Result<(), Error>| assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Full);
    vault.artifacts().set_quota(Some(Quota::new(20_000_000))).unwrap();
    full(vault.stage(&noise(40_000_000, 2)[..]).map(drop));
    collect(&vault);
    // A staged value has reserved its bytes, so that it can always be inserted, also with others.
    let [one, other] = [3, 4].map(|seed| staged(&vault, &noise(6_000_000, seed)));
    full(vault.stage(&noise(12_000_000, 5)[..]).map(drop));
    let mut batch = Batch::new();
    batch.insert("values", "b", one).insert("values", "c", other);
    vault.apply(batch).unwrap();
    full(vault.stage(&noise(12_000_000, 5)[..]).map(drop));
    full(vault.artifacts().put(ArtifactSpec::new(name("1")), &noise(12_000_000, 5)[..]).map(drop));
    assert_eq!(vault.read().unwrap().count("values").unwrap(), 3);
    collect(&vault);
    assert!(stored(&vault) < 12_200_000);
    whole(&vault);
    vault.artifacts().set_quota(None).unwrap();
    insert(&vault, "d", &noise(12_000_000, 5));
    assert_reads(value(&vault, "d"), &noise(12_000_000, 5));
}

#[test]
fn cancelled_staging_leaves_nothing() {
    let vault = memory_vault().unwrap();
    let bytes = noise(40_000_000, 8);
    let cancel = CancelToken::new();
    let act = |_| cancel.cancel();
    let source = ActingSource { bytes: &bytes, every: 30_000_000, read: 0, act };
    let cancelled = vault.stage_with(source, LongCall::new().cancel(&cancel));
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_empty(&vault);
}

#[test]
fn rebuilt_index_counts_values_and_check_counts_damage() {
    let backend = std::sync::Arc::new(Memory::new());
    let vault = Vault::options(TestKey)
        .create_on(MemoryState::new(), std::sync::Arc::clone(&backend))
        .unwrap();
    let bytes: Vec<_> = (1..=3).map(|seed| noise(1_000_000, seed)).collect();
    for (key, bytes) in ["a", "b", "c"].iter().zip(&bytes) {
        insert(&vault, key, bytes);
    }
    insert(&vault, "again", &bytes[0]);
    // A namespace that is being dropped keeps its values until their rows are deleted.
    let last = staged(&vault, &noise(1_000_000, 4));
    vault
        .write(|tx| {
            (0..2_500_u32).try_for_each(|n| tx.insert("dropped", n.to_be_bytes(), "v"))?;
            tx.insert("dropped", [0xff; 5], last)
        })
        .unwrap();
    vault.write(|tx| tx.delete_namespace("dropped")).unwrap();
    let rebuilt = vault.rebuild_index(&RebuildOptions::new()).unwrap();
    assert_eq!((rebuilt.packs, rebuilt.missing, rebuilt.unreferenced), (4, 0, 0), "{rebuilt:?}");
    whole(&vault);
    collect(&vault);
    for (key, bytes) in ["a", "b", "c", "again"].iter().zip([0, 1, 2, 0].map(|n| &bytes[n])) {
        assert_reads(value(&vault, key), bytes);
    }

    let prefix = "content/";
    let packs: Vec<Key> =
        backend.list(prefix, None, 10).unwrap().into_iter().map(|entry| entry.key).collect();
    backend.delete(&packs[0]).unwrap();
    let report = vault.check(&strongroom::check::CheckOptions::new()).unwrap();
    let read = |key: &&str| value(&vault, key).bytes().is_err();
    let unread = ["a", "b", "c", "again"].iter().filter(|key| read(key)).count() as u64;
    assert_eq!((report.is_ok(), report.records_affected), (false, unread), "{report:?}");
    assert!(unread > 0);
    // An insert of the same bytes restores them for all references.
    vault.rebuild_index(&RebuildOptions::new()).unwrap();
    for bytes in &bytes {
        insert(&vault, "restored", bytes);
    }
    for (key, bytes) in ["a", "b", "c", "again"].iter().zip([0, 1, 2, 0].map(|n| &bytes[n])) {
        assert_reads(value(&vault, key), bytes);
    }
    collect(&vault);
    whole(&vault);
}

#[test]
fn released_content_is_freed_automatically() {
    let vault = memory_vault().unwrap();
    // Eight equal values: gc starts by the full length of the released contents.
    let bytes = noise(40_000_000, 1);
    for key in 0..8 {
        insert(&vault, &format!("{key}"), &bytes);
    }
    let taken = stored(&vault);
    for key in 0..6 {
        vault.write(|tx| tx.delete("values", format!("{key}"))).unwrap();
    }
    assert_eq!(stored(&vault), taken, "other values still need the content");
    vault.write(|tx| tx.delete_namespace("values")).unwrap();
    let clock = SystemClock::new();
    for wait in 0.. {
        if stored(&vault) == 0 {
            break;
        }
        assert!(wait < 6_000, "{} bytes are left after a minute", stored(&vault));
        clock.sleep(Duration::from_millis(10));
    }
    assert_eq!(whole(&vault).chunks, 0);
}

#[test]
fn abandoned_staging_is_freed_after_reopening() {
    for closes in [true, false] {
        let (state, backend) = (MemoryState::new(), Memory::new());
        let options = || Vault::options(TestKey);
        let vault = options().create_on(state.clone(), backend.clone()).unwrap();
        drop(staged(&vault, &noise(40_000_000, 1)));
        if closes {
            vault.close().unwrap();
        } else {
            drop(vault);
        }
        let vault = options().open_on(state, backend).unwrap();
        assert!(!vault.recovery().state_repaired, "{:?}", vault.recovery());
        assert_eq!(vault.gc(&GcOptions::new()).unwrap().uploads_given_up, 1);
        assert_empty(&vault);
    }
}

#[test]
fn known_content_needs_no_room() {
    let vault = memory_vault().unwrap();
    insert(&vault, "a", &noise(100_000, 1));
    vault.artifacts().set_quota(Some(Quota::new(1))).unwrap();
    insert(&vault, "b", &noise(100_000, 1));
    assert_eq!(vault.stage(&noise(100_000, 2)[..]).unwrap_err().kind(), ErrorKind::Full);
    whole(&vault);
}
