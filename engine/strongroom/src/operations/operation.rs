//! The handle of an operation: the right to run it, and the ways to end it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::lane::Lane;
use super::machine::OperationState;
use super::room::{Operations, OperationsShared};
use super::rows::{bump_updated, expect_row, lane_rows, write_row, write_step};
use super::status::{LaneStatus, OperationStatus};
use strongroom_format::{CheckpointRow, FailureRow, OperationFields, checkpoint_key};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Longest text of a failure that is kept, in bytes. Longer texts are cut.
pub const FAILURE_BYTES_MAX: usize = 4_096;

/// The right to run an operation.
///
/// It lasts until the handle ends or is taken over. Cheap to clone. When the last clone is dropped,
/// the operation keeps its state. A running one can be resumed by [`Operations::resume`].
#[derive(Clone)]
pub struct Operation {
    pub(super) inner: Arc<OperationInner>,
}

pub(super) struct OperationInner {
    pub(super) shared: Arc<OperationsShared>,
    pub(super) id: String,
    pub(super) generation: u64,
    /// Number of this handle in [`Owners`](super::Owners), unique in the session.
    pub(super) handle_id: u64,
    /// Next number for a checkpoint, counted over all lanes.
    pub(super) order: Arc<AtomicU64>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.inner.generation;
        f.debug_struct("Operation").field("generation", &generation).finish_non_exhaustive()
    }
}

impl Operation {
    /// Returns the operation's id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Returns the operation generation: the count of begins, resumes and take-overs.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Opens a lane, to continue after its last checkpoint.
    ///
    /// `NotFound` if the operation has no such lane, `Locked` if the lane is already open.
    pub fn lane(&self, name: &str) -> Result<Lane> {
        Lane::open(self, name)
    }

    /// Returns the operation's status, with all lanes.
    ///
    /// `NotFound` if the operation was deleted.
    pub fn status(&self) -> Result<OperationStatus> {
        self.inner.shared.read()?.operation(self.id())?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read operation")
                .with_reason(Reason::OperationMissing)
                .with_subject(self.id())
        })
    }

    /// Returns the operations of its vault.
    pub(crate) fn operations(&self) -> Operations {
        Operations { shared: Arc::clone(&self.inner.shared) }
    }
}

/// Ways to end this handle.
///
/// Each is one commit, durable on return. Afterwards the operation has no owner, and commits of
/// this handle and its lanes fail with `Conflict`.
///
/// Each fails with `Conflict` if the operation was taken over, and with `Invalid` if
/// [`OperationState`] does not allow the transition.
impl Operation {
    /// Pauses the operation at its last checkpoints.
    ///
    /// A runner that resumes all operations skips it, until it is [resumed](Operations::resume) by
    /// its id.
    pub fn pause(&self) -> Result<()> {
        self.pause_with(true, None)
    }

    /// Pauses the operation.
    ///
    /// If `held`, only a resume by its id continues it; otherwise resuming all does too. Without a
    /// failure this try is not counted.
    pub(crate) fn pause_with(&self, held: bool, failure: Option<&str>) -> Result<()> {
        const PAUSE: &str = "pause operation";
        self.end(PAUSE, |tx, mut row| {
            row.held = held;
            match failure {
                None => row.attempts = row.attempts.saturating_sub(1),
                Some(error) => note_failure(&mut row, error),
            }
            write_step(tx, PAUSE, self.id(), row, OperationState::Paused)
        })
    }

    /// Completes the operation, with all lanes that are still open.
    ///
    /// Succeeds too if its lanes have already completed it.
    pub fn complete(&self) -> Result<()> {
        const COMPLETE: &str = "complete operation";
        self.end(COMPLETE, |tx, mut row| {
            if OperationState::from(row.state) == OperationState::Completed {
                return Ok(());
            }
            for (lane, lane_row) in lane_rows(tx, self.id())? {
                complete_lane_row(tx, self.id(), &lane, lane_row)?;
            }
            row.lanes_open = 0;
            row.attempts = 0;
            write_step(tx, COMPLETE, self.id(), row, OperationState::Completed)
        })
    }

    /// Fails this try with an error.
    ///
    /// Its text is cut to [`FAILURE_BYTES_MAX`] bytes.
    /// The operation can be resumed while its [`RetryPolicy`](crate::operations::RetryPolicy) has
    /// tries left.
    pub fn fail(&self, error: impl fmt::Display) -> Result<()> {
        const FAIL: &str = "fail operation";
        let error = error.to_string();
        self.end(FAIL, |tx, mut row| {
            note_failure(&mut row, &error);
            write_step(tx, FAIL, self.id(), row, OperationState::Failed)
        })
    }

    /// Cancels the operation permanently. Its committed changes stay.
    pub fn cancel(&self) -> Result<()> {
        const CANCEL: &str = "cancel operation";
        self.end(CANCEL, |tx, row| {
            write_step(tx, CANCEL, self.id(), row, OperationState::Cancelled)
        })
    }

