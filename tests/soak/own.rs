//! Artifacts of a single thread: whatever the other threads do, the thread finds what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use strongroom::artifacts::{
    ArtifactInfo, ArtifactName, ArtifactQuery, ArtifactReader, ArtifactScope, ArtifactSpec,
    ArtifactUri, Artifacts, ListQuery, OnExisting, TagChange,
};
use strongroom::{CancelToken, ErrorKind, LongCall};

use crate::scene::{Content, FailingSource, name};
use crate::support::random::Random;

const TASKS: [&str; 3] = ["1.1", "1.2", "2"];
const KINDS: [&str; 3] = ["diff", "log", "report"];
const TAGS: [&str; 5] = ["nightly", "flaky", "kept", "a b", "ü"];
/// Most versions of one artifact. Beyond them, the oldest versions are deleted.
const VERSIONS_MAX: usize = 6;
/// Most readers that stay open during other steps.
const READERS_MAX: usize = 2;

/// A version that must exist.
#[derive(Clone, Debug)]
struct Version {
    number: u64,
    /// Position in the order of this thread's puts.
    arrival: u64,
    content: Content,
    tags: BTreeSet<String>,
}

/// The next version number of an artifact, and its versions, oldest first.
#[derive(Clone, Debug)]
struct ExpectedArtifact {
    next: u64,
    versions: Vec<Version>,
}

/// The artifacts of one thread.
pub(crate) struct Owner {
    spec: String,
    artifacts: Artifacts,
    random: Random,
    kept: BTreeMap<ArtifactName, ExpectedArtifact>,
    arrivals: u64,
    readers: Vec<(ArtifactReader, Vec<u8>)>,
}

fn draw_tags(random: &mut Random) -> BTreeSet<String> {
    let tags = TAGS.iter().filter(|_| random.below(3) == 0);
    tags.map(|tag| (*tag).to_owned()).collect()
}

impl Owner {
    pub(crate) fn new(artifacts: Artifacts, thread: u64) -> Self {
        Self {
            spec: format!("own {thread}"),
            artifacts,
            random: Random::new(thread),
            kept: BTreeMap::new(),
            arrivals: 0,
            readers: Vec::new(),
        }
    }

    fn draw_name(&mut self) -> ArtifactName {
        let mut pick =
            |from: [&'static str; 3]| from[usize::try_from(self.random.below(3)).unwrap()];
        name(&self.spec, pick(TASKS), pick(KINDS))
    }

    /// Returns a random existing version.
    fn draw_version(&mut self) -> Option<(ArtifactUri, Version)> {
        let all: Vec<_> = self
            .kept
            .iter()
            .flat_map(|(name, kept)| kept.versions.iter().map(move |version| (name, version)))
            .collect();
        let at = usize::try_from(self.random.below(all.len() as u64)).unwrap();
        all.get(at).map(|(name, version)| (name.version(version.number), (*version).clone()))
    }

    /// Makes a random call, asserts its result, and returns its name.
    pub(crate) fn step(&mut self) -> &'static str {
        match self.random.below(21) {
            0..=5 => self.put(),
            6 => self.put_that_fails(),
            7..=9 => self.read(),
            10 => self.open_reader(),
            11..=12 => self.tag(),
            13..=15 => self.search(),
            16 => self.list(),
            17 => self.delete_version(),
            18 => self.delete(),
            19 => self.delete_task(),
            _ => self.export(),
        }
    }

