//! Tags of versions that are there: added, taken away, replaced; and found by from the same moment on.

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
fn tags_are_added_taken_away_and_replaced_and_found_by_at_once() {
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
fn a_uri_without_a_number_is_the_newest_and_the_others_keep_their_tags() {
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
    // A version that comes later has none of them.
    let third = put(&artifacts, "1", b"z");
    assert!(artifacts.info(&third).unwrap().tags().is_empty());
    assert_eq!(found(&artifacts, "new"), [first]);
}

#[test]
fn what_cannot_be_tagged_stays_as_it_is() {
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
