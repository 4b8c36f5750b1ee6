//! A lane's handle, and its checkpoint inside a transaction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_base::component::Clock;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::checkpoint::Checkpoint;
use super::events::{CommitEffects, Event, EventKind};
use super::machine::OperationState;
use super::operation::{Operation, complete_lane_row};
use super::rows::{bump_updated, is_own, read_row, write_row, write_step};
use super::status::LaneStatus;
use crate::records::{Batch, Extra, WriteTx};
use strongroom_format::{CheckpointRow, OperationFields, checkpoint_key, history_key};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// A lane of an operation. At most one handle of it is open at a time.
///
/// Send it to the thread that works on the lane. Checkpoints commit together with data: in a
/// closure by [`WriteTx::checkpoint`], in a batch by [`Batch::checkpoint`] or [`Lane::commit`].
pub struct Lane {
    operation: Operation,
    name: String,
    /// Number of the lane's checkpoints that this handle knows of.
    known: Arc<AtomicU64>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl Lane {
    pub(super) fn open(operation: &Operation, name: &str) -> Result<Self> {
        let inner = &operation.inner;
        let refuse = |kind, detail: &str| {
            Err(Error::new(kind, "open lane").with_detail(detail).with_subject(name))
        };
        if !inner.shared.owners.open_lane(&inner.id, inner.handle_id, name) {
            return refuse(ErrorKind::Locked, "the lane is open already")
                .map_err(|e| e.with_reason(Reason::LaneOpen));
        }
        // From here on, dropping `lane` closes it.
        let known = Arc::new(AtomicU64::new(0));
        let lane = Self { operation: operation.clone(), name: name.to_owned(), known };
        match operation.inner.shared.read()?.lane(&inner.id, name)? {
            Some(status) => lane.known.store(status.checkpoints, Ordering::Release),
            None => return refuse(ErrorKind::NotFound, "the operation has no such lane"),
        }
        Ok(lane)
    }

    /// Returns the lane's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the lane's status: its last committed checkpoint.
    ///
    /// Call this after an `Uncertain` commit to see whether it happened. Until then, a further
    /// checkpoint fails with `Conflict`.
    ///
    /// `NotFound` if the operation was deleted.
    pub fn status(&self) -> Result<LaneStatus> {
        let inner = &self.operation.inner;
        let status =
            self.operation.inner.shared.read()?.lane(&inner.id, &self.name)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "read lane").with_subject(&self.name)
            })?;
        self.known.store(status.checkpoints, Ordering::Release);
        Ok(status)
    }

    /// Commits `batch` and `checkpoint` together.
    ///
    /// Other threads may share the commit. Durable on return. Fails as
    /// [`Vault::apply`](crate::Vault::apply) and [`WriteTx::checkpoint`] do.
    pub fn commit(&self, mut batch: Batch, checkpoint: Checkpoint) -> Result<()> {
        batch.checkpoint(self, checkpoint);
        self.operation.inner.shared.core.submit("apply batch", Box::new(batch))
    }

    /// Completes the lane at its last checkpoint.
    ///
    /// The last lane to complete completes the operation. Durable on return. Fails as
    /// [`WriteTx::checkpoint`] does.
    pub fn complete(&self) -> Result<()> {
        let writer = self.writer();
        let core = &self.operation.inner.shared.core;
        core.write("complete lane", |tx| writer.complete(tx))
    }

    /// Writes this lane's checkpoint into `tx`: see [`WriteTx::checkpoint`].
    pub(crate) fn write_checkpoint(&self, tx: &mut Tx<'_>, checkpoint: Checkpoint) -> Result<()> {
        let writer = self.writer();
        let outcome = writer.check(tx, &checkpoint).and_then(|()| writer.write(tx, checkpoint));
        outcome.map_err(|e| tx.refuse(e))
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(self.operation.inner.shared.core.clock())
    }

    pub(crate) fn writer(&self) -> LaneWriter {
        LaneWriter {
            operation: self.operation.clone(),
            lane: self.name.clone(),
            known: Arc::clone(&self.known),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let inner = &self.operation.inner;
        inner.shared.owners.close_lane(&inner.id, inner.handle_id, &self.name);
    }
}

