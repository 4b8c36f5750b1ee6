//! What every room stands on: state, objects, read read epochs, the writer's turn, clock and entropy.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::{Clock, Entropy};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, Result};
use uuid::Uuid;

use super::group::{Group, Piece, Work, apply_pieces};
use super::hook::{Fence, Hook};
use super::reclaim::{Due, Reclaim};
use super::tx::Tx;
use super::view::View;
use super::writer::{Turn, Writer};
use crate::objects::{Objects, ReadEpoch, ReadEpochs};
use crate::state::{StateRead, StateWrite, Store, Table};
use strongroom_format::{ObjectName, PendingRow, StageId};

/// Threads that ask a shared store what no call shall wait for.
const STORE_TASK_THREADS: usize = 1;
/// How many of such tasks may wait; one more is refused.
const STORE_TASK_QUEUE_MAX: usize = 10_000;

/// The clock and the source of entropy.
#[derive(Clone, Debug)]
pub struct Components {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// The core of an open vault. It knows no feature: those take part by [`Hook`]s.
///
/// Closed by [`close`](Self::close), or when its last holder drops it.
pub struct Core {
    id: Uuid,
    session: Uuid,
    components: Components,
    store: Store,
    objects: Objects,
    read_epochs: Arc<ReadEpochs>,
    reclaim: Reclaim,
    writer: Writer,
    group: Group,
    hooks: OnceLock<Vec<Arc<dyn Hook>>>,
    fence: Arc<dyn Fence>,
    /// Asks a shared store what no call shall wait for, and for deletes.
    store_tasks: Pool,
    /// Dropped last, after the state is closed: the lock of the vault's folder.
    guard: Mutex<Option<Box<dyn Send>>>,
}

/// What a core is put together from.
pub struct CoreParts {
    pub id: Uuid,
    /// Drawn at every open: owners of an earlier session are dead.
    pub session: Uuid,
    pub components: Components,
    pub store: Store,
    pub objects: Objects,
    pub fence: Arc<dyn Fence>,
    pub newest_commit: u64,
    pub write_timeout: Duration,
    /// What must outlive the open state.
    pub guard: Option<Box<dyn Send>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Core {
    /// Puts a core together. Its [hooks](Self::register) come next.
    pub fn new(parts: CoreParts) -> Arc<Self> {
        let CoreParts { id, session, components, store, objects, fence, .. } = parts;
        let clock = Arc::clone(&components.clock);
        Arc::new(Self {
            id,
            session,
            components,
            store,
            objects,
            read_epochs: ReadEpochs::new(parts.newest_commit),
            reclaim: Reclaim::default(),
            writer: Writer::new(parts.write_timeout),
            group: Group::default(),
            hooks: OnceLock::new(),
            fence,
            store_tasks: Pool::new(
                "strongroom-store",
                STORE_TASK_THREADS,
                STORE_TASK_QUEUE_MAX,
                clock,
            ),
            guard: Mutex::new(parts.guard),
        })
    }

    /// Registers the features' parts in every commit, once, before the first.
    pub fn register(&self, hooks: Vec<Arc<dyn Hook>>) {
        assert!(self.hooks.set(hooks).is_ok(), "hooks are registered once");
    }

    pub(super) fn hooks(&self) -> &[Arc<dyn Hook>] {
        self.hooks.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the vault's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the id of this session, drawn when the vault was opened.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.components.clock
    }

    /// Returns the source of entropy.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.components.entropy
    }

    /// Returns the objects on the backend.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Returns the state. Writes go by [`write`](Self::write).
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the read epochs of live readers.
    pub fn read_epochs(&self) -> &Arc<ReadEpochs> {
        &self.read_epochs
    }

    /// Returns what is known to be due for deletion.
    pub fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    pub(super) fn fence(&self) -> &dyn Fence {
        &*self.fence
    }

    /// Returns the threads that ask a shared store what no call shall wait for.
    pub fn store_tasks(&self) -> &Pool {
        &self.store_tasks
    }

    pub(super) fn guard(&self) -> &Mutex<Option<Box<dyn Send>>> {
        &self.guard
    }

    /// Returns how long a write waits for its turn.
    pub fn write_timeout(&self) -> Duration {
        self.writer.timeout()
    }

    /// Returns `Invalid` if this thread is inside a write.
    pub fn refuse_nested_write(&self, action: &'static str) -> Result<()> {
        self.writer.refuse_nested(action)
    }

