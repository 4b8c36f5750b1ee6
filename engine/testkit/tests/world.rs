//! Power cuts of the simulated world.
//!
//! Each promise is tested with many seeds, and each promised loss must occur.

// Clippy allows it in tests, but not in their shared functions.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use strongroom_base::fs::{Access, File, FileSystem};
use strongroom_testkit::{Defect, Fault, Journal, Replay, World};

const SEEDS: u64 = 1000;
const SECTOR: usize = 512;

fn at(path: &str) -> &Path {
    Path::new(path)
}

fn create(world: &World, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = world.open(at(path), Access::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Makes a new file with durable bytes and a durable name.
fn create_durable(world: &World, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = create(world, path, bytes);
    file.sync().unwrap();
    world.sync_dir(at(path).parent().unwrap()).unwrap();
    file
}

/// Puts a file in place as a careful program does: temporary name, sync, link, sync of the folder.
fn put(world: &World, path: &str, bytes: &[u8]) {
    let file = create(world, "/temp", bytes);
    file.sync().unwrap();
    world.hard_link(at("/temp"), at(path)).unwrap();
    world.remove_file(at("/temp")).unwrap();
    world.sync_dir(at("/")).unwrap();
}

fn replay_at(journal: &Journal, event: u64) -> Replay {
    let mut replay = Replay::new(journal);
    replay.advance_to(event);
    replay
}

/// Returns the worlds after a power cut just now.
fn images(world: &World) -> impl Iterator<Item = World> {
    let replay = replay_at(&world.journal(), world.events());
    (0..SEEDS).map(move |seed| replay.image(seed))
}

/// Returns the file's possible contents after a power cut now; `None` if it may be missing.
fn outcomes(world: &World, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    images(world)
        .map(|image| match image.read_file(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                None
            }
        })
        .collect()
}

fn set<T: Ord, const N: usize>(items: [T; N]) -> BTreeSet<T> {
    BTreeSet::from(items)
}

#[allow(clippy::unnecessary_wraps)] // One of the outcomes; another is `None`.
fn found(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn synced_bytes_under_synced_names_survive() {
    let world = World::new();
    world.create_dir(at("/d")).unwrap();
    let file = create_durable(&world, "/d/a", &[7; 3000]);
    world.sync_dir(at("/")).unwrap();
    file.set_len(2000).unwrap();
    file.sync().unwrap();
    assert_eq!(replay_at(&world.journal(), world.events()).unsynced(), 0);
    assert_eq!(outcomes(&world, "/d/a"), set([found(&[7; 2000])]));
}

#[test]
fn later_loss_never_undoes_an_earlier_sync() {
    let world = World::new();
    let file = create_durable(&world, "/a", &[1; 3 * SECTOR]);
    file.write_all_at(&[2; SECTOR], 0).unwrap();
    file.set_len(2 * SECTOR as u64).unwrap();
    file.sync().unwrap();
    file.write_all_at(&[3; SECTOR], SECTOR as u64).unwrap();
    let half = |second: u8| Some([[2; SECTOR], [second; SECTOR]].concat());
    assert_eq!(outcomes(&world, "/a"), set([half(1), half(3)]));
}

#[test]
fn unsynced_name_survives_or_not() {
    let world = World::new();
    create(&world, "/a", b"abc").sync().unwrap();
    assert_eq!(outcomes(&world, "/a"), set([None, found(b"abc")]));
}

#[test]
fn unsynced_overwrite_survives_or_not() {
    let world = World::new();
    let file = create_durable(&world, "/a", b"one");
    file.write_all_at(b"two", 0).unwrap();
    file.write_all_at(b"six", 0).unwrap();
    assert_eq!(outcomes(&world, "/a"), set([found(b"one"), found(b"two"), found(b"six")]));
}

#[test]
fn name_without_synced_bytes_is_empty_or_garbled() {
    let world = World::new();
    create(&world, "/a", &[9; 2 * SECTOR]);
    world.sync_dir(at("/")).unwrap();
    let half = |first: u8, second: u8| Some([[first; SECTOR], [second; SECTOR]].concat());
    let all = set([found(b""), half(0, 0), half(0, 9), half(9, 0), half(9, 9)]);
    assert_eq!(outcomes(&world, "/a"), all);
}

#[test]
fn writes_tear_only_at_sectors() {
    let world = World::new();
    let file = create_durable(&world, "/a", &vec![1; 8 * 4096]);
    file.write_all_at(&[2; 4 * 4096], 300).unwrap();
    let mut patterns = BTreeSet::new();
    for image in images(&world) {
        let bytes = image.read_file("/a").unwrap();
        assert_eq!(bytes.len(), 8 * 4096);
        assert!(bytes[..300].iter().all(|byte| *byte == 1));
        assert!(bytes[300 + 4 * 4096..].iter().all(|byte| *byte == 1));
        let written = bytes[300..300 + 4 * 4096].to_vec();
        let (first, rest) = written.split_at(SECTOR - 300);
        let mut pattern = vec![first.to_vec()];
        pattern.extend(rest.chunks(SECTOR).map(<[u8]>::to_vec));
        for sector in &pattern {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn");
        }
        patterns.insert(pattern.iter().map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert!(patterns.contains(&vec![1; 33]), "all lost");
    assert!(patterns.contains(&vec![2; 33]), "all kept");
    assert!(patterns.len() > 100, "only {} ways to tear", patterns.len());
}

#[test]
fn unsynced_length_is_any_length_since_the_sync() {
    let world = World::new();
    let file = create_durable(&world, "/a", &[1; 2 * SECTOR]);
    file.set_len(10).unwrap();
    file.set_len(700).unwrap();
    let mut lens = BTreeSet::new();
    let mut tails = BTreeSet::new();
    for image in images(&world) {
        let bytes = image.read_file("/a").unwrap();
        lens.insert(bytes.len());
        assert!(bytes[..10].iter().all(|byte| *byte == 1));
        if bytes.len() == 700 {
            tails.insert((bytes[10], bytes[511], bytes[512], bytes[699]));
        }
    }
    assert_eq!(lens, set([10, 700, 2 * SECTOR]));
    assert_eq!(tails, set([(0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0), (1, 1, 1, 1)]));
}

#[test]
fn rename_without_folder_sync_can_be_lost_in_every_way() {
    let world = World::new();
    create_durable(&world, "/old", b"new");
    create_durable(&world, "/name", b"old");
    world.rename(at("/old"), at("/name")).unwrap();
    let both: BTreeSet<_> = images(&world)
        .map(|image| (image.read_file("/old").ok(), image.read_file("/name").unwrap()))
        .collect();
    let (new, old) = (b"new".to_vec(), b"old".to_vec());
    let all = [
        (None, new.clone()),
        (None, old.clone()),
        (Some(new.clone()), new.clone()),
        (Some(new), old),
    ];
    assert_eq!(both, set(all));
    world.sync_dir(at("/")).unwrap();
    assert_eq!(outcomes(&world, "/name"), set([found(b"new")]));
}

#[test]
fn removal_without_sync_can_be_lost() {
    let world = World::new();
    create_durable(&world, "/a", b"abc");
    world.remove_file(at("/a")).unwrap();
    assert_eq!(outcomes(&world, "/a"), set([None, found(b"abc")]));
    world.sync_dir(at("/")).unwrap();
    assert_eq!(outcomes(&world, "/a"), set([None]));
}

#[test]
fn reused_name_may_refer_to_any_former_file() {
    let world = World::new();
    for bytes in [b"one", b"two"] {
        create(&world, "/a", bytes).sync().unwrap();
        world.remove_file(at("/a")).unwrap();
    }
    create(&world, "/a", b"six").sync().unwrap();
    let all = [None, found(b"one"), found(b"two"), found(b"six")];
    assert_eq!(outcomes(&world, "/a"), set(all));
}

#[test]
fn lost_folder_loses_its_entries() {
    let world = World::new();
    world.create_dir(at("/d")).unwrap();
    create_durable(&world, "/d/a", b"abc");
    assert_eq!(outcomes(&world, "/d/a"), set([None, found(b"abc")]));
    for image in images(&world) {
        assert!([0, 2].contains(&image.tree().len()), "{:?}", image.tree());
    }
}

#[test]
fn links_share_surviving_bytes() {
    let world = World::new();
    let file = create_durable(&world, "/a", &[1; 4 * SECTOR]);
    world.hard_link(at("/a"), at("/b")).unwrap();
    world.sync_dir(at("/")).unwrap();
    file.write_all_at(&[2; 4 * SECTOR], 0).unwrap();
    for image in images(&world) {
        assert_eq!(image.read_file("/a").unwrap(), image.read_file("/b").unwrap());
        image.open(at("/a"), Access::ReadWrite).unwrap().write_all_at(&[3], 0).unwrap();
        assert_eq!(image.read_file("/b").unwrap()[0], 3);
    }
}

#[test]
fn ordered_disk_occurs() {
    let world = World::new();
    let file = create_durable(&world, "/a", &[0; 20 * SECTOR]);
    for sector in 0..20 {
        file.write_all_at(&[1; SECTOR], sector * SECTOR as u64).unwrap();
    }
    let prefixes: BTreeSet<_> = images(&world)
        .filter_map(|image| {
            let bytes = image.read_file("/a").unwrap();
            let kept = bytes.iter().take_while(|byte| **byte == 1).count();
            bytes[kept..].iter().all(|byte| *byte == 0).then_some(kept / SECTOR)
        })
        .collect();
    assert_eq!(prefixes, (0..=20).collect());
}

/// Makes a world with some of everything.
///
/// So all behaviours have choices.
fn busy_world() -> World {
    let world = World::new();
    world.create_dir(at("/d")).unwrap();
    let state = create_durable(&world, "/state", &[1; 10_000]);
    for round in 0..20_u8 {
        let name = format!("/d/{}", round % 7);
        let temp = format!("/d/temp-{round}");
        create(&world, &temp, &[round; 900]);
        world.rename(at(&temp), at(&name)).unwrap();
        state.write_all_at(&[round; 700], u64::from(round) * 450).unwrap();
        state.set_len(10_000 + u64::from(round)).unwrap();
        if round % 5 == 4 {
            state.sync().unwrap();
            world.sync_dir(at("/d")).unwrap();
        }
    }
    world
}

fn contents(world: &World) -> Vec<(String, Option<Vec<u8>>)> {
    let read = |path: &Path| world.read_file(path).ok();
    world.tree().iter().map(|(path, _)| (path.display().to_string(), read(path))).collect()
}

#[test]
fn image_that_kept_all_equals_the_program_view() {
    let world = busy_world().same_as_now();
    let synced = contents(&world);
    let state = world.open(at("/state"), Access::ReadWrite).unwrap();
    state.set_len(3000).unwrap();
    state.write_all_at(&[99; 5000], 9000).unwrap();
    state.set_len(12_345).unwrap();
    world.rename(at("/d/1"), at("/d/2")).unwrap();
    world.hard_link(at("/d/3"), at("/link")).unwrap();
    world.remove_file(at("/d/3")).unwrap();
    let seen = contents(&world);
    let as_seen = images(&world).filter(|image| contents(image) == seen).count();
    let as_synced = images(&world).filter(|image| contents(image) == synced).count();
    assert!(as_seen > 20 && as_synced > 20, "{as_seen} kept all, {as_synced} lost all");
}

#[test]
fn same_journal_event_and_seed_give_the_same_image() {
    let (one, two) = (busy_world(), busy_world());
    let early = one.journal();
    create(&one, "/later", b"does not matter");
    let mut walking = Replay::new(&two.journal());
    let mut different = BTreeSet::new();
    for event in (0..=early.events()).step_by(9) {
        walking.advance_to(event);
        let jumping = replay_at(&early, event);
        assert_eq!((walking.event(), jumping.unsynced()), (event, walking.unsynced()));
        for seed in 0..20 {
            let image = contents(&walking.image(seed));
            assert_eq!(image, contents(&jumping.image(seed)), "event {event}, seed {seed}");
            different.insert(image);
        }
    }
    assert!(different.len() > 50, "only {} different images", different.len());
}

#[test]
fn image_can_crash_again() {
    let world = World::new();
    create_durable(&world, "/a", b"one");
    let file = world.open(at("/a"), Access::ReadWrite).unwrap();
    file.write_all_at(b"two", 0).unwrap();
    for image in images(&world).take(50) {
        let base = image.read_file("/a").unwrap();
        assert_eq!(image.events(), 0);
        assert_eq!(outcomes(&image, "/a"), set([Some(base.clone())]), "what survived is durable");
        let file = image.open(at("/a"), Access::ReadWrite).unwrap();
        file.write_all_at(b"six", 0).unwrap();
        assert_eq!(outcomes(&image, "/a"), set([Some(base), found(b"six")]));
        file.sync().unwrap();
        assert_eq!(outcomes(&image, "/a"), set([found(b"six")]));
    }
    assert_eq!(world.read_file("/a").unwrap(), b"two", "images do not touch their origin");
}

#[test]
fn orderly_end_keeps_everything() {
    let world = busy_world();
    let after = world.same_as_now();
    assert_eq!(contents(&after), contents(&world));
    let replay = Replay::new(&after.journal());
    assert_eq!(contents(&replay.image(5)), contents(&world));
}

#[test]
fn file_unlinked_while_open_never_returns() {
    let world = World::new();
    let file = create_durable(&world, "/a", b"abc");
    world.remove_file(at("/a")).unwrap();
    world.sync_dir(at("/")).unwrap();
    file.write_all_at(b"xyz", 0).unwrap();
    let unsynced = replay_at(&world.journal(), world.events()).unsynced();
    assert_eq!(unsynced, 0, "no events are unsynced");
    file.sync().unwrap();
    assert_eq!(outcomes(&world, "/a"), set([None]));
    assert!(world.same_as_now().tree().is_empty());
}

#[test]
fn careful_program_loses_data_only_with_a_defect() {
    let put_on = |world: World| {
        put(&world, "/a", b"abc");
        outcomes(&world, "/a")
    };
    let (missing, empty, zeros) = (None, found(b""), found(b"\0\0\0"));
    assert_eq!(put_on(World::new()), set([found(b"abc")]));
    let lying = put_on(World::new().with_defect(Defect::SyncWithoutEffect));
    assert_eq!(lying, set([missing.clone(), empty.clone(), zeros.clone(), found(b"abc")]));
    let nameless = put_on(World::new().with_defect(Defect::NoDirSync));
    assert_eq!(nameless, set([missing, found(b"abc")]));
    let late = put_on(World::new().with_defect(Defect::LateSync));
    assert_eq!(late, set([empty, zeros, found(b"abc")]));
}

#[test]
fn late_syncs_affect_only_files_moved_afterwards() {
    let world = World::new();
    create_durable(&world, "/base", b"old");
    let world = world.same_as_now().with_defect(Defect::LateSync);
    let base = world.open(at("/base"), Access::ReadWrite).unwrap();
    base.write_all_at(b"new", 0).unwrap();
    base.sync().unwrap();
    world.rename(at("/base"), at("/moved")).unwrap();
    create_durable(&world, "/stays", b"abc");
    let temp = create(&world, "/temp", b"abc");
    world.rename(at("/temp"), at("/late")).unwrap();
    temp.sync().unwrap();
    world.sync_dir(at("/")).unwrap();
    assert_eq!(outcomes(&world, "/moved"), set([found(b"new")]), "of the base");
    assert_eq!(outcomes(&world, "/stays"), set([found(b"abc")]), "never moved");
    assert_eq!(outcomes(&world, "/late"), set([found(b"abc")]), "synced after its move");
}

#[test]
fn images_inherit_the_defect() {
    let world = World::new().with_defect(Defect::SyncWithoutEffect);
    let image = images(&world).next().unwrap();
    create_durable(&image, "/a", b"abc");
    assert!(outcomes(&image, "/a").contains(&None));
}

#[test]
fn placed_files_are_durable_under_every_defect() {
    let world = World::new().with_defect(Defect::SyncWithoutEffect);
    world.create_dir(at("/d")).unwrap();
    world.write_file("/d/e/a", b"bad input").unwrap();
    assert_eq!(outcomes(&world, "/d/e/a"), set([found(b"bad input")]));
    world.write_file("/d/e/a", b"worse").unwrap();
    assert_eq!(outcomes(&world, "/d/e/a"), set([found(b"worse")]));
}

#[test]
fn failed_sync_is_durable_only_if_it_fails_after_its_effect() {
    for (fault, all) in [
        (Fault::before(5), set([found(b"one"), found(b"two")])),
        (Fault::torn(5), set([found(b"one"), found(b"two")])),
        (Fault::after(5), set([found(b"two")])),
    ] {
        let world = World::new();
        let file = create_durable(&world, "/a", b"one");
        file.write_all_at(b"two", 0).unwrap();
        world.fail_at(1, fault);
        file.sync().unwrap_err();
        assert_eq!(outcomes(&world, "/a"), all, "{fault:?}");
    }
}

#[test]
#[should_panic(expected = "cannot go back")]
fn replay_never_goes_back() {
    let mut replay = Replay::new(&busy_world().journal());
    replay.advance_to(10);
    replay.advance_to(9);
}