/// Checkpoints.
impl WriteTx<'_> {
    /// Writes a checkpoint of `lane` that commits with this transaction.
    ///
    /// `Conflict` if the operation was taken over, or if this handle does not know the lane's last
    /// checkpoint. The unknown checkpoint may be that of an `Uncertain` commit, or an earlier one
    /// of this transaction. [`Lane::status`] reads it. `NotFound` if the operation or its lane was
    /// deleted. `Invalid` if the lane is complete or of another vault, or if the checkpoint exceeds
    /// its limits.
    ///
    /// After any of these errors the transaction does not commit, even if the closure returns `Ok`.
    /// Data without its checkpoint would be written again.
    pub fn checkpoint(&mut self, lane: &Lane, checkpoint: Checkpoint) -> Result<()> {
        lane.write_checkpoint(&mut self.tx, checkpoint)
    }
}

impl Batch {
    /// Adds a checkpoint of `lane` to the batch.
    ///
    /// Fails on commit as [`WriteTx::checkpoint`] does, and with `Invalid` for two checkpoints of
    /// one lane.
    pub fn checkpoint(&mut self, lane: &Lane, checkpoint: Checkpoint) -> &mut Self {
        self.extra::<Checkpoints>().0.push((lane.writer(), checkpoint));
        self
    }
}

/// Checkpoints of a batch.
#[derive(Default)]
struct Checkpoints(Vec<(LaneWriter, Checkpoint)>);

