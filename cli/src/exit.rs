//! How a command ends: its exit code, and what it says of a failure.
//!
//! The codes are an interface that scripts rely on; they stand in `--help` and `docs/cli.md` and
//! do not change. An error is one line, and a hint follows where the user can do something.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use strongroom::{Error, ErrorKind, LockRefused};

use crate::secret::{ASK, PASSWORD_VARIABLE};

/// What a shell reports of a process that died of a closed pipe: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// A command that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// And all is well.
    Done,
    /// And `check` found something wrong.
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
    /// Whoever read our output has had enough: nothing to complain about.
    OutputClosed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
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

    /// Says it on standard error.
    pub(crate) fn report(&self, vault: &Path) -> ExitCode {
        let Self::Error(error) = self else {
            return ExitCode::from(BROKEN_PIPE);
        };
        // If standard error is closed, the code alone must do.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "strongroom: {error}");
        if let Some(hint) = hint(error, vault) {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        ExitCode::from(code(error.kind()))
    }
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

/// What the user can do about it.
fn hint(error: &Error, vault: &Path) -> Option<String> {
    let vault = vault.display();
    Some(match (error.kind(), error.operation()) {
        (ErrorKind::NotFound, "open vault") => {
            format!("make a vault with `strongroom init {vault}`")
        }
        (ErrorKind::NotFound, "create vault") => "make its parent folder first".into(),
        (ErrorKind::NotFound, "list records") => {
            format!("`strongroom records list {vault}` lists the namespaces")
        }
        (ErrorKind::NotFound, "get record" | "delete record") => {
            format!("`strongroom records list {vault} NAMESPACE` lists the keys")
        }
        (ErrorKind::NotFound, "find key") => format!("`strongroom keys list {vault}` lists them"),
        (ErrorKind::NotFound, "show operation") => {
            format!("`strongroom ops list {vault}` lists the operations")
        }
        (ErrorKind::AlreadyExists, "create vault") => {
            format!("there is a vault already; `strongroom info {vault}` describes it")
        }
        (ErrorKind::Invalid, "create vault") => "name a new or an empty folder".into(),
        (ErrorKind::Invalid, ASK) => {
            format!("give --password-file FILE, --key-file FILE or {PASSWORD_VARIABLE}")
        }
        // Which of the bounds it is, only its text tells.
        (ErrorKind::Invalid, _) if error.to_string().contains(" KiB, not ") => {
            "--password-memory-max-mib N allows more memory, up to 4096".into()
        }
        // What the operating system denies has its error as source.
        (ErrorKind::Denied, "open vault") if std::error::Error::source(error).is_none() => {
            "a password counts byte for byte: look at the keyboard's layout and at blanks".into()
        }
        (ErrorKind::Conflict, operation) if operation != "restore key set" => {
            "put the newer state file back, or go on from this one with --adopt".into()
        }
        (ErrorKind::Locked, _) => locked(error),
        (ErrorKind::Full, "add key") => {
            format!("remove one first; `strongroom keys list {vault}` lists them")
        }
        (ErrorKind::Full, _) => "free some space, then repeat the command".into(),
        (ErrorKind::Corrupt, "open vault") => {
            "nothing was changed; restore the vault from a backup, or, if both copies of its \
             header are damaged, try --restore-key-set"
                .into()
        }
        (ErrorKind::Corrupt, _) => "nothing was changed; restore the vault from a backup".into(),
        (ErrorKind::Uncertain, _) => "look whether it happened before repeating it".into(),
        _ => return None,
    })
}

fn locked(error: &Error) -> String {
    let refused = std::error::Error::source(error).and_then(|e| e.downcast_ref::<LockRefused>());
    match refused.and_then(|refused| refused.holder.as_ref()) {
        Some(holder) => format!(
            "wait longer with --wait SECONDS, or end process {} on {}",
            holder.process.pid, holder.process.host
        ),
        None => "wait longer with --wait SECONDS".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
