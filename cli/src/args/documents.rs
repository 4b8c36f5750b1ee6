//! Commands on the share space, its partitions and their documents.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use strongroom::documents::DocumentVersion;

use super::{Costs, help, units};
use crate::secret::KeyArgument;

/// Commands on the share space.
#[derive(Debug, Subcommand)]
pub(crate) enum Spaces {
    /// Create the vault's share space, whose size never changes
    #[command(after_help = help::SPACE)]
    Create {
        /// Folder of the vault
        vault: PathBuf,
        /// Longest document after compression, in bytes: 1K to 4M [default: 64K]
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        capacity: Option<u32>,
        /// Shares that restore one piece of a document [default: 3]
        #[arg(long, value_name = "N")]
        threshold: Option<u8>,
        /// Shares stored of each piece, at most 32 [default: 9]
        #[arg(long, value_name = "N")]
        shares: Option<u8>,
        /// Partitions that the space has room for, 3 to 12; more room lowers the risk to partitions
        /// that are not named [default: 3]
        #[arg(long, value_name = "PARTITIONS")]
        room_for: Option<u8>,
        #[command(flatten)]
        costs: Costs,
    },
    /// Print the size and limits of the share space; they do not depend on its contents
    #[command(after_help = help::SPACE)]
    Info {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// Undo an interrupted update; exit code 3 if there is none
    #[command(after_help = help::SPACE)]
    Discard {
        /// Folder of the vault
        vault: PathBuf,
    },
}

/// One partition, and the secrets that open it.
#[derive(Debug, Args)]
pub(crate) struct PartitionOptions {
    /// Folder of the vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) key: PartitionKey,
    #[command(flatten)]
    pub(crate) password: PartitionPassword,
}

/// Source of a partition's key.
#[derive(Debug, Args)]
pub(crate) struct PartitionKey {
    /// Partition key, or @FILE with the key on one line [default: `STRONGROOM_PARTITION_KEY`]
    #[arg(long, value_name = "KEY", help_heading = "Opening the partition")]
    pub(crate) key: Option<KeyArgument>,
}

/// Source of a partition's password.
#[derive(Debug, Args)]
pub(crate) struct PartitionPassword {
    /// Read the partition's password from FILE, one line; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Opening the partition")]
    pub(crate) partition_password_file: Option<PathBuf>,
}

/// Commands on partitions.
#[derive(Debug, Subcommand)]
pub(crate) enum Partitions {
    /// Add a partition with the document `null`, and print its key once
    #[command(after_help = help::PARTITION)]
    Add {
        /// Folder of the vault
        vault: PathBuf,
        /// Key of a partition to preserve, or @FILE with the key; repeat for each partition
        #[arg(long, value_name = "KEY")]
        keep: Vec<KeyArgument>,
        /// Add the partition even if partitions without --keep may be lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        password: PartitionPassword,
    },
    /// Destroy a partition and its document; needs only the key
    #[command(after_help = help::PARTITION)]
    Destroy {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        key: PartitionKey,
    },
    /// Change a partition's password
    #[command(after_help = help::PARTITION)]
    Password {
        #[command(flatten)]
        place: PartitionOptions,
        /// Read the new password from FILE, one line; - is standard input
        #[arg(long, value_name = "FILE")]
        new_partition_password_file: Option<PathBuf>,
    },
    /// Check every share of a partition; exit code 1 if any is damaged
    #[command(after_help = help::PARTITION)]
    Verify {
        #[command(flatten)]
        place: PartitionOptions,
    },
}

/// Commands on documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Documents {
    /// Print a document, byte for byte
    #[command(after_help = help::DOCUMENT)]
    Read {
        #[command(flatten)]
        place: PartitionOptions,
        /// New file for the document; standard output if absent or -
        file: Option<PathBuf>,
    },
    /// Write a JSON document (at most 64 MiB), and print its new version
    #[command(after_help = help::DOCUMENT)]
    Write {
        #[command(flatten)]
        place: PartitionOptions,
        /// File with the document; standard input if absent or -
        file: Option<PathBuf>,
        /// Write only if the document has this version; otherwise exit code 6
        #[arg(long, value_name = "VERSION")]
        expect: Option<DocumentVersion>,
        /// Only continue an interrupted write of the same text
        #[arg(long)]
        resume: bool,
    },
    /// Print what a write would change, and change nothing
    #[command(after_help = help::DOCUMENT)]
    Plan {
        #[command(flatten)]
        place: PartitionOptions,
        /// File with the document; standard input if absent or -
        file: Option<PathBuf>,
    },
    /// Write the same text again, which repairs damaged shares
    #[command(after_help = help::DOCUMENT)]
    Heal {
        #[command(flatten)]
        place: PartitionOptions,
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

/// Parses a number of bytes that fits into 32 bits.
fn bytes(typed: &str) -> Result<u32, String> {
    units::bytes(typed)?.try_into().map_err(|_| "the number is too large".into())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn size_accepts_optional_unit() {
        for (typed, expected) in [("1024", 1_024), ("64K", 65_536), ("4m", 4 << 20), ("0", 0)] {
            assert_eq!(bytes(typed), Ok(expected), "{typed}");
        }
        for bad in ["", "K", "+1", "-1", "1 K", "1KiB", "1.5M", "4G", "4096M", "99999999999"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
