//! Artifacts that all threads write.
//!
//! The assertions hold for any order of calls.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use strongroom::artifacts::{
    ArtifactQuery, ArtifactScope, ArtifactSpec, Artifacts, OnExisting, TagChange, VersionsQuery,
};
use strongroom::content::GcOptions;
use strongroom::{CancelToken, ErrorKind, LongCall, Vault};

use crate::scene::{Content, name};
use crate::support::random::Random;

pub(crate) const SPEC: &str = "shared";

/// Artifacts that are written under a lease acquired before.
const LEASED: [&str; 2] = ["leased 1", "leased 2"];
const LEASED_VERSIONS_MAX: usize = 4;
/// Approximate number of versions of the artifact that all threads add to.
const ADDED_VERSIONS: usize = 48;
/// Tags of each thread. Sixteen threads fill a version's limit of tags.
const TAGS_OF_THREAD: u64 = 4;

/// Content of each version, by number.
type Versions = BTreeMap<u64, Content>;

/// The expected shared artifacts.
pub(crate) struct Shared {
    /// The versions of each leased artifact. The holder of a lease always finds the mutex free.
    leased: [Mutex<Versions>; 2],
    /// The versions that threads add. Each number belongs to one put, and one thread deletes it.
    added: Mutex<AddedVersions>,
}

#[derive(Default)]
struct AddedVersions {
    existing: Versions,
    numbers: BTreeSet<u64>,
}

impl Shared {
    pub(crate) fn new(artifacts: &Artifacts) -> Self {
        artifacts.put(ArtifactSpec::new(name(SPEC, "tagged", "log")), &b"tagged"[..]).unwrap();
        Self { leased: Default::default(), added: Mutex::default() }
    }

    /// Asserts that exactly the expected versions exist, with their contents.
    pub(crate) fn assert_versions_match(&self, artifacts: &Artifacts) {
        let leased = LEASED.iter().zip(&self.leased);
        for (task, versions) in leased {
            assert_versions(artifacts, task, &versions.lock());
        }
        assert_versions(artifacts, "added", &self.added.lock().existing);
    }
}

#[track_caller]
fn assert_versions(artifacts: &Artifacts, task: &str, versions: &Versions) {
    let name = name(SPEC, task, "log");
    let found = artifacts.versions(&VersionsQuery::of(&name).limit(usize::MAX)).unwrap();
    let numbers: Vec<_> = found.iter().filter_map(|info| info.uri().version()).collect();
    assert!(numbers.iter().eq(versions.keys().rev()), "{task}: {numbers:?}");
    for (&number, content) in versions {
        assert!(artifacts.read(&name.version(number)).unwrap() == content.bytes(), "{task}");
    }
}

/// One thread's access to the shared artifacts.
pub(crate) struct Sharer<'a> {
    vault: Vault,
    artifacts: Artifacts,
    shared: &'a Shared,
    thread: u64,
    random: Random,
    /// The thread's own tags that are set.
    tags: BTreeSet<String>,
}

impl<'a> Sharer<'a> {
    pub(crate) fn new(vault: &Vault, shared: &'a Shared, thread: u64) -> Self {
        Self {
            vault: vault.clone(),
            artifacts: vault.artifacts(),
            shared,
            thread,
            random: Random::new(1_000 + thread),
            tags: BTreeSet::new(),
        }
    }

