//! Names, versions, listings and deletions, and calls that are refused.

use strongroom::artifacts::{
    ARTIFACT_METADATA_BYTES_MAX, ArtifactName, ArtifactScope, ArtifactSpec, ArtifactUri, ListQuery,
    OnExisting, TAGS_MAX, VersionsQuery,
};
use strongroom::{ErrorKind, LongCall};
use strongroom_testkit::memory_vault;

use crate::scene::{collect, name, put, whole};

fn uris(found: &[strongroom::artifacts::ArtifactInfo]) -> Vec<String> {
    found.iter().map(|version| version.uri().to_string()).collect()
}

#[test]
fn version_returns_what_its_put_gave() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let spec = ArtifactSpec::new(ArtifactName::new("a spec/x", "1.1", "diff").unwrap())
        .mime("text/x-diff")
        .tag("nightly")
        .tag("good")
        .metadata("by", "ada");
    let uri = artifacts.put(spec, &b"+1"[..]).unwrap();
    assert_eq!(uri.to_string(), "strongroom:///artifact/a%20spec%2Fx/1.1/diff@1");
    let parsed: ArtifactUri = uri.to_string().parse().unwrap();
    let version = artifacts.info(&parsed).unwrap();
    assert_eq!(
        (version.mime(), version.tags()),
        (Some("text/x-diff"), &["good".into(), "nightly".into()][..])
    );
    assert_eq!(version.metadata(), [("by".to_owned(), "ada".to_owned())]);
    assert_eq!((version.len(), artifacts.read(&parsed).unwrap()), (2, (&b"+1"[..]).into()));
    assert!(version.created_unix_millis() > 0 && !version.is_empty());
    let debug = format!("{version:?}");
    assert!(!debug.contains("nightly") && !debug.contains("ada"), "{debug}");
}

#[test]
fn versions_accumulate_or_replace_and_old_ones_are_deleted() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    for n in 1..=5 {
        assert_eq!(put(&artifacts, "1", format!("{n}").as_bytes()), name("1").version(n));
    }
    assert_eq!(artifacts.read(&name("1").newest()).unwrap(), "5");
    assert_eq!(artifacts.versions(&VersionsQuery::of(&name("1")).limit(100)).unwrap().len(), 5);
    assert_eq!(artifacts.delete(&name("1").version(2)).unwrap(), 1);
    assert_eq!(artifacts.delete_old(&name("1"), 2).unwrap(), 2);
    let left = artifacts.versions(&VersionsQuery::of(&name("1")).limit(100)).unwrap();
    assert_eq!(left.iter().map(|v| v.uri().version().unwrap()).collect::<Vec<_>>(), [5, 4]);
    let replace = ArtifactSpec::new(name("1")).on_existing(OnExisting::Replace);
    let uri = artifacts.put(replace, &b"alone"[..]).unwrap();
    assert_eq!(
        (
            uri.version(),
            artifacts.versions(&VersionsQuery::of(&name("1")).limit(100)).unwrap().len()
        ),
        (Some(6), 1)
    );
    let refuse = || ArtifactSpec::new(name("1")).on_existing(OnExisting::Refuse);
    let refused = artifacts.put(refuse(), &b"no"[..]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(artifacts.delete(&name("1").newest()).unwrap(), 1);
    assert!(!artifacts.exists(&name("1").newest()).unwrap());
    // A version number is never used again.
    assert_eq!(artifacts.put(refuse(), &b"yes"[..]).unwrap().version(), Some(7));
    assert_eq!(artifacts.delete_old(&name("1"), 0).unwrap_err().kind(), ErrorKind::Invalid);
    whole(&vault);
    collect(&vault);
    assert_eq!(whole(&vault).chunks, 1);
}

#[test]
fn listing_pages_and_deletion_cover_one_spec_or_task() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    for (spec, task, kind) in [
        ("a", "1", "diff"),
        ("a", "1", "log"),
        ("a", "10", "log"),
        ("a", "2", "log"),
        ("ab", "1", "log"),
        ("b", "1", "log"),
    ] {
        let name = ArtifactName::new(spec, task, kind).unwrap();
        artifacts.put(ArtifactSpec::new(name.clone()), &b"x"[..]).unwrap();
        artifacts.put(ArtifactSpec::new(name), &b"y"[..]).unwrap();
    }
    let mut all = Vec::new();
    let mut after: Option<ArtifactUri> = None;
    loop {
        let page = artifacts
            .list(&ListQuery::of(ArtifactScope::all()).after(after.as_ref()).limit(5))
            .unwrap();
        all.extend(uris(&page));
        after = page.last().map(|last| last.uri().clone());
        if page.len() < 5 {
            break;
        }
    }
    assert_eq!(all.len(), 12);
    let of = |spec, task| {
        uris(
            &artifacts
                .list(&ListQuery::of(ArtifactScope::spec(spec).task(task)).limit(100))
                .unwrap(),
        )
    };
    assert_eq!((of("a", None).len(), of("a", Some("1")).len(), of("ab", None).len()), (8, 4, 2));
    assert_eq!(of("a", Some("1")), all[..4]);
    assert_eq!(of("c", None), [""; 0]);
    let beyond = ArtifactName::new("zzz", "1", "log").unwrap().newest();
    assert_eq!(
        artifacts.list(&ListQuery::of(ArtifactScope::spec("a")).after(&beyond).limit(5)).unwrap(),
        []
    );
    let refused =
        artifacts.list(&ListQuery::of(ArtifactScope::all().task("1")).limit(9)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    // A deletion must name its scope.
    let refused = artifacts.delete_all(&ArtifactScope::all(), LongCall::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(
        artifacts.delete_all(&ArtifactScope::spec("a").task("1"), LongCall::new()).unwrap(),
        4
    );
    assert_eq!(artifacts.delete_all(&ArtifactScope::spec("a"), LongCall::new()).unwrap(), 4);
    assert_eq!(artifacts.delete_all(&ArtifactScope::spec("a"), LongCall::new()).unwrap(), 0);
    assert_eq!(artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(100)).unwrap().len(), 4);
    whole(&vault);
}

#[test]
fn put_beyond_limits_is_refused_before_reading() {
    struct Unread;
    impl std::io::Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("the source was read");
        }
    }
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let spec = || ArtifactSpec::new(name("1"));
    let many = (0..=TAGS_MAX).fold(spec(), |spec, n| spec.tag(n.to_string()));
    let long = spec().metadata("k", "v".repeat(ARTIFACT_METADATA_BYTES_MAX));
    for bad in [many, long, spec().tag(""), spec().tag("a\nb"), spec().mime("m".repeat(129))] {
        assert_eq!(artifacts.put(bad, Unread).unwrap_err().kind(), ErrorKind::Invalid);
    }
    for bad in [["", "t", "k"], ["s", "t\0", "k"], ["s", "t", &"k".repeat(129)]] {
        let [spec, task, kind] = bad;
        assert_eq!(ArtifactName::new(spec, task, kind).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let nested = vault.write(|_| artifacts.put(spec(), Unread).map(drop));
    assert_eq!(nested.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(whole(&vault).chunks, 0);
}
