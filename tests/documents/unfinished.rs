//! Updates that end half-way: what stays, what resumes, what is taken back.

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

/// Writes `text`, and is interrupted once `objects` objects are done.
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

/// The same in the space of 22 objects.
fn interrupt(scene: &Scene, partition: &Partition, text: &str, objects: u64) {
    interrupt_after(scene, partition, text, objects);
    assert_eq!(scene.space.info().unwrap().unfinished.unwrap().objects, 22);
}

fn resume() -> WriteOptions<'static> {
    WriteOptions::new().resume(true)
}

#[test]
fn an_interrupted_update_resumed_yields_the_very_bytes_of_an_uninterrupted_one() {
    for objects in [2, 3, 9, 21] {
        // The same seed, so the same keys, maps and ids in both.
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
                assert!(found.operations.is_empty(), "those are the host's");
                let puts = scene.faulty.calls();
                let a = scene.open(&key, "pa");
                let version = a.write_with("[\"new\"]", &resume()).unwrap();
                // Looks at the rest and puts it, looks at all of it twice: nothing else again.
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
fn resuming_with_other_content_is_a_conflict_and_without_anything_not_found() {
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
fn another_update_takes_an_interrupted_one_back() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "1", &[]);
    let (_, b) = scene.add("pb", "1", &[&key_a]);
    interrupt(&scene, &a, "2", 9);
    // Not resumable before its cells are there; then nothing of it is.
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
fn an_interrupted_change_of_password_leaves_the_old_one_and_resumes_with_the_new() {
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
    // It goes on where it stood: the same objects, and since then.
    let second = interrupt(&mut a, "new", 15);
    assert_eq!((first.objects_done, second.objects_done), (9, 15));
    let calls = scene.faulty.calls();
    a.change_password(&password("new")).unwrap();
    let resumed = scene.faulty.calls() - calls;
    assert_eq!(a.read().unwrap().text(), "1");
    assert_eq!(other.read().unwrap_err().kind(), ErrorKind::Denied);
    assert!(scene.space.partition(&key, &password("pa")).is_err());
    scene.open(&key, "new");
    // Another password than the interrupted one begins anew.
    let calls = scene.faulty.calls();
    a.change_password(&password("pa")).unwrap();
    assert!(resumed < scene.faulty.calls() - calls, "{resumed}");
}

/// What is done to a partition of two.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    WriteTheSame,
    Heal,
    Password,
    Destroy,
    Add,
}

/// Two partitions, and what their documents are.
struct Two {
    scene: Scene,
    keys: [SecretPartitionKey; 2],
    texts: [Option<&'static str>; 2],
    words: [&'static str; 2],
}

impl Two {
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

    fn assert_whole(&self, told: &str) {
        for ((key, word), text) in self.keys.iter().zip(self.words).zip(self.texts) {
            let opened = self.scene.space.partition(key, &password(word));
            let Some(text) = text else {
                assert_eq!(opened.unwrap_err().kind(), ErrorKind::Denied, "{told}");
                continue;
            };
            let partition = opened.unwrap_or_else(|e| panic!("{told}: {e}"));
            assert_eq!(partition.read().unwrap().text(), text, "{told}");
            assert!(!partition.verify().unwrap().any(), "{told}");
        }
    }
}

/// Whoever acts next may find his own envelope, as it was, in what another left unfinished.
#[test]
fn whatever_is_interrupted_and_whatever_comes_next_both_documents_are_whole() {
    let acts = [Act::Write, Act::WriteTheSame, Act::Heal, Act::Password, Act::Destroy, Act::Add];
    for interrupted in acts {
        for next in acts {
            for (on, objects) in [(0, 3), (1, 3), (0, 12), (1, 12), (1, 22)] {
                let told = format!("{interrupted:?} of 1 after {objects}, then {next:?} of {on}");
                let mut two = Two::new();
                // Opening reads 22 objects, and so does the update; it asks for room; then it puts.
                let faults = BackendFault::before(ErrorKind::Unavailable);
                two.scene.faulty.fail_from(44 + 1 + objects + 1, faults);
                let error = two.act(interrupted, 1).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{told}");
                two.scene.faulty.clear();
                let left = two.scene.space.info().unwrap().unfinished.unwrap();
                assert_eq!(left.objects_done as u64, objects, "{told}");
                two.assert_whole(&told);
                two.act(next, on).unwrap_or_else(|e| panic!("{told}: {e}"));
                two.assert_whole(&told);
                assert_eq!(two.scene.space.info().unwrap().unfinished, None, "{told}");
            }
        }
    }
}

#[test]
fn an_unfinished_generation_that_was_damaged_is_begun_anew() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    let before: Vec<_> = scene.objects().1;
    interrupt(&scene, &a, "2", 9);
    let made = scene.objects().1.into_iter().find(|key| !before.contains(key)).unwrap();
    scene.memory.delete(&made).unwrap();
    // It is noticed before it counts, and taken back; then the same call succeeds.
    assert_eq!(a.write("2").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(a.read().unwrap().text(), "1");
    a.write("2").unwrap();
    assert_eq!(a.read().unwrap().text(), "2");
    assert!(!a.verify().unwrap().any());
}

#[test]
fn a_rotation_in_the_midst_of_an_update_and_after_its_interruption_loses_no_key() {
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
fn nothing_of_an_old_generation_stays_however_many_objects_it_has() {
    // 171 MB in segments of 4 MiB: more objects than one write deletes on its way.
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
fn what_was_interrupted_is_taken_back_on_demand_and_after_an_hour() {
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
fn an_update_under_way_shows_as_an_operation_that_names_no_partition() {
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
fn a_vault_that_closes_under_an_update_ends_it_and_keeps_it_resumable() {
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
fn a_disk_that_fills_up_in_the_middle_leaves_the_old_document_and_a_leftover_that_open_finds() {
    let world = World::new();
    let options = || world_options(&world, 1);
    let vault = options().create("/vault").unwrap();
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(2_048)).unwrap();
    let key = space.add_partition(&password("pa"), &[]).unwrap();
    let a = space.partition(&key, &password("pa")).unwrap();
    a.write("[\"old\"]").unwrap();
    let used = || world.tree().iter().filter_map(|(_, len)| *len).sum::<u64>();

    // Less room than another generation takes: it is not begun.
    world.set_capacity(Some(used() + 100_000));
    let error = a.write("[\"new\"]").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("there is room for"), "{error}");
    assert_eq!(space.info().unwrap().unfinished, None);

    // Room that somebody else takes meanwhile.
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
fn a_vault_opens_although_its_disk_is_full_of_an_update_that_nobody_resumed() {
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
