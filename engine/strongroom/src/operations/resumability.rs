//! Resumability: whether an operation can be resumed, and if not, why.

use std::fmt;
use std::time::Duration;

use strongroom_backends::{Error, ErrorKind, Reason};

use super::machine::OperationState;
use super::spec::RetryPolicy;
use strongroom_format::OperationFields;

/// Resumability: whether an operation can be resumed, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resumable {
    /// The operation can be resumed now.
    Ready,
    /// The operation can be resumed, but its [`RetryPolicy`] asks for a delay.
    ///
    /// A runner waits for that time; [`resume`](crate::operations::Operations::resume) does not.
    BackingOff {
        /// Time until the next try.
        wait: Duration,
    },
    /// The operation was paused. It can be resumed by its id, and is skipped when all are resumed.
    Held,
    /// The operation is completed; nothing is left to do.
    Completed,
    /// The operation was cancelled.
    Cancelled,
    /// A handle of the operation lives in this process.
    OwnerAlive {
        /// Operation generation of that handle.
        generation: u64,
    },
    /// All tries that its [`RetryPolicy`] allows ended without a checkpoint.
    ///
    /// A [take-over](crate::operations::Operations::take_over) tries again.
    AttemptsExhausted {
        /// Tries since its last checkpoint.
        attempts: u32,
    },
    /// The vault was opened with [`Handlers`](crate::runner::Handlers), none of which has its name.
    ///
    /// A host that works without a handler can resume the operation by its id.
    UnknownName,
    /// The operation's handler does not read checkpoints of this version.
    UnknownVersion {
        /// Version of the operation's checkpoints.
        version: u32,
    },
    /// The operation's handler does not decode a lane's last checkpoint.
    UnknownData {
        /// Name of the lane.
        lane: String,
    },
    /// A row of the operation does not decode.
    Unreadable {
        /// Text of the decode error.
        detail: String,
    },
}

impl Resumable {
    /// Returns whether [`Operations::resume`](crate::operations::Operations::resume) accepts the
    /// operation.
    pub fn by_id(&self) -> bool {
        match self {
            Self::Ready
            | Self::BackingOff { .. }
            | Self::Held
            | Self::UnknownName
            | Self::UnknownVersion { .. }
            | Self::UnknownData { .. } => true,
            Self::Completed
            | Self::Cancelled
            | Self::OwnerAlive { .. }
            | Self::AttemptsExhausted { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// Returns whether [`Runner::resume_all`](crate::runner::Runner::resume_all) resumes the
    /// operation.
    pub fn with_all(&self) -> bool {
        matches!(self, Self::Ready | Self::BackingOff { .. })
    }

    /// Returns the error of a call that cannot resume operation `id`.
    pub(crate) fn refusal(&self, kind: ErrorKind, action: &'static str, id: &str) -> Error {
        let error = Error::new(kind, action).with_detail(self.to_string()).with_subject(id);
        match self {
            Self::Ready | Self::BackingOff { .. } => error,
            Self::Held => error.with_reason(Reason::OperationStateForbids),
            Self::Completed => error.with_reason(Reason::OperationCompleted),
            Self::Cancelled => error.with_reason(Reason::OperationCancelled),
            Self::OwnerAlive { .. } => error.with_reason(Reason::OperationRunning),
            Self::AttemptsExhausted { .. } => error.with_reason(Reason::AttemptsExhausted),
            Self::UnknownName | Self::UnknownVersion { .. } | Self::UnknownData { .. } => {
                error.with_reason(Reason::HandlerMissing)
            }
            Self::Unreadable { .. } => error.with_reason(Reason::RowDamaged),
        }
    }
}

impl fmt::Display for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::BackingOff { wait } => {
                write!(f, "ready; next try in {:.1} s", wait.as_secs_f64())
            }
            Self::Held => f.write_str("paused"),
            Self::Completed => f.write_str("the operation is completed"),
            Self::Cancelled => f.write_str("the operation was cancelled"),
            Self::OwnerAlive { generation } => {
                write!(f, "generation {generation} of the operation runs in this process")
            }
            Self::AttemptsExhausted { attempts } => {
                write!(f, "{attempts} tries without a checkpoint, and no more are allowed")
            }
            Self::UnknownName => f.write_str("there is no handler for its name"),
            Self::UnknownVersion { version } => {
                write!(f, "its handler does not read version {version}")
            }
            Self::UnknownData { lane } => {
                write!(f, "its handler does not decode the data of lane {lane:?}")
            }
            Self::Unreadable { detail } => write!(f, "unreadable: {detail}"),
        }
    }
}

