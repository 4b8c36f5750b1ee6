//! Interrupted updates: the old document stays, and the update is resumed or discarded.

use std::time::Duration;

use strongroom::backends::Backend;
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::documents::{Partition, SecretPartitionKey, SpaceOptions, WriteOptions};
use strongroom::keys::NewKey;
use strongroom::{CancelToken, ErrorKind, LongCall, Result};
use strongroom_testkit::{BackendFault, SeededEntropy, TestKey, World, world_options};

use crate::scene::{Scene, password};
use crate::support::clock::SharedClock;

/// Writes `text`, and interrupts the write after `objects` objects.
fn interrupt_after(scene: &Scene, partition: &Partition, text: &str, objects: u64) {
    let progress = |done, _| {
        if done == objects {
            scene.faulty.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
        }
    };
    let options = WriteOptions::new().progress(&progress);
    let error = partition.write_with(text, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    scene.faulty.clear();
    let unfinished = scene.space.info().unwrap().unfinished.unwrap();
    assert_eq!(unfinished.objects_done as u64, objects);
}

/// Interrupts a write in the space of 22 objects.
fn interrupt(scene: &Scene, partition: &Partition, text: &str, objects: u64) {
    interrupt_after(scene, partition, text, objects);
    assert_eq!(scene.space.info().unwrap().unfinished.unwrap().objects, 22);
}

fn resume() -> WriteOptions<'static> {
    WriteOptions::new().resume(true)
}

#[test]
fn resumed_update_yields_the_bytes_of_an_uninterrupted_one() {
    for objects in [2, 3, 9, 21] {
        // Both runs have the same seed, so their keys, maps and ids are equal.
        let run = |interrupted: bool| {
            let scene = Scene::seeded(7);
            let (key, a) = scene.add("pa", "[\"old\"]", &[]);
            if interrupted {
                interrupt(&scene, &a, "[\"new\"]", objects);
                assert_eq!(a.read().unwrap().text(), "[\"old\"]");
                drop(a);
                let scene = scene.reopen();
                let found = scene.vault.recovery();
                let update = found.space_update.unwrap();
                assert_eq!((update.objects_done as u64, update.objects), (objects, 22));
                assert!(
                    found.operations.is_empty(),
                    "the update is listed as an operation of the host"
                );
                let puts = scene.faulty.calls();
                let a = scene.open(&key, "pa");
                let version = a.write_with("[\"new\"]", &resume()).unwrap();
                // The resumed write checks and puts the remaining objects, and reads all objects
                // twice.
                assert!(scene.faulty.calls() - puts < 4 * 22 + 2 * (22 - objects) + 40);
                (version, scene.space.dump().unwrap())
            } else {
                let version = a.write("[\"new\"]").unwrap();
                (version, scene.space.dump().unwrap())
            }
        };
        assert!(run(true) == run(false), "after {objects} objects");
    }
}

#[test]
fn resume_conflicts_with_other_text_and_needs_an_update() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    assert_eq!(a.write_with("2", &resume()).unwrap_err().kind(), ErrorKind::NotFound);
    interrupt(&scene, &a, "2", 5);
    assert_eq!(a.write_with("3", &resume()).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(scene.space.info().unwrap().unfinished.unwrap().objects_done, 5);
    a.write_with("2", &resume()).unwrap();
    assert_eq!(a.read().unwrap().text(), "2");
    assert_eq!(scene.space.info().unwrap().unfinished, None);
}

#[test]
fn next_update_discards_an_interrupted_one() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "1", &[]);
    let (_, b) = scene.add("pb", "1", &[&key_a]);
    interrupt(&scene, &a, "2", 9);
    // The update is not resumable before its cells are written. After `b.write` it is discarded.
    b.write("3").unwrap();
    assert_eq!(a.write_with("2", &resume()).unwrap_err().kind(), ErrorKind::NotFound);
    a.write("4").unwrap();
    assert_eq!((a.read().unwrap().text(), b.read().unwrap().text()), ("4", "3"));
    scene.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(report.is_ok() && report.unknown.is_empty(), "{report:?}");
    assert_eq!((report.objects, report.due), (22, 0));
}

