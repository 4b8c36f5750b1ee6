//! Usage of artifacts, recounted, and quotas.
//!
//! A quota refuses a put before the first byte is written, where the size is known.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use strongroom::artifacts::{
    ArtifactName, ArtifactScope, ArtifactSpec, ArtifactTotal, Artifacts, ListQuery, OnExisting,
    Quota, TagChange, VersionsQuery,
};
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, LongCall, Vault};
use strongroom_testkit::{SeededEntropy, TestKey, memory_vault};
use tracing_subscriber::util::SubscriberInitExt;

use crate::scene::{ActingSource, collect, name, noise, put, whole};

/// Creates a vault with short packs, so that a content fills many.
fn vault() -> Vault {
    Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

/// A source that no call may read.
struct UnreadSource;

impl Read for UnreadSource {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("the source was read");
    }
}

fn spec(task: &str) -> ArtifactSpec {
    ArtifactSpec::new(name(task))
}

fn stored(artifacts: &Artifacts) -> u64 {
    artifacts.usage().unwrap().stored_bytes
}

#[test]
fn put_of_known_size_beyond_quota_is_refused_unread() {
    let vault = vault();
    let artifacts = vault.artifacts();
    artifacts.set_quota(Some(Quota::new(1_000_000))).unwrap();
    put(&artifacts, "1", &noise(600_000, 3));
    let taken = stored(&artifacts);
    assert!((600_000..700_000).contains(&taken), "{taken}");
    let error = artifacts.put(spec("2").size(400_001), UnreadSource).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    for number in ["400001", "1000000", &taken.to_string()] {
        assert!(error.to_string().contains(number), "{number} is not in {error}");
    }
    assert_eq!(stored(&artifacts), taken);
    assert!(!artifacts.exists(&name("2").newest()).unwrap());
    // A content that fits is stored, and known content needs no room.
    let bytes = noise(200_000, 5);
    artifacts.put(spec("2").size(200_000), &bytes[..]).unwrap();
    let more = stored(&artifacts);
    artifacts.put(spec("3"), &bytes[..]).unwrap();
    assert_eq!(stored(&artifacts), more);
    whole(&vault);
}

