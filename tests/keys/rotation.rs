//! Rotation: moves the whole state into a new file under new keys.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::component::Clock;
use strongroom::keys::{KeySource, NewKey};
use strongroom::operations::Checkpoint;
use strongroom::{Batch, ErrorKind, LongCall, Progress, Snapshot, Vault};
use strongroom_testkit::ManualClock;

use crate::forge::{FILE_ID, HEADER};
use crate::scene::{
    FIRST, NEW_STATE, Scene, Secret, add, assert_filled, assert_readable, fill, generation, ids,
};
use crate::support::records::{assert_error, assert_whole, get, long, put, put_long};

const OLD_WORD: Secret = Secret::Password("old");
const NEW: Secret = Secret::Key(2);
const NEW_WORD: Secret = Secret::Password("new");
const ALL: [Secret; 4] = [FIRST, OLD_WORD, NEW, NEW_WORD];

/// Largest number of key epochs of a vault.
const EPOCHS_MAX: u8 = 32;

fn file_id(state: &[u8]) -> [u8; 16] {
    state[FILE_ID..FILE_ID + 16].try_into().unwrap()
}

#[test]
fn rotation_reseals_the_state_for_the_new_keys_only() {
    let scene = Scene::with_vault(&[FIRST, OLD_WORD]);
    let vault = scene.open(FIRST).unwrap();
    let (before, objects) = (scene.state(), scene.objects());
    vault.keys().rotate(&[NewKey::new(&NEW).label("new"), NewKey::new(&NEW_WORD)]).unwrap();
    assert_eq!((ids(&vault), generation(&vault)), (vec![3, 4], 3));
    assert_eq!(vault.keys().list()[0].label, "new");
    assert_filled(&vault);
    vault.close().unwrap();

    let after = scene.state();
    assert_ne!(file_id(&after), file_id(&before));
    let tail = |state: &[u8]| state[2 * HEADER..].to_vec();
    let kept = tail(&before)
        .chunks_exact(64)
        .zip(tail(&after).chunks_exact(64))
        .filter(
            // Ignores the zeros between the super-headers.
            |(old, new)| old == new && old.iter().any(|&byte| byte != 0),
        )
        .count();
    assert_eq!(kept, 0, "all blocks differ");
    assert!(scene.world.read_file(NEW_STATE).is_err());
    assert_eq!(scene.objects(), objects, "a rotation writes no content");
    assert_eq!(scene.openers(&ALL), [NEW, NEW_WORD]);
    let vault = scene.open(NEW).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_filled(&vault);
}

#[test]
fn old_key_passed_to_rotation_opens_the_new_state() {
    let scene = Scene::with_vault(&[FIRST, OLD_WORD]);
    let vault = scene.open(FIRST).unwrap();
    vault.keys().rotate(&[NewKey::new(&OLD_WORD), NewKey::new(&NEW)]).unwrap();
    vault.close().unwrap();
    assert_eq!(scene.openers(&ALL), [OLD_WORD, NEW]);
}

#[test]
fn state_file_from_before_a_rotation_is_read_only() {
    let scene = Scene::with_vault(&[FIRST]);
    let before = scene.state();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().rotate(&[NewKey::new(&NEW)]).unwrap();
    put(&vault, "after", "1");
    vault.close().unwrap();
    let after = scene.state();

    scene.set_state(&before);
    assert_error(scene.unchanged(|| scene.open(NEW)), ErrorKind::Denied, "");
    let vault = scene.open(FIRST).unwrap();
    // The old key does not authenticate the copy from after the rotation.
    assert!(vault.recovery().key_copy_unverified, "{:?}", vault.recovery());
    assert_readable(&vault);
    assert_error(vault.write(|tx| tx.insert("n", "k", "v")), ErrorKind::Conflict, "");
    vault.close().unwrap();

    // Old blocks after the new header, and new blocks after the old header.
    let mixed =
        |header: &[u8], blocks: &[u8]| [&header[..2 * HEADER], &blocks[2 * HEADER..]].concat();
    for (state, key) in [(mixed(&after, &before), NEW), (mixed(&before, &after), FIRST)] {
        scene.set_state(state);
        assert_error(scene.unchanged(|| scene.open(key)), ErrorKind::Corrupt, "");
    }
    scene.set_state(after);
    let vault = scene.open(NEW).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_filled(&vault);
}

