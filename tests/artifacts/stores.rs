//! A vault with content on an object store and a local state.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use parking_lot::{Condvar, Mutex};
use strongroom::artifacts::ArtifactSpec;
use strongroom::backends::component::OsEntropy;
use strongroom::backends::{Backend, Condition, Key, ObjectStore, Version};
use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::documents::{SpaceOptions, WriteOptions};
use strongroom::keys::NewKey;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Result, SecretPassword, Vault};
use strongroom_testkit::{BackendFault, FaultyBackend, Layer, TestKey, impl_backend};

use crate::scene::{ActingSource, collect, name, noise, put, whole};

fn store(client: &Arc<InMemory>) -> ObjectStore {
    ObjectStore::open(client.clone(), "memory-store", &OsEntropy).unwrap()
}

#[test]
fn content_on_object_store_is_read_and_freed() {
    let (client, state) = (Arc::new(InMemory::new()), MemoryState::new());
    let options = || Vault::options(TestKey).object_bytes(256 << 10);
    let vault = options().create_on(state.clone(), store(&client)).unwrap();
    assert_eq!(vault.info().unwrap().backend, "memory-store");
    let bytes = noise(3_000_000, 1);
    let uri = put(&vault.artifacts(), "1", &bytes);
    let staged = vault.stage(&bytes[..]).unwrap();
    vault.write(|tx| tx.insert("values", "k", staged)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    partition.write(r#"{"a": 1}"#).unwrap();
    drop((partition, space));
    vault.close().unwrap();

    let vault = options().open_on(state, store(&client)).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    assert!(vault.read().unwrap().get("values", "k").unwrap().unwrap().bytes().unwrap() == bytes);
    let space = vault.documents().space().unwrap();
    let partition = space.partition(&key, &password).unwrap();
    assert_eq!(partition.read().unwrap().text(), r#"{"a": 1}"#);
    let before = whole(&vault).objects;
    vault.artifacts().delete(&uri).unwrap();
    vault.write(|tx| tx.delete_namespace("values")).unwrap();
    collect(&vault);
    let after = whole(&vault);
    assert!(after.objects < before && after.chunks == 0, "{after:?}");
}

#[test]
fn upload_resumes_after_failed_source_and_loss_is_reported() {
    let client = Arc::new(InMemory::new());
    let options = Vault::options(TestKey).object_bytes(256 << 10);
    let vault = options.create_on(MemoryState::new(), store(&client)).unwrap();
    let bytes = noise(8_000_000, 2);
    let act = |read| assert!(read < 6_000_000, "the connection is lost");
    let source = ActingSource { bytes: &bytes, every: 2_000_000, read: 0, act };
    let artifacts = vault.artifacts();
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        artifacts.put(ArtifactSpec::new(name("1")), source)
    }));
    assert!(cut.is_err());
    let uri = put(&artifacts, "1", &bytes);
    assert!(artifacts.read(&uri).unwrap() == bytes);
    collect(&vault);
    whole(&vault);

    // Another program empties the bucket.
    let other = store(&client);
    for entry in other.list("content/", None, 1_000).unwrap() {
        other.delete(&entry.key).unwrap();
    }
    assert_eq!(artifacts.read(&uri).unwrap_err().kind(), ErrorKind::Corrupt);
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.is_ok(), &report.affected[..]), (false, &[uri][..]), "{report:?}");
}

/// A store where each content call waits for another content call.
#[derive(Debug)]
struct PairingStore {
    store: ObjectStore,
    state: Mutex<Pairs>,
    met: Condvar,
}

#[derive(Debug, Default)]
struct Pairs {
    /// Longest wait of a call, or none while pairs are not counted.
    wait: Option<Duration>,
    waiting: usize,
    /// Number of pairs so far.
    met: usize,
}

