//! A model of a vault's artifacts, and comparisons with it.

use std::collections::BTreeMap;

use strongroom::Vault;
use strongroom::artifacts::{
    ArtifactName, ArtifactQuery, ArtifactScope, ArtifactTotal, ListQuery, Quota,
};
use strongroom_testkit::{BoxError, ManualClock};

/// An artifact: indices of one of two specs, tasks and types.
pub(super) type Name = [usize; 3];

/// A call that changes artifacts, or a change of the time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Put {
        name: Name,
        content: usize,
        tags: usize,
        replace: bool,
    },
    /// Replaces the tags of the newest version.
    Tag {
        name: Name,
        tags: usize,
    },
    DeleteNewest(Name),
    DeleteOld(Name),
    Delete(Name),
    DeleteAll {
        spec: usize,
        task: Option<usize>,
    },
    /// Sets a quota of 0 bytes, or none. Puts under that quota are refused.
    SetQuota {
        tight: bool,
    },
    SetRetention {
        kind: usize,
        hours: Option<u64>,
    },
    Expire,
    PassHours(u64),
    Gc,
    /// Reopens the vault. The new clock starts at the beginning, so time goes back.
    Reopen,
}

pub(super) const PARTS: [[&str; 2]; 3] = [["s", "t"], ["1", "2"], ["diff", "log"]];
const TAGS: [&str; 2] = ["a", "b"];
pub(super) const CONTENTS: usize = 5;

/// Returns one of five contents that share chunks.
///
/// Lengths are from a few bytes to several packs.
pub(super) fn content(number: usize) -> Vec<u8> {
    let noise = |seed: u64, len: usize| -> Vec<u8> {
        let mut state = seed | 1;
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (0..len)
            .map(|_| {
                state = step(state);
                state.to_be_bytes()[0]
            })
            .collect()
    };
    let shared = || noise(1, 120_000);
    match number {
        0 => b"a few bytes".to_vec(),
        1 => noise(3, 9_000),
        2 => shared(),
        3 => [shared(), noise(5, 60_000)].concat(),
        _ => [noise(7, 50_000), shared()].concat(),
    }
}

pub(super) fn artifact(name: Name) -> ArtifactName {
    let [spec, task, kind] = [0, 1, 2].map(|part| PARTS[part][name[part]]);
    ArtifactName::new(spec, task, kind).expect("a good name")
}

pub(super) fn tags(mask: usize) -> Vec<String> {
    (0..2).filter(|at| mask >> at & 1 == 1).map(|at| TAGS[at].to_owned()).collect()
}

/// Returns Unix milliseconds for a time in hours after the start.
fn unix_millis(hours: u64) -> u64 {
    ManualClock::START_UNIX_MILLIS + hours * 3_600_000
}

/// A version that must exist. The model lists versions in the order of their puts.
#[derive(Clone, Debug)]
struct Version {
    name: Name,
    number: u64,
    content: usize,
    tags: usize,
    /// Time of the put, in hours after clocks start.
    created: u64,
    kept_from: u64,
}

