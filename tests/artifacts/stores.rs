//! A vault whose content lies on an object store, its state beside it: artifacts, long values and documents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use parking_lot::{Condvar, Mutex};
use strongroom::backends::component::OsEntropy;
use strongroom::backends::{Backend, Condition, Key, ObjectStore, Version};
use strongroom::testing::{BackendFault, FaultyBackend, Layer, TestKey};
use strongroom::{
    ArtifactSpec, ErrorKind, MemoryState, Result, SecretPassword, SpaceOptions, Vault,
};

use crate::scene::{Meddling, collect, name, noise, put, whole};

fn store(client: &Arc<InMemory>) -> ObjectStore {
    ObjectStore::open(client.clone(), "memory-store", &OsEntropy).unwrap()
}

#[test]
fn artifacts_values_and_documents_lie_on_an_object_store_and_go_from_it() {
    let (client, state) = (Arc::new(InMemory::new()), MemoryState::new());
    let options = || Vault::options(TestKey).object_bytes(256 << 10);
    let vault = options().create_on(state.clone(), store(&client)).unwrap();
    assert_eq!(vault.info().unwrap().backend, "memory-store");
    let bytes = noise(3_000_000, 1);
    let uri = put(&vault.artifacts(), "1", &bytes);
    let staged = vault.stage(&bytes[..]).unwrap();
    vault.write(|tx| tx.insert("values", "k", staged)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space = vault.create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    partition.write(r#"{"a": 1}"#).unwrap();
    drop((partition, space));
    vault.close().unwrap();

    let vault = options().open_on(state, store(&client)).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    assert!(vault.read().unwrap().get("values", "k").unwrap().unwrap().bytes().unwrap() == bytes);
    let space = vault.space().unwrap();
    let partition = space.partition(&key, &password).unwrap();
    assert_eq!(partition.read().unwrap().text(), r#"{"a": 1}"#);
    let before = whole(&vault).objects;
    vault.artifacts().delete(&uri).unwrap();
    vault.write(|tx| tx.drop_namespace("values")).unwrap();
    collect(&vault);
    let after = whole(&vault);
    assert!(after.objects < before && after.chunks == 0, "{after:?}");
}

#[test]
fn an_upload_whose_source_fails_goes_on_and_what_is_emptied_behind_the_vault_is_told() {
    let client = Arc::new(InMemory::new());
    let options = Vault::options(TestKey).object_bytes(256 << 10);
    let vault = options.create_on(MemoryState::new(), store(&client)).unwrap();
    let bytes = noise(8_000_000, 2);
    let act = |read| assert!(read < 6_000_000, "the line is cut");
    let source = Meddling { bytes: &bytes, every: 2_000_000, read: 0, act };
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
    let report = vault.check(&strongroom::CheckOptions::default()).unwrap();
    assert_eq!((report.is_ok(), &report.affected[..]), (false, &[uri][..]), "{report:?}");
}

/// A store where a put of content waits for another one.
#[derive(Debug)]
struct Pairing {
    store: ObjectStore,
    waiting: Mutex<usize>,
    met: Condvar,
}

impl Layer for Pairing {
    fn inner(&self) -> &dyn Backend {
        &self.store
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        if key.as_str().starts_with("content/") {
            let mut waiting = self.waiting.lock();
            *waiting += 1;
            self.met.notify_all();
            let alone = |waiting: &mut usize| *waiting < 2;
            let waited = self.met.wait_while_for(&mut waiting, alone, Duration::from_secs(60));
            assert!(!waited.timed_out(), "a put is alone");
        }
        self.inner().put(key, body, condition)
    }
}

#[test]
fn objects_of_a_share_space_are_put_several_at_once() {
    let store = store(&Arc::new(InMemory::new()));
    let pairing = Pairing { store, waiting: Mutex::default(), met: Condvar::new() };
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), Arc::new(pairing)).unwrap();
    vault.create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
}

#[test]
fn an_update_that_a_store_fails_anywhere_in_keeps_the_old_document_and_goes_on() {
    let (client, state) = (Arc::new(InMemory::new()), MemoryState::new());
    let faulty = Arc::new(FaultyBackend::new(Arc::new(store(&client))));
    let options = Vault::options(TestKey).cheap_passwords();
    let vault = options.create_on(state, Arc::clone(&faulty)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space = vault.create_space(&SpaceOptions::default().capacity_bytes(1 << 10)).unwrap();
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
    // All but those of the clean-up behind it.
    assert!(failed > calls, "{failed} of {calls} calls, twice");
    vault.clean(&strongroom::CancelToken::new()).unwrap();
    let report = whole(&vault);
    assert!(report.unknown.is_empty() && report.due == 0, "{report:?}");
}
