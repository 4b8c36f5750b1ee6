//! Statistics of operations.

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

/// Statistics of the host's operations. Internal operations of the engine are excluded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Statistics {
    /// Number of operations in each state. Every state has an entry.
    pub operations: BTreeMap<OperationState, u64>,
    /// Number of operations whose row does not decode.
    pub unreadable_operations: u64,
    /// Number of checkpoints whose row does not decode.
    pub unreadable_checkpoints: u64,
    /// Number of lanes.
    pub lanes: u64,
    /// Number of checkpoints kept, history included.
    pub checkpoints: u64,
    /// Bytes of the checkpoints' data.
    pub checkpoint_bytes: u64,
    /// The oldest unfinished operation: its id, and when it began.
    ///
    /// The time is in milliseconds since the Unix epoch.
    pub oldest_unfinished: Option<(String, u64)>,
    /// The latest failure: the operation's id and the error, even if it was resumed since.
    pub last_failure: Option<(String, Failure)>,
    /// Durations of this process's commits, from the first change to the sync.
    pub commits: Latencies,
    /// Number of events that did not fit a subscription of this process.
    pub events_missed: u64,
}

/// Statistics.
impl Operations {
    /// Counts the host's operations and their checkpoints, from a snapshot.
    ///
    /// Reads all of them: a few hundred milliseconds for 100,000. Commit durations and missed
    /// events are counted in memory, from 0 when the vault opens.
    pub fn statistics(&self) -> Result<Statistics> {
        let snapshot = self.shared.read()?;
        let mut statistics = Statistics {
            operations: OperationState::ALL.map(|state| (state, 0)).into(),
            unreadable_operations: 0,
            unreadable_checkpoints: 0,
            lanes: 0,
            checkpoints: 0,
            checkpoint_bytes: 0,
            oldest_unfinished: None,
            last_failure: None,
            commits: self.shared.observer.metrics.commits(),
            events_missed: self.shared.observer.bus.missed(),
        };
        statistics.count_operations(&snapshot)?;
        statistics.count_checkpoints(&snapshot, Table::Checkpoints)?;
        statistics.count_checkpoints(&snapshot, Table::History)?;
        Ok(statistics)
    }
}

impl Statistics {
    /// Returns the number of operations.
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
                // A lane without a checkpoint.
                Ok(_) => {}
                Err(_) => self.unreadable_checkpoints += 1,
            }
        })
    }
}

/// Calls `look` for each row of the host's operations.
fn each_of_host(snapshot: &Snapshot, table: Table, mut look: impl FnMut(&Entry)) -> Result<()> {
    for entry in snapshot.state().range(table, (Bound::Unbounded, Bound::Unbounded))? {
        let entry = entry?;
        // Keys begin with the operation's id, and a host's id never begins with the engine's
        // prefix.
        if !is_own(&String::from_utf8_lossy(entry.key.as_slice())) {
            look(&entry);
        }
    }
    Ok(())
}
