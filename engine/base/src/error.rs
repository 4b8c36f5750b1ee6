//! The project's only error type.
//!
//! [`ErrorKind`] is small on purpose: it says what the caller does next. The fact is in the
//! message, in [`source`](std::error::Error::source), and in the [`Reason`] if a program may have
//! to branch on it. An error is cheap to clone, because one failed commit is reported to every
//! batch that shared it. An error never contains a key, a password or a stored value.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::reason::Reason;

/// `Result` with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The caller's next step after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The named thing already exists, and the call wanted to create it.
    AlreadyExists,
    /// Another call changed it first: read again, then retry.
    Conflict,
    /// Another holder has it: wait, or give up. The message names the holder.
    Locked,
    /// The call itself is wrong: fix it. Retrying cannot help.
    Invalid,
    /// Credentials, keys or permissions do not allow the call.
    Denied,
    /// No space is left, or a quota is used up.
    Full,
    /// Stored data is damaged: restore it from a backup.
    Corrupt,
    /// The storage does not answer, or failed for the moment: retry later.
    Unavailable,
    /// The change may or may not have happened: read again to find out.
    Uncertain,
    /// The handle is closed or was fenced off: open it again.
    Closed,
    /// The caller's own cancel token ended the call, which left no changes.
    Cancelled,
}

impl ErrorKind {
    /// Returns the kind in lower-case words, as messages show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "conflict",
            Self::Locked => "locked",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Full => "no space",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::Uncertain => "uncertain",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns a stable code for programs: lower-case words, joined by hyphens.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::Locked => "locked",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::Uncertain => "uncertain",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the kind that corresponds to an I/O error.
    pub fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Self::NotFound,
            Io::AlreadyExists => Self::AlreadyExists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Self::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Self::Full,
            Io::UnexpectedEof | Io::InvalidData => Self::Corrupt,
            Io::InvalidInput
            | Io::InvalidFilename
            | Io::NotADirectory
            | Io::IsADirectory
            | Io::CrossesDevices => Self::Invalid,
            _ => Self::Unavailable,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: the failed action, its subject, and the cause.
///
/// `Display` is one lower-case line with the values last: `open vault: locked: held by pid 4711 on
/// build-7: /srv/vault`.
#[derive(Clone)]
pub struct Error {
    inner: Arc<ErrorInner>,
}

#[derive(Clone)]
struct ErrorInner {
    kind: ErrorKind,
    reason: Option<Reason>,
    action: &'static str,
    detail: Option<String>,
    subject: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind` in `action`, a verb and a noun: `"put object"`.
    pub fn new(kind: ErrorKind, action: &'static str) -> Self {
        Self {
            inner: Arc::new(ErrorInner {
                kind,
                reason: None,
                action,
                detail: None,
                subject: None,
                source: None,
            }),
        }
    }

    /// Makes an error of an I/O error: translates its kind, and keeps it as source.
    pub fn io(action: &'static str, error: io::Error) -> Self {
        // An error of ours may have passed through an I/O trait; it is returned as it is.
        if let Some(own) = error.get_ref().and_then(|e| e.downcast_ref::<Self>()) {
            return own.clone();
        }
        let mut own = Self::new(ErrorKind::of_io(&error), action);
        own.edit().reason = reason_of_io(&error);
        own.with_source(error)
    }

    /// Adds the facts that a person needs: limits, numbers, holders.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.edit().detail = Some(detail.into());
        self
    }

    /// Adds the subject of the call: a key, a path, a name.
    pub fn with_subject(mut self, subject: impl fmt::Display) -> Self {
        self.edit().subject = Some(subject.to_string());
        self
    }

    /// Adds the subject of the call, unless the error already has one.
    pub fn or_subject(self, subject: impl fmt::Display) -> Self {
        if self.inner.subject.is_some() { self } else { self.with_subject(subject) }
    }

    /// Adds the underlying error.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit().source = Some(Arc::new(source));
        self
    }

    /// Sets the reason, for programs that branch on it.
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.edit().reason = Some(reason);
        self
    }

    /// Changes the kind and keeps the reason: `NotFound` below may be `Corrupt` above.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.edit().kind = kind;
        self
    }

    fn edit(&mut self) -> &mut ErrorInner {
        Arc::make_mut(&mut self.inner)
    }

    /// Returns the kind, which says what the caller does next.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns the reason, if a program may have to branch on it.
    pub fn reason(&self) -> Option<Reason> {
        self.inner.reason
    }

    /// Returns the failed action: a verb and a noun.
    pub fn action(&self) -> &'static str {
        self.inner.action
    }

    /// Returns the subject of the call, if it has a name.
    pub fn subject(&self) -> Option<&str> {
        self.inner.subject.as_deref()
    }
}

fn reason_of_io(error: &io::Error) -> Option<Reason> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(Reason::PermissionDenied),
        io::ErrorKind::ReadOnlyFilesystem => Some(Reason::MediaReadOnly),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Reason::StorageFull),
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        write!(f, "{}: {}", inner.action, inner.kind)?;
        match (&inner.detail, &inner.source) {
            (Some(detail), _) => write!(f, ": {detail}")?,
            (None, Some(source)) => write!(f, ": {source}")?,
            (None, None) => {}
        }
        if let Some(subject) = &inner.subject {
            write!(f, ": {subject}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("reason", &self.inner.reason)
            .field("action", &self.inner.action)
            .field("detail", &self.inner.detail)
            .field("subject", &self.inner.subject)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::Denied => io::ErrorKind::PermissionDenied,
            ErrorKind::Full => io::ErrorKind::StorageFull,
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::Invalid => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_the_subject_last() {
        let error = Error::new(ErrorKind::Invalid, "insert record")
            .with_detail("value has 70000 bytes, the limit is 65280")
            .with_subject("people");
        assert_eq!(
            error.to_string(),
            "insert record: invalid: value has 70000 bytes, the limit is 65280: people"
        );
    }

    #[test]
    fn error_survives_an_io_trait() {
        let ours = Error::new(ErrorKind::Corrupt, "read object").with_subject("content/7");
        let through: io::Error = ours.clone().into();
        let back = Error::io("copy value", through);
        assert_eq!(back.kind(), ErrorKind::Corrupt);
        assert_eq!(back.action(), "read object");
    }

    #[test]
    fn full_and_denied_disks_keep_their_kind() {
        for (io_kind, kind, reason) in [
            (io::ErrorKind::StorageFull, ErrorKind::Full, Some(Reason::StorageFull)),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::Denied, Some(Reason::MediaReadOnly)),
            (io::ErrorKind::TimedOut, ErrorKind::Unavailable, None),
        ] {
            let error = Error::io("write file", io_kind.into());
            assert_eq!((error.kind(), error.reason()), (kind, reason));
        }
    }

    #[test]
    fn reason_survives_another_kind_and_is_not_displayed() {
        let plain = Error::new(ErrorKind::Full, "write file");
        let error = plain.clone().with_reason(Reason::StorageFull).with_kind(ErrorKind::Uncertain);
        assert_eq!(error.reason(), Some(Reason::StorageFull));
        assert!(format!("{error:?}").contains("StorageFull"), "{error:?}");
        assert_eq!(error.to_string(), plain.with_kind(ErrorKind::Uncertain).to_string());
    }

    #[test]
    fn codes_of_kinds_are_stable() {
        assert_eq!(ErrorKind::AlreadyExists.code(), "already-exists");
        assert_eq!(ErrorKind::Full.code(), "full");
    }
}