    /// Makes a random call, asserts its result, and returns its name.
    pub(crate) fn step(&mut self) -> &'static str {
        match self.random.below(14) {
            0..=2 => self.write_leased(),
            3..=5 => self.add_version(),
            6..=7 => self.read_added(),
            8..=9 => self.tag(),
            10 => self.export(),
            11..=12 => {
                self.vault.gc(&GcOptions::new()).unwrap();
                "gc"
            }
            _ => {
                self.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
                "clean"
            }
        }
    }

    fn write_leased(&mut self) -> &'static str {
        let at = usize::try_from(self.random.below(2)).unwrap();
        let name = name(SPEC, LEASED[at], "log");
        let lease = self.artifacts.lock(&name).unwrap();
        let mut versions =
            self.shared.leased[at].try_lock().expect("the lease excludes other threads");
        let artifacts = self.artifacts.holding(&lease);
        let found = artifacts.versions(&VersionsQuery::of(&name).limit(usize::MAX)).unwrap();
        let numbers = found.iter().filter_map(|info| info.uri().version());
        assert!(numbers.eq(versions.keys().rev().copied()), "{found:?} for {versions:?}");
        if versions.len() == LEASED_VERSIONS_MAX {
            assert_eq!(artifacts.delete_old(&name, 1).unwrap(), versions.len() as u64 - 1);
            let newest = versions.pop_last().unwrap();
            *versions = Versions::from([newest]);
            return "delete under a lease";
        }
        let content = Content::draw(&mut self.random);
        let is_replaced = self.random.below(4) == 0;
        let mut spec = ArtifactSpec::new(name);
        if is_replaced {
            spec = spec.on_existing(OnExisting::Replace);
            versions.clear();
        }
        let uri = artifacts.put(spec, &content.bytes()[..]).unwrap();
        versions.insert(uri.version().unwrap(), content);
        "put under a lease"
    }

    fn add_version(&mut self) -> &'static str {
        let name = name(SPEC, "added", "log");
        let old = {
            let mut added = self.shared.added.lock();
            if added.existing.len() > ADDED_VERSIONS { added.existing.pop_first() } else { None }
        };
        if let Some((number, _)) = old {
            // The version is removed from the model first, so that no other thread deletes it.
            assert_eq!(self.artifacts.delete(&name.version(number)).unwrap(), 1);
            return "delete a version of another thread";
        }
        let content = Content::draw(&mut self.random);
        let uri = self.artifacts.put(ArtifactSpec::new(name), &content.bytes()[..]).unwrap();
        let mut added = self.shared.added.lock();
        let number = uri.version().unwrap();
        assert!(added.numbers.insert(number), "{uri} was given twice");
        added.existing.insert(number, content);
        "put among others"
    }

    fn read_added(&mut self) -> &'static str {
        let drawn = {
            let existing = &self.shared.added.lock().existing;
            let at = usize::try_from(self.random.below(existing.len() as u64)).unwrap();
            existing.iter().nth(at).map(|(number, content)| (*number, *content))
        };
        let Some((number, content)) = drawn else { return "read nothing" };
        match self.artifacts.read(&name(SPEC, "added", "log").version(number)) {
            Ok(bytes) => assert!(bytes == content.bytes(), "version {number}"),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
                let added = self.shared.added.lock();
                assert!(
                    !added.existing.contains_key(&number),
                    "version {number} is missing without a deletion"
                );
            }
        }
        "read a version of another thread"
    }

    /// Exports the shared artifacts during writes of other threads.
    fn export(&mut self) -> &'static str {
        let cancel = CancelToken::new();
        let exported = self
            .artifacts
            .export(&ArtifactScope::spec(SPEC), std::io::sink(), LongCall::new().cancel(&cancel))
            .unwrap();
        assert!(exported.versions > 0, "the export is empty");
        "export among others"
    }

    /// Changes tags of a version that all threads tag. Each thread finds its own tags unchanged.
    fn tag(&mut self) -> &'static str {
        let name = name(SPEC, "tagged", "log");
        let mine = format!("thread {} ", self.thread);
        let tag = format!("{mine}{}", self.random.below(TAGS_OF_THREAD));
        let tags = BTreeSet::from([tag.clone()]);
        let change = if self.tags.remove(&tag) {
            TagChange::Remove(tags)
        } else {
            self.tags.insert(tag.clone());
            TagChange::Add(tags)
        };
        self.artifacts.tag(&name.newest(), &change).unwrap();
        let info = self.artifacts.info(&name.newest()).unwrap();
        assert!(info.tags().iter().filter(|tag| tag.starts_with(&mine)).eq(&self.tags));
        let query = ArtifactQuery::new().task("tagged").tag(&tag);
        let found = self.artifacts.search(&query.clone().limit(10)).unwrap().versions;
        assert_eq!(found.len(), usize::from(self.tags.contains(&tag)), "{tag}");
        "tag among others"
    }
}
