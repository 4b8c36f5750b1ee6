//! How long a vault is open, and what its end leaves: who keeps it open, a close in the midst of
//! work, and openings that cannot go as they should.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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
use strongroom::{Batch, ErrorKind, Result, Vault};
use strongroom_testkit::{Fault, FaultError, FaultTiming, TestKey, World, world_options};

use support::records::{
    all, assert_error, assert_whole, create, get, long, open, put, put_long, try_put,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Longer than a row: such a value lies on the backend.
const LONG: usize = 300_000;
/// What `create` does at most, in calls of the file system.
const CREATE_CALLS_MAX: u64 = 500;

/// Opens without waiting for another holder.
fn open_at_once(path: &Path) -> Result<Vault> {
    let policy = LockPolicy { tries: 1, timeout: Duration::ZERO, ..LockPolicy::default() };
    Vault::options(TestKey).lock_policy(policy).open(path)
}

/// Something that a host holds of a vault.
type Held = Box<dyn Any>;

/// A vault with a long and short records and an operation; what `take` takes of it keeps it open,
/// whatever else is dropped, until it is dropped itself.
#[track_caller]
fn keeps_open(take: impl FnOnce(&Vault) -> Held) {
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
fn a_value_on_the_backend_keeps_the_vault_open() {
    keeps_open(|vault| {
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        assert!(value.bytes().unwrap() == long(1, LONG));
        Box::new(value)
    });
}

#[test]
fn a_reader_of_a_value_keeps_the_vault_open() {
    keeps_open(|vault| {
        let value = vault.read().unwrap().get("n", "long").unwrap().unwrap();
        let mut reader = value.into_reader();
        reader.read_exact(&mut [0; 100]).unwrap();
        Box::new(reader)
    });
}

#[test]
fn records_under_way_keep_the_vault_open() {
    keeps_open(|vault| {
        let mut records = vault.read().unwrap().prefix("n", "").unwrap();
        records.next().unwrap().unwrap();
        Box::new(records)
    });
}

#[test]
fn a_snapshot_and_a_staging_keep_the_vault_open() {
    keeps_open(|vault| Box::new(vault.read().unwrap()));
    keeps_open(|vault| Box::new(vault.stage(&b"short"[..]).unwrap()));
}

#[test]
fn an_operation_a_lane_and_a_batch_with_a_checkpoint_keep_the_vault_open() {
    keeps_open(|vault| Box::new(vault.operations().begin("op", ["a"]).unwrap()));
    keeps_open(|vault| Box::new(vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap()));
    keeps_open(|vault| {
        let lane = vault.operations().begin("op", ["a"]).unwrap().lane("a").unwrap();
        let mut batch = Batch::new();
        batch.checkpoint(&lane, Checkpoint::new("1"));
        Box::new(batch)
    });
}

#[test]
fn what_is_held_is_readable_after_the_vault_s_own_handle_is_dropped() {
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
fn a_snapshot_of_a_closed_vault_is_closed_also_for_what_it_has_read_before() {
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

/// A source that closes its vault within its `at`th read, and opens another handle of it.
struct Closing {
    world: World,
    vault: Vault,
    at: usize,
    reads: usize,
    other: Option<Vault>,
}

impl Read for &mut Closing {
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
fn a_close_during_a_staging_leaves_no_orphan() {
    let mut struck = 0;
    for at in 1.. {
        let world = World::new();
        let vault = world_options(&world, 1).object_bytes(4_096).create("/vault").unwrap();
        let mut source = Closing { world, vault: vault.clone(), at, reads: 0, other: None };
        let staged = vault.stage((&mut source).take(900_000));
        let Some(other) = source.other else {
            assert!(staged.is_ok());
            break;
        };
        struck += 1;
        assert_error(staged, ErrorKind::Closed, "");
        let report = other.check(&CheckOptions::new()).unwrap();
        assert_eq!((&report.unknown[..], report.due), (&[][..], 0), "closed at read {at}");
    }
    assert!(struck > 20, "closed at {struck} reads only");
}

/// Closes the vault of `work`, and asserts that there was nothing to recover from.
#[track_caller]
fn closes_cleanly(work: impl FnOnce(&Vault)) {
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
fn a_close_after_a_dropped_staging_is_clean() {
    closes_cleanly(|vault| drop(vault.stage(&long(1, LONG)[..]).unwrap()));
}

#[test]
fn a_close_after_a_reader_held_a_removed_value_is_clean() {
    closes_cleanly(|vault| {
        put_long(vault, "k", &long(1, LONG));
        let snapshot = vault.read().unwrap();
        vault.write(|tx| tx.delete("n", "k")).unwrap();
        drop(snapshot);
    });
}

#[test]
fn a_close_while_a_reader_holds_a_removed_value_leaves_it_to_the_next_open() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    put_long(&vault, "k", &long(1, LONG));
    let snapshot = vault.read().unwrap();
    vault.write(|tx| tx.delete("n", "k")).unwrap();
    vault.close().unwrap();
    let vault = world_options(&world, 2).open("/vault").unwrap();
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().waiting, 0, "no reader is left");
    assert_eq!(assert_whole(&vault).objects, 0);
    drop(snapshot);
}

#[test]
fn a_dropped_staging_is_gone_from_the_backend_after_the_next_write() {
    let memory = Memory::new();
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), memory.clone()).unwrap();
    let objects = || memory.list("content/", None, 10).unwrap().len();
    let staged = vault.stage(&long(1, LONG)[..]).unwrap();
    put(&vault, "k", "v");
    assert_eq!(objects(), 1, "while it lives");
    drop(staged);
    put(&vault, "k", "w");
    assert_eq!(objects(), 0);
    assert_whole(&vault);
}

#[test]
fn a_full_disk_opens_and_is_read() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    put(&vault, "k", "v");
    vault.close().unwrap();
    let used = world.tree().iter().filter_map(|(_, len)| *len).sum();
    world.set_capacity(Some(used));
    let vault = world_options(&world, 2).open("/vault").unwrap();
    assert_eq!(get(&vault, "k").unwrap(), b"v");
    let note = world.read_file("/vault/holder").unwrap_or_default();
    assert!(note.is_empty(), "there was room for the note");
    world.set_capacity(None);
    vault.write(|tx| tx.delete("n", "k")).unwrap();
    assert_eq!(all(&vault).unwrap(), []);
}

#[test]
fn a_creation_that_fails_is_uncertain_if_there_is_a_vault_and_else_can_be_repeated() {
    let timings = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];
    let faults = timings.into_iter().flat_map(|timing| {
        [EIO, ENOSPC].map(|errno| Fault { timing, error: FaultError::Os(errno) })
    });
    let published: usize = faults.map(creations_that_published).sum();
    assert!(published > 0, "no fault struck after the publication");
}

/// Strikes each call of a creation in turn; how many left a vault behind and an error.
fn creations_that_published(fault: Fault) -> usize {
    let mut published = 0;
    for nth in 1..CREATE_CALLS_MAX {
        let world = World::new();
        world.fail_at(nth, fault);
        let created = world_options(&world, 1).create("/vault").map(drop);
        let made = world.calls();
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
        if made < nth {
            return published;
        }
    }
    panic!("creating takes more calls than {CREATE_CALLS_MAX}");
}

#[test]
fn an_opening_that_fails_keeps_the_note_of_the_dead() {
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
fn a_state_cut_short_is_refused_and_left_as_it_is() {
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
fn the_longest_first_pause_is_cut_to_the_timeout() {
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
fn a_growth_that_is_no_factor_of_at_least_1_is_invalid() {
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
fn objects_shorter_than_4_kib_or_longer_than_8_mib_are_invalid() {
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
