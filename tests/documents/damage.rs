//! Objects that are damaged, truncated or missing: corrected within the redundancy, reported,
//! healed.

use strongroom::ErrorKind;
use strongroom::backends::{Backend, Condition, Key};
use strongroom::check::CheckOptions;
use strongroom::documents::SpaceOptions;
use strongroom_testkit::BackendFault;

use crate::scene::{Scene, password};

/// Bytes of a block of a segment: 24 + 4,080 + 16. The object's header has 16 bytes.
const BLOCK: usize = 4_120;

#[test]
fn one_flipped_bit_costs_one_block_and_is_healed() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "[\"a\"]", &[]);
    let (_, b) = scene.add("pb", "[\"b\"]", &[&key_a]);
    let (_, segments) = scene.objects();
    scene.damage(&segments[3], |body| body[16 + 100] ^= 4);
    let (before, after) = (a.verify().unwrap(), b.verify().unwrap());
    assert_eq!((before.blocks, after.blocks), (1, 1));
    // A block has 51 slots. About a third of them belong to each partition.
    let shares = before.shares.unwrap() + after.shares.unwrap();
    assert!((1..=51).contains(&shares), "{shares}");
    assert_eq!((a.read().unwrap().text(), b.read().unwrap().text()), ("[\"a\"]", "[\"b\"]"));

    let report = scene
        .vault
        .check(&CheckOptions::new().read_data(strongroom::check::ReadData::All))
        .unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!(a.heal().unwrap().blocks, 1);
    assert!(!a.verify().unwrap().any());
    // The other partition's shares in that block are random bytes now. Its own heal restores them.
    let left = b.verify().unwrap();
    assert_eq!((left.blocks, left.shares), (0, after.shares));
    b.heal().unwrap();
    assert!(!b.verify().unwrap().any() && !a.verify().unwrap().any());
    let report = scene
        .vault
        .check(&CheckOptions::new().read_data(strongroom::check::ReadData::All))
        .unwrap();
    assert!(report.is_ok(), "{report:?}");
}

#[test]
fn damage_of_any_kind_to_one_segment_is_corrected() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "[\"a\"]", &[]);
    for at in 0..3 {
        let (_, segments) = scene.objects();
        match at {
            0 => scene.damage(&segments[at], |body| body.truncate(16 + BLOCK - 1)),
            1 => scene.damage(&segments[at], |body| body[3] ^= 1),
            _ => scene.memory.delete(&segments[at]).unwrap(),
        }
        let damage = a.verify().unwrap();
        assert_eq!(damage.blocks, [1, 0, 1][at], "case {at}");
        assert_eq!(a.read().unwrap().text(), "[\"a\"]");
        let thorough = CheckOptions::new().read_data(strongroom::check::ReadData::All);
        assert_eq!(scene.vault.check(&thorough).unwrap().problems.len(), 1);
        a.heal().unwrap();
        assert!(!a.verify().unwrap().any());
    }
}

#[test]
fn damage_beyond_the_redundancy_is_corrupt_and_never_wrong() {
    let scene = Scene::seeded(3);
    let (key, a) = scene.add("pa", "[\"a\"]", &[]);
    // The segments are deleted one by one. At first everything is readable, in the end too little
    // is left. In between, every read returns either the right text or `Corrupt`.
    let (_, segments) = scene.objects();
    let (mut read, mut corrected, mut corrupt) = (0, 0, 0);
    for segment in &segments {
        scene.memory.delete(segment).unwrap();
        match a.read() {
            Ok(document) => {
                assert_eq!((document.text(), corrupt), ("[\"a\"]", 0));
                assert!(document.damage().any());
                read += 1;
                corrected += u32::from(document.damage().corrected);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                corrupt += 1;
            }
        }
        assert!(scene.space.partition(&key, &password("pa")).is_ok() == (corrupt == 0));
    }
    assert!(corrected >= 1 && corrupt >= 1, "{read} {corrected} {corrupt}");
    // If no document can be read any more, a wrong password gets the same error.
    assert_eq!(
        scene.space.partition(&key, &password("wrong")).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn wrong_password_stays_denied_despite_damage() {
    let scene = Scene::seeded(3);
    let (key, a) = scene.add("pa", "[\"a\"]", &[]);
    let (cells, segments) = scene.objects();
    scene.memory.delete(&cells[0]).unwrap();
    segments[..13].iter().for_each(|segment| scene.memory.delete(segment).unwrap());
    // Too much is lost. Only a caller with the right password gets `Corrupt`.
    assert_eq!(a.read().unwrap_err().kind(), ErrorKind::Corrupt);
    let denied = scene.space.partition(&key, &password("wrong")).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
}

#[test]
fn one_cell_object_suffices_and_loss_of_both_is_corrupt() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "[\"a\"]", &[]);
    for lost in 0..2 {
        let (cells, _) = scene.objects();
        scene.memory.delete(&cells[lost]).unwrap();
        let read = a.read().unwrap();
        assert_eq!((read.text(), read.damage().copies), ("[\"a\"]", 4));
        assert_eq!(a.heal().unwrap().copies, 4);
        assert!(!a.verify().unwrap().any());
    }
    let (cells, _) = scene.objects();
    for cell in &cells {
        scene.damage(cell, |body| body.truncate(100));
    }
    let foreign = Scene::new().add("pa", "1", &[]).0;
    for error in [
        a.read().unwrap_err(),
        scene.space.partition(&key, &password("wrong")).unwrap_err(),
        scene.space.partition(&foreign, &password("pa")).unwrap_err(),
        scene.space.destroy_partition(&key).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn one_envelope_copy_suffices() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "[\"a\"]", &[]);
    let (cells, _) = scene.objects();
    // Each object has 32 cells of one block of 24 + 4,096 + 16 bytes. All cells are damaged except
    // the last one that is still readable.
    let mut survivor = None;
    for cell in &cells {
        for block in 0..32 {
            scene.damage(cell, |body| body[16 + block * 4_136 + 30] ^= 1);
            match a.read() {
                Ok(read) => assert!(read.damage().copies < 8),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    survivor.get_or_insert((cell.clone(), block));
                }
            }
        }
    }
    let (cell, block) = survivor.unwrap();
    scene.damage(&cell, |body| body[16 + block * 4_136 + 30] ^= 1);
    let read = a.read().unwrap();
    assert_eq!((read.text(), read.damage().copies), ("[\"a\"]", 7));
    a.heal().unwrap();
    assert!(!a.verify().unwrap().any());
}

