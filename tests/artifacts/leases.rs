//! Leases: one writer of an artifact at a time.
//!
//! A writer's commits count only while it holds the lease. Readers need no lease.

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

use crate::scene::{ActingSource, name, noise, put, whole};

/// Longest wait for another thread.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Number of yields that let another thread run.
///
/// With this many, a writer that fails to wait shows itself.
const YIELDS: usize = 5_000;

/// Returns a handle that tries to acquire a lease once.
fn without_waiting(artifacts: &Artifacts) -> Artifacts {
    artifacts.with_lease_policy(LeasePolicy { timeout: Duration::ZERO, ..LeasePolicy::default() })
}

fn with_long_wait(artifacts: &Artifacts) -> Artifacts {
    artifacts.with_lease_policy(LeasePolicy { timeout: WAIT_MAX, ..LeasePolicy::default() })
}

fn spec(task: &str) -> ArtifactSpec {
    ArtifactSpec::new(name(task))
}

/// Creates a vault with a stopped clock.
fn stopped_clock_vault() -> Vault {
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

/// A source that calls a function at each read.
struct NotifyingSource<'a, F: FnMut()>(&'a [u8], F);

impl<F: FnMut()> Read for NotifyingSource<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.1)();
        self.0.read(buffer)
    }
}

#[test]
fn second_writer_waits_for_the_first() {
    let vault = memory_vault().unwrap();
    let artifacts = with_long_wait(&vault.artifacts());
    let story = Mutex::new(Vec::new());
    let (go, gone) = channel();
    let gone: Mutex<Receiver<()>> = Mutex::new(gone);
    let bytes = noise(200_000, 3);
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            gone.lock().recv_timeout(WAIT_MAX).unwrap();
            let log = || story.lock().push("second reads");
            artifacts.put(spec("1"), NotifyingSource(b"second", log)).unwrap()
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
        let source = ActingSource { bytes: &bytes, every: 100_000, read: 0, act };
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
fn different_artifacts_are_written_concurrently() {
    let vault = memory_vault().unwrap();
    let artifacts = without_waiting(&vault.artifacts());
    let bytes = noise(200_000, 3);
    let act = |_: usize| {
        assert!(artifacts.is_locked(&name("1")) && !artifacts.is_locked(&name("2")));
        put(&artifacts, "2", b"meanwhile");
        let change = TagChange::Add(["t".to_owned()].into());
        artifacts.tag(&name("2").newest(), &change).unwrap();
    };
    let source = ActingSource { bytes: &bytes, every: 100_000, read: 0, act };
    artifacts.put(spec("1"), source).unwrap();
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("2")).limit(9)).unwrap().len(), 2);
}

#[test]
fn lease_timeout_reports_holder_and_attempts() {
    // With a stopped clock only the pauses count, however slow the machine is.
    let vault = stopped_clock_vault();
    let artifacts = vault.artifacts();
    let uri = put(&artifacts, "1", b"x");
    let lease = artifacts.lock_as(&name("1"), "the builder").unwrap();
    let short = artifacts.with_lease_policy(LeasePolicy {
        timeout: Duration::from_millis(20),
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(4),
        ..LeasePolicy::default()
    });
    let refuse = |_: &mut Vec<u8>| panic!("the source was read");
    let error =
        short.put(spec("1"), NotifyingSource(b"y", || refuse(&mut Vec::new()))).unwrap_err();
    let why = refused(&error);
    assert_eq!(why.holder, artifacts.lease_holder(&name("1")).unwrap());
    assert_eq!(why.holder.holder, "the builder");
    // Pauses of 2, 4, 4, 4, 4 and 2 milliseconds.
    assert_eq!(why.attempts, 7, "{why}");
    assert!(error.to_string().contains("the builder"), "{error}");
    assert_eq!(error.subject(), Some("strongroom:///artifact/spec/1/log"));
    // Every call that writes the artifact waits. With a timeout of zero it tries once.
    let without_waiting = without_waiting(&artifacts);
    let change = TagChange::Add(["t".to_owned()].into());
    for error in [
        without_waiting.lock(&name("1")).map(drop).unwrap_err(),
        without_waiting.tag(&uri, &change).map(drop).unwrap_err(),
        without_waiting.delete(&uri).map(drop).unwrap_err(),
        without_waiting.delete(&name("1").newest()).map(drop).unwrap_err(),
        without_waiting.delete_old(&name("1"), 1).map(drop).unwrap_err(),
        without_waiting
            .delete_all(&ArtifactScope::spec("spec"), LongCall::new())
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(refused(&error).attempts, 1, "{error}");
    }
    drop(lease);
    assert!(!artifacts.is_locked(&name("1")));
    assert_eq!(without_waiting.delete(&uri).unwrap(), 1);
}

