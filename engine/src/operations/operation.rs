//! Begin, resume, take over; and the handle of an operation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use strongroom_backends::{Error, ErrorKind, Result};

use super::lane::Lane;
use super::status::OperationStatus;
use crate::format::{CheckpointRow, OperationRow, OperationState, checkpoint_key};
use crate::records::check_name;
use crate::state::Table;
use crate::transaction::WriteTx;
use crate::vault::{Vault, VaultInner};

/// Most lanes of one operation.
pub const LANES_MAX: usize = 4_096;

/// Ids that begin so are the engine's own: hosts see such operations, and cannot touch them.
const OWN_PREFIX: &str = "strongroom.";

/// The right to run an operation, until it is dropped or taken over. Cheap to clone.
#[derive(Clone)]
pub struct Operation {
    pub(super) inner: Arc<OperationInner>,
}

pub(super) struct OperationInner {
    pub(super) vault: Arc<VaultInner>,
    pub(super) id: String,
    pub(super) generation: u64,
    /// Numbers the checkpoints of all lanes.
    pub(super) order: Arc<AtomicU64>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.inner.generation;
        f.debug_struct("Operation").field("generation", &generation).finish_non_exhaustive()
    }
}

/// Operations.
impl Vault {
    /// Begins an operation under a new `id`, in the given lanes.
    ///
    /// `AlreadyExists` if the id was ever used; `Invalid` for a bad name, one that begins with
    /// `strongroom.`, no lane, too many, or one twice.
    pub fn begin(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        let lanes = check_lanes(id, lanes)?;
        self.claim("begin operation", id, |tx| match read_row(tx, id)? {
            Some(_) => {
                Err(Error::new(ErrorKind::AlreadyExists, "begin operation").with_subject(id))
            }
            None => begin_in(tx, id, &lanes),
        })
    }

    /// Resumes an operation where its lanes stood.
    ///
    /// `NotFound` if it was never begun, `AlreadyExists` if it is completed, `Locked` while a
    /// handle of it lives in this process. (A handle of another process cannot live: that process
    /// would have the vault.)
    pub fn resume(&self, id: &str) -> Result<Operation> {
        self.claim("resume operation", id, |tx| resume_in(tx, id, Existing::MustBeFree))
    }

    /// Begins the operation, or resumes it if it was begun. When it resumes, the lanes must be
    /// those that it began with; else `Invalid`. `AlreadyExists` if it is completed: there is
    /// nothing left to do.
    pub fn begin_or_resume(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        let lanes = check_lanes(id, lanes)?;
        self.claim("begin or resume operation", id, |tx| {
            if read_row(tx, id)?.is_none() {
                return begin_in(tx, id, &lanes);
            }
            let claimed = resume_in(tx, id, Existing::MustBeFree)?;
            check_same_lanes(tx, id, &lanes)?;
            Ok(claimed)
        })
    }

    /// Resumes an operation although a handle of it may live: whatever that one commits from
    /// now on is refused with `Conflict`. Logged.
    pub fn take_over(&self, id: &str) -> Result<Operation> {
        tracing::warn!("operation taken over by force");
        self.claim("take over operation", id, |tx| resume_in(tx, id, Existing::IsFenced))
    }

    /// Removes an operation with its checkpoints, completed or not; whether there was one. Its
    /// id can be used again. `Locked` while a handle of it lives.
    pub fn remove_operation(&self, id: &str) -> Result<bool> {
        const REMOVE: &str = "remove operation";
        check_id(REMOVE, id)?;
        self.inner().write(
            REMOVE,
            |tx| {
                if read_row(tx, id)?.is_none() {
                    return Ok(false);
                }
                if tx.vault.owners.generation(id).is_some() {
                    return Err(Error::new(ErrorKind::Locked, REMOVE)
                        .with_detail("a handle of it lives in this process")
                        .with_subject(id));
                }
                remove_own(tx, id)?;
                Ok(true)
            },
            |_| (),
        )
    }

