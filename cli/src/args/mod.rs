//! The command line as clap parses it, and its help.
//!
//! Keys and values are taken as the bytes that the shell passes, so they need not be UTF-8. The
//! names of namespaces and operations are text.

mod artifacts;
mod documents;
mod help;
mod keys;
mod ops;
mod units;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use artifacts::{
    ArtifactFilter, Artifacts, DeleteOptions, NewVersion, QuotaOptions, RetentionOptions,
    SearchOptions, TagOptions,
};
pub(crate) use documents::{
    Documents, PartitionKey, PartitionOptions, PartitionPassword, Partitions, Spaces,
};
pub(crate) use keys::{CipherName, Costs, Keys, NewSecret, Opening};
pub(crate) use ops::{Expiry, OperationFilter, Ops};

/// One encrypted vault for records, checkpoints and large content.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = help::EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no warnings, notes or progress bars, only errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Seconds to wait for a vault that another process has open; 0 tries once [default: about 10]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

/// Command families.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a vault in a new or empty folder
    Init {
        /// Folder to create; its parent must exist
        vault: PathBuf,
        /// Cipher of the vault, fixed for its life [default: the faster one on this machine's
        /// processor]
        #[arg(long, value_name = "CIPHER")]
        cipher: Option<CipherName>,
        #[command(flatten)]
        costs: Costs,
    },
    /// Print the properties and counts of a vault
    Info {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// Check that everything in a vault is present and sound; exit code 1 if not
    Check {
        /// Folder of the vault
        #[arg(required_unless_present = "store", conflicts_with = "store")]
        vault: Option<PathBuf>,
        /// For a lost state: print what the store of --backend holds of the vault
        #[arg(long, conflicts_with_all = ["read_data_part", "rebuild_index"])]
        store: bool,
        /// Read all content and compare its checksums
        #[arg(long)]
        read_data: bool,
        /// Read one part of the content, such as 1/7; seven checks with 1/7 to 7/7 read all of it
        #[arg(long, value_name = "PART/PARTS", value_parser = units::part, conflicts_with = "read_data")]
        read_data_part: Option<(u32, u32)>,
        /// Rebuild the chunk index from the packs first
        #[arg(long)]
        rebuild_index: bool,
    },
    /// Return unused space of the state file to the file system
    Compact {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// Put, get, list and delete records
    #[command(subcommand, after_help = help::RECORDS)]
    Records(Records),
    #[command(flatten)]
    Artifacts(Artifacts),
    /// List, show, pause, abandon and expire operations
    #[command(subcommand, after_help = help::OPS)]
    Ops(Ops),
    /// Count the operations by state, and their lanes and checkpoints
    Stats {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// List and change the keys that open the vault
    #[command(subcommand, after_help = help::KEYS)]
    Keys(Keys),
    /// Create and inspect the share space, which holds the documents
    #[command(subcommand, after_help = help::SPACE)]
    Space(Spaces),
    /// Add, destroy and verify partitions of one document; change their passwords
    #[command(subcommand, after_help = help::PARTITION)]
    Partition(Partitions),
    /// Read and write a document
    #[command(subcommand, after_help = help::DOCUMENT)]
    Doc(Documents),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Name of the shell
        shell: Shell,
    },
    /// Write a manual page for every command into a folder
    #[command(after_help = help::MAN)]
    Man {
        /// Folder of the pages; created if it is missing
        folder: PathBuf,
    },
}

/// Address of one record.
#[derive(Debug, clap::Args)]
pub(crate) struct Address {
    /// Folder of the vault
    pub(crate) vault: PathBuf,
    /// Namespace: 1 to 128 bytes of text
    pub(crate) namespace: String,
    /// Key
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// KEY is given in hex digits, for keys that are not text
    #[arg(long)]
    pub(crate) hex_key: bool,
}

/// Commands on records.
#[derive(Debug, Subcommand)]
pub(crate) enum Records {
    /// Store a record; it replaces a record of the same key
    #[command(after_help = help::RECORDS)]
    Put {
        #[command(flatten)]
        address: Address,
        /// Value; standard input, of any length, if absent or -
        #[arg(allow_negative_numbers = true)]
        value: Option<OsString>,
        /// Store an empty value; without this option an empty value is refused
        #[arg(long, conflicts_with = "value")]
        empty: bool,
    },
    /// Print the bytes of a value to standard output; exit code 3 if the record does not exist
    #[command(after_help = help::RECORDS)]
    Get {
        #[command(flatten)]
        address: Address,
    },
    /// List a namespace's records in key order, or list all namespaces
    #[command(after_help = help::RECORDS)]
    List {
        /// Folder of the vault
        vault: PathBuf,
        /// Namespace; without it, the namespaces are listed with their counts
        namespace: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Delete a record; exit code 3 if it does not exist
    #[command(after_help = help::RECORDS)]
    Delete {
        #[command(flatten)]
        address: Address,
    },
}

/// Range and order of the listed records.
#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// Only keys that begin with PREFIX
    #[arg(long, requires = "namespace", value_name = "PREFIX")]
    pub(crate) prefix: Option<OsString>,
    /// Only keys that come after KEY in the order of the listing
    #[arg(long, requires = "namespace", value_name = "KEY")]
    pub(crate) after: Option<OsString>,
    /// At most N records
    #[arg(long, requires = "namespace", value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// From the last key to the first
    #[arg(long, requires = "namespace")]
    pub(crate) reverse: bool,
    /// PREFIX and KEY are given in hex digits
    #[arg(long, requires = "namespace")]
    pub(crate) hex_key: bool,
}

impl Command {
    /// Returns the path that the command works on: a vault's folder, or the files that it writes.
    pub(crate) fn subject(&self) -> &Path {
        match self {
            Self::Init { vault, .. }
            | Self::Info { vault }
            | Self::Compact { vault }
            | Self::Stats { vault }
            | Self::Records(Records::List { vault, .. })
            | Self::Keys(
                Keys::List { vault }
                | Keys::Add { vault, .. }
                | Keys::Remove { vault, .. }
                | Keys::Replace { vault, .. }
                | Keys::Rewrap { vault, .. }
                | Keys::Rotate { vault, .. }
                | Keys::Generate { file: vault },
            ) => vault,
            Self::Check { vault, .. } => vault.as_deref().unwrap_or(Path::new("the store")),
            Self::Records(
                Records::Put { address, .. }
                | Records::Get { address }
                | Records::Delete { address },
            ) => &address.vault,
            Self::Artifacts(command) => command.vault(),
            Self::Ops(command) => command.vault(),
            Self::Space(command) => command.vault(),
            Self::Partition(command) => command.vault(),
            Self::Doc(command) => command.vault(),
            Self::Completions { .. } => Path::new("standard output"),
            Self::Man { folder } => folder,
        }
    }
}
