//! Begin, resume, take over, remove: how an operation comes to an owner, and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::machine::OperationState;
use super::operation::{Operation, OperationInner};
use super::room::{Operations, Room};
use super::rows::{
    bump_updated, check_id, create_lane, create_row, expect_row, lane_rows, read_row, remove_rows,
    write_row, write_step,
};
use super::spec::{OperationSpec, RetryPolicy};
use super::standing::{Resumable, standing};
use strongroom_format::{CheckpointRow, OperationFields};
use strongroom_store::commit::Tx;

const BEGIN: &str = "begin operation";
const RESUME: &str = "resume operation";

/// Operations.
impl Operations {
    /// Begins an operation under a new `id`, in the given lanes; [`begin_with`](Self::begin_with)
    /// tells it more.
    pub fn begin(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        self.begin_with(OperationSpec::new(id).lanes(lanes))
    }

    /// Begins an operation.
    ///
    /// `AlreadyExists` if the id was ever used; `Invalid` for a bad name, an id that begins with
    /// `strongroom.`, no lane, too many, or one twice, metadata or a history beyond their bounds.
    pub fn begin_with(&self, spec: OperationSpec) -> Result<Operation> {
        let spec = spec.checked()?;
        self.claim(BEGIN, &spec.id, |tx| {
            refuse_used(tx, &spec.id)?;
            create(tx, &spec, OperationState::Running)
        })
    }

