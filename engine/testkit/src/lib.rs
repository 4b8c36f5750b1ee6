//! The test kit of Strongroom: its proofs, for hosts to prove their own code.
//!
//! - [`World`] is a disk whose power can be cut. [`crash_test`] runs a host's work on it, and opens
//!   the vault again from thousands of images.
//! - [`Model`] is a vault as a plain map. [`Driver`] runs [`Call`]s on a vault and on its model,
//!   and compares both. [`calls`] makes calls, for proptest to shrink.
//! - [`conformance`] tests the contract of every backend. [`FaultyBackend`], [`DeferredBackend`],
//!   [`RecordingBackend`] and [`Layer`] wrap another backend.
//! - [`TestKey`] is a publicly known key, and [`memory_vault`] makes a vault with it.
//!   [`world_options`] makes a vault on a world that replays from its seed.
//! - [`plant`] plants a [`Bug`] in the engine, to prove that a test detects it.
//! - [`ManualClock`] and [`SeededEntropy`] make a run repeatable. [`pass_time`] advances the clock
//!   of a vault.
//! - [`TestRefs`] are refs without a vault. [`forget_packs`] removes the index of the content
//!   store.
//! - [`ShareTester`] makes slots of documents to attack, [`ShareSlots`] computes the positions of
//!   shares, [`ShareBench`] measures the sharing of texts.
//!
//! The kit links Strongroom with feature `testing`: a production binary must not depend on it.
//!
//! ```
//! use strongroom_testkit::{CrashOptions, Scene, crash_test};
//!
//! // The host's work: each number is attempted, written, and acknowledged as durable.
//! let work = |scene: &mut Scene<u32>| {
//!     for n in 0..8 {
//!         scene.attempt(n, |vault| vault.write(|tx| tx.insert("n", n.to_be_bytes(), "x")))?;
//!     }
//!     Ok(())
//! };
//! // The promise after a loss of power: every acknowledged number is there.
//! let holds = |vault: &strongroom::Vault, done: &[u32], _running: &[u32]| {
//!     let found = vault.read()?.count("n")?;
//!     Ok((found >= done.len() as u64).then_some(()).ok_or("a row was lost")?)
//! };
//! let summary = crash_test(&CrashOptions { images: 200, ..CrashOptions::default() }, work, holds);
//! assert_eq!(summary.failures.len(), 0, "{summary}");
//! ```

mod backend;
pub mod conformance;
mod crash;
mod model;
mod refs;
mod vault;
pub mod world;

pub use backend::{
    BackendCall, BackendFault, BackendTiming, DeferredBackend, FaultyBackend, Layer,
    RecordingBackend,
};
pub use crash::{BoxError, CrashFailure, CrashOptions, CrashSummary, Scene, crash_test};
pub use model::{
    Act, Call, Driver, End, Ending, HandleModel, LaneModel, Model, OperationModel, OperationsModel,
    Pattern, Step, Transition, Who, call, calls, calls_of_seed, operation_calls,
    operation_calls_of_seed,
};
pub use refs::TestRefs;
pub use strongroom::testing::{
    ShareBench, ShareSlots, ShareTester, forget_packs, pass_time, passwords_hashed,
};
pub use strongroom_base::bug::{self, Bug, plant};
pub use strongroom_base::component::{ManualClock, SeededEntropy};
pub use vault::{NumberedKey, TestKey, memory_vault, world_options, world_options_with};
pub use world::{Defect, Fault, FaultError, FaultTiming, Journal, Replay, World};

/// Names that [`impl_backend!`] uses.
#[doc(hidden)]
pub mod parts {
    pub use bytes::Bytes;
    pub use strongroom_backends::{Backend, Condition, ListEntry, Object, Version};
    pub use strongroom_base::{Key, Result};
}
