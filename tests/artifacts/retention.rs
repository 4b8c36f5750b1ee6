//! Retention of versions: by type, as configured, and never shortened by a clock that jumps back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom::artifacts::{
    ArtifactName, ArtifactScope, ArtifactSpec, ArtifactUri, Artifacts, ExpireArtifactsOptions,
    ExpiredArtifacts, ListQuery,
};
use strongroom::backends::component::Clock;
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, ErrorKind, Vault};
use strongroom_testkit::{ManualClock, TestKey};

use crate::scene::whole;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLI: Duration = Duration::from_millis(1);
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;

fn vault() -> (ManualClock, Vault) {
    let clock = ManualClock::new();
    let vault = Vault::options(TestKey)
        .clock(clock.clone())
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap();
    (clock, vault)
}

fn put(artifacts: &Artifacts, task: &str, kind: &str) -> ArtifactUri {
    let name = ArtifactName::new("spec", task, kind).unwrap();
    artifacts.put(ArtifactSpec::new(name), &b"ten bytes."[..]).unwrap()
}

fn expire(artifacts: &Artifacts) -> ExpiredArtifacts {
    artifacts.expire(&ExpireArtifactsOptions::new()).unwrap()
}

fn kinds_left(artifacts: &Artifacts) -> Vec<String> {
    let all = artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap();
    all.iter().map(|info| info.uri().name().kind().to_owned()).collect()
}

#[test]
fn default_retention_is_30_7_14_days_or_unlimited() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    for kind in ["diff", "log", "test", "other"] {
        put(&artifacts, "1", kind);
    }
    let mut day = 0;
    for (last_day, left) in [
        (7, &["diff", "other", "test"][..]),
        (14, &["diff", "other"]),
        (30, &["other"]),
        (30_000, &["other"]),
    ] {
        // Up to the last millisecond nothing expires.
        let before = kinds_left(&artifacts);
        clock.advance((DAY * (last_day - day)).saturating_sub(MILLI));
        assert_eq!(expire(&artifacts).versions, 0);
        assert_eq!(
            (kinds_left(&artifacts), artifacts.expired(9).unwrap().len()),
            (before.clone(), 0)
        );
        clock.advance(MILLI);
        let gone = before.len() - left.len();
        assert_eq!(artifacts.expired(9).unwrap().len(), gone);
        let report = expire(&artifacts);
        let gone = gone as u64;
        assert_eq!((report.versions, report.bytes, report.locked), (gone, gone * 10, 0));
        assert_eq!(kinds_left(&artifacts), left);
        day = last_day;
    }
    whole(&vault);
}