    /// Makes an operation known without beginning it: a crash does not lose it, and whoever resumes
    /// it begins. Errors as those of [`begin_with`](Self::begin_with).
    pub fn prepare(&self, spec: OperationSpec) -> Result<()> {
        const PREPARE: &str = "prepare operation";
        let spec = spec.checked()?;
        let create = |tx: &mut Tx<'_>| {
            refuse_used(tx, &spec.id)?;
            create(tx, &spec, OperationState::Initialized).map(drop)
        };
        self.room.core.write(PREPARE, create)
    }

    /// Resumes an operation where its lanes stood, or begins one that was
    /// [prepared](Self::prepare).
    ///
    /// `NotFound` if there is none, `AlreadyExists` if it is completed, `Locked` while a handle of
    /// it lives in this process. (A handle of another process cannot live: that process would have
    /// the vault.) `Invalid` if it was cancelled, or if all tries that its [`RetryPolicy`] allows
    /// got nowhere. [`can_resume`](Self::can_resume) tells the same without trying.
    pub fn resume(&self, id: &str) -> Result<Operation> {
        check_id(RESUME, id)?;
        self.claim(RESUME, id, |tx| resume_in(&self.room, tx, id, By::Right))
    }

    /// Begins the operation, or resumes it if it was begun. When it resumes, the lanes must be
    /// those that it began with; else `Invalid`. `AlreadyExists` if it is completed: there is
    /// nothing left to do.
    pub fn begin_or_resume(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        self.begin_or_resume_with(OperationSpec::new(id).lanes(lanes))
    }

    /// As [`begin_or_resume`](Self::begin_or_resume). Of an operation that exists only the lanes are
    /// compared; the rest stays as it was begun.
    pub fn begin_or_resume_with(&self, spec: OperationSpec) -> Result<Operation> {
        let spec = spec.checked()?;
        self.claim("begin or resume operation", &spec.id, |tx| {
            if read_row(tx, &spec.id)?.is_none() {
                return create(tx, &spec, OperationState::Running);
            }
            let claimed = resume_in(&self.room, tx, &spec.id, By::Right)?;
            check_same_lanes(tx, &spec)?;
            Ok(claimed)
        })
    }

    /// Resumes an operation by force, although a handle of it may live or its tries are used up:
    /// whatever that handle commits from now on is refused with `Conflict`, and tries are counted
    /// anew. Logged.
    pub fn take_over(&self, id: &str) -> Result<Operation> {
        const TAKE_OVER: &str = "take over operation";
        check_id(TAKE_OVER, id)?;
        tracing::warn!("operation taken over by force");
        self.claim(TAKE_OVER, id, |tx| resume_in(&self.room, tx, id, By::Force))
    }

    /// Lays aside an operation that nobody runs: whoever resumes *everything* leaves it, until it is
    /// [resumed](Self::resume) by its id. `Locked` while a handle of it lives: pause it by that.
    /// `Invalid` if it is finished.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.end_unowned("pause operation", id, OperationState::Paused)
    }

    /// Gives up an operation that nobody runs: it is cancelled, and cannot be resumed. What it has
    /// committed stays. `Locked` while a handle of it lives: cancel it by that. `Invalid` if it is
    /// finished.
    pub fn abandon(&self, id: &str) -> Result<()> {
        self.end_unowned("abandon operation", id, OperationState::Cancelled)
    }

    fn end_unowned(&self, call: &'static str, id: &str, next: OperationState) -> Result<()> {
        check_id(call, id)?;
        let change = |tx: &mut Tx<'_>| {
            let mut row = expect_row(tx, call, id)?;
            refuse_live(&self.room, call, id)?;
            row.held = next == OperationState::Paused;
            bump_updated(tx, &mut row);
            if row.held && OperationState::from(row.state) == OperationState::Paused {
                return write_row(tx, id, row);
            }
            write_step(tx, call, id, row, next)
        };
        self.room.core.write(call, change)
    }

    /// Deletes an operation with its checkpoints, completed or not; whether there was one. Its
    /// id can be used again. `Locked` while a handle of it lives.
    pub fn delete(&self, id: &str) -> Result<bool> {
        const DELETE: &str = "delete operation";
        check_id(DELETE, id)?;
        let change = |tx: &mut Tx<'_>| {
            // Also one whose row cannot be read.
            if tx.state.get(strongroom_store::state::Table::Operations, id.as_bytes(), |row| {
                row.is_none()
            })? {
                return Ok(false);
            }
            refuse_live(&self.room, DELETE, id)?;
            remove_rows(tx, id).map(|_| true)
        };
        self.room.core.write(DELETE, change)
    }

    fn claim(
        &self,
        action: &'static str,
        id: &str,
        change: impl FnOnce(&mut Tx<'_>) -> Result<Claimed>,
    ) -> Result<Operation> {
        let claim = Arc::<AtomicU64>::default();
        let claimed = self.room.core.write(action, |tx| {
            let claimed = change(tx)?;
            // Registered once it has committed, and under the turn: a handle that was not taken
            // over after all must stay registered.
            let (room, id, claim) = (Arc::clone(&self.room), id.to_owned(), Arc::clone(&claim));
            let generation = claimed.generation;
            tx.on_commit(move |_| {
                claim.store(room.owners.claim(&id, generation), Ordering::Release);
            });
            Ok::<_, Error>(claimed)
        })?;
        Ok(Operation {
            inner: Arc::new(OperationInner {
                room: Arc::clone(&self.room),
                id: id.to_owned(),
                generation: claimed.generation,
                claim: claim.load(Ordering::Acquire),
                order: Arc::new(AtomicU64::new(claimed.next_order)),
            }),
        })
    }
}

