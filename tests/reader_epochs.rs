//! A reader keeps what it can reach: whatever is deleted, overwritten or dropped after it began,
//! its values read whole, and their objects go once the last reader of them has ended.
//!
//! A step of the test comes between the two halves of a beginning read, its read epoch and its redb read. In
//! the right order a commit and a clean-up in between do no harm; in the wrong order, planted,
//! they tear the reader's content away, and the same scenario shows it.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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

/// A value in one pack, with nodes above its chunks.
const LEN: usize = 8 << 20;
const OBJECTS: usize = 1;
/// Another one.
const OTHER_LEN: usize = 300_000;

/// How a value ends.
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

/// How many objects the end of a value leaves, once nobody reads the old one.
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
    put(&vault, "beside", "v");
    let scene = Scene { vault, memory, value };
    assert_eq!(scene.objects(), OBJECTS);
    scene
}

impl Scene {
    fn objects(&self) -> usize {
        self.memory.list("content/", None, 1_000).unwrap().len()
    }

    /// Cleans up, and tells whether anything waits for a reader.
    fn is_waiting(&self) -> bool {
        self.vault.gc(&GcOptions::new().without_repacking(true)).unwrap().waiting > 0
    }

    /// While the reader lives its objects stay; once it has ended they go.
    fn ends(&self, how: End, read_on: impl FnOnce()) {
        end(&self.vault, how);
        assert!(self.is_waiting(), "{how:?}");
        assert_eq!(self.objects(), OBJECTS + objects_after(how), "{how:?}");
        read_on();
        assert!(!self.is_waiting(), "{how:?}");
        assert_eq!(self.objects(), objects_after(how), "{how:?}");
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
fn a_snapshot_reads_the_whole_value_after_its_end() {
    for how in ENDS {
        let scene = scene();
        let snapshot = scene.vault.read().unwrap();
        scene.ends(how, || {
            assert!(value(&snapshot).bytes().unwrap() == scene.value);
            let keys: Vec<_> = snapshot
                .prefix("n", "")
                .unwrap()
                .map(|record| record.unwrap().key().to_vec())
                .collect();
            assert_eq!(keys, [&b"beside"[..], b"k"]);
            drop(snapshot);
        });
    }
}

#[test]
fn a_reader_half_way_reads_on_after_the_end_and_without_its_snapshot() {
    for how in ENDS {
        let scene = scene();
        let mut reader = scene.value().into_reader();
        let mut read = vec![0; LEN / 2];
        reader.read_exact(&mut read).unwrap();
        scene.ends(how, || {
            reader.read_to_end(&mut read).unwrap();
            assert!(read == scene.value, "{how:?}");
            reader.seek(SeekFrom::Start(0)).unwrap();
            let mut again = Vec::new();
            reader.read_to_end(&mut again).unwrap();
            assert!(again == scene.value, "{how:?}");
            drop(reader);
        });
    }
}

#[test]
fn a_value_alone_keeps_its_objects() {
    for how in ENDS {
        let scene = scene();
        let value = scene.value();
        scene.ends(how, || {
            assert!(value.bytes().unwrap() == scene.value, "{how:?}");
            drop(value);
        });
    }
}

#[test]
fn records_under_way_keep_their_objects() {
    let scene = scene();
    let mut records = scene.vault.read().unwrap().prefix("n", "").unwrap();
    assert_eq!(records.next().unwrap().unwrap().key(), b"beside");
    scene.ends(End::DropNamespace, || {
        let record = records.next().unwrap().unwrap();
        assert!(record.value().bytes().unwrap() == scene.value);
        assert!(records.next().is_none());
        drop((record, records));
    });
}

#[test]
fn a_value_read_within_the_write_that_ends_it_outlives_the_commit() {
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
fn readers_of_different_ages_read_each_what_it_began_with() {
    let scene = scene();
    let old = scene.value();
    end(&scene.vault, End::OverwriteLong);
    let young = scene.value();
    end(&scene.vault, End::Delete);
    assert_eq!((scene.is_waiting(), scene.objects()), (true, OBJECTS + 1));
    assert!(old.bytes().unwrap() == scene.value);
    drop(old);
    // What goes with a node goes once nobody is left who began before that.
    assert!(scene.is_waiting());
    assert!(young.bytes().unwrap() == long(9, OTHER_LEN));
    drop(young);
    assert_eq!((scene.is_waiting(), scene.objects()), (false, 0));
}

/// A scene, and a read of it between whose two halves `how` and a clean-up happened.
fn stepped_into(how: End) -> (Scene, Snapshot) {
    let scene = scene();
    let (vault, steps) = (scene.vault.clone(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&steps);
    let step = bug::at(Bug::ReadBeforeEpoch, move || {
        count.set(count.get() + 1);
        end(&vault, how);
        vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    });
    let snapshot = scene.vault.read().unwrap();
    drop(step);
    assert_eq!(steps.get(), 1, "it was stepped into");
    (scene, snapshot)
}

#[test]
fn a_clean_up_between_the_pin_and_the_read_does_no_harm() {
    for how in ENDS {
        let (scene, snapshot) = stepped_into(how);
        // It began after the end, and sees it.
        let seen = snapshot.get("n", "k").unwrap();
        let seen = seen.map(|value| value.bytes().unwrap().to_vec());
        let left = match how {
            End::OverwriteShort => Some(b"short".to_vec()),
            End::OverwriteLong => Some(long(9, OTHER_LEN)),
            _ => None,
        };
        assert!(seen == left, "{how:?}");
        drop(snapshot);
        assert_eq!((scene.is_waiting(), scene.objects()), (false, objects_after(how)));
        assert_eq!(get(&scene.vault, "k").is_some(), left.is_some());
    }
}

#[test]
fn the_wrong_order_is_caught_by_the_same_scenario() {
    let _bug = plant(Bug::ReadBeforeEpoch);
    for how in ENDS {
        let (_scene, snapshot) = stepped_into(how);
        // It began before the end, so it still sees the record, and its content is gone.
        let torn = value(&snapshot).bytes();
        assert_error(torn, ErrorKind::Corrupt, "has no row");
    }
}
