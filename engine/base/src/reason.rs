//! Why a call failed, as a stable code.
//!
//! [`ErrorKind`](crate::ErrorKind) says what a caller does next; a [`Reason`] names the fact, for
//! a program that has to tell two failures of one kind apart. Codes never change their meaning,
//! and none is used twice; new ones may come. Most errors have none: their kind suffices.

use std::fmt;

/// Declares the reasons with their codes, so that none can lack one.
macro_rules! reasons {
    ($($(#[$fact:meta])+ $name:ident = $code:literal,)+) => {
        /// The fact behind an error, for a program that has to branch on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$fact])+ $name,)+
        }

        impl Reason {
            /// All reasons of this version.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code: lower-case words, joined by hyphens.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    // What a medium refuses.

    /// The storage has no room for it.
    StorageFull = "storage-full",
    /// The operating system does not permit it.
    PermissionDenied = "permission-denied",
    /// The storage is mounted read-only.
    MediaReadOnly = "media-read-only",

    // Creating and opening a vault.

    /// The folder is missing, or holds no vault.
    VaultMissing = "vault-missing",
    /// The folder's parent does not exist.
    ParentFolderMissing = "parent-folder-missing",
    /// The folder holds a vault.
    VaultExists = "vault-exists",
    /// The folder holds files that are no vault's.
    FolderNotEmpty = "folder-not-empty",
    /// The path names a file, and a vault is a folder.
    NotAFolder = "not-a-folder",
    /// Another process has the vault open.
    VaultLocked = "vault-locked",
    /// The state file is not a vault's.
    NotAVault = "not-a-vault",
    /// It has a format that this program does not read.
    FormatUnsupported = "format-unsupported",
    /// The content is in the vault's folder, and a store was named.
    ContentInFolder = "content-in-folder",
    /// The content is on a store that was not named.
    ContentOnStore = "content-on-store",
    /// The call needs a store, and none was named.
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
    /// Too much of a document, or of its space, is missing or damaged.
    DocumentDamaged = "document-damaged",

    // The state and the copy of its keys.

    /// The copy of the key set is newer than the state: an older state was put back.
    StateOlderThanKeyCopy = "state-older-than-key-copy",
    /// The backend has no copy of the key set.
    KeyCopyMissing = "key-copy-missing",
    /// The keys were changed, and their copy on the backend was not.
    KeyCopyNotWritten = "key-copy-not-written",
    /// The outcome of a commit is unknown until the state is opened again.
    CommitInDoubt = "commit-in-doubt",
    /// An earlier write failed, and the state is not open again.
    EarlierWriteFailed = "earlier-write-failed",

    // Calls and their order.

    /// The vault is closed, or its state was reopened since.
    VaultClosed = "vault-closed",
    /// The caller's cancel token ended the call.
    Cancelled = "cancelled",
    /// A write was begun inside another write of the same thread.
    NestedWrite = "nested-write",
    /// The writes before it did not end in time.
    WriteTimeout = "write-timeout",

    // Keys and passwords.

    /// No key of the vault is the one given.
    WrongCredentials = "wrong-credentials",
    /// The vault has no key of that number.
    KeyMissing = "key-missing",
    /// All key slots are in use.
    KeySlotsFull = "key-slots-full",
    /// Without this key nothing would open the vault.
    LastKey = "last-key",
    /// The password is empty or too long.
    PasswordLengthInvalid = "password-length-invalid",
    /// Hashing the password takes more or less memory than is allowed.
    PasswordMemoryOutOfBounds = "password-memory-out-of-bounds",
    /// The costs of a password that is set are not allowed.
    PasswordCostsOutOfBounds = "password-costs-out-of-bounds",

    // Names and records.

    /// A name is empty, too long, or has characters that names cannot have.
    NameInvalid = "name-invalid",
    /// The key of a record is too long.
    KeyTooLong = "key-too-long",
    /// A value, a checkpoint or a document is too long.
    ValueTooLong = "value-too-long",
    /// A condition of a batch does not hold.
    ConditionFailed = "condition-failed",
    /// What is stored is of another type than the one asked for.
    TypeMismatch = "type-mismatch",

    // Operations.

    /// There is no such operation.
    OperationMissing = "operation-missing",
    /// There is an operation of that id.
    OperationExists = "operation-exists",
    /// Another session or handle runs the operation.
    OperationRunning = "operation-running",
    /// A later generation has taken the operation over, or the handle has ended.
    OperationTakenOver = "operation-taken-over",
    /// The operation was completed.
    OperationCompleted = "operation-completed",
    /// The operation was cancelled.
    OperationCancelled = "operation-cancelled",
    /// The operation's state does not allow it.
    OperationStateForbids = "operation-state-forbids",
    /// The operation has no attempts left.
    AttemptsExhausted = "attempts-exhausted",
    /// The operation is the engine's own.
    EngineOwnOperation = "engine-own-operation",
    /// The lane is open already.
    LaneOpen = "lane-open",
    /// No handler has the operation's name, or reads its version or data.
    HandlerMissing = "handler-missing",

    // Artifacts.

    /// There is no such artifact, or no such version of it.
    ArtifactMissing = "artifact-missing",
    /// The artifact has a version already.
    ArtifactExists = "artifact-exists",
    /// Another holder has the lease of the artifact.
    ArtifactLeased = "artifact-leased",
    /// The lease ran out or was taken away.
    LeaseLost = "lease-lost",
    /// The handle takes no leases.
    LeasesDisabled = "leases-disabled",
    /// The quota does not allow so many bytes.
    QuotaExceeded = "quota-exceeded",

    // Documents.

    /// The vault has no share space.
    SpaceMissing = "space-missing",
    /// The vault has a share space.
    SpaceExists = "space-exists",
    /// The space has no room for another partition.
    SpaceFull = "space-full",
    /// The document is longer than the space's capacity.
    CapacityExceeded = "capacity-exceeded",
    /// The document has another version than the one expected.
    DocumentChanged = "document-changed",
    /// The interrupted write was of another text.
    InterruptedWriteDiffers = "interrupted-write-differs",
    /// No write of the document was interrupted.
    NoInterruptedWrite = "no-interrupted-write",
    /// No document opens with that key and password.
    WrongDocumentCredentials = "wrong-document-credentials",
    /// The key opens no partition of the space.
    PartitionMissing = "partition-missing",
    /// The text is no partition key, or misspelt.
    PartitionKeyInvalid = "partition-key-invalid",

    // Content on a store that others can reach.

    /// Another session has the content, or has not closed it.
    OwnedByOtherSession = "owned-by-other-session",
    /// The content was used with another state since.
    StateSuperseded = "state-superseded",
    /// Another session has taken the content over.
    ContentTakenOver = "content-taken-over",
    /// The store has no owner ref of the vault.
    OwnerRefMissing = "owner-ref-missing",
    /// A ref on the store is damaged, or of another vault.
    RefDamaged = "ref-damaged",
    /// Others moved the ref each time before this call could.
    RefContended = "ref-contended",
    /// The store refuses the credentials, or their policy does not allow it.
    StoreCredentialsRefused = "store-credentials-refused",
    /// No credentials for the store were found.
    StoreCredentialsMissing = "store-credentials-missing",
    /// There is no such bucket.
    BucketMissing = "bucket-missing",
    /// The store asks for fewer requests.
    StoreThrottled = "store-throttled",
    /// The store does not answer.
    StoreUnreachable = "store-unreachable",
    /// The store lacks what a vault needs of it.
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
    fn a_code_is_the_variant_in_kebab_case() {
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
