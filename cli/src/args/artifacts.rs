//! Commands on artifacts and on the content store that holds them.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use strongroom::artifacts::{ArtifactCursor, ArtifactUri, OnExisting};

use super::help;
use super::units::{When, bytes, when};

/// Commands on artifacts.
#[derive(Debug, Subcommand)]
pub(crate) enum Artifacts {
    /// Store a file as a new artifact version, and print its URI
    #[command(after_help = help::ARTIFACTS)]
    Put {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        added: NewVersion,
        /// File to store; standard input, of any length, if absent or -
        file: Option<PathBuf>,
    },
    /// Print the bytes of an artifact, or write them to a file; exit code 3 if it does not exist
    #[command(after_help = help::ARTIFACTS)]
    Get {
        /// Folder of the vault
        vault: PathBuf,
        /// URI of the artifact; without a version, the newest
        uri: ArtifactUri,
        /// New file for the bytes; standard output if absent or -
        file: Option<PathBuf>,
    },
    /// List all versions, ordered by artifact name; prints URI, length, time and tags
    #[command(after_help = help::ARTIFACTS)]
    Ls {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        filter: ArtifactFilter,
    },
    /// Find versions, newest first, and print the cursor of the next page
    #[command(after_help = help::ARTIFACTS)]
    Search {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        options: SearchOptions,
    },
    /// Change the tags of a version
    #[command(after_help = help::ARTIFACTS)]
    Tag {
        /// Folder of the vault
        vault: PathBuf,
        /// URI of the artifact; without a version, the newest
        uri: ArtifactUri,
        #[command(flatten)]
        tagged: TagOptions,
    },
    /// List the versions of an artifact, newest first; exit code 3 if there is none
    #[command(after_help = help::ARTIFACTS)]
    Versions {
        /// Folder of the vault
        vault: PathBuf,
        /// URI of the artifact; a version in it is ignored
        uri: ArtifactUri,
    },
    /// Delete artifacts or versions, and print the number of deleted versions; `gc` frees their
    /// space
    #[command(after_help = help::ARTIFACTS)]
    Rm {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        removed: DeleteOptions,
    },
    /// Print the number, size and stored space of artifacts by spec and type
    #[command(after_help = help::ARTIFACTS)]
    Usage {
        /// Folder of the vault
        vault: PathBuf,
    },
    /// Print or set the quota of the content store
    #[command(after_help = help::ARTIFACTS)]
    Quota {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        amount: QuotaOptions,
    },
    /// Print or set how long versions of a type are kept
    #[command(after_help = help::ARTIFACTS)]
    Retention {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        kept: RetentionOptions,
    },
    /// Delete the versions whose retention time is over
    #[command(after_help = help::ARTIFACTS)]
    Expire {
        /// Folder of the vault
        vault: PathBuf,
        /// Print what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write a spec's artifacts and their JSON metadata into a ZIP archive
    #[command(after_help = help::ARTIFACTS)]
    Export {
        /// Folder of the vault
        vault: PathBuf,
        /// Spec of the artifacts
        #[arg(long)]
        spec: String,
        /// Only artifacts of this task of the spec
        #[arg(long)]
        task: Option<String>,
        /// New file for the archive; standard output if absent or -
        file: Option<PathBuf>,
    },
    /// Read artifacts and compare their checksums, without stopping at damage; exit code 1 if any
    /// is damaged
    #[command(after_help = help::ARTIFACTS)]
    Verify {
        /// Folder of the vault
        vault: PathBuf,
        /// URI of one artifact; without it, all artifacts, or those of --spec
        #[arg(conflicts_with_all = ["spec", "task"])]
        uri: Option<ArtifactUri>,
        #[command(flatten)]
        filter: ArtifactFilter,
    },
    /// Free the space of deleted content; exit code 1 if something could not be read
    #[command(after_help = help::ARTIFACTS)]
    Gc {
        /// Folder of the vault
        vault: PathBuf,
        /// Print what would be freed, and free nothing
        #[arg(long)]
        dry_run: bool,
        /// Also free unused packs that `check --rebuild-index` found without rows
        ///
        /// If a newer state file of this vault exists, content that it refers to may be lost.
        #[arg(long)]
        discard_unknown: bool,
    },
}

/// Name and metadata of a new version.
#[derive(Debug, Args)]
pub(crate) struct NewVersion {
    /// Spec that the artifact belongs to: 1 to 128 bytes of text
    #[arg(long)]
    pub(crate) spec: String,
    /// Task within the spec
    #[arg(long)]
    pub(crate) task: String,
    /// Type of the artifact: diff, log, test, or any other name
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: String,
    /// Tag of the version; up to 64 tags
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// MIME type
    #[arg(long)]
    pub(crate) mime: Option<String>,
    /// Pair of metadata for your own use
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Action if the artifact already has a version [default: add]
    #[arg(long, value_name = "HOW")]
    pub(crate) on_existing: Option<Existing>,
}

/// Action of a put if the artifact already has a version.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Existing {
    /// Add another version
    Add,
    /// Add a version, and delete all others
    Replace,
    /// Change nothing; exit code 4
    Refuse,
}

