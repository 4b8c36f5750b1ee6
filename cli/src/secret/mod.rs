//! What opens a vault, and where it comes from: a file, the environment, or a person.
//!
//! Never an argument, which every user of the machine can read. Where it comes from is decided by
//! options first, then the environment, then the terminal. It is read once, when the engine asks,
//! which it does after it found a vault. Nothing here prints a secret, and all are zeroised.

mod file;
mod terminal;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use strongroom::{Error, ErrorKind, KeySource, Result, SecretKey, SecretPassword, Unlock};

use crate::session::Notes;
use terminal::Terminal;

pub(crate) use file::{STDIN, generate};

/// Names the variable with the password that opens the vault.
pub(crate) const PASSWORD_VARIABLE: &str = "STRONGROOM_PASSWORD";
/// Names the variable with a password that is set.
pub(crate) const NEW_PASSWORD_VARIABLE: &str = "STRONGROOM_NEW_PASSWORD";

/// What a prompt and its refusal are called.
pub(crate) const ASK: &str = "ask for password";

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    PasswordFile(PathBuf),
    KeyFile(PathBuf),
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
            (Some(path), None) => Ok(Some(Origin::PasswordFile(path.to_owned()))),
            (None, Some(path)) => Ok(Some(Origin::KeyFile(path.to_owned()))),
            (None, None) => {
                let is_set = std::env::var_os(self.variable).is_some();
                Ok(is_set.then_some(Origin::Environment(self.variable)))
            }
        }
    }
}

impl Origin {
    /// Whether it is standard input, which then cannot be anything else.
    pub(crate) fn is_stdin(&self) -> bool {
        match self {
            Self::PasswordFile(path) | Self::KeyFile(path) => path.as_os_str() == STDIN,
            Self::Environment(_) | Self::Terminal => false,
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
            Origin::PasswordFile(path) => {
                file::read_password(path, self.notes).map(Secret::Password)
            }
            Origin::KeyFile(path) => file::read_key(path, self.notes).map(Secret::Key),
            Origin::Environment(name) => read_variable(name).map(Secret::Password),
            Origin::Terminal => self.ask().map(Secret::Password),
        }
    }

    fn ask(&self) -> Result<SecretPassword> {
        let refuse = |detail| Err(Error::new(ErrorKind::Invalid, ASK).with_detail(detail));
        let Some(mut terminal) = Terminal::open()? else {
            return refuse("none is given, and there is no terminal to ask at");
        };
        let vault = self.vault.display();
        let mut password = match self.question {
            Question::Old => terminal.ask(&format!("Password for {vault}: "))?,
            Question::New => terminal.ask(&format!("New password for {vault}: "))?,
        };
        if password.is_empty() {
            return refuse("the password is empty");
        }
        if self.question == Question::New && *terminal.ask("The same again: ")? != *password {
            return refuse("the two passwords differ");
        }
        Ok(SecretPassword::new(std::mem::take(&mut *password)))
    }
}

/// Its exact text. Nothing passes the variable on: this program starts no other.
fn read_variable(name: &'static str) -> Result<SecretPassword> {
    let refuse = |detail| {
        Err(Error::new(ErrorKind::Invalid, "read environment")
            .with_detail(detail)
            .with_subject(name))
    };
    let value = std::env::var_os(name).unwrap_or_default();
    if value == OsStr::new("") {
        return refuse("the variable is set and empty");
    }
    match value.into_string() {
        Ok(text) => Ok(SecretPassword::new(text)),
        Err(_) => refuse("the variable is not UTF-8"),
    }
}