#[test]
fn blocks_of_the_old_file_in_the_new_one_are_corrupt() {
    const BLOCKS: usize = 16_384;
    const BLOCK: usize = 4_136;
    let scene = Scene::with_vault(&[FIRST]);
    let before = scene.state();
    let vault = scene.open(FIRST).unwrap();
    vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
    vault.close().unwrap();
    let good = scene.state();
    let mut caught = 0;
    for at in (BLOCKS..good.len().min(before.len())).step_by(BLOCK) {
        let mut state = good.clone();
        state[at..at + BLOCK].copy_from_slice(&before[at..at + BLOCK]);
        let scene = scene.duplicate();
        scene.set_state(state);
        let outcome = scene.open(FIRST).and_then(|vault| crate::support::records::check(&vault));
        match outcome {
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt, "block at {at}: {e}");
                caught += 1;
            }
            // The block holds a page that nothing uses.
            Ok(report) => assert!(report.is_ok(), "{report:?}"),
        }
    }
    assert!(caught > 5, "only {caught} blocks mattered");
}

#[test]
fn handles_from_before_a_rotation_stay_usable() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let other = vault.clone();
    let staged = vault.stage(&long(5, 90_000)[..]).unwrap();
    let dropped = vault.stage(&long(6, 90_000)[..]).unwrap();
    let operation = vault.operations().begin("export", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    lane.commit(Batch::new(), Checkpoint::new("1")).unwrap();
    put_long(&vault, "read", &long(7, 90_000));
    let mut reader = vault.read().unwrap().get("n", "read").unwrap().unwrap().into_reader();
    let mut first = vec![0; 40_000];
    reader.read_exact(&mut first).unwrap();

    vault.keys().rotate(&[NewKey::new(&NEW)]).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!([first, rest].concat() == long(7, 90_000));
    other.write(|tx| tx.insert("n", "staged", staged)).unwrap();
    drop(dropped);
    let mut batch = Batch::new();
    batch.insert("n", "by lane", "1");
    lane.commit(batch, Checkpoint::new("2").complete()).unwrap();
    put(&other, "by another handle", "1");
    put_long(&other, "sealed after", &long(8, 90_000));
    for vault in [&vault, &other] {
        assert!(get(vault, "staged").unwrap() == long(5, 90_000));
        assert!(get(vault, "sealed after").unwrap() == long(8, 90_000));
        assert_eq!(ids(vault), [2]);
    }
    drop((lane, operation, reader, other));
    vault.close().unwrap();
    let vault = scene.open(NEW).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert!(get(&vault, "staged").unwrap() == long(5, 90_000));
    assert!(get(&vault, "sealed after").unwrap() == long(8, 90_000));
    assert_eq!(get(&vault, "by lane").unwrap(), b"1");
    assert_filled(&vault);
}

#[test]
fn content_of_32_epochs_is_readable_and_a_33rd_is_full() {
    let scene = Scene::new();
    let vault = scene.create(FIRST);
    put_long(&vault, "0", &long(0, 70_000));
    for epoch in 1..EPOCHS_MAX {
        vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
        put_long(&vault, &epoch.to_string(), &long(epoch.into(), 70_000));
    }
    let before = (ids(&vault), generation(&vault));
    let outcome = scene.unchanged(|| vault.keys().rotate(&[NewKey::new(&NEW)]));
    assert_error(outcome, ErrorKind::Full, "32 keys of earlier rotations");
    assert_eq!((ids(&vault), generation(&vault)), before);
    vault.close().unwrap();
    let vault = scene.open(FIRST).unwrap();
    for epoch in 0..EPOCHS_MAX {
        assert!(get(&vault, &epoch.to_string()).unwrap() == long(epoch.into(), 70_000));
    }
    assert_whole(&vault);
}

/// A progress that records each report, and calls a function.
struct RecordingProgress<F>(Mutex<Vec<u64>>, F);

