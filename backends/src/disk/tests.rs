//! Effects of the disk backend that the conformance suite does not see.

use std::fs as std_fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(disk: &Disk, text: &str) {
    disk.put(&key(text), text.to_owned().into(), &Condition::Any).unwrap();
}

fn names(disk: &Disk) -> Vec<String> {
    let page = disk.list("", None, usize::MAX).unwrap();
    page.into_iter().map(|entry| entry.key.to_string()).collect()
}

fn temporaries(root: &Path) -> usize {
    std_fs::read_dir(root.join("tmp")).unwrap().count()
}

#[test]
fn files_and_folders_are_private_to_owner() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("new/store");
    let disk = Disk::open(&root).unwrap();
    disk.put(&key("a/b/c"), "body".into(), &Condition::Absent).unwrap();
    put(&disk, "d");

    let mode =
        |path: &str| std_fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    for folder in
        ["new", "new/store", "new/store/tmp", "new/store/objects", "new/store/objects/a/b"]
    {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in ["lock", "objects/a/b/c.object", "objects/d.object"] {
        assert_eq!(mode(&format!("new/store/{file}")), 0o600, "{file}");
    }
}

#[test]
fn bodies_are_stored_verbatim() {
    let home = tempfile::tempdir().unwrap();
    put(&Disk::open(home.path()).unwrap(), "a/b");
    assert_eq!(std_fs::read(home.path().join("objects/a/b.object")).unwrap(), b"a/b");
    let again = Disk::open(home.path()).unwrap();
    assert_eq!(again.get(&key("a/b")).unwrap().body, "a/b");
}

#[test]
fn calls_leave_no_temporary_file() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    put(&disk, "a");
    disk.put(&key("b"), "b".into(), &Condition::Absent).unwrap();
    disk.put(&key("a"), "x".into(), &Condition::Absent).unwrap_err();
    let other = Condition::Matches(Version::of_content(b"other"));
    disk.put(&key("a"), "x".into(), &other).unwrap_err();
    disk.put(&key("c"), "x".into(), &other).unwrap_err();
    // A folder in the way of the name makes the rename itself fail.
    std_fs::create_dir(home.path().join("objects/d.object")).unwrap();
    let error = disk.put(&key("d"), "x".into(), &Condition::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    assert_eq!(temporaries(home.path()), 0);
}

#[test]
fn clearing_removes_only_leftovers_of_dead_writers() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    put(&disk, "a");
    let tmp = home.path().join("tmp");
    for leftover in ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"] {
        std_fs::write(tmp.join(leftover), "part of a bo").unwrap();
    }
    std_fs::write(tmp.join("notes.txt"), "not ours").unwrap();
    assert_eq!(disk.clear_temporaries().unwrap(), 2);
    assert_eq!(disk.clear_temporaries().unwrap(), 0);
    assert_eq!(temporaries(home.path()), 1);
    assert_eq!(names(&disk), ["a"]);
}

#[test]
fn foreign_names_are_not_listed() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    put(&disk, "a/b");
    let objects = home.path().join("objects");
    for foreign in ["README", "B.object", ".object", "a.b.object", "a/c.object~"] {
        std_fs::write(objects.join(foreign), "").unwrap();
    }
    for foreign in ["Folder", "d.object", "e.f"] {
        std_fs::create_dir(objects.join(foreign)).unwrap();
        std_fs::write(objects.join(foreign).join("x.object"), "").unwrap();
    }
    symlink(objects.join("a/b.object"), objects.join("link.object")).unwrap();
    symlink(&objects, objects.join("loop")).unwrap();
    assert_eq!(names(&disk), ["a/b"]);
}

#[test]
fn prefix_cannot_escape_the_folder() {
    let home = tempfile::tempdir().unwrap();
    std_fs::write(home.path().join("secret.object"), "").unwrap();
    let disk = Disk::open(home.path().join("store")).unwrap();
    for prefix in ["../", "../../", "/", "a/../../../"] {
        assert_eq!(disk.list(prefix, None, 10).unwrap(), [], "{prefix}");
    }
}

