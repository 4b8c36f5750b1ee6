//! The lifetime of an open vault: handles that keep it open, closes during work, failed openings.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

use std::any::Any;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use strongroom::backends::{Backend, Memory};
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::operations::Checkpoint;
use strongroom::storage::MemoryState;
use strongroom::vault::LockPolicy;
use strongroom::{Batch, ErrorKind, Reason, Result, Vault};
use strongroom_testkit::{Fault, FaultError, FaultTiming, TestKey, World, world_options};

use support::records::{
    all, assert_error, assert_whole, create, get, long, open, put, put_long, try_put,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Bytes of a value longer than a row, stored on the backend.
const LONG: usize = 300_000;
/// Most file calls of `create`.
const CREATE_CALLS_MAX: u64 = 500;

/// Opens without waiting for another holder.
fn open_at_once(path: &Path) -> Result<Vault> {
    let policy = LockPolicy { tries: 1, timeout: Duration::ZERO, ..LockPolicy::default() };
    Vault::options(TestKey).lock_policy(policy).open(path)
}

/// A handle or value that a host holds.
type HostHandle = Box<dyn Any>;

/// Asserts that the result of `take` keeps a vault open.
///
/// The vault has a long value, short records and an operation. All other handles are dropped. The
/// vault closes when the result is dropped.
#[track_caller]
fn assert_keeps_open(take: impl FnOnce(&Vault) -> HostHandle) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let vault = create(&path);
    put_long(&vault, "long", &long(1, LONG));
    for i in 0..50 {
        put(&vault, &format!("short {i}"), long(i, 3_000));
    }
    let held = take(&vault);
    drop(vault);
    assert_error(open_at_once(&path), ErrorKind::Locked, "vault");
    drop(held);
    let vault = open_at_once(&path).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_whole(&vault);
}

#[test]
fn value_on_the_backend_keeps_the_vault_open() {
    assert_keeps_open(|vault| {
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        assert!(value.bytes().unwrap() == long(1, LONG));
        Box::new(value)
    });
}

#[test]
fn value_reader_keeps_the_vault_open() {
    assert_keeps_open(|vault| {
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        let mut reader = value.into_reader();
        reader.read_exact(&mut [0; 100]).unwrap();
        Box::new(reader)
    });
}

#[test]
fn record_iterator_keeps_the_vault_open() {
    assert_keeps_open(|vault| {
        let mut records = vault.read().unwrap().prefix("n", "").unwrap();
        records.next().unwrap().unwrap();
        Box::new(records)
    });
}

#[test]
fn snapshot_and_staged_value_keep_the_vault_open() {
    assert_keeps_open(|vault| Box::new(vault.read().unwrap()));
    assert_keeps_open(|vault| Box::new(vault.stage(&b"short"[..]).unwrap()));
}

#[test]
fn operation_lane_and_checkpoint_batch_keep_the_vault_open() {
    assert_keeps_open(|vault| Box::new(vault.operations().begin("op", ["a"]).unwrap()));
    assert_keeps_open(|vault| {
        Box::new(vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap())
    });
    assert_keeps_open(|vault| {
        let lane = vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap();
        let mut batch = Batch::new();
        batch.checkpoint(&lane, Checkpoint::new("1"));
        Box::new(batch)
    });
}

#[test]
fn values_and_records_are_readable_after_the_vault_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let vault = create(&folder.path().join("vault"));
    put_long(&vault, "a", &long(1, LONG));
    (0..50).for_each(|i| put(&vault, &format!("b{i}"), long(i, 3_000)));
    let value = vault.read().unwrap().get("n", "a").unwrap().unwrap();
    let mut records = vault.read().unwrap().prefix("n", "").unwrap();
    records.next().unwrap().unwrap();
    drop(vault);
    assert!(value.bytes().unwrap() == long(1, LONG));
    let rest: Vec<_> = records.map(|record| record.unwrap().key().to_vec()).collect();
    assert_eq!(rest.len(), 50);
}

#[test]
fn snapshot_of_closed_vault_is_closed_with_or_without_cache() {
    let folder = tempfile::tempdir().unwrap();
    let vault = create(&folder.path().join("vault"));
    put(&vault, "k", "v");
    let (cold, warm) = (vault.read().unwrap(), vault.read().unwrap());
    warm.get("n", "k").unwrap().unwrap();
    vault.close().unwrap();
    for snapshot in [cold, warm] {
        assert_error(snapshot.get("n", "k"), ErrorKind::Closed, "");
        assert_error(snapshot.count("n"), ErrorKind::Closed, "");
    }
}

