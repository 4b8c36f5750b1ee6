//! Readers and clean-up after a failure of the storage.
//!
//! Readers that were open during the failure may continue for a grace period, and writes wait for
//! them. Interrupted work is completed.

use std::time::Duration;

use strongroom::{ErrorKind, Result, Snapshot, Vault, WriteTx};
use strongroom_testkit::{Fault, SeededEntropy, TestKey, World};

use crate::EIO;
use crate::support::clock::SharedClock;
use crate::support::records::{assert_error, assert_whole, get, long, put, put_long, try_put};

const RECORDS: u64 = 200;
/// Just short of the readers' grace period.
const ALMOST: Duration = Duration::from_secs(29);
/// The rest of the grace period, and a little more.
const REST: Duration = Duration::from_secs(2);

struct Scene {
    world: World,
    clock: SharedClock,
    vault: Vault,
}

fn key(i: u64) -> String {
    format!("k{i:03}")
}

fn value(i: u64) -> Vec<u8> {
    long(i, 2_000)
}

/// Creates a vault whose cache is smaller than its records.
fn scene() -> Scene {
    let (world, clock) = (World::new(), SharedClock::default());
    let vault = Vault::options(TestKey)
        .file_system(world.clone())
        .clock(clock.clone())
        .entropy(SeededEntropy::new(1))
        .cache_bytes(16 << 10)
        .create("/vault")
        .unwrap();
    vault.write(|tx| (0..RECORDS).try_for_each(|i| tx.insert("n", key(i), value(i)))).unwrap();
    put_long(&vault, "long", &long(7, 70_000));
    Scene { world, clock, vault }
}

impl Scene {
    /// Makes a write fail.
    fn fail_a_write(&self) {
        self.world.fail_from(1, Fault::before(EIO));
        let error = try_put(&self.vault, "lost", b"1").unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Uncertain), "{error}");
        self.world.clear_faults();
    }

    /// Asserts that a write waits for the readers.
    fn assert_write_waits(&self) {
        let outcome = try_put(&self.vault, "early", b"1");
        assert_error(outcome, ErrorKind::Unavailable, "reads, at most 30 s");
    }
}

/// Returns the number of records that a snapshot still reads.
///
/// All other reads must return an error of kind `refused`.
fn count_readable(snapshot: &Snapshot, refused: ErrorKind) -> usize {
    let serves = |i: &u64| match snapshot.get("n", key(*i)) {
        Ok(found) => {
            assert_eq!(found.unwrap().bytes().unwrap(), value(*i));
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), refused, "{error}");
            false
        }
    };
    (0..RECORDS).filter(serves).count()
}

#[test]
fn live_reader_continues_after_failure_and_writes_wait() {
    let scene = scene();
    let snapshot = scene.vault.read().unwrap();
    let kept = snapshot.get("n", "long").unwrap().unwrap();
    scene.fail_a_write();
    scene.assert_write_waits();
    let readable = count_readable(&snapshot, ErrorKind::Unavailable);
    println!("{readable} of {RECORDS} records were read after the failure");
    // The locations of the value's chunks are unknown until the state is open again.
    assert_error(kept.bytes(), ErrorKind::Unavailable, "read state");
    scene.clock.advance(ALMOST);
    scene.assert_write_waits();
    // The reader ends within the grace period, and the next write succeeds.
    drop((snapshot, kept));
    put(&scene.vault, "after", "1");
    assert_eq!(get(&scene.vault, "lost"), None);
    assert_whole(&scene.vault);
}

#[test]
fn reader_beyond_grace_period_is_closed_and_writes_continue() {
    let scene = scene();
    let snapshot = scene.vault.read().unwrap();
    let kept = snapshot.get("n", "long").unwrap().unwrap();
    scene.fail_a_write();
    scene.assert_write_waits();
    scene.clock.advance(ALMOST);
    scene.assert_write_waits();
    scene.clock.advance(REST);
    put(&scene.vault, "after", "1");
    // The new instance overwrites pages that the old instance's reader used.
    for i in 0..RECORDS {
        put(&scene.vault, &key(i), "new");
    }
    assert_eq!(
        count_readable(&snapshot, ErrorKind::Closed),
        0,
        "a closed snapshot reads from its cache"
    );
    drop(snapshot);
    // The read epoch of the value still keeps its content.
    scene.vault.write(|tx| tx.delete("n", "long")).unwrap();
    assert!(kept.bytes().unwrap() == long(7, 70_000));
    drop(kept);
    assert_whole(&scene.vault);
}

#[test]
fn failed_vault_without_readers_recovers_at_next_call() {
    let scene = scene();
    scene.fail_a_write();
    assert_eq!(get(&scene.vault, "k007").unwrap(), value(7));
    scene.fail_a_write();
    put(&scene.vault, "after", "1");
    assert_eq!(get(&scene.vault, "lost"), None);
    assert_whole(&scene.vault);
}

#[test]
fn vault_on_broken_storage_is_unavailable_until_repaired() {
    let scene = scene();
    scene.world.fail_from(1, Fault::before(EIO));
    for _ in 0..3 {
        assert!(try_put(&scene.vault, "lost", b"1").is_err());
    }
    let outcome = try_put(&scene.vault, "lost", b"1");
    assert_error(outcome, ErrorKind::Unavailable, "");
    assert_error(scene.vault.read(), ErrorKind::Unavailable, "");
    assert_error(scene.vault.info(), ErrorKind::Unavailable, "");
    assert_error(scene.vault.operations().begin("x", ["a"]), ErrorKind::Unavailable, "");
    scene.world.clear_faults();
    assert_eq!(get(&scene.vault, "lost"), None);
    put(&scene.vault, "after", "1");
    assert_whole(&scene.vault);
}

/// More records than the commit of a namespace's deletion removes.
const DROPPED: u32 = 1_050;
/// Number of last calls of a commit, from the header's write on.
///
/// They include the calls after the sync.
const LAST_CALLS: u64 = 12;

fn with_other() -> Scene {
    let scene = scene();
    let insert = |tx: &mut WriteTx<'_>, i: u32| tx.insert("other", i.to_be_bytes(), "v");
    scene.vault.write(|tx| (0..DROPPED).try_for_each(|i| insert(tx, i))).unwrap();
    scene
}

fn drop_other(vault: &Vault) -> Result<bool> {
    vault.write(|tx| tx.delete_namespace("other"))
}

#[test]
fn deletion_with_failed_commit_is_completed_by_cleanup() {
    let whole = with_other();
    let before = whole.world.calls();
    drop_other(&whole.vault).unwrap();
    let calls = whole.world.calls() - before;
    let mut happened = 0;
    for nth in calls.saturating_sub(LAST_CALLS).max(1)..=calls {
        let Scene { world, vault, .. } = with_other();
        world.fail_at(nth, Fault::after(EIO));
        let dropped = drop_other(&vault);
        world.clear_faults();
        let left = vault.read().unwrap().count("other").unwrap();
        if let Err(error) = dropped
            && left == 0
        {
            assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
            happened += 1;
            let report = assert_whole(&vault);
            assert_eq!(report.records, RECORDS + 1, "{report:?}");
        }
    }
    assert!(happened > 0, "no deletion happened despite its error");
}
