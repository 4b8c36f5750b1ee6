//! How a command ends: its exit code, and what it says of a failure.
//!
//! The codes are an interface that scripts rely on; they stand in `--help` and `docs/cli.md` and
//! do not change. An error is one line, and a hint follows where the user can do something.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use strongroom::{Error, ErrorKind, LockRefused};

use crate::secret::{
    ASK, ASK_PARTITION, KEY_PREFIX, NEW_PARTITION_PASSWORD_VARIABLE, PARTITION_KEY_VARIABLE,
    PARTITION_PASSWORD_VARIABLE, PASSWORD_VARIABLE,
};

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

/// What the user can do about it.
fn hint(error: &Error, vault: &Path) -> Option<String> {
    if let Some(hint) = artifact_hint(error, vault).or_else(|| store_hint(error)) {
        return Some(hint);
    }
    let vault = vault.display();
    Some(match (error.kind(), error.action()) {
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
        (ErrorKind::NotFound, "show operation" | "pause operation" | "abandon operation") => {
            format!("`strongroom ops list {vault}` lists the operations")
        }
        (ErrorKind::AlreadyExists, "create vault") => {
            format!("there is a vault already; `strongroom info {vault}` describes it")
        }
        (ErrorKind::Invalid, "create vault") => "name a new or an empty folder".into(),
        (ErrorKind::Invalid, ASK) => {
            format!("give --password-file FILE, --key-file FILE or {PASSWORD_VARIABLE}")
        }
        (ErrorKind::Invalid, ASK_PARTITION) => format!(
            "give --partition-password-file FILE or {PARTITION_PASSWORD_VARIABLE}; for a new one \
             in its place --new-partition-password-file FILE or {NEW_PARTITION_PASSWORD_VARIABLE}"
        ),
        (ErrorKind::Invalid, "read partition key") => format!(
            "give --key KEY, which is {KEY_PREFIX} and 72 hex digits, or --key @FILE, or \
             {PARTITION_KEY_VARIABLE}"
        ),
        // As the command line says it, which --force allows.
        (ErrorKind::Invalid, "add partition") => {
            "name the key of each partition with --keep, or allow that with --force".into()
        }
        (ErrorKind::Invalid, "pause operation" | "abandon operation")
            if error.to_string().contains(" the engine's own") =>
        {
            format!("`strongroom space discard {vault}` takes back an update of documents")
        }
        // Which of the bounds it is, only its text tells.
        (ErrorKind::Invalid, _) if error.to_string().contains(" KiB, not ") => {
            "--password-memory-max-mib N allows more memory, up to 4096".into()
        }
        // What the operating system denies has its error as source.
        (ErrorKind::Denied, "open vault") if std::error::Error::source(error).is_none() => {
            "a password counts byte for byte: look at the keyboard's layout and at blanks".into()
        }
        (ErrorKind::Denied, "open document") => {
            "the same is said for a wrong key, a wrong password and a partition that is not there"
                .into()
        }
        (ErrorKind::Denied, "add partition" | "destroy partition") => {
            "it is misspelt, of another vault, or its partition was destroyed: nothing was changed"
                .into()
        }
        (ErrorKind::Conflict, "write document") => {
            format!("somebody wrote it; read it again with `strongroom doc read {vault}`")
        }
        (ErrorKind::Conflict | ErrorKind::NotFound, "resume write") => {
            "write it without --resume; an interrupted write of another text is taken back then"
                .into()
        }
        (ErrorKind::NotFound, "open space") => {
            format!("make one with `strongroom space create {vault}`")
        }
        (ErrorKind::AlreadyExists, "create space") => {
            format!("`strongroom space info {vault}` describes it")
        }
        (ErrorKind::Conflict, operation) if operation != "restore key set" => {
            "put the newer state file back, or go on from this one with --adopt".into()
        }
        (ErrorKind::Locked, _) => locked(error),
        (ErrorKind::Full, "add key") => {
            format!("remove one first; `strongroom keys list {vault}` lists them")
        }
        (ErrorKind::Full, "write document") => {
            "a space keeps its size; make another vault with a larger one for it".into()
        }
        (ErrorKind::Full, "add partition") => {
            "destroy a partition, or make another vault with more --room-for".into()
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

/// The same about artifacts.
fn artifact_hint(error: &Error, vault: &Path) -> Option<String> {
    let vault = vault.display();
    Some(match (error.kind(), error.action()) {
        (
            ErrorKind::NotFound,
            "read artifact" | "tag artifact" | "delete artifact" | "list artifacts"
            | "list versions" | "export artifacts",
        ) => format!("`strongroom ls {vault}` lists the artifacts"),
        (ErrorKind::AlreadyExists, "put artifact") => {
            "there is a version; add another, or replace it, with --on-existing".into()
        }
        (ErrorKind::AlreadyExists, "create artifact file" | "create archive file") => {
            "nothing is overwritten: name another file, or move that one away".into()
        }
        // The quota's; the storage's own has another operation.
        (ErrorKind::Full, "store content") => format!(
            "delete with `strongroom rm {vault}`, then `strongroom gc {vault}`; or raise it with \
             `strongroom quota {vault} --set BYTES`"
        ),
        // Whatever of it could not be read, the artifact is the subject.
        (ErrorKind::Corrupt, _) if error.to_string().contains(" strongroom:///artifact/") => {
            format!(
                "the others can be read: `strongroom verify {vault}` names those that cannot; \
                 restore the vault from a backup, or delete them, `gc`, and put them anew"
            )
        }
        _ => return None,
    })
}

/// The same about content on a store.
fn store_hint(error: &Error) -> Option<String> {
    let hint = match (error.kind(), error.action()) {
        (ErrorKind::Locked, "claim content") => {
            "end that process in good order; if it has ended for certain, or its machine was started \
             anew, --take-over"
        }
        (ErrorKind::Corrupt, "read ref") => {
            "somebody has changed the owner ref on the store; --take-over puts another there"
        }
        (ErrorKind::Denied, "claim content") => {
            "open the state that was used last; or go on from this one with --take-over: what only \
             the other knew is lost"
        }
        (ErrorKind::NotFound, "claim content") => {
            "look at --backend; if the store is the vault's, --take-over opens it all the same, and \
             `strongroom check` tells what is missing"
        }
        (ErrorKind::Closed, "claim content") => "another took the content over; this one is out",
        (ErrorKind::Invalid, "open vault")
            if error.to_string().contains("content lies on \"disk\"") =>
        {
            "leave --backend and STRONGROOM_BACKEND out: the content lies in the vault's folder"
        }
        (ErrorKind::Invalid, "open vault") if error.to_string().contains("content lies on") => {
            "name the store with --backend URL or STRONGROOM_BACKEND"
        }
        (ErrorKind::Conflict, "claim content" | "move ref") => {
            "others were faster: repeat the command"
        }
        (ErrorKind::Invalid, "check store") => {
            "name the store with --backend URL or STRONGROOM_BACKEND"
        }
        (ErrorKind::Denied, "open store" | "put object" | "get object" | "list objects") => {
            "look at the store's credentials in the environment, and at their policy"
        }
        _ => return None,
    };
    Some(hint.to_owned())
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
