//! Exit codes, and the report of a failure.
//!
//! Scripts rely on the codes. `--help` and `docs/guides/command-line.md` list them, and they do not
//! change. An error is one line. A hint follows if the user can do something. With `--json`, both
//! are in one object.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use strongroom::{Error, ErrorKind, Reason};

use crate::hint::{CliReason, hint};
use crate::secret::KEY_PREFIX;

/// Exit code that shells report for a closed pipe: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// Result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command found no problem.
    Done,
    /// `check`, `verify`, `partition verify` or `gc` found damage.
    Problems,
}

impl Outcome {
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Problems => ExitCode::from(1),
        }
    }
}

/// Failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    Error(Error),
    /// A failure for a reason that the engine does not have.
    Cli(CliReason, Error),
    /// The reader of standard output closed it. No message is printed.
    OutputClosed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match CliReason::carried_by(&error) {
            Some(reason) => Self::Cli(reason, error),
            None => Self::Error(error),
        }
    }
}

impl Failure {
    /// Wraps a failed write to standard output.
    pub(crate) fn of_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Error(Error::io("write output", error))
        }
    }

    /// Writes the failure to standard error, as JSON or as text.
    pub(crate) fn report(&self, vault: &Path, is_json: bool) -> ExitCode {
        let (error, reason, hint) = match self {
            Self::Error(error) => (error, error.reason().map(Reason::as_str), hint(error, vault)),
            Self::Cli(reason, error) => (error, Some(reason.as_str()), Some(reason.hint(vault))),
            Self::OutputClosed => return ExitCode::from(BROKEN_PIPE),
        };
        let code = code(error.kind());
        // If standard error is closed, only the exit code remains.
        let mut stderr = io::stderr().lock();
        if is_json {
            let document = json!({ "error": {
                "kind": error.kind().code(),
                "reason": reason,
                "action": error.action(),
                "message": error.to_string(),
                "hint": hint,
                "subject": error.subject(),
                "exit_code": code,
            } });
            let _ = writeln!(stderr, "{document}");
            return ExitCode::from(code);
        }
        let _ = writeln!(stderr, "strongroom: {error}");
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        ExitCode::from(code)
    }
}

/// Prints a usage error, or the help that was asked for.
///
/// clap quotes unknown arguments, and such an argument may be a partition's key.
pub(crate) fn report_usage(usage: &clap::Error) -> ExitCode {
    let message = usage.to_string();
    let shown = without_keys(&message);
    if usage.use_stderr() && shown != message {
        let _ = write!(io::stderr(), "{shown}");
    } else {
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).expect("0 or 2"))
}

/// Replaces each partition key, or what looks like one, by `srp1_…`.
fn without_keys(text: &str) -> String {
    let mut parts = text.split(KEY_PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        shown.extend([KEY_PREFIX, "…", rest]);
    }
    shown
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists => 4,
        ErrorKind::Locked => 5,
        ErrorKind::Conflict => 6,
        ErrorKind::Denied => 7,
        ErrorKind::Full => 8,
        ErrorKind::Corrupt => 9,
        ErrorKind::Unavailable | ErrorKind::Uncertain => 10,
        ErrorKind::Closed | ErrorKind::Cancelled => 11,
        _ => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_like_a_key_is_replaced() {
        assert_eq!(without_keys("no key"), "no key");
        let shown = without_keys("unexpected 'srp1_00ff': use '-- srp1_00ffz'");
        assert_eq!(shown, "unexpected 'srp1_…': use '-- srp1_…'");
    }

    #[test]
    fn error_kind_has_documented_exit_code() {
        let documented = [
            (ErrorKind::Invalid, 2),
            (ErrorKind::NotFound, 3),
            (ErrorKind::AlreadyExists, 4),
            (ErrorKind::Locked, 5),
            (ErrorKind::Conflict, 6),
            (ErrorKind::Denied, 7),
            (ErrorKind::Full, 8),
            (ErrorKind::Corrupt, 9),
            (ErrorKind::Unavailable, 10),
            (ErrorKind::Uncertain, 10),
            (ErrorKind::Closed, 11),
            (ErrorKind::Cancelled, 11),
        ];
        for (kind, expected) in documented {
            assert_eq!(code(kind), expected, "{kind}");
        }
    }
}
