//! What is left to do: the operations that are not finished, and whether each can be resumed.
//!
//! Table `unfinished` names them, so however many have ended, opening a vault does not look at
//! those.

use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::machine::OperationState;
use super::query::OperationsQuery;
use super::room::{Operations, Room};
use super::rows::check_id;
use super::standing::{Resumable, standing};
use crate::records::Snapshot;
use strongroom_format::OperationFields;
use strongroom_store::state::Table;

/// An operation that is not finished.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UnfinishedOperation {
    /// Its id.
    pub id: String,
    /// What kind of work it is; its id, if it has no name or cannot be read.
    pub name: String,
    /// Where it stands; `None` if it cannot be read.
    pub state: Option<OperationState>,
    /// How much is done over all lanes, 0 to 1.
    pub progress: f64,
    /// How many lanes it has.
    pub lanes: usize,
    /// How many of them are complete.
    pub lanes_complete: usize,
    /// The version of its checkpoints, as the host counts.
    pub version: u32,
    /// Tries since its last checkpoint.
    pub attempts: u32,
    /// Since its last change; zero if the clock has gone back behind it.
    pub age: Duration,
    /// Whether it can be resumed, and why not.
    pub resumable: Resumable,
}

/// What is left to do.
impl Operations {
    /// Returns the host's operations that are not finished, in order of their ids. Reads all of their
    /// lanes, and no operation that is finished.
    pub fn unfinished(&self, query: &OperationsQuery) -> Result<Vec<UnfinishedOperation>> {
        let snapshot = self.room.read()?;
        let after = query.after.as_deref();
        let lower = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        snapshot
            .state()
            .range(Table::Unfinished, (lower, Bound::Unbounded))?
            .take(query.limit)
            .map(|entry| {
                let id = String::from_utf8_lossy(entry?.key.as_slice()).into_owned();
                judge(&self.room, &snapshot, id)
            })
            .collect()
    }

    /// Whether an operation can be resumed, and why not. `NotFound` if there is none.
    pub fn can_resume(&self, id: &str) -> Result<Resumable> {
        const ASK: &str = "read operation";
        check_id(ASK, id)?;
        let snapshot = self.room.read()?;
        if snapshot.state().get(Table::Operations, id.as_bytes())?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, ASK)
                .with_reason(Reason::OperationMissing)
                .with_detail("there is no such operation")
                .with_subject(id));
        }
        Ok(judge(&self.room, &snapshot, id.to_owned())?.resumable)
    }
}

/// What is to be said of an operation. That a row does not decode is one of the answers.
fn judge(room: &Room, snapshot: &Snapshot, id: String) -> Result<UnfinishedOperation> {
    let missing = || {
        Error::new(ErrorKind::Corrupt, "read operation")
            .with_reason(Reason::RowDamaged)
            .with_detail("the row is missing")
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
    let now = room.core.clock().unix_millis();
    let mut resumable = standing(&row, room.owners.generation(&id), now);
    if resumable.by_id() {
        let name = row.name.as_deref().unwrap_or(&id);
        if let Some(obstacle) = room.handlers.obstacle(name, row.version, &lanes) {
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
    fn what_cannot_be_read_is_listed_as_that_and_keeps_nobody_from_opening() {
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
        // Nothing judges them but whoever removes them.
        let all = ExpireOperations::new().older_than(Duration::ZERO);
        assert_eq!(vault.operations().expire(&all).unwrap().operations, 0);
        assert!(vault.operations().delete("a").unwrap() && vault.operations().delete("b").unwrap());
        assert!(vault.check(&CheckOptions::default()).unwrap().is_ok());
    }

    #[test]
    fn check_notices_rows_that_do_not_fit_one_another() {
        let (state, backend) = (MemoryState::new(), strongroom_backends::Memory::new());
        let vault = options().create_on(state, backend).unwrap();
        drop(vault.operations().begin("a", ["main"]).unwrap());
        vault.operations().begin("b", ["main"]).unwrap().cancel().unwrap();
        let problems = || vault.check(&CheckOptions::default()).unwrap().problems.len();
        assert_eq!(problems(), 0);
        put(&vault, Table::Unfinished, b"b", &[]);
        put(&vault, Table::Unfinished, b"nobody", &[]);
        put(&vault, Table::History, b"a\0other\0\0\0", LATER);
        assert_eq!(problems(), 4, "listed and over, listed and gone, no lane, unreadable");
        vault.write(|tx| tx.tx.state.delete(Table::Unfinished, b"a")).unwrap();
        assert_eq!(problems(), 5, "left and not listed");
    }
}
