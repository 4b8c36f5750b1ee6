//! Searches among many artifacts: their results, and the durations of their first pages.
//!
//! The results are compared with a plain filter over all artifacts, page by page. Durations are
//! only printed: of first pages with everything in memory, and of opening the vault, compared with
//! a vault of 100 artifacts.
//!
//! `STRONGROOM_SEARCHED` sets the number of artifacts. A full run has 100000.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use strongroom::Vault;
use strongroom::artifacts::{
    ArtifactInfo, ArtifactName, ArtifactQuery, ArtifactScope, ArtifactSpec, Artifacts, ListQuery,
    SEARCH_PAGE_MAX,
};
use strongroom::backends::component::{Clock, SystemClock};
use strongroom_testkit::TestKey;

use support::records::assert_whole;

const THREADS: u64 = 8;
const SPECS: u64 = 50;
const KINDS: [&str; 4] = ["diff", "log", "report", "test"];
/// Number of artifacts in the small vault.
const FEW: u64 = 100;
/// Number of versions on a first page.
const PAGE: usize = 50;
/// Most first pages that are timed for each search.
const TIMED: usize = 500;
/// Longest time for the first pages of one search.
const TIMED_FOR: Duration = Duration::from_secs(3);
/// Number of timed openings of each vault.
const OPENED: usize = 11;

fn artifact_count() -> u64 {
    std::env::var("STRONGROOM_SEARCHED").map_or(2_000, |text| text.parse().expect("a number"))
}

fn name(number: u64) -> ArtifactName {
    let kind = KINDS[usize::try_from(number % 4).unwrap()];
    let (spec, task) = (number % SPECS, number / SPECS);
    ArtifactName::new(format!("spec {spec}"), format!("task {task}"), kind).unwrap()
}

/// Returns the tags of one of `all` artifacts.
fn tags(number: u64, all: u64) -> Vec<&'static str> {
    let candidates = [
        (number.is_multiple_of(2), "even"),
        (!number.is_multiple_of(2), "odd"),
        (number < all / 2, "early"),
        (number >= all / 2, "late"),
        (number.is_multiple_of(3), "third"),
        (number.is_multiple_of(997), "rare"),
    ];
    candidates.into_iter().filter_map(|(is_set, tag)| is_set.then_some(tag)).collect()
}

/// Creates and closes a vault of `all` artifacts, put by several threads.
fn fill(path: &Path, all: u64) {
    let clock = SystemClock::new();
    let vault = Vault::options(TestKey).create(path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let artifacts = vault.artifacts();
            scope.spawn(move || {
                for number in (thread..all).step_by(usize::try_from(THREADS).unwrap()) {
                    let spec = ArtifactSpec::new(name(number));
                    let spec = tags(number, all).into_iter().fold(spec, ArtifactSpec::tag);
                    artifacts.put(spec, format!("artifact {number}").as_bytes()).unwrap();
                }
            });
        }
    });
    vault.close().unwrap();
    let took = clock.monotonic().as_secs_f64();
    println!("{all} artifacts put by {THREADS} threads in {took:.1} s");
}

/// A query with a label and an equal filter.
struct Search {
    label: &'static str,
    query: ArtifactQuery,
    finds: Box<dyn Fn(&ArtifactInfo) -> bool>,
}

impl Search {
    fn new(
        label: &'static str,
        query: ArtifactQuery,
        finds: impl Fn(&ArtifactInfo) -> bool + 'static,
    ) -> Self {
        Self { label, query, finds: Box::new(finds) }
    }
}

fn has(info: &ArtifactInfo, tag: &str) -> bool {
    info.tags().iter().any(|other| other == tag)
}

/// Returns every kind of search. In `middle` a fifth of all artifacts was put.
fn searches(middle: std::ops::Range<u64>) -> Vec<Search> {
    let query = ArtifactQuery::new;
    let (within, within_too) = (middle.clone(), middle.clone());
    let spec = |info: &ArtifactInfo| info.uri().name().spec() == "spec 7";
    let task = |info: &ArtifactInfo| info.uri().name().task() == "task 3";
    let kind = |info: &ArtifactInfo| info.uri().name().kind() == "log";
    vec![
        Search::new("all", query(), |_| true),
        Search::new("spec", query().spec("spec 7"), spec),
        Search::new("task", query().task("task 3"), task),
        Search::new("type", query().kind("log"), kind),
        Search::new("tag", query().tag("third"), |info| has(info, "third")),
        Search::new("rare tag", query().tag("rare"), |info| has(info, "rare")),
        Search::new("time", query().created(middle.clone()), move |info| {
            within.contains(&info.created_unix_millis())
        }),
        Search::new("spec and task", query().spec("spec 7").task("task 3"), move |info| {
            spec(info) && task(info)
        }),
        Search::new("type and tag", query().kind("log").tag("third"), move |info| {
            kind(info) && has(info, "third")
        }),
        Search::new(
            "spec, type, tag",
            query().spec("spec 7").kind("test").tag("late"),
            move |info| spec(info) && info.uri().name().kind() == "test" && has(info, "late"),
        ),
        Search::new(
            "type, tag, time",
            query().kind("log").tag("third").created(middle),
            move |info| {
                kind(info) && has(info, "third") && within_too.contains(&info.created_unix_millis())
            },
        ),
        Search::new("two tags", query().tag("even").tag("third"), |info| {
            has(info, "even") && has(info, "third")
        }),
        Search::new("a large tag and a rare one", query().tag("even").tag("rare"), |info| {
            has(info, "even") && has(info, "rare")
        }),
        Search::new("three tags", query().tag("early").tag("even").tag("third"), |info| {
            has(info, "early") && has(info, "even") && has(info, "third")
        }),
        Search::new("none: an unknown tag", query().tag("unknown"), |_| false),
        Search::new("none: an unknown spec", query().spec("unknown").tag("even"), |_| false),
        Search::new(
            "none: two large tags, one after the other",
            query().tag("early").tag("late"),
            |_| false,
        ),
        Search::new("none: two large tags, alternating", query().tag("even").tag("odd"), |_| false),
    ]
}