    fn put(&mut self) -> &'static str {
        let name = self.draw_name();
        let content = Content::draw(&mut self.random);
        let tags = draw_tags(&mut self.random);
        let on_existing = match self.random.below(6) {
            0 => OnExisting::Replace,
            1 => OnExisting::Refuse,
            _ => OnExisting::AddVersion,
        };
        let mut spec = ArtifactSpec::new(name.clone()).on_existing(on_existing);
        spec = tags.iter().fold(spec, ArtifactSpec::tag);
        if self.random.below(2) == 0 {
            spec = spec.size(content.len());
        }
        let put = self.artifacts.put(spec, &content.bytes()[..]);
        let kept = self
            .kept
            .entry(name.clone())
            .or_insert(ExpectedArtifact { next: 1, versions: Vec::new() });
        if on_existing == OnExisting::Refuse && !kept.versions.is_empty() {
            assert_eq!(put.unwrap_err().kind(), ErrorKind::AlreadyExists);
            return "put refused";
        }
        assert_eq!(put.unwrap(), name.version(kept.next));
        if on_existing == OnExisting::Replace {
            kept.versions.clear();
        }
        kept.versions.push(Version { number: kept.next, arrival: self.arrivals, content, tags });
        kept.next += 1;
        self.arrivals += 1;
        if kept.versions.len() > VERSIONS_MAX {
            let deleted = self.artifacts.delete_old(&name, VERSIONS_MAX / 2).unwrap();
            let too_many = kept.versions.len() - VERSIONS_MAX / 2;
            kept.versions.drain(..too_many);
            assert_eq!(deleted, too_many as u64);
        }
        "put"
    }

    fn put_that_fails(&mut self) -> &'static str {
        let bytes = Content::draw(&mut self.random).bytes();
        let spec = ArtifactSpec::new(self.draw_name());
        assert!(self.artifacts.put(spec, FailingSource(&bytes)).is_err());
        "put whose source fails"
    }

    fn read(&mut self) -> &'static str {
        if let Some((mut reader, rest)) = self.readers.pop() {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == rest, "{:?} has changed", reader.info());
        }
        if let Some((uri, version)) = self.draw_version() {
            assert!(self.artifacts.read(&uri).unwrap() == version.content.bytes(), "{uri}");
            let info = self.artifacts.verify(&uri).unwrap();
            assert!(version.matches(&info), "{info:?}");
        } else {
            let name = self.draw_name();
            assert!(!self.artifacts.exists(&name.newest()).unwrap());
        }
        "read"
    }

    /// Opens a reader and reads a third of its version.
    ///
    /// The version may be deleted and freed before the reader reaches its end.
    fn open_reader(&mut self) -> &'static str {
        if let Some((uri, version)) = self.draw_version()
            && self.readers.len() < READERS_MAX
        {
            let mut reader = self.artifacts.open(&uri).unwrap();
            let bytes = version.content.bytes();
            let (begin, rest) = bytes.split_at(bytes.len() / 3);
            let mut read = vec![0; begin.len()];
            reader.read_exact(&mut read).unwrap();
            assert!(read == begin, "{uri}");
            self.readers.push((reader, rest.to_vec()));
        }
        "begin to read"
    }

    fn tag(&mut self) -> &'static str {
        let drawn = draw_tags(&mut self.random);
        let Some((uri, version)) = self.draw_version() else {
            let name = self.draw_name();
            let tagged = self.artifacts.tag(&name.newest(), &TagChange::Add(drawn));
            assert_eq!(tagged.unwrap_err().kind(), ErrorKind::NotFound);
            return "tag";
        };
        let mut tags = version.tags;
        let change = match self.random.below(3) {
            0 => {
                tags.extend(drawn.iter().cloned());
                TagChange::Add(drawn)
            }
            1 => {
                tags.retain(|tag| !drawn.contains(tag));
                TagChange::Remove(drawn)
            }
            _ => {
                tags.clone_from(&drawn);
                TagChange::Replace(drawn)
            }
        };
        assert_eq!(self.artifacts.tag(&uri, &change).unwrap(), uri);
        let versions = &mut self.kept.get_mut(uri.name()).unwrap().versions;
        versions.iter_mut().find(|v| Some(v.number) == uri.version()).unwrap().tags = tags;
        "tag"
    }

    fn search(&mut self) -> &'static str {
        let pick = |random: &mut Random, from: &[&'static str]| {
            let at = usize::try_from(random.below(2 * from.len() as u64)).unwrap();
            from.get(at).copied()
        };
        let task = pick(&mut self.random, &TASKS);
        let kind = pick(&mut self.random, &KINDS);
        let mut tags = draw_tags(&mut self.random);
        if self.random.below(2) == 0 {
            tags.clear();
        }
        let mut query = ArtifactQuery::new().spec(&self.spec);
        query = task.into_iter().fold(query, ArtifactQuery::task);
        query = kind.into_iter().fold(query, ArtifactQuery::kind);
        query = tags.iter().fold(query, ArtifactQuery::tag);
        let limit = 1 + usize::try_from(self.random.below(20)).unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.artifacts.search(&query.clone().after(after).limit(limit)).unwrap();
            assert!(page.versions.len() == limit || page.next.is_none());
            found.extend(page.versions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = self
            .kept
            .iter()
            .filter(|(name, _)| task.is_none_or(|task| name.task() == task))
            .filter(|(name, _)| kind.is_none_or(|kind| name.kind() == kind))
            .flat_map(|(name, kept)| kept.versions.iter().map(move |version| (name, version)))
            .filter(|(_, version)| tags.is_subset(&version.tags))
            .collect();
        expected.sort_by_key(|(_, version)| std::cmp::Reverse(version.arrival));
        assert_eq!(found.len(), expected.len());
        for (info, (name, version)) in found.iter().zip(expected) {
            assert_eq!(*info.uri(), name.version(version.number));
            assert!(version.matches(info), "{info:?}");
        }
        "search"
    }

    fn list(&mut self) -> &'static str {
        self.assert_versions_match();
        "list"
    }

    fn delete_version(&mut self) -> &'static str {
        let Some((uri, _)) = self.draw_version() else { return "delete nothing" };
        assert_eq!(self.artifacts.delete(&uri).unwrap(), 1);
        let versions = &mut self.kept.get_mut(uri.name()).unwrap().versions;
        versions.retain(|version| Some(version.number) != uri.version());
        "delete a version"
    }

    fn delete(&mut self) -> &'static str {
        let name = self.draw_name();
        let deleted = self.artifacts.delete(&name.newest()).unwrap();
        let had = self.kept.get_mut(&name).map_or(0, |kept| kept.versions.drain(..).len());
        assert_eq!(deleted, had as u64);
        "delete"
    }

    fn delete_task(&mut self) -> &'static str {
        let name = self.draw_name();
        let cancel = CancelToken::new();
        let deleted = self
            .artifacts
            .delete_all(
                &ArtifactScope::spec(&self.spec).task(name.task()),
                LongCall::new().cancel(&cancel),
            )
            .unwrap();
        let of_task = self.kept.iter_mut().filter(|(other, _)| other.task() == name.task());
        let had: usize = of_task.map(|(_, kept)| kept.versions.drain(..).len()).sum();
        assert_eq!(deleted, had as u64);
        "delete a task"
    }

    fn export(&mut self) -> &'static str {
        let versions = self.kept.iter().flat_map(|(name, kept)| {
            kept.versions.iter().map(move |version| (name.version(version.number), version))
        });
        let versions: Vec<_> = versions.collect();
        let (mut archive, cancel) = (Vec::new(), CancelToken::new());
        let exported = self.artifacts.export(
            &ArtifactScope::spec(&self.spec),
            &mut archive,
            LongCall::new().cancel(&cancel),
        );
        if versions.is_empty() {
            assert_eq!(exported.unwrap_err().kind(), ErrorKind::NotFound);
            return "export nothing";
        }
        let exported = exported.unwrap();
        let bytes: u64 = versions.iter().map(|(_, version)| version.content.len()).sum();
        assert_eq!((exported.versions, exported.bytes), (versions.len() as u64, bytes));
        let listed = paths_in(&archive);
        let paths = versions.iter().map(|(uri, version)| {
            format!("{}/{}@{}", uri.name().task(), uri.name().kind(), version.number)
        });
        assert_eq!(listed, paths.chain(["metadata.json".to_owned()]).collect());
        "export"
    }

    /// Asserts that exactly the expected artifacts and versions exist.
    pub(crate) fn assert_versions_match(&self) {
        let listed = self
            .artifacts
            .list(&ListQuery::of(ArtifactScope::spec(&self.spec)).limit(usize::MAX))
            .unwrap();
        let expected = self
            .kept
            .iter()
            .flat_map(|(name, kept)| kept.versions.iter().map(move |version| (name, version)));
        let expected: Vec<_> = expected.collect();
        assert_eq!(listed.len(), expected.len(), "{}", self.spec);
        for (info, (name, version)) in listed.iter().zip(expected) {
            assert_eq!(*info.uri(), name.version(version.number));
            assert!(version.matches(info), "{info:?}");
        }
    }

    /// Drops all open readers.
    pub(crate) fn close_readers(&mut self) {
        self.readers.clear();
    }
}

