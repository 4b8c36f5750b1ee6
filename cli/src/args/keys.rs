//! Key options, and the commands on keys.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use strongroom::keys::{Cipher, PasswordCosts};

use super::help;

/// Options that give the vault's key and control its opening.
#[derive(Debug, Args)]
pub(crate) struct Opening {
    /// Read the password from FILE, one line; - is standard input
    #[arg(long, global = true, value_name = "FILE", help_heading = "Opening the vault")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read a key of 32 bytes, or 64 hex digits, from FILE; - is standard input
    #[arg(long, global = true, value_name = "FILE", help_heading = "Opening the vault")]
    pub(crate) key_file: Option<PathBuf>,
    /// Largest memory in MiB that checking a password may use [default: 1024]
    #[arg(long, global = true, value_name = "N", help_heading = "Opening the vault")]
    pub(crate) password_memory_max_mib: Option<u32>,
    /// URL of the content's bucket and prefix, if outside the vault's folder
    #[arg(long, global = true, value_name = "URL", help_heading = "Opening the vault")]
    pub(crate) backend: Option<String>,
    /// Take over that store's content from another state or unclosed session
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) take_over: bool,
    /// Continue from an older state file that was restored; newer changes are lost
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) adopt: bool,
    /// Replace a damaged header with the backend's copy of the key set
    #[arg(long, global = true, help_heading = "Opening the vault")]
    pub(crate) restore_key_set: bool,
}

/// Source of a new secret.
#[derive(Debug, Args)]
pub(crate) struct NewSecret {
    /// Read the new password from FILE, one line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Read a new key (32 bytes or 64 hex digits) from FILE; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
}

/// Costs of one attempt at a new password. Each value is also the minimum.
#[derive(Debug, Args)]
pub(crate) struct Costs {
    /// Memory in MiB for one attempt at the password [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) memory_mib: Option<u32>,
    /// Passes over that memory [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) passes: Option<u32>,
    /// Parallel lanes [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) lanes: Option<u32>,
}

impl Costs {
    /// Returns whether any cost is given.
    pub(crate) fn is_given(&self) -> bool {
        self.memory_mib.is_some() || self.passes.is_some() || self.lanes.is_some()
    }

    /// Returns the costs for the engine, which validates them.
    pub(crate) fn costs(&self) -> PasswordCosts {
        let default = PasswordCosts::default();
        PasswordCosts {
            memory_kib: self.memory_mib.map_or(default.memory_kib, |mib| mib.saturating_mul(1024)),
            passes: self.passes.unwrap_or(default.passes),
            lanes: self.lanes.unwrap_or(default.lanes),
        }
    }
}

/// Names of the ciphers on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CipherName {
    /// Fast on processors with AES instructions
    #[value(name = "aes-256-gcm-siv")]
    Aes256GcmSiv,
    /// Equally fast on every processor
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
    /// List the keys: number, kind, time, whether it is in use, label
    List {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// Add a password or key file that opens the vault
    #[command(after_help = help::KEYS)]
    Add {
        /// Folder of the vault
        vault: PathBuf,
        /// Label of the key: one line of at most 48 bytes
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Remove a key that is not in use
    #[command(after_help = help::KEYS)]
    Remove {
        /// Folder of the vault
        vault: PathBuf,
        /// Number of the key, as `keys list` shows it
        #[arg(value_name = "NUMBER")]
        id: u32,
    },
    /// Replace the secret of a key, for example to change a password
    #[command(after_help = help::KEYS)]
    Replace {
        /// Folder of the vault
        vault: PathBuf,
        /// Number of the key, as `keys list` shows it [default: the key in use]
        #[arg(value_name = "NUMBER")]
        id: Option<u32>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Raise the cost of guessing the password in use
    #[command(after_help = help::KEYS)]
    Rewrap {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        costs: Costs,
    },
    /// Draw new keys and seal the whole state under them
    ///
    /// Afterwards only the secret in use opens the vault, or the new secret if one is given. The
    /// command does not ask for a new one. Content keeps its keys, which the new keys protect.
    #[command(after_help = help::KEYS)]
    Rotate {
        /// Folder of the vault
        vault: PathBuf,
        /// Remove the vault's other keys, which cannot be carried over
        #[arg(long)]
        drop_others: bool,
        /// Label of the key [default: the label of the key in use]
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        costs: Costs,
    },
    /// Write a new random key of 32 bytes into a new file
    Generate {
        /// Path of the new file; it must not exist
        file: PathBuf,
    },
}