/// Returns all results of a search, in the order of its pages.
fn all_pages(artifacts: &Artifacts, query: &ArtifactQuery) -> Vec<ArtifactInfo> {
    let (mut found, mut after) = (Vec::new(), None);
    let mut limit = PAGE;
    loop {
        let page = artifacts.search(&query.clone().after(after).limit(limit)).unwrap();
        found.extend(page.versions);
        let Some(next) = page.next else { return found };
        assert_ne!(Some(next), after, "the cursor did not advance");
        after = Some(next);
        limit = SEARCH_PAGE_MAX;
    }
}

fn quantiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    [at(50), at(99), at(100)]
}

/// Prints the durations of a search's first page.
fn time(artifacts: &Artifacts, search: &Search, found: usize) {
    let clock = SystemClock::new();
    let mut times = Vec::new();
    let ends = clock.monotonic() + TIMED_FOR;
    while times.len() < TIMED && clock.monotonic() < ends {
        let began = clock.monotonic();
        let page = artifacts.search(&search.query.clone().limit(PAGE)).unwrap();
        times.push(clock.monotonic().saturating_sub(began));
        assert_eq!(page.versions.len(), found.min(PAGE));
    }
    let times_in_all = times.len();
    let [p50, p99, max] = quantiles(times);
    println!(
        "{:<42} {found:>7} found, first page: p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms, {times_in_all} times",
        search.label
    );
}

/// Prints the durations of opening the vaults, in alternation.
fn time_openings(vaults: [(&Path, u64); 2]) {
    let clock = SystemClock::new();
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..OPENED {
        for ((path, _), times) in vaults.iter().zip(&mut times) {
            let began = clock.monotonic();
            let vault = Vault::options(TestKey).open(path).unwrap();
            times.push(clock.monotonic().saturating_sub(began));
            vault.close().unwrap();
        }
    }
    for ((_, all), times) in vaults.into_iter().zip(times) {
        let [p50, _, max] = quantiles(times);
        println!("open with {all} artifacts: median {p50:.3} ms, max {max:.3} ms, {OPENED} times");
    }
}

#[test]
fn searches_match_a_filter_with_the_newest_first() {
    let home = tempfile::tempdir().unwrap();
    let (few, many) = (home.path().join("few"), home.path().join("many"));
    let all = artifact_count();
    fill(&few, FEW);
    fill(&many, all);
    time_openings([(&few, FEW), (&many, all)]);

    let vault = Vault::options(TestKey).open(&many).unwrap();
    let artifacts = vault.artifacts();
    let listed = artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap();
    let names: BTreeSet<_> = listed.iter().map(|info| info.uri().name().clone()).collect();
    assert!(names == (0..all).map(name).collect(), "the listing has other artifacts");
    let mut created: Vec<u64> = listed.iter().map(ArtifactInfo::created_unix_millis).collect();
    created.sort_unstable();
    let fifth = |number: usize| created[created.len() / 5 * number];
    for search in searches(fifth(2)..fifth(3)) {
        let found = all_pages(&artifacts, &search.query);
        assert!(
            found.is_sorted_by(|a, b| a.created_unix_millis() >= b.created_unix_millis()),
            "{}: not in order, newest first",
            search.label
        );
        let uris: BTreeSet<_> = found.iter().map(|info| info.uri().clone()).collect();
        assert_eq!(uris.len(), found.len(), "{}: a result occurs twice", search.label);
        let expected: BTreeSet<_> = listed
            .iter()
            .filter(|info| (search.finds)(info))
            .map(|info| info.uri().clone())
            .collect();
        assert!(uris == expected, "{}: {} for {}", search.label, uris.len(), expected.len());
        assert_eq!(expected.is_empty(), search.label.starts_with("none"), "{}", search.label);
        time(&artifacts, &search, found.len());
    }
    assert_eq!(assert_whole(&vault).artifacts, all);
}