impl PairingStore {
    fn meet(&self, key: &Key) {
        let mut state = self.state.lock();
        let Some(wait) = state.wait.filter(|_| key.as_str().starts_with("content/")) else {
            return;
        };
        state.waiting += 1;
        if state.waiting == 2 {
            (state.waiting, state.met) = (0, state.met + 1);
            self.met.notify_all();
            return;
        }
        let met = state.met;
        let is_alone = |state: &mut Pairs| state.met == met;
        if self.met.wait_while_for(&mut state, is_alone, wait).timed_out() {
            state.waiting = 0;
        }
    }

    /// Returns the number of pairs of calls in `act`.
    ///
    /// Each call waits at most `wait` for another one.
    fn pairs_in(&self, wait: Duration, act: impl FnOnce()) -> usize {
        *self.state.lock() = Pairs { wait: Some(wait), ..Pairs::default() };
        act();
        let state = std::mem::take(&mut *self.state.lock());
        state.met
    }
}

impl Layer for PairingStore {
    fn inner(&self) -> &dyn Backend {
        &self.store
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.meet(key);
        self.inner().get_range(key, range)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.meet(key);
        self.inner().put(key, body, condition)
    }
}

impl_backend!(PairingStore);

/// For actions in which each call finds another.
///
/// `SHORT` is for actions in which some calls are alone.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn share_space_objects_and_checked_chunks_run_in_parallel() {
    let store = store(&Arc::new(InMemory::new()));
    let (state, met) = (Mutex::default(), Condvar::new());
    let store = Arc::new(PairingStore { store, state, met });
    let options = || Vault::options(TestKey).cheap_passwords();
    let vault = options().create_on(MemoryState::new(), Arc::clone(&store)).unwrap();
    let password = SecretPassword::new("of a partition");
    // Two objects of cells and 16 of slots.
    let space = SpaceOptions::default().capacity_bytes(1 << 10);
    assert_eq!(store.pairs_in(LONG, || drop(vault.documents().create_space(&space).unwrap())), 9);
    let space = vault.documents().space().unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    assert_eq!(store.pairs_in(LONG, || drop(partition.read().unwrap())), 9);
    // The old objects are read, and the new ones are written and read back.
    assert_eq!(
        store.pairs_in(LONG, || assert_eq!(partition.write("[1]").unwrap().damage.blocks, 0)),
        27
    );
    let uri = put(&vault.artifacts(), "1", &noise(5_000_000, 1));
    let chunks = usize::try_from(whole(&vault).chunks).unwrap();
    let pairs = store.pairs_in(SHORT, || drop(whole(&vault)));
    assert!(pairs > chunks / 3, "{pairs} pairs for {chunks} chunks");
    vault.close().unwrap();

    let all = CheckOptions::new().read_data(ReadData::All);
    let check = || options().backend(Arc::clone(&store)).check_store(&all).unwrap();
    let pairs = store.pairs_in(SHORT, || assert!(check().is_ok()));
    assert!(pairs > chunks / 3, "{pairs} pairs for {chunks} chunks of {uri}");
}

/// A store with a concurrency of three that records reading threads.
#[derive(Debug)]
struct ThreadRecorder {
    store: ObjectStore,
    readers: Mutex<Vec<ThreadId>>,
}

impl Layer for ThreadRecorder {
    fn inner(&self) -> &dyn Backend {
        &self.store
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.readers.lock().push(thread::current().id());
        self.inner().get_range(key, range)
    }

    fn concurrency(&self) -> NonZeroUsize {
        NonZeroUsize::new(3).unwrap()
    }
}

impl_backend!(ThreadRecorder);

#[test]
fn read_ahead_threads_match_the_store_concurrency() {
    let store = store(&Arc::new(InMemory::new()));
    let store = Arc::new(ThreadRecorder { store, readers: Mutex::default() });
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), Arc::clone(&store)).unwrap();
    let bytes = noise(24_000_000, 1);
    let uri = put(&vault.artifacts(), "1", &bytes);
    store.readers.lock().clear();
    assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    let readers = std::mem::take(&mut *store.readers.lock());
    assert!(readers.len() > 20, "{} requests", readers.len());
    let threads: HashSet<_> = readers.iter().collect();
    // The threads of the pool and the calling thread.
    assert!((2..=4).contains(&threads.len()), "{} threads", threads.len());
}

