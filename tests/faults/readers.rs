//! What is left after a failure of the storage: readers that live through it read on, within a
//! grace, and the writes wait for them; and what it interrupted is finished.

use std::time::Duration;

use strongroom::{ErrorKind, Result, Snapshot, Vault, WriteTx};
use strongroom_testkit::{Fault, SeededEntropy, TestKey, World};

use crate::EIO;
use crate::support::clock::SharedClock;
use crate::support::records::{assert_error, assert_whole, get, long, put, put_long, try_put};

const RECORDS: u64 = 200;
/// Just short of the grace that readers have, and what is left of it.
const ALMOST: Duration = Duration::from_secs(29);
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

/// A vault whose cache is too small for its records.
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
    /// A write fails.
    fn fails(&self) {
        self.world.fail_from(1, Fault::before(EIO));
        let error = try_put(&self.vault, "lost", b"1").unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Uncertain), "{error}");
        self.world.clear_faults();
    }

    fn waits(&self) {
        let outcome = try_put(&self.vault, "early", b"1");
        assert_error(outcome, ErrorKind::Unavailable, "reads, at most 30 s");
    }
}

/// How many of the records a snapshot still serves: as they were, or not at all.
fn served(snapshot: &Snapshot, refused: ErrorKind) -> usize {
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
fn a_live_reader_reads_on_after_a_failure_and_writes_wait_for_it() {
    let scene = scene();
    let snapshot = scene.vault.read().unwrap();
    let kept = snapshot.get("n", "long").unwrap().unwrap();
    scene.fails();
    scene.waits();
    let read_on = served(&snapshot, ErrorKind::Unavailable);
    println!("{read_on} of {RECORDS} records were served after the failure");
    // Where its chunks lie is not known until the state is open again.
    assert_error(kept.bytes(), ErrorKind::Unavailable, "read state");
    scene.clock.advance(ALMOST);
    scene.waits();
    // It ends in time, and the next write goes through.
    drop((snapshot, kept));
    put(&scene.vault, "after", "1");
    assert_eq!(get(&scene.vault, "lost"), None);
    assert_whole(&scene.vault);
}

#[test]
fn a_reader_that_outlives_its_grace_is_closed_and_writes_go_on() {
    let scene = scene();
    let snapshot = scene.vault.read().unwrap();
    let kept = snapshot.get("n", "long").unwrap().unwrap();
    scene.fails();
    scene.waits();
    scene.clock.advance(ALMOST);
    scene.waits();
    scene.clock.advance(REST);
    put(&scene.vault, "after", "1");
    // The new instance writes over pages that the old one's reader had pinned.
    for i in 0..RECORDS {
        put(&scene.vault, &key(i), "new");
    }
    assert_eq!(served(&snapshot, ErrorKind::Closed), 0, "from its cache");
    drop(snapshot);
    // Its content is pinned as before.
    scene.vault.write(|tx| tx.delete("n", "long")).unwrap();
    assert!(kept.bytes().unwrap() == long(7, 70_000));
    drop(kept);
    assert_whole(&scene.vault);
}

#[test]
fn a_failed_vault_without_readers_goes_on_at_the_next_call() {
    let scene = scene();
    scene.fails();
    assert_eq!(get(&scene.vault, "k007").unwrap(), value(7));
    scene.fails();
    put(&scene.vault, "after", "1");
    assert_eq!(get(&scene.vault, "lost"), None);
    assert_whole(&scene.vault);
}

#[test]
fn a_vault_whose_storage_stays_broken_is_unavailable_until_it_is_mended() {
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

/// More records than the commit of a drop removes by itself.
const DROPPED: u32 = 1_050;
/// The last calls of a commit: from the header's write to the sync, and what comes after it.
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
fn a_drop_that_happened_although_its_commit_failed_is_finished_by_the_clean_up() {
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
    assert!(happened > 0, "no fault struck after the commit");
}
