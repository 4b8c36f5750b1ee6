//! One state at a time has the content of a vault on a store that hosts share.

use std::fs;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use strongroom::backends::component::ProcessIdentity;
use strongroom::backends::{Backend, Condition, Key, ListEntry, Object, Version};
use strongroom::testing::{BackendFault, FaultyBackend};
use strongroom::{
    CancelToken, CheckOptions, Error, ErrorKind, LockPolicy, LockRefused, MemoryState, ReadData,
    Result, Vault, VaultOptions,
};
use tempfile::TempDir;

use crate::scene::{copy_folder, memory_store, noise, options, put, whole};
use crate::server::Place;
use crate::support::clock::SharedClock;
use crate::support::process::{Worker, say, wait_for_go};

const CENTURY_MILLIS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store, and a vault on it that was closed, in the folder `a`.
struct Scene {
    home: TempDir,
    client: Arc<InMemory>,
    clock: SharedClock,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let scene = Self { home, client: Arc::new(InMemory::new()), clock: SharedClock::default() };
        scene.options().create(scene.folder("a")).unwrap().close().unwrap();
        scene
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn store(&self) -> Arc<dyn Backend> {
        memory_store(&self.client)
    }

    fn options(&self) -> VaultOptions {
        self.on(&self.store())
    }

    /// Opened on a handle of the store that the test has; tried for once.
    fn on(&self, store: &Arc<dyn Backend>) -> VaultOptions {
        let once = LockPolicy { timeout: Duration::ZERO, ..LockPolicy::default() };
        options(store).clock(self.clock.clone()).lock_policy(once)
    }

    fn open(&self, name: &str) -> Result<Vault> {
        self.options().open(self.folder(name))
    }

    fn copy(&self, from: &str, to: &str) {
        copy_folder(&self.folder(from), &self.folder(to));
    }

    /// How many objects of content there are.
    fn objects(&self) -> usize {
        self.store().list("content/", None, 1_000).unwrap().len()
    }
}

#[track_caller]
fn refused(opened: Result<Vault>, kind: ErrorKind) -> Error {
    let error = opened.expect_err("it is refused");
    assert_eq!((error.kind(), error.operation()), (kind, "claim content"), "{error}");
    error
}

fn insert(vault: &Vault, key: &str) -> Result<()> {
    vault.write(|tx| tx.insert("records", key, "value"))
}

#[test]
fn of_two_copies_the_second_is_locked_out_until_it_takes_over_and_then_the_first_stops() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let kept = put(&first, "kept", &noise(600_000, 1));
    let error = refused(scene.open("b"), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(told.holder.as_ref().unwrap().process.pid, std::process::id());

    let second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    let taken_over = second.recovery().taken_over.clone().unwrap();
    assert_eq!((taken_over.from.as_ref(), told.attempts), (told.holder.as_ref(), 1));
    assert!(!second.recovery().was_clean());
    let own = put(&second, "own", &noise(600_000, 2));
    // The first has not heard of it. What it reads, it still reads; what it would delete, it does not.
    assert!(first.artifacts().read(&kept).is_ok());
    first.artifacts().delete(&kept).unwrap();
    let before = scene.objects();
    let lost = first.clean(&CancelToken::new()).unwrap_err();
    assert_eq!((lost.kind(), lost.operation()), (ErrorKind::Closed, "claim content"));
    assert!(lost.to_string().contains("taken over"), "{lost}");
    for stopped in [
        insert(&first, "after").unwrap_err(),
        first.add_key(&strongroom::NewKey::new(&strongroom::SecretKey::new([9; 32]))).unwrap_err(),
        first.gc(&strongroom::GcOptions::default()).unwrap_err(),
    ] {
        assert_eq!(stopped.kind(), ErrorKind::Closed, "{stopped}");
    }
    assert_eq!(scene.objects(), before, "nothing was deleted");
    first.close().unwrap();

    // The winner has all that is its own, also after the loser's close.
    assert!(second.artifacts().read(&own).unwrap() == noise(600_000, 2));
    whole(&second);
    insert(&second, "goes on").unwrap();
    refused(scene.open("a"), ErrorKind::Locked);
    second.close().unwrap();
    let error = refused(scene.open("a"), ErrorKind::Denied);
    assert!(error.to_string().contains("another state"), "{error}");
    assert!(scene.open("b").unwrap().recovery().was_clean());
}

