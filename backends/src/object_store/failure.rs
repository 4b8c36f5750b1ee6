//! What an error of the crate `object_store` asks of the caller.

use object_store::Error as Failure;

use crate::error::{Error, ErrorKind, Result};

/// The error of a call that changes nothing; its source is kept.
pub(super) fn of_store(operation: &'static str, failure: Failure) -> Error {
    let kind = match &failure {
        Failure::NotFound { .. } => ErrorKind::NotFound,
        Failure::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Failure::Precondition { .. } | Failure::NotModified { .. } => ErrorKind::Conflict,
        Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => ErrorKind::Denied,
        Failure::InvalidPath { .. }
        | Failure::NotSupported { .. }
        | Failure::NotImplemented { .. }
        | Failure::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation).with_source(failure)
}

/// That of a put: whatever the store has not refused may have happened.
pub(super) fn of_put(operation: &'static str, failure: Failure, matches: bool) -> Error {
    let error = of_store(operation, failure);
    match error.kind() {
        ErrorKind::Unavailable => error.with_kind(ErrorKind::Uncertain),
        // There is no version to match where there is no object.
        ErrorKind::NotFound | ErrorKind::AlreadyExists if matches => {
            error.with_kind(ErrorKind::Conflict)
        }
        _ => error,
    }
}

/// That of a deletion: what is not there is deleted.
pub(super) fn of_delete(
    operation: &'static str,
    deleted: std::result::Result<(), Failure>,
) -> Result<()> {
    match deleted {
        Ok(()) | Err(Failure::NotFound { .. }) => Ok(()),
        Err(failure) => Err(of_put(operation, failure, false)),
    }
}
