//! Looking at operations from a snapshot: one, all, their lanes, the latest checkpoint and those
//! before it.

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

/// An operation as a snapshot shows it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct OperationStatus {
    /// Its id.
    pub id: String,
    /// What kind of work it is; its id, if it was begun without a name.
    pub name: String,
    /// Where it stands.
    pub state: OperationState,
    /// Whether it was paused, so that it is left when everything is resumed.
    pub held: bool,
    /// The version of its checkpoints, as the host counts.
    pub version: u32,
    /// How often it was begun, resumed or taken over; 0 if it was only prepared.
    pub generation: u64,
    /// Tries since its last checkpoint.
    pub attempts: u32,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// The host's pairs, by key.
    pub metadata: Vec<(String, String)>,
    /// How it failed last, even if it has gone on since.
    pub failure: Option<Failure>,
    /// How many checkpoints are kept of each lane.
    pub checkpoints_kept: u16,
    /// Milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// The last change of its row or of a lane; milliseconds since the Unix epoch.
    pub updated_unix_millis: u64,
    /// Its lanes, by name.
    pub lanes: Vec<LaneStatus>,
}

/// How an operation failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// When; milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// What the host, or the panic, said of it.
    pub error: String,
}

impl fmt::Debug for Failure {
    /// Never the text: it is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("unix_millis", &self.unix_millis).finish_non_exhaustive()
    }
}

impl fmt::Debug for OperationStatus {
    /// Never metadata: it is the host's.
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

/// A lane as a snapshot shows it: one of its checkpoints, the last if not said otherwise.
#[derive(Clone, PartialEq)]
pub struct LaneStatus {
    /// Its name.
    pub name: String,
    /// How many checkpoints it has had.
    pub checkpoints: u64,
    /// How much of it is done, 0 to 1.
    pub progress: f64,
    /// Whether it takes no further checkpoint.
    pub complete: bool,
    /// When it had the last one, or was begun; milliseconds since the Unix epoch.
    pub updated_unix_millis: u64,
    /// The host's data of the last one; empty if it has had none.
    pub data: Vec<u8>,
    /// Orders the checkpoints of one operation.
    order: u64,
}

impl OperationStatus {
    /// How much is done over all lanes, each counting the same, 0 to 1.
    pub fn progress(&self) -> f64 {
        let sum: f64 = self.lanes.iter().map(|lane| lane.progress).sum();
        if self.lanes.is_empty() { 0.0 } else { sum / self.lanes.len() as f64 }
    }

    /// The lane that had the latest checkpoint of all; `None` before the first.
    pub fn latest(&self) -> Option<&LaneStatus> {
        self.lanes.iter().filter(|lane| lane.checkpoints > 0).max_by_key(|lane| lane.order)
    }

    /// How many lanes are complete.
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

    /// The data as [`Checkpoint::encode`](crate::operations::Checkpoint::encode) wrote it; `None` before the
    /// first checkpoint.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        if self.checkpoints == 0 {
            return Ok(None);
        }
        decode_value(&self.data).map(Some)
    }
}

impl fmt::Debug for LaneStatus {
    /// Never the data: it is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneStatus")
            .field("checkpoints", &self.checkpoints)
            .field("progress", &self.progress)
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// Looking at operations.
impl Snapshot {
    /// The operation `id` with its lanes; `None` if it was never begun.
    pub fn operation(&self, id: &str) -> Result<Option<OperationStatus>> {
        check_name("read operation", "operation id", id)?;
        let Some(row) = self.state().get(Table::Operations, id.as_bytes())? else {
            return Ok(None);
        };
        status(id.to_owned(), row.as_slice(), self.lanes(id)?).map(Some)
    }

    /// Returns operations in order of their ids. A page shorter than its limit is the last one.
    pub fn operations(&self, query: &OperationsQuery) -> Result<Vec<OperationStatus>> {
        let (after, limit) = (query.after.as_deref(), query.limit);
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        let rows = self.state().range(Table::Operations, (lower, Bound::Unbounded))?.take(limit);
        // Lanes lie in the order of their operations: one scan of each table, in step.
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
                // What comes before is of nobody; `check` tells of it.
                if lane.key.as_slice() >= &lower[..] {
                    own.push(lane_of(&lane, lower.len())?);
                }
            }
            status(id, entry.row.as_slice(), own)
        })
        .collect()
    }

    /// How many operations there are.
    pub fn operation_count(&self) -> Result<u64> {
        self.state().len(Table::Operations)
    }

    /// A lane's last checkpoint; `None` if there is no such operation or lane.
    pub fn lane(&self, operation: &str, lane: &str) -> Result<Option<LaneStatus>> {
        check_name("read lane", "operation id", operation)?;
        check_name("read lane", "lane", lane)?;
        let row = self.state().get(Table::Checkpoints, &checkpoint_key(operation, lane))?;
        row.map(|row| Ok(LaneStatus::new(lane.to_owned(), CheckpointRow::decode(row.as_slice())?)))
            .transpose()
    }

    /// The checkpoints of a lane that are kept, the latest first; none if there is no such
    /// operation or lane, or it has had none.
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

/// The lane of a row whose key has its name from `at` on.
fn lane_of(entry: &Entry, at: usize) -> Result<LaneStatus> {
    let name = String::from_utf8_lossy(&entry.key.as_slice()[at..]).into_owned();
    Ok(LaneStatus::new(name, CheckpointRow::decode(entry.row.as_slice())?))
}

/// The next row, if its key lies below `upper`.
fn next_below(rows: &mut Peekable<Rows>, upper: &[u8]) -> Result<Option<Entry>> {
    let is_below =
        |row: &Result<Entry>| row.as_ref().map_or(true, |row| row.key.as_slice() < upper);
    rows.next_if(is_below).transpose()
}
