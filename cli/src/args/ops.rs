//! The commands on operations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use strongroom::OperationState;

use super::help;

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

/// A whole number of days, hours, minutes or seconds.
fn duration(typed: &str) -> Result<Duration, String> {
    const WANTED: &str = "a number with its unit is wanted, as 30d, 12h, 90m or 45s";
    let units = [('d', 24 * 60 * 60), ('h', 60 * 60), ('m', 60), ('s', 1)];
    let parted = units.iter().find_map(|&(unit, secs)| Some((typed.strip_suffix(unit)?, secs)));
    let (digits, secs) = parted.ok_or(WANTED)?;
    // `parse` takes a sign, too.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WANTED.into());
    }
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(secs));
    number.map(Duration::from_secs).ok_or_else(|| "it is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        let secs = |typed| duration(typed).map(|duration| duration.as_secs());
        let good = [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("45s", 45), ("0s", 0)];
        for (typed, expected) in good {
            assert_eq!(secs(typed), Ok(expected), "{typed}");
        }
        let bad = [
            "", "30", "0", "d", "-1d", "+1d", "1.5h", "1 d", "1D", "1M", "1w", "1d2h", "1µs", "١d",
        ];
        for bad in bad {
            assert!(secs(bad).unwrap_err().contains("as 30d"), "{bad}");
        }
        for long in ["18446744073709551616s", "213503982334602d", "99999999999999999999999d"] {
            assert_eq!(secs(long).unwrap_err(), "it is too long", "{long}");
        }
        assert_eq!(secs("213503982334601d"), Ok(213_503_982_334_601 * 86_400));
    }

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
