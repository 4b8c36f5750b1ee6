//! The single error for refusals, passwords, partition keys to keep, and destruction.

use strongroom::check::CheckOptions;
use strongroom::documents::{SecretPartitionKey, SpaceOptions, WriteOptions};
use strongroom::keys::PasswordCosts;
use strongroom::{Error, ErrorKind};

use crate::scene::{Scene, noise, password};

fn text_of(error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.subject().is_none());
    error.to_string()
}

#[test]
fn wrong_key_password_or_partition_gives_one_error() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "1", &[]);
    let (gone, b) = scene.add("pb", "2", &[&key]);
    scene.space.destroy_partition(&gone).unwrap();
    let other = Scene::new().add("pa", "1", &[]).0;
    let refused = |key, word| text_of(&scene.space.partition(key, &password(word)).unwrap_err());
    let errors = [
        refused(&key, "wrong"),
        refused(&other, "pa"),
        refused(&gone, "pb"),
        text_of(&b.read().unwrap_err()),
        text_of(&b.write("3").unwrap_err()),
        text_of(&b.heal().unwrap_err()),
        text_of(&b.plan("3").unwrap_err()),
        text_of(&b.verify().unwrap_err()),
    ];
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    // `destroy_partition` takes no password. Its error is the same for a foreign and a destroyed
    // key.
    let destroyed = |key| text_of(&scene.space.destroy_partition(key).unwrap_err());
    assert_eq!(destroyed(&other), destroyed(&gone));
    assert_eq!(a.read().unwrap().text(), "1");
}

#[test]
fn destroyed_partition_is_gone_and_its_neighbour_is_whole() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "1", &[]);
    let (key_b, _) = scene.add("pb", "2", &[&key_a]);
    let (cells, slots) = scene.space.dump().unwrap();
    // The key is enough to destroy a partition.
    scene.space.destroy_partition(&key_b).unwrap();
    let (cells_after, slots_after) = scene.space.dump().unwrap();
    let changed = |before: &[u8], after: &[u8], unit| {
        before.chunks(unit).zip(after.chunks(unit)).filter(|(a, b)| a != b).count()
    };
    assert_eq!(changed(&cells, &cells_after, 4096), 8);
    assert_eq!(changed(&slots, &slots_after, 80), 327);
    assert_eq!(a.read().unwrap().text(), "1");
    assert!(!a.verify().unwrap().any());
    // The freed slots can be used again.
    let (key_c, _) = scene.add("pc", "3", &[&key_a]);
    scene.add("pd", "4", &[&key_a, &key_c]);
}

#[test]
fn changed_password_opens_and_old_one_does_not() {
    let scene = Scene::new();
    let (key, mut a) = scene.add("old", "[\"kept\"]", &[]);
    let version = a.read().unwrap().version();
    a.change_password(&password("new")).unwrap();
    let read = a.read().unwrap();
    assert!(read.text() == "[\"kept\"]" && read.version() != version);
    let scene = scene.reopen();
    text_of(&scene.space.partition(&key, &password("old")).unwrap_err());
    assert_eq!(scene.open(&key, "new").read().unwrap().text(), "[\"kept\"]");
}