    fn claim(
        &self,
        operation: &'static str,
        id: &str,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<Claimed>,
    ) -> Result<Operation> {
        check_id(operation, id)?;
        self.claim_any(operation, id, change)
    }

    fn claim_any(
        &self,
        operation: &'static str,
        id: &str,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<Claimed>,
    ) -> Result<Operation> {
        let inner = self.inner();
        // Registered once it has happened, and before anybody else may write: a handle that was
        // not taken over after all must stay registered.
        let claimed =
            inner.write(operation, change, |claimed| inner.owners.claim(id, claimed.generation))?;
        Ok(Operation {
            inner: Arc::new(OperationInner {
                vault: Arc::clone(self.inner()),
                id: id.to_owned(),
                generation: claimed.generation,
                order: Arc::new(AtomicU64::new(claimed.next_order)),
            }),
        })
    }
}

/// Begins an operation of the engine's own, in the commit of `with`.
pub(crate) fn begin_own(
    vault: &Vault,
    id: &str,
    lanes: &[String],
    with: impl FnOnce(&mut WriteTx<'_>) -> Result<()>,
) -> Result<Operation> {
    vault.claim_any("begin operation", id, |tx| {
        with(tx)?;
        begin_in(tx, id, lanes)
    })
}

/// Resumes an operation of the engine's own.
pub(crate) fn resume_own(vault: &Vault, id: &str) -> Result<Operation> {
    vault.claim_any("resume operation", id, |tx| resume_in(tx, id, Existing::MustBeFree))
}

/// Removes the rows of an operation, if there are any.
pub(crate) fn remove_own(tx: &mut WriteTx<'_>, id: &str) -> Result<()> {
    for (lane, _) in lane_rows(tx, id)? {
        tx.state.delete(Table::Checkpoints, &checkpoint_key(id, &lane))?;
    }
    tx.state.delete(Table::Operations, id.as_bytes())
}

impl Operation {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// How often it was begun, resumed or taken over.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Opens a lane, to go on where it stood. `NotFound` if the operation has no such lane,
    /// `Locked` if it is open already.
    pub fn lane(&self, name: &str) -> Result<Lane> {
        Lane::open(self, name)
    }

    /// Where it stands now, lane by lane.
    pub fn status(&self) -> Result<OperationStatus> {
        let vault = Vault::from_inner(Arc::clone(&self.inner.vault));
        vault.read()?.operation(self.id())?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read operation").with_subject(self.id())
        })
    }
}

impl Drop for OperationInner {
    fn drop(&mut self) {
        self.vault.owners.release(&self.id, self.generation);
    }
}

struct Claimed {
    generation: u64,
    next_order: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    MustBeFree,
    IsFenced,
}

/// Whether the operation of that id is the engine's own.
pub(crate) fn is_own(id: &str) -> bool {
    id.starts_with(OWN_PREFIX)
}

/// `Invalid` for an id that no operation of a host can have.
fn check_id(operation: &'static str, id: &str) -> Result<()> {
    check_name(operation, "operation id", id)?;
    if is_own(id) {
        return Err(Error::new(ErrorKind::Invalid, operation)
            .with_detail(format!("ids that begin with {OWN_PREFIX:?} are the engine's own"))
            .with_subject(id));
    }
    Ok(())
}

fn check_lanes(
    id: &str,
    lanes: impl IntoIterator<Item = impl Into<String>>,
) -> Result<Vec<String>> {
    const BEGIN: &str = "begin operation";
    let invalid = |detail: String| {
        Err(Error::new(ErrorKind::Invalid, BEGIN).with_detail(detail).with_subject(id))
    };
    let mut lanes: Vec<String> = lanes.into_iter().map(Into::into).collect();
    lanes.iter().try_for_each(|lane| check_name(BEGIN, "lane", lane))?;
    lanes.sort_unstable();
    if let Some((twice, _)) = lanes.iter().zip(lanes.iter().skip(1)).find(|(a, b)| a == b) {
        return invalid(format!("lane {twice:?} is named twice"));
    }
    match lanes.len() {
        0 => invalid("an operation needs at least one lane".into()),
        1..=LANES_MAX => Ok(lanes),
        n => invalid(format!("operation has {n} lanes, the limit is {LANES_MAX}")),
    }
}

