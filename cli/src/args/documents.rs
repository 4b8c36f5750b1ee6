//! The commands on the share space, its partitions and their documents.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use strongroom::documents::DocumentVersion;

use super::{Costs, help, units};
use crate::secret::KeyArgument;

/// Commands on the share space.
#[derive(Debug, Subcommand)]
pub(crate) enum Spaces {
    /// Make the vault's share space, of fixed size and for its life
    #[command(after_help = help::SPACE)]
    Create {
        /// The vault's folder
        vault: PathBuf,
        /// How long a document may be once it is compressed: 1K to 4M [default: 64K]
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        capacity: Option<u32>,
        /// How many shares restore a piece of a document [default: 3]
        #[arg(long, value_name = "N")]
        threshold: Option<u8>,
        /// How many shares of a piece are stored, at most 32 [default: 9]
        #[arg(long, value_name = "N")]
        shares: Option<u8>,
        /// How many partitions' room it has, 3 to 12; more room, less harm to those not named
        /// [default: 3]
        #[arg(long, value_name = "PARTITIONS")]
        room_for: Option<u8>,
        #[command(flatten)]
        costs: Costs,
    },
    /// Tell what the share space is; nothing of it depends on what it holds
    #[command(after_help = help::SPACE)]
    Info {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Take back an update that was interrupted; exit code 3 if there is none
    #[command(after_help = help::SPACE)]
    Discard {
        /// The vault's folder
        vault: PathBuf,
    },
}

/// One partition, and what opens it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The vault's folder
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) key: PartitionKey,
    #[command(flatten)]
    pub(crate) password: PartitionPassword,
}

/// How a partition's key is given.
#[derive(Debug, Args)]
pub(crate) struct PartitionKey {
    /// The partition's key, or @FILE with it on one line [default: `STRONGROOM_PARTITION_KEY`]
    #[arg(long, value_name = "KEY", help_heading = "Opening the partition")]
    pub(crate) key: Option<KeyArgument>,
}

/// How a partition's password is given.
#[derive(Debug, Args)]
pub(crate) struct PartitionPassword {
    /// Read the partition's password from FILE, one line; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Opening the partition")]
    pub(crate) partition_password_file: Option<PathBuf>,
}

/// Commands on partitions.
#[derive(Debug, Subcommand)]
pub(crate) enum Partitions {
    /// Add a partition with the document `null`, and print its key, once
    #[command(after_help = help::PARTITION)]
    Add {
        /// The vault's folder
        vault: PathBuf,
        /// A partition's key, or @FILE with it, to keep that partition whole; once for each
        #[arg(long, value_name = "KEY")]
        keep: Vec<KeyArgument>,
        /// Add it although partitions that --keep does not name are lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        password: PartitionPassword,
    },
    /// Destroy a partition and its document; the key is enough
    #[command(after_help = help::PARTITION)]
    Destroy {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        key: PartitionKey,
    },
    /// Change a partition's password
    #[command(after_help = help::PARTITION)]
    Password {
        #[command(flatten)]
        place: Place,
        /// Read the new password from FILE, one line; - is standard input
        #[arg(long, value_name = "FILE")]
        new_partition_password_file: Option<PathBuf>,
    },
    /// Look at every share of a partition; exit code 1 if any is damaged
    #[command(after_help = help::PARTITION)]
    Verify {
        #[command(flatten)]
        place: Place,
    },
}

/// Commands on documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Documents {
    /// Print a document, byte for byte
    #[command(after_help = help::DOCUMENT)]
    Read {
        #[command(flatten)]
        place: Place,
        /// A new file for it; standard output if it is absent or -
        file: Option<PathBuf>,
    },
    /// Write a document, JSON of at most 64 MiB, and print its new version
    #[command(after_help = help::DOCUMENT)]
    Write {
        #[command(flatten)]
        place: Place,
        /// The file with it; standard input if it is absent or -
        file: Option<PathBuf>,
        /// Only if this version is there; else exit code 6
        #[arg(long, value_name = "VERSION")]
        expect: Option<DocumentVersion>,
        /// Only go on with an interrupted write of this very text
        #[arg(long)]
        resume: bool,
    },
    /// Tell what a write would do, and do nothing
    #[command(after_help = help::DOCUMENT)]
    Plan {
        #[command(flatten)]
        place: Place,
        /// The file with it; standard input if it is absent or -
        file: Option<PathBuf>,
    },
    /// Write the same text anew, so that nothing of it is damaged
    #[command(after_help = help::DOCUMENT)]
    Heal {
        #[command(flatten)]
        place: Place,
    },
}

impl Spaces {
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Create { vault, .. } | Self::Info { vault } | Self::Discard { vault } => vault,
        }
    }
}

impl Partitions {
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Add { vault, .. } | Self::Destroy { vault, .. } => vault,
            Self::Password { place, .. } | Self::Verify { place } => &place.vault,
        }
    }
}

impl Documents {
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Read { place, .. }
            | Self::Write { place, .. }
            | Self::Plan { place, .. }
            | Self::Heal { place } => &place.vault,
        }
    }
}

/// A number of bytes of what is small.
fn bytes(typed: &str) -> Result<u32, String> {
    units::bytes(typed)?.try_into().map_err(|_| "it is too large".into())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_counted_in_units_or_not() {
        for (typed, expected) in [("1024", 1_024), ("64K", 65_536), ("4m", 4 << 20), ("0", 0)] {
            assert_eq!(bytes(typed), Ok(expected), "{typed}");
        }
        for bad in ["", "K", "+1", "-1", "1 K", "1KiB", "1.5M", "4G", "4096M", "99999999999"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
