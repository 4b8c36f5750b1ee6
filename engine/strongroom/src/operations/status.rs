//! Operations in a snapshot: their status, lanes and checkpoints.

use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;

use serde::de::DeserializeOwned;
use strongroom_base::Result;

use super::machine::OperationState;
use super::query::OperationsQuery;
use super::spec::RetryPolicy;
use crate::records::Snapshot;
use crate::records::{check_name, decode_value};
use strongroom_format::{
    CheckpointRow, FailureRow, OperationFields, checkpoint_key, history_key, lanes_span,
};
use strongroom_store::state::{Entry, Rows, Table};

/// An operation in a snapshot.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct OperationStatus {
    /// Id of the operation.
    pub id: String,
    /// Kind of work: the operation's name, or its id if it has none.
    pub name: String,
    /// State of the operation.
    pub state: OperationState,
    /// Set by a pause. The operation is then skipped when all operations are resumed.
    pub held: bool,
    /// Version of its checkpoints, as the host counts versions.
    pub version: u32,
    /// Operation generation: count of begins, resumes and take-overs; 0 if only prepared.
    pub generation: u64,
    /// Number of tries since the last checkpoint.
    pub attempts: u32,
    /// Limits on its tries.
    pub retry: RetryPolicy,
    /// Metadata of the host, by key.
    pub metadata: Vec<(String, String)>,
    /// The latest failure, even if the operation was resumed since.
    pub failure: Option<Failure>,
    /// Number of checkpoints kept of each lane.
    pub checkpoints_kept: u16,
    /// Time of creation, in milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// Time of the last change, in milliseconds since the Unix epoch.
    pub updated_unix_millis: u64,
    /// Lanes of the operation, by name.
    pub lanes: Vec<LaneStatus>,
}

/// Failure of an operation.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// Time of the failure, in milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// Text of the host's error or of the panic.
    pub error: String,
}

impl fmt::Debug for Failure {
    /// Omits the text, which is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("unix_millis", &self.unix_millis).finish_non_exhaustive()
    }
}

impl fmt::Debug for OperationStatus {
    /// Omits the metadata, which is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationStatus")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("held", &self.held)
            .field("generation", &self.generation)
            .field("attempts", &self.attempts)
            .field("failure", &self.failure)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// A lane in a snapshot, at one checkpoint: by default the last.
#[derive(Clone, PartialEq)]
pub struct LaneStatus {
    /// Name of the lane.
    pub name: String,
    /// Number of checkpoints that the lane has had.
    pub checkpoints: u64,
    /// Fraction of the lane that is done, from 0 to 1.
    pub progress: f64,
    /// Set once the lane takes no further checkpoint.
    pub complete: bool,
    /// Time of the checkpoint, in milliseconds since the Unix epoch.
    ///
    /// Without a checkpoint: the time of the beginning.
    pub updated_unix_millis: u64,
    /// The checkpoint's data; empty if the lane has had none.
    pub data: Vec<u8>,
    /// Position among all checkpoints of the operation.
    order: u64,
}

impl OperationStatus {
    /// Returns the mean progress of all lanes, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let sum: f64 = self.lanes.iter().map(|lane| lane.progress).sum();
        if self.lanes.is_empty() { 0.0 } else { sum / self.lanes.len() as f64 }
    }

    /// Returns the lane with the latest checkpoint; `None` before the first.
    pub fn latest(&self) -> Option<&LaneStatus> {
        self.lanes.iter().filter(|lane| lane.checkpoints > 0).max_by_key(|lane| lane.order)
    }

    /// Returns the number of complete lanes.
    pub fn lanes_complete(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.complete).count()
    }
}

impl LaneStatus {
    pub(super) fn new(name: String, row: CheckpointRow) -> Self {
        let CheckpointRow::V0 { sequence, order, progress, complete, unix_millis, data } = row;
        Self {
            name,
            checkpoints: sequence,
            progress,
            complete,
            updated_unix_millis: unix_millis,
            data,
            order,
        }
    }

    /// Decodes data that [`Checkpoint::encode`](crate::operations::Checkpoint::encode) wrote.
    ///
    /// `None` before the first checkpoint. Fails if the data is no encoded `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        if self.checkpoints == 0 {
            return Ok(None);
        }
        decode_value(&self.data).map(Some)
    }
}

impl fmt::Debug for LaneStatus {
    /// Omits the data, which is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneStatus")
            .field("checkpoints", &self.checkpoints)
            .field("progress", &self.progress)
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// Reading operations.
impl Snapshot {
    /// Returns operation `id` with its lanes; `None` if it does not exist.
    pub fn operation(&self, id: &str) -> Result<Option<OperationStatus>> {
        check_name("read operation", "operation id", id)?;
        let Some(row) = self.state().get(Table::Operations, id.as_bytes())? else {
            return Ok(None);
        };
        status(id.to_owned(), row.as_slice(), self.lanes(id)?).map(Some)
    }

