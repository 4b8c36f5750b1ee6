//! Leases: one writer of an artifact at a time, whose commits count only while the lease is its own; and
//! readers that know of none.

use std::error::Error as _;
use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::artifacts::{
    ArtifactQuery, ArtifactScope, ArtifactSpec, Artifacts, LeasePolicy, LeaseRefused, ListQuery,
    TagChange, VersionsQuery,
};
use strongroom::storage::MemoryState;
use strongroom::{Error, ErrorKind, LongCall, Vault};
use strongroom_testkit::{ManualClock, TestKey, memory_vault};

use crate::scene::{Meddling, name, noise, put, whole};

/// How long a test waits for another thread.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often threads are given way to, so that one that must wait gets to show if it does not.
const YIELDS: usize = 5_000;

/// Tries once.
fn hasty(artifacts: &Artifacts) -> Artifacts {
    artifacts.with_lease_policy(LeasePolicy { timeout: Duration::ZERO, ..LeasePolicy::default() })
}

fn patient(artifacts: &Artifacts) -> Artifacts {
    artifacts.with_lease_policy(LeasePolicy { timeout: PATIENCE, ..LeasePolicy::default() })
}

fn spec(task: &str) -> ArtifactSpec {
    ArtifactSpec::new(name(task))
}

/// A vault whose clock stands still.
fn still_vault() -> Vault {
    Vault::options(TestKey)
        .clock(ManualClock::new())
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

#[track_caller]
fn refused(error: &Error) -> LeaseRefused {
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    error.source().unwrap().downcast_ref::<LeaseRefused>().unwrap().clone()
}

/// A source that tells when it is first read.
struct Telling<'a, F: FnMut()>(&'a [u8], F);

impl<F: FnMut()> Read for Telling<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.1)();
        self.0.read(buffer)
    }
}

#[test]
fn the_second_of_two_writers_waits_and_then_goes_on() {
    let vault = memory_vault().unwrap();
    let artifacts = patient(&vault.artifacts());
    let story = Mutex::new(Vec::new());
    let (go, gone) = channel();
    let gone: Mutex<Receiver<()>> = Mutex::new(gone);
    let bytes = noise(200_000, 3);
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            gone.lock().recv_timeout(PATIENCE).unwrap();
            let told = || story.lock().push("second reads");
            artifacts.put(spec("1"), Telling(b"second", told)).unwrap()
        });
        let act = |read: usize| {
            if read == 100_000 {
                go.send(()).unwrap();
                (0..YIELDS).for_each(|_| thread::yield_now());
            }
            if read == 200_000 {
                story.lock().push("first has read");
            }
        };
        let source = Meddling { bytes: &bytes, every: 100_000, read: 0, act };
        let first = artifacts.put(spec("1"), source).unwrap();
        assert_eq!(first.version(), Some(1));
        assert_eq!(second.join().unwrap().version(), Some(2));
    });
    let story = story.into_inner();
    assert_eq!(story[..2], ["first has read", "second reads"]);
    assert_eq!(artifacts.read(&name("1").newest()).unwrap(), "second");
    assert!(!artifacts.is_locked(&name("1")));
    whole(&vault);
}

#[test]
fn different_artifacts_are_written_side_by_side() {
    let vault = memory_vault().unwrap();
    let artifacts = hasty(&vault.artifacts());
    let bytes = noise(200_000, 3);
    let act = |_: usize| {
        assert!(artifacts.is_locked(&name("1")) && !artifacts.is_locked(&name("2")));
        put(&artifacts, "2", b"meanwhile");
        let change = TagChange::Add(["t".to_owned()].into());
        artifacts.tag(&name("2").newest(), &change).unwrap();
    };
    let source = Meddling { bytes: &bytes, every: 100_000, read: 0, act };
    artifacts.put(spec("1"), source).unwrap();
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("2")).limit(9)).unwrap().len(), 2);
}

