//! Secrets of a vault or a partition, and their sources: a file, the environment, or the terminal.
//!
//! A secret is never an argument, because every user of the machine can read arguments. Only a
//! partition's key may be one, because it opens nothing alone. Options decide first, then the
//! environment, then the terminal. The secret is read once, when the engine asks for it, which
//! happens after it has found a vault. No secret is printed, and all are zeroised.

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

/// Variable with the password that opens the vault.
pub(crate) const PASSWORD_VARIABLE: &str = "STRONGROOM_PASSWORD";
/// Variable with the new password of a vault.
pub(crate) const NEW_PASSWORD_VARIABLE: &str = "STRONGROOM_NEW_PASSWORD";

/// Variable with the password of a partition.
pub(crate) const PARTITION_PASSWORD_VARIABLE: &str = "STRONGROOM_PARTITION_PASSWORD";
/// Variable with the new password of a partition.
pub(crate) const NEW_PARTITION_PASSWORD_VARIABLE: &str = "STRONGROOM_NEW_PARTITION_PASSWORD";

/// Source of a vault's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Password(PasswordOrigin),
    KeyFile(PathBuf),
}

/// Source of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordOrigin {
    File(PathBuf),
    /// Environment variable of that name, which is set.
    Environment(&'static str),
    Terminal,
}

/// Options and variable that may give a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecretOptions<'a> {
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) key_file: Option<&'a Path>,
    pub(crate) variable: &'static str,
}

impl SecretOptions<'_> {
    /// Returns the source if one is given; `Invalid` if two are.
    pub(crate) fn origin(&self) -> Result<Option<Origin>> {
        match (self.password_file, self.key_file) {
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::Invalid, "read options")
                .with_detail("a password file and a key file are given; give only one")),
            (None, Some(path)) => Ok(Some(Origin::KeyFile(path.to_owned()))),
            (path, None) => Ok(PasswordOrigin::given(path, self.variable).map(Origin::Password)),
        }
    }
}

impl Origin {
    pub(crate) const TERMINAL: Self = Self::Password(PasswordOrigin::Terminal);

    /// Returns whether the source is standard input.
    ///
    /// Standard input can serve only one purpose.
    pub(crate) fn is_stdin(&self) -> bool {
        match self {
            Self::Password(origin) => origin.is_stdin(),
            Self::KeyFile(path) => path.as_os_str() == STDIN,
        }
    }
}

impl PasswordOrigin {
    /// Returns the file or the variable as source, if one is given.
    fn given(file: Option<&Path>, variable: &'static str) -> Option<Self> {
        if let Some(path) = file {
            return Some(Self::File(path.to_owned()));
        }
        std::env::var_os(variable).is_some().then_some(Self::Environment(variable))
    }

    /// Returns the file, the variable, or else the terminal as the source.
    pub(crate) fn of(file: Option<&Path>, variable: &'static str) -> Self {
        Self::given(file, variable).unwrap_or(Self::Terminal)
    }

    /// Returns whether the source is standard input.
    ///
    /// Standard input can serve only one purpose.
    pub(crate) fn is_stdin(&self) -> bool {
        matches!(self, Self::File(path) if path.as_os_str() == STDIN)
    }

    /// Reads the password for `vault` now.
    pub(crate) fn read(
        &self,
        question: Prompt,
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

/// Kind of password that the terminal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// An existing password.
    Old,
    /// A new password. Asked twice, because typing is not shown.
    New,
    /// The existing password of a partition.
    OldOfPartition,
    /// The new password of a partition, asked twice.
    NewOfPartition,
}

/// A secret that was read.
enum Secret {
    Password(SecretPassword),
    Key(SecretKey),
}

/// A secret that is read at its first use, then kept. Clones share it.
#[derive(Clone)]
pub(crate) struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Origin,
    question: Prompt,
    /// Path of the vault that the secret opens.
    vault: PathBuf,
    notes: Notes,
    secret: OnceLock<Secret>,
}

impl Source {
    pub(crate) fn new(origin: Origin, question: Prompt, vault: &Path, notes: Notes) -> Self {
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

fn ask(question: Prompt, vault: &Path) -> Result<SecretPassword> {
    let (action, reason) = match question {
        Prompt::Old | Prompt::New => ("ask for password", CliReason::NoPasswordGiven),
        Prompt::OldOfPartition | Prompt::NewOfPartition => {
            ("ask for partition password", CliReason::NoPartitionPasswordGiven)
        }
    };
    let (asked, is_new) = match question {
        Prompt::Old => ("Password for", false),
        Prompt::New => ("New password for", true),
        Prompt::OldOfPartition => ("Partition password for", false),
        Prompt::NewOfPartition => ("New partition password for", true),
    };
    let refuse = |detail| Err(Error::new(ErrorKind::Invalid, action).with_detail(detail));
    let Some(mut terminal) = Terminal::open()? else {
        return refuse("no password is given, and there is no terminal to ask on")
            .map_err(|e: Error| e.with_source(reason));
    };
    let mut password = terminal.ask(&format!("{asked} {}: ", vault.display()))?;
    if password.is_empty() {
        return refuse("the password is empty");
    }
    if is_new && *terminal.ask("Repeat the password: ")? != *password {
        return refuse("the two passwords differ");
    }
    Ok(SecretPassword::new(std::mem::take(&mut *password)))
}

/// Reads the exact text of the variable. This program starts no other that could inherit it.
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
