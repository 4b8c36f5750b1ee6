//! Read epochs: a reader keeps all data that it can reach.
//!
//! Whatever is deleted, overwritten or dropped after a reader began, its values are read whole.
//! Their objects are deleted after their last reader has ended.
//!
//! A test may run a step between the two halves of a beginning read: the registration of its read
//! epoch, and its redb read. In the right order a commit and a clean-up in between are harmless. In
//! the wrong order, a planted bug, they delete the reader's content, and the same scenario detects
//! that.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

use std::cell::Cell;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use strongroom::backends::{Backend, Memory};
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Snapshot, Value, Vault};
use strongroom_testkit::{Bug, TestKey, bug, plant};

use support::records::{assert_error, assert_whole, get, long, put, put_long};

/// Bytes of a value in one pack, with nodes above its chunks.
const LEN: usize = 8 << 20;
const OBJECTS: usize = 1;
/// Bytes of another value.
const OTHER_LEN: usize = 300_000;

/// A way in which a value is released.
#[derive(Clone, Copy, Debug)]
enum End {
    Delete,
    OverwriteShort,
    OverwriteLong,
    DropNamespace,
    DeleteInBatch,
}

const ENDS: [End; 5] =
    [End::Delete, End::OverwriteShort, End::OverwriteLong, End::DropNamespace, End::DeleteInBatch];

fn end(vault: &Vault, end: End) {
    match end {
        End::Delete => assert!(vault.write(|tx| tx.delete("n", "k")).unwrap()),
        End::OverwriteShort => put(vault, "k", "short"),
        End::OverwriteLong => put_long(vault, "k", &long(9, OTHER_LEN)),
        End::DropNamespace => assert!(vault.write(|tx| tx.delete_namespace("n")).unwrap()),
        End::DeleteInBatch => {
            let mut batch = strongroom::Batch::new();
            batch.delete("n", "k");
            vault.apply(batch).unwrap();
        }
    }
}

/// Returns the number of objects after the value's end.
///
/// The old value has no reader any more.
fn objects_after(end: End) -> usize {
    usize::from(matches!(end, End::OverwriteLong))
}

struct Scene {
    vault: Vault,
    memory: Memory,
    value: Vec<u8>,
}

fn scene() -> Scene {
    let memory = Memory::new();
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), memory.clone()).unwrap();
    let value = long(1, LEN);
    put_long(&vault, "k", &value);
    put(&vault, "another", "v");
    let scene = Scene { vault, memory, value };
    assert_eq!(scene.objects(), OBJECTS);
    scene
}

impl Scene {
    fn objects(&self) -> usize {
        self.memory.list("content/", None, 1_000).unwrap().len()
    }

    /// Runs gc, and returns whether an object waits for a reader.
    fn is_waiting(&self) -> bool {
        self.vault.gc(&GcOptions::new().without_repacking(true)).unwrap().waiting > 0
    }

    /// Asserts that objects stay for their reader and are deleted then.
    ///
    /// The reader ends in `read`.
    fn assert_kept_until_read(&self, end_kind: End, read: impl FnOnce()) {
        end(&self.vault, end_kind);
        assert!(self.is_waiting(), "{end_kind:?}");
        assert_eq!(self.objects(), OBJECTS + objects_after(end_kind), "{end_kind:?}");
        read();
        assert!(!self.is_waiting(), "{end_kind:?}");
        assert_eq!(self.objects(), objects_after(end_kind), "{end_kind:?}");
        assert_whole(&self.vault);
    }

    fn value(&self) -> Value {
        value(&self.vault.read().unwrap())
    }
}

fn value(snapshot: &Snapshot) -> Value {
    snapshot.get("n", "k").unwrap().unwrap()
}

#[test]
fn snapshot_reads_released_value() {
    for end_kind in ENDS {
        let scene = scene();
        let snapshot = scene.vault.read().unwrap();
        scene.assert_kept_until_read(end_kind, || {
            assert!(value(&snapshot).bytes().unwrap() == scene.value);
            let keys: Vec<_> = snapshot
                .prefix("n", "")
                .unwrap()
                .map(|record| record.unwrap().key().to_vec())
                .collect();
            assert_eq!(keys, [&b"another"[..], b"k"]);
            drop(snapshot);
        });
    }
}