    /// Returns a page of operations in order of their ids.
    ///
    /// The engine's internal operations are included. A page shorter than its limit is the last
    /// one.
    pub fn operations(&self, query: &OperationsQuery) -> Result<Vec<OperationStatus>> {
        let (after, limit) = (query.after.as_deref(), query.limit);
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        let rows = self.state().range(Table::Operations, (lower, Bound::Unbounded))?.take(limit);
        // Lanes are ordered by their operations: one scan of each table, in step.
        let first = after.map(|id| lanes_span(id).1);
        let first = first.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let lanes = self.state().range(Table::Checkpoints, (first, Bound::Unbounded))?;
        let mut lanes = lanes.peekable();
        rows.map(|entry| {
            let entry = entry?;
            let id = String::from_utf8_lossy(entry.key.as_slice()).into_owned();
            let (lower, upper) = lanes_span(&id);
            let mut own = Vec::new();
            while let Some(lane) = next_below(&mut lanes, &upper)? {
                // Earlier rows belong to no operation; `check` reports them.
                if lane.key.as_slice() >= &lower[..] {
                    own.push(lane_of(&lane, lower.len())?);
                }
            }
            status(id, entry.row.as_slice(), own)
        })
        .collect()
    }

    /// Returns the number of operations, the engine's internal ones included.
    pub fn operation_count(&self) -> Result<u64> {
        self.state().len(Table::Operations)
    }

    /// Returns a lane with its last checkpoint; `None` if operation or lane does not exist.
    pub fn lane(&self, operation: &str, lane: &str) -> Result<Option<LaneStatus>> {
        check_name("read lane", "operation id", operation)?;
        check_name("read lane", "lane", lane)?;
        let row = self.state().get(Table::Checkpoints, &checkpoint_key(operation, lane))?;
        row.map(|row| Ok(LaneStatus::new(lane.to_owned(), CheckpointRow::decode(row.as_slice())?)))
            .transpose()
    }

    /// Returns the kept checkpoints of a lane, the latest first.
    ///
    /// Empty if operation or lane does not exist, or the lane has had no checkpoint.
    pub fn checkpoints(&self, operation: &str, lane: &str) -> Result<Vec<LaneStatus>> {
        let Some(latest) = self.lane(operation, lane)?.filter(|lane| lane.checkpoints > 0) else {
            return Ok(Vec::new());
        };
        let lower = history_key(operation, lane, 0);
        let upper = history_key(operation, lane, u16::MAX);
        let span = (Bound::Included(&lower[..]), Bound::Included(&upper[..]));
        let earlier = self.state().range(Table::History, span)?.map(|entry| {
            let row = CheckpointRow::decode(entry?.row.as_slice())?;
            Ok(LaneStatus::new(lane.to_owned(), row))
        });
        let mut kept = std::iter::once(Ok(latest)).chain(earlier).collect::<Result<Vec<_>>>()?;
        kept.sort_unstable_by_key(|checkpoint| std::cmp::Reverse(checkpoint.checkpoints));
        Ok(kept)
    }

    pub(super) fn lanes(&self, operation: &str) -> Result<Vec<LaneStatus>> {
        let (lower, upper) = lanes_span(operation);
        let span = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
        let lanes = self.state().range(Table::Checkpoints, span)?;
        lanes.map(|entry| lane_of(&entry?, lower.len())).collect()
    }
}

fn status(id: String, row: &[u8], lanes: Vec<LaneStatus>) -> Result<OperationStatus> {
    let row = OperationFields::decode(row)?;
    let updated = lanes.iter().map(|lane| lane.updated_unix_millis).max().unwrap_or(0);
    let failure = |row: FailureRow| Failure { unix_millis: row.unix_millis, error: row.text };
    Ok(OperationStatus {
        name: row.name.unwrap_or_else(|| id.clone()),
        id,
        state: row.state.into(),
        held: row.held,
        version: row.version,
        generation: row.generation,
        attempts: row.attempts,
        retry: row.retry.into(),
        metadata: row.metadata,
        failure: row.failure.map(failure),
        checkpoints_kept: row.checkpoints_kept,
        created_unix_millis: row.created_unix_millis,
        updated_unix_millis: updated.max(row.updated_unix_millis),
        lanes,
    })
}

/// Decodes a lane's row. The lane's name begins at `at` in the key.
fn lane_of(entry: &Entry, at: usize) -> Result<LaneStatus> {
    let name = String::from_utf8_lossy(&entry.key.as_slice()[at..]).into_owned();
    Ok(LaneStatus::new(name, CheckpointRow::decode(entry.row.as_slice())?))
}

/// Returns the next row, if its key is below `upper`.
fn next_below(rows: &mut Peekable<Rows>, upper: &[u8]) -> Result<Option<Entry>> {
    let is_below =
        |row: &Result<Entry>| row.as_ref().map_or(true, |row| row.key.as_slice() < upper);
    rows.next_if(is_below).transpose()
}
