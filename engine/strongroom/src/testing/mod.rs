//! The test kit: what this project proves itself with, for hosts to prove their own code.
//!
//! - [`World`] is a disk whose power can be cut; [`crash_test`] runs a host's work on it and
//!   opens the vault again from thousands of images of what was left.
//! - [`Model`] is a vault as a plain map; [`Driver`] runs [`Call`]s on both and compares;
//!   [`calls`] makes them, for proptest to shrink.
//! - [`conformance`] is what every backend must pass; [`FaultyBackend`] fails on command.
//! - [`ShareLab`] makes slots of documents for those who attack them, [`PlacesLab`] says where
//!   shares come to lie, [`ShareBench`] shares for those who measure.
//! - [`TestKey`] is a key that everybody knows; [`plant`] plants a [`Bug`] in the engine;
//!   [`forget_packs`] loses the index of the content store. [`TestRefs`] are refs without a vault.
//!
//! ```
//! use strongroom::testing::{CrashOptions, Scene, crash_test};
//!
//! // The host's work: intends a number, writes it, is told that it is durable.
//! let work = |scene: &mut Scene<u32>| {
//!     for n in 0..8 {
//!         scene.attempt(n, |vault| vault.write(|tx| tx.insert("n", n.to_be_bytes(), "x")))?;
//!     }
//!     Ok(())
//! };
//! // What must hold whenever the power fails: what was acknowledged is there.
//! let holds = |vault: &strongroom::Vault, done: &[u32], _under_way: &[u32]| {
//!     let found = vault.read()?.count("n")?;
//!     Ok((found >= done.len() as u64).then_some(()).ok_or("a row was lost")?)
//! };
//! let summary = crash_test(&CrashOptions { images: 200, ..CrashOptions::default() }, work, holds);
//! assert_eq!(summary.failures.len(), 0, "{summary}");
//! ```

mod crash;
mod damage;
mod driver;
mod model;
mod operation_driver;
mod operation_model;
mod refs;
mod strategy;

pub use crash::{BoxError, CrashFailure, CrashOptions, CrashSummary, Scene, crash_test};
pub use damage::forget_packs;
pub use driver::{Driver, Transition};
pub use model::{Call, Ending, Model, Pattern, Step};
pub use operation_model::{Act, End, HandleModel, LaneModel, OperationModel, OperationsModel, Who};
pub use refs::TestRefs;
pub use strategy::{call, calls, calls_of_seed, operation_calls, operation_calls_of_seed};
pub use strongroom_backends::testing::*;
pub use strongroom_base::bug::{self, Bug, plant};
pub use strongroom_base::component::{ManualClock, SeededEntropy};

pub use crate::documents::{PlacesLab, ShareBench, ShareLab};
pub use strongroom_crypto::passwords_hashed;

use strongroom_backends::Memory;
use strongroom_base::Result;

use crate::{KeySource, MemoryState, SecretKey, Unlock, Vault, VaultOptions};

/// The key source of tests: a key that is written here, and so protects nothing.
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

/// A new vault in memory.
pub fn memory_vault() -> Result<Vault> {
    Vault::options(TestKey).create_on(MemoryState::new(), Memory::new())
}

/// Moves the manual clock of a vault forward: of one whose clock the test has no handle of, as where a
/// [`crash_test`] opened it.
pub fn pass_time(vault: &Vault, by: std::time::Duration) {
    // A manual clock is moved by whoever sleeps on it.
    vault.inner().components.clock.sleep(by);
}

/// Options for a vault on `world` with key [`TestKey`] that replays from `seed`: a clock that only moves when told,
/// entropy from the seed, one name for the process, passwords that cost nothing, objects of at most
/// 32 KiB so that values have several, and a small cache.
pub fn world_options(world: &World, seed: u64) -> VaultOptions {
    world_options_with(NumberedKey(0), world, seed)
}

/// The same with another key.
pub fn world_options_with(key: NumberedKey, world: &World, seed: u64) -> VaultOptions {
    Vault::options(key)
        .file_system(world.clone())
        .clock(ManualClock::new())
        .entropy(SeededEntropy::new(seed))
        .process(strongroom_base::component::ProcessIdentity {
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
