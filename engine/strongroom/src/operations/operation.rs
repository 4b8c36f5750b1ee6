//! The handle of an operation: the right to run it, and the ways to end that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::lane::Lane;
use super::machine::OperationState;
use super::room::{Operations, Room};
use super::rows::{bump_updated, expect_row, lane_rows, write_row, write_step};
use super::status::{LaneStatus, OperationStatus};
use strongroom_format::{CheckpointRow, FailureRow, OperationFields, checkpoint_key};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Longest text of a failure that is kept, in bytes; what is longer is cut.
pub const FAILURE_BYTES_MAX: usize = 4_096;

/// The right to run an operation, until it is ended, dropped or taken over. Cheap to clone.
///
/// Dropped, the operation stays as it is: running, for [`Operations::resume`] to go on with.
#[derive(Clone)]
pub struct Operation {
    pub(super) inner: Arc<OperationInner>,
}

pub(super) struct OperationInner {
    pub(super) room: Arc<Room>,
    pub(super) id: String,
    pub(super) generation: u64,
    /// Of [`Owners`](super::Owners): no two handles have the same.
    pub(super) claim: u64,
    /// Numbers the checkpoints of all lanes.
    pub(super) order: Arc<AtomicU64>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.inner.generation;
        f.debug_struct("Operation").field("generation", &generation).finish_non_exhaustive()
    }
}

impl Operation {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// How often it was begun, resumed or taken over.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Opens a lane, to go on where it stood. `NotFound` if the operation has no such lane,
    /// `Locked` if it is open already.
    pub fn lane(&self, name: &str) -> Result<Lane> {
        Lane::open(self, name)
    }

    /// Where it stands now, lane by lane.
    pub fn status(&self) -> Result<OperationStatus> {
        self.inner.room.read()?.operation(self.id())?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read operation")
                .with_reason(Reason::OperationMissing)
                .with_subject(self.id())
        })
    }

    /// Returns the operations of its vault.
    pub(crate) fn operations(&self) -> Operations {
        Operations { room: Arc::clone(&self.inner.room) }
    }
}

/// The ends. Each is one commit, after which this handle and its lanes commit nothing more
/// (`Conflict`), and the operation has no owner. Each is `Conflict` if the operation was taken over,
/// and `Invalid` if the machine of [`OperationState`] does not allow it.
impl Operation {
    /// Lays it aside where it stands. It is left when everything is resumed, until somebody
    /// [resumes](Operations::resume) it by its id.
    pub fn pause(&self) -> Result<()> {
        self.pause_with(true, None)
    }

    /// Lays it aside: for whoever resumes it by its id, if it is `held`, and else for whoever resumes
    /// everything. A try that did not fail is none.
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

    /// Completes it, with all lanes that are still open. If its lanes have completed it already, that
    /// is fine.
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

    /// Ends this try with an error, of which at most [`FAILURE_BYTES_MAX`] are kept. It can be
    /// resumed while its [`RetryPolicy`](crate::operations::RetryPolicy) has tries left.
    pub fn fail(&self, error: impl fmt::Display) -> Result<()> {
        const FAIL: &str = "fail operation";
        let error = error.to_string();
        self.end(FAIL, |tx, mut row| {
            note_failure(&mut row, &error);
            write_step(tx, FAIL, self.id(), row, OperationState::Failed)
        })
    }

    /// Gives it up. What it has committed stays.
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
            tx.on_commit(move |_| own.room.owners.release(&own.id, own.claim));
            change(tx, row)
        };
        inner.room.core.write(call, change)
    }

    /// Brings it to another version of the host's checkpoints: `migrate` makes the new data of each
    /// lane that has had a checkpoint out of the old, and one commit writes all of it. History keeps
    /// the old. If `migrate` fails, or data is too long (`Invalid`), nothing has changed. `migrate` runs
    /// inside the write, and may not write to the vault itself.
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
        self.inner.room.core.write(MIGRATE, change)
    }

    /// The operation's row, if this handle is still its owner's.
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

/// A host's text, as much of it as is kept.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=FAILURE_BYTES_MAX.min(text.len())).rfind(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Marks a lane complete where it stands; whether it was open.
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
    /// Why a handle may not write to the operation of that row; nothing if it is its owner's.
    pub(super) fn refusal(&self, row: &OperationFields) -> Option<String> {
        if bug::is_planted(Bug::NoFence) {
            return None;
        }
        let (own, generation) = (self.generation, row.generation);
        if generation != own {
            return Some(format!("fenced: generation {generation} has taken over from {own}"));
        }
        if !self.room.owners.is_live(&self.id, self.claim) {
            let state = OperationState::from(row.state);
            return Some(format!("this handle has ended, and the operation is {state}"));
        }
        None
    }
}

impl Drop for OperationInner {
    fn drop(&mut self) {
        self.room.owners.release(&self.id, self.claim);
    }
}