/// Returns the paths in the directory of a ZIP archive.
///
/// See APPNOTE 6.3.10, 4.3.12 and 4.3.16.
fn paths_in(archive: &[u8]) -> BTreeSet<String> {
    let number = |at: usize, bytes: usize| {
        let number = archive[at..at + bytes].iter().rev();
        number.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let end = archive.len() - 22;
    assert_eq!(
        archive[end..end + 4],
        *b"PK\x05\x06",
        "the directory does not end 22 bytes before the end of the archive"
    );
    let mut at = number(end + 16, 4);
    let mut paths = BTreeSet::new();
    for _ in 0..number(end + 10, 2) {
        assert_eq!(archive[at..at + 4], *b"PK\x01\x02", "no entry of a directory");
        let path = &archive[at + 46..at + 46 + number(at + 28, 2)];
        assert!(paths.insert(String::from_utf8(path.to_vec()).unwrap()), "a path occurs twice");
        at += 46 + number(at + 28, 2) + number(at + 30, 2) + number(at + 32, 2);
    }
    assert_eq!(at, end, "bytes follow the last entry");
    paths
}

impl Version {
    fn matches(&self, info: &ArtifactInfo) -> bool {
        info.len() == self.content.len() && info.tags().iter().eq(&self.tags)
    }
}
