//! The test kit: what this project proves itself with, for hosts to prove their own code.

pub use strongroom_backends::component::{ManualClock, SeededEntropy};
pub use strongroom_backends::testing::*;

pub use crate::keys::Unsealed;
pub use crate::vault::ReadPlant;

use crate::{MemoryState, Vault};
use strongroom_backends::{Memory, Result};

/// A new vault in memory.
pub fn memory_vault() -> Result<Vault> {
    Vault::options(Unsealed).create_on(MemoryState::new(), Memory::new())
}