#[test]
fn missing_folder_is_not_a_missing_object() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    std_fs::remove_dir(home.path().join("tmp")).unwrap();
    let error = disk.put(&key("a"), "x".into(), &Condition::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn root_that_is_no_folder_is_invalid() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std_fs::write(&file, "").unwrap();
    assert_eq!(Disk::open(&file).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Deterministic tests of races that the conformance suite finds only by luck.
#[test]
fn changes_except_creation_wait_for_the_lock() {
    use strongroom_base::component::ManualClock;

    let home = tempfile::tempdir().unwrap();
    let entropy = Arc::new(OsEntropy);
    // A manual clock advances when a thread sleeps on it, so the ten seconds pass at once.
    let clock = Arc::new(ManualClock::new());
    let disk = Disk::with(Arc::new(Os), entropy, clock, home.path()).unwrap();
    let version = disk.put(&key("a"), "a".into(), &Condition::Any).unwrap();

    let holder = Os.open(&home.path().join("lock"), Access::ReadWrite).unwrap();
    assert!(holder.try_lock().unwrap());
    let put = |condition| disk.put(&key("a"), "b".into(), &condition).map(drop);
    for refused in [
        put(Condition::Any),
        put(Condition::Matches(version)),
        disk.delete(&key("a")),
        disk.list("", None, 1).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Locked);
    }
    assert_eq!(disk.get(&key("a")).unwrap().body, "a");
    disk.put(&key("b"), "b".into(), &Condition::Absent).unwrap();
    assert_eq!(temporaries(home.path()), 0);
}

#[test]
fn taken_temporary_name_is_not_a_failed_condition() {
    use strongroom_base::component::SeededEntropy;

    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let open = |seed| {
        let entropy = Arc::new(SeededEntropy::new(seed));
        Disk::with(Arc::new(Os), entropy, clock.clone(), home.path()).unwrap()
    };
    let mut draw = [0; 16];
    SeededEntropy::new(7).fill(&mut draw).unwrap();
    let taken = format!("{:032x}", u128::from_be_bytes(draw));
    let disk = open(7);
    std_fs::write(home.path().join("tmp").join(&taken), "leftover").unwrap();
    disk.put(&key("a"), "body".into(), &Condition::Absent).unwrap();
    assert_eq!(disk.get(&key("a")).unwrap().body, "body");
    assert_eq!(std_fs::read(home.path().join("tmp").join(&taken)).unwrap(), b"leftover");
}

/// A file system whose calls on names fail on demand.
///
/// Each call has its own switch.
#[derive(Debug, Default)]
struct Failing {
    sync_dir: std::sync::atomic::AtomicBool,
    rename: parking_lot::Mutex<Option<io::ErrorKind>>,
    synced: parking_lot::Mutex<Vec<PathBuf>>,
}

impl FileSystem for Failing {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Os.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match *self.rename.lock() {
            Some(kind) => Err(kind.into()),
            None => Os.rename(from, to),
        }
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Os.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Os.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Os.create_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<strongroom_base::fs::DirEntry>> {
        Os.read_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.sync_dir.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        self.synced.lock().push(path.to_path_buf());
        Os.sync_dir(path)
    }
    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        Os.available_bytes(path)
    }
}

fn on_failing(root: &Path) -> (Disk, Arc<Failing>) {
    let fs = Arc::new(Failing::default());
    let disk = Disk::with(fs.clone(), Arc::new(OsEntropy), Arc::new(SystemClock::new()), root);
    (disk.unwrap(), fs)
}

#[test]
fn failed_rename_is_uncertain_unless_refused() {
    let home = tempfile::tempdir().unwrap();
    let (disk, fs) = on_failing(home.path());
    for (io_kind, kind) in [
        (io::ErrorKind::StorageFull, ErrorKind::Full),
        (io::ErrorKind::PermissionDenied, ErrorKind::Denied),
        (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::Denied),
        (io::ErrorKind::NotFound, ErrorKind::Unavailable),
        (io::ErrorKind::TimedOut, ErrorKind::Uncertain),
        (io::ErrorKind::Other, ErrorKind::Uncertain),
    ] {
        *fs.rename.lock() = Some(io_kind);
        let error = disk.put(&key("a"), "x".into(), &Condition::Any).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(temporaries(home.path()), 0, "{error}");
    }
}

#[test]
fn failed_sync_is_uncertain_only_after_the_change() {
    let home = tempfile::tempdir().unwrap();
    let (disk, fs) = on_failing(home.path());
    put(&disk, "a");
    fs.sync_dir.store(true, std::sync::atomic::Ordering::SeqCst);

    let error = disk.put(&key("b"), "b".into(), &Condition::Absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    assert_eq!(disk.get(&key("b")).unwrap().body, "b", "it happened");
    let error = disk.delete(&key("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    let error = disk.delete(&key("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "an absence that is not durable: {error}");

    let error = disk.put(&key("new/a"), "x".into(), &Condition::Absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "the folder comes before the put: {error}");
    assert_eq!(disk.get(&key("new/a")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn first_use_of_a_folder_syncs_its_parents() {
    let home = tempfile::tempdir().unwrap();
    put(&Disk::open(home.path()).unwrap(), "a/b/c");
    let (disk, fs) = on_failing(home.path());
    let objects = home.path().join("objects");
    let synced = || std::mem::take(&mut *fs.synced.lock());

    synced();
    put(&disk, "a/b/d");
    assert_eq!(synced(), [objects.clone(), objects.join("a"), objects.join("a/b")]);
    put(&disk, "a/b/e");
    assert_eq!(synced(), [objects.join("a/b")]);
}
