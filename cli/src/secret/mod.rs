//! What opens a vault or a partition, and where it comes from: a file, the environment, or a
//! person.
//!
//! Never an argument, which every user of the machine can read; only a partition's key may be one,
//! for it opens nothing alone. Where it comes from is decided by options first, then the
//! environment, then the terminal. It is read once, when the engine asks, which it does after it
//! found a vault. Nothing here prints a secret, and all are zeroised.

mod file;
mod partition;
mod terminal;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use strongroom::keys::{KeySource, Unlock};
use strongroom::{Error, ErrorKind, Result, SecretKey, SecretPassword};

use crate::hint::CliReason;
use crate::session::Notes;
use terminal::Terminal;

pub(crate) use file::{STDIN, create_file, generate, read_document};
pub(crate) use partition::{
    KEY_PREFIX, KeyArgument, PARTITION_KEY_VARIABLE, is_like_a_key, partition_key,
};

/// Names the variable with the password that opens the vault.
pub(crate) const PASSWORD_VARIABLE: &str = "STRONGROOM_PASSWORD";
/// Names the variable with a password that is set.
pub(crate) const NEW_PASSWORD_VARIABLE: &str = "STRONGROOM_NEW_PASSWORD";

/// Names the variable with the password of a partition.
pub(crate) const PARTITION_PASSWORD_VARIABLE: &str = "STRONGROOM_PARTITION_PASSWORD";
/// Names the variable with the password that takes its place.
pub(crate) const NEW_PARTITION_PASSWORD_VARIABLE: &str = "STRONGROOM_NEW_PARTITION_PASSWORD";

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Password(PasswordOrigin),
    KeyFile(PathBuf),
}

/// Where a password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordOrigin {
    File(PathBuf),
    /// The variable of that name, which is set.
    Environment(&'static str),
    Terminal,
}

/// The options and the variable that may tell a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) key_file: Option<&'a Path>,
    pub(crate) variable: &'static str,
}

impl Told<'_> {
    /// Where the secret comes from if it is told; `Invalid` if it is told twice.
    pub(crate) fn origin(&self) -> Result<Option<Origin>> {
        match (self.password_file, self.key_file) {
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::Invalid, "read options")
                .with_detail("a password file and a key file are given: give one of them")),
            (None, Some(path)) => Ok(Some(Origin::KeyFile(path.to_owned()))),
            (path, None) => Ok(PasswordOrigin::told(path, self.variable).map(Origin::Password)),
        }
    }
}

impl Origin {
    pub(crate) const TERMINAL: Self = Self::Password(PasswordOrigin::Terminal);

    /// Whether it is standard input, which then cannot be anything else.
    pub(crate) fn is_stdin(&self) -> bool {
        match self {
            Self::Password(origin) => origin.is_stdin(),
            Self::KeyFile(path) => path.as_os_str() == STDIN,
        }
    }
}

impl PasswordOrigin {
    /// Where the password comes from if a file or the variable tells it.
    fn told(file: Option<&Path>, variable: &'static str) -> Option<Self> {
        if let Some(path) = file {
            return Some(Self::File(path.to_owned()));
        }
        std::env::var_os(variable).is_some().then_some(Self::Environment(variable))
    }

    /// The same, or the terminal.
    pub(crate) fn of(file: Option<&Path>, variable: &'static str) -> Self {
        Self::told(file, variable).unwrap_or(Self::Terminal)
    }

    /// Whether it is standard input, which then cannot be anything else.
    pub(crate) fn is_stdin(&self) -> bool {
        matches!(self, Self::File(path) if path.as_os_str() == STDIN)
    }

    /// The password for what lies in `vault`, read now.
    pub(crate) fn read(
        &self,
        question: Question,
        vault: &Path,
        notes: Notes,
    ) -> Result<SecretPassword> {
        match self {
            Self::File(path) => file::read_password(path, notes),
            Self::Environment(name) => read_variable(name).map(SecretPassword::new),
            Self::Terminal => ask(question, vault),
        }
    }
}

/// How a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// For a password that exists.
    Old,
    /// For one that is set: twice, for nobody sees what is typed.
    New,
    /// For a partition's that exists.
    OldOfPartition,
    /// For a partition's that is set, twice.
    NewOfPartition,
}

/// A secret, once it was read.
enum Secret {
    Password(SecretPassword),
    Key(SecretKey),
}

/// A secret that is read when it is asked for, and then kept. Clones share it.
#[derive(Clone)]
pub(crate) struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Origin,
    question: Question,
    /// What it opens.
    vault: PathBuf,
    notes: Notes,
    secret: OnceLock<Secret>,
}

impl Source {
    pub(crate) fn new(origin: Origin, question: Question, vault: &Path, notes: Notes) -> Self {
        let vault = vault.to_owned();
        let secret = OnceLock::new();
        Self { shared: Arc::new(Shared { origin, question, vault, notes, secret }) }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.shared.origin
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("origin", self.origin()).finish_non_exhaustive()
    }
}

impl KeySource for Source {
    fn unlock(&self) -> Result<Unlock> {
        let shared = &*self.shared;
        let secret = if let Some(secret) = shared.secret.get() {
            secret
        } else {
            let read = shared.read()?;
            shared.secret.get_or_init(|| read)
        };
        match secret {
            Secret::Password(password) => password.unlock(),
            Secret::Key(key) => key.unlock(),
        }
    }
}

impl Shared {
    fn read(&self) -> Result<Secret> {
        match &self.origin {
            Origin::Password(origin) => {
                origin.read(self.question, &self.vault, self.notes).map(Secret::Password)
            }
            Origin::KeyFile(path) => file::read_key(path, self.notes).map(Secret::Key),
        }
    }
}

fn ask(question: Question, vault: &Path) -> Result<SecretPassword> {
    let (action, reason) = match question {
        Question::Old | Question::New => ("ask for password", CliReason::NoPasswordGiven),
        Question::OldOfPartition | Question::NewOfPartition => {
            ("ask for partition password", CliReason::NoPartitionPasswordGiven)
        }
    };
    let (asked, is_new) = match question {
        Question::Old => ("Password for", false),
        Question::New => ("New password for", true),
        Question::OldOfPartition => ("Partition password for", false),
        Question::NewOfPartition => ("New partition password for", true),
    };
    let refuse = |detail| Err(Error::new(ErrorKind::Invalid, action).with_detail(detail));
    let Some(mut terminal) = Terminal::open()? else {
        return refuse("none is given, and there is no terminal to ask at")
            .map_err(|e: Error| e.with_source(reason));
    };
    let mut password = terminal.ask(&format!("{asked} {}: ", vault.display()))?;
    if password.is_empty() {
        return refuse("the password is empty");
    }
    if is_new && *terminal.ask("The same again: ")? != *password {
        return refuse("the two passwords differ");
    }
    Ok(SecretPassword::new(std::mem::take(&mut *password)))
}

/// Its exact text. Nothing passes the variable on: this program starts no other.
fn read_variable(name: &'static str) -> Result<String> {
    let refuse = |detail| {
        Err(Error::new(ErrorKind::Invalid, "read environment")
            .with_detail(detail)
            .with_subject(name))
    };
    let value = std::env::var_os(name).unwrap_or_default();
    if value == OsStr::new("") {
        return refuse("the variable is set and empty");
    }
    value.into_string().or_else(|_| refuse("the variable is not UTF-8"))
}
