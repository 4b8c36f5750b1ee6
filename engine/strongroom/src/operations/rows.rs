//! An operation's rows in a transaction, and the rows derived from them.
//!
//! This module alone writes the tables `operations` and `unfinished`. So `unfinished` always lists
//! the operations that are not finished, and every transition is noted as an event of its commit.

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

/// Returns whether `id` names an internal operation of the engine.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(OWN_OPERATION_PREFIX)
}

/// Checks that a host's operation may have this id; otherwise `Invalid`.
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

/// Returns the row of an operation; `NotFound` if it is missing.
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

/// Sets the row's time of change. It never runs backwards, even if the clock does.
pub(super) fn bump_updated(tx: &Tx<'_>, row: &mut OperationFields) {
    let now = tx.now_unix_millis();
    row.updated_unix_millis = row.updated_unix_millis.max(now);
}

/// Writes the first row of an operation.
pub(super) fn create_row(tx: &mut Tx<'_>, id: &str, row: OperationFields) -> Result<()> {
    let state = row.state.into();
    if !is_own(id) {
        tx.state.put(Table::Unfinished, id.as_bytes(), &[])?;
        let kind = match state {
            OperationState::Running => Some(EventKind::Started),
            _ => None,
        };
        note_effects(tx, id, &row, None, kind);
    }
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Writes the row of an operation whose state does not change.
pub(super) fn write_row(tx: &mut Tx<'_>, id: &str, row: OperationFields) -> Result<()> {
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Writes an operation's row with state `next`; `Invalid` if `next` may not follow.
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
        note_effects(tx, id, &row, Some(state), kind);
    }
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

/// Notes a transition and its event, to be sent after the commit.
fn note_effects(
    tx: &mut Tx<'_>,
    id: &str,
    row: &OperationFields,
    from: Option<OperationState>,
    kind: Option<EventKind>,
) {
    let effects = tx.parts.get_mut::<CommitEffects>();
    effects.transitions.push((from, row.state.into()));
    if let Some(kind) = kind {
        effects.event(Event::new(id, row.name.as_deref(), row.updated_unix_millis, kind));
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

/// Returns the lanes of an operation with their last checkpoints, by name.
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

/// Deletes all rows of an operation, and returns their number.
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

/// Deletes an internal operation of the engine. Its commit sends no event.
pub(crate) fn remove_own(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.mark_internal();
    remove_rows(tx, id).map(drop)
}
