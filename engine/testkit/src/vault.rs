//! Publicly known keys, and vaults in memory or on a world.

use strongroom::keys::{KeySource, Unlock};
use strongroom::storage::MemoryState;
use strongroom::{SecretKey, Vault, VaultOptions};
use strongroom_backends::Memory;
use strongroom_base::Result;
use strongroom_base::component::{ManualClock, ProcessIdentity, SeededEntropy};

use crate::World;

/// The key source of tests. Its key is public, and so protects nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestKey;

impl KeySource for TestKey {
    fn unlock(&self) -> Result<Unlock> {
        NumberedKey(0).unlock()
    }
}

/// One of many keys for tests; number 0 is [`TestKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberedKey(pub u8);

impl KeySource for NumberedKey {
    fn unlock(&self) -> Result<Unlock> {
        Ok(Unlock::Key(SecretKey::new([self.0; SecretKey::BYTES])))
    }
}

/// Makes a new vault in memory.
pub fn memory_vault() -> Result<Vault> {
    Vault::options(TestKey).create_on(MemoryState::new(), Memory::new())
}

/// Makes options for a vault on `world` with key [`TestKey`].
///
/// It replays from `seed`.
///
/// The clock moves only by its methods, entropy derives from the seed, the process has a fixed
/// name, and passwords cost nothing. Objects have at most 32 KiB, so that values have several, and
/// the cache is small.
pub fn world_options(world: &World, seed: u64) -> VaultOptions {
    world_options_with(NumberedKey(0), world, seed)
}

/// Does the same with another key.
pub fn world_options_with(key: NumberedKey, world: &World, seed: u64) -> VaultOptions {
    Vault::options(key)
        .file_system(world.clone())
        .clock(ManualClock::new())
        .entropy(SeededEntropy::new(seed))
        .process(ProcessIdentity {
            host: "simulated".into(),
            boot_id: String::new(),
            pid: 1,
            started: 0,
            pid_namespace: String::new(),
        })
        .cheap_passwords()
        .object_bytes(32 << 10)
        .cache_bytes(1 << 20)
}