#[test]
fn interrupted_password_change_keeps_old_and_resumes() {
    let scene = Scene::new();
    let (key, mut a) = scene.add("pa", "1", &[]);
    let other = scene.open(&key, "pa");
    let interrupt = |a: &mut Partition, word, objects| {
        let progress = |done, _| {
            if done == objects {
                scene.faulty.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
            }
        };
        let cancel = CancelToken::new();
        let error = a
            .change_password_with(
                &password(word),
                LongCall::new().progress(&progress).cancel(&cancel),
            )
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        scene.faulty.clear();
        assert_eq!(other.read().unwrap().text(), "1");
        assert!(scene.space.partition(&key, &password(word)).is_err());
        scene.space.info().unwrap().unfinished.unwrap()
    };
    let first = interrupt(&mut a, "new", 9);
    // The second call resumes after the objects of the first.
    let second = interrupt(&mut a, "new", 15);
    assert_eq!((first.objects_done, second.objects_done), (9, 15));
    let calls = scene.faulty.calls();
    a.change_password(&password("new")).unwrap();
    let resumed = scene.faulty.calls() - calls;
    assert_eq!(a.read().unwrap().text(), "1");
    assert_eq!(other.read().unwrap_err().kind(), ErrorKind::Denied);
    assert!(scene.space.partition(&key, &password("pa")).is_err());
    scene.open(&key, "new");
    // A change to another password does not resume the interrupted one.
    let calls = scene.faulty.calls();
    a.change_password(&password("pa")).unwrap();
    assert!(resumed < scene.faulty.calls() - calls, "{resumed}");
}

/// A call on one of two partitions.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    WriteTheSame,
    Heal,
    Password,
    Destroy,
    Add,
}

/// Two partitions with their passwords and documents.
struct TwoDocuments {
    scene: Scene,
    keys: [SecretPartitionKey; 2],
    texts: [Option<&'static str>; 2],
    words: [&'static str; 2],
}

impl TwoDocuments {
    fn new() -> Self {
        let scene = Scene::new();
        let (a, _) = scene.add("pa", "[\"a\"]", &[]);
        let (b, _) = scene.add("pb", "[\"b\"]", &[&a]);
        let texts = [Some("[\"a\"]"), Some("[\"b\"]")];
        Self { scene, keys: [a, b], texts, words: ["pa", "pb"] }
    }

    fn act(&mut self, act: Act, on: usize) -> Result<()> {
        let Self { scene, keys, texts, words } = self;
        let (key, space) = (&keys[on], &scene.space);
        let mut partition = space.partition(key, &password(words[on]))?;
        match act {
            Act::Write => {
                partition.write("\"written\"")?;
                texts[on] = Some("\"written\"");
            }
            Act::WriteTheSame => _ = partition.write(texts[on].unwrap())?,
            Act::Heal => _ = partition.heal()?,
            Act::Password => {
                partition.change_password(&password("new"))?;
                words[on] = "new";
            }
            Act::Destroy => {
                space.destroy_partition(key)?;
                texts[on] = None;
            }
            Act::Add => drop(space.add_partition(&password("pc"), &[&keys[0], &keys[1]])?),
        }
        Ok(())
    }

    fn assert_whole(&self, case: &str) {
        for ((key, word), text) in self.keys.iter().zip(self.words).zip(self.texts) {
            let opened = self.scene.space.partition(key, &password(word));
            let Some(text) = text else {
                assert_eq!(opened.unwrap_err().kind(), ErrorKind::Denied, "{case}");
                continue;
            };
            let partition = opened.unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(partition.read().unwrap().text(), text, "{case}");
            assert!(!partition.verify().unwrap().any(), "{case}");
        }
    }
}

/// An unfinished update contains the unchanged envelope of the other partition.
///
/// The next call may find its own envelope there.
#[test]
fn documents_are_whole_after_any_interruption_and_next_call() {
    let acts = [Act::Write, Act::WriteTheSame, Act::Heal, Act::Password, Act::Destroy, Act::Add];
    for interrupted in acts {
        for next in acts {
            for (on, objects) in [(0, 3), (1, 3), (0, 12), (1, 12), (1, 22)] {
                let case = format!("{interrupted:?} of 1 after {objects}, then {next:?} of {on}");
                let mut two = TwoDocuments::new();
                // Opening reads 22 objects, and so does the update. One call asks for the room.
                // Then come the puts.
                let faults = BackendFault::before(ErrorKind::Unavailable);
                two.scene.faulty.fail_from(44 + 1 + objects + 1, faults);
                let error = two.act(interrupted, 1).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
                two.scene.faulty.clear();
                let left = two.scene.space.info().unwrap().unfinished.unwrap();
                assert_eq!(left.objects_done as u64, objects, "{case}");
                two.assert_whole(&case);
                two.act(next, on).unwrap_or_else(|e| panic!("{case}: {e}"));
                two.assert_whole(&case);
                assert_eq!(two.scene.space.info().unwrap().unfinished, None, "{case}");
            }
        }
    }
}

#[test]
fn damaged_unfinished_update_is_discarded_and_repeated() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    let before: Vec<_> = scene.objects().1;
    interrupt(&scene, &a, "2", 9);
    let created = scene.objects().1.into_iter().find(|key| !before.contains(key)).unwrap();
    scene.memory.delete(&created).unwrap();
    // The damage is detected before the commit, and the update is discarded. Then the same call
    // succeeds.
    assert_eq!(a.write("2").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(a.read().unwrap().text(), "1");
    a.write("2").unwrap();
    assert_eq!(a.read().unwrap().text(), "2");
    assert!(!a.verify().unwrap().any());
}

#[test]
fn rotation_during_or_after_an_update_loses_no_key() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "1", &[]);
    scene.vault.keys().rotate(&[NewKey::new(&TestKey)]).unwrap();
    interrupt(&scene, &a, "2", 9);
    scene.vault.keys().rotate(&[NewKey::new(&TestKey)]).unwrap();
    a.write_with("2", &resume()).unwrap();
    let progress = |done, _| {
        if done == 4 || done == 11 {
            scene.vault.keys().rotate(&[NewKey::new(&TestKey)]).unwrap();
        }
    };
    let options = WriteOptions::new().progress(&progress);
    a.write_with("3", &options).unwrap();
    drop(a);
    let scene = scene.reopen();
    assert_eq!(scene.open(&key, "pa").read().unwrap().text(), "3");
}