    /// Waits for the writer's turn: `Locked` when that is too long, `Invalid` within a write.
    pub fn turn(&self, action: &'static str) -> Result<Turn<'_>> {
        self.writer.acquire(action)
    }

    /// Draws a random id.
    pub fn draw_uuid(&self) -> Result<Uuid> {
        Ok(uuid::Builder::from_random_bytes(self.entropy().draw()?).into_uuid())
    }

    /// Enters the read epoch of the newest commit for a reader.
    pub fn enter_epoch(self: &Arc<Self>) -> Arc<ReadEpoch> {
        let core: Arc<Self> = Arc::clone(self);
        self.read_epochs.enter_epoch(core)
    }

    /// Takes a consistent view. Waits only while the state is checked or opened again.
    pub fn read(self: &Arc<Self>) -> Result<View> {
        self.try_to_reopen();
        if bug::is_planted(Bug::ReadBeforeEpoch) {
            let state = self.store.read()?;
            bug::reached(Bug::ReadBeforeEpoch);
            return Ok(View::new(state, self.enter_epoch(), Arc::clone(self)));
        }
        // In this order: see `objects/read_epochs.rs`.
        let read_epoch = self.enter_epoch();
        bug::reached(Bug::ReadBeforeEpoch);
        let state = self.store.read()?;
        Ok(View::new(state, read_epoch, Arc::clone(self)))
    }

    /// Reads the newest state, for a caller that has a read epoch and looks up what does not change.
    pub fn read_state(&self) -> Result<StateRead> {
        self.try_to_reopen();
        self.store.read()
    }

    /// Opens the state again after a failure, if no other thread is at it.
    fn try_to_reopen(&self) {
        if self.store.failed()
            && let Some(turn) = self.writer.try_acquire()
            && let Err(error) = self.reopen_if_failed(&turn)
        {
            tracing::debug!(error = %error.kind(), "state not reopened yet");
        }
    }

    /// Opens the state again after a failure.
    pub fn reopen_if_failed(&self, _turn: &Turn<'_>) -> Result<()> {
        if self.store.reopen_if_failed()? {
            self.fence.reopened(self);
            // A commit of unknown outcome may have happened, and left work.
            self.note_leftovers(&self.store.read()?)?;
        }
        Ok(())
    }

    /// Learns from the tables what there is to do. Pending rows are left out: those of live
    /// stagings are among them.
    pub(super) fn note_leftovers(&self, state: &StateRead) -> Result<()> {
        if state.len(Table::Doomed)? > 0 {
            self.reclaim.note_doomed();
        }
        self.hooks().iter().try_for_each(|hook| hook.opened(state))
    }

    /// Runs one transaction: commits on `Ok`, leaves nothing on `Err` or a panic.
    pub fn write<T, E: From<Error>>(
        self: &Arc<Self>,
        action: &'static str,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_owned(action, |mut tx| {
            let value = change(&mut tx)?;
            Ok((value, tx))
        })
    }

    /// Runs one transaction whose closure takes it and gives it back, to wrap it meanwhile.
    pub fn write_owned<T, E: From<Error>>(
        self: &Arc<Self>,
        action: &'static str,
        change: impl for<'t> FnOnce(Tx<'t>) -> Result<(T, Tx<'t>), E>,
    ) -> Result<T, E> {
        let _span = tracing::debug_span!("write").entered();
        let turn = self.writer.acquire(action)?;
        let outcome = self.commit_owned(&turn, action, change);
        let due = self.gather_due(&turn);
        drop(turn);
        self.delete_gathered(due);
        outcome
    }

    /// Runs one transaction of a caller that has the writer's turn.
    pub fn commit<T, E: From<Error>>(
        self: &Arc<Self>,
        turn: &Turn<'_>,
        action: &'static str,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.commit_owned(turn, action, |mut tx| {
            let value = change(&mut tx)?;
            Ok((value, tx))
        })
    }

    fn commit_owned<T, E: From<Error>>(
        self: &Arc<Self>,
        turn: &Turn<'_>,
        action: &'static str,
        change: impl for<'t> FnOnce(Tx<'t>) -> Result<(T, Tx<'t>), E>,
    ) -> Result<T, E> {
        self.fence.admit_commit(action)?;
        self.reopen_if_failed(turn)?;
        let clock = &*self.components.clock;
        let began = clock.monotonic();
        let (mut finished, internal) = (None, std::cell::Cell::new(false));
        let change = |state: StateWrite<'_>| {
            let mut tx = Tx::new(state, Arc::clone(self));
            self.hooks().iter().for_each(|hook| hook.begun(&mut tx));
            let (value, tx) = change(tx)?;
            internal.set(tx.is_internal());
            finished = Some(tx.finish()?);
            Ok::<T, E>(value)
        };
        let failed = |kind| self.hooks().iter().for_each(|hook| hook.failed(kind, internal.get()));
        let value = self.store.write(action, change, failed)?;
        let took = clock.monotonic().saturating_sub(began);
        finished.expect("finished before the commit").publish(self, took);
        self.fence.committed(self);
        Ok(value)
    }

    /// Does work in a commit that other threads' work may share.
    pub fn submit(self: &Arc<Self>, action: &'static str, work: Box<dyn Work>) -> Result<()> {
        let mut due = Due::default();
        let commit = |turn: &Turn<'_>, pieces: &mut [Piece]| {
            let outcome = self.commit(turn, action, |tx| apply_pieces(pieces, tx));
            due = self.gather_due(turn);
            outcome
        };
        let outcome = self.group.submit(action, &self.writer, work, commit);
        self.delete_gathered(due);
        outcome
    }

    /// Commits a pending row of objects that are to be put; durable on return.
    pub fn reserve(self: &Arc<Self>, stage: StageId, row: u32, names: &[ObjectName]) -> Result<()> {
        let since_unix_millis = self.clock().unix_millis();
        let pending = PendingRow::V0 { since_unix_millis, names: names.to_vec() }.encode();
        self.submit("reserve objects", Box::new(Reservation { stage, row, pending }))
    }

    /// Marks objects that no row will refer to as due for removal, with their pending rows.
    pub fn abandon(&self, stage: StageId) {
        self.reclaim.abandon(stage);
    }

    /// Asks whether another session took the content over, before damage is reported.
    ///
    /// What that session has deleted is `Closed` for this one, and no damage.
    pub fn unless_taken_over(&self, error: Error) -> Error {
        if error.kind() != strongroom_base::ErrorKind::Corrupt {
            return error;
        }
        match self.fence.admit_delete_again() {
            Err(lost) if lost.kind() == strongroom_base::ErrorKind::Closed => lost,
            _ => error,
        }
    }
}

/// A pending row, committed together with what others commit.
struct Reservation {
    stage: StageId,
    row: u32,
    pending: Vec<u8>,
}

impl Work for Reservation {
    fn check(&self, _tx: &Tx<'_>) -> Result<()> {
        Ok(())
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        tx.state.put(Table::Pending, &self.stage.key(self.row), &self.pending)
    }
}
