//! The command line as clap reads it, and the help that it prints.
//!
//! Keys and values are taken as the bytes that the shell hands over, so they need not be UTF-8;
//! the names of namespaces and operations are text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  strongroom init notes.vault                              make a vault
  strongroom records put notes.vault people ada 1815       store a record
  strongroom records get notes.vault people ada            print it: 1815
  strongroom records put notes.vault files plan < plan.pdf store a file of any size
  strongroom records list notes.vault                      the namespaces
  strongroom records list notes.vault people               the keys of one
  strongroom check notes.vault --read-data                 is everything there and whole?

Exit codes:
  0  done                          6  conflict: read again, then retry
  1  check found problems          7  denied: permissions
  2  wrong usage or invalid input  8  no space left
  3  not found                     9  stored data is damaged
  4  already exists               10  storage unavailable, or outcome uncertain
  5  locked by another process    11  closed or cancelled
  12 any other error             141  standard output was closed by its reader

Environment:
  STRONGROOM_LOG  what to log to standard error, e.g. strongroom=debug; nothing by default";

const RECORDS_EXAMPLES: &str = "\
A namespace is an ordered set of records and is made by the first put. Keys have up to
1024 bytes, values up to 1 TiB.

Examples:
  strongroom records put v people ada 1815          a value on the command line
  date | strongroom records put v log today         a value from standard input
  strongroom records put v flags build -- --release -- ends the options
  strongroom records get v files plan > plan.pdf    the bytes as they were put
  strongroom records get v people ada --json        as a JSON document
  strongroom records list v                         the namespaces, and how many records each has
  strongroom records list v people --prefix a       keys that begin with a
  strongroom records list v people --after ada --limit 100    the next page
  strongroom records put v bin --hex-key 00ff x     a key that is not text
  strongroom records delete v people ada";

/// One vault for records, checkpoints and large content.
///
/// This is format 0: unsealed, for development only.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = EXAMPLES)]
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
}

/// The command families.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a vault in a new or empty folder
    Init {
        /// The folder; its parent exists
        vault: PathBuf,
    },
    /// Tell what a vault is and holds
    Info {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Check that everything in a vault is there and whole; exit code 1 if not
    Check {
        /// The vault's folder
        vault: PathBuf,
        /// Read all content and compare its checksums, not only its presence and length
        #[arg(long)]
        read_data: bool,
    },
    /// Put, get, list and delete records
    #[command(subcommand, after_help = RECORDS_EXAMPLES)]
    Records(Records),
    /// Look at operations, their lanes and checkpoints
    #[command(subcommand)]
    Ops(Ops),
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
    #[command(after_help = RECORDS_EXAMPLES)]
    Put {
        #[command(flatten)]
        address: Address,
        /// The value; standard input, of any length, if it is absent or -
        #[arg(allow_negative_numbers = true)]
        value: Option<OsString>,
    },
    /// Print the bytes of a value to standard output; exit code 3 if there is no such record
    #[command(after_help = RECORDS_EXAMPLES)]
    Get {
        #[command(flatten)]
        address: Address,
    },
    /// List the records of a namespace in key order, with their lengths; or all namespaces
    #[command(after_help = RECORDS_EXAMPLES)]
    List {
        /// The vault's folder
        vault: PathBuf,
        /// The namespace; without it, the namespaces are listed with their counts
        namespace: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Delete a record; exit code 3 if there is no such record
    #[command(after_help = RECORDS_EXAMPLES)]
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

/// Commands on operations.
#[derive(Debug, Subcommand)]
pub(crate) enum Ops {
    /// List the operations: id, state, progress, complete lanes, time of the last change
    List {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Show an operation with its lanes and their last checkpoints
    Show {
        /// The vault's folder
        vault: PathBuf,
        /// The operation's id
        id: String,
        /// Print the checkpoints' data, as text or hex, not only its length
        #[arg(long)]
        data: bool,
    },
}

impl Command {
    /// The vault that the command is about.
    pub(crate) fn vault(&self) -> &Path {
        match self {
            Self::Init { vault }
            | Self::Info { vault }
            | Self::Check { vault, .. }
            | Self::Records(Records::List { vault, .. })
            | Self::Ops(Ops::List { vault } | Ops::Show { vault, .. }) => vault,
            Self::Records(
                Records::Put { address, .. }
                | Records::Get { address }
                | Records::Delete { address },
            ) => &address.vault,
        }
    }
}
