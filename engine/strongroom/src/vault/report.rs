//! What opening a vault found, and what a vault is.

use strongroom_base::Error;
use uuid::Uuid;

use super::lock::Holder;
use crate::documents::UnfinishedUpdate;
use crate::operations::UnfinishedOperation;
use strongroom_crypto::Cipher;

/// What `open` found and did. After a clean close all of it is empty.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is a finding of its own; all may be met at once.
pub struct Recovery {
    /// The process that had the vault before and died with it.
    pub died: Option<Holder>,
    /// The state had not been closed; it was walked and is whole.
    pub state_repaired: bool,
    /// The last commit may be missing: what it had written was not all there, and the state is
    /// that of the commit before. After a power cut during a commit that is what must happen, and
    /// nobody was told that it had succeeded; otherwise the file was damaged.
    pub last_commit_may_be_missing: bool,
    /// Blocks of the state that were torn, and were in no commit.
    pub torn_blocks: u64,
    /// A copy of the header, or of the super-header, was damaged; it was written anew.
    pub header_repaired: bool,
    /// Both copies of the header were damaged, and the one on the backend was put back.
    pub key_set_restored: bool,
    /// The copy of the key set on the backend was missing, damaged or behind; it was written.
    pub key_copy_written: bool,
    /// The copy of the key set on the backend has this generation, and the state an earlier one:
    /// an older state file was put back. Writes are `Conflict`.
    pub key_copy_ahead: Option<u64>,
    /// The content was taken over, as [`VaultOptions::take_over`](crate::VaultOptions::take_over) asked for.
    pub taken_over: Option<TakenOver>,
    /// Why the copy of the key set could not be looked at, or written; the next open tries again.
    /// Until then no object is deleted: it is not known whether this is the newest state.
    pub key_copy_error: Option<Error>,
    /// A creation that did not finish was discarded.
    pub unfinished_state: bool,
    /// Temporary files of dead writers, removed from the disk backend.
    pub temporaries: u64,
    /// Objects that were under way or doomed, removed from the backend.
    pub objects: u64,
    /// Why the clean-up of objects could not finish; it goes on with later writes.
    pub clean_up_error: Option<Error>,
    /// The update of the share space that was interrupted. The same write goes on with it, the next
    /// update of another document takes it back.
    pub space_update: Option<UnfinishedUpdate>,
    /// The host's operations that are not finished, in order of their ids, each with whether it can
    /// be resumed; the first [`OPERATIONS_LISTED_MAX`](Self::OPERATIONS_LISTED_MAX).
    pub operations: Vec<UnfinishedOperation>,
}

impl Recovery {
    /// How many operations [`operations`](Self::operations) lists at most.
    pub const OPERATIONS_LISTED_MAX: usize = 1_000;

    /// Whether the last process had closed the vault, so that nothing was to be recovered.
    /// Operations may still be unfinished.
    pub fn was_clean(&self) -> bool {
        self.died.is_none()
            && !self.state_repaired
            && !self.last_commit_may_be_missing
            && self.torn_blocks == 0
            && !self.header_repaired
            && !self.key_set_restored
            && !self.key_copy_written
            && self.key_copy_ahead.is_none()
            && self.taken_over.is_none()
            && self.key_copy_error.is_none()
            && !self.unfinished_state
            && self.temporaries == 0
            && self.objects == 0
            && self.clean_up_error.is_none()
    }
}

/// That content on a store was taken over from another session or another state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenOver {
    /// Who had it, or had it last; `None` if the store had no owner ref, or a damaged one.
    pub from: Option<Holder>,
    /// Until then nothing is deleted; milliseconds since the Unix epoch.
    pub deletes_from_unix_millis: u64,
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
    /// The cipher that it is sealed with.
    pub cipher: Cipher,
    /// How often its keys were changed, its creation included.
    pub key_generation: u64,
    /// Size of the state in bytes.
    pub state_bytes: u64,
    /// How many records it has in all namespaces.
    pub records: u64,
    /// How many operations it has.
    pub operations: u64,
}
