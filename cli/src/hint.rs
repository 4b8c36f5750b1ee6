//! Hints: the next step of the user, one for each reason.
//!
//! A hint follows from the [`Reason`] of an error, or from the [`CliReason`] where only this program
//! can meet the fact. Some kinds have a hint of their own, for errors without a reason.

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

/// A fact that only this program can meet, and that has a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CliReason {
    /// No file that holds a password or a key is named, and there is no terminal.
    NoPasswordGiven,
    /// The same for the password of a partition.
    NoPartitionPasswordGiven,
    /// No key of a partition is given.
    NoPartitionKeyGiven,
    /// Partitions that are not named may be lost.
    PartitionsNotNamed,
    /// There is no such namespace.
    NamespaceMissing,
    /// There is no record of that key.
    RecordMissing,
    /// There is a file of the name that a new one is to have.
    FileExists,
}

impl CliReason {
    /// The stable code, beside those of [`Reason`].
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoPasswordGiven => "no-password-given",
            Self::NoPartitionPasswordGiven => "no-partition-password-given",
            Self::NoPartitionKeyGiven => "no-partition-key-given",
            Self::PartitionsNotNamed => "partitions-not-named",
            Self::NamespaceMissing => "namespace-missing",
            Self::RecordMissing => "record-missing",
            Self::FileExists => "file-exists",
        }
    }

    /// `error` as a failure for this reason.
    pub(crate) fn failure(self, error: Error) -> Failure {
        Failure::Own(self, error)
    }

    /// The reason that travelled through the engine as the source of an error.
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
                "give --partition-password-file FILE or {PARTITION_PASSWORD_VARIABLE}; for a new \
                 one in its place --new-partition-password-file FILE or \
                 {NEW_PARTITION_PASSWORD_VARIABLE}"
            ),
            Self::NoPartitionKeyGiven => give_partition_key(),
            // As the command line says it, which --force allows.
            Self::PartitionsNotNamed => {
                "name the key of each partition with --keep, or allow that with --force".into()
            }
            Self::NamespaceMissing => {
                format!("`strongroom records list {vault}` lists the namespaces")
            }
            Self::RecordMissing => {
                format!("`strongroom records list {vault} NAMESPACE` lists the keys")
            }
            Self::FileExists => {
                "nothing is overwritten: name another file, or move that one away".into()
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
    // Whatever the cause: the change may be there.
    if error.kind() == ErrorKind::Uncertain {
        return Some("look whether it happened before repeating it".into());
    }
    error.reason().and_then(|reason| of_reason(reason, error, vault)).or_else(|| of_kind(error))
}

/// Returns the hint of a kind, for errors without a reason of their own.
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
        Reason::VaultMissing => format!("make a vault with `strongroom init {vault}`"),
        Reason::ParentFolderMissing => "make its parent folder first".into(),
        Reason::VaultExists => {
            format!("there is a vault already; `strongroom info {vault}` describes it")
        }
        Reason::FolderNotEmpty => "name a new or an empty folder".into(),
        Reason::NotAFolder => "name the folder of a vault, or a new one".into(),
        Reason::VaultLocked => wait_for(error),
        Reason::ContentInFolder => {
            "leave --backend and STRONGROOM_BACKEND out: the content is in the vault's folder"
                .into()
        }
        Reason::ContentOnStore | Reason::StoreNotNamed => {
            "name the store with --backend URL or STRONGROOM_BACKEND".into()
        }
        Reason::StorageFull => "free some space, then repeat the command".into(),

        Reason::HeaderDamaged => format!(
            "{RESTORE}, or, if both copies of its header are damaged, try --restore-key-set"
        ),
        Reason::StateDamaged
        | Reason::BlockDamaged
        | Reason::RowDamaged
        | Reason::ObjectMissing
        | Reason::ContentDamaged
        | Reason::DocumentDamaged => RESTORE.into(),
        Reason::ArtifactDamaged => format!(
            "the others can be read: `strongroom verify {vault}` names those that cannot; restore \
             the vault from a backup, or delete them, `gc`, and put them again"
        ),
        Reason::StateOlderThanKeyCopy => {
            "put the newer state file back, or go on from this one with --adopt".into()
        }

        Reason::WrongCredentials => {
            "a password counts byte for byte: look at the keyboard's layout and at blanks".into()
        }
        Reason::KeyMissing => format!("`strongroom keys list {vault}` lists them"),
        Reason::KeySlotsFull => {
            format!("remove one first; `strongroom keys list {vault}` lists them")
        }
        Reason::PasswordMemoryOutOfBounds => {
            "--password-memory-max-mib N allows more memory, up to 4096".into()
        }

        Reason::OperationMissing => format!("`strongroom ops list {vault}` lists the operations"),
        Reason::EngineOwnOperation => {
            format!("`strongroom space discard {vault}` discards an update of documents")
        }

        Reason::ArtifactMissing => format!("`strongroom ls {vault}` lists the artifacts"),
        Reason::ArtifactExists => {
            "there is a version; add another, or replace it, with --on-existing".into()
        }
        Reason::QuotaExceeded => format!(
            "delete with `strongroom rm {vault}`, then `strongroom gc {vault}`; or raise it with \
             `strongroom quota {vault} --set BYTES`"
        ),

        Reason::SpaceMissing => format!("make one with `strongroom space create {vault}`"),
        Reason::SpaceExists => format!("`strongroom space info {vault}` describes it"),
        Reason::SpaceFull => {
            "destroy a partition, or make another vault with more --room-for".into()
        }
        Reason::CapacityExceeded => {
            "a space keeps its size; make another vault with a larger one for it".into()
        }
        Reason::DocumentChanged => {
            format!("another write changed it; read it again with `strongroom doc read {vault}`")
        }
        Reason::InterruptedWriteDiffers | Reason::NoInterruptedWrite => {
            "write it without --resume; that discards an interrupted write of another text".into()
        }
        Reason::WrongDocumentCredentials => {
            "the same is said for a wrong key, a wrong password and a partition that is not there"
                .into()
        }
        Reason::PartitionMissing => {
            "it is misspelt, of another vault, or its partition was destroyed: nothing was changed"
                .into()
        }
        Reason::PartitionKeyInvalid => give_partition_key(),

        _ => return of_store_reason(reason),
    })
}

/// The same about content on a store.
fn of_store_reason(reason: Reason) -> Option<String> {
    let hint = match reason {
        Reason::OwnedByOtherSession => {
            "close the other session; if its process has ended for certain, or its machine was \
             restarted, use --take-over"
        }
        Reason::StateSuperseded => {
            "open the state that was used last; or go on from this one with --take-over: what only \
             the other knew is lost"
        }
        Reason::ContentTakenOver => "another session has the content; this one is out",
        Reason::OwnerRefMissing => {
            "look at --backend; if the store is the vault's, --take-over opens it all the same, and \
             `strongroom check` shows what is missing"
        }
        Reason::RefDamaged => {
            "the owner ref on the store was changed; --take-over puts another there"
        }
        Reason::RefContended => "others moved it first: repeat the command",
        Reason::StoreCredentialsRefused | Reason::StoreCredentialsMissing => {
            "look at the store's credentials in the environment, and at their policy"
        }
        // The message of the others says what to do, or nothing can be done here.
        _ => return None,
    };
    Some(hint.to_owned())
}

fn give_partition_key() -> String {
    format!(
        "give --key KEY, which is {KEY_PREFIX} and 72 hex digits, or --key @FILE, or \
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
