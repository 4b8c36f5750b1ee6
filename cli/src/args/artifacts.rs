//! The commands on artifacts, and on the content store that they lie in.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use strongroom::artifacts::{ArtifactCursor, ArtifactUri, OnExisting};

use super::help;
use super::units::{When, bytes, when};

/// Commands on artifacts.
#[derive(Debug, Subcommand)]
pub(crate) enum Artifacts {
    /// Store a file as a version of an artifact, and print its URI
    #[command(after_help = help::ARTIFACTS)]
    Put {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        added: Added,
        /// The file; standard input, of any length, if it is absent or -
        file: Option<PathBuf>,
    },
    /// Print the bytes of an artifact, or write them to a file; exit code 3 if there is none
    #[command(after_help = help::ARTIFACTS)]
    Get {
        /// The vault's folder
        vault: PathBuf,
        /// The artifact's URI; without a version, the newest
        uri: ArtifactUri,
        /// A new file for it; standard output if it is absent or -
        file: Option<PathBuf>,
    },
    /// List all versions in order of their names: URI, length, time, tags
    #[command(after_help = help::ARTIFACTS)]
    Ls {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        whose: Whose,
    },
    /// Find versions, the newest first, and print where the next page begins
    #[command(after_help = help::ARTIFACTS)]
    Search {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        sought: Sought,
    },
    /// Change the tags of a version
    #[command(after_help = help::ARTIFACTS)]
    Tag {
        /// The vault's folder
        vault: PathBuf,
        /// The artifact's URI; without a version, the newest
        uri: ArtifactUri,
        #[command(flatten)]
        tagged: Tagged,
    },
    /// List the versions of an artifact, the newest first; exit code 3 if there is none
    #[command(after_help = help::ARTIFACTS)]
    Versions {
        /// The vault's folder
        vault: PathBuf,
        /// The artifact's URI; a version in it is left out of account
        uri: ArtifactUri,
    },
    /// Delete artifacts or versions, and print how many versions that were; `gc` frees their space
    #[command(after_help = help::ARTIFACTS)]
    Rm {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        removed: Removed,
    },
    /// Tell what artifacts come to, by spec and by type, and what they take
    #[command(after_help = help::ARTIFACTS)]
    Usage {
        /// The vault's folder
        vault: PathBuf,
    },
    /// Tell or set how much the content store may take
    #[command(after_help = help::ARTIFACTS)]
    Quota {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        amount: Amount,
    },
    /// Tell or set how long versions of a type are kept
    #[command(after_help = help::ARTIFACTS)]
    Retention {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        kept: Kept,
    },
    /// Delete the versions that have been kept as long as their type is
    #[command(after_help = help::ARTIFACTS)]
    Expire {
        /// The vault's folder
        vault: PathBuf,
        /// Tell what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the artifacts of a spec into a ZIP archive, with what is told of them as JSON
    #[command(after_help = help::ARTIFACTS)]
    Export {
        /// The vault's folder
        vault: PathBuf,
        /// Those of this spec
        #[arg(long)]
        spec: String,
        /// Only those of this task of it
        #[arg(long)]
        task: Option<String>,
        /// A new file for the archive; standard output if it is absent or -
        file: Option<PathBuf>,
    },
    /// Read artifacts and compare their checksums, past what is damaged; exit code 1 if any is
    #[command(after_help = help::ARTIFACTS)]
    Verify {
        /// The vault's folder
        vault: PathBuf,
        /// One artifact's URI; without it, all of them, or those of --spec
        #[arg(conflicts_with_all = ["spec", "task"])]
        uri: Option<ArtifactUri>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Free the space of what was deleted; exit code 1 if something could not be read
    #[command(after_help = help::ARTIFACTS)]
    Gc {
        /// The vault's folder
        vault: PathBuf,
        /// Tell what would be freed, and free nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// A version to be.
#[derive(Debug, Args)]
pub(crate) struct Added {
    /// What was specified: 1 to 128 bytes of text
    #[arg(long)]
    pub(crate) spec: String,
    /// Which task of it
    #[arg(long)]
    pub(crate) task: String,
    /// What type of thing it is: diff, log, test, or any other
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: String,
    /// Add a tag; up to 64
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Its MIME type
    #[arg(long)]
    pub(crate) mime: Option<String>,
    /// Add a pair for your own use
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// What to do if the artifact has a version already [default: add]
    #[arg(long, value_name = "HOW")]
    pub(crate) on_existing: Option<Existing>,
}

/// What a put does where there is a version already, by its name on the command line.
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

/// Artifacts by the beginning of their names.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Only those of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only those of this task of it
    #[arg(long, requires = "spec")]
    pub(crate) task: Option<String>,
}

/// What a search looks for, and which page of it.
#[derive(Debug, Args)]
pub(crate) struct Sought {
    /// Only those of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only those of this task, of whatever spec
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only those with this tag; given more than once, with all of these
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only those put then or later: 2026-11-22, 2026-11-22T04:21:44Z or '7d ago'
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) since: Option<When>,
    /// Only those put before then
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) until: Option<When>,
    /// At most so many, 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Go on where a page ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<ArtifactCursor>,
}

/// What becomes of the tags of a version.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Tagged {
    /// Add a tag
    #[arg(long, value_name = "TAG")]
    pub(crate) add: Vec<String>,
    /// Take a tag away
    #[arg(long, value_name = "TAG")]
    pub(crate) remove: Vec<String>,
    /// Have just these tags, or none; everything up to the next option is one
    #[arg(long, value_name = "TAG", num_args = 0.., conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Option<Vec<String>>,
}

/// What is deleted.
#[derive(Debug, Args)]
pub(crate) struct Removed {
    /// The artifact's URI; with a version, that one alone
    #[arg(required_unless_present = "spec", conflicts_with_all = ["spec", "task"])]
    pub(crate) uri: Option<ArtifactUri>,
    /// All artifacts of this spec
    #[arg(long)]
    pub(crate) spec: Option<String>,
    /// Only those of this task of it
    #[arg(long, requires = "spec")]
    pub(crate) task: Option<String>,
    /// Keep the newest N versions of each artifact
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<NonZeroUsize>,
}

/// How much the store may take.
#[derive(Debug, Args)]
pub(crate) struct Amount {
    /// So many bytes, as stored: 500M, 20G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) set: Option<u64>,
    /// From how much of it on puts warn, in percent [default: 80]
    #[arg(long, value_name = "PERCENT", requires = "set")]
    pub(crate) warn: Option<u8>,
    /// As much as there is
    #[arg(long, conflicts_with = "set")]
    pub(crate) none: bool,
}

/// How long versions of a type are kept.
#[derive(Debug, Args)]
pub(crate) struct Kept {
    /// The type
    #[arg(long = "type", value_name = "TYPE", requires = "how")]
    pub(crate) kind: Option<String>,
    /// So many days
    #[arg(long, value_name = "N", group = "how", requires = "kind")]
    pub(crate) days: Option<u32>,
    /// For ever
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

/// A key and its value.
fn pair(typed: &str) -> Result<(String, String), String> {
    match typed.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a key and a value are wanted, as branch=main".into()),
    }
}
