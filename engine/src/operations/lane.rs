//! A lane's handle, and its checkpoint inside a transaction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use strongroom_backends::{Error, ErrorKind, Result};

use super::operation::{Operation, read_row, write_row};
use super::status::LaneStatus;
use crate::format::{CheckpointRow, OperationRow, OperationState, checkpoint_key};
use crate::records::unencodable;
use crate::state::Table;
use crate::transaction::{Batch, WriteTx};
use crate::vault::{Vault, VaultInner};

/// Longest data of a checkpoint, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 32_768;

/// Where a lane stands, in the host's own terms.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    data: Vec<u8>,
    /// As before where it is not given.
    progress: Option<f64>,
    complete: bool,
}

impl Checkpoint {
    /// A checkpoint with `data` that tells the host how to go on; at most
    /// [`CHECKPOINT_BYTES_MAX`].
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), progress: None, complete: false }
    }

    /// A checkpoint whose data is `value`, encoded as values of a
    /// [`TypedNamespace`](crate::TypedNamespace) are. `Invalid` if it cannot be encoded.
    pub fn encode<T: Serialize>(value: &T) -> Result<Self> {
        rmp_serde::to_vec_named(value).map(Self::new).map_err(|_| unencodable("encode checkpoint"))
    }

    /// How much of the lane is done, 0 to 1. Without it the lane's progress stays as it was.
    pub fn progress(mut self, progress: f64) -> Self {
        self.progress = Some(progress);
        self
    }

    /// With this checkpoint the lane is complete; it takes no further one.
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    fn validate(&self) -> Result<()> {
        let detail = match self.progress {
            Some(progress) if !(0.0..=1.0).contains(&progress) => {
                format!("progress is {progress}, not within 0 to 1")
            }
            _ if self.data.len() > CHECKPOINT_BYTES_MAX => format!(
                "checkpoint data has {} bytes, the limit is {CHECKPOINT_BYTES_MAX}",
                self.data.len()
            ),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Invalid, "write checkpoint").with_detail(detail))
    }
}

impl fmt::Debug for Checkpoint {
    /// Never the data: it is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("bytes", &self.data.len())
            .field("progress", &self.progress)
            .field("complete", &self.complete)
            .finish()
    }
}

/// A lane, open in one place at a time. Send it to the thread that works on it.
///
/// Its checkpoints commit with data: in a closure by [`WriteTx::checkpoint`], in a batch by
/// [`Batch::checkpoint`] or [`Lane::commit`].
pub struct Lane {
    operation: Operation,
    name: String,
    /// How many checkpoints it has had as far as this handle knows.
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
        let vault = Vault::from_inner(Arc::clone(&inner.vault));
        if !inner.vault.owners.open_lane(&inner.id, inner.generation, name) {
            return refuse(ErrorKind::Locked, "the lane is open already");
        }
        // From here on dropping it closes the lane.
        let known = Arc::new(AtomicU64::new(0));
        let lane = Self { operation: operation.clone(), name: name.to_owned(), known };
        match vault.read()?.lane(&inner.id, name)? {
            Some(status) => lane.known.store(status.checkpoints, Ordering::Release),
            None => return refuse(ErrorKind::NotFound, "the operation has no such lane"),
        }
        Ok(lane)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands: its last committed checkpoint. After an `Uncertain` commit this is how to
    /// learn whether it happened; until it has been asked, a further checkpoint is `Conflict`.
    pub fn status(&self) -> Result<LaneStatus> {
        let inner = &self.operation.inner;
        let vault = Vault::from_inner(Arc::clone(&inner.vault));
        let status = vault
            .read()?
            .lane(&inner.id, &self.name)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "read lane").with_subject(&self.name))?;
        self.known.store(status.checkpoints, Ordering::Release);
        Ok(status)
    }

    /// Commits `batch` and `checkpoint` together, in a commit that other threads may share.
    /// Durable on return. Errors as those of [`Vault::apply`] and [`WriteTx::checkpoint`].
    pub fn commit(&self, mut batch: Batch, checkpoint: Checkpoint) -> Result<()> {
        batch.checkpoint(self, checkpoint);
        Vault::from_inner(Arc::clone(&self.operation.inner.vault)).apply(batch)
    }

    pub(crate) fn writer(&self) -> LaneWriter {
        let inner = &self.operation.inner;
        LaneWriter {
            vault: Arc::clone(&inner.vault),
            operation: inner.id.clone(),
            generation: inner.generation,
            order: Arc::clone(&inner.order),
            lane: self.name.clone(),
            known: Arc::clone(&self.known),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let inner = &self.operation.inner;
        inner.vault.owners.close_lane(&inner.id, inner.generation, &self.name);
    }
}

