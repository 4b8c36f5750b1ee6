//! Tags of existing versions: added, removed, replaced, and searchable at once.

use std::collections::BTreeSet;

use strongroom::ErrorKind;
use strongroom::artifacts::{
    ArtifactQuery, ArtifactSpec, ArtifactUri, Artifacts, TAGS_MAX, TagChange,
};
use strongroom_testkit::memory_vault;

use crate::scene::{name, put, whole};

fn some(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|&tag| tag.to_owned()).collect()
}

fn found(artifacts: &Artifacts, tag: &str) -> Vec<ArtifactUri> {
    let page = artifacts.search(&ArtifactQuery::new().tag(tag).limit(100)).unwrap();
    page.versions.iter().map(|info| info.uri().clone()).collect()
}

#[test]
fn changed_tags_are_searchable_at_once() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let uri = artifacts.put(ArtifactSpec::new(name("1")).tag("b"), &b"x"[..]).unwrap();
    for (change, tags) in [
        (TagChange::Add(some(&["c", "a"])), &["a", "b", "c"][..]),
        (TagChange::Add(some(&["a"])), &["a", "b", "c"]),
        (TagChange::Remove(some(&["b", "none"])), &["a", "c"]),
        (TagChange::Replace(some(&["d", "a"])), &["a", "d"]),
        (TagChange::Add(some(&[])), &["a", "d"]),
        (TagChange::Replace(some(&[])), &[]),
        (TagChange::Remove(some(&["a"])), &[]),
        (TagChange::Add(some(&["z"])), &["z"]),
    ] {
        assert_eq!(artifacts.tag(&uri, &change).unwrap(), uri);
        assert_eq!(artifacts.info(&uri).unwrap().tags(), tags, "{change:?}");
        for tag in ["a", "b", "c", "d", "z", "none"] {
            let expected = if tags.contains(&tag) { vec![uri.clone()] } else { Vec::new() };
            assert_eq!(found(&artifacts, tag), expected, "{tag} after {change:?}");
        }
        whole(&vault);
    }
    assert_eq!(artifacts.read(&uri).unwrap(), "x");
}

#[test]
fn tag_of_newest_version_leaves_other_versions_alone() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let (first, second) = (put(&artifacts, "1", b"x"), put(&artifacts, "1", b"y"));
    let add = |tag: &str| TagChange::Add(some(&[tag]));
    assert_eq!(artifacts.tag(&name("1").newest(), &add("new")).unwrap(), second);
    assert_eq!(artifacts.tag(&first, &add("old")).unwrap(), first);
    assert_eq!(found(&artifacts, "new"), std::slice::from_ref(&second));
    assert_eq!(found(&artifacts, "old"), std::slice::from_ref(&first));
    artifacts.delete(&second).unwrap();
    assert_eq!(found(&artifacts, "new"), []);
    assert_eq!(artifacts.tag(&name("1").newest(), &add("new")).unwrap(), first);
    // A later version does not inherit tags.
    let third = put(&artifacts, "1", b"z");
    assert!(artifacts.info(&third).unwrap().tags().is_empty());
    assert_eq!(found(&artifacts, "new"), [first]);
}

#[test]
fn refused_tag_changes_nothing() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let numbered = |count: usize| (0..count).map(|n| n.to_string()).collect::<BTreeSet<_>>();
    let uri = put(&artifacts, "1", b"x");
    artifacts.tag(&uri, &TagChange::Add(numbered(TAGS_MAX))).unwrap();
    let long = "t".repeat(129);
    for bad in [
        TagChange::Add(some(&["one more"])),
        TagChange::Replace(numbered(TAGS_MAX + 1)),
        TagChange::Replace(some(&[""])),
        TagChange::Remove(some(&["a\nb"])),
        TagChange::Add(some(&[&long])),
    ] {
        let error = artifacts.tag(&uri, &bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.subject(), Some(&*uri.to_string()));
    }
    for missing in [name("1").version(2), name("2").newest(), name("2").version(1)] {
        let error = artifacts.tag(&missing, &TagChange::Add(some(&["t"]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let nested = vault.write(|_| artifacts.tag(&uri, &TagChange::Add(some(&["t"]))).map(drop));
    assert_eq!(nested.unwrap_err().kind(), ErrorKind::Invalid);
    let tags: BTreeSet<_> = artifacts.info(&uri).unwrap().tags().iter().cloned().collect();
    assert_eq!(tags, numbered(TAGS_MAX));
    assert_eq!(found(&artifacts, "t"), []);
    whole(&vault);
}