#[test]
fn failed_close_has_its_own_reason_and_loses_no_commit() {
    let mut failed = 0;
    for nth in 1.. {
        let world = World::new();
        let vault = world_options(&world, 1).create("/vault").unwrap();
        put(&vault, "k", "v");
        put_long(&vault, "long", &long(1, LONG));
        world.fail_from(nth, Fault::before(ENOSPC));
        let calls = world.calls();
        let closed = vault.close();
        let ended = world.calls() - calls < nth;
        world.clear_faults();
        if let Err(error) = closed {
            failed += 1;
            assert_eq!(error.reason(), Some(Reason::CloseIncomplete), "call {nth}: {error}");
            assert_error(Err::<(), _>(error), ErrorKind::Full, "every commit is durable");
        }
        let vault = world_options(&world, 2).open("/vault").unwrap();
        assert_eq!(get(&vault, "k").unwrap(), b"v", "call {nth}");
        assert!(get(&vault, "long").unwrap() == long(1, LONG), "call {nth}");
        if ended {
            break;
        }
    }
    assert!(failed > 0, "no close failed");
}

/// A source that closes and reopens its vault in one read.
///
/// That read has the number `at`.
struct ClosingSource {
    world: World,
    vault: Vault,
    at: usize,
    reads: usize,
    other: Option<Vault>,
}

impl Read for &mut ClosingSource {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reads += 1;
        if self.reads == self.at {
            self.vault.clone().close().unwrap();
            self.other = Some(world_options(&self.world, 2).open("/vault").unwrap());
        }
        buffer.fill(self.reads.to_le_bytes()[0]);
        Ok(buffer.len())
    }
}

#[test]
fn close_during_staging_leaves_no_orphan() {
    let mut closes = 0;
    for at in 1.. {
        let world = World::new();
        let vault = world_options(&world, 1).object_bytes(4_096).create("/vault").unwrap();
        let mut source = ClosingSource { world, vault: vault.clone(), at, reads: 0, other: None };
        let staged = vault.stage((&mut source).take(900_000));
        let Some(other) = source.other else {
            assert!(staged.is_ok());
            break;
        };
        closes += 1;
        assert_error(staged, ErrorKind::Closed, "");
        let report = other.check(&CheckOptions::new()).unwrap();
        assert_eq!((&report.unknown[..], report.due), (&[][..], 0), "closed at read {at}");
    }
    assert!(closes > 20, "closed at {closes} reads only");
}

/// Asserts that a close after `work` is clean.
///
/// A gc then leaves no object.
#[track_caller]
fn assert_clean_close(work: impl FnOnce(&Vault)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let vault = create(&path);
    work(&vault);
    vault.close().unwrap();
    let vault = open(&path).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((&report.unknown[..], report.due), (&[][..], 0), "{report:?}");
    vault.gc(&GcOptions::new()).unwrap();
    assert_eq!(assert_whole(&vault).objects, 0);
}

#[test]
fn close_after_dropped_staging_is_clean() {
    assert_clean_close(|vault| drop(vault.stage(&long(1, LONG)[..]).unwrap()));
}

#[test]
fn close_after_snapshot_kept_a_deleted_value_is_clean() {
    assert_clean_close(|vault| {
        put_long(vault, "k", &long(1, LONG));
        let snapshot = vault.read().unwrap();
        vault.write(|tx| tx.delete("n", "k")).unwrap();
        drop(snapshot);
    });
}

#[test]
fn close_with_live_snapshot_leaves_deletion_to_next_open() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    put_long(&vault, "k", &long(1, LONG));
    let snapshot = vault.read().unwrap();
    vault.write(|tx| tx.delete("n", "k")).unwrap();
    vault.close().unwrap();
    let vault = world_options(&world, 2).open("/vault").unwrap();
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().waiting, 0, "a reader is registered");
    assert_eq!(assert_whole(&vault).objects, 0);
    drop(snapshot);
}

#[test]
fn dropped_staging_is_deleted_after_the_next_write() {
    let memory = Memory::new();
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), memory.clone()).unwrap();
    let objects = || memory.list("content/", None, 10).unwrap().len();
    let staged = vault.stage(&long(1, LONG)[..]).unwrap();
    put(&vault, "k", "v");
    assert_eq!(objects(), 1, "a live staged value keeps its object");
    drop(staged);
    put(&vault, "k", "w");
    assert_eq!(objects(), 0);
    assert_whole(&vault);
}

#[test]
fn vault_on_full_disk_opens_and_is_read() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    put(&vault, "k", "v");
    vault.close().unwrap();
    let used = world.tree().iter().filter_map(|(_, len)| *len).sum();
    world.set_capacity(Some(used));
    let vault = world_options(&world, 2).open("/vault").unwrap();
    assert_eq!(get(&vault, "k").unwrap(), b"v");
    let note = world.read_file("/vault/holder").unwrap_or_default();
    assert!(note.is_empty(), "the disk was not full");
    world.set_capacity(None);
    vault.write(|tx| tx.delete("n", "k")).unwrap();
    assert_eq!(all(&vault).unwrap(), []);
}

