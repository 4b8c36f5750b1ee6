//! What opening a vault found, and what a vault is.

use strongroom_backends::Error;
use uuid::Uuid;

use super::lock::Holder;

/// What `open` found and did. After a clean close all of it is empty.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The process that had the vault before and died with it.
    pub died: Option<Holder>,
    /// The state had not been closed; it was walked and is whole.
    pub state_repaired: bool,
    /// A creation that did not finish was discarded.
    pub unfinished_state: bool,
    /// Temporary files of dead writers, removed from the disk backend.
    pub temporaries: u64,
    /// Objects that were under way or doomed, removed from the backend.
    pub objects: u64,
    /// Why the clean-up of objects could not finish; it goes on with later writes.
    pub clean_up_error: Option<Error>,
    /// Ids of operations that are not completed, in order; the first
    /// [`OPERATIONS_LISTED_MAX`](Self::OPERATIONS_LISTED_MAX).
    pub operations: Vec<String>,
}

impl Recovery {
    /// How many operations [`operations`](Self::operations) lists at most.
    pub const OPERATIONS_LISTED_MAX: usize = 1_000;

    /// Whether the last process had closed the vault, so that nothing was to be recovered.
    /// Operations may still be unfinished.
    pub fn was_clean(&self) -> bool {
        self.died.is_none()
            && !self.state_repaired
            && !self.unfinished_state
            && self.temporaries == 0
            && self.objects == 0
            && self.clean_up_error.is_none()
    }
}

/// What a vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultInfo {
    /// Its id, drawn at creation.
    pub id: Uuid,
    /// When it was created; milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// What kind of backend holds its content.
    pub backend: String,
    /// Size of the state in bytes.
    pub state_bytes: u64,
    /// How many records it has in all namespaces.
    pub records: u64,
    /// How many operations it has.
    pub operations: u64,
}