#[test]
fn reader_continues_after_release_without_its_snapshot() {
    for end_kind in ENDS {
        let scene = scene();
        let mut reader = scene.value().into_reader();
        let mut read = vec![0; LEN / 2];
        reader.read_exact(&mut read).unwrap();
        scene.assert_kept_until_read(end_kind, || {
            reader.read_to_end(&mut read).unwrap();
            assert!(read == scene.value, "{end_kind:?}");
            reader.seek(SeekFrom::Start(0)).unwrap();
            let mut again = Vec::new();
            reader.read_to_end(&mut again).unwrap();
            assert!(again == scene.value, "{end_kind:?}");
            drop(reader);
        });
    }
}

#[test]
fn value_alone_keeps_its_objects() {
    for end_kind in ENDS {
        let scene = scene();
        let value = scene.value();
        scene.assert_kept_until_read(end_kind, || {
            assert!(value.bytes().unwrap() == scene.value, "{end_kind:?}");
            drop(value);
        });
    }
}

#[test]
fn record_iterator_keeps_its_objects() {
    let scene = scene();
    let mut records = scene.vault.read().unwrap().prefix("n", "").unwrap();
    assert_eq!(records.next().unwrap().unwrap().key(), b"another");
    scene.assert_kept_until_read(End::DropNamespace, || {
        let record = records.next().unwrap().unwrap();
        assert!(record.value().bytes().unwrap() == scene.value);
        assert!(records.next().is_none());
        drop((record, records));
    });
}

#[test]
fn value_read_in_the_write_that_releases_it_is_kept() {
    let scene = scene();
    let value = scene.vault.write(|tx| {
        let value = tx.get("n", "k")?.unwrap();
        tx.insert("n", "k", "short")?;
        Ok::<_, strongroom::Error>(value)
    });
    let value = value.unwrap();
    assert!(scene.is_waiting());
    assert!(value.bytes().unwrap() == scene.value);
    drop(value);
    assert_eq!((scene.is_waiting(), scene.objects()), (false, 0));
}

#[test]
fn readers_of_different_epochs_read_their_own_values() {
    let scene = scene();
    let old = scene.value();
    end(&scene.vault, End::OverwriteLong);
    let young = scene.value();
    end(&scene.vault, End::Delete);
    assert_eq!((scene.is_waiting(), scene.objects()), (true, OBJECTS + 1));
    assert!(old.bytes().unwrap() == scene.value);
    drop(old);
    // Chunks under a deleted node are deleted once all readers from before that have ended.
    assert!(scene.is_waiting());
    assert!(young.bytes().unwrap() == long(9, OTHER_LEN));
    drop(young);
    assert_eq!((scene.is_waiting(), scene.objects()), (false, 0));
}

/// Returns a snapshot with a step in the middle of its beginning.
///
/// The step is `end_kind` and a gc, between the read epoch and the redb read.
fn read_with_step(end_kind: End) -> (Scene, Snapshot) {
    let scene = scene();
    let (vault, steps) = (scene.vault.clone(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&steps);
    let step = bug::at(Bug::ReadBeforeEpoch, move || {
        count.set(count.get() + 1);
        end(&vault, end_kind);
        vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    });
    let snapshot = scene.vault.read().unwrap();
    drop(step);
    assert_eq!(steps.get(), 1, "the step did not run once");
    (scene, snapshot)
}

#[test]
fn clean_up_between_read_epoch_and_read_is_harmless() {
    for end_kind in ENDS {
        let (scene, snapshot) = read_with_step(end_kind);
        // The read began after the value's end, and sees that end.
        let seen = snapshot.get("n", "k").unwrap();
        let seen = seen.map(|value| value.bytes().unwrap().to_vec());
        let left = match end_kind {
            End::OverwriteShort => Some(b"short".to_vec()),
            End::OverwriteLong => Some(long(9, OTHER_LEN)),
            _ => None,
        };
        assert!(seen == left, "{end_kind:?}");
        drop(snapshot);
        assert_eq!((scene.is_waiting(), scene.objects()), (false, objects_after(end_kind)));
        assert_eq!(get(&scene.vault, "k").is_some(), left.is_some());
    }
}

#[test]
fn read_before_its_epoch_loses_content() {
    let _bug = plant(Bug::ReadBeforeEpoch);
    for end_kind in ENDS {
        let (_scene, snapshot) = read_with_step(end_kind);
        // The read began before the end, so it still has the record, whose content is deleted.
        let torn = value(&snapshot).bytes();
        assert_error(torn, ErrorKind::Corrupt, "has no row");
    }
}
