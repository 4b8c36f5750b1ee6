//! Uploads of a process that dies.
//!
//! The same put stores only the rest. If no put resumes the upload, its chunks are freed after a
//! day.

use std::cell::RefCell;
use std::time::Duration;

use strongroom::artifacts::ArtifactSpec;
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::{CancelToken, ErrorKind, LongCall, Vault};
use strongroom_testkit::{ManualClock, Replay, World, world_options};

use crate::scene::{ActingSource, name, noise, whole};

const BYTES: usize = 3_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const TEN_YEARS_MILLIS: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// Returns a disk with an upload cut off at byte `at`.
fn cut_off(bytes: &[u8], at: usize) -> World {
    cut_off_under(&ManualClock::new(), bytes, at)
}

fn cut_off_under(clock: &ManualClock, bytes: &[u8], at: usize) -> World {
    let world = World::new();
    let vault = world_options(&world, 1).clock(clock.clone()).create("/vault").unwrap();
    let image = RefCell::new(None);
    let act = |read| {
        if read == at {
            let mut replay = Replay::new(&world.journal());
            replay.advance_to(world.events());
            *image.borrow_mut() = Some(replay.image(5));
        }
    };
    let source = ActingSource { bytes, every: at, read: 0, act };
    vault.artifacts().put(ArtifactSpec::new(name("1")), source).unwrap();
    image.into_inner().unwrap()
}

fn object_bytes(vault: &Vault) -> u64 {
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert!(report.is_ok() && report.unknown.is_empty(), "{report:?}");
    report.object_bytes
}

#[test]
fn repeated_put_stores_only_the_rest() {
    let bytes = noise(BYTES, 21);
    for at in [BYTES / 4, BYTES / 2, BYTES - 1] {
        let world = cut_off(&bytes, at);
        let vault = world_options(&world, 2).open("/vault").unwrap();
        assert!(!vault.artifacts().exists(&name("1").newest()).unwrap());
        let before = object_bytes(&vault);
        // All but the unfinished pack and the bytes that were read ahead is kept.
        assert!(before + (1 << 20) + (400 << 10) > at as u64, "{before} of {at} bytes are kept");
        let uri = vault.artifacts().put(ArtifactSpec::new(name("1")), &bytes[..]).unwrap();
        assert!(vault.artifacts().read(&uri).unwrap() == bytes);
        let stored = object_bytes(&vault) - before;
        assert!(stored < (BYTES as u64 - before) + (200 << 10), "{stored} bytes were stored again");
        // The upload leaves no garbage.
        let freed = vault.gc(&GcOptions::new()).unwrap();
        assert_eq!((freed.chunks, &freed.kept[..]), (0, &[][..]), "{at}");
        whole(&vault);
    }
}

#[test]
fn gc_reports_bytes_kept_by_a_dead_upload() {
    let world = cut_off(&noise(BYTES, 25), BYTES / 2);
    let clock = ManualClock::new();
    let vault = world_options(&world, 2).clock(clock.clone()).open("/vault").unwrap();
    let planned = vault.gc(&GcOptions::new().dry_run(true)).unwrap();
    let report = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((&planned.kept, planned.kept_bytes), (&report.kept, report.kept_bytes));
    let [kept] = &report.kept[..] else { panic!("one upload is kept: {report:?}") };
    assert_eq!((kept.bytes, report.kept_bytes), (object_bytes(&vault), kept.bytes));
    let day = u64::try_from(DAY.as_millis()).unwrap();
    assert_eq!(kept.until_unix_millis, Some(kept.since_unix_millis + day));
    // Other content does not end it.
    vault.artifacts().put(ArtifactSpec::new(name("2")), &noise(BYTES, 26)[..]).unwrap();
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().kept, report.kept);
    clock.advance(DAY);
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((freed.kept_bytes, &freed.kept[..], freed.uploads_given_up), (0, &[][..], 1));
}

