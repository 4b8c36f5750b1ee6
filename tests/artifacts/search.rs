//! Searches against a plain list of what was put: every combination of spec, task, type, tags and time, in
//! pages, with puts, deletions and changes of tags between them.

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

/// Something that changes what is found.
#[derive(Clone, Debug)]
enum Change {
    Put {
        name: [usize; 3],
        tags: u8,
        moved_millis: i64,
    },
    /// Deletes one of those that are there.
    Delete(usize),
    /// Gives one of them these tags.
    Tag(usize, u8),
}

/// A query; `None` for what it leaves open.
#[derive(Clone, Debug)]
struct Asked {
    names: [Option<usize>; 3],
    tags: u8,
    /// From and up to so many milliseconds after the start.
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

fn asked() -> impl Strategy<Value = Asked> {
    let name = || proptest::option::weighted(0.3, 0..2_usize);
    let created = proptest::option::weighted(0.3, (0..30_u64, 0..60_u64));
    ([name(), name(), name()], 0..8_u8, created).prop_map(|(names, tags, created)| Asked {
        names,
        tags: tags & (tags >> 1),
        created,
    })
}

fn tags(mask: u8) -> BTreeSet<String> {
    (0..3).filter(|at| mask >> at & 1 == 1).map(|at| TAGS[at].to_owned()).collect()
}

impl Asked {
    fn query(&self) -> ArtifactQuery {
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
        self.names.iter().zip(row.name).all(|(asked, name)| asked.is_none_or(|asked| asked == name))
            && row.tags & self.tags == self.tags
            && self.created.is_none_or(|(from, to)| (from..to).contains(&after_start))
    }
}

#[derive(Clone, Debug)]
struct Row {
    uri: ArtifactUri,
    name: [usize; 3],
    tags: u8,
    /// When it was put, by the clock and by order.
    at: (u64, usize),
}

struct World {
    clock: ManualClock,
    vault: Vault,
    artifacts: Artifacts,
    rows: Vec<Row>,
    puts: usize,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        // Back and forth from here, and never before the start.
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

    /// What a query must find behind a place, the newest first.
    fn expected(&self, asked: &Asked, behind: Option<(u64, usize)>) -> Vec<Row> {
        let is_behind = |row: &&Row| behind.is_none_or(|behind| row.at < behind);
        let mut rows: Vec<Row> =
            self.rows.iter().filter(|row| asked.has(row)).filter(is_behind).cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows
    }

    /// One page, as it must be; where it ended.
    fn page(
        &self,
        asked: &Asked,
        cursor: Option<ArtifactCursor>,
        behind: Option<(u64, usize)>,
        limit: usize,
    ) -> Option<(ArtifactCursor, (u64, usize))> {
        let page = self.artifacts.search(&asked.query().after(cursor).limit(limit)).unwrap();
        let expected = self.expected(asked, behind);
        let found: Vec<_> = page.versions.iter().map(ArtifactInfo::uri).collect();
        let uris: Vec<_> = expected.iter().take(limit).map(|row| &row.uri).collect();
        assert_eq!(found, uris, "{asked:?} behind {behind:?}");
        for (info, row) in page.versions.iter().zip(&expected) {
            let told: BTreeSet<_> = info.tags().iter().cloned().collect();
            assert_eq!((told, info.created_unix_millis()), (tags(row.tags), row.at.0));
        }
        assert_eq!(page.next.is_some(), expected.len() > limit, "{asked:?}");
        let printed = page.next?.to_string();
        Some((printed.parse().unwrap(), expected[limit - 1].at))
    }
}

/// Every combination of what can be asked for, but for the times, of which there are three.
fn every_query() -> impl Iterator<Item = Asked> {
    let names = [None, Some(0), Some(1)];
    (0..27_usize).flat_map(move |which| {
        let names = [names[which % 3], names[which / 3 % 3], names[which / 9]];
        let times = [None, Some((10, 20)), Some((15, 15))];
        times
            .into_iter()
            .flat_map(move |created| (0..8).map(move |tags| Asked { names, tags, created }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_just_what_was_put_with_all_that_is_asked_for(changes in vec(change(), 1..50)) {
        let mut world = World::new();
        for change in &changes {
            world.make(change);
        }
        for asked in every_query() {
            world.page(&asked, None, None, SEARCH_PAGE_MAX);
        }
        whole(&world.vault);
    }

    #[test]
    fn pages_go_on_behind_the_last_one_whatever_changes_in_between(
        before in vec(change(), 10..40),
        asked in asked(),
        limit in 1..4_usize,
        between in vec(vec(change(), 0..3), 40),
    ) {
        let mut world = World::new();
        for change in &before {
            world.make(change);
        }
        let (mut cursor, mut behind) = (None, None);
        for changes in between {
            let Some((next, at)) = world.page(&asked, cursor, behind, limit) else { break };
            (cursor, behind) = (Some(next), Some(at));
            for change in &changes {
                world.make(change);
            }
        }
    }
}

#[test]
fn a_search_beyond_its_bounds_is_refused() {
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
    #[allow(clippy::reversed_empty_ranges)] // It is what is asked for.
    for created in [0..0, 5..2, u64::MAX..u64::MAX, 0..u64::MAX] {
        let query = query().created(created);
        for after in [None, Some(last), Some("0-0".parse().unwrap())] {
            let page = artifacts.search(&query.clone().after(after).limit(5)).unwrap();
            assert!(page.versions.is_empty() && page.next.is_none());
        }
    }
}