impl Extra for Checkpoints {
    fn check(&self, tx: &Tx<'_>) -> Result<()> {
        for (i, (lane, checkpoint)) in self.0.iter().enumerate() {
            if self.0[..i].iter().any(|(earlier, _)| earlier.is_same(lane)) {
                return Err(Error::new(ErrorKind::Invalid, "apply batch")
                    .with_detail("two checkpoints of one lane"));
            }
            lane.check(tx, checkpoint)?;
        }
        Ok(())
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.0.drain(..).try_for_each(|(lane, checkpoint)| lane.write(tx, checkpoint))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Writer of a lane's checkpoints: names the lane and the handle that opened it.
#[derive(Clone)]
pub(crate) struct LaneWriter {
    operation: Operation,
    lane: String,
    known: Arc<AtomicU64>,
}

impl fmt::Debug for LaneWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneWriter").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl LaneWriter {
    fn id(&self) -> &str {
        self.operation.id()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id() == other.id() && self.lane == other.lane
    }

    /// Checks whether the checkpoint may be written. Writes nothing.
    pub(crate) fn check(&self, tx: &Tx<'_>, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.validate()?;
        if !Arc::ptr_eq(&self.operation.inner.shared.core, tx.core()) {
            return Err(
                self.refusal(ErrorKind::Invalid, "the lane belongs to another vault".into())
            );
        }
        let row = self.read_operation(tx)?;
        let CheckpointRow::V0 { complete, sequence, .. } = self.read_lane(tx)?;
        if complete {
            return Err(self.refusal(ErrorKind::Invalid, "the lane is complete".into()));
        }
        let state = OperationState::from(row.state);
        if !state.is_active() {
            let detail = format!("the operation is {state}");
            return Err(self.refusal(ErrorKind::Conflict, detail));
        }
        let known = self.known.load(Ordering::Acquire);
        if sequence != known {
            let detail = format!(
                "the lane has had {sequence} checkpoints, this handle knows of {known}: \
                 read its status"
            );
            return Err(self.refusal(ErrorKind::Conflict, detail));
        }
        Ok(())
    }

    /// Writes the checkpoint, after [`check`](Self::check) has passed in this transaction.
    pub(crate) fn write(&self, tx: &mut Tx<'_>, checkpoint: Checkpoint) -> Result<()> {
        let row = self.read_operation(tx)?;
        let last = self.read_lane(tx)?;
        let CheckpointRow::V0 { sequence, progress, .. } = last;
        self.keep_previous(tx, &row, &last)?;
        let now = tx.now_unix_millis();
        let Checkpoint { data, progress: given, complete } = checkpoint;
        let progress = if complete { 1.0 } else { given.unwrap_or(progress) };
        let known = Arc::clone(&self.known);
        tx.on_commit(move |_| known.store(sequence + 1, Ordering::Release));
        if is_own(self.id()) {
            tx.mark_internal();
        } else {
            let effects = tx.parts.get_mut::<CommitEffects>();
            effects.checkpoints.push(data.len());
            effects.progress(|| {
                let kind = EventKind::Progress { lane: self.lane.clone(), progress };
                Event::new(self.id(), row.name.as_deref(), now, kind)
            });
        }
        let checkpoint = CheckpointRow::V0 {
            sequence: sequence + 1,
            order: self.operation.inner.order.fetch_add(1, Ordering::Relaxed),
            progress,
            complete,
            unix_millis: now,
            data,
        };
        let key = checkpoint_key(self.id(), &self.lane);
        tx.state.put(Table::Checkpoints, &key, &checkpoint.encode())?;
        self.advance(tx, row, complete)
    }

    /// Stores the previous checkpoint in the lane's history, over the oldest.
    fn keep_previous(
        &self,
        tx: &mut Tx<'_>,
        row: &OperationFields,
        last: &CheckpointRow,
    ) -> Result<()> {
        let CheckpointRow::V0 { sequence, .. } = last;
        let positions = u64::from(row.checkpoints_kept.saturating_sub(1));
        if positions == 0 || *sequence == 0 {
            return Ok(());
        }
        let position = u16::try_from((sequence - 1) % positions).expect("below a u16");
        let key = history_key(self.id(), &self.lane, position);
        tx.state.put(Table::History, &key, &last.encode())
    }

    /// Updates the operation's row after a checkpoint or a lane's completion.
    ///
    /// A checkpoint sets the count of tries to 0, and the last lane completes the operation. The
    /// row is written only if it changes.
    fn advance(
        &self,
        tx: &mut Tx<'_>,
        mut row: OperationFields,
        lane_complete: bool,
    ) -> Result<()> {
        let state = OperationState::from(row.state);
        if !lane_complete && row.attempts == 0 && state == OperationState::Running {
            return Ok(());
        }
        row.attempts = 0;
        bump_updated(tx, &mut row);
        if lane_complete {
            row.lanes_open = row.lanes_open.saturating_sub(1);
        }
        let next = match row.lanes_open {
            0 => OperationState::Completed,
            _ => OperationState::Running,
        };
        if next == state {
            write_row(tx, self.id(), row)
        } else {
            write_step(tx, "write checkpoint", self.id(), row, next)
        }
    }

    /// Completes the lane at its last checkpoint.
    fn complete(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.check(tx, &Checkpoint::new([]))?;
        let row = self.read_operation(tx)?;
        let last = self.read_lane(tx)?;
        complete_lane_row(tx, self.id(), &self.lane, last)?;
        self.advance(tx, row, true)
    }

    /// Returns the operation's row, if this lane's owner is still its owner.
    fn read_operation(&self, tx: &Tx<'_>) -> Result<OperationFields> {
        let row = read_row(tx, self.id())?
            .ok_or_else(|| self.refusal(ErrorKind::NotFound, "the operation was deleted".into()))
            .map_err(|e| e.with_reason(Reason::OperationMissing))?;
        let refusal = self.operation.inner.refusal(&row);
        refusal.map_or(Ok(row), |detail| {
            let error = self.refusal(ErrorKind::Conflict, detail);
            Err(error.with_reason(Reason::OperationTakenOver))
        })
    }

    fn read_lane(&self, tx: &Tx<'_>) -> Result<CheckpointRow> {
        let key = checkpoint_key(self.id(), &self.lane);
        tx.state
            .get(Table::Checkpoints, &key, |row| row.map(CheckpointRow::decode))?
            .unwrap_or_else(
                || Err(self.refusal(ErrorKind::NotFound, "the lane was deleted".into())),
            )
    }

    fn refusal(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(kind, "write checkpoint").with_detail(detail).with_subject(&self.lane)
    }
}