#[test]
fn a_commit_finds_out_within_a_minute_that_the_content_was_taken_over() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let first = scene.open("a").unwrap();
    let _second = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    insert(&first, "unheard").expect("it was heard of a moment ago");
    scene.clock.advance(Duration::from_secs(61));
    insert(&first, "asks").expect("no commit waits for the store");
    let stopped = (0..1_000_000).find_map(|n| {
        std::thread::yield_now();
        insert(&first, &format!("{n}")).err()
    });
    assert_eq!(stopped.expect("it stops").kind(), ErrorKind::Closed);
}

#[test]
fn an_older_copy_is_denied_though_nobody_has_the_content_open() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    refused(scene.open("b"), ErrorKind::Denied);
    assert!(scene.open("a").unwrap().artifacts().exists(&uri).unwrap(), "nothing was changed");

    let older = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    assert!(!older.artifacts().exists(&uri).unwrap());
    older.close().unwrap();
    refused(scene.open("a"), ErrorKind::Denied);
    scene.open("b").unwrap();
}

#[test]
fn nothing_is_deleted_for_a_day_after_a_take_over() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    scene.copy("a", "b");
    let held = scene.open("a").unwrap();
    let vault = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    let before = scene.objects();
    vault.artifacts().delete(&uri).unwrap();
    vault.gc(&strongroom::GcOptions::default()).unwrap();
    let report = vault.clean(&CancelToken::new()).unwrap();
    assert_eq!((scene.objects(), report.objects), (before, 0));
    assert!(report.waiting > 0, "{report:?}");
    vault.close().unwrap();

    // It is kept over an open, which is none of a take-over.
    let vault = scene.open("b").unwrap();
    assert_eq!(scene.objects(), before);
    scene.clock.advance(DAY);
    assert!(vault.clean(&CancelToken::new()).unwrap().objects > 0);
    assert_eq!(scene.objects(), 0);
    drop(held);
}

/// A process of this host that has ended.
fn ended_process() -> ProcessIdentity {
    let mut child = Command::new("true").spawn().unwrap();
    let host = strongroom_host();
    let ended = ProcessIdentity { pid: child.id(), ..ProcessIdentity::of_this_process(host) };
    child.wait().unwrap();
    ended
}

/// What a vault calls this host.
fn strongroom_host() -> String {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let error = refused(scene.open("b"), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    told.holder.clone().unwrap().process.host
}

#[test]
fn content_of_a_process_that_died_passes_on_beside_it_and_is_locked_elsewhere() {
    let dead = ended_process();
    for (process, is_beside) in [
        (dead.clone(), true),
        (ProcessIdentity { host: "elsewhere".into(), ..dead.clone() }, false),
        (ProcessIdentity { boot_id: "before the reboot".into(), ..dead.clone() }, false),
        (ProcessIdentity { pid_namespace: "a container's".into(), ..dead }, false),
    ] {
        let (scene, state) = (Scene::new(), MemoryState::new());
        let store = scene.store();
        let options = || scene.on(&store);
        let created = options().create_on(state.clone(), Arc::clone(&store)).unwrap();
        created.close().unwrap();
        let died = options().process(process).open_on(state.clone(), Arc::clone(&store)).unwrap();
        insert(&died, "k").unwrap();
        // It does not close.
        std::mem::forget(died);
        let opened = options().open_on(state.clone(), Arc::clone(&store));
        if is_beside {
            let vault = opened.unwrap();
            assert_eq!(vault.recovery().taken_over, None, "nothing is taken from the dead");
            assert_eq!(vault.read().unwrap().count("records").unwrap(), 1);
        } else {
            refused(opened, ErrorKind::Locked);
            let taken = options().take_over(true).open_on(state, Arc::clone(&store)).unwrap();
            assert!(taken.recovery().taken_over.is_some());
        }
    }
}

#[test]
fn a_copy_that_was_made_of_an_open_vault_is_kept_out_however_that_ends() {
    let dead = ended_process();
    for is_closed in [true, false] {
        let scene = Scene::new();
        let options = scene.options();
        let options = if is_closed { options } else { options.process(dead.clone()) };
        let vault = options.open(scene.folder("a")).unwrap();
        scene.copy("a", "b");
        let uri = put(&vault, "after the copy", &noise(600_000, 1));
        if is_closed {
            vault.close().unwrap();
            refused(scene.open("b"), ErrorKind::Denied);
            assert!(scene.open("a").unwrap().artifacts().read(&uri).is_ok());
        } else {
            // Its process is gone, and this is not the folder that it had.
            std::mem::forget(vault);
            refused(scene.open("b"), ErrorKind::Locked);
        }
    }
}

#[test]
fn a_take_over_by_a_clock_that_was_ahead_does_not_stop_deletes_for_good() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    vault.close().unwrap();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    scene.clock.jump(CENTURY_MILLIS);
    let vault = scene.options().take_over(true).open(scene.folder("b")).unwrap();
    vault.artifacts().delete(&uri).unwrap();
    assert_eq!(vault.clean(&CancelToken::new()).unwrap().objects, 0);
    scene.clock.jump(-CENTURY_MILLIS + 2 * 24 * 60 * 60 * 1_000);
    assert!(vault.clean(&CancelToken::new()).unwrap().objects > 0);
}

