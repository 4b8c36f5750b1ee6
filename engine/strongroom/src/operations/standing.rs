//! Whether an operation can be resumed, and why not.

use std::fmt;
use std::time::Duration;

use strongroom_backends::{Error, ErrorKind, Reason};

use super::machine::OperationState;
use super::spec::RetryPolicy;
use strongroom_format::OperationFields;

/// Whether an operation can be resumed, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resumable {
    /// It can.
    Ready,
    /// It can, and its [`RetryPolicy`] says when it should be tried: a runner waits so long.
    BackingOff {
        /// How long from now on.
        wait: Duration,
    },
    /// It was paused: it can be resumed by its id, and is left when everything is.
    Held,
    /// Nothing is left to do.
    Completed,
    /// It was given up.
    Cancelled,
    /// A handle of it lives in this process.
    OwnerAlive {
        /// Of that handle.
        generation: u64,
    },
    /// As many tries as its [`RetryPolicy`] allows got nowhere. A
    /// [take-over](crate::operations::Operations::take_over) tries again.
    AttemptsExhausted {
        /// Tries since its last checkpoint.
        attempts: u32,
    },
    /// The vault was opened with [`Handlers`](crate::runner::Handlers), and none is for its name. Whoever does
    /// its work without one can resume it by its id.
    UnknownName,
    /// Its handler does not read checkpoints of that version.
    UnknownVersion {
        /// The version.
        version: u32,
    },
    /// Its handler does not decode the data of a lane's last checkpoint.
    UnknownData {
        /// The lane.
        lane: String,
    },
    /// A row of it does not decode.
    Unreadable {
        /// What of it.
        detail: String,
    },
}

impl Resumable {
    /// Whether [`Operations::resume`](crate::operations::Operations::resume) takes it.
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

    /// Whether [`Runner::resume_all`](crate::runner::Runner::resume_all) takes it.
    pub fn with_all(&self) -> bool {
        matches!(self, Self::Ready | Self::BackingOff { .. })
    }

    /// The error of a call that would resume operation `id`, and cannot.
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
                write!(f, "ready, to be tried in {:.1} s", wait.as_secs_f64())
            }
            Self::Held => f.write_str("paused"),
            Self::Completed => f.write_str("the operation is completed"),
            Self::Cancelled => f.write_str("the operation was cancelled"),
            Self::OwnerAlive { generation } => {
                write!(f, "generation {generation} of it is running in this process")
            }
            Self::AttemptsExhausted { attempts } => {
                write!(f, "{attempts} tries got nowhere, and no more are allowed")
            }
            Self::UnknownName => f.write_str("there is no handler of its name"),
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

/// What the row says, with the generation of a live handle, at `now`.
pub(super) fn standing(row: &OperationFields, live: Option<u64>, now: u64) -> Resumable {
    let state = OperationState::from(row.state);
    let policy = RetryPolicy::from(row.retry);
    match state {
        OperationState::Completed => Resumable::Completed,
        OperationState::Cancelled => Resumable::Cancelled,
        _ if live.is_some() => {
            Resumable::OwnerAlive { generation: live.expect("asked in the guard") }
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

/// How much of the wait after the last try is left; after a failure at least the first one, wherever
/// the try got. A clock that stands before that try has gone
/// back: how much has passed is not known, and nobody waits longer than the policy says.
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
    fn every_state_has_its_answer() {
        use OperationState as S;
        let told = |state, attempts, live| standing(&row(state, attempts), live, 1_000_000);
        assert_eq!(told(S::Running, 0, None), Resumable::Ready);
        assert_eq!(told(S::Initialized, 0, None), Resumable::Ready);
        assert_eq!(told(S::Running, 0, Some(4)), Resumable::OwnerAlive { generation: 4 });
        assert_eq!(told(S::Failed, 3, None), Resumable::AttemptsExhausted { attempts: 3 });
        assert_eq!(told(S::Completed, 9, Some(4)), Resumable::Completed);
        assert_eq!(told(S::Cancelled, 9, None), Resumable::Cancelled);
        let paused = OperationFields { held: true, ..row(S::Paused, 2) };
        assert_eq!(standing(&paused, None, 0), Resumable::Held);
        assert_eq!(paused.state, format::OperationState::Paused);
    }

    #[test]
    fn a_wait_ends_on_time_and_never_grows_when_the_clock_goes_back() {
        let wait = |now| standing(&row(OperationState::Failed, 2), None, now);
        let backing_off = |millis| Resumable::BackingOff { wait: Duration::from_millis(millis) };
        assert_eq!(wait(1_000_000), backing_off(2_000));
        assert_eq!(wait(1_001_999), backing_off(1));
        assert_eq!(wait(1_002_000), Resumable::Ready);
        assert_eq!(wait(0), backing_off(2_000));
    }
}