#[test]
fn put_of_unknown_size_beyond_quota_leaves_nothing() {
    let vault = vault();
    let artifacts = vault.artifacts();
    artifacts.set_quota(Some(Quota::new(1_000_000))).unwrap();
    let bytes = noise(6_000_000, 3);
    let mut read = 0;
    let source = ActingSource { bytes: &bytes, every: 100_000, read: 0, act: |sum| read = sum };
    let error = artifacts.put(spec("1"), source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("1000000"), "{error}");
    assert!((1_000_000..4_000_000).contains(&read), "{read} bytes were read");
    assert!(stored(&artifacts) <= 1_000_000);
    assert!(!artifacts.exists(&name("1").newest()).unwrap());
    // The commit refuses a content that is short enough for one commit.
    let error = artifacts.put(spec("1"), &bytes[..1_200_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    collect(&vault);
    assert_eq!((stored(&artifacts), whole(&vault).object_bytes), (0, 0));
    put(&artifacts, "1", &bytes[..900_000]);
}

#[test]
fn small_content_beyond_quota_is_refused() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    artifacts.set_quota(Some(Quota::new(10_000))).unwrap();
    put(&artifacts, "1", &noise(8_000, 3));
    let taken = stored(&artifacts);
    for size in [None, Some(8_000)] {
        let spec = size.map_or(spec("2"), |size| spec("2").size(size));
        let error = artifacts.put(spec, &noise(8_000, 5)[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    }
    assert_eq!(stored(&artifacts), taken);
    assert_eq!(artifacts.usage().unwrap().all.versions, 1);
    // Existing content remains readable and deletable under any quota.
    artifacts.set_quota(Some(Quota::new(0))).unwrap();
    assert_eq!(artifacts.read(&name("1").newest()).unwrap(), noise(8_000, 3));
    artifacts.tag(&name("1").newest(), &TagChange::Add(["t".into()].into())).unwrap();
    assert_eq!(artifacts.delete(&name("1").newest()).unwrap(), 1);
    artifacts.set_quota(None).unwrap();
    put(&artifacts, "2", &noise(8_000, 5));
}

#[test]
fn concurrent_puts_share_the_quota_and_return_reservations() {
    let vault = vault();
    let artifacts = vault.artifacts();
    artifacts.set_quota(Some(Quota::new(1_000_000))).unwrap();
    let bytes = noise(600_000, 3);
    let mut refused = 0;
    let act = |_: usize| {
        let error = artifacts.put(spec("2").size(600_000), UnreadSource).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        // A put of unknown size is refused as well.
        let error = artifacts.put(spec("3"), &noise(600_000, 5)[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        collect(&vault);
        refused += 1;
    };
    let source = ActingSource { bytes: &bytes, every: 300_000, read: 0, act };
    artifacts.put(spec("1").size(600_000), source).unwrap();
    assert_eq!(refused, 2);
    artifacts.delete(&name("1").newest()).unwrap();
    collect(&vault);
    assert_eq!(stored(&artifacts), 0);

    let cut = bytes[..300_000].chain(FailingSource);
    artifacts.put(spec("1").size(600_000), cut).unwrap_err();
    collect(&vault);
    artifacts.put(spec("2").size(600_000), &bytes[..]).unwrap();
    for size in [599_999, 600_001] {
        let error = artifacts.without_leases().put(spec("1").size(size), &bytes[..]).unwrap_err();
        assert!([ErrorKind::Invalid, ErrorKind::Full].contains(&error.kind()), "{error}");
    }
    whole(&vault);
}

/// A source that fails at once.
struct FailingSource;

impl Read for FailingSource {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the connection is lost"))
    }
}

#[test]
fn put_of_wrong_size_is_invalid_and_stores_nothing() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(600_000, 3);
    for size in [0, 1, 599_999, 600_001] {
        let error = artifacts.put(spec("1").size(size), &bytes[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
    assert!(!artifacts.exists(&name("1").newest()).unwrap());
    artifacts.put(spec("1").size(600_000), &bytes[..]).unwrap();
    artifacts.put(spec("1").size(0), &b""[..]).unwrap();
}

#[test]
fn quota_persists_in_the_vault() {
    let (state, memory) = (MemoryState::new(), strongroom::backends::Memory::new());
    let vault = Vault::options(TestKey).create_on(state.clone(), memory.clone()).unwrap();
    let quota = Quota { bytes: 1_000, warn_percent: 50 };
    assert_eq!(vault.artifacts().quota().unwrap(), None);
    vault.artifacts().set_quota(Some(quota)).unwrap();
    for warn_percent in [0, 101] {
        let bad = vault.artifacts().set_quota(Some(Quota { bytes: 1, warn_percent }));
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::Invalid);
    }
    drop(vault);
    let vault = Vault::options(TestKey).open_on(state, memory).unwrap();
    assert_eq!(vault.artifacts().quota().unwrap(), Some(quota));
    assert_eq!(vault.artifacts().usage().unwrap().quota, Some(quota));
    vault.artifacts().set_quota(None).unwrap();
    assert_eq!(vault.artifacts().quota().unwrap(), None);
}

/// A log writer whose text a test reads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn put_near_quota_logs_a_warning() {
    let log = Log::default();
    let writer = log.clone();
    let _subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(move || writer.clone())
        .finish()
        .set_default();
    let warned = || String::from_utf8(log.0.lock().clone()).unwrap().contains("filling");
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    artifacts.set_quota(Some(Quota::new(100_000))).unwrap();
    put(&artifacts, "1", &noise(60_000, 3));
    assert!(!artifacts.usage().unwrap().is_filling() && !warned());
    put(&artifacts, "1", &noise(25_000, 5));
    assert!(artifacts.usage().unwrap().is_filling() && warned());
}

#[derive(Clone, Debug)]
enum Act {
    Put { name: [usize; 3], content: usize, how: OnExisting },
    Tag { name: [usize; 3], tag: usize },
    DeleteNewest([usize; 3]),
    Delete([usize; 3]),
    DeleteTask(usize, Option<usize>),
    Collect,
}

const NAMES: [&str; 2] = ["x", "y"];

fn act() -> impl Strategy<Value = Act> {
    let name = || [0..2_usize, 0..2, 0..2];
    let how = prop_oneof![
        4 => Just(OnExisting::AddVersion),
        1 => Just(OnExisting::Replace),
        1 => Just(OnExisting::Refuse),
    ];
    prop_oneof![
        8 => (name(), 0..6_usize, how)
            .prop_map(|(name, content, how)| Act::Put { name, content, how }),
        2 => (name(), 0..3_usize).prop_map(|(name, tag)| Act::Tag { name, tag }),
        2 => name().prop_map(Act::DeleteNewest),
        1 => name().prop_map(Act::Delete),
        1 => (0..2_usize, proptest::option::of(0..2_usize))
            .prop_map(|(spec, task)| Act::DeleteTask(spec, task)),
        2 => Just(Act::Collect),
    ]
}

fn artifact([spec, task, kind]: [usize; 3]) -> ArtifactName {
    ArtifactName::new(NAMES[spec], NAMES[task], NAMES[kind]).unwrap()
}

fn make(vault: &Vault, act: &Act) {
    let artifacts = vault.artifacts();
    match *act {
        Act::Put { name, content, how } => {
            let bytes = noise([0, 10, 9_000, 9_000, 50_000, 700_000][content], content as u64 * 2);
            let put = artifacts.put(ArtifactSpec::new(artifact(name)).on_existing(how), &bytes[..]);
            let is_refused = put.is_err_and(|e| e.kind() == ErrorKind::AlreadyExists);
            assert!(!is_refused || how == OnExisting::Refuse);
        }
        Act::Tag { name, tag } => {
            let change = TagChange::Replace([tag.to_string()].into());
            let tagged = artifacts.tag(&artifact(name).newest(), &change);
            assert!(tagged.is_ok() || tagged.is_err_and(|e| e.kind() == ErrorKind::NotFound));
        }
        Act::DeleteNewest(name) => {
            let newest = artifacts.versions(&VersionsQuery::of(&artifact(name)).limit(1)).unwrap();
            for info in newest {
                assert_eq!(artifacts.delete(info.uri()).unwrap(), 1);
            }
        }
        Act::Delete(name) => drop(artifacts.delete(&artifact(name).newest()).unwrap()),
        Act::DeleteTask(spec, task) => {
            let task = task.map(|task| NAMES[task]);
            artifacts
                .delete_all(&ArtifactScope::spec(NAMES[spec]).task(task), LongCall::new())
                .unwrap();
        }
        Act::Collect => collect(vault),
    }
}

fn assert_usage(artifacts: &Artifacts) {
    let mut all = ArtifactTotal::default();
    let (mut by_spec, mut by_kind) = (BTreeMap::new(), BTreeMap::new());
    for info in artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX)).unwrap() {
        let name = info.uri().name();
        let spec = by_spec.entry(name.spec().to_owned()).or_default();
        let kind = by_kind.entry(name.kind().to_owned()).or_default();
        for total in [&mut all, spec, kind] {
            *total =
                ArtifactTotal { versions: total.versions + 1, bytes: total.bytes + info.len() };
        }
    }
    let usage = artifacts.usage().unwrap();
    assert_eq!(usage.all, all);
    assert_eq!(usage.by_spec.into_iter().collect::<BTreeMap<_, ArtifactTotal>>(), by_spec);
    assert_eq!(usage.by_kind.into_iter().collect::<BTreeMap<_, ArtifactTotal>>(), by_kind);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn usage_equals_a_recount(acts in vec(act(), 1..40)) {
        let vault = vault();
        let artifacts = vault.artifacts();
        for act in &acts {
            make(&vault, act);
            assert_usage(&artifacts);
        }
        // The check also recounts the stored total.
        whole(&vault);
        for spec in NAMES {
            artifacts.delete_all(&ArtifactScope::spec(spec), LongCall::new()).unwrap();
        }
        collect(&vault);
        let usage = artifacts.usage().unwrap();
        prop_assert_eq!((usage.all, usage.stored_bytes), (ArtifactTotal::default(), 0));
        prop_assert!(usage.by_spec.is_empty() && usage.by_kind.is_empty());
        prop_assert_eq!(whole(&vault).chunks, 0);
    }
}
