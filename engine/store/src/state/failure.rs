//! Translation of redb's errors.

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};
use strongroom_base::{Error, ErrorKind, Reason};

/// An error of redb in `operation`.
pub(super) trait RedbFailure {
    fn during(self, operation: &'static str) -> Error;
}

impl RedbFailure for StorageError {
    fn during(self, operation: &'static str) -> Error {
        let kind = match self {
            Self::Io(e) => return Error::io(operation, e),
            Self::Corrupted(_) => ErrorKind::Corrupt,
            Self::ValueTooLarge(_) => ErrorKind::Invalid,
            Self::DatabaseClosed => ErrorKind::Closed,
            // `PreviousIo`: redb refuses calls after a failed write until it is reopened.
            _ => ErrorKind::Unavailable,
        };
        let error = Error::new(kind, operation).with_source(self);
        match kind {
            ErrorKind::Corrupt => error.with_reason(Reason::StateDamaged),
            ErrorKind::Closed => error.with_reason(Reason::VaultClosed),
            _ => error,
        }
    }
}

impl RedbFailure for TableError {
    fn during(self, operation: &'static str) -> Error {
        match self {
            Self::Storage(e) => e.during(operation),
            // A table is missing or has another type, which no vault's file contains.
            other => Error::new(ErrorKind::Corrupt, operation)
                .with_reason(Reason::StateDamaged)
                .with_source(other),
        }
    }
}

impl RedbFailure for TransactionError {
    fn during(self, operation: &'static str) -> Error {
        match self {
            Self::Storage(e) => e.during(operation),
            other => Error::new(ErrorKind::Unavailable, operation).with_source(other),
        }
    }
}

impl RedbFailure for CommitError {
    fn during(self, operation: &'static str) -> Error {
        match self {
            Self::Storage(e) => e.during(operation),
            other => Error::new(ErrorKind::Unavailable, operation).with_source(other),
        }
    }
}

impl RedbFailure for DatabaseError {
    fn during(self, operation: &'static str) -> Error {
        match self {
            Self::Storage(e) => e.during(operation),
            Self::DatabaseAlreadyOpen | Self::LockProtocolMismatch => {
                Error::new(ErrorKind::Locked, operation)
                    .with_reason(Reason::VaultLocked)
                    .with_detail("another program has the state file itself open")
                    .with_source(self)
            }
            Self::UpgradeRequired(_) => Error::new(ErrorKind::Invalid, operation).with_source(self),
            Self::RepairAborted => Error::new(ErrorKind::Corrupt, operation)
                .with_reason(Reason::StateDamaged)
                .with_source(self),
            other => Error::new(ErrorKind::Locked, operation).with_source(other),
        }
    }
}

/// Translates a panic of redb while it opens a damaged file.
///
/// redb's documentation allows such panics. The caller gets an error, and the process survives.
pub(super) fn panic_as_corrupt(
    operation: &'static str,
    panic: Box<dyn std::any::Any + Send>,
) -> Error {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::new(ErrorKind::Corrupt, operation)
        .with_reason(Reason::StateDamaged)
        .with_detail(format!("the state file is damaged: {said}"))
}
