//! Defects of the original program, with a test for each.

use std::sync::Barrier;

use strongroom::ErrorKind;
use strongroom::documents::SpaceOptions;
use strongroom_testkit::BackendFault;

use crate::scene::{Scene, password};

#[test]
fn wrong_password_does_not_decrypt() {
    let scene = Scene::new();
    let (key, _) = scene.add("right", "[\"secret\"]", &[]);
    for word in ["", "Right", "right ", "wrong"] {
        assert!(scene.space.partition(&key, &password(word)).is_err(), "{word:?}");
    }
}

#[test]
fn files_alone_do_not_decrypt() {
    let scene = Scene::new();
    let (_, a) = scene.add("right", "[\"a marker that is long enough to find\"]", &[]);
    let has_marker = |bytes: &[u8]| bytes.windows(10).any(|window| window == b"a marker t");
    let (cells, slots) = scene.space.dump().unwrap();
    assert!(!has_marker(&cells) && !has_marker(&slots), "the vault's key alone shows the text");
    assert!(has_marker(a.read().unwrap().bytes()));
}

#[test]
fn adding_a_short_document_does_not_truncate_a_longer_one() {
    let scene = Scene::new();
    let long = format!("[{}0]", "12345,".repeat(2_000));
    let (key, a) = scene.add("a", &long, &[]);
    let (_, b) = scene.add("b", "1", &[&key]);
    b.write("2").unwrap();
    assert_eq!(a.read().unwrap().text(), long);
}

#[test]
fn adding_documents_deletes_no_shares() {
    let scene = Scene::with(&SpaceOptions::default().capacity_bytes(1_024).room_for(12));
    let mut keys = Vec::new();
    let mut partitions = Vec::new();
    for n in 0..5 {
        let (key, partition) = scene.add("p", &n.to_string(), &keys.iter().collect::<Vec<_>>());
        keys.push(key);
        partitions.push(partition);
        for (n, partition) in partitions.iter().enumerate() {
            assert_eq!(partition.read().unwrap().text(), n.to_string());
            assert_eq!(partition.verify().unwrap().shares, Some(0));
        }
    }
}

#[test]
fn update_with_wrong_password_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    let (key, a) = scene.add("right", "1", &[]);
    let mut stale = scene.open(&key, "right");
    let mut newer = scene.open(&key, "right");
    newer.change_password(&password("new")).unwrap();
    let before = scene.space.dump().unwrap();
    // The password of these handles has changed, so all their calls are refused.
    assert_eq!(a.write("2").unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(stale.heal().unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(stale.change_password(&password("x")).unwrap_err().kind(), ErrorKind::Denied);
    assert!(scene.space.dump().unwrap() == before);
    assert_eq!(newer.read().unwrap().text(), "1");
}

#[test]
fn crash_during_write_keeps_document_and_blocks_no_update() {
    let scene = Scene::new();
    let (key, a) = scene.add("p", "[\"old\"]", &[]);
    scene.faulty.fail_from(45, BackendFault::after(ErrorKind::Uncertain));
    a.write("[\"new\"]").unwrap_err();
    scene.faulty.clear();
    drop(a);
    let scene = scene.reopen();
    let a = scene.open(&key, "p");
    assert_eq!(a.read().unwrap().text(), "[\"old\"]");
    a.write("[\"newest\"]").unwrap();
    assert_eq!(a.read().unwrap().text(), "[\"newest\"]");
}

#[test]
fn concurrent_updates_lose_no_write() {
    let scene = Scene::new();
    let (_, a) = scene.add("p", "0", &[]);
    let start = Barrier::new(4);
    // Each thread reads the number and writes the next one under the version that it has read.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..5 {
                    loop {
                        let read = a.read().unwrap();
                        let next: u32 = read.decode::<u32>().unwrap() + 1;
                        let options =
                            strongroom::documents::WriteOptions::new().expected(read.version());
                        match a.write_with(next.to_string(), &options) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(a.read().unwrap().text(), "20");
}

#[test]
fn leading_and_trailing_zero_bytes_are_kept() {
    let scene = Scene::new();
    let (_, a) = scene.add("p", "0", &[]);
    // The chunks have zeros of their own: from padding, compression and sealing.
    for n in 0..200 {
        let text = format!("{}{}{}", "\n".repeat(n), n, " ".repeat(n));
        a.write(&text).unwrap();
        assert_eq!(a.read().unwrap().text(), text);
    }
}