#[test]
fn retention_setting_covers_old_versions_and_persists() {
    let (state, memory) = (MemoryState::new(), strongroom::backends::Memory::new());
    let clock = ManualClock::new();
    let options = || Vault::options(TestKey).clock(clock.clone());
    let vault = options().create_on(state.clone(), memory.clone()).unwrap();
    let artifacts = vault.artifacts();
    let kept = |days| Some(DAY * days);
    assert_eq!(
        artifacts.retention().unwrap().into_iter().collect::<Vec<_>>(),
        [("diff".into(), kept(30)), ("log".into(), kept(7)), ("test".into(), kept(14))]
    );
    for kind in ["log", "test", "other"] {
        put(&artifacts, "1", kind);
    }
    artifacts.set_retention("log", None).unwrap();
    artifacts.set_retention("other", kept(2)).unwrap();
    artifacts.set_retention("other", kept(1)).unwrap();
    artifacts.set_retention("test", Some(Duration::ZERO)).unwrap();
    for (kind, kept) in [("", None), ("a\nb", None), ("x", Some(Duration::MAX))] {
        let error = artifacts.set_retention(kind, kept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    drop((artifacts, vault));
    let vault = options().open_on(state, memory).unwrap();
    let artifacts = vault.artifacts();
    let periods: Vec<_> = artifacts.retention().unwrap().into_iter().collect();
    let zero = Some(Duration::ZERO);
    let expected = [("diff", kept(30)), ("log", None), ("other", kept(1)), ("test", zero)];
    assert_eq!(periods, expected.map(|(kind, kept)| (kind.to_owned(), kept)));
    assert_eq!(expire(&artifacts).versions, 1);
    assert_eq!(kinds_left(&artifacts), ["log", "other"]);
    clock.advance(DAY);
    expire(&artifacts);
    clock.advance(DAY * 1_000);
    expire(&artifacts);
    assert_eq!(kinds_left(&artifacts), ["log"]);
}

#[test]
fn expire_dry_run_reports_and_deletes_nothing() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    (0..5).for_each(|_| drop(put(&artifacts, "1", "log")));
    clock.advance(DAY * 7);
    put(&artifacts, "1", "log");
    let dry = ExpireArtifactsOptions::new().dry_run(true);
    let report = artifacts.expire(&dry).unwrap();
    assert_eq!((report.versions, report.bytes), (5, 50));
    assert_eq!(kinds_left(&artifacts).len(), 6);
    let expired = artifacts.expired(3).unwrap();
    let numbers: Vec<_> = expired.iter().map(|info| info.uri().version().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3], "the oldest first");
    assert_eq!(expire(&artifacts), report);
    assert_eq!(kinds_left(&artifacts).len(), 1);
}

#[test]
fn version_under_lease_is_kept_until_next_expire() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    for task in ["1", "2", "2"] {
        put(&artifacts, task, "log");
    }
    clock.advance(DAY * 7);
    // The lease is acquired only now, because it does not last for a week.
    let lease = artifacts.lock(&ArtifactName::new("spec", "2", "log").unwrap()).unwrap();
    let report = expire(&artifacts);
    assert_eq!((report.versions, report.locked), (1, 2));
    assert_eq!(kinds_left(&artifacts).len(), 2);
    drop(lease);
    let report = expire(&artifacts);
    assert_eq!((report.versions, report.locked), (2, 0));
    whole(&vault);
}

#[test]
fn expire_spans_commits_and_can_be_cancelled_between() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    (0..300).for_each(|n| drop(put(&artifacts, &n.to_string(), "log")));
    (0..300).for_each(|_| drop(put(&artifacts, "many", "log")));
    clock.advance(DAY * 7);
    assert_eq!(artifacts.expired(1_000).unwrap().len(), 600);
    assert_eq!(artifacts.expired(300).unwrap().len(), 300);
    let cancel = CancelToken::new();
    let stop = |_: u64, _: Option<u64>| cancel.cancel();
    let options = ExpireArtifactsOptions::new().progress(&stop).cancel(&cancel);
    assert_eq!(artifacts.expire(&options).unwrap_err().kind(), ErrorKind::Cancelled);
    let left = kinds_left(&artifacts).len();
    assert!((1..600).contains(&left), "{left} are left");
    assert_eq!(expire(&artifacts).versions, left as u64);
    assert!(kinds_left(&artifacts).is_empty());
    whole(&vault);
}

#[test]
fn version_put_during_clock_setback_is_kept_in_full() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    clock.advance(DAY * 10);
    put(&artifacts, "1", "diff");
    clock.jump(-9 * DAY_MILLIS);
    put(&artifacts, "1", "log");
    assert_eq!(expire(&artifacts).versions, 0);
    clock.jump(9 * DAY_MILLIS);
    assert_eq!(expire(&artifacts).versions, 0);
    clock.advance((DAY * 7).saturating_sub(MILLI));
    assert_eq!(expire(&artifacts).versions, 0);
    clock.advance(MILLI);
    assert_eq!(expire(&artifacts).versions, 1);
    assert_eq!(kinds_left(&artifacts), ["diff"]);
}

