//! Searches compared with a plain list of the versions.
//!
//! Queries combine spec, task, type, tags and time. Puts, deletions and tag changes happen between
//! pages.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom::artifacts::{
    ArtifactCursor, ArtifactInfo, ArtifactName, ArtifactQuery, ArtifactSpec, ArtifactUri,
    Artifacts, SEARCH_PAGE_MAX, TagChange,
};
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::{ManualClock, TestKey};

use crate::scene::whole;

const TAGS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 2] = ["x", "y"];

/// A change of the versions or their tags.
#[derive(Clone, Debug)]
enum Change {
    Put {
        name: [usize; 3],
        tags: u8,
        moved_millis: i64,
    },
    /// Deletes one of the versions.
    Delete(usize),
    /// Replaces the tags of one of the versions.
    Tag(usize, u8),
}

/// A query. `None` leaves a condition open.
#[derive(Clone, Debug)]
struct TestQuery {
    names: [Option<usize>; 3],
    tags: u8,
    /// Bounds of the creation time, in milliseconds after the start.
    created: Option<(u64, u64)>,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => ([0..2_usize, 0..2, 0..2], 0..8_u8, -2..4_i64)
            .prop_map(|(name, tags, moved_millis)| Change::Put { name, tags, moved_millis }),
        1 => any::<usize>().prop_map(Change::Delete),
        1 => (any::<usize>(), 0..8_u8).prop_map(|(which, tags)| Change::Tag(which, tags)),
    ]
}

fn query() -> impl Strategy<Value = TestQuery> {
    let name = || proptest::option::weighted(0.3, 0..2_usize);
    let created = proptest::option::weighted(0.3, (0..30_u64, 0..60_u64));
    ([name(), name(), name()], 0..8_u8, created).prop_map(|(names, tags, created)| TestQuery {
        names,
        tags: tags & (tags >> 1),
        created,
    })
}

fn tags(mask: u8) -> BTreeSet<String> {
    (0..3).filter(|at| mask >> at & 1 == 1).map(|at| TAGS[at].to_owned()).collect()
}

impl TestQuery {
    fn to_query(&self) -> ArtifactQuery {
        let [spec, task, kind] = self.names.map(|name| name.map(|at| NAMES[at]));
        let mut query = tags(self.tags).into_iter().fold(ArtifactQuery::new(), ArtifactQuery::tag);
        query = spec.map_or(query.clone(), |spec| query.spec(spec));
        query = task.map_or(query.clone(), |task| query.task(task));
        query = kind.map_or(query.clone(), |kind| query.kind(kind));
        match self.created {
            Some((from, to)) => query.created(
                ManualClock::START_UNIX_MILLIS + from..ManualClock::START_UNIX_MILLIS + to,
            ),
            None => query,
        }
    }

    fn has(&self, row: &Row) -> bool {
        let after_start = row.at.0 - ManualClock::START_UNIX_MILLIS;
        self.names
            .iter()
            .zip(row.name)
            .all(|(wanted, name)| wanted.is_none_or(|wanted| wanted == name))
            && row.tags & self.tags == self.tags
            && self.created.is_none_or(|(from, to)| (from..to).contains(&after_start))
    }
}

#[derive(Clone, Debug)]
struct Row {
    uri: ArtifactUri,
    name: [usize; 3],
    tags: u8,
    /// Time of the put, and its position in the order of puts.
    at: (u64, usize),
}