#[test]
fn a_session_that_the_store_was_not_told_the_end_of_locks_nobody_out() {
    let scene = Scene::new();
    let store = Arc::new(FaultyBackend::new(scene.store()));
    let shared: Arc<dyn Backend> = store.clone();
    let vault = scene.on(&shared).open(scene.folder("a")).unwrap();
    insert(&vault, "k").unwrap();
    store.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
    vault.close().unwrap();
    // The store was not told; the state knows that the session has ended.
    assert!(scene.open("a").unwrap().recovery().taken_over.is_none());
    drop(scene.open("a").unwrap());
    scene.open("a").unwrap().close().unwrap();
}

#[test]
fn a_store_without_the_ref_is_not_written_to_before_it_is_taken_over() {
    let scene = Scene::new();
    let store = scene.store();
    for entry in store.list("", None, 1_000).unwrap() {
        store.delete(&entry.key).unwrap();
    }
    let error = refused(scene.open("a"), ErrorKind::NotFound);
    assert!(error.to_string().contains("emptied"), "{error}");
    assert_eq!(store.list("", None, 10).unwrap(), [], "nothing was put there");
    let vault = scene.options().take_over(true).open(scene.folder("a")).unwrap();
    assert_eq!(vault.recovery().taken_over.clone().unwrap().from, None);
    insert(&vault, "k").unwrap();
    vault.close().unwrap();
    scene.open("a").unwrap();
}

#[test]
fn a_claim_whose_answer_is_lost_or_that_is_cut_short_leaves_the_vault_to_be_opened() {
    for fault in
        [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Unavailable)]
    {
        for nth in 1..=6 {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let opened = scene.on(&shared).open(scene.folder("a"));
            if let Ok(vault) = opened {
                insert(&vault, "k").unwrap();
                vault.close().unwrap();
            }
            let vault = scene.open("a").unwrap();
            assert_eq!(vault.recovery().taken_over, None, "{nth}");
            insert(&vault, "again").unwrap();
        }
    }
}

#[test]
fn a_creation_whose_claim_fails_leaves_a_folder_to_create_a_vault_in() {
    for nth in 1..=3 {
        for fault in
            [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Denied)]
        {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let created = scene.on(&shared).create(scene.folder("new"));
            match created {
                Ok(vault) => vault.close().unwrap(),
                Err(_) if !fs::exists(scene.folder("new").join("state.redb")).unwrap() => {
                    scene.options().create(scene.folder("new")).unwrap().close().unwrap();
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::Uncertain, "{e}"),
            }
            insert(&scene.open("new").unwrap(), "k").unwrap();
        }
    }
}

#[test]
fn a_session_that_this_state_does_not_know_is_not_waited_for() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let patient = LockPolicy { timeout: Duration::from_secs(3_600), ..LockPolicy::default() };
    let opened = scene.options().lock_policy(patient).open(scene.folder("b"));
    refused(opened, ErrorKind::Locked);
    assert!(scene.clock.sleeps().is_empty(), "it would be another's also once it had closed");
}

