//! Unfinished operations, and their resumability.
//!
//! Table `unfinished` lists them. So opening a vault never reads finished operations, whatever
//! their number.

use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::machine::OperationState;
use super::query::OperationsQuery;
use super::resumability::{Resumable, resumability};
use super::room::{Operations, OperationsShared};
use super::rows::check_id;
use crate::records::Snapshot;
use strongroom_format::OperationFields;
use strongroom_store::state::Table;

/// An operation that is not finished.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UnfinishedOperation {
    /// Id of the operation.
    pub id: String,
    /// Kind of work: the operation's name, or its id if it has none or is unreadable.
    pub name: String,
    /// State of the operation; `None` if it is unreadable.
    pub state: Option<OperationState>,
    /// Mean progress of all lanes, from 0 to 1.
    pub progress: f64,
    /// Number of lanes.
    pub lanes: usize,
    /// Number of complete lanes.
    pub lanes_complete: usize,
    /// Version of its checkpoints, as the host counts versions.
    pub version: u32,
    /// Number of tries since the last checkpoint.
    pub attempts: u32,
    /// Time since the last change; zero if the clock is behind that change.
    pub age: Duration,
    /// Resumability: whether it can be resumed, and if not, why.
    pub resumable: Resumable,
}

/// Unfinished operations.
impl Operations {
    /// Returns a page of the host's unfinished operations, ordered by id.
    ///
    /// Reads all of their lanes, and no finished operation.
    pub fn unfinished(&self, query: &OperationsQuery) -> Result<Vec<UnfinishedOperation>> {
        let snapshot = self.shared.read()?;
        let after = query.after.as_deref();
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        snapshot
            .state()
            .range(Table::Unfinished, (lower, Bound::Unbounded))?
            .take(query.limit)
            .map(|entry| {
                let id = String::from_utf8_lossy(entry?.key.as_slice()).into_owned();
                describe(&self.shared, &snapshot, id)
            })
            .collect()
    }

    /// Returns whether an operation can be resumed, and if not, why.
    ///
    /// `NotFound` if it does not exist.
    pub fn can_resume(&self, id: &str) -> Result<Resumable> {
        const ASK: &str = "read operation";
        check_id(ASK, id)?;
        let snapshot = self.shared.read()?;
        if snapshot.state().get(Table::Operations, id.as_bytes())?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, ASK)
                .with_reason(Reason::OperationMissing)
                .with_detail("there is no such operation")
                .with_subject(id));
        }
        Ok(describe(&self.shared, &snapshot, id.to_owned())?.resumable)
    }
}

/// Describes an operation. A row that does not decode yields `Resumable::Unreadable`.
fn describe(
    shared: &OperationsShared,
    snapshot: &Snapshot,
    id: String,
) -> Result<UnfinishedOperation> {
    let missing = || {
        Error::new(ErrorKind::Corrupt, "read operation")
            .with_reason(Reason::RowDamaged)
            .with_detail("the operation's row is missing")
    };
    let bytes = snapshot.state().get(Table::Operations, id.as_bytes())?;
    let row = bytes.ok_or_else(missing).and_then(|row| OperationFields::decode(row.as_slice()));
    let lanes = match snapshot.lanes(&id) {
        Err(e) if e.kind() != ErrorKind::Corrupt => return Err(e),
        other => other,
    };
    let (row, lanes) = match (row, lanes) {
        (Ok(row), Ok(lanes)) => (row, lanes),
        (Err(e), _) | (_, Err(e)) => return Ok(unreadable(id, &e)),
    };
    let now = shared.core.clock().unix_millis();
    let mut resumable = resumability(&row, shared.owners.generation(&id), now);
    if resumable.by_id() {
        let name = row.name.as_deref().unwrap_or(&id);
        if let Some(obstacle) = shared.handlers.obstacle(name, row.version, &lanes) {
            resumable = obstacle;
        }
    }
    let updated = lanes.iter().map(|lane| lane.updated_unix_millis).max().unwrap_or(0);
    let progress: f64 = lanes.iter().map(|lane| lane.progress).sum();
    Ok(UnfinishedOperation {
        name: row.name.unwrap_or_else(|| id.clone()),
        id,
        state: Some(row.state.into()),
        progress: progress / lanes.len().max(1) as f64,
        lanes: lanes.len(),
        lanes_complete: lanes.iter().filter(|lane| lane.complete).count(),
        version: row.version,
        attempts: row.attempts,
        age: Duration::from_millis(now.saturating_sub(updated.max(row.updated_unix_millis))),
        resumable,
    })
}