#[test]
fn failed_creation_is_uncertain_or_repeatable() {
    let timings = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];
    let faults = timings.into_iter().flat_map(|timing| {
        [EIO, ENOSPC].map(|errno| Fault { timing, error: FaultError::Os(errno) })
    });
    let published: usize = faults.map(creations_that_published).sum();
    assert!(published > 0, "no creation failed after its publication");
}

/// Fails each call of a creation in turn.
///
/// Returns the number of creations that returned an error and left a vault.
fn creations_that_published(fault: Fault) -> usize {
    let mut published = 0;
    for nth in 1..CREATE_CALLS_MAX {
        let world = World::new();
        world.fail_at(nth, fault);
        let created = world_options(&world, 1).create("/vault").map(drop);
        let calls = world.calls();
        world.clear_faults();
        match (created, world_options(&world, 2).open("/vault")) {
            (Ok(()), opened) => drop(opened.unwrap()),
            (Err(error), Ok(vault)) => {
                assert_eq!(error.kind(), ErrorKind::Uncertain, "{fault:?} {nth}: {error}");
                assert_whole(&vault);
                published += 1;
            }
            (Err(_), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{fault:?} {nth}: {error}");
                world_options(&world, 3).create("/vault").unwrap();
            }
        }
        if calls < nth {
            return published;
        }
    }
    panic!("creating takes more calls than {CREATE_CALLS_MAX}");
}

#[test]
fn failed_opening_keeps_the_note_of_the_dead_process() {
    const NOTE: &str = r#"{"host":"h","boot_id":"b","pid":7,"process_start":1,"operation":"import","since_unix_millis":2}"#;
    let world = World::new();
    world_options(&world, 1).create("/vault").unwrap().close().unwrap();
    world.write_file("/vault/holder", NOTE).unwrap();
    let state = world.read_file("/vault/state.redb").unwrap();
    world.write_file("/vault/state.redb", &state[..100]).unwrap();
    assert!(world_options(&world, 2).open("/vault").is_err());
    world.write_file("/vault/state.redb", &state).unwrap();
    let vault = world_options(&world, 3).open("/vault").unwrap();
    let died = vault.recovery().died.clone().unwrap();
    assert_eq!((died.process.pid, &died.operation[..]), (7, "import"));
}

#[test]
fn truncated_state_is_refused_and_unchanged() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    (0..50).for_each(|i| put(&vault, &format!("k{i}"), long(i, 3_000)));
    vault.close().unwrap();
    let state = world.read_file("/vault/state.redb").unwrap();
    for len in (0..state.len()).step_by(4_096 + 517) {
        world.write_file("/vault/state.redb", &state[..len]).unwrap();
        let error = world_options(&world, 2).open("/vault").map(drop).unwrap_err();
        let allowed = [ErrorKind::Corrupt, ErrorKind::Invalid, ErrorKind::Unavailable];
        assert!(allowed.contains(&error.kind()), "{len} bytes: {error}");
        assert!(world.read_file("/vault/state.redb").unwrap() == state[..len], "{len} bytes");
    }
}

#[test]
fn first_pause_is_limited_to_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let _vault = create(&path);
    let timeout = Duration::from_millis(20);
    for (first_pause, growth) in [(Duration::MAX, 4.0), (Duration::from_millis(1), f64::MAX)] {
        let policy = LockPolicy { first_pause, growth, timeout, ..LockPolicy::default() };
        let opened = Vault::options(TestKey).lock_policy(policy).open(&path);
        assert_error(opened, ErrorKind::Locked, "");
    }
}

#[test]
fn pause_growth_below_1_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    for growth in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 0.99] {
        let policy = LockPolicy { growth, ..LockPolicy::default() };
        let options = Vault::options(TestKey).lock_policy(policy);
        assert_error(options.clone().create(&path), ErrorKind::Invalid, "growth of pauses");
        assert!(!path.exists(), "{growth}");
        drop(create(&path));
        assert_error(options.open(&path), ErrorKind::Invalid, "growth of pauses");
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn object_size_outside_4_kib_to_8_mib_is_invalid() {
    let options = |bytes| Vault::options(TestKey).object_bytes(bytes);
    let create_on = |bytes| options(bytes).create_on(MemoryState::new(), Memory::new());
    for bytes in [0, 1, (4 << 10) - 1, (8 << 20) + 1, usize::MAX] {
        assert_error(create_on(bytes), ErrorKind::Invalid, &bytes.to_string());
    }
    for bytes in [4 << 10, 8 << 20] {
        let vault = create_on(bytes).unwrap();
        put_long(&vault, "k", &long(1, LONG));
        assert!(get(&vault, "k").unwrap() == long(1, LONG));
        try_put(&vault, "k", b"short").unwrap();
        assert_whole(&vault);
    }
}