impl From<Existing> for OnExisting {
    fn from(existing: Existing) -> Self {
        match existing {
            Existing::Add => Self::AddVersion,
            Existing::Replace => Self::Replace,
            Existing::Refuse => Self::Refuse,
        }
    }
}

/// Selection of artifacts by spec and task.
#[derive(Debug, Args)]
pub(crate) struct ArtifactFilter {
    /// Only artifacts of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only artifacts of this task of the spec
    #[arg(long, requires = "spec")]
    pub(crate) task: Option<String>,
}

/// Filters and page of a search.
#[derive(Debug, Args)]
pub(crate) struct SearchOptions {
    /// Only artifacts of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only artifacts of this task, of any spec
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Only artifacts of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only versions with this tag; if given several times, with all of these tags
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only versions put at this time or later: 2026-11-22, 2026-11-22T04:21:44Z or '7d ago'
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) since: Option<When>,
    /// Only versions put before this time
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) until: Option<When>,
    /// At most this many versions, 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Continue after the end of a page
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<ArtifactCursor>,
}

/// Changes to the tags of a version.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct TagOptions {
    /// Add a tag
    #[arg(long, value_name = "TAG")]
    pub(crate) add: Vec<String>,
    /// Remove a tag
    #[arg(long, value_name = "TAG")]
    pub(crate) remove: Vec<String>,
    /// Replace all tags by these, or by none; takes every argument up to the next option
    #[arg(long, value_name = "TAG", num_args = 0.., conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Option<Vec<String>>,
}

/// Selection of the versions to delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteOptions {
    /// URI of the artifact; with a version, only that version
    #[arg(required_unless_present = "spec", conflicts_with_all = ["spec", "task"])]
    pub(crate) uri: Option<ArtifactUri>,
    /// All artifacts of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only artifacts of this task of the spec
    #[arg(long, requires = "spec")]
    pub(crate) task: Option<String>,
    /// Keep the newest N versions of each artifact
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<NonZeroUsize>,
}

/// New quota of the store.
#[derive(Debug, Args)]
pub(crate) struct QuotaOptions {
    /// Quota for the bytes as stored, for example 500M or 20G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) set: Option<u64>,
    /// Warn after each put once this percentage of the quota is used [default: 80]
    #[arg(long, value_name = "PERCENT", requires = "set")]
    pub(crate) warn: Option<u8>,
    /// Remove the quota
    #[arg(long, conflicts_with = "set")]
    pub(crate) none: bool,
}

/// Retention of a type.
#[derive(Debug, Args)]
pub(crate) struct RetentionOptions {
    /// Type of the artifacts
    #[arg(long = "type", value_name = "TYPE", requires = "how")]
    pub(crate) kind: Option<String>,
    /// Number of days
    #[arg(long, value_name = "N", group = "how", requires = "kind")]
    pub(crate) days: Option<u32>,
    /// Never expire
    #[arg(long, group = "how", requires = "kind")]
    pub(crate) forever: bool,
}

impl Artifacts {
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Put { vault, .. }
            | Self::Get { vault, .. }
            | Self::Ls { vault, .. }
            | Self::Search { vault, .. }
            | Self::Tag { vault, .. }
            | Self::Versions { vault, .. }
            | Self::Rm { vault, .. }
            | Self::Usage { vault }
            | Self::Quota { vault, .. }
            | Self::Retention { vault, .. }
            | Self::Expire { vault, .. }
            | Self::Export { vault, .. }
            | Self::Verify { vault, .. }
            | Self::Gc { vault, .. } => vault,
        }
    }
}

/// Parses `KEY=VALUE`.
fn pair(typed: &str) -> Result<(String, String), String> {
    match typed.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not a pair such as branch=main".into()),
    }
}