#[test]
fn lease_wait_ends_on_a_stopped_clock() {
    let vault = stopped_clock_vault();
    let artifacts = vault.artifacts();
    let _lease = artifacts.lock(&name("1")).unwrap();
    let policy = LeasePolicy { timeout: Duration::from_millis(20), ..LeasePolicy::default() };
    let error = artifacts.with_lease_policy(policy).lock(&name("1")).unwrap_err();
    assert_eq!(refused(&error).elapsed, policy.timeout);
}

#[test]
fn forced_unlock_makes_holder_store_nothing() {
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
        let source = ActingSource { bytes: &bytes, every: 1_500_000, read: 0, act };
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
    // Dropping the stale lease does not release the other holder's lease.
    drop((held, lease));
    assert!(artifacts.is_locked(&name("1")));
    drop(next);
    assert_eq!(artifacts.read(&name("1").newest()).unwrap(), "by another");
    assert!(artifacts.info(&name("1").newest()).unwrap().tags().is_empty());
    whole(&vault);
}

#[test]
fn expired_lease_can_be_acquired_and_put_renews_its_own() {
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
    // A jump of the wall clock does not shorten the lease.
    clock.jump(3_600_000);
    assert!(artifacts.is_locked(&name("1")));
    clock.advance(Duration::from_secs(20));
    assert!(!artifacts.is_locked(&name("1")));
    // No other holder has acquired the expired lease, so it still covers a commit. Then another put
    // acquires it.
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
    let source = ActingSource { bytes: &bytes, every: 100_000, read: 0, act };
    artifacts.put(spec("2"), source).unwrap();
}

#[test]
fn handle_with_lease_writes_its_artifact_and_waits_for_others() {
    let vault = memory_vault().unwrap();
    let artifacts = without_waiting(&vault.artifacts());
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
fn handle_without_leases_neither_waits_nor_locks() {
    let vault = memory_vault().unwrap();
    let artifacts = without_waiting(&vault.artifacts());
    let free = artifacts.without_leases();
    assert_eq!(free.lock(&name("1")).unwrap_err().kind(), ErrorKind::Invalid);
    let lease = artifacts.lock(&name("1")).unwrap();
    let bytes = noise(200_000, 3);
    let act = |_: usize| drop(put(&free, "1", b"meanwhile"));
    let source = ActingSource { bytes: &bytes, every: 100_000, read: 0, act };
    assert_eq!(free.put(spec("1"), source).unwrap().version(), Some(3));
    assert_eq!(free.delete(&name("1").version(1)).unwrap(), 1);
    lease.renew().unwrap();
    whole(&vault);
}

#[test]
fn readers_wait_for_no_lease_and_no_running_put() {
    let vault = memory_vault().unwrap();
    let artifacts = without_waiting(&vault.artifacts());
    let uri = put(&artifacts, "1", b"before");
    let lease = artifacts.lock(&name("1")).unwrap();
    let held = artifacts.holding(&lease);
    let bytes = noise(3_000_000, 3);
    let mut rounds = 0;
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
        rounds += 1;
    };
    let source = ActingSource { bytes: &bytes, every: 1_000_000, read: 0, act };
    held.put(spec("1"), source).unwrap();
    assert_eq!(rounds, 3);
}

/// No two threads write the same artifact.
#[test]
fn lease_is_free_once_its_put_has_returned() {
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
