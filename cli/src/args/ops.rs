//! Commands on operations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use strongroom::operations::OperationState;

use super::help;
use super::units::duration;

/// Commands on operations.
#[derive(Debug, Subcommand)]
pub(crate) enum Ops {
    /// List the operations: id, state, progress, complete lanes, time of the last change, name
    #[command(after_help = help::OPS)]
    List {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        which: OperationFilter,
    },
    /// Show an operation with its lanes and their last checkpoints
    #[command(after_help = help::OPS)]
    Show {
        /// Folder of the vault
        vault: PathBuf,
        /// Id of the operation
        id: String,
        /// Print the data of the checkpoints as text or hex
        #[arg(long)]
        data: bool,
        /// Print all retained checkpoints of each lane, latest first
        #[arg(long)]
        history: bool,
    },
    /// Pause an operation: hosts that resume everything skip it until it is resumed by its id
    #[command(after_help = help::OPS)]
    Pause {
        /// Folder of the vault
        vault: PathBuf,
        /// Id of the operation
        id: String,
    },
    /// Cancel an operation permanently; records that it committed remain
    #[command(after_help = help::OPS)]
    Abandon {
        /// Folder of the vault
        vault: PathBuf,
        /// Id of the operation
        id: String,
    },
    /// Remove operations that ended long ago, and their checkpoints; their records remain
    #[command(after_help = help::OPS)]
    Expire {
        /// Folder of the vault
        vault: PathBuf,
        #[command(flatten)]
        expiry: Expiry,
    },
}

/// Selection of the listed operations.
#[derive(Debug, Args)]
pub(crate) struct OperationFilter {
    /// Only unfinished operations: id, state, progress, complete lanes, age, attempts, whether it
    /// can be resumed, reason, name
    #[arg(long)]
    pub(crate) unfinished: bool,
    /// Only operations in this state: initialized, running, recovering, paused, completed, failed
    /// or cancelled; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    pub(crate) states: Vec<OperationState>,
    /// Only operations after this id
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// At most N operations
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Selection of the operations to remove.
#[derive(Debug, Args)]
pub(crate) struct Expiry {
    /// Only operations whose last change is at least this old: 30d, 12h, 90m or 45s
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30d",
        value_parser = duration,
        allow_hyphen_values = true
    )]
    pub(crate) older_than: Duration,
    /// Also remove failed operations that have no attempt left
    #[arg(long)]
    pub(crate) exhausted: bool,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Ops {
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::List { vault, .. }
            | Self::Show { vault, .. }
            | Self::Pause { vault, .. }
            | Self::Abandon { vault, .. }
            | Self::Expire { vault, .. } => vault,
        }
    }
}

/// Parses the name of a state.
fn state(typed: &str) -> Result<OperationState, String> {
    let states = OperationState::ALL;
    states.into_iter().find(|state| state.to_string() == typed).ok_or_else(|| {
        format!("unknown state; the states are {}", states.map(|s| s.to_string()).join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_parsed_by_name() {
        for expected in OperationState::ALL {
            assert_eq!(state(&expected.to_string()), Ok(expected));
        }
        for bad in ["", "Running", "run", "finished"] {
            let error = state(bad).unwrap_err();
            assert!(error.ends_with("completed, failed, cancelled"), "{error}");
        }
    }
}