/// Checkpoints.
impl WriteTx<'_> {
    /// Writes where `lane` stands once this transaction commits.
    ///
    /// `Conflict` if the operation was taken over since, or if the lane has had a checkpoint that
    /// this handle does not know of: one of a commit that was `Uncertain`, or an earlier one of
    /// this very transaction. `Invalid` if the lane is complete, or the checkpoint out of bounds.
    /// After any error of it the transaction does not commit, even if the closure returns `Ok`: data without its checkpoint would be repeated.
    pub fn checkpoint(&mut self, lane: &Lane, checkpoint: Checkpoint) -> Result<()> {
        let writer = lane.writer();
        let outcome = match writer.check(self, &checkpoint) {
            Ok(()) => writer.write(self, checkpoint),
            Err(refusal) => Err(refusal),
        };
        outcome.map_err(|e| self.refuse(e))
    }
}

/// What writes a lane's checkpoint: the lane's identity and the generation that it was opened
/// under.
#[derive(Clone)]
pub(crate) struct LaneWriter {
    vault: Arc<VaultInner>,
    operation: String,
    generation: u64,
    order: Arc<AtomicU64>,
    lane: String,
    known: Arc<AtomicU64>,
}

impl fmt::Debug for LaneWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneWriter").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl LaneWriter {
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.operation == other.operation && self.lane == other.lane
    }

    /// Whether the checkpoint may be written. Writes nothing.
    pub(crate) fn check(&self, tx: &WriteTx<'_>, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.validate()?;
        if !Arc::ptr_eq(&self.vault, &tx.vault) {
            return Err(self.refusal(ErrorKind::Invalid, "the lane is of another vault".into()));
        }
        self.read_operation(tx)?;
        let CheckpointRow::V0 { complete, sequence, .. } = self.read_lane(tx)?;
        if complete {
            return Err(self.refusal(ErrorKind::Invalid, "the lane is complete".into()));
        }
        let known = self.known.load(Ordering::Acquire);
        if sequence != known {
            let detail = format!(
                "the lane has had {sequence} checkpoints, this handle knows of {known}: \
                 ask for its status"
            );
            return Err(self.refusal(ErrorKind::Conflict, detail));
        }
        Ok(())
    }

    /// Writes the checkpoint; [`check`](Self::check) has passed in this transaction.
    pub(crate) fn write(&self, tx: &mut WriteTx<'_>, checkpoint: Checkpoint) -> Result<()> {
        let CheckpointRow::V0 { sequence, progress, .. } = self.read_lane(tx)?;
        let now = tx.vault.components.clock.unix_millis();
        let Checkpoint { data, progress: given, complete } = checkpoint;
        let row = CheckpointRow::V0 {
            sequence: sequence + 1,
            order: self.order.fetch_add(1, Ordering::Relaxed),
            progress: if complete { 1.0 } else { given.unwrap_or(progress) },
            complete,
            unix_millis: now,
            data,
        };
        let key = checkpoint_key(&self.operation, &self.lane);
        tx.state.put(Table::Checkpoints, &key, &row.encode())?;
        tx.checkpointed.push((Arc::clone(&self.known), sequence + 1));
        if complete { self.close_lane(tx, now) } else { Ok(()) }
    }

    /// One lane fewer; the last one completes the operation.
    fn close_lane(&self, tx: &mut WriteTx<'_>, now: u64) -> Result<()> {
        let mut row = self.read_operation(tx)?;
        let OperationRow::V0 { state, lanes_open, updated_unix_millis, .. } = &mut row;
        *lanes_open = lanes_open.saturating_sub(1);
        *updated_unix_millis = now;
        if *lanes_open == 0 {
            *state = OperationState::Completed;
        }
        write_row(tx, &self.operation, &row)
    }

    /// The operation's row, if this lane's owner is still its owner.
    fn read_operation(&self, tx: &WriteTx<'_>) -> Result<OperationRow> {
        let row = read_row(tx, &self.operation)?
            .ok_or_else(|| self.refusal(ErrorKind::NotFound, "the operation is gone".into()))?;
        let OperationRow::V0 { generation, .. } = &row;
        if *generation != self.generation {
            let detail =
                format!("fenced: generation {generation} has taken over from {}", self.generation);
            return Err(self.refusal(ErrorKind::Conflict, detail));
        }
        Ok(row)
    }

    fn read_lane(&self, tx: &WriteTx<'_>) -> Result<CheckpointRow> {
        let key = checkpoint_key(&self.operation, &self.lane);
        tx.state
            .get(Table::Checkpoints, &key, |row| row.map(CheckpointRow::decode))?
            .unwrap_or_else(|| Err(self.refusal(ErrorKind::NotFound, "the lane is gone".into())))
    }

    fn refusal(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(kind, "write checkpoint").with_detail(detail).with_subject(&self.lane)
    }
}
