//! The handle of a vault's operations.

use std::fmt;

use crate::vault::Vault;

/// The operations of a vault. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    pub(super) vault: Vault,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }
}
