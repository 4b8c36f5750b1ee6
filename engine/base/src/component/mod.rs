//! The clock and the source of entropy, which make a run repeatable.
//!
//! Nothing else in the project reads the time, sleeps or draws random numbers (`clippy.toml`
//! forbids the direct calls). A test that passes its own components therefore replays from its
//! seed.

mod clock;
mod entropy;
mod process;

#[cfg(feature = "testing")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
#[cfg(feature = "testing")]
pub use entropy::SeededEntropy;
pub use entropy::{Entropy, OsEntropy};
pub use process::{HomeProcess, ProcessIdentity};