/// Begins an operation of the engine's own, in the commit of `with`. It has no history, and nothing
/// tells of it.
pub(crate) fn begin_own(
    operations: &Operations,
    id: &str,
    lanes: &[String],
    with: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> Result<Operation> {
    let retry = RetryPolicy { attempts_max: 0, ..RetryPolicy::DEFAULT };
    let spec = OperationSpec::new(id).lanes(lanes).retry(retry).checkpoints_kept(1);
    operations.claim(BEGIN, id, |tx| {
        tx.mark_internal();
        with(tx)?;
        create(tx, &spec, OperationState::Running)
    })
}

/// Resumes an operation of the engine's own.
pub(crate) fn resume_own(operations: &Operations, id: &str) -> Result<Operation> {
    operations.claim(RESUME, id, |tx| {
        tx.mark_internal();
        resume_in(&operations.room, tx, id, By::Right)
    })
}

/// Resumes an operation that is not paused; one that is, is `Invalid`.
pub(crate) fn resume_unless_held(operations: &Operations, id: &str) -> Result<Operation> {
    check_id(RESUME, id)?;
    operations.claim(RESUME, id, |tx| resume_in(&operations.room, tx, id, By::All))
}

/// What a claim has won.
struct Claimed {
    generation: u64,
    next_order: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Right,
    /// Whoever resumes everything.
    All,
    Force,
}

fn refuse_used(tx: &Tx<'_>, id: &str) -> Result<()> {
    match read_row(tx, id)? {
        Some(_) => Err(Error::new(ErrorKind::AlreadyExists, BEGIN)
            .with_reason(Reason::OperationExists)
            .with_subject(id)),
        None => Ok(()),
    }
}

pub(super) fn refuse_live(room: &Room, action: &'static str, id: &str) -> Result<()> {
    match room.owners.generation(id) {
        None => Ok(()),
        Some(live) => Err(Error::new(ErrorKind::Locked, action)
            .with_reason(Reason::OperationRunning)
            .with_detail(format!("generation {live} of it is running in this process"))
            .with_subject(id)),
    }
}

fn create(tx: &mut Tx<'_>, spec: &OperationSpec, state: OperationState) -> Result<Claimed> {
    let now = tx.now_unix_millis();
    let lanes = u32::try_from(spec.lanes.len()).expect("at most LANES_MAX");
    let begun = u32::from(state == OperationState::Running);
    let row = OperationFields {
        state: state.into(),
        held: false,
        name: spec.name.clone(),
        version: spec.version,
        owner: tx.session(),
        generation: begun.into(),
        attempts: begun,
        created_unix_millis: now,
        updated_unix_millis: now,
        lanes,
        lanes_open: lanes,
        checkpoints_kept: spec.checkpoints_kept,
        retry: spec.retry.into(),
        metadata: spec.metadata.clone().into_iter().collect(),
        failure: None,
    };
    create_row(tx, &spec.id, row)?;
    for lane in &spec.lanes {
        create_lane(tx, &spec.id, lane, now)?;
    }
    Ok(Claimed { generation: begun.into(), next_order: 1 })
}

fn resume_in(room: &Room, tx: &mut Tx<'_>, id: &str, by: By) -> Result<Claimed> {
    let mut row = expect_row(tx, RESUME, id)?;
    let live = if by == By::Force { None } else { room.owners.generation(id) };
    if by == By::Force {
        row.attempts = 0;
    }
    let refuse = |kind, told: Resumable| Err(told.refusal(kind, RESUME, id));
    match standing(&row, live, tx.now_unix_millis()) {
        Resumable::Ready | Resumable::BackingOff { .. } => {}
        Resumable::Held if by != By::All => {}
        told @ Resumable::Completed => {
            return refuse(ErrorKind::AlreadyExists, told);
        }
        told @ Resumable::OwnerAlive { .. } => return refuse(ErrorKind::Locked, told),
        told => return refuse(ErrorKind::Invalid, told),
    }
    let next = OperationState::from(row.state).resumed().expect("it is not finished");
    row.held = false;
    row.generation += 1;
    row.owner = tx.session();
    row.attempts = row.attempts.saturating_add(1);
    if bug::is_planted(Bug::UncountedTries) {
        row.attempts -= 1;
    }
    bump_updated(tx, &mut row);
    let generation = row.generation;
    write_step(tx, RESUME, id, row, next)?;
    let newest =
        lane_rows(tx, id)?.into_iter().map(|(_, CheckpointRow::V0 { order, .. })| order).max();
    Ok(Claimed { generation, next_order: newest.unwrap_or(0) + 1 })
}

fn check_same_lanes(tx: &Tx<'_>, spec: &OperationSpec) -> Result<()> {
    let begun: Vec<String> = lane_rows(tx, &spec.id)?.into_iter().map(|(lane, _)| lane).collect();
    if begun == spec.lanes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, RESUME)
        .with_detail(format!(
            "it began with {} lanes and is resumed with {}, or their names differ",
            begun.len(),
            spec.lanes.len()
        ))
        .with_subject(&spec.id))
}