struct Scene {
    clock: ManualClock,
    vault: Vault,
    artifacts: Artifacts,
    rows: Vec<Row>,
    puts: usize,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new();
        // Jumps of the clock start here and never reach the time before the start.
        clock.advance(Duration::from_millis(10));
        let vault = Vault::options(TestKey)
            .clock(clock.clone())
            .create_on(MemoryState::new(), strongroom::backends::Memory::new())
            .unwrap();
        let artifacts = vault.artifacts();
        Self { clock, vault, artifacts, rows: Vec::new(), puts: 0 }
    }

    fn make(&mut self, change: &Change) {
        match *change {
            Change::Put { name, tags: mask, moved_millis } => {
                use strongroom::backends::component::Clock;
                let after_start = self.clock.unix_millis() - ManualClock::START_UNIX_MILLIS;
                if after_start.checked_add_signed(moved_millis).is_some() {
                    self.clock.jump(moved_millis);
                }
                let [spec, task, kind] = name.map(|at| NAMES[at]);
                let spec = ArtifactSpec::new(ArtifactName::new(spec, task, kind).unwrap());
                let spec = tags(mask).into_iter().fold(spec, ArtifactSpec::tag);
                let uri = self.artifacts.put(spec, &[1_u8][..]).unwrap();
                self.puts += 1;
                let at = (self.clock.unix_millis(), self.puts);
                self.rows.push(Row { uri, name, tags: mask, at });
            }
            Change::Delete(which) if !self.rows.is_empty() => {
                let row = self.rows.remove(which % self.rows.len());
                assert_eq!(self.artifacts.delete(&row.uri).unwrap(), 1);
            }
            Change::Tag(which, mask) if !self.rows.is_empty() => {
                let at = which % self.rows.len();
                self.rows[at].tags = mask;
                let change = TagChange::Replace(tags(mask));
                self.artifacts.tag(&self.rows[at].uri, &change).unwrap();
            }
            Change::Delete(_) | Change::Tag(..) => {}
        }
    }

    /// Returns the rows that must follow a position, newest first.
    fn expected(&self, query: &TestQuery, behind: Option<(u64, usize)>) -> Vec<Row> {
        let is_behind = |row: &&Row| behind.is_none_or(|behind| row.at < behind);
        let mut rows: Vec<Row> =
            self.rows.iter().filter(|row| query.has(row)).filter(is_behind).cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows
    }

    /// Asserts one page of a query, and returns where the page ends.
    fn page(
        &self,
        query: &TestQuery,
        cursor: Option<ArtifactCursor>,
        behind: Option<(u64, usize)>,
        limit: usize,
    ) -> Option<(ArtifactCursor, (u64, usize))> {
        let page = self.artifacts.search(&query.to_query().after(cursor).limit(limit)).unwrap();
        let expected = self.expected(query, behind);
        let uris: Vec<_> = page.versions.iter().map(ArtifactInfo::uri).collect();
        let expected_uris: Vec<_> = expected.iter().take(limit).map(|row| &row.uri).collect();
        assert_eq!(uris, expected_uris, "{query:?} behind {behind:?}");
        for (info, row) in page.versions.iter().zip(&expected) {
            let info_tags: BTreeSet<_> = info.tags().iter().cloned().collect();
            assert_eq!((info_tags, info.created_unix_millis()), (tags(row.tags), row.at.0));
        }
        assert_eq!(page.next.is_some(), expected.len() > limit, "{query:?}");
        let printed = page.next?.to_string();
        Some((printed.parse().unwrap(), expected[limit - 1].at))
    }
}

/// Returns every combination of conditions, with three ranges of time.
fn every_query() -> impl Iterator<Item = TestQuery> {
    let names = [None, Some(0), Some(1)];
    (0..27_usize).flat_map(move |which| {
        let names = [names[which % 3], names[which / 3 % 3], names[which / 9]];
        let times = [None, Some((10, 20)), Some((15, 15))];
        times
            .into_iter()
            .flat_map(move |created| (0..8).map(move |tags| TestQuery { names, tags, created }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn search_finds_exactly_the_matching_versions(changes in vec(change(), 1..50)) {
        let mut scene = Scene::new();
        for change in &changes {
            scene.make(change);
        }
        for query in every_query() {
            scene.page(&query, None, None, SEARCH_PAGE_MAX);
        }
        whole(&scene.vault);
    }

    #[test]
    fn next_page_follows_the_last_despite_changes(
        before in vec(change(), 10..40),
        query in query(),
        limit in 1..4_usize,
        between in vec(vec(change(), 0..3), 40),
    ) {
        let mut scene = Scene::new();
        for change in &before {
            scene.make(change);
        }
        let (mut cursor, mut behind) = (None, None);
        for changes in between {
            let Some((next, at)) = scene.page(&query, cursor, behind, limit) else { break };
            (cursor, behind) = (Some(next), Some(at));
            for change in &changes {
                scene.make(change);
            }
        }
    }
}

#[test]
fn search_beyond_limits_is_refused() {
    let vault = strongroom_testkit::memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let many = (0..=strongroom::artifacts::TAGS_MAX)
        .fold(ArtifactQuery::new(), |q, n| q.tag(n.to_string()));
    let query = ArtifactQuery::new;
    for (bad, limit) in [
        (query(), 0),
        (query(), SEARCH_PAGE_MAX + 1),
        (query().spec(""), 1),
        (query().task("a\nb"), 1),
        (query().kind("k".repeat(129)), 1),
        (query().tag(""), 1),
        (many, 1),
    ] {
        let error = artifacts.search(&bad.clone().limit(limit)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let last: ArtifactCursor = "ffffffffffffffff-ffffffffffffffff".parse().unwrap();
    #[allow(clippy::reversed_empty_ranges)] // A reversed range is what this test searches for.
    for created in [0..0, 5..2, u64::MAX..u64::MAX, 0..u64::MAX] {
        let query = query().created(created);
        for after in [None, Some(last), Some("0-0".parse().unwrap())] {
            let page = artifacts.search(&query.clone().after(after).limit(5)).unwrap();
            assert!(page.versions.is_empty() && page.next.is_none());
        }
    }
}
