//! What the original's own program gets wrong, a test for each.

use std::sync::Barrier;

use strongroom::ErrorKind;
use strongroom::documents::SpaceOptions;
use strongroom_testkit::BackendFault;

use crate::scene::{Scene, password};

#[test]
fn a_wrong_password_does_not_decrypt() {
    let scene = Scene::new();
    let (key, _) = scene.add("right", "[\"secret\"]", &[]);
    for word in ["", "Right", "right ", "wrong"] {
        assert!(scene.space.partition(&key, &password(word)).is_err(), "{word:?}");
    }
}

#[test]
fn the_files_alone_do_not_decrypt() {
    let scene = Scene::new();
    let (_, a) = scene.add("right", "[\"a marker that is long enough to find\"]", &[]);
    let holds = |bytes: &[u8]| bytes.windows(10).any(|window| window == b"a marker t");
    let (cells, slots) = scene.space.dump().unwrap();
    assert!(!holds(&cells) && !holds(&slots), "with the vault's key and no partition's");
    assert!(holds(a.read().unwrap().bytes()));
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
fn further_documents_do_not_delete_shares() {
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
fn an_update_with_a_wrong_password_is_refused_and_destroys_nothing() {
    let scene = Scene::new();
    let (key, a) = scene.add("right", "1", &[]);
    let mut stale = scene.open(&key, "right");
    let mut newer = scene.open(&key, "right");
    newer.change_password(&password("new")).unwrap();
    let before = scene.space.dump().unwrap();
    // Handles of the password of before: nothing that they ask for happens.
    assert_eq!(a.write("2").unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(stale.heal().unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(stale.change_password(&password("x")).unwrap_err().kind(), ErrorKind::Denied);
    assert!(scene.space.dump().unwrap() == before);
    assert_eq!(newer.read().unwrap().text(), "1");
}

#[test]
fn a_crash_while_writing_leaves_the_old_document_and_blocks_no_later_update() {
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
fn its_lock_lets_one_holder_in_at_a_time() {
    let scene = Scene::new();
    let (_, a) = scene.add("p", "0", &[]);
    let start = Barrier::new(4);
    // Each reads the number and writes the next one, naming what it read: none is lost.
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
    // The chunks' own zeros: padding, and what compression or a seal makes of them.
    for n in 0..200 {
        let text = format!("{}{}{}", "\n".repeat(n), n, " ".repeat(n));
        a.write(&text).unwrap();
        assert_eq!(a.read().unwrap().text(), text);
    }
}
