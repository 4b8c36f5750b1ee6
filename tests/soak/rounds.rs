//! Rounds of sixteen threads on one vault, with checks in between.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom::artifacts::{ArtifactScope, ArtifactTotal, ArtifactUsage, ListQuery, Quota};
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::content::GcOptions;
use strongroom::{LongCall, Vault};

use crate::own::Owner;
use crate::scene::{ShiftedClock, in_memory, on_disk};
use crate::setting;
use crate::shared::{self, Shared, Sharer};
use crate::support::records::assert_whole;

const THREADS: u64 = 16;
/// Longest duration of a round.
const ROUND: Duration = Duration::from_secs(10);
/// Distance between steps on shared artifacts.
const SHARED_EVERY: u64 = 3;
const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

type Steps = BTreeMap<&'static str, u64>;

/// Returns the totals of all versions, counted one by one.
fn recount(vault: &Vault) -> ArtifactUsage {
    let artifacts = vault.artifacts();
    let (mut by_spec, mut by_kind) = (BTreeMap::new(), BTreeMap::new());
    let mut usage = artifacts.usage().unwrap();
    usage.all = ArtifactTotal::default();
    for info in artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap() {
        let name = info.uri().name();
        let of_spec = by_spec.entry(name.spec().to_owned()).or_default();
        let of_kind = by_kind.entry(name.kind().to_owned()).or_default();
        for total in [&mut usage.all, of_spec, of_kind] {
            *total =
                ArtifactTotal { versions: total.versions + 1, bytes: total.bytes + info.len() };
        }
    }
    (usage.by_spec, usage.by_kind) = (by_spec.into_iter().collect(), by_kind.into_iter().collect());
    usage
}

fn round(owners: &mut [Owner], sharers: &mut [Sharer<'_>], time: Duration, steps: &mut Steps) {
    let clock = SystemClock::new();
    let work = |owner: &mut Owner, sharer: &mut Sharer<'_>| {
        let mut steps = Steps::new();
        let mut number = 0;
        while clock.monotonic() < time {
            number += 1;
            let step = if number % SHARED_EVERY == 0 { sharer.step() } else { owner.step() };
            *steps.entry(step).or_default() += 1;
        }
        owner.close_readers();
        steps
    };
    std::thread::scope(|scope| {
        let pairs = owners.iter_mut().zip(sharers.iter_mut());
        let threads: Vec<_> =
            pairs.map(|(owner, sharer)| scope.spawn(|| work(owner, sharer))).collect();
        for thread in threads {
            for (step, times) in thread.join().unwrap() {
                *steps.entry(step).or_default() += times;
            }
        }
    });
}

fn soak(what: &str, vault: &Vault, clock: &ShiftedClock) {
    let artifacts = vault.artifacts();
    // The quota is never reached. Puts reserve bytes for it all the same.
    artifacts.set_quota(Some(Quota::new(1 << 40))).unwrap();
    let shared = Shared::new(&artifacts);
    let mut owners: Vec<_> =
        (0..THREADS).map(|thread| Owner::new(artifacts.clone(), thread)).collect();
    let mut sharers: Vec<_> =
        (0..THREADS).map(|thread| Sharer::new(vault, &shared, thread)).collect();
    let time = Duration::from_secs(setting("STRONGROOM_SOAK_SECS", 3));
    let rounds = u32::try_from(time.as_secs().div_ceil(ROUND.as_secs())).unwrap().max(2);
    let mut steps = Steps::new();
    for _ in 0..rounds {
        round(&mut owners, &mut sharers, time / rounds, &mut steps);
        owners.iter().for_each(Owner::assert_versions_match);
        shared.assert_versions_match(&artifacts);
        let usage = artifacts.usage().unwrap();
        assert_eq!(usage, recount(vault));
        let report = assert_whole(vault);
        assert_eq!((report.artifacts, report.state_intact), (usage.all.versions, Some(true)));
    }
    let usage = artifacts.usage().unwrap();
    println!(
        "soak {what}: {THREADS} threads, {} s, {} steps, {rounds} checks, at the end {} versions of {} \
         bytes, {} stored; {steps:?}",
        time.as_secs(),
        steps.values().sum::<u64>(),
        usage.all.versions,
        usage.all.bytes,
        usage.stored_bytes,
    );
    assert_all_is_freed(vault, clock);
}

/// Asserts that no content is left after all artifacts are deleted.
///
/// Uploads that were interrupted have expired by then.
fn assert_all_is_freed(vault: &Vault, clock: &ShiftedClock) {
    let artifacts = vault.artifacts();
    let owned = (0..THREADS).map(|thread| format!("own {thread}"));
    for spec in owned.chain([shared::SPEC.to_owned()]) {
        artifacts.delete_all(&ArtifactScope::spec(&spec), LongCall::new()).unwrap();
    }
    clock.advance(TWO_DAYS);
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((freed.waiting, freed.damaged), (0, 0), "{freed:?}");
    let report = assert_whole(vault);
    assert_eq!((report.artifacts, report.chunks, report.objects), (0, 0, 0), "{report:?}");
    let usage = artifacts.usage().unwrap();
    assert_eq!((usage.all, usage.stored_bytes), (ArtifactTotal::default(), 0));
    assert!(usage.by_spec.is_empty() && usage.by_kind.is_empty(), "{usage:?}");
}

#[test]
fn sixteen_threads_lose_no_update_and_leave_nothing_on_disk() {
    let home = tempfile::tempdir().unwrap();
    let clock = ShiftedClock::new();
    soak("on disk", &on_disk(&home.path().join("vault"), &clock), &clock);
}

#[test]
fn sixteen_threads_lose_no_update_and_leave_nothing_in_memory() {
    let clock = ShiftedClock::new();
    soak("in memory", &in_memory(&clock), &clock);
}