fn unreadable(id: String, error: &Error) -> UnfinishedOperation {
    UnfinishedOperation {
        name: id.clone(),
        id,
        state: None,
        progress: 0.0,
        lanes: 0,
        lanes_complete: 0,
        version: 0,
        attempts: 0,
        age: Duration::ZERO,
        resumable: Resumable::Unreadable { detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckOptions;
    use crate::operations::ExpireOperations;
    use crate::storage::MemoryState;
    use crate::{SecretKey, Vault, VaultOptions};

    /// A row of a version that does not exist yet.
    const LATER: &[u8] = &[9, 9, 9];

    fn options() -> VaultOptions {
        Vault::options(SecretKey::new([0; SecretKey::BYTES]))
    }

    fn put(vault: &Vault, table: Table, key: &[u8], row: &[u8]) {
        vault.write(|tx| tx.tx.state.put(table, key, row)).expect("nothing fails in memory");
    }

    #[test]
    fn unreadable_operation_is_listed_and_vault_opens() {
        let (state, backend) = (MemoryState::new(), strongroom_backends::Memory::new());
        let vault = options().create_on(state.clone(), backend.clone()).unwrap();
        for id in ["a", "b", "c"] {
            drop(vault.operations().begin(id, ["main"]).unwrap());
        }
        put(&vault, Table::Operations, b"a", LATER);
        put(&vault, Table::Checkpoints, b"b\0main", LATER);
        vault.close().unwrap();

        let vault = options().open_on(state, backend).unwrap();
        let found = &vault.recovery().operations;
        let unreadable = |at: usize| matches!(found[at].resumable, Resumable::Unreadable { .. });
        assert!(unreadable(0) && unreadable(1), "{found:?}");
        assert_eq!((found[0].state, &found[2].resumable.by_id()), (None, &true));
        assert_eq!(vault.operations().resume("a").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(vault.operations().resume("b").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(vault.operations().can_resume("b").unwrap(), found[1].resumable);
        let counted = vault.operations().statistics().unwrap();
        assert_eq!((counted.unreadable_operations, counted.unreadable_checkpoints), (1, 1));
        assert_eq!(counted.total(), 3);
        assert_eq!(vault.check(&CheckOptions::default()).unwrap().problems.len(), 3);
        // Expiry never deletes an unreadable operation; `delete` does.
        let all = ExpireOperations::new().older_than(Duration::ZERO);
        assert_eq!(vault.operations().expire(&all).unwrap().operations, 0);
        assert!(vault.operations().delete("a").unwrap() && vault.operations().delete("b").unwrap());
        assert!(vault.check(&CheckOptions::default()).unwrap().is_ok());
    }

    #[test]
    fn check_reports_inconsistent_operation_rows() {
        let (state, backend) = (MemoryState::new(), strongroom_backends::Memory::new());
        let vault = options().create_on(state, backend).unwrap();
        drop(vault.operations().begin("a", ["main"]).unwrap());
        vault.operations().begin("b", ["main"]).unwrap().cancel().unwrap();
        let problems = || vault.check(&CheckOptions::default()).unwrap().problems.len();
        assert_eq!(problems(), 0);
        put(&vault, Table::Unfinished, b"b", &[]);
        put(&vault, Table::Unfinished, b"missing", &[]);
        put(&vault, Table::History, b"a\0other\0\0\0", LATER);
        assert_eq!(problems(), 4, "listed and over, listed and gone, no lane, unreadable");
        vault.write(|tx| tx.tx.state.delete(Table::Unfinished, b"a")).unwrap();
        assert_eq!(problems(), 5, "left and not listed");
    }
}
