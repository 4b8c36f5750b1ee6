//! Translation of the crate `object_store`'s errors.

use object_store::Error as Failure;

#[cfg(feature = "clouds")]
use super::answers::Cloud;
use crate::backend::Condition;
use strongroom_base::{Error, ErrorKind, Reason, Result};

/// Translates the error of a call that changes nothing.
///
/// The error remains as the source.
pub(super) fn of_store(operation: &'static str, failure: Failure) -> Error {
    judged(operation, failure).0
}

/// Translates an error, and returns whether the change certainly did not happen.
fn judged(operation: &'static str, failure: Failure) -> (Error, bool) {
    #[cfg(feature = "clouds")]
    if let Some(Cloud { kind, reason, is_certain, detail }) = Cloud::of(&failure) {
        let error = Error::new(kind, operation).with_detail(detail).with_source(failure);
        let error = match reason {
            Some(reason) => error.with_reason(reason),
            None => error,
        };
        return (error, is_certain);
    }
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
    let error = Error::new(kind, operation).with_source(failure);
    let error = match kind {
        ErrorKind::Denied => error.with_reason(Reason::StoreCredentialsRefused),
        _ => error,
    };
    (error, kind != ErrorKind::Unavailable)
}

/// Translates the error of a put: unless the store refused it, it may have happened.
pub(super) fn of_put(operation: &'static str, failure: Failure, condition: &Condition) -> Error {
    let (error, is_certain) = judged(operation, failure);
    match (error.kind(), condition) {
        (ErrorKind::Unavailable, _) if !is_certain => error.with_kind(ErrorKind::Uncertain),
        // A missing object has no version to match.
        (ErrorKind::NotFound | ErrorKind::AlreadyExists, Condition::Matches(_)) => {
            error.with_kind(ErrorKind::Conflict)
        }
        // Another request is changing the key.
        (ErrorKind::AlreadyExists | ErrorKind::Conflict, Condition::Any) => {
            error.with_kind(ErrorKind::Unavailable)
        }
        _ => error,
    }
}

/// Returns whether the store may have refused a range beyond the end.
pub(super) fn may_be_of_a_range(failure: &Failure) -> bool {
    #[cfg(feature = "clouds")]
    if Cloud::of(failure).is_some() {
        return false;
    }
    matches!(failure, Failure::Generic { .. } | Failure::NotSupported { .. })
}

/// Translates the error of a deletion: a missing key counts as deleted.
pub(super) fn of_delete(
    operation: &'static str,
    deleted: std::result::Result<(), Failure>,
) -> Result<()> {
    match deleted {
        Ok(()) | Err(Failure::NotFound { .. }) => Ok(()),
        Err(failure) => Err(of_put(operation, failure, &Condition::Any)),
    }
}