/// The artifacts that must exist, with quota, retention and time.
#[derive(Clone, Debug)]
pub(super) struct Model {
    versions: Vec<Version>,
    /// The newest number that each artifact ever had.
    last: BTreeMap<Name, u64>,
    /// Latest time of any put, in hours.
    latest: u64,
    /// Current time, in hours after clocks start.
    pub(super) now: u64,
    tight: bool,
    /// Retention of each type, in hours.
    kept: [Option<u64>; 2],
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            versions: Vec::new(),
            last: BTreeMap::new(),
            latest: 0,
            now: 0,
            tight: false,
            kept: [Some(30 * 24), Some(7 * 24)],
        }
    }

    /// Returns the model after each commit of an act, in order.
    pub(super) fn steps(&self, act: Act) -> Vec<Self> {
        let mut after = self.clone();
        match act {
            Act::Put { .. } if self.tight => {}
            Act::Put { name, content, tags, replace } => {
                if replace {
                    after.versions.retain(|version| version.name != name);
                }
                let last = after.last.entry(name).or_default();
                *last += 1;
                let number = *last;
                after.latest = after.latest.max(after.now);
                let (created, kept_from) = (after.now, after.latest);
                after.versions.push(Version { name, number, content, tags, created, kept_from });
            }
            Act::Tag { name, tags } => {
                if let Some(at) = self.newest(name) {
                    after.versions[at].tags = tags;
                }
            }
            Act::DeleteNewest(name) => {
                self.newest(name).map(|at| after.versions.remove(at));
            }
            Act::DeleteOld(name) => {
                let newest = self.newest(name).map(|at| self.versions[at].number);
                after.versions.retain(|v| v.name != name || Some(v.number) == newest);
            }
            Act::Delete(name) => after.versions.retain(|version| version.name != name),
            Act::DeleteAll { spec, task } => after
                .versions
                .retain(|v| v.name[0] != spec || task.is_some_and(|task| v.name[1] != task)),
            Act::SetQuota { tight } => after.tight = tight,
            Act::SetRetention { kind, hours } => after.kept[kind] = hours,
            Act::Expire => {
                let steps = (0..2).map(|kind| {
                    let kept = after.kept[kind];
                    let now = after.now;
                    let is_kept = |v: &Version| kept.is_none_or(|kept| v.kept_from + kept > now);
                    after.versions.retain(|version| version.name[2] != kind || is_kept(version));
                    after.clone()
                });
                return steps.collect();
            }
            Act::PassHours(hours) => after.now += hours,
            Act::Gc => {}
            Act::Reopen => after.now = 0,
        }
        vec![after]
    }

    pub(super) fn apply(&mut self, act: Act) {
        *self = self.steps(act).pop().expect("every act has a step");
    }

    fn newest(&self, name: Name) -> Option<usize> {
        let of_name = self.versions.iter().enumerate().filter(|(_, v)| v.name == name);
        of_name.max_by_key(|(_, version)| version.number).map(|(at, _)| at)
    }

    pub(super) fn compare_with(&self, vault: &Vault) -> Result<(), BoxError> {
        self.compare_rows(vault)?;
        self.compare_searches(vault)?;
        self.compare_totals(vault)
    }

    fn compare_rows(&self, vault: &Vault) -> Result<(), BoxError> {
        let artifacts = vault.artifacts();
        let mut expected: Vec<&Version> = self.versions.iter().collect();
        expected.sort_by_key(|version| (version.name, version.number));
        let found = artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX))?;
        let same = |found: &_, expected: &_| same("versions", found, expected);
        same(
            &found.iter().map(|info| info.uri().clone()).collect(),
            &expected.iter().map(|v| artifact(v.name).version(v.number)).collect(),
        )?;
        for (info, version) in found.iter().zip(expected) {
            let properties = (info.tags(), info.created_unix_millis());
            if properties != (&tags(version.tags)[..], unix_millis(version.created)) {
                return Err(format!("{info:?} has {properties:?}, not {version:?}").into());
            }
            if artifacts.read(info.uri())? != content(version.content) {
                return Err(format!("{info:?} has another content").into());
            }
        }
        Ok(())
    }

    /// Compares searches by every combination of conditions.
    ///
    /// The conditions are spec, task, type, tags and time.
    fn compare_searches(&self, vault: &Vault) -> Result<(), BoxError> {
        let artifacts = vault.artifacts();
        let wanted = [None, Some(0), Some(1)];
        for which in 0..3 * 3 * 3 * 4 * 2 {
            let names = [wanted[which % 3], wanted[which / 3 % 3], wanted[which / 9 % 3]];
            let (mask, in_time) = (which / 27 % 4, which / 108 == 1);
            let mut query = tags(mask).into_iter().fold(ArtifactQuery::new(), ArtifactQuery::tag);
            if let Some(at) = names[0] {
                query = query.spec(PARTS[0][at]);
            }
            if let Some(at) = names[1] {
                query = query.task(PARTS[1][at]);
            }
            if let Some(at) = names[2] {
                query = query.kind(PARTS[2][at]);
            }
            if in_time {
                query = query.created(unix_millis(1)..unix_millis(100));
            }
            let has = |version: &&Version| {
                let is_named =
                    |(wanted, name): (Option<usize>, usize)| wanted.is_none_or(|a| a == name);
                names.into_iter().zip(version.name).all(is_named)
                    && version.tags & mask == mask
                    && (!in_time || (1..100).contains(&version.created))
            };
            let mut expected: Vec<&Version> = self.versions.iter().filter(has).collect();
            // The newest first. Versions of the same time are in reverse order of their puts.
            expected.reverse();
            expected.sort_by_key(|version| std::cmp::Reverse(version.created));
            let found = artifacts.search(&query.clone().limit(1_000))?;
            same(
                &format!("search by {names:?}, tags {mask}, time {in_time}"),
                &found.versions.iter().map(|info| info.uri().clone()).collect(),
                &expected.iter().map(|v| artifact(v.name).version(v.number)).collect(),
            )?;
        }
        Ok(())
    }

    fn compare_totals(&self, vault: &Vault) -> Result<(), BoxError> {
        let usage = vault.artifacts().usage()?;
        let mut all = ArtifactTotal::default();
        let mut parts: [BTreeMap<String, ArtifactTotal>; 2] = Default::default();
        for version in &self.versions {
            let bytes = content(version.content).len() as u64;
            let [by_spec, by_kind] = &mut parts;
            let spec = by_spec.entry(PARTS[0][version.name[0]].to_owned()).or_default();
            let kind = by_kind.entry(PARTS[2][version.name[2]].to_owned()).or_default();
            for total in [&mut all, spec, kind] {
                *total = ArtifactTotal { versions: total.versions + 1, bytes: total.bytes + bytes };
            }
        }
        let [by_spec, by_kind] = parts.map(|totals| totals.into_iter().collect::<Vec<_>>());
        if (usage.all, &usage.by_spec, &usage.by_kind) != (all, &by_spec, &by_kind) {
            return Err(format!("{usage:?}, not {all:?}, {by_spec:?}, {by_kind:?}").into());
        }
        let quota = self.tight.then(|| Quota::new(0));
        if usage.quota != quota {
            return Err(format!("quota is {:?}, not {quota:?}", usage.quota).into());
        }
        let kept = vault.artifacts().retention()?;
        let kept = PARTS[2].map(|kind| kept[kind].map(|kept| kept.as_secs() / 3_600));
        if kept == self.kept {
            Ok(())
        } else {
            Err(format!("{kept:?}, not {:?}", self.kept).into())
        }
    }
}

type Uris = Vec<strongroom::artifacts::ArtifactUri>;

fn same(what: &str, found: &Uris, expected: &Uris) -> Result<(), BoxError> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}").into())
}
