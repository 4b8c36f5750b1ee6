//! Reports of opening a vault, and of the vault itself.

use strongroom_base::Error;
use uuid::Uuid;

use super::lock::Holder;
use crate::documents::UnfinishedUpdate;
use crate::operations::UnfinishedOperation;
use strongroom_crypto::Cipher;

/// Findings and repairs of `open`. Empty after a clean close.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is a separate finding; all may occur at once.
pub struct Recovery {
    /// Process that held the vault before and died with it open.
    pub died: Option<Holder>,
    /// The state had not been closed; a full walk found it whole.
    pub state_repaired: bool,
    /// The last commit may be missing.
    ///
    /// Its blocks were not all written, so the state is that of the previous commit. A power cut
    /// during a commit leaves this, and no call had reported that commit as done. Otherwise the
    /// file was damaged.
    pub last_commit_may_be_missing: bool,
    /// Number of torn blocks of the state that belonged to no commit.
    pub torn_blocks: u64,
    /// A copy of the header or of the super-header was damaged or forged; it was rewritten.
    pub header_repaired: bool,
    /// Both copies of the header were damaged; they were restored from the key copy.
    pub key_set_restored: bool,
    /// The key copy on the backend was missing or behind, or is of an adopted state.
    ///
    /// It was rewritten.
    pub key_copy_written: bool,
    /// Key generation of a key copy that is ahead of the state.
    ///
    /// An older state file was restored. Writes fail with `Conflict`.
    pub key_copy_ahead: Option<u64>,
    /// The key copy is missing, damaged, or not of this key set.
    ///
    /// The state had a copy before, so it may be an older state. Writes fail with `Conflict`.
    pub key_copy_unverified: bool,
    /// Set if the content was taken over by
    /// [`VaultOptions::take_over`](crate::VaultOptions::take_over).
    pub taken_over: Option<TakenOver>,
    /// Why the key copy could not be read or written; the next open tries again.
    ///
    /// Until then no object is deleted: the state may not be the newest one.
    pub key_copy_error: Option<Error>,
    /// A creation that did not finish was discarded.
    pub unfinished_state: bool,
    /// Number of dead writers' temporary files deleted from the disk backend.
    pub temporaries: u64,
    /// Number of pending or doomed objects that were deleted from the backend.
    pub objects: u64,
    /// Why the clean-up of objects could not finish; later writes continue it.
    pub clean_up_error: Option<Error>,
    /// Interrupted update of the share space.
    ///
    /// The same write resumes it. The next update of another document discards it.
    pub space_update: Option<UnfinishedUpdate>,
    /// Unfinished operations of the host by id, with their resumability.
    ///
    /// At most the first [`OPERATIONS_LISTED_MAX`](Self::OPERATIONS_LISTED_MAX).
    pub operations: Vec<UnfinishedOperation>,
}

impl Recovery {
    /// Most operations that [`operations`](Self::operations) lists.
    pub const OPERATIONS_LISTED_MAX: usize = 1_000;

    /// Returns whether the last process closed the vault.
    ///
    /// Then nothing was recovered, but operations may still be unfinished.
    pub fn was_clean(&self) -> bool {
        self.died.is_none()
            && !self.state_repaired
            && !self.last_commit_may_be_missing
            && self.torn_blocks == 0
            && !self.header_repaired
            && !self.key_set_restored
            && !self.key_copy_written
            && self.key_copy_ahead.is_none()
            && !self.key_copy_unverified
            && self.taken_over.is_none()
            && self.key_copy_error.is_none()
            && !self.unfinished_state
            && self.temporaries == 0
            && self.objects == 0
            && self.clean_up_error.is_none()
    }
}

/// A take-over of content from another session or another state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenOver {
    /// Previous content owner; `None` if the owner ref was missing or damaged.
    pub from: Option<Holder>,
    /// Time before which nothing is deleted, in milliseconds since the Unix epoch.
    pub deletes_from_unix_millis: u64,
}

/// Description of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultInfo {
    /// Id of the vault, drawn at creation.
    pub id: Uuid,
    /// Time of creation, in milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// Kind of the backend that stores the content.
    pub backend: String,
    /// Cipher that seals the vault.
    pub cipher: Cipher,
    /// Key generation: number of changes of the key set, the creation included.
    pub key_generation: u64,
    /// Size of the state, in bytes.
    pub state_bytes: u64,
    /// Number of records in all namespaces.
    pub records: u64,
    /// Number of operations, the engine's internal ones included.
    pub operations: u64,
}