#[test]
fn who_waits_too_long_hears_who_has_it_and_how_often_it_was_tried() {
    // By a clock that stands still, so that it counts pauses alone, however slow the machine is.
    let vault = still_vault();
    let artifacts = vault.artifacts();
    let uri = put(&artifacts, "1", b"x");
    let lease = artifacts.lock_as(&name("1"), "the builder").unwrap();
    let short = artifacts.with_lease_policy(LeasePolicy {
        timeout: Duration::from_millis(20),
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(4),
        ..LeasePolicy::default()
    });
    let told = |_: &mut Vec<u8>| panic!("its source is read");
    let error = short.put(spec("1"), Telling(b"y", || told(&mut Vec::new()))).unwrap_err();
    let why = refused(&error);
    assert_eq!(why.holder, artifacts.lease_holder(&name("1")).unwrap());
    assert_eq!(why.holder.holder, "the builder");
    // Pauses of 2, 4, 4, 4, 4 and 2 milliseconds.
    assert_eq!(why.attempts, 7, "{why}");
    assert!(error.to_string().contains("the builder"), "{error}");
    assert_eq!(error.subject(), Some("strongroom:///artifact/spec/1/log"));
    // Whatever writes the artifact waits, and tries just once if it is not to wait.
    let hasty = hasty(&artifacts);
    let change = TagChange::Add(["t".to_owned()].into());
    for error in [
        hasty.lock(&name("1")).map(drop).unwrap_err(),
        hasty.tag(&uri, &change).map(drop).unwrap_err(),
        hasty.delete(&uri).map(drop).unwrap_err(),
        hasty.delete(&name("1").newest()).map(drop).unwrap_err(),
        hasty.delete_old(&name("1"), 1).map(drop).unwrap_err(),
        hasty.delete_all(&ArtifactScope::spec("spec"), LongCall::new()).map(drop).unwrap_err(),
    ] {
        assert_eq!(refused(&error).attempts, 1, "{error}");
    }
    drop(lease);
    assert!(!artifacts.is_locked(&name("1")));
    assert_eq!(hasty.delete(&uri).unwrap(), 1);
}

#[test]
fn a_wait_ends_on_a_clock_that_stands_still() {
    let vault = still_vault();
    let artifacts = vault.artifacts();
    let _lease = artifacts.lock(&name("1")).unwrap();
    let policy = LeasePolicy { timeout: Duration::from_millis(20), ..LeasePolicy::default() };
    let error = artifacts.with_lease_policy(policy).lock(&name("1")).unwrap_err();
    assert_eq!(refused(&error).elapsed, policy.timeout);
}

#[test]
fn a_holder_whose_lease_was_taken_away_stores_nothing() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    assert_eq!(artifacts.force_unlock(&name("1")), None);
    let bytes = noise(3_000_000, 3);
    for others in [false, true] {
        let act = |read: usize| {
            if read == 1_500_000 {
                let holder = artifacts.lease_holder(&name("1"));
                assert_eq!(artifacts.force_unlock(&name("1")), holder);
                assert!(holder.is_some() && !artifacts.is_locked(&name("1")));
                if others {
                    put(&artifacts, "1", b"by another");
                }
            }
        };
        let source = Meddling { bytes: &bytes, every: 1_500_000, read: 0, act };
        let error = artifacts.put(spec("1"), source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(artifacts.exists(&name("1").newest()).unwrap(), others);
    }
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("1")).limit(9)).unwrap().len(), 1);

    let lease = artifacts.lock(&name("1")).unwrap();
    let held = artifacts.holding(&lease);
    artifacts.force_unlock(&name("1")).unwrap();
    let next = artifacts.lock(&name("1")).unwrap();
    assert!(next.token() > lease.token());
    let change = TagChange::Add(["t".to_owned()].into());
    for error in [
        held.put(spec("1"), &b"late"[..]).map(drop).unwrap_err(),
        held.tag(&name("1").newest(), &change).map(drop).unwrap_err(),
        held.delete(&name("1").newest()).map(drop).unwrap_err(),
        held.delete_old(&name("1"), 1).map(drop).unwrap_err(),
        lease.renew().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    // The stale one lets go of nothing that is another's.
    drop((held, lease));
    assert!(artifacts.is_locked(&name("1")));
    drop(next);
    assert_eq!(artifacts.read(&name("1").newest()).unwrap(), "by another");
    assert!(artifacts.info(&name("1").newest()).unwrap().tags().is_empty());
    whole(&vault);
}

#[test]
fn a_lease_that_ran_out_goes_to_whoever_asks_and_a_put_renews_its_own() {
    let clock = ManualClock::new();
    let vault = Vault::options(TestKey)
        .clock(clock.clone())
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap();
    let artifacts = vault.artifacts().with_lease_policy(LeasePolicy {
        timeout: Duration::ZERO,
        lasts: Duration::from_secs(60),
        ..LeasePolicy::default()
    });
    let lease = artifacts.lock(&name("1")).unwrap();
    clock.advance(Duration::from_secs(40));
    lease.renew().unwrap();
    clock.advance(Duration::from_secs(40));
    assert!(artifacts.is_locked(&name("1")));
    refused(&artifacts.lock(&name("1")).unwrap_err());
    // Wall time is not what it lasts by.
    clock.jump(3_600_000);
    assert!(artifacts.is_locked(&name("1")));
    clock.advance(Duration::from_secs(20));
    assert!(!artifacts.is_locked(&name("1")));
    // Nobody took it, so it is still good for a commit; then somebody does.
    let held = artifacts.holding(&lease);
    put(&held, "1", b"late, but alone");
    clock.advance(Duration::from_secs(60));
    put(&artifacts, "1", b"by another");
    let error = held.put(spec("1"), &b"too late"[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("1")).limit(9)).unwrap().len(), 2);

    let bytes = noise(500_000, 3);
    let act = |_: usize| {
        clock.advance(Duration::from_secs(40));
        refused(&artifacts.lock(&name("2")).unwrap_err());
    };
    let source = Meddling { bytes: &bytes, every: 100_000, read: 0, act };
    artifacts.put(spec("2"), source).unwrap();
}