impl<F: Fn(u64) + Send + Sync> Progress for RecordingProgress<F> {
    fn report(&self, done: u64, total: Option<u64>) {
        assert_eq!(total, None);
        self.0.lock().push(done);
        (self.1)(done);
    }
}

#[test]
fn rotation_reports_rows_and_allows_reads() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let reading = |_| {
        assert_eq!(get(&vault, "k03").unwrap(), long(3, 300));
        // This thread holds the write turn.
        let nested = vault.write(|tx| tx.insert("n", "nested", "1"));
        assert_error(nested, ErrorKind::Invalid, "inside a write");
    };
    let progress = RecordingProgress(Mutex::default(), reading);
    vault.keys().rotate_with(&[NewKey::new(&NEW)], LongCall::new().progress(&progress)).unwrap();
    let reports = progress.0.into_inner();
    assert!(reports.is_sorted() && *reports.last().unwrap() > 21, "{reports:?}");
    assert_filled(&vault);
}

/// State of a clock whose `sleep` drops a reader.
#[derive(Debug, Default)]
struct ReaderDropper {
    clock: ManualClock,
    reader: Mutex<Option<DroppedReader>>,
}

struct DroppedReader(#[allow(dead_code)] Snapshot);

impl std::fmt::Debug for DroppedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DroppedReader(..)")
    }
}

#[derive(Clone, Debug, Default)]
struct DroppingClock(Arc<ReaderDropper>);

impl Clock for DroppingClock {
    fn unix_millis(&self) -> u64 {
        self.0.clock.unix_millis()
    }

    fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        drop(self.0.reader.lock().take());
        self.0.clock.sleep(duration);
    }
}

#[test]
fn rotation_waits_for_a_reader_that_ends() {
    let scene = Scene::new();
    let clock = DroppingClock::default();
    let vault = scene.options(FIRST).clock(clock.clone()).create("/vault").unwrap();
    fill(&vault);
    *clock.0.reader.lock() = Some(DroppedReader(vault.read().unwrap()));
    vault.keys().rotate(&[NewKey::new(&NEW)]).unwrap();
    assert!(clock.0.reader.lock().is_none(), "the rotation waited for the reader");
    assert_filled(&vault);
}

#[test]
fn rotations_alternate_with_changes() {
    let scene = Scene::with_vault(&[FIRST]);
    let mut vault = scene.open(FIRST).unwrap();
    for number in 10..16 {
        let secret = Secret::Key(number);
        vault.keys().rotate(&[NewKey::new(&secret)]).unwrap();
        let extra = add(&vault, Secret::Key(number + 100));
        put(&vault, &format!("r{number}"), "1");
        vault.keys().delete(extra).unwrap();
        vault.keys().rewrap(&secret).unwrap();
        if number % 2 == 0 {
            vault.close().unwrap();
            vault = scene.open(secret).unwrap();
            assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
        }
        assert_filled(&vault);
    }
}

#[test]
fn rows_beyond_one_transaction_are_all_copied() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    // More than 4 MiB in one table, and many tables.
    let row = |i: u64| long(i, 60_000);
    for i in 0..150u64 {
        vault.write(|tx| tx.insert("large", i.to_be_bytes(), row(i))).unwrap();
    }
    for i in 0..30 {
        vault.write(|tx| tx.insert(&format!("table {i}"), "k", i.to_string())).unwrap();
    }
    let source: &dyn KeySource = &NEW;
    vault.keys().rotate(&[NewKey::new(source)]).unwrap();
    vault.close().unwrap();
    let vault: Vault = scene.open(NEW).unwrap();
    let snapshot = vault.read().unwrap();
    assert_eq!(snapshot.count("large").unwrap(), 150);
    for i in 0..150u64 {
        let value = snapshot.get("large", i.to_be_bytes()).unwrap().unwrap();
        assert!(value.bytes().unwrap() == row(i), "{i}");
    }
    for i in 0..30 {
        let value = snapshot.get(&format!("table {i}"), "k").unwrap().unwrap();
        assert_eq!(value.bytes().unwrap(), i.to_string());
    }
    drop(snapshot);
    assert_filled(&vault);
}
