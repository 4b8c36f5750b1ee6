//! A vault whose content lies on an object store, its state beside it: artifacts, long values and documents.

use std::sync::Arc;

use object_store::memory::InMemory;
use strongroom::backends::component::OsEntropy;
use strongroom::backends::{Backend, ObjectStore};
use strongroom::testing::TestKey;
use strongroom::{ArtifactSpec, ErrorKind, MemoryState, SecretPassword, SpaceOptions, Vault};

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
