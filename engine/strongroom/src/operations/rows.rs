//! An operation's rows inside a transaction: its own, and what is kept in step with it.
//!
//! The one place that writes tables `operations` and `unfinished`, so that the second always says
//! which of the first are not finished, and every change of a state is heard of once it commits.

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::events::{CommitEffects, Event, EventKind};
use super::machine::OperationState;
use crate::records::check_name;
use strongroom_format::{
    CheckpointRow, OWN_OPERATION_PREFIX, OperationFields, checkpoint_key, lanes_span,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Whether the operation of that id is the engine's own.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(OWN_OPERATION_PREFIX)
}

/// `Invalid` for an id that no operation of a host can have.
pub(super) fn check_id(operation: &'static str, id: &str) -> Result<()> {
    check_name(operation, "operation id", id)?;
    if is_own(id) {
        return Err(Error::new(ErrorKind::Invalid, operation)
            .with_reason(Reason::EngineOwnOperation)
            .with_detail(format!(
                "ids that begin with {OWN_OPERATION_PREFIX:?} are the engine's own"
            ))
            .with_subject(id));
    }
    Ok(())
}

pub(super) fn read_row(tx: &Tx<'_>, id: &str) -> Result<Option<OperationFields>> {
    tx.state
        .get(Table::Operations, id.as_bytes(), |row| row.map(OperationFields::decode))?
        .transpose()
}

/// The row of an operation that must be there.
pub(super) fn expect_row(
    tx: &Tx<'_>,
    operation: &'static str,
    id: &str,
) -> Result<OperationFields> {
    read_row(tx, id)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, operation)
            .with_reason(Reason::OperationMissing)
            .with_detail("there is no such operation")
            .with_subject(id)
    })
}

/// The row was changed. Its time does not go back when the clock does.
pub(super) fn bump_updated(tx: &Tx<'_>, row: &mut OperationFields) {
    let now = tx.now_unix_millis();
    row.updated_unix_millis = row.updated_unix_millis.max(now);
}

/// The first row of an operation.
pub(super) fn create_row(tx: &mut Tx<'_>, id: &str, row: OperationFields) -> Result<()> {
    let state = row.state.into();
    if !is_own(id) {
        tx.state.put(Table::Unfinished, id.as_bytes(), &[])?;
        let kind = match state {
            OperationState::Running => Some(EventKind::Started),
            _ => None,
        };
        tell(tx, id, &row, None, kind);
    }
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Writes the row of an operation that stays in its state.
pub(super) fn write_row(tx: &mut Tx<'_>, id: &str, row: OperationFields) -> Result<()> {
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Writes the row of an operation with `next` as its state; `Invalid` if it may not follow.
pub(super) fn write_step(
    tx: &mut Tx<'_>,
    operation: &'static str,
    id: &str,
    mut row: OperationFields,
    next: OperationState,
) -> Result<()> {
    let state = OperationState::from(row.state);
    if !bug::is_planted(Bug::AnyStep) {
        state.step(operation, next).map_err(|e| e.or_subject(id))?;
    }
    row.state = next.into();
    if !is_own(id) {
        if next.is_finished() && !bug::is_planted(Bug::KeepsListed) {
            tx.state.delete(Table::Unfinished, id.as_bytes())?;
        }
        let kind = match next {
            OperationState::Running if state == OperationState::Recovering => None,
            OperationState::Running => Some(EventKind::Started),
            OperationState::Recovering => Some(EventKind::Recovered),
            OperationState::Paused => Some(EventKind::Paused),
            OperationState::Completed => Some(EventKind::Completed),
            OperationState::Failed => {
                let error = row.failure.as_ref().map(|failure| failure.text.clone());
                Some(EventKind::Failed { error: error.unwrap_or_default() })
            }
            OperationState::Cancelled => Some(EventKind::Cancelled),
            OperationState::Initialized => None,
        };
        tell(tx, id, &row, Some(state), kind);
    }
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Notes what is to be heard of once the transaction has committed.
fn tell(
    tx: &mut Tx<'_>,
    id: &str,
    row: &OperationFields,
    from: Option<OperationState>,
    kind: Option<EventKind>,
) {
    let heard = tx.parts.get_mut::<CommitEffects>();
    heard.transitions.push((from, row.state.into()));
    if let Some(kind) = kind {
        heard.event(Event::new(id, row.name.as_deref(), row.updated_unix_millis, kind));
    }
}

/// Writes a new lane.
pub(super) fn create_lane(tx: &mut Tx<'_>, id: &str, lane: &str, now: u64) -> Result<()> {
    let start = CheckpointRow::V0 {
        sequence: 0,
        order: 0,
        progress: 0.0,
        complete: false,
        unix_millis: now,
        data: Vec::new(),
    };
    tx.state.put(Table::Checkpoints, &checkpoint_key(id, lane), &start.encode())
}

/// The lanes of an operation with their last checkpoints, by name.
pub(super) fn lane_rows(tx: &Tx<'_>, id: &str) -> Result<Vec<(String, CheckpointRow)>> {
    let (lower, upper) = lanes_span(id);
    let span = (std::ops::Bound::Included(&lower[..]), std::ops::Bound::Excluded(&upper[..]));
    tx.state
        .range(Table::Checkpoints, span)?
        .map(|entry| {
            let entry = entry?;
            let lane = String::from_utf8_lossy(&entry.key.as_slice()[lower.len()..]).into_owned();
            Ok((lane, CheckpointRow::decode(entry.row.as_slice())?))
        })
        .collect()
}

/// Removes all rows of an operation, if there are any; how many.
pub(super) fn remove_rows(tx: &mut Tx<'_>, id: &str) -> Result<u64> {
    let (lower, upper) = lanes_span(id);
    let span = (std::ops::Bound::Included(&lower[..]), std::ops::Bound::Excluded(&upper[..]));
    let mut rows = 0;
    let host = [Table::Checkpoints, Table::History];
    for &table in if is_own(id) { &host[..1] } else { &host } {
        let keys: Vec<Vec<u8>> = tx
            .state
            .range(table, span)?
            .map(|entry| Ok(entry?.key.as_slice().to_vec()))
            .collect::<Result<_>>()?;
        rows += keys.len() as u64;
        keys.iter().try_for_each(|key| tx.state.delete(table, key))?;
    }
    if !is_own(id) {
        tx.state.delete(Table::Unfinished, id.as_bytes())?;
    }
    tx.state.delete(Table::Operations, id.as_bytes())?;
    Ok(rows + 1)
}

/// Removes an operation of the engine's own. Nothing tells of the commit.
pub(crate) fn remove_own(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.mark_internal();
    remove_rows(tx, id).map(drop)
}
