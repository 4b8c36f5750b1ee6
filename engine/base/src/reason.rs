//! Stable codes for the facts behind failures.
//!
//! [`ErrorKind`](crate::ErrorKind) says what a caller does next. A [`Reason`] names the fact, for a
//! program that must distinguish two failures of one kind. Codes never change their meaning and are
//! never reused; new ones may be added. Most errors have no reason, because their kind suffices.

use std::fmt;

/// Declares the reasons with their codes, so that none can lack one.
macro_rules! reasons {
    ($($(#[$fact:meta])+ $name:ident = $code:literal,)+) => {
        /// The fact behind an error, for programs that branch on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$fact])+ $name,)+
        }

        impl Reason {
            /// All reasons of this version.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the stable code: lower-case words, joined by hyphens.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    // Refusals of the storage medium.

    /// The storage has no space left.
    StorageFull = "storage-full",
    /// The operating system denies the access.
    PermissionDenied = "permission-denied",
    /// The storage is mounted read-only.
    MediaReadOnly = "media-read-only",

    // Creating and opening a vault.

    /// The folder is missing, or has no vault in it.
    VaultMissing = "vault-missing",
    /// The folder's parent does not exist.
    ParentFolderMissing = "parent-folder-missing",
    /// The folder already has a vault.
    VaultExists = "vault-exists",
    /// The folder has files that do not belong to a vault.
    FolderNotEmpty = "folder-not-empty",
    /// The path names a file; a vault is a folder.
    NotAFolder = "not-a-folder",
    /// Another process has the vault open.
    VaultLocked = "vault-locked",
    /// The state file does not belong to a vault.
    NotAVault = "not-a-vault",
    /// This program does not read the format of the vault.
    FormatUnsupported = "format-unsupported",
    /// The content is in the vault's folder, but a store was named.
    ContentInFolder = "content-in-folder",
    /// The content is on a store that was not named.
    ContentOnStore = "content-on-store",
    /// The call needs a store, but none was named.
    StoreNotNamed = "store-not-named",

    // Damage.

    /// The header, or the key set in it, is damaged.
    HeaderDamaged = "header-damaged",
    /// The state file is damaged as a whole.
    StateDamaged = "state-damaged",
    /// A block of the state file is damaged.
    BlockDamaged = "block-damaged",
    /// A row of the state is missing or does not decode.
    RowDamaged = "row-damaged",
    /// An object is missing from the backend, or cut short.
    ObjectMissing = "object-missing",
    /// An object of content, or a chunk in it, is damaged.
    ContentDamaged = "content-damaged",
    /// The content of an artifact cannot be read.
    ArtifactDamaged = "artifact-damaged",
    /// Too much of a document or its space is missing or damaged.
    DocumentDamaged = "document-damaged",

    // The state and its key copy.

    /// The key copy is newer than the state: an older state was restored.
    StateOlderThanKeyCopy = "state-older-than-key-copy",
    /// The backend has no copy of the key set.
    KeyCopyMissing = "key-copy-missing",
    /// The key copy is missing or not authentic, so the state may be an older one.
    KeyCopyUnverified = "key-copy-unverified",
    /// The keys were changed, but their copy on the backend was not.
    KeyCopyNotWritten = "key-copy-not-written",
    /// A commit's outcome is unknown until the state is reopened.
    CommitInDoubt = "commit-in-doubt",
    /// An earlier write failed, and the state has not been reopened.
    EarlierWriteFailed = "earlier-write-failed",

    // The order of calls.

    /// The vault is closed, or its state was reopened since then.
    VaultClosed = "vault-closed",
    /// The vault is closed, but its state file was not left in order; no commit is lost.
    CloseIncomplete = "close-incomplete",
    /// The vault was opened by the process that forked this one.
    ForkedProcess = "forked-process",
    /// The caller's cancel token ended the call.
    Cancelled = "cancelled",
    /// A thread began a write inside another write.
    NestedWrite = "nested-write",
    /// Earlier writes did not end in time.
    WriteTimeout = "write-timeout",

    // Keys and passwords.

    /// The given key opens no slot of the vault.
    WrongCredentials = "wrong-credentials",
    /// The vault has no key with that number.
    KeyMissing = "key-missing",
    /// All key slots are in use.
    KeySlotsFull = "key-slots-full",
    /// Removing this key would leave the vault without any key.
    LastKey = "last-key",
    /// The password is empty or too long.
    PasswordLengthInvalid = "password-length-invalid",
    /// Hashing the password takes more or less memory than is allowed.
    PasswordMemoryOutOfBounds = "password-memory-out-of-bounds",
    /// The costs for a new password are not allowed.
    PasswordCostsOutOfBounds = "password-costs-out-of-bounds",

    // Names and records.

    /// A name is empty, too long, or has forbidden characters.
    NameInvalid = "name-invalid",
    /// The key of a record is too long.
    KeyTooLong = "key-too-long",
    /// A value, a checkpoint or a document is too long.
    ValueTooLong = "value-too-long",
    /// A condition of a batch does not hold.
    ConditionFailed = "condition-failed",
    /// The stored type differs from the requested type.
    TypeMismatch = "type-mismatch",

    // Operations.

    /// There is no such operation.
    OperationMissing = "operation-missing",
    /// An operation with that id exists.
    OperationExists = "operation-exists",
    /// Another session or handle owns the operation.
    OperationRunning = "operation-running",
    /// A later generation took the operation over, or the handle ended.
    OperationTakenOver = "operation-taken-over",
    /// The operation was completed.
    OperationCompleted = "operation-completed",
    /// The operation was cancelled.
    OperationCancelled = "operation-cancelled",
    /// The operation's state does not allow the change.
    OperationStateForbids = "operation-state-forbids",
    /// The operation has no tries left.
    AttemptsExhausted = "attempts-exhausted",
    /// The operation belongs to the engine.
    EngineOwnOperation = "engine-own-operation",
    /// The lane is already open.
    LaneOpen = "lane-open",
    /// No handler has the operation's name, or reads its version or data.
    HandlerMissing = "handler-missing",

    // Artifacts.

    /// No such artifact or version exists.
    ArtifactMissing = "artifact-missing",
    /// The artifact already has a version.
    ArtifactExists = "artifact-exists",
    /// Another holder has the lease of the artifact.
    ArtifactLeased = "artifact-leased",
    /// The lease expired or was taken away.
    LeaseLost = "lease-lost",
    /// The handle uses no leases.
    LeasesDisabled = "leases-disabled",
    /// The bytes would exceed the quota.
    QuotaExceeded = "quota-exceeded",

    // Documents.

    /// The vault has no share space.
    SpaceMissing = "space-missing",
    /// The vault already has a share space.
    SpaceExists = "space-exists",
    /// The space has no room for another partition.
    SpaceFull = "space-full",
    /// The document is longer than the space's capacity.
    CapacityExceeded = "capacity-exceeded",
    /// The document has another version than the one expected.
    DocumentChanged = "document-changed",
    /// The interrupted write had another text.
    InterruptedWriteDiffers = "interrupted-write-differs",
    /// No write of the document was interrupted.
    NoInterruptedWrite = "no-interrupted-write",
    /// No document opens with that key and password.
    WrongDocumentCredentials = "wrong-document-credentials",
    /// The key opens no partition of the space.
    PartitionMissing = "partition-missing",
    /// The text is not a partition key, or is misspelt.
    PartitionKeyInvalid = "partition-key-invalid",

    // Content on a shared store.

    /// Another session owns the content, or did not close it.
    OwnedByOtherSession = "owned-by-other-session",
    /// The content was used with another state since then.
    StateSuperseded = "state-superseded",
    /// Another session has taken the content over.
    ContentTakenOver = "content-taken-over",
    /// Another session took the content over, and this one's commits are in a superseded state.
    CommitsSuperseded = "commits-superseded",
    /// The store has no owner ref of the vault.
    OwnerRefMissing = "owner-ref-missing",
    /// A ref on the store is damaged, or belongs to another vault.
    RefDamaged = "ref-damaged",
    /// Other calls moved the ref each time before this call could.
    RefContended = "ref-contended",
    /// The store refuses the credentials, or a policy forbids the request.
    StoreCredentialsRefused = "store-credentials-refused",
    /// No credentials for the store were found.
    StoreCredentialsMissing = "store-credentials-missing",
    /// The bucket does not exist.
    BucketMissing = "bucket-missing",
    /// The store is throttling requests.
    StoreThrottled = "store-throttled",
    /// The store does not answer.
    StoreUnreachable = "store-unreachable",
    /// The store lacks a feature that a vault needs.
    StoreUnfit = "store-unfit",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let code = reason.as_str();
            assert!(code.split('-').all(is_word), "{code}");
            assert!(seen.insert(code), "{code} is used twice");
            assert_eq!(reason.to_string(), code);
        }
    }

    #[test]
    fn code_is_the_variant_in_kebab_case() {
        for reason in Reason::ALL {
            let name = format!("{reason:?}");
            let mut kebab = String::new();
            for c in name.chars() {
                if c.is_ascii_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.push(c.to_ascii_lowercase());
            }
            assert_eq!(reason.as_str(), kebab);
        }
    }
}