    fn end(
        &self,
        call: &'static str,
        change: impl FnOnce(&mut Tx<'_>, OperationFields) -> Result<()>,
    ) -> Result<()> {
        let inner = &self.inner;
        let change = |tx: &mut Tx<'_>| {
            let mut row = self.owned_row(tx, call)?;
            bump_updated(tx, &mut row);
            let own = Arc::clone(inner);
            tx.on_commit(move |_| own.shared.owners.release(&own.id, own.handle_id));
            change(tx, row)
        };
        inner.shared.core.write(call, change)
    }

    /// Converts the checkpoints to another version of the host's format.
    ///
    /// `migrate` is called for each lane that has had a checkpoint, and returns the lane's new
    /// data. One commit writes all new data and `version`; it is durable on return. Older
    /// checkpoints in the history keep their old data.
    ///
    /// If `migrate` fails, or data is longer than
    /// [`CHECKPOINT_BYTES_MAX`](super::CHECKPOINT_BYTES_MAX) bytes (`Invalid`), nothing changes.
    /// `Conflict` if the operation was taken over, `Invalid` if it is neither running nor
    /// recovering. `migrate` runs inside the write, and must not write to the vault.
    pub fn migrate(
        &self,
        version: u32,
        mut migrate: impl FnMut(&LaneStatus) -> Result<Vec<u8>>,
    ) -> Result<()> {
        const MIGRATE: &str = "migrate operation";
        let change = |tx: &mut Tx<'_>| {
            let mut row = self.owned_row(tx, MIGRATE)?;
            if !OperationState::from(row.state).is_active() {
                return Err(Error::new(ErrorKind::Invalid, MIGRATE)
                    .with_reason(Reason::OperationStateForbids)
                    .with_detail(format!("the operation is {}", OperationState::from(row.state)))
                    .with_subject(self.id()));
            }
            for (lane, lane_row) in lane_rows(tx, self.id())? {
                let CheckpointRow::V0 { sequence, order, progress, complete, unix_millis, .. } =
                    lane_row;
                if sequence == 0 {
                    continue;
                }
                let data = migrate(&LaneStatus::new(lane.clone(), lane_row))?;
                super::checkpoint::Checkpoint::new(data.clone()).validate()?;
                let new =
                    CheckpointRow::V0 { sequence, order, progress, complete, unix_millis, data };
                let key = checkpoint_key(self.id(), &lane);
                tx.state.put(Table::Checkpoints, &key, &new.encode())?;
            }
            row.version = version;
            bump_updated(tx, &mut row);
            write_row(tx, self.id(), row)
        };
        self.inner.shared.core.write(MIGRATE, change)
    }

    /// Returns the operation's row, if this handle is still its owner's.
    pub(super) fn owned_row(&self, tx: &Tx<'_>, call: &'static str) -> Result<OperationFields> {
        let row = expect_row(tx, call, self.id())?;
        self.inner.refusal(&row).map_or(Ok(row), |detail| {
            Err(Error::new(ErrorKind::Conflict, call)
                .with_reason(Reason::OperationTakenOver)
                .with_detail(detail)
                .with_subject(self.id()))
        })
    }
}

fn note_failure(row: &mut OperationFields, error: &str) {
    let unix_millis = row.updated_unix_millis;
    row.failure = Some(FailureRow { unix_millis, text: cut(error).to_owned() });
}

/// Returns the prefix of a host's text that is kept.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=FAILURE_BYTES_MAX.min(text.len())).rfind(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Marks a lane complete, and returns whether it was open before.
pub(super) fn complete_lane_row(
    tx: &mut Tx<'_>,
    id: &str,
    lane: &str,
    row: CheckpointRow,
) -> Result<bool> {
    let CheckpointRow::V0 { sequence, order, complete, unix_millis, data, .. } = row;
    if complete {
        return Ok(false);
    }
    let row =
        CheckpointRow::V0 { sequence, order, progress: 1.0, complete: true, unix_millis, data };
    tx.state.put(Table::Checkpoints, &checkpoint_key(id, lane), &row.encode())?;
    Ok(true)
}

impl OperationInner {
    /// Returns the reason why this handle may not write to its operation.
    pub(super) fn refusal(&self, row: &OperationFields) -> Option<String> {
        if bug::is_planted(Bug::NoFence) {
            return None;
        }
        let (own, generation) = (self.generation, row.generation);
        if generation != own {
            return Some(format!("fenced: generation {generation} has taken over from {own}"));
        }
        if !self.shared.owners.is_live(&self.id, self.handle_id) {
            let state = OperationState::from(row.state);
            return Some(format!("this handle has ended, and the operation is {state}"));
        }
        None
    }
}

impl Drop for OperationInner {
    fn drop(&mut self) {
        self.shared.owners.release(&self.id, self.handle_id);
    }
}
