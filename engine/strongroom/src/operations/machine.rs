//! The state machine of an operation: its states and transitions.
//!
//! [`OperationState::may_become`] is the transition table; ARCHITECTURE.md prints it. An operation
//! is registered and runs, perhaps with pauses and recoveries. Then it is completed, fails or is
//! cancelled. A failed operation can be resumed again.
//!
//! This module is pure: it knows no row, no clock and no handle. Every transition goes through
//! [`OperationState::step`], inside the transaction that makes it.

use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_format as format;

/// State of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OperationState {
    /// Registered, but never begun.
    Initialized,
    /// Begun and not ended.
    ///
    /// The state does not say whether a process works on the operation. After a crash none does,
    /// until the operation is resumed.
    Running,
    /// Resumed after a crash, failure or take-over; no checkpoint since.
    Recovering,
    /// Paused. A resume continues after the last checkpoints.
    Paused,
    /// All lanes are complete.
    Completed,
    /// The last try ended with an error. The operation can be resumed while tries are left.
    Failed,
    /// Cancelled; the operation cannot be resumed.
    Cancelled,
}

impl OperationState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Initialized,
        Self::Running,
        Self::Recovering,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Returns whether the operation is completed or cancelled.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }

    /// Returns whether the operation's owner, if any, may commit checkpoints.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Recovering)
    }

    /// Returns whether `next` may follow this state.
    pub fn may_become(self, next: Self) -> bool {
        use OperationState::{
            Cancelled, Completed, Failed, Initialized, Paused, Recovering, Running,
        };
        match self {
            Initialized => matches!(next, Running | Paused | Cancelled),
            Running => matches!(next, Paused | Completed | Failed | Cancelled | Recovering),
            // Recovering follows itself when the process crashes again.
            Recovering => {
                matches!(next, Running | Paused | Completed | Failed | Cancelled | Recovering)
            }
            Paused => matches!(next, Running | Cancelled),
            Failed => matches!(next, Recovering | Paused | Cancelled),
            Completed | Cancelled => false,
        }
    }

    /// Returns the state after a resume; `None` if the operation is finished.
    pub(crate) fn resumed(self) -> Option<Self> {
        match self {
            Self::Initialized | Self::Paused => Some(Self::Running),
            Self::Running | Self::Recovering | Self::Failed => Some(Self::Recovering),
            Self::Completed | Self::Cancelled => None,
        }
    }

    /// Checks that `next` may follow; otherwise `Invalid`.
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
    fn only_finished_states_have_no_next_state() {
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
    fn unknown_transition_is_invalid_and_names_both_states() {
        let refused = OperationState::Paused.step("complete operation", OperationState::Completed);
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("is paused and cannot become completed"), "{error}");
    }
}