#[test]
fn a_take_over_that_fails_leaves_the_content_as_unknown_as_it_was() {
    for fault in
        [BackendFault::before(ErrorKind::Unavailable), BackendFault::before(ErrorKind::Uncertain)]
    {
        let scene = Scene::new();
        scene.copy("a", "b");
        let holder = scene.open("a").unwrap();
        let store = Arc::new(FaultyBackend::new(scene.store()));
        let shared: Arc<dyn Backend> = store.clone();
        // Reads the ref twice, and fails from there on.
        store.fail_from(3, fault);
        let failed = scene.on(&shared).take_over(true).open(scene.folder("b"));
        failed.expect_err("the store does not answer");
        put(&holder, "1", &noise(600_000, 1));
        holder.close().unwrap();
        scene.clock.advance(2 * DAY);
        refused(scene.open("b"), ErrorKind::Denied);
        assert!(scene.open("a").unwrap().recovery().was_clean());
    }
}

/// A store whose puts to refs are held back while it is told to, and happen when they are let go.
#[derive(Debug)]
struct LateRefs {
    store: Arc<dyn Backend>,
    holding: AtomicBool,
    held: Mutex<Vec<(Key, Bytes, Condition)>>,
}

impl LateRefs {
    fn let_go(&self) {
        self.holding.store(false, Ordering::Release);
        for (key, body, condition) in self.held.lock().drain(..) {
            let _ = self.store.put(&key, body, &condition);
        }
    }
}