/// Returns the resumability at `now`; `live` is a live handle's generation.
pub(super) fn resumability(row: &OperationFields, live: Option<u64>, now: u64) -> Resumable {
    let state = OperationState::from(row.state);
    let policy = RetryPolicy::from(row.retry);
    match state {
        OperationState::Completed => Resumable::Completed,
        OperationState::Cancelled => Resumable::Cancelled,
        _ if live.is_some() => {
            Resumable::OwnerAlive { generation: live.expect("checked in the guard") }
        }
        _ if policy.is_exhausted(row.attempts) => {
            Resumable::AttemptsExhausted { attempts: row.attempts }
        }
        OperationState::Paused if row.held => Resumable::Held,
        _ => match backoff(row, policy, now) {
            Duration::ZERO => Resumable::Ready,
            wait => Resumable::BackingOff { wait },
        },
    }
}

/// Returns the rest of the delay after the last try.
///
/// A failed operation waits at least the first delay, even if its try reached a checkpoint. If the
/// clock was set back behind that try, the time since then is unknown. The delay then starts again,
/// and never exceeds the policy's.
fn backoff(row: &OperationFields, policy: RetryPolicy, now: u64) -> Duration {
    let passed = Duration::from_millis(now.saturating_sub(row.updated_unix_millis));
    let failed = OperationState::from(row.state) == OperationState::Failed;
    policy.backoff(row.attempts.max(failed.into())).saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_format::{self as format, RetryRow};

    fn row(state: OperationState, attempts: u32) -> OperationFields {
        OperationFields {
            state: state.into(),
            held: false,
            name: None,
            version: 0,
            owner: uuid::Uuid::nil(),
            generation: 1,
            attempts,
            created_unix_millis: 1_000_000,
            updated_unix_millis: 1_000_000,
            lanes: 1,
            lanes_open: 1,
            checkpoints_kept: 1,
            retry: RetryRow {
                attempts_max: 3,
                backoff_first_millis: 1_000,
                backoff_max_millis: 5_000,
            },
            metadata: Vec::new(),
            failure: None,
        }
    }

    #[test]
    fn resumability_covers_every_state() {
        use OperationState as S;
        let answer = |state, attempts, live| resumability(&row(state, attempts), live, 1_000_000);
        assert_eq!(answer(S::Running, 0, None), Resumable::Ready);
        assert_eq!(answer(S::Initialized, 0, None), Resumable::Ready);
        assert_eq!(answer(S::Running, 0, Some(4)), Resumable::OwnerAlive { generation: 4 });
        assert_eq!(answer(S::Failed, 3, None), Resumable::AttemptsExhausted { attempts: 3 });
        assert_eq!(answer(S::Completed, 9, Some(4)), Resumable::Completed);
        assert_eq!(answer(S::Cancelled, 9, None), Resumable::Cancelled);
        let paused = OperationFields { held: true, ..row(S::Paused, 2) };
        assert_eq!(resumability(&paused, None, 0), Resumable::Held);
        assert_eq!(paused.state, format::OperationState::Paused);
    }

    #[test]
    fn backoff_never_grows_when_clock_is_set_back() {
        let wait = |now| resumability(&row(OperationState::Failed, 2), None, now);
        let backing_off = |millis| Resumable::BackingOff { wait: Duration::from_millis(millis) };
        assert_eq!(wait(1_000_000), backing_off(2_000));
        assert_eq!(wait(1_001_999), backing_off(1));
        assert_eq!(wait(1_002_000), Resumable::Ready);
        assert_eq!(wait(0), backing_off(2_000));
    }
}