#[test]
fn check_stops_when_the_store_fails() {
    let client = Arc::new(InMemory::new());
    let faulty = Arc::new(FaultyBackend::new(Arc::new(store(&client))));
    let options = || Vault::options(TestKey);
    let vault = options().create_on(MemoryState::new(), Arc::clone(&faulty)).unwrap();
    put(&vault.artifacts(), "1", &noise(20_000_000, 1));
    assert!(whole(&vault).chunks > 100);
    let all = CheckOptions::new().read_data(ReadData::All);
    let before = faulty.calls();
    faulty.fail_from(10, BackendFault::before(ErrorKind::Unavailable));
    assert_eq!(vault.check(&all).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(faulty.calls() - before < 50, "{} calls", faulty.calls() - before);
    faulty.clear();
    vault.close().unwrap();

    let before = faulty.calls();
    faulty.fail_from(20, BackendFault::before(ErrorKind::Unavailable));
    let checked = options().backend(Arc::clone(&faulty)).check_store(&all);
    assert_eq!(checked.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(faulty.calls() - before < 60, "{} calls", faulty.calls() - before);
}

#[test]
fn interrupted_update_does_not_resume_under_another_key() {
    let client = Arc::new(InMemory::new());
    let faulty = Arc::new(FaultyBackend::new(Arc::new(store(&client))));
    let options = Vault::options(TestKey).cheap_passwords();
    let vault = options.create_on(MemoryState::new(), Arc::clone(&faulty)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    let resume = WriteOptions::new().resume(true);
    let interrupt = |text: &str| {
        let progress = |_, _| faulty.fail_from(1, BackendFault::after(ErrorKind::Uncertain));
        let options = WriteOptions::new().progress(&progress);
        let error = partition.write_with(text, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Uncertain);
        faulty.clear();
    };
    interrupt("[1]");
    partition.write_with("[1]", &resume).unwrap();
    interrupt("[2]");
    vault.keys().rotate(&[NewKey::new(&TestKey)]).unwrap();
    let error = partition.write_with("[2]", &resume).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    partition.write("[2]").unwrap();
    assert_eq!(partition.read().unwrap().text(), "[2]");
    whole(&vault);
}

#[test]
fn update_failed_at_any_call_keeps_old_document() {
    let (client, state) = (Arc::new(InMemory::new()), MemoryState::new());
    let faulty = Arc::new(FaultyBackend::new(Arc::new(store(&client))));
    let options = Vault::options(TestKey).cheap_passwords();
    let vault = options.create_on(state, Arc::clone(&faulty)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    let text = |number: u64| format!(r#"{{"number": {number}}}"#);
    partition.write(text(0)).unwrap();
    let before = faulty.calls();
    partition.write(text(1)).unwrap();
    let calls = faulty.calls() - before;
    let (mut failed, mut current) = (0, 1);
    for fault in
        [BackendFault::before(ErrorKind::Unavailable), BackendFault::after(ErrorKind::Uncertain)]
    {
        for nth in 1..=calls {
            faulty.fail_at(nth, fault);
            let outcome = partition.write(text(current + 1));
            faulty.clear();
            let opened = space.partition(&key, &password).unwrap();
            if outcome.is_err() {
                failed += 1;
                assert_eq!(opened.read().unwrap().text(), text(current), "call {nth}");
                partition.write(text(current + 1)).unwrap();
            }
            current += 1;
            assert_eq!(opened.read().unwrap().text(), text(current), "call {nth}");
        }
    }
    // All calls fail the update, except those of the clean-up after its commit.
    assert!(failed > calls, "{failed} of {calls} calls, twice");
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = whole(&vault);
    assert!(report.unknown.is_empty() && report.due == 0, "{report:?}");
}