#[test]
fn a_handle_that_holds_a_lease_writes_under_it_and_waits_for_other_artifacts() {
    let vault = memory_vault().unwrap();
    let artifacts = hasty(&vault.artifacts());
    let lease = artifacts.lock(&name("1")).unwrap();
    assert_eq!(lease.name(), &name("1"));
    let held = artifacts.holding(&lease);
    let uri = put(&held, "1", b"a");
    put(&held, "1", b"b");
    held.tag(&uri, &TagChange::Add(["t".to_owned()].into())).unwrap();
    assert_eq!(held.delete(&uri).unwrap(), 1);
    put(&held, "2", b"c");
    let other = artifacts.lock(&name("2")).unwrap();
    refused(&held.put(spec("2"), &b"d"[..]).unwrap_err());
    drop(other);
    assert!(artifacts.is_locked(&name("1")));
    drop((lease, held));
    put(&artifacts, "1", b"e");
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("1")).limit(9)).unwrap().len(), 2);
}

#[test]
fn without_leases_nobody_is_waited_for_and_nothing_is_locked() {
    let vault = memory_vault().unwrap();
    let artifacts = hasty(&vault.artifacts());
    let free = artifacts.without_leases();
    assert_eq!(free.lock(&name("1")).unwrap_err().kind(), ErrorKind::Invalid);
    let lease = artifacts.lock(&name("1")).unwrap();
    let bytes = noise(200_000, 3);
    let act = |_: usize| drop(put(&free, "1", b"meanwhile"));
    let source = Meddling { bytes: &bytes, every: 100_000, read: 0, act };
    assert_eq!(free.put(spec("1"), source).unwrap().version(), Some(3));
    assert_eq!(free.delete(&name("1").version(1)).unwrap(), 1);
    lease.renew().unwrap();
    whole(&vault);
}

#[test]
fn readers_wait_for_no_lease_and_no_writer_mid_stream() {
    let vault = memory_vault().unwrap();
    let artifacts = hasty(&vault.artifacts());
    let uri = put(&artifacts, "1", b"before");
    let lease = artifacts.lock(&name("1")).unwrap();
    let held = artifacts.holding(&lease);
    let bytes = noise(3_000_000, 3);
    let mut looked = 0;
    let act = |_: usize| {
        let newest = name("1").newest();
        assert_eq!(artifacts.read(&newest).unwrap(), "before");
        let mut text = String::new();
        artifacts.open(&newest).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "before");
        assert!(artifacts.exists(&newest).unwrap());
        assert_eq!(artifacts.info(&newest).unwrap().uri(), &uri);
        assert_eq!(artifacts.versions(&VersionsQuery::of(&name("1")).limit(9)).unwrap().len(), 1);
        assert_eq!(artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(9)).unwrap().len(), 1);
        let page = artifacts.search(&ArtifactQuery::new().kind("log").limit(9)).unwrap();
        assert_eq!(page.versions.len(), 1);
        assert_eq!(artifacts.usage().unwrap().all.versions, 1);
        artifacts.verify(&newest).unwrap();
        assert!(artifacts.expired(9).unwrap().is_empty());
        let export = artifacts.export(&ArtifactScope::spec("spec"), Vec::new(), LongCall::new());
        assert_eq!(export.unwrap().versions, 1);
        looked += 1;
    };
    let source = Meddling { bytes: &bytes, every: 1_000_000, read: 0, act };
    held.put(spec("1"), source).unwrap();
    assert_eq!(looked, 3);
}

/// Each thread is the only one that writes its artifact.
#[test]
fn a_lease_is_free_once_the_put_that_held_it_has_returned() {
    let vault = memory_vault().unwrap();
    let policy = LeasePolicy { timeout: Duration::ZERO, ..LeasePolicy::default() };
    let refused: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let artifacts = vault.artifacts().with_lease_policy(policy);
                scope.spawn(move || {
                    let name = name(&format!("t{thread}"));
                    (0..500_u32).find_map(|n| {
                        let spec = ArtifactSpec::new(name.clone());
                        artifacts.put(spec, &n.to_le_bytes()[..]).err().map(|e| (n, e.to_string()))
                    })
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(refused.is_empty(), "{refused:?}");
}
