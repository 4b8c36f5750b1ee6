//! The running world: names and bytes as in POSIX, locks, capacity, faults.

use std::io::ErrorKind as Io;

use strongroom_base::fs::EntryKind;

use super::*;

fn at(path: &str) -> &Path {
    Path::new(path)
}

fn create(world: &World, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = world.open(at(path), Access::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn bytes_of(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[track_caller]
fn refused<T>(outcome: io::Result<T>, kind: Io) {
    match outcome {
        Ok(_) => panic!("it was not refused"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

#[test]
fn each_access_requires_or_creates_the_file() {
    let world = World::new();
    refused(world.open(at("/a"), Access::Read), Io::NotFound);
    refused(world.open(at("/a"), Access::ReadWrite), Io::NotFound);
    create(&world, "/a", b"one");
    refused(world.open(at("/a"), Access::CreateNew), Io::AlreadyExists);
    let again = world.open(at("/a"), Access::OpenOrCreate).unwrap();
    assert_eq!(bytes_of(&*again), b"one");
    assert!(world.open(at("/b"), Access::OpenOrCreate).unwrap().is_empty().unwrap());

    let reader = world.open(at("/a"), Access::Read).unwrap();
    assert_eq!(reader.write_all_at(b"x", 0).unwrap_err().raw_os_error(), Some(9));
    assert!(reader.set_len(0).is_err());
    assert_eq!(bytes_of(&*reader), b"one");
}

#[test]
fn paths_through_files_and_calls_on_the_wrong_kind_are_refused() {
    let world = World::new();
    world.create_dir(at("/dir")).unwrap();
    create(&world, "/file", b"");
    refused(world.open(at("/file/x"), Access::CreateNew), Io::NotADirectory);
    refused(world.open(at("/dir"), Access::Read), Io::IsADirectory);
    refused(world.open(at("/dir"), Access::OpenOrCreate), Io::IsADirectory);
    refused(world.open(at("/no/x"), Access::CreateNew), Io::NotFound);
    refused(world.read_dir(at("/file")), Io::NotADirectory);
    refused(world.read_dir(at("/no")), Io::NotFound);
    refused(world.sync_dir(at("/no")), Io::NotFound);
    refused(world.remove_file(at("/dir")), Io::IsADirectory);
    refused(world.remove_file(at("/no")), Io::NotFound);
    refused(world.hard_link(at("/dir"), at("/x")), Io::PermissionDenied);
    refused(world.rename(at("/file"), at("/dir")), Io::IsADirectory);
    refused(world.rename(at("/dir"), at("/x")), Io::IsADirectory);
    refused(world.rename(at("/no"), at("/x")), Io::NotFound);
    refused(world.create_dir(at("/dir")), Io::AlreadyExists);
    refused(world.create_dir(at("/file")), Io::AlreadyExists);
    refused(world.create_dir(at("/")), Io::AlreadyExists);
    refused(world.create_dir(at("/no/x")), Io::NotFound);
    let long = format!("/{}", "n".repeat(256));
    refused(world.open(at(&long), Access::CreateNew), Io::InvalidFilename);
}

#[test]
fn folder_lists_its_entries_and_dots_are_followed() {
    let world = World::new();
    world.create_dir(at("/d")).unwrap();
    world.create_dir(at("/d/e")).unwrap();
    create(&world, "/d/./e/../f", b"four");
    let mut entries = world.read_dir(at("d")).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds: Vec<_> = entries.iter().map(|entry| (&*entry.name, entry.kind)).collect();
    assert_eq!(kinds, [("e", EntryKind::Dir), ("f", EntryKind::File { len: 4 })]);
    let tree = [("/d", None), ("/d/e", None), ("/d/f", Some(4))];
    assert_eq!(world.tree(), tree.map(|(path, len)| (PathBuf::from(path), len)));
}

#[test]
fn short_read_fails_and_hole_reads_as_zeros() {
    let world = World::new();
    let file = create(&world, "/a", b"abc");
    refused(file.read_exact_at(&mut [0; 4], 0), Io::UnexpectedEof);
    refused(file.read_exact_at(&mut [0; 1], 3), Io::UnexpectedEof);
    refused(file.read_exact_at(&mut [0; 1], u64::MAX), Io::UnexpectedEof);
    refused(file.write_all_at(b"x", u64::MAX), Io::FileTooLarge);
    file.read_exact_at(&mut [], 3).unwrap();
    file.set_len(1).unwrap();
    file.write_all_at(b"z", 4).unwrap();
    assert_eq!(bytes_of(&*file), b"a\0\0\0z");
}

#[test]
fn renamed_over_file_stays_readable_while_open() {
    let world = World::new();
    let old = create(&world, "/name", b"old");
    create(&world, "/temp", b"new");
    world.rename(at("/temp"), at("/name")).unwrap();
    assert_eq!(world.read_file("/name").unwrap(), b"new");
    refused(world.read_file("/temp"), Io::NotFound);
    assert_eq!(bytes_of(&*old), b"old");
    old.write_all_at(b"OLD", 0).unwrap();
    old.sync().unwrap();
    assert_eq!(bytes_of(&*old), b"OLD");
    assert_eq!(world.read_file("/name").unwrap(), b"new");
}

#[test]
fn links_share_bytes_until_the_last_name_is_removed() {
    let world = World::new();
    let file = create(&world, "/a", b"one");
    world.hard_link(at("/a"), at("/b")).unwrap();
    refused(world.hard_link(at("/a"), at("/b")), Io::AlreadyExists);
    file.write_all_at(b"two", 0).unwrap();
    assert_eq!(world.read_file("/b").unwrap(), b"two");
    world.remove_file(at("/a")).unwrap();
    assert_eq!(world.read_file("/b").unwrap(), b"two");

    let before = world.events();
    world.hard_link(at("/b"), at("/c")).unwrap();
    world.rename(at("/b"), at("/c")).unwrap();
    assert_eq!(world.tree().len(), 2, "two names of one file stay");
    assert_eq!(world.events(), before + 1, "and nothing happened");

    world.remove_file(at("/b")).unwrap();
    world.remove_file(at("/c")).unwrap();
    assert_eq!(world.state.lock().tree().bytes(), 3, "it is open");
    drop(file);
    assert_eq!(world.state.lock().tree().bytes(), 0);
}

#[test]
fn only_one_open_file_holds_the_lock() {
    let world = World::new();
    let first = create(&world, "/lock", b"");
    let second = world.open(at("/lock"), Access::Read).unwrap();
    assert!(first.try_lock().unwrap());
    assert!(first.try_lock().unwrap(), "it has it already");
    assert!(!second.try_lock().unwrap());
    second.unlock().unwrap();
    assert!(!second.try_lock().unwrap(), "it was not its own to release");
    first.unlock().unwrap();
    assert!(second.try_lock().unwrap());
    drop(second);
    assert!(first.try_lock().unwrap(), "closing releases");
    world.hard_link(at("/lock"), at("/other")).unwrap();
    let other = world.open(at("/other"), Access::Read).unwrap();
    assert!(!other.try_lock().unwrap(), "the lock is the file's, not the name's");
    let after = world.same_as_now();
    assert!(after.open(at("/lock"), Access::Read).unwrap().try_lock().unwrap());
}

#[test]
fn only_changes_are_events() {
    let world = World::new();
    world.create_dir(at("/d")).unwrap();
    let file = create(&world, "/d/a", b"abc");
    file.set_len(2).unwrap();
    file.sync().unwrap();
    world.hard_link(at("/d/a"), at("/d/b")).unwrap();
    world.rename(at("/d/b"), at("/d/c")).unwrap();
    world.remove_file(at("/d/c")).unwrap();
    world.sync_dir(at("/d")).unwrap();
    assert_eq!((world.events(), world.calls()), (9, 9));
    file.len().unwrap();
    file.read_exact_at(&mut [0], 0).unwrap();
    file.try_lock().unwrap();
    file.unlock().unwrap();
    world.read_dir(at("/d")).unwrap();
    drop(world.open(at("/d/a"), Access::OpenOrCreate).unwrap());
    refused(world.remove_file(at("/d/b")), Io::NotFound);
    assert_eq!((world.events(), world.calls()), (9, 16));
    assert_eq!(world.journal().describe(3), "write #2: 3 bytes at 0");
    assert_eq!(world.journal().describe(10), "");
}

#[test]
fn full_disk_refuses_growth_but_not_removal() {
    let world = World::new();
    let file = create(&world, "/a", &[1; 100]);
    world.set_capacity(Some(150));
    refused(file.write_all_at(&[2; 100], 51), Io::StorageFull);
    refused(file.set_len(151), Io::StorageFull);
    assert_eq!(bytes_of(&*file), [1; 100]);
    file.write_all_at(&[2; 100], 50).unwrap();
    file.write_all_at(&[3; 150], 0).unwrap();
    refused(world.open(at("/b"), Access::CreateNew), Io::StorageFull);
    refused(world.open(at("/b"), Access::OpenOrCreate), Io::StorageFull);
    refused(world.create_dir(at("/d")), Io::StorageFull);
    refused(world.hard_link(at("/a"), at("/b")), Io::StorageFull);
    world.rename(at("/a"), at("/b")).unwrap();
    file.set_len(149).unwrap();
    create(&world, "/c", &[4]);
    world.remove_file(at("/b")).unwrap();
    refused(world.open(at("/e"), Access::CreateNew), Io::StorageFull);
    drop(file);
    create(&world, "/e", &[5; 149]);
    world.set_capacity(None);
    create(&world, "/f", &[6; 1000]);
}

#[test]
fn each_fault_timing_leaves_its_part_of_a_write() {
    let outcomes = [Fault::before(5), Fault::after(5), Fault::torn(5)].map(|fault| {
        let world = World::new();
        let file = create(&world, "/a", &[1; 4096]);
        let events = world.events();
        world.fail_at(1, fault);
        assert_eq!(file.write_all_at(&[2; 4000], 0).unwrap_err().raw_os_error(), Some(5));
        file.write_all_at(&[3], 4095).unwrap();
        let bytes = world.read_file("/a").unwrap();
        let twos = bytes.into_iter().filter(|byte| *byte == 2).count();
        (twos, world.events() - events)
    });
    assert_eq!(outcomes, [(0, 1), (4000, 2), (1536, 2)]);
}

#[test]
fn each_fault_timing_leaves_all_or_nothing_of_other_calls() {
    for (fault, happens) in [
        (Fault::before(Io::Other), false),
        (Fault::torn(Io::Other), false),
        (Fault::after(Io::Other), true),
    ] {
        let world = World::new();
        world.fail_at(1, fault);
        refused(world.open(at("/made"), Access::CreateNew), Io::Other);
        assert_eq!(world.read_file("/made").is_ok(), happens, "create, {fault:?}");

        let file = create(&world, "/a", b"abc");
        world.fail_from(1, fault);
        refused(file.set_len(1), Io::Other);
        refused(world.rename(at("/a"), at("/b")), Io::Other);
        refused(world.create_dir(at("/d")), Io::Other);
        refused(file.try_lock(), Io::Other);
        refused(file.len(), Io::Other);
        world.clear_faults();
        assert_eq!(file.len().unwrap() == 1, happens, "set_len, {fault:?}");
        assert_eq!(world.read_file("/b").is_ok(), happens, "rename, {fault:?}");
        assert_eq!(world.read_dir(at("/d")).is_ok(), happens, "create_dir, {fault:?}");
        let path = if happens { "/b" } else { "/a" };
        let other = world.open(at(path), Access::Read).unwrap();
        assert_eq!(!other.try_lock().unwrap(), happens, "try_lock, {fault:?}");
    }
}

#[test]
fn file_opened_by_failing_call_is_closed() {
    let world = World::new();
    world.fail_at(1, Fault::after(Io::Interrupted));
    refused(world.open(at("/a"), Access::CreateNew), Io::Interrupted);
    create(&world, "/b", b"abc");
    world.rename(at("/b"), at("/a")).unwrap();
    assert_eq!(world.state.lock().tree().inodes().count(), 2, "the root and one file");
}

#[test]
fn placing_a_file_is_no_call_and_never_fails() {
    let world = World::new();
    world.fail_from(1, Fault::before(Io::Other));
    world.set_capacity(Some(0));
    world.write_file("/deep/er/file", b"bytes").unwrap();
    world.write_file("/deep/er/file", b"less").unwrap();
    assert_eq!(world.read_file("/deep/er/file").unwrap(), b"less");
    assert_eq!(world.calls(), 0);
    refused(world.write_file("/deep/er", b""), Io::IsADirectory);
    refused(world.write_file("/deep/er/file/x", b""), Io::NotADirectory);
}

#[test]
fn simulated_file_system_works_from_many_threads() {
    let world = World::new();
    std::thread::scope(|scope| {
        for name in ["/a", "/b", "/c", "/d"] {
            let world = &world;
            scope.spawn(move || {
                let file = create(world, name, b"");
                for round in 0..100 {
                    file.write_all_at(name.as_bytes(), round * 2).unwrap();
                }
            });
        }
    });
    assert_eq!(world.events(), 4 * 102);
    assert_eq!(world.read_file("/c").unwrap(), b"/c".repeat(100));
}
