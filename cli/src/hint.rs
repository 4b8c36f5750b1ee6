//! Hints: the user's next step, one for each reason.
//!
//! A hint follows from the [`Reason`] of an error, or from the [`CliReason`] for a fact that only
//! this program meets. Some kinds have a hint of their own, for errors without a reason.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

use strongroom::vault::LockRefused;
use strongroom::{Error, ErrorKind, Reason};

use crate::exit::Failure;
use crate::secret::{
    KEY_PREFIX, NEW_PARTITION_PASSWORD_VARIABLE, PARTITION_KEY_VARIABLE,
    PARTITION_PASSWORD_VARIABLE, PASSWORD_VARIABLE,
};

/// A fact that only this program meets, and that has a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CliReason {
    /// No password or key file is given, and there is no terminal.
    NoPasswordGiven,
    /// No partition password is given, and there is no terminal.
    NoPartitionPasswordGiven,
    /// No partition key is given.
    NoPartitionKeyGiven,
    /// Partitions that are not named may be lost.
    PartitionsNotNamed,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The namespace has no record of that key.
    RecordMissing,
    /// The value to store is empty.
    ValueEmpty,
    /// A file already has the name of the new file.
    FileExists,
}

impl CliReason {
    /// Returns the stable code, in the form of [`Reason`]'s codes.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoPasswordGiven => "no-password-given",
            Self::NoPartitionPasswordGiven => "no-partition-password-given",
            Self::NoPartitionKeyGiven => "no-partition-key-given",
            Self::PartitionsNotNamed => "partitions-not-named",
            Self::NamespaceMissing => "namespace-missing",
            Self::RecordMissing => "record-missing",
            Self::ValueEmpty => "value-empty",
            Self::FileExists => "file-exists",
        }
    }

    /// Returns `error` as a failure for this reason.
    pub(crate) fn failure(self, error: Error) -> Failure {
        Failure::Cli(self, error)
    }

    /// Returns the reason that passed through the engine as a source.
    pub(crate) fn carried_by(error: &Error) -> Option<Self> {
        error.source().and_then(|source| source.downcast_ref()).copied()
    }

    pub(crate) fn hint(self, vault: &Path) -> String {
        let vault = vault.display();
        match self {
            Self::NoPasswordGiven => {
                format!("give --password-file FILE, --key-file FILE or {PASSWORD_VARIABLE}")
            }
            Self::NoPartitionPasswordGiven => format!(
                "give --partition-password-file FILE or {PARTITION_PASSWORD_VARIABLE}; a new password \
                 comes from --new-partition-password-file FILE or \
                 {NEW_PARTITION_PASSWORD_VARIABLE}"
            ),
            Self::NoPartitionKeyGiven => give_partition_key(),
            // `--force` allows that.
            Self::PartitionsNotNamed => {
                "name the key of each partition with --keep, or allow that with --force".into()
            }
            Self::NamespaceMissing => {
                format!("`strongroom records list {vault}` lists the namespaces")
            }
            Self::RecordMissing => {
                format!("`strongroom records list {vault} NAMESPACE` lists the keys")
            }
            Self::ValueEmpty => "store an empty value with --empty".into(),
            Self::FileExists => {
                "name another file, or move the existing one; no file is overwritten".into()
            }
        }
    }
}

impl fmt::Display for CliReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StdError for CliReason {}

/// Returns the next step after an error of the engine.
pub(crate) fn hint(error: &Error, vault: &Path) -> Option<String> {
    // The change may have happened, whatever the cause.
    if error.kind() == ErrorKind::Uncertain {
        return Some("check whether the change happened before you repeat it".into());
    }
    error.reason().and_then(|reason| of_reason(reason, error, vault)).or_else(|| of_kind(error))
}

/// Returns the hint of a kind, for errors without a reason.
fn of_kind(error: &Error) -> Option<String> {
    Some(match error.kind() {
        ErrorKind::Locked => wait_for(error),
        ErrorKind::Full => "free some space, then repeat the command".into(),
        ErrorKind::Corrupt => RESTORE.into(),
        _ => return None,
    })
}

const RESTORE: &str = "nothing was changed; restore the vault from a backup";