#[test]
fn old_generation_leaves_no_object_however_large() {
    // The space has 171 MB in segments of 4 MiB: more objects than one write deletes.
    let scene = Scene::with(&SpaceOptions::default().capacity_bytes(4 << 20));
    let key = scene.space.add_partition(&password("pa"), &[]).unwrap();
    let objects = |scene: &Scene| scene.objects().0.len() + scene.objects().1.len();
    let all = objects(&scene);
    assert!(all > 32, "{all}");
    let a = scene.open(&key, "pa");
    assert_eq!(objects(&scene), all);
    interrupt_after(&scene, &a, "2", 33);
    assert!(objects(&scene) > all);
    assert!(scene.space.discard_unfinished().unwrap());
    assert_eq!(objects(&scene), all);
    scene.space.destroy_partition(&key).unwrap();
    assert_eq!(objects(&scene), all);
}

#[test]
fn interrupted_update_is_discarded_on_call_or_after_an_hour() {
    let scene = Scene::seeded(1);
    let (_, a) = scene.add("pa", "1", &[]);
    assert!(!scene.space.discard_unfinished().unwrap());
    interrupt(&scene, &a, "2", 9);
    assert!(scene.space.discard_unfinished().unwrap());
    assert_eq!(scene.space.info().unwrap().unfinished, None);
    assert_eq!(a.write_with("2", &resume()).unwrap_err().kind(), ErrorKind::NotFound);

    interrupt(&scene, &a, "2", 9);
    drop(a);
    scene.clock.advance(Duration::from_secs(59 * 60));
    let scene = scene.reopen();
    assert!(scene.space.info().unwrap().unfinished.is_some());
    scene.clock.advance(Duration::from_secs(2 * 60));
    let scene = scene.reopen();
    assert!(scene.space.info().unwrap().unfinished.is_none());
    let recovery = scene.vault.recovery();
    assert!(recovery.space_update.is_none() && recovery.objects == 22, "{recovery:?}");
}

