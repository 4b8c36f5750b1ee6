//! Operations in numbers.

use std::collections::BTreeMap;
use std::ops::Bound;

use strongroom_base::Result;

use super::machine::OperationState;
use super::metrics::Latencies;
use super::room::Operations;
use super::rows::is_own;
use super::status::Failure;
use crate::records::Snapshot;
use strongroom_format::{CheckpointRow, OperationFields};
use strongroom_store::state::{Entry, Table};

/// Operations in numbers. Nothing in it tells of the engine's own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Statistics {
    /// How many operations are in each state; all states are there.
    pub operations: BTreeMap<OperationState, u64>,
    /// How many operations have a row that does not decode.
    pub unreadable_operations: u64,
    /// How many checkpoints have one.
    pub unreadable_checkpoints: u64,
    /// How many lanes they have.
    pub lanes: u64,
    /// How many checkpoints are kept, history included.
    pub checkpoints: u64,
    /// Bytes of their data.
    pub checkpoint_bytes: u64,
    /// Id and time of beginning, in milliseconds since the Unix epoch, of the oldest operation that
    /// is not finished.
    pub oldest_unfinished: Option<(String, u64)>,
    /// Id of the operation that failed last, even if it has gone on since, and how.
    pub last_failure: Option<(String, Failure)>,
    /// How long this process's commits took, from the first change to the sync.
    pub commits: Latencies,
    /// Events that a subscription of this process had no room for.
    pub events_missed: u64,
}

/// Statistics.
impl Operations {
    /// Counts the host's operations and their checkpoints, from a snapshot. Reads all of them: some
    /// hundred milliseconds for a hundred thousand. Held in memory, and 0 after opening: commits
    /// and missed events.
    pub fn statistics(&self) -> Result<Statistics> {
        let snapshot = self.room.read()?;
        let mut statistics = Statistics {
            operations: OperationState::ALL.map(|state| (state, 0)).into(),
            unreadable_operations: 0,
            unreadable_checkpoints: 0,
            lanes: 0,
            checkpoints: 0,
            checkpoint_bytes: 0,
            oldest_unfinished: None,
            last_failure: None,
            commits: self.room.hearing.metrics.commits(),
            events_missed: self.room.hearing.bus.missed(),
        };
        statistics.count_operations(&snapshot)?;
        statistics.count_checkpoints(&snapshot, Table::Checkpoints)?;
        statistics.count_checkpoints(&snapshot, Table::History)?;
        Ok(statistics)
    }
}

impl Statistics {
    /// How many operations there are.
    pub fn total(&self) -> u64 {
        self.operations.values().sum::<u64>() + self.unreadable_operations
    }

    fn count_operations(&mut self, snapshot: &Snapshot) -> Result<()> {
        each_of_host(snapshot, Table::Operations, |entry| {
            let Ok(row) = OperationFields::decode(entry.row.as_slice()) else {
                self.unreadable_operations += 1;
                return;
            };
            let state = OperationState::from(row.state);
            *self.operations.entry(state).or_default() += 1;
            let id = || String::from_utf8_lossy(entry.key.as_slice()).into_owned();
            let oldest = self.oldest_unfinished.as_ref().map_or(u64::MAX, |oldest| oldest.1);
            if !state.is_finished() && row.created_unix_millis < oldest {
                self.oldest_unfinished = Some((id(), row.created_unix_millis));
            }
            let last = self.last_failure.as_ref().map(|(_, failure)| failure.unix_millis);
            if let Some(failure) = row.failure
                && last.is_none_or(|last| failure.unix_millis >= last)
            {
                let failure = Failure { unix_millis: failure.unix_millis, error: failure.text };
                self.last_failure = Some((id(), failure));
            }
        })
    }

    fn count_checkpoints(&mut self, snapshot: &Snapshot, table: Table) -> Result<()> {
        each_of_host(snapshot, table, |entry| {
            let row = CheckpointRow::decode(entry.row.as_slice());
            self.lanes += u64::from(table == Table::Checkpoints);
            match row {
                Ok(CheckpointRow::V0 { sequence: 1.., data, .. }) => {
                    self.checkpoints += 1;
                    self.checkpoint_bytes += data.len() as u64;
                }
                // A lane that has had none.
                Ok(_) => {}
                Err(_) => self.unreadable_checkpoints += 1,
            }
        })
    }
}

/// Hands each row of the host's operations to `look`.
fn each_of_host(snapshot: &Snapshot, table: Table, mut look: impl FnMut(&Entry)) -> Result<()> {
    for entry in snapshot.state().range(table, (Bound::Unbounded, Bound::Unbounded))? {
        let entry = entry?;
        // Keys begin with the id, and no id of a host begins as the engine's own.
        if !is_own(&String::from_utf8_lossy(entry.key.as_slice())) {
            look(&entry);
        }
    }
    Ok(())
}
