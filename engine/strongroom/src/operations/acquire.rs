//! Begins, resumes, takes over and deletes operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::machine::OperationState;
use super::operation::{Operation, OperationInner};
use super::resumability::{Resumable, resumability};
use super::room::{Operations, OperationsShared};
use super::rows::{
    bump_updated, check_id, create_lane, create_row, expect_row, lane_rows, read_row, remove_rows,
    write_row, write_step,
};
use super::spec::{OperationSpec, RetryPolicy};
use strongroom_format::{CheckpointRow, OperationFields};
use strongroom_store::commit::Tx;

const BEGIN: &str = "begin operation";
const RESUME: &str = "resume operation";

/// Beginning, resuming and deleting operations.
impl Operations {
    /// Begins an operation under a new `id`, in the given lanes.
    ///
    /// [`begin_with`](Self::begin_with) takes further options, and lists the errors.
    pub fn begin(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        self.begin_with(OperationSpec::new(id).lanes(lanes))
    }

    /// Begins an operation as `spec` describes.
    ///
    /// Durable on return.
    ///
    /// `AlreadyExists` if an operation has this id, ended or not. `Invalid` for a bad id, operation
    /// name or lane name, and for an id that begins with `strongroom.`. `Invalid` too for no lane,
    /// more than [`LANES_MAX`](super::LANES_MAX) lanes, or a lane named twice. `Invalid` also for
    /// metadata or a history beyond their limits.
    pub fn begin_with(&self, spec: OperationSpec) -> Result<Operation> {
        let spec = spec.checked()?;
        self.acquire(BEGIN, &spec.id, |tx| {
            refuse_used(tx, &spec.id)?;
            create(tx, &spec, OperationState::Running)
        })
    }

