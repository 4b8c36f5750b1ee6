//! Looking at operations from a snapshot: one, all, their lanes, the latest checkpoint.

use std::fmt;
use std::ops::Bound;

use serde::de::DeserializeOwned;
use strongroom_backends::Result;

use crate::format::{self, CheckpointRow, OperationRow, checkpoint_key};
use crate::records::{check_name, decode_value};
use crate::state::{Entry, Table};
use crate::transaction::Snapshot;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationState {
    /// Begun, and not all of its lanes are complete. Whether anybody works on it is not said:
    /// after a crash nobody does, until it is resumed.
    Running,
    /// All of its lanes are complete.
    Completed,
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Completed => "completed",
        })
    }
}

/// An operation as a snapshot shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationStatus {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: OperationState,
    /// How often it was begun, resumed or taken over.
    pub generation: u64,
    /// Milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// The last change of its row or of a lane; milliseconds since the Unix epoch.
    pub updated_unix_millis: u64,
    /// Its lanes, by name.
    pub lanes: Vec<LaneStatus>,
}

/// A lane as a snapshot shows it: its last checkpoint.
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
    fn new(name: String, row: CheckpointRow) -> Self {
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

    /// The data as [`Checkpoint::encode`](crate::Checkpoint::encode) wrote it; `None` before the
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
        let row = self.state().get(Table::Operations, id.as_bytes())?;
        row.map(|row| self.status(id.to_owned(), row.as_slice())).transpose()
    }

    /// At most `limit` operations in order of their ids, from the first after `after` on. A page
    /// shorter than `limit` is the last one.
    pub fn operations(&self, after: Option<&str>, limit: usize) -> Result<Vec<OperationStatus>> {
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        self.state()
            .range(Table::Operations, (lower, Bound::Unbounded))?
            .take(limit)
            .map(|entry| {
                let entry = entry?;
                let id = String::from_utf8_lossy(entry.key.as_slice()).into_owned();
                self.status(id, entry.row.as_slice())
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

    fn status(&self, id: String, row: &[u8]) -> Result<OperationStatus> {
        let OperationRow::V0 {
            state, generation, created_unix_millis, updated_unix_millis, ..
        } = OperationRow::decode(row)?;
        let lanes = self.lanes(&id)?;
        let updated = lanes.iter().map(|lane| lane.updated_unix_millis).max().unwrap_or(0);
        Ok(OperationStatus {
            id,
            state: match state {
                format::OperationState::Running => OperationState::Running,
                format::OperationState::Completed => OperationState::Completed,
            },
            generation,
            created_unix_millis,
            updated_unix_millis: updated.max(updated_unix_millis),
            lanes,
        })
    }

    fn lanes(&self, operation: &str) -> Result<Vec<LaneStatus>> {
        let lower = checkpoint_key(operation, "");
        let mut upper = lower.clone();
        *upper.last_mut().expect("ends in a zero byte") = 1;
        let span = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
        let lane = |entry: Result<Entry>| {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.key.as_slice()[lower.len()..]).into_owned();
            Ok(LaneStatus::new(name, CheckpointRow::decode(entry.row.as_slice())?))
        };
        self.state().range(Table::Checkpoints, span)?.map(lane).collect()
    }
}
