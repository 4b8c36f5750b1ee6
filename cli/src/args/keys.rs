//! How keys are given, and the commands on them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use strongroom::keys::{Cipher, PasswordCosts};

use super::help;

/// How the key that opens the vault is given, and what opening may do.
#[derive(Debug, Args)]
pub(crate) struct Opening {
    /// Read the password from FILE, one line; - is standard input
    #[arg(long, global = true, value_name = "FILE", help_heading = "Opening the vault")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read a key of 32 bytes, or 64 hex digits, from FILE; - is standard input
    #[arg(long, global = true, value_name = "FILE", help_heading = "Opening the vault")]
    pub(crate) key_file: Option<PathBuf>,
    /// Let a vault ask for so much memory when a password is tried [default: 1024]
    #[arg(long, global = true, value_name = "N", help_heading = "Opening the vault")]
    pub(crate) password_memory_max_mib: Option<u32>,
    /// Where the content lies, if not in the vault's folder: the URL of a bucket and a prefix
    #[arg(long, global = true, value_name = "URL", help_heading = "Opening the vault")]
    pub(crate) backend: Option<String>,
    /// Take the content on that store over from a session that has not closed, or another state
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) take_over: bool,
    /// Go on from an older state file that was put back; what was newer is lost
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) adopt: bool,
    /// Replace a damaged header by the copy of the key set on the backend
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) restore_key_set: bool,
}

/// How a secret that is set is given.
#[derive(Debug, Args)]
pub(crate) struct NewSecret {
    /// Read the new password from FILE, one line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Read a new key of 32 bytes, or 64 hex digits, from FILE; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
}

/// What one attempt at a password that is set shall cost. Each is the least, too.
#[derive(Debug, Args)]
pub(crate) struct Costs {
    /// Memory that one attempt at the password takes, in MiB [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) memory_mib: Option<u32>,
    /// How often that memory is gone over [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) passes: Option<u32>,
    /// In how many parallel parts [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) lanes: Option<u32>,
}

impl Costs {
    /// Whether any of them is told.
    pub(crate) fn are_told(&self) -> bool {
        self.memory_mib.is_some() || self.passes.is_some() || self.lanes.is_some()
    }

    /// As the engine takes them, which judges them.
    pub(crate) fn costs(&self) -> PasswordCosts {
        let default = PasswordCosts::default();
        PasswordCosts {
            memory_kib: self.memory_mib.map_or(default.memory_kib, |mib| mib.saturating_mul(1024)),
            passes: self.passes.unwrap_or(default.passes),
            lanes: self.lanes.unwrap_or(default.lanes),
        }
    }
}

/// The ciphers by their names on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CipherName {
    /// Fast where the processor has instructions for AES
    #[value(name = "aes-256-gcm-siv")]
    Aes256GcmSiv,
    /// As fast on every processor
    #[value(name = "xchacha20-poly1305")]
    XChaCha20Poly1305,
}

impl From<CipherName> for Cipher {
    fn from(name: CipherName) -> Self {
        match name {
            CipherName::Aes256GcmSiv => Self::Aes256GcmSiv,
            CipherName::XChaCha20Poly1305 => Self::XChaCha20Poly1305,
        }
    }
}

/// Commands on keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List the keys: number, kind, time, whether it is the one in use, label
    List {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Add a password or key file that opens the vault
    #[command(after_help = help::KEYS)]
    Add {
        /// The vault's folder
        vault: PathBuf,
        /// What to call it: one line of at most 48 bytes
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Remove a key that is not the one in use
    #[command(after_help = help::KEYS)]
    Remove {
        /// The vault's folder
        vault: PathBuf,
        /// The key's number, as `keys list` shows it
        #[arg(value_name = "NUMBER")]
        id: u32,
    },
    /// Put another secret in the place of a key: change a password
    #[command(after_help = help::KEYS)]
    Replace {
        /// The vault's folder
        vault: PathBuf,
        /// The key's number, as `keys list` shows it [default: the one in use]
        #[arg(value_name = "NUMBER")]
        id: Option<u32>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Make the password in use cost more to guess
    #[command(after_help = help::KEYS)]
    Rewrap {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        costs: Costs,
    },
    /// Draw new keys and seal the whole state under them, in a new file
    ///
    /// The secret in use opens the vault afterwards, or the new one if one is given; it is not
    /// asked for. Nothing else does. Content keeps its keys, which the new ones protect.
    #[command(after_help = help::KEYS)]
    Rotate {
        /// The vault's folder
        vault: PathBuf,
        /// Lose the vault's other keys, which cannot be carried over
        #[arg(long)]
        drop_others: bool,
        /// What to call the key [default: what the one in use is called]
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Write a new key of 32 random bytes into a new file, for --key-file
    Generate {
        /// The file, which must not exist
        file: PathBuf,
    },
}
