//! Known contents, stores in memory, and helpers for vaults.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri};
use strongroom::backends::component::OsEntropy;
use strongroom::backends::{Backend, ObjectStore};
use strongroom::check::{CheckOptions, CheckReport, ReadData};
use strongroom::{Vault, VaultOptions};
use strongroom_testkit::TestKey;

use crate::support::random::Random;

/// Returns a store in memory for several vaults of this process.
pub(crate) fn memory_store(client: &Arc<InMemory>) -> Arc<dyn Backend> {
    Arc::new(ObjectStore::open(client.clone(), "memory-store", &OsEntropy).unwrap())
}

pub(crate) fn options(store: &Arc<dyn Backend>) -> VaultOptions {
    Vault::options(TestKey).object_bytes(256 << 10).cheap_passwords().backend(Arc::clone(store))
}

pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> =
        (0..len.div_ceil(8)).flat_map(|_| random.draw().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

pub(crate) fn put(vault: &Vault, task: &str, bytes: &[u8]) -> ArtifactUri {
    let name = ArtifactName::new("spec", task, "log").unwrap();
    vault.artifacts().put(ArtifactSpec::new(name), bytes).unwrap()
}

/// Asserts that a check of all data finds no damage.
#[track_caller]
pub(crate) fn assert_all_data(vault: &Vault) -> CheckReport {
    let options = CheckOptions::new().read_data(ReadData::All);
    let report = vault.check(&options).unwrap();
    assert!(report.is_ok(), "{report:?}");
    report
}

/// Copies a vault folder, like a backup or machine clone.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