/// The time while the clock is back does not count.
///
/// No version was put at the correct time in between, so the vault does not know that time.
#[test]
fn version_put_late_in_clock_setback_is_kept_in_full() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    clock.advance(DAY * 10);
    put(&artifacts, "1", "log");
    clock.jump(-9 * DAY_MILLIS);
    clock.advance(DAY * 5);
    let late = put(&artifacts, "2", "log");
    clock.jump(9 * DAY_MILLIS);
    clock.advance(DAY * 2);
    // Seven days have passed since the first put, and two since the late one.
    expire(&artifacts);
    assert!(artifacts.exists(&late).unwrap(), "the version expired five days early");
}

#[derive(Clone, Debug)]
enum Step {
    Hours(u32),
    /// Sets the clock behind the true time by this number of hours.
    Behind(i64),
    Put,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..100_u32).prop_map(Step::Hours),
        1 => prop_oneof![Just(0), 0..300_i64].prop_map(Step::Behind),
        3 => Just(Step::Put),
        3 => Just(Step::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The clock shows the true time while it is not set back.
    ///
    /// The vault knows the true time only from puts, so one put precedes each jump back. While the
    /// clock is back, no time passes.
    #[test]
    fn clock_jumps_expire_nothing_early(steps in vec(step(), 1..60)) {
        let (clock, vault) = vault();
        let artifacts = vault.artifacts();
        clock.advance(DAY * 30);
        let mut behind = 0;
        let true_millis = |behind: i64| clock.unix_millis().saturating_add_signed(behind);
        let mut kept: Vec<(ArtifactUri, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Hours(hours) if behind == 0 => clock.advance(Duration::from_secs(3_600) * hours),
                Step::Hours(_) => {}
                Step::Behind(hours) => {
                    if behind == 0 {
                        kept.push((put(&artifacts, "1", "log"), true_millis(behind)));
                    }
                    clock.jump(behind - hours * 3_600_000);
                    behind = hours * 3_600_000;
                }
                Step::Put => kept.push((put(&artifacts, "1", "log"), true_millis(behind))),
                Step::Expire => {
                    expire(&artifacts);
                    let week = u64::try_from(7 * DAY_MILLIS).unwrap();
                    let is_kept = |since: u64| true_millis(behind) < since + week;
                    let left = artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap();
                    let left: BTreeSet<_> = left.iter().map(|info| info.uri().clone()).collect();
                    for (uri, since) in &kept {
                        prop_assert!(!is_kept(*since) || left.contains(uri), "{} expired early", uri);
                        // With the correct time, no version stays too long either.
                        prop_assert!(behind > 0 || is_kept(*since) || !left.contains(uri), "{}", uri);
                    }
                    kept.retain(|(uri, _)| left.contains(uri));
                }
            }
        }
    }
}

#[test]
fn version_put_in_setback_is_kept_without_recent_put() {
    let clock = ManualClock::new();
    let (state, memory) = (MemoryState::new(), Arc::new(strongroom::backends::Memory::new()));
    let options = || Vault::options(TestKey).clock(clock.clone());
    let vault = options().create_on(state.clone(), Arc::clone(&memory)).unwrap();
    let put_log = |vault: &Vault, task: &str| {
        let name = ArtifactName::new("spec", task, "log").unwrap();
        vault.artifacts().put(ArtifactSpec::new(name), &b"x"[..]).unwrap()
    };
    put_log(&vault, "old");
    clock.advance(DAY * 100);
    // Another write happens at the correct time.
    vault.artifacts().set_quota(Some(strongroom::artifacts::Quota::new(1 << 30))).unwrap();
    vault.close().unwrap();
    // The clock loses its time while the machine is off.
    clock.jump(-90 * 24 * 60 * 60 * 1_000);
    let vault = options().open_on(state, memory).unwrap();
    let uri = put_log(&vault, "new");
    clock.jump(90 * 24 * 60 * 60 * 1_000);
    vault.artifacts().expire(&ExpireArtifactsOptions::new()).unwrap();
    assert!(
        vault.artifacts().exists(&uri).unwrap(),
        "a new version expired, with a retention of 7 days"
    );
}
