//! The handle of a vault's documents.

use std::fmt;

use crate::vault::Vault;

/// The documents of a vault: its share space. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    pub(super) vault: Vault,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    pub(crate) fn new(vault: Vault) -> Self {
        Self { vault }
    }
}
