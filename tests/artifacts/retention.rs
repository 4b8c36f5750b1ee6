//! How long versions are kept: by type, as set, and never shorter for a clock that goes back.

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

fn there(artifacts: &Artifacts) -> Vec<String> {
    let all = artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap();
    all.iter().map(|info| info.uri().name().kind().to_owned()).collect()
}

#[test]
fn diffs_are_kept_30_days_logs_7_tests_14_and_all_else_for_ever() {
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
        // Until a millisecond before, nothing goes.
        let before = there(&artifacts);
        clock.advance((DAY * (last_day - day)).saturating_sub(MILLI));
        assert_eq!(expire(&artifacts).versions, 0);
        assert_eq!((there(&artifacts), artifacts.expired(9).unwrap().len()), (before.clone(), 0));
        clock.advance(MILLI);
        let gone = before.len() - left.len();
        assert_eq!(artifacts.expired(9).unwrap().len(), gone);
        let report = expire(&artifacts);
        let gone = gone as u64;
        assert_eq!((report.versions, report.bytes, report.locked), (gone, gone * 10, 0));
        assert_eq!(there(&artifacts), left);
        day = last_day;
    }
    whole(&vault);
}

#[test]
fn what_is_set_goes_for_those_that_are_there_and_is_kept_in_the_vault() {
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
    let told: Vec<_> = artifacts.retention().unwrap().into_iter().collect();
    let zero = Some(Duration::ZERO);
    let expected = [("diff", kept(30)), ("log", None), ("other", kept(1)), ("test", zero)];
    assert_eq!(told, expected.map(|(kind, kept)| (kind.to_owned(), kept)));
    assert_eq!(expire(&artifacts).versions, 1);
    assert_eq!(there(&artifacts), ["log", "other"]);
    clock.advance(DAY);
    expire(&artifacts);
    clock.advance(DAY * 1_000);
    expire(&artifacts);
    assert_eq!(there(&artifacts), ["log"]);
}

#[test]
fn a_dry_run_tells_and_drops_nothing() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    (0..5).for_each(|_| drop(put(&artifacts, "1", "log")));
    clock.advance(DAY * 7);
    put(&artifacts, "1", "log");
    let dry = ExpireArtifactsOptions::new().dry_run(true);
    let report = artifacts.expire(&dry).unwrap();
    assert_eq!((report.versions, report.bytes), (5, 50));
    assert_eq!(there(&artifacts).len(), 6);
    let expired = artifacts.expired(3).unwrap();
    let numbers: Vec<_> = expired.iter().map(|info| info.uri().version().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3], "the oldest first");
    assert_eq!(expire(&artifacts), report);
    assert_eq!(there(&artifacts).len(), 1);
}

#[test]
fn what_is_being_written_stays_until_next_time() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    for task in ["1", "2", "2"] {
        put(&artifacts, task, "log");
    }
    clock.advance(DAY * 7);
    // Taken now: a lease does not last a week.
    let lease = artifacts.lock(&ArtifactName::new("spec", "2", "log").unwrap()).unwrap();
    let report = expire(&artifacts);
    assert_eq!((report.versions, report.locked), (1, 2));
    assert_eq!(there(&artifacts).len(), 2);
    drop(lease);
    let report = expire(&artifacts);
    assert_eq!((report.versions, report.locked), (2, 0));
    whole(&vault);
}

#[test]
fn more_than_a_commit_drops_expire_in_one_call_and_a_cancel_ends_between_two() {
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
    let left = there(&artifacts).len();
    assert!((1..600).contains(&left), "{left} are left");
    assert_eq!(expire(&artifacts).versions, left as u64);
    assert!(there(&artifacts).is_empty());
    whole(&vault);
}

#[test]
fn a_version_put_while_the_clock_was_back_is_kept_as_long_as_one_put_before() {
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
    assert_eq!(there(&artifacts), ["diff"]);
}

/// The time that passes while the clock is back is lost: nothing was put in it at the right time.
#[test]
fn a_version_put_long_after_the_clock_went_back_is_kept_in_full() {
    let (clock, vault) = vault();
    let artifacts = vault.artifacts();
    clock.advance(DAY * 10);
    put(&artifacts, "1", "log");
    clock.jump(-9 * DAY_MILLIS);
    clock.advance(DAY * 5);
    let late = put(&artifacts, "2", "log");
    clock.jump(9 * DAY_MILLIS);
    clock.advance(DAY * 2);
    // Seven days after the first, and two after this one.
    expire(&artifacts);
    assert!(artifacts.exists(&late).unwrap(), "it went five days early");
}

#[derive(Clone, Debug)]
enum Step {
    Hours(u32),
    /// The clock is set so many hours back behind the true time.
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

    /// True time is what the clock says while it is not set back. The vault knows of it what versions were
    /// put at, so one is put before the clock goes back; while it is back, time stands still.
    #[test]
    fn a_clock_that_goes_back_and_forth_makes_nothing_expire_early(steps in vec(step(), 1..60)) {
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
                        prop_assert!(!is_kept(*since) || left.contains(uri), "{} went early", uri);
                        // With the clock right, nothing stays for long either.
                        prop_assert!(behind > 0 || is_kept(*since) || !left.contains(uri), "{}", uri);
                    }
                    kept.retain(|(uri, _)| left.contains(uri));
                }
            }
        }
    }
}

#[test]
fn a_version_put_while_the_clock_was_back_is_kept_though_none_was_put_shortly_before() {
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
    // Something else is written at the right time.
    vault.artifacts().set_quota(Some(strongroom::artifacts::Quota::new(1 << 30))).unwrap();
    vault.close().unwrap();
    // The clock loses its time while the machine is off.
    clock.jump(-90 * 24 * 60 * 60 * 1_000);
    let vault = options().open_on(state, memory).unwrap();
    let uri = put_log(&vault, "new");
    clock.jump(90 * 24 * 60 * 60 * 1_000);
    vault.artifacts().expire(&ExpireArtifactsOptions::new()).unwrap();
    assert!(vault.artifacts().exists(&uri).unwrap(), "a minute old, kept for 7 days");
}