fn of_reason(reason: Reason, error: &Error, vault: &Path) -> Option<String> {
    let vault = vault.display();
    Some(match reason {
        Reason::VaultMissing => format!("create a vault with `strongroom init {vault}`"),
        Reason::ParentFolderMissing => "create the parent folder first".into(),
        Reason::VaultExists => {
            format!("`strongroom info {vault}` describes the existing vault")
        }
        Reason::FolderNotEmpty => "name a new or an empty folder".into(),
        Reason::NotAFolder => "name the folder of a vault, or a new one".into(),
        Reason::VaultLocked => wait_for(error),
        Reason::ContentInFolder => {
            "omit --backend and unset STRONGROOM_BACKEND: the content is in the vault's folder"
                .into()
        }
        Reason::ContentOnStore | Reason::StoreNotNamed => {
            "name the store with --backend URL or STRONGROOM_BACKEND".into()
        }
        Reason::StorageFull => "free some space, then repeat the command".into(),

        Reason::HeaderDamaged => {
            format!("{RESTORE}; if both copies of its header are damaged, try --restore-key-set")
        }
        Reason::StateDamaged
        | Reason::BlockDamaged
        | Reason::RowDamaged
        | Reason::ObjectMissing
        | Reason::ContentDamaged
        | Reason::DocumentDamaged => RESTORE.into(),
        Reason::ArtifactDamaged => format!(
            "`strongroom verify {vault}` lists the damaged artifacts; restore the vault from a \
             backup, or delete them, run `gc`, and put them again"
        ),
        Reason::StateOlderThanKeyCopy => {
            "restore the newer state file, or continue from this one with --adopt".into()
        }

        Reason::KeyCopyUnverified => {
            "restore the newest state file; if this is the newest one, continue from it with \
             --adopt"
                .into()
        }
        Reason::NotAVault => format!(
            "name the folder of a vault; if the beginning of its state file was overwritten, try \
             `strongroom --restore-key-set info {vault}`"
        ),

        Reason::WrongCredentials => {
            "a password must match byte for byte; check the keyboard layout and spaces".into()
        }
        Reason::KeyMissing => format!("`strongroom keys list {vault}` lists the keys"),
        Reason::KeySlotsFull => {
            format!("remove a key first; `strongroom keys list {vault}` lists the keys")
        }
        Reason::PasswordMemoryOutOfBounds => {
            "--password-memory-max-mib N allows more memory, up to 4096".into()
        }

        Reason::OperationMissing => format!("`strongroom ops list {vault}` lists the operations"),
        Reason::EngineOwnOperation => {
            format!("`strongroom space discard {vault}` discards an update of documents")
        }

        Reason::ArtifactMissing => format!("`strongroom ls {vault}` lists the artifacts"),
        Reason::ArtifactExists => "add another version, or replace it, with --on-existing".into(),
        Reason::QuotaExceeded => format!(
            "delete with `strongroom rm {vault}`, then `strongroom gc {vault}`; or raise it with \
             `strongroom quota {vault} --set BYTES`"
        ),

        Reason::SpaceMissing => format!("create a space with `strongroom space create {vault}`"),
        Reason::SpaceExists => format!("`strongroom space info {vault}` describes the space"),
        Reason::SpaceFull => {
            "destroy a partition, or create another vault with a larger --room-for".into()
        }
        Reason::CapacityExceeded => {
            "the size of a space is fixed; create another vault with a larger --capacity".into()
        }
        Reason::DocumentChanged => {
            format!(
                "another write changed the document; read it again with `strongroom doc read {vault}`"
            )
        }
        Reason::InterruptedWriteDiffers | Reason::NoInterruptedWrite => {
            "omit --resume; the write then discards an interrupted write of another text".into()
        }
        Reason::WrongDocumentCredentials => {
            "a wrong key, a wrong password and a missing partition give this same error".into()
        }
        Reason::PartitionMissing => {
            "the key is misspelt or of another vault, or its partition was destroyed".into()
        }
        Reason::PartitionKeyInvalid => give_partition_key(),

        _ => return of_store_reason(reason),
    })
}

/// Returns the hint of a reason about content on a store.
fn of_store_reason(reason: Reason) -> Option<String> {
    let hint = match reason {
        Reason::OwnedByOtherSession => {
            "close the other session; use --take-over only if its process has certainly ended"
        }
        Reason::StateSuperseded => {
            "open the state that was used last, or continue from this one with --take-over; \
             changes only in the other state are lost"
        }
        Reason::ContentTakenOver => {
            "another session took the content over; open the vault again to use it"
        }
        Reason::CommitsSuperseded => {
            "repeat the command with the folder of the session that took the content over"
        }
        Reason::OwnerRefMissing => {
            "check --backend; if the store belongs to the vault, open it with --take-over, then \
             run `strongroom check`"
        }
        Reason::RefDamaged => "--take-over replaces the damaged owner ref on the store",
        Reason::RefContended => "repeat the command",
        Reason::StoreCredentialsRefused | Reason::StoreCredentialsMissing => {
            "check the store's credentials in the environment, and their policy"
        }
        // The messages of the other reasons say what to do, or no action helps.
        _ => return None,
    };
    Some(hint.to_owned())
}

fn give_partition_key() -> String {
    format!(
        "give --key KEY ({KEY_PREFIX} and 72 hex digits), --key @FILE, or \
         {PARTITION_KEY_VARIABLE}"
    )
}

fn wait_for(error: &Error) -> String {
    let refused = error.source().and_then(|source| source.downcast_ref::<LockRefused>());
    match refused.and_then(|refused| refused.holder.as_ref()) {
        Some(holder) => format!(
            "wait longer with --wait SECONDS, or end process {} on {}",
            holder.process.pid, holder.process.host
        ),
        None => "wait longer with --wait SECONDS".into(),
    }
}

#[cfg(test)]
mod tests;