impl Backend for LateRefs {
    fn get(&self, key: &Key) -> Result<Object> {
        self.store.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(key, range)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        if key.as_str().starts_with("refs/") && self.holding.load(Ordering::Acquire) {
            self.held.lock().push((key.clone(), body, condition.clone()));
            return Err(Error::new(ErrorKind::Uncertain, "put object"));
        }
        self.store.put(key, body, condition)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.store.delete(key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.store.delete_all(keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.store.list(prefix, after, limit)
    }

    fn name(&self) -> &str {
        self.store.name()
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.store.concurrency()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn available_bytes(&self) -> Result<u64> {
        self.store.available_bytes()
    }
}

#[test]
fn claims_that_land_after_later_opens_keep_the_state_in() {
    for opens in 1..=3 {
        let scene = Scene::new();
        let late = Arc::new(LateRefs {
            store: scene.store(),
            holding: AtomicBool::new(true),
            held: Mutex::default(),
        });
        let shared: Arc<dyn Backend> = late.clone();
        for _ in 0..opens {
            let unsure = scene.on(&shared).open(scene.folder("a"));
            assert_eq!(unsure.unwrap_err().kind(), ErrorKind::Uncertain);
        }
        late.let_go();
        let vault = scene.open("a").unwrap();
        assert_eq!(vault.recovery().taken_over, None);
        insert(&vault, "k").unwrap();
    }
}

#[test]
fn whatever_it_is_opened_for_it_can_be_opened_again_and_a_damaged_ref_can_be_taken_over() {
    let scene = Scene::new();
    let long = "purpose ".repeat(20_000);
    scene.options().purpose(long).open(scene.folder("a")).unwrap().close().unwrap();
    scene.open("a").unwrap().close().unwrap();
    let store = scene.store();
    let name = store.list("refs/", None, 10).unwrap()[0].key.clone();
    store.put(&name, "no ref".into(), &Condition::Any).unwrap();
    let damaged = scene.open("a").unwrap_err();
    assert_eq!((damaged.kind(), damaged.operation()), (ErrorKind::Corrupt, "read ref"));
    let vault = scene.options().take_over(true).open(scene.folder("a")).unwrap();
    let taken_over = vault.recovery().taken_over.clone().unwrap();
    assert_eq!(taken_over.from, None);
    vault.close().unwrap();
    scene.open("a").unwrap();
}

#[test]
fn a_store_that_is_emptied_behind_an_open_vault_stops_its_deletes_and_nothing_else() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    let uri = put(&vault, "1", &noise(600_000, 1));
    let store = scene.store();
    let name = store.list("refs/", None, 10).unwrap()[0].key.clone();
    let body = store.get(&name).unwrap().body;
    store.delete(&name).unwrap();
    vault.artifacts().delete(&uri).unwrap();
    let error = vault.clean(&CancelToken::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    insert(&vault, "k").unwrap();
    // It was only a stray answer.
    store.put(&name, body, &Condition::Absent).unwrap();
    assert!(vault.clean(&CancelToken::new()).unwrap().objects > 0);
    vault.close().unwrap();
    scene.open("a").unwrap();
}

/// What a process does that has a vault on a server, until it is told that another has taken the content over.
pub(crate) fn hold(folder: &Path) {
    let place = Place::at(std::env::var(URL).unwrap());
    let store = place.open();
    let vault = options(&store).open(folder).unwrap();
    let uri = put(&vault, "of the first", &noise(600_000, 1));
    say("open");
    wait_for_go();
    vault.artifacts().delete(&uri).unwrap();
    let stopped = vault.clean(&CancelToken::new()).unwrap_err();
    say(&format!("deletes: {}", stopped.kind()));
    let stopped = insert(&vault, "after").unwrap_err();
    say(&format!("writes: {}", stopped.kind()));
    vault.close().unwrap();
    say("closed");
}

const URL: &str = "STRONGROOM_TEST_STORE";

#[test]
fn of_two_processes_with_copies_on_a_server_one_works() {
    let test = "of_two_processes_with_copies_on_a_server_one_works";
    let Some(place) = Place::new(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("a"), home.path().join("b"));
    let store = place.open();
    options(&store).create(&first).unwrap().close().unwrap();
    copy_folder(&first, &second);
    let mut worker = Worker::start_with("hold", &first, &[(URL, place.url().to_owned())]);
    worker.expect("open");
    let error = refused(options(&store).open(&second), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(told.holder.as_ref().unwrap().process.pid, worker.pid());

    let clock = SharedClock::default();
    clock.advance(DAY);
    let winner = options(&store).clock(clock.clone()).take_over(true).open(&second).unwrap();
    let bytes = noise(600_000, 2);
    let uri = put(&winner, "of the second", &bytes);
    worker.go();
    worker.expect("deletes: closed");
    worker.expect("writes: closed");
    worker.expect("closed");
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
    whole(&winner);
    // Also once the winner deletes again.
    clock.advance(2 * DAY);
    winner.gc(&strongroom::GcOptions::default()).unwrap();
    winner.clean(&CancelToken::new()).unwrap();
    whole(&winner);
    winner.close().unwrap();
    refused(options(&store).open(&first), ErrorKind::Denied);
    let winner = options(&store).open(&second).unwrap();
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
}

#[test]
fn a_lost_state_leaves_what_the_store_holds_to_be_told() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    put(&vault, "long", &noise(3_000_000, 1));
    put(&vault, "short", &noise(600_000, 2));
    put(&vault, "in state", b"short");
    vault.create_space(&strongroom::SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let whole = whole(&vault);
    vault.close().unwrap();
    fs::remove_dir_all(scene.folder("a")).unwrap();

    for read_data in [ReadData::No, ReadData::All] {
        let check = CheckOptions { read_data, ..CheckOptions::default() };
        let report = scene.options().check_store(&check).unwrap();
        assert!(report.is_ok() && report.is_closed && report.unknown.is_empty(), "{report:?}");
        assert_eq!(report.objects, whole.objects);
        assert!(report.packs > 0 && report.others > 0, "{report:?}");
        assert_eq!(report.contents, [600_000, 3_000_000]);
        assert_eq!(report.chunk_bytes / 100_000, 36, "{report:?}");
        let holder = report.holder.unwrap();
        assert_eq!(holder.process.pid, std::process::id());
    }
    // Another key opens nothing; a damaged pack is told.
    let other = Vault::options(strongroom::SecretKey::new([1; 32])).backend(scene.store());
    let denied = other.check_store(&CheckOptions::default()).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    let store = scene.store();
    let longest = store.list("content/", None, 100).unwrap();
    let longest = longest.into_iter().max_by_key(|entry| entry.size).unwrap().key;
    let mut body = store.get(&longest).unwrap().body.to_vec();
    body[100] ^= 1;
    store.put(&longest, body.into(), &strongroom::backends::Condition::Any).unwrap();
    let check = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = scene.options().check_store(&check).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].0, longest.as_str());
    let none = scene.options();
    for entry in store.list("", None, 1_000).unwrap() {
        store.delete(&entry.key).unwrap();
    }
    assert_eq!(none.check_store(&check).unwrap_err().kind(), ErrorKind::NotFound);
}