    /// Registers an operation without beginning it; [`resume`](Self::resume) begins it.
    ///
    /// Durable on return: the operation survives a crash. Fails as [`begin_with`](Self::begin_with)
    /// does.
    pub fn prepare(&self, spec: OperationSpec) -> Result<()> {
        const PREPARE: &str = "prepare operation";
        let spec = spec.checked()?;
        let create = |tx: &mut Tx<'_>| {
            refuse_used(tx, &spec.id)?;
            create(tx, &spec, OperationState::Initialized).map(drop)
        };
        self.shared.core.write(PREPARE, create)
    }

    /// Resumes an operation at its lanes' last checkpoints.
    ///
    /// An operation that was [prepared](Self::prepare) begins. Durable on return.
    ///
    /// `NotFound` if there is no such operation. `AlreadyExists` if it is completed. `Locked` while
    /// a handle of it lives in this process. (No handle can live in another process: that process
    /// would hold the vault.) `Invalid` if it was cancelled, or if it has no try left by its
    /// [`RetryPolicy`]. [`can_resume`](Self::can_resume) answers the same without resuming.
    pub fn resume(&self, id: &str) -> Result<Operation> {
        check_id(RESUME, id)?;
        self.acquire(RESUME, id, |tx| resume_in(&self.shared, tx, id, ResumeMode::ById))
    }

    /// Begins the operation, or resumes it if it exists.
    ///
    /// `Invalid` if an existing operation began with other lanes. `AlreadyExists` if it is
    /// completed: nothing is left to do. Otherwise fails as [`begin_with`](Self::begin_with) and
    /// [`resume`](Self::resume) do.
    pub fn begin_or_resume(
        &self,
        id: &str,
        lanes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Operation> {
        self.begin_or_resume_with(OperationSpec::new(id).lanes(lanes))
    }

    /// Begins or resumes an operation, as [`begin_or_resume`](Self::begin_or_resume) does.
    ///
    /// Of an existing operation only the lanes are compared; its other options stay as they were
    /// begun.
    pub fn begin_or_resume_with(&self, spec: OperationSpec) -> Result<Operation> {
        let spec = spec.checked()?;
        self.acquire("begin or resume operation", &spec.id, |tx| {
            if read_row(tx, &spec.id)?.is_none() {
                return create(tx, &spec, OperationState::Running);
            }
            let acquired = resume_in(&self.shared, tx, &spec.id, ResumeMode::ById)?;
            check_same_lanes(tx, &spec)?;
            Ok(acquired)
        })
    }

    /// Resumes an operation by force, even while a handle of it lives.
    ///
    /// Commits under that older handle are refused with `Conflict` from now on. Used-up tries do
    /// not matter, and the count of tries restarts. Durable on return. Each call is logged as a
    /// warning.
    ///
    /// `NotFound` if there is no such operation, `AlreadyExists` if it is completed, `Invalid` if
    /// it was cancelled.
    pub fn take_over(&self, id: &str) -> Result<Operation> {
        const TAKE_OVER: &str = "take over operation";
        check_id(TAKE_OVER, id)?;
        tracing::warn!("operation taken over by force");
        self.acquire(TAKE_OVER, id, |tx| resume_in(&self.shared, tx, id, ResumeMode::Forced))
    }

    /// Pauses an operation that has no live handle.
    ///
    /// A runner that resumes *all* operations then skips it, until it is [resumed](Self::resume) by
    /// its id. Durable on return.
    ///
    /// `Locked` while a handle of it lives: use [`Operation::pause`]. `NotFound` if there is no
    /// such operation, `Invalid` if it is finished.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.end_unowned("pause operation", id, OperationState::Paused)
    }

    /// Cancels an operation that has no live handle. It cannot be resumed.
    ///
    /// Its committed changes stay. Durable on return.
    ///
    /// `Locked` while a handle of it lives: use [`Operation::cancel`]. `NotFound` if there is no
    /// such operation, `Invalid` if it is finished.
    pub fn abandon(&self, id: &str) -> Result<()> {
        self.end_unowned("abandon operation", id, OperationState::Cancelled)
    }

    fn end_unowned(&self, call: &'static str, id: &str, next: OperationState) -> Result<()> {
        check_id(call, id)?;
        let change = |tx: &mut Tx<'_>| {
            let mut row = expect_row(tx, call, id)?;
            refuse_live(&self.shared, call, id)?;
            row.held = next == OperationState::Paused;
            bump_updated(tx, &mut row);
            if row.held && OperationState::from(row.state) == OperationState::Paused {
                return write_row(tx, id, row);
            }
            write_step(tx, call, id, row, next)
        };
        self.shared.core.write(call, change)
    }

    /// Deletes an operation with its checkpoints, and returns whether it existed.
    ///
    /// The operation may be unfinished. Its id can be used again. Durable on return. `Locked` while
    /// a handle of it lives.
    pub fn delete(&self, id: &str) -> Result<bool> {
        const DELETE: &str = "delete operation";
        check_id(DELETE, id)?;
        let change = |tx: &mut Tx<'_>| {
            // An operation whose row does not decode can be deleted too.
            if tx.state.get(strongroom_store::state::Table::Operations, id.as_bytes(), |row| {
                row.is_none()
            })? {
                return Ok(false);
            }
            refuse_live(&self.shared, DELETE, id)?;
            remove_rows(tx, id).map(|_| true)
        };
        self.shared.core.write(DELETE, change)
    }

    fn acquire(
        &self,
        action: &'static str,
        id: &str,
        change: impl FnOnce(&mut Tx<'_>) -> Result<Acquired>,
    ) -> Result<Operation> {
        let handle_id = Arc::<AtomicU64>::default();
        let acquired = self.shared.core.write(action, |tx| {
            let acquired = change(tx)?;
            // Registered after the commit but within the write turn. If the commit fails, the older
            // handle was not taken over and must stay registered.
            let (shared, id, handle_id) =
                (Arc::clone(&self.shared), id.to_owned(), Arc::clone(&handle_id));
            let generation = acquired.generation;
            tx.on_commit(move |_| {
                handle_id.store(shared.owners.acquire(&id, generation), Ordering::Release);
            });
            Ok::<_, Error>(acquired)
        })?;
        Ok(Operation {
            inner: Arc::new(OperationInner {
                shared: Arc::clone(&self.shared),
                id: id.to_owned(),
                generation: acquired.generation,
                handle_id: handle_id.load(Ordering::Acquire),
                order: Arc::new(AtomicU64::new(acquired.next_order)),
            }),
        })
    }
}

