//! The state machine of an operation: its states, and which may follow which.
//!
//! The table is [`OperationState::may_become`]; ARCHITECTURE.md prints it. In words: an operation is
//! made known, runs, perhaps after a pause or a recovery, and is completed, fails or is cancelled;
//! what failed can be recovered once more.
//!
//! Pure: it knows no row, no clock and no handle. Every change of a state goes through
//! [`OperationState::step`], inside the transaction that makes it.

use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_format as format;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OperationState {
    /// Made known, and never begun.
    Initialized,
    /// Begun, and not ended. Whether anybody works on it is not said: after a crash nobody does,
    /// until it is resumed.
    Running,
    /// Resumed after a crash, a failure or a take-over, without a checkpoint since.
    Recovering,
    /// Laid aside; whoever resumes it goes on where it stood.
    Paused,
    /// All of its lanes are complete.
    Completed,
    /// Its work ended with an error; it can be resumed while attempts are left.
    Failed,
    /// Given up for good.
    Cancelled,
}

impl OperationState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Initialized,
        Self::Running,
        Self::Recovering,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing is left to do: it was completed or cancelled.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }

    /// Whether its owner, if it has one, may commit checkpoints.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Recovering)
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        use OperationState::{
            Cancelled, Completed, Failed, Initialized, Paused, Recovering, Running,
        };
        match self {
            Initialized => matches!(next, Running | Paused | Cancelled),
            Running => matches!(next, Paused | Completed | Failed | Cancelled | Recovering),
            // Again, if the process dies once more.
            Recovering => {
                matches!(next, Running | Paused | Completed | Failed | Cancelled | Recovering)
            }
            Paused => matches!(next, Running | Cancelled),
            Failed => matches!(next, Recovering | Paused | Cancelled),
            Completed | Cancelled => false,
        }
    }

    /// What follows when the operation is resumed; `None` if it cannot be.
    pub(crate) fn resumed(self) -> Option<Self> {
        match self {
            Self::Initialized | Self::Paused => Some(Self::Running),
            Self::Running | Self::Recovering | Self::Failed => Some(Self::Recovering),
            Self::Completed | Self::Cancelled => None,
        }
    }

    /// `Invalid` if `next` may not follow.
    pub(crate) fn step(self, operation: &'static str, next: Self) -> Result<()> {
        if self.may_become(next) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, operation)
            .with_reason(Reason::OperationStateForbids)
            .with_detail(format!("the operation is {self} and cannot become {next}")))
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Recovering => "recovering",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

impl From<format::OperationState> for OperationState {
    fn from(stored: format::OperationState) -> Self {
        match stored {
            format::OperationState::Initialized => Self::Initialized,
            format::OperationState::Running => Self::Running,
            format::OperationState::Recovering => Self::Recovering,
            format::OperationState::Paused => Self::Paused,
            format::OperationState::Completed => Self::Completed,
            format::OperationState::Failed => Self::Failed,
            format::OperationState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<OperationState> for format::OperationState {
    fn from(state: OperationState) -> Self {
        match state {
            OperationState::Initialized => Self::Initialized,
            OperationState::Running => Self::Running,
            OperationState::Recovering => Self::Recovering,
            OperationState::Paused => Self::Paused,
            OperationState::Completed => Self::Completed,
            OperationState::Failed => Self::Failed,
            OperationState::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_an_end_and_everything_else_can_be_ended() {
        for state in OperationState::ALL {
            for next in OperationState::ALL {
                assert!(!(state.is_finished() && state.may_become(next)), "{state} to {next}");
            }
            assert_eq!(state.may_become(OperationState::Cancelled), !state.is_finished());
            assert_eq!(state.resumed().is_some(), !state.is_finished());
            assert!(state.resumed().is_none_or(|next| state.may_become(next)));
            assert!(!state.may_become(OperationState::Initialized));
            assert_eq!(OperationState::from(format::OperationState::from(state)), state);
        }
    }

    #[test]
    fn a_step_that_the_machine_does_not_know_is_invalid_and_says_which() {
        let refused = OperationState::Paused.step("complete operation", OperationState::Completed);
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("is paused and cannot become completed"), "{error}");
    }
}