#[test]
fn unavailable_backend_is_no_erasure() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "[\"a\"]", &[]);
    let before = scene.space.dump().unwrap();
    let mut call = 1;
    loop {
        scene.faulty.fail_at(call, BackendFault::before(ErrorKind::Unavailable));
        match a.write("[\"b\"]") {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "call {call}: {error}"),
        }
        scene.faulty.clear();
        assert!(scene.space.dump().unwrap() == before, "call {call}");
        call += 7;
    }
    scene.faulty.clear();
    assert_eq!(a.read().unwrap().text(), "[\"b\"]");
    assert!(!a.verify().unwrap().any());
}

#[test]
fn store_with_hidden_objects_is_not_overwritten() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "[\"a\"]", &[]);
    let (gone, _) = scene.add("pb", "[\"b\"]", &[&key]);
    let (cells, segments) = scene.objects();
    let hide = |objects: &[Key]| -> Vec<_> {
        let take = |key: &Key| {
            let body = scene.memory.get(key).unwrap().body;
            scene.memory.delete(key).unwrap();
            (key.clone(), body)
        };
        objects.iter().map(take).collect()
    };
    for hidden in [&segments[..], &segments[..14], &cells[..]] {
        let bodies = hide(hidden);
        for error in [
            scene.space.add_partition(&password("p"), &[]).unwrap_err(),
            scene.space.add_partition(&password("p"), &[&key]).unwrap_err(),
            scene.space.destroy_partition(&gone).unwrap_err(),
            a.write("1").unwrap_err(),
            a.heal().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        assert_eq!(scene.space.info().unwrap().unfinished, None);
        for (key, body) in bodies {
            scene.memory.put(&key, body, &Condition::Any).unwrap();
        }
        assert_eq!(a.read().unwrap().text(), "[\"a\"]");
        assert!(!a.verify().unwrap().any());
    }
}

#[test]
fn segments_without_shares_may_be_lost_with_2_of_2() {
    // With 2 of 2, three blocks hold slots and thirteen segments are padding.
    let options = SpaceOptions::default().capacity_bytes(1_024).shares(2, 2);
    let scene = Scene::with(&options);
    let (key, a) = scene.add("pa", "[\"a\"]", &[]);
    let (_, segments) = scene.objects();
    let (mut whole, mut lost) = (0, 0);
    for segment in &segments {
        let body = scene.memory.get(segment).unwrap().body;
        scene.memory.delete(segment).unwrap();
        match a.read() {
            Ok(read) => {
                assert_eq!(read.text(), "[\"a\"]");
                scene.open(&key, "pa");
                whole += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                lost += 1;
            }
        }
        scene.memory.put(segment, body, &Condition::Any).unwrap();
    }
    assert_eq!((whole, lost), (13, 3));
}

#[test]
fn write_reports_blocks_that_it_could_not_copy() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "[\"a\"]", &[]);
    let (_, segments) = scene.objects();
    scene.damage(&segments[3], |body| body[16 + 100] ^= 4);
    assert_eq!(a.plan("1").unwrap().damage.blocks, 1);
    assert_eq!(a.write("1").unwrap().damage.blocks, 1);
    assert!(!a.write("2").unwrap().damage.any());
}
