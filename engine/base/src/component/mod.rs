//! The components that make a run repeatable: the clock and the source of entropy.
//!
//! Nothing else in the project reads the time, sleeps or draws random numbers (`clippy.toml`
//! forbids the direct calls), so a test that hands in its own replays from its seed.

mod clock;
mod entropy;
mod process;

#[cfg(feature = "testing")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
#[cfg(feature = "testing")]
pub use entropy::SeededEntropy;
pub use entropy::{Entropy, OsEntropy};
pub use process::ProcessIdentity;