/// Begins an internal operation of the engine, in the commit of `with`.
///
/// The operation has no history, and emits no events.
pub(crate) fn begin_own(
    operations: &Operations,
    id: &str,
    lanes: &[String],
    with: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> Result<Operation> {
    let retry = RetryPolicy { attempts_max: 0, ..RetryPolicy::DEFAULT };
    let spec = OperationSpec::new(id).lanes(lanes).retry(retry).checkpoints_kept(1);
    operations.acquire(BEGIN, id, |tx| {
        tx.mark_internal();
        with(tx)?;
        create(tx, &spec, OperationState::Running)
    })
}

/// Resumes an internal operation of the engine.
pub(crate) fn resume_own(operations: &Operations, id: &str) -> Result<Operation> {
    operations.acquire(RESUME, id, |tx| {
        tx.mark_internal();
        resume_in(&operations.shared, tx, id, ResumeMode::ById)
    })
}

/// Resumes an operation; `Invalid` if it is paused.
pub(crate) fn resume_unless_paused(operations: &Operations, id: &str) -> Result<Operation> {
    check_id(RESUME, id)?;
    operations.acquire(RESUME, id, |tx| resume_in(&operations.shared, tx, id, ResumeMode::WithAll))
}

/// Outcome of an acquire: the new owner's generation, and its first checkpoint's number.
struct Acquired {
    generation: u64,
    next_order: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResumeMode {
    ById,
    /// As a runner that resumes all operations: paused ones are refused.
    WithAll,
    Forced,
}

fn refuse_used(tx: &Tx<'_>, id: &str) -> Result<()> {
    match read_row(tx, id)? {
        Some(_) => Err(Error::new(ErrorKind::AlreadyExists, BEGIN)
            .with_reason(Reason::OperationExists)
            .with_subject(id)),
        None => Ok(()),
    }
}

pub(super) fn refuse_live(shared: &OperationsShared, action: &'static str, id: &str) -> Result<()> {
    match shared.owners.generation(id) {
        None => Ok(()),
        Some(live) => Err(Error::new(ErrorKind::Locked, action)
            .with_reason(Reason::OperationRunning)
            .with_detail(format!("generation {live} of the operation runs in this process"))
            .with_subject(id)),
    }
}

fn create(tx: &mut Tx<'_>, spec: &OperationSpec, state: OperationState) -> Result<Acquired> {
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
    Ok(Acquired { generation: begun.into(), next_order: 1 })
}

fn resume_in(
    shared: &OperationsShared,
    tx: &mut Tx<'_>,
    id: &str,
    mode: ResumeMode,
) -> Result<Acquired> {
    let mut row = expect_row(tx, RESUME, id)?;
    let live = if mode == ResumeMode::Forced { None } else { shared.owners.generation(id) };
    if mode == ResumeMode::Forced {
        row.attempts = 0;
    }
    let refuse = |kind, resumable: Resumable| Err(resumable.refusal(kind, RESUME, id));
    match resumability(&row, live, tx.now_unix_millis()) {
        Resumable::Ready | Resumable::BackingOff { .. } => {}
        Resumable::Held if mode != ResumeMode::WithAll => {}
        resumable @ Resumable::Completed => {
            return refuse(ErrorKind::AlreadyExists, resumable);
        }
        resumable @ Resumable::OwnerAlive { .. } => return refuse(ErrorKind::Locked, resumable),
        resumable => return refuse(ErrorKind::Invalid, resumable),
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
    Ok(Acquired { generation, next_order: newest.unwrap_or(0) + 1 })
}

fn check_same_lanes(tx: &Tx<'_>, spec: &OperationSpec) -> Result<()> {
    let begun: Vec<String> = lane_rows(tx, &spec.id)?.into_iter().map(|(lane, _)| lane).collect();
    if begun == spec.lanes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, RESUME)
        .with_detail(format!(
            "the operation began with {} lanes and is resumed with {}, or lane names differ",
            begun.len(),
            spec.lanes.len()
        ))
        .with_subject(&spec.id))
}
