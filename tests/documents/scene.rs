//! A vault in memory with a share space, and test helpers.

use std::sync::Arc;

use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::documents::{Partition, SecretPartitionKey, Space, SpaceOptions};
use strongroom::storage::MemoryState;
use strongroom::{SecretPassword, Vault, VaultOptions};
use strongroom_testkit::{FaultyBackend, SeededEntropy, TestKey};

use crate::support::clock::SharedClock;
use crate::support::random::Random;

/// A vault whose objects the tests can change without its knowledge.
pub(crate) struct Scene {
    pub(crate) memory: Arc<Memory>,
    pub(crate) faulty: Arc<FaultyBackend>,
    pub(crate) clock: SharedClock,
    pub(crate) vault: Vault,
    pub(crate) space: Space,
    state: MemoryState,
}

pub(crate) fn password(text: &str) -> SecretPassword {
    SecretPassword::new(text)
}

/// Returns a JSON string of `digits` hex digits.
///
/// The string compresses to about half its length.
pub(crate) fn noise(digits: usize) -> String {
    let mut random = Random::new(digits as u64);
    let mut text: String = std::iter::repeat_with(|| format!("{:016x}", random.draw()))
        .take(digits.div_ceil(16))
        .collect();
    text.truncate(digits);
    format!("\"{text}\"")
}

impl Scene {
    /// Creates a space with room for 2 KiB per document.
    ///
    /// Its shape is the default. A document has 33 chunks and a partition 327 slots. The space has
    /// 981 slots and 20 segments of one block.
    pub(crate) fn new() -> Self {
        Self::with(&SpaceOptions::default().capacity_bytes(2_048))
    }

    pub(crate) fn with(options: &SpaceOptions) -> Self {
        Self::created(options, Vault::options(TestKey))
    }

    /// Creates a scene with seeded entropy.
    ///
    /// Equal calls then draw equal values.
    pub(crate) fn seeded(seed: u64) -> Self {
        let vault = Vault::options(TestKey).entropy(SeededEntropy::new(seed));
        Self::created(&SpaceOptions::default().capacity_bytes(2_048), vault)
    }

    fn created(options: &SpaceOptions, vault: VaultOptions) -> Self {
        let memory = Arc::new(Memory::new());
        let faulty = Arc::new(FaultyBackend::new(memory.clone()));
        let clock = SharedClock::default();
        let state = MemoryState::new();
        let vault = vault
            .clock(clock.clone())
            .cheap_passwords()
            .create_on(state.clone(), Arc::clone(&faulty))
            .unwrap();
        let space = vault.documents().create_space(options).unwrap();
        Self { memory, faulty, clock, vault, space, state }
    }

    /// Closes the vault and opens it as another process would.
    pub(crate) fn reopen(self) -> Self {
        self.vault.clone().close().unwrap();
        self.reopen_closed()
    }

    pub(crate) fn reopen_closed(self) -> Self {
        let Self { memory, faulty, clock, vault, space, state } = self;
        drop((vault, space));
        let vault = Vault::options(TestKey)
            .clock(clock.clone())
            .cheap_passwords()
            .open_on(state.clone(), Arc::clone(&faulty))
            .unwrap();
        let space = vault.documents().space().unwrap();
        Self { memory, faulty, clock, vault, space, state }
    }

    /// Adds a partition with the password `name` and the document `text`.
    pub(crate) fn add(
        &self,
        name: &str,
        text: &str,
        keep: &[&SecretPartitionKey],
    ) -> (SecretPartitionKey, Partition) {
        let key = self.space.add_partition(&password(name), keep).unwrap();
        let partition = self.open(&key, name);
        partition.write(text).unwrap();
        (key, partition)
    }

    pub(crate) fn open(&self, key: &SecretPartitionKey, name: &str) -> Partition {
        self.space.partition(key, &password(name)).unwrap()
    }

    /// Returns the keys of the cell objects and of the segments.
    pub(crate) fn objects(&self) -> (Vec<Key>, Vec<Key>) {
        let listed = self.memory.list("content/", None, 1_000).unwrap();
        let keys = listed.into_iter().map(|entry| entry.key);
        keys.partition(|key| self.memory.get(key).unwrap().body.starts_with(b"STRNGCEL"))
    }

    /// Changes the bytes of an object.
    pub(crate) fn damage(&self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
        let mut body = self.memory.get(key).unwrap().body.to_vec();
        change(&mut body);
        self.memory.put(key, body.into(), &Condition::Any).unwrap();
    }
}
