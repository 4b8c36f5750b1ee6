//! The commands on operations.

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
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Show an operation with its lanes and their last checkpoints
    #[command(after_help = help::OPS)]
    Show {
        /// The vault's folder
        vault: PathBuf,
        /// The operation's id
        id: String,
        /// Print the checkpoints' data, as text or hex, not only its length
        #[arg(long)]
        data: bool,
        /// Print all checkpoints that are kept of each lane, the latest first
        #[arg(long)]
        history: bool,
    },
    /// Lay an operation aside: a host that resumes everything leaves it, until it resumes it by id
    #[command(after_help = help::OPS)]
    Pause {
        /// The vault's folder
        vault: PathBuf,
        /// The operation's id
        id: String,
    },
    /// Give an operation up for good: it cannot be resumed; what it has committed stays
    #[command(after_help = help::OPS)]
    Abandon {
        /// The vault's folder
        vault: PathBuf,
        /// The operation's id
        id: String,
    },
    /// Drop operations that ended long ago, with their checkpoints; the records they wrote stay
    #[command(after_help = help::OPS)]
    Expire {
        /// The vault's folder
        vault: PathBuf,
        #[command(flatten)]
        expiry: Expiry,
    },
}

/// Which operations are listed.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only those that are not finished: id, state, progress, complete lanes, age, attempts,
    /// whether it can be resumed, why or why not, name
    #[arg(long)]
    pub(crate) unfinished: bool,
    /// Only those in this state: initialized, running, recovering, paused, completed, failed or
    /// cancelled; given more than once, in any of these
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    pub(crate) states: Vec<OperationState>,
    /// Only those that come after this one
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Which operations are dropped.
#[derive(Debug, Args)]
pub(crate) struct Expiry {
    /// Only those whose last change is at least so long ago, as 30d, 12h, 90m or 45s
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30d",
        value_parser = duration,
        allow_hyphen_values = true
    )]
    pub(crate) older_than: Duration,
    /// Not only what was completed or cancelled: also what failed and has no attempt left
    #[arg(long)]
    pub(crate) exhausted: bool,
    /// Tell what would be dropped, and drop nothing
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

/// A state by its name.
fn state(typed: &str) -> Result<OperationState, String> {
    let states = OperationState::ALL;
    states.into_iter().find(|state| state.to_string() == typed).ok_or_else(|| {
        format!("there is no such state; it is one of {}", states.map(|s| s.to_string()).join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_name() {
        for expected in OperationState::ALL {
            assert_eq!(state(&expected.to_string()), Ok(expected));
        }
        for bad in ["", "Running", "run", "finished"] {
            let told = state(bad).unwrap_err();
            assert!(told.ends_with("completed, failed, cancelled"), "{told}");
        }
    }
}
