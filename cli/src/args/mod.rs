//! The command line as clap reads it, and the help that it prints.
//!
//! Keys and values are taken as the bytes that the shell hands over, so they need not be UTF-8;
//! the names of namespaces and operations are text.

mod artifacts;
mod documents;
mod help;
mod keys;
mod ops;
mod units;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

pub(crate) use artifacts::{Added, Amount, Artifacts, Kept, Removed, Sought, Tagged, Whose};
pub(crate) use documents::{Documents, PartitionKey, PartitionPassword, Partitions, Place, Spaces};
pub(crate) use keys::{CipherName, Costs, Keys, NewSecret, Opening};
pub(crate) use ops::{Expiry, Ops, Which};

/// One encrypted vault for records, checkpoints and large content.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = help::EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Print one JSON document in place of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no warnings, notes or progress bars; errors still
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// How long to wait for a vault that another process has; 0 tries once [default: about 10]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

/// The command families.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a vault in a new or empty folder
    Init {
        /// The folder; its parent exists
        vault: PathBuf,
        /// What to seal it with, for its life [default: what suits this machine's processor]
        #[arg(long, value_name = "CIPHER")]
        cipher: Option<CipherName>,
        #[command(flatten)]
        costs: Costs,
    },
    /// Tell what a vault is and holds
    Info {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Check that everything in a vault is there and whole; exit code 1 if not
    Check {
        /// The vault's folder
        #[arg(required_unless_present = "store", conflicts_with = "store")]
        vault: Option<PathBuf>,
        /// The vault's state is lost: tell what the store of --backend holds of it
        #[arg(long, conflicts_with_all = ["read_data_part", "rebuild_index"])]
        store: bool,
        /// Read all content and compare its checksums, not only its presence and length
        #[arg(long)]
        read_data: bool,
        /// Read one part of the content, such as 1/7: as many checks, each of another part, read all
        #[arg(long, value_name = "PART/PARTS", value_parser = units::part, conflicts_with = "read_data")]
        read_data_part: Option<(u32, u32)>,
        /// First make the index of chunks anew, from the packs alone
        #[arg(long)]
        rebuild_index: bool,
    },
    /// Give space of the state file that nothing uses back to the file system
    Compact {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Put, get, list and delete records
    #[command(subcommand, after_help = help::RECORDS)]
    Records(Records),
    #[command(flatten)]
    Artifacts(Artifacts),
    /// Look at operations, their lanes and checkpoints; pause them, give them up, drop old ones
    #[command(subcommand, after_help = help::OPS)]
    Ops(Ops),
    /// Count the operations by state, their lanes and checkpoints
    Stats {
        /// The vault's folder
        vault: PathBuf,
    },
    /// List and change what opens the vault
    #[command(subcommand, after_help = help::KEYS)]
    Keys(Keys),
    /// Make the share space of a vault, in which documents lie, and look at it
    #[command(subcommand, after_help = help::SPACE)]
    Space(Spaces),
    /// Add, destroy and verify partitions, each with one document; change their passwords
    #[command(subcommand, after_help = help::PARTITION)]
    Partition(Partitions),
    /// Read and write a document
    #[command(subcommand, after_help = help::DOCUMENT)]
    Doc(Documents),
}

/// One record, by its place.
#[derive(Debug, clap::Args)]
pub(crate) struct Address {
    /// The vault's folder
    pub(crate) vault: PathBuf,
    /// The namespace: 1 to 128 bytes of text
    pub(crate) namespace: String,
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// KEY is in hex digits, for a key that is not text
    #[arg(long)]
    pub(crate) hex_key: bool,
}

/// Commands on records.
#[derive(Debug, Subcommand)]
pub(crate) enum Records {
    /// Store a record, in place of one of the same key
    #[command(after_help = help::RECORDS)]
    Put {
        #[command(flatten)]
        address: Address,
        /// The value; standard input, of any length, if it is absent or -
        #[arg(allow_negative_numbers = true)]
        value: Option<OsString>,
    },
    /// Print the bytes of a value to standard output; exit code 3 if there is no such record
    #[command(after_help = help::RECORDS)]
    Get {
        #[command(flatten)]
        address: Address,
    },
    /// List the records of a namespace in key order, with their lengths; or all namespaces
    #[command(after_help = help::RECORDS)]
    List {
        /// The vault's folder
        vault: PathBuf,
        /// The namespace; without it, the namespaces are listed with their counts
        namespace: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Delete a record; exit code 3 if there is no such record
    #[command(after_help = help::RECORDS)]
    Delete {
        #[command(flatten)]
        address: Address,
    },
}

/// Which records of a namespace, and in which order.
#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// Only keys that begin with this
    #[arg(long, requires = "namespace", value_name = "PREFIX")]
    pub(crate) prefix: Option<OsString>,
    /// Only keys that come after this one in the order of the listing
    #[arg(long, requires = "namespace", value_name = "KEY")]
    pub(crate) after: Option<OsString>,
    /// At most so many
    #[arg(long, requires = "namespace", value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// From the last key to the first
    #[arg(long, requires = "namespace")]
    pub(crate) reverse: bool,
    /// PREFIX and KEY are in hex digits
    #[arg(long, requires = "namespace")]
    pub(crate) hex_key: bool,
}

impl Command {
    /// What the command is about: the vault's folder, or the key file that it makes.
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
        }
    }
}