#[test]
fn up_to_six_named_partitions_keep_their_documents() {
    let options = SpaceOptions::default().capacity_bytes(1_024).room_for(12);
    let scene = Scene::with(&options);
    let mut added: Vec<(SecretPartitionKey, _)> = Vec::new();
    for n in 0..6 {
        let keep: Vec<_> = added.iter().map(|(key, _)| key).collect();
        let text = n.to_string();
        added.push(scene.add("p", &text, &keep));
    }
    for (n, (_, partition)) in added.iter().enumerate() {
        assert_eq!(partition.read().unwrap().text(), n.to_string());
        assert!(!partition.verify().unwrap().any());
    }
    let keep: Vec<_> = added.iter().map(|(key, _)| key).collect();
    let error = scene.space.add_partition(&password("p"), &keep).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    // The smallest space has no room for a fourth partition.
    let scene = Scene::new();
    let (a, _) = scene.add("p", "1", &[]);
    let (b, _) = scene.add("p", "1", &[&a]);
    let (c, _) = scene.add("p", "1", &[&a, &b]);
    let before = scene.space.dump().unwrap();
    let error = scene.space.add_partition(&password("p"), &[&a, &b, &c]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("0 slots are free"), "{error}");
    let foreign = Scene::new().add("p", "1", &[]).0;
    let error = scene.space.add_partition(&password("p"), &[&a, &foreign]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("key 2"), "{error}");
    assert!(scene.space.dump().unwrap() == before);
    assert!((scene.space.loss_chance(3) - 1.0).abs() < 1e-12);
}

#[test]
fn empty_password_is_invalid_in_every_call() {
    let scene = Scene::new();
    let (key, mut a) = scene.add("pa", "1", &[]);
    let before = scene.faulty.calls();
    for error in [
        scene.space.add_partition(&password(""), &[&key]).unwrap_err(),
        scene.space.partition(&key, &password("")).unwrap_err(),
        a.change_password(&password("")).unwrap_err(),
        scene.space.partition(&key, &password(&"x".repeat(1_025))).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(scene.faulty.calls(), before, "the backend was called");
}

#[test]
fn invalid_or_too_long_document_changes_nothing() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    let before = scene.space.dump().unwrap();
    let calls = scene.faulty.calls();
    let (too_long, twice) = (noise(5_000), noise(10).repeat(2));
    let cases: [(&[u8], ErrorKind, &str); 5] = [
        (twice.as_bytes(), ErrorKind::Invalid, "line 1 column"),
        (b"{\"a\":\n1,}", ErrorKind::Invalid, "line 2 column 3"),
        (b"\xff", ErrorKind::Invalid, "line 1 column 1"),
        (b"", ErrorKind::Invalid, "line 1 column 0"),
        (too_long.as_bytes(), ErrorKind::Full, "holds 2048"),
    ];
    for (text, kind, message) in cases {
        for error in [a.write(text).unwrap_err(), a.plan(text).unwrap_err()] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let error = match a.write_in_background(text) {
            Ok(write) => write.wait().unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(scene.faulty.calls(), calls);
    assert!(scene.space.dump().unwrap() == before);
}

#[test]
fn invalid_space_options_are_refused_and_leave_nothing() {
    let scene = Scene::new();
    let error = scene.vault.documents().create_space(&SpaceOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let vault = strongroom_testkit::memory_vault().unwrap();
    assert_eq!(vault.documents().space().unwrap_err().kind(), ErrorKind::NotFound);
    let default = SpaceOptions::default();
    for (options, message) in [
        (default.capacity_bytes(1_023), "capacity"),
        (default.capacity_bytes((4 << 20) + 1), "capacity"),
        (default.shares(0, 9), "threshold is 0"),
        (default.shares(10, 9), "threshold is 10 of 9"),
        (default.shares(3, 33), "at most 32"),
        (default.room_for(2), "3 to 12"),
        (default.room_for(13), "3 to 12"),
        (default.password_costs(PasswordCosts { memory_kib: 8, passes: 1, lanes: 1 }), "KiB"),
    ] {
        let error = vault.documents().create_space(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(vault.check(&CheckOptions::new()).unwrap().unknown.is_empty());
    assert_eq!(vault.documents().space().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn debug_output_of_handles_holds_no_secret() {
    let scene = Scene::new();
    let (key, a) = scene.add("hunter2", "[\"marker\"]", &[]);
    let shown = format!(
        "{key:?} {a:?} {:?} {:?} {:?} {:?}",
        a.read().unwrap(),
        a.read().unwrap().version(),
        scene.space,
        WriteOptions::new()
    );
    for secret in ["hunter2", "marker", &key.to_text()[5..]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