#[test]
fn running_upload_is_reported_without_an_end() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    let bytes = noise(BYTES, 27);
    let reports = RefCell::new(Vec::new());
    let act = |_| reports.borrow_mut().push(vault.gc(&GcOptions::new()).unwrap());
    let source = ActingSource { bytes: &bytes, every: BYTES / 2, read: 0, act };
    vault.artifacts().put(ArtifactSpec::new(name("1")), source).unwrap();
    let reports = reports.into_inner();
    let kept = reports.iter().find_map(|report| report.kept.first()).expect("it has put packs");
    assert!(kept.bytes > 0 && kept.until_unix_millis.is_none(), "{kept:?}");
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().kept, []);
    whole(&vault);
}

#[test]
fn completed_put_ends_the_dead_upload_at_once() {
    let bytes = noise(BYTES, 28);
    let world = cut_off(&bytes, BYTES / 2);
    let vault = world_options(&world, 2).open("/vault").unwrap();
    let uri = vault.artifacts().put(ArtifactSpec::new(name("1")), &bytes[..]).unwrap();
    vault.artifacts().delete(&uri).unwrap();
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((freed.uploads_given_up, freed.kept_bytes), (1, 0));
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_eq!(object_bytes(&vault), 0);
    whole(&vault);
}

#[test]
fn upload_of_a_fast_clock_is_freed_after_a_day() {
    let fast = ManualClock::new();
    fast.jump(TEN_YEARS_MILLIS);
    let world = cut_off_under(&fast, &noise(BYTES, 23), BYTES / 2);
    let clock = ManualClock::new();
    let open = || world_options(&world, 2).clock(clock.clone()).open("/vault").unwrap();
    let vault = open();
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().uploads_given_up, 0, "not before a day");
    assert!(object_bytes(&vault) > 0);
    vault.close().unwrap();
    clock.advance(DAY);
    let vault = open();
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().uploads_given_up, 1);
    assert_eq!(object_bytes(&vault), 0);
}

#[test]
fn abandoned_upload_is_freed_after_a_day_and_not_before() {
    let world = cut_off(&noise(BYTES, 22), BYTES / 2);
    let clock = ManualClock::new();
    let vault = world_options(&world, 2).clock(clock.clone()).open("/vault").unwrap();
    let before = object_bytes(&vault);
    assert!(before > 0);
    for millis in [0, -3_600_000_000, 3_600_000_000] {
        clock.jump(millis);
        assert_eq!(vault.gc(&GcOptions::new()).unwrap().chunks, 0, "{millis}");
    }
    clock.advance(DAY);
    let planned = vault.gc(&GcOptions::new().dry_run(true)).unwrap();
    assert!(planned.uploads_given_up > 0);
    assert_eq!(object_bytes(&vault), before);
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!(freed.uploads_given_up, planned.uploads_given_up);
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = whole(&vault);
    assert_eq!((report.object_bytes, report.chunks), (0, 0));
}

#[test]
fn upload_longer_than_a_day_keeps_its_chunks() {
    let world = World::new();
    let clock = ManualClock::new();
    let vault = world_options(&world, 1).clock(clock.clone()).create("/vault").unwrap();
    let bytes = noise(BYTES, 24);
    let mut days = 0;
    let act = |_| {
        days += 1;
        clock.advance(DAY);
        vault.gc(&GcOptions::new()).unwrap();
    };
    let source = ActingSource { bytes: &bytes, every: BYTES / 3, read: 0, act };
    // The put renews its lease only when it reads.
    let artifacts = vault.artifacts();
    let uri = artifacts.put(ArtifactSpec::new(name("1")), source).unwrap();
    assert_eq!(days, 3);
    assert!(artifacts.read(&uri).unwrap() == bytes);
    whole(&vault);
}

#[test]
fn cancelled_put_leaves_nothing() {
    let world = World::new();
    let vault = world_options(&world, 1).create("/vault").unwrap();
    let bytes = noise(BYTES, 23);
    let cancel = CancelToken::new();
    let progress = |done: u64, _: Option<u64>| {
        if done > 1_000_000 {
            cancel.cancel();
        }
    };
    let put = vault.artifacts().put_with(
        ArtifactSpec::new(name("1")),
        &bytes[..],
        LongCall::new().progress(&progress).cancel(&cancel),
    );
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Cancelled);
    vault.gc(&GcOptions::new()).unwrap();
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = whole(&vault);
    assert_eq!((report.object_bytes, report.chunks, report.due), (0, 0, 0));
}