pub(super) fn read_row(tx: &WriteTx<'_>, id: &str) -> Result<Option<OperationRow>> {
    tx.state.get(Table::Operations, id.as_bytes(), |row| row.map(OperationRow::decode))?.transpose()
}

pub(super) fn write_row(tx: &mut WriteTx<'_>, id: &str, row: &OperationRow) -> Result<()> {
    tx.state.put(Table::Operations, id.as_bytes(), &row.encode())
}

fn begin_in(tx: &mut WriteTx<'_>, id: &str, lanes: &[String]) -> Result<Claimed> {
    let now = tx.vault.components.clock.unix_millis();
    let count = u32::try_from(lanes.len()).expect("at most LANES_MAX");
    let row = OperationRow::V0 {
        state: OperationState::Running,
        owner: tx.vault.session,
        generation: 1,
        created_unix_millis: now,
        updated_unix_millis: now,
        lanes: count,
        lanes_open: count,
    };
    write_row(tx, id, &row)?;
    let start = CheckpointRow::V0 {
        sequence: 0,
        order: 0,
        progress: 0.0,
        complete: false,
        unix_millis: now,
        data: Vec::new(),
    }
    .encode();
    for lane in lanes {
        tx.state.put(Table::Checkpoints, &checkpoint_key(id, lane), &start)?;
    }
    Ok(Claimed { generation: 1, next_order: 1 })
}

fn resume_in(tx: &mut WriteTx<'_>, id: &str, existing: Existing) -> Result<Claimed> {
    const RESUME: &str = "resume operation";
    let refuse =
        |kind, detail: String| Err(Error::new(kind, RESUME).with_detail(detail).with_subject(id));
    let Some(mut row) = read_row(tx, id)? else {
        return refuse(ErrorKind::NotFound, "there is no such operation".into());
    };
    let session = tx.vault.session;
    let now = tx.vault.components.clock.unix_millis();
    let OperationRow::V0 { state, owner, generation, updated_unix_millis, .. } = &mut row;
    if *state == OperationState::Completed {
        return refuse(ErrorKind::AlreadyExists, "the operation is completed".into());
    }
    if existing == Existing::MustBeFree
        && let Some(live) = tx.vault.owners.generation(id)
    {
        let detail = format!("generation {live} of it is running in this process");
        return refuse(ErrorKind::Locked, detail);
    }
    *generation += 1;
    *owner = session;
    *updated_unix_millis = now;
    let generation = *generation;
    write_row(tx, id, &row)?;
    let newest =
        lane_rows(tx, id)?.into_iter().map(|(_, CheckpointRow::V0 { order, .. })| order).max();
    Ok(Claimed { generation, next_order: newest.unwrap_or(0) + 1 })
}

fn check_same_lanes(tx: &WriteTx<'_>, id: &str, lanes: &[String]) -> Result<()> {
    let begun: Vec<String> = lane_rows(tx, id)?.into_iter().map(|(lane, _)| lane).collect();
    if begun == lanes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "resume operation")
        .with_detail(format!(
            "it began with {} lanes and is resumed with {}, or their names differ",
            begun.len(),
            lanes.len()
        ))
        .with_subject(id))
}

fn lane_rows(tx: &WriteTx<'_>, id: &str) -> Result<Vec<(String, CheckpointRow)>> {
    let prefix = checkpoint_key(id, "");
    let mut end = prefix.clone();
    *end.last_mut().expect("ends in a zero byte") = 1;
    let span = (std::ops::Bound::Included(&prefix[..]), std::ops::Bound::Excluded(&end[..]));
    tx.state
        .range(Table::Checkpoints, span)?
        .map(|entry| {
            let entry = entry?;
            let lane = String::from_utf8_lossy(&entry.key.as_slice()[prefix.len()..]).into_owned();
            Ok((lane, CheckpointRow::decode(entry.row.as_slice())?))
        })
        .collect()
}