#[test]
fn running_update_is_an_operation_without_a_partition_name() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    interrupt(&scene, &a, "2", 11);
    let snapshot = scene.vault.read().unwrap();
    let operation = snapshot.operation("strongroom.space.update").unwrap().unwrap();
    assert!((operation.progress() - 0.5).abs() < 1e-9);
    assert_eq!(operation.lanes[0].decode::<(u64, u64)>().unwrap(), Some((11, 22)));
    let error = scene.vault.operations().resume("strongroom.space.update").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        scene.vault.operations().delete("strongroom.space.update").unwrap_err().kind(),
        ErrorKind::Invalid
    );
    drop(snapshot);
    a.write("2").unwrap();
    assert_eq!(scene.vault.read().unwrap().operation_count().unwrap(), 0);
}

#[test]
fn close_during_update_ends_it_and_keeps_it_resumable() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "1", &[]);
    let vault = scene.vault.clone();
    let progress = move |done, _| {
        if done == 6 {
            vault.clone().close().unwrap();
        }
    };
    let options = WriteOptions::new().progress(&progress);
    assert_eq!(a.write_with("2", &options).unwrap_err().kind(), ErrorKind::Closed);
    drop((a, progress));
    let scene = scene.reopen_closed();
    let a = scene.open(&key, "pa");
    assert_eq!(a.read().unwrap().text(), "1");
    a.write_with("2", &resume()).unwrap();
    assert_eq!(a.read().unwrap().text(), "2");
}

#[test]
fn disk_full_during_update_keeps_document_and_resumable_update() {
    let world = World::new();
    let options = || world_options(&world, 1);
    let vault = options().create("/vault").unwrap();
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(2_048)).unwrap();
    let key = space.add_partition(&password("pa"), &[]).unwrap();
    let a = space.partition(&key, &password("pa")).unwrap();
    a.write("[\"old\"]").unwrap();
    let used = || world.tree().iter().filter_map(|(_, len)| *len).sum::<u64>();

    // With less room than a new generation takes, the update does not begin.
    world.set_capacity(Some(used() + 100_000));
    let error = a.write("[\"new\"]").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("are free"), "{error}");
    assert_eq!(space.info().unwrap().unfinished, None);

    // Another user of the disk takes the room during the update.
    world.set_capacity(None);
    let progress = |done, _| {
        if done == 7 {
            world.set_capacity(Some(used()));
        }
    };
    let watched = WriteOptions::new().progress(&progress);
    let error = a.write_with("[\"new\"]", &watched).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(a.read().unwrap().text(), "[\"old\"]");
    assert!(space.info().unwrap().unfinished.is_some_and(|left| left.objects_done >= 7));
    drop((a, space, vault));

    world.set_capacity(None);
    let vault = options().entropy(SeededEntropy::new(2)).open("/vault").unwrap();
    assert!(vault.recovery().space_update.is_some_and(|left| left.objects_done >= 7));
    let a = vault.documents().space().unwrap().partition(&key, &password("pa")).unwrap();
    assert_eq!(a.read().unwrap().text(), "[\"old\"]");
    a.write_with("[\"new\"]", &resume()).unwrap();
    assert_eq!(a.read().unwrap().text(), "[\"new\"]");
}

#[test]
fn vault_opens_on_disk_full_of_an_abandoned_update() {
    let world = World::new();
    let clock = SharedClock::default();
    let options =
        |seed| world_options(&world, 1).clock(clock.clone()).entropy(SeededEntropy::new(seed));
    let vault = options(1).create("/vault").unwrap();
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(2_048)).unwrap();
    let key = space.add_partition(&password("pa"), &[]).unwrap();
    let a = space.partition(&key, &password("pa")).unwrap();
    let used = || world.tree().iter().filter_map(|(_, len)| *len).sum::<u64>();
    let progress = |done, _| {
        if done == 7 {
            world.set_capacity(Some(used()));
        }
    };
    let watched = WriteOptions::new().progress(&progress);
    assert_eq!(a.write_with("1", &watched).unwrap_err().kind(), ErrorKind::Full);
    drop((a, space, vault));

    clock.advance(Duration::from_secs(2 * 60 * 60));
    world.set_capacity(Some(used()));
    let vault = options(2).open("/vault").unwrap();
    let a = vault.documents().space().unwrap().partition(&key, &password("pa")).unwrap();
    assert_eq!(a.read().unwrap().text(), "null");
    drop((a, vault));
    world.set_capacity(None);
    let vault = options(3).open("/vault").unwrap();
    assert_eq!(vault.documents().space().unwrap().info().unwrap().unfinished, None);
}
