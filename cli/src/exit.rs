//! How a command ends: its exit code, and the report of a failure.
//!
//! The codes are an interface that scripts rely on; `--help` and `docs/cli.md` list them, and they
//! do not change. An error is one line, and a hint follows where the user can do something; with
//! `--json` it is one object that has both.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use strongroom::{Error, ErrorKind, Reason};

use crate::hint::{CliReason, hint};
use crate::secret::KEY_PREFIX;

/// What a shell reports of a process that died of a closed pipe: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// A command that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// And all is well.
    Done,
    /// And `check`, `verify`, `partition verify` or `gc` found something wrong.
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

/// A command that did not.
#[derive(Debug)]
pub(crate) enum Failure {
    Error(Error),
    /// For a reason that the engine does not know.
    Own(CliReason, Error),
    /// The reader of our output has closed it: nothing to complain about.
    OutputClosed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match CliReason::carried_by(&error) {
            Some(reason) => Self::Own(reason, error),
            None => Self::Error(error),
        }
    }
}

impl Failure {
    /// Of a failed write to standard output.
    pub(crate) fn of_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Error(Error::io("write output", error))
        }
    }

    /// Writes it to standard error, as JSON or as text.
    pub(crate) fn report(&self, vault: &Path, is_json: bool) -> ExitCode {
        let (error, reason, hint) = match self {
            Self::Error(error) => (error, error.reason().map(Reason::as_str), hint(error, vault)),
            Self::Own(reason, error) => (error, Some(reason.as_str()), Some(reason.hint(vault))),
            Self::OutputClosed => return ExitCode::from(BROKEN_PIPE),
        };
        let code = code(error.kind());
        // If standard error is closed, the code alone must do.
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

/// Says what is wrong with the arguments, or the help that they ask for. What clap does not know
/// it shows, and that may be a partition's key.
pub(crate) fn report_usage(usage: &clap::Error) -> ExitCode {
    let told = usage.to_string();
    let shown = without_keys(&told);
    if usage.use_stderr() && shown != told {
        let _ = write!(io::stderr(), "{shown}");
    } else {
        let _ = usage.print();
    }
    ExitCode::from(u8::try_from(usage.exit_code()).expect("0 or 2"))
}

/// The text with `srp1_…` in the place of each key, or what looks like one.
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
    fn what_looks_like_a_key_is_not_shown() {
        assert_eq!(without_keys("no key"), "no key");
        let shown = without_keys("unexpected 'srp1_00ff': use '-- srp1_00ffz'");
        assert_eq!(shown, "unexpected 'srp1_…': use '-- srp1_…'");
    }

    #[test]
    fn every_kind_has_the_code_that_is_documented() {
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
