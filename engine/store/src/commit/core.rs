//! The basis of every room: state, objects, read epochs, the write turn, clock and entropy.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::{Clock, Entropy, HomeProcess};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, Result};
use uuid::Uuid;

use super::group::{Group, QueuedWork, Work, apply_pieces};
use super::hook::{Fence, Hook};
use super::reclaim::{Due, Reclaim};
use super::tx::Tx;
use super::view::View;
use super::writer::{Turn, Writer};
use crate::objects::{Objects, ReadEpoch, ReadEpochs};
use crate::state::{StateRead, StateWrite, Store, Table};
use strongroom_format::{ObjectName, PendingRow, StageId};

/// Threads for requests to a shared store that no call waits for.
const STORE_TASK_THREADS: usize = 1;
/// Most waiting tasks of these threads; further ones are refused.
const STORE_TASK_QUEUE_MAX: usize = 10_000;

/// The clock and the source of entropy.
#[derive(Clone, Debug)]
pub struct Components {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// The core of an open vault. It knows no feature: features register [`Hook`]s.
///
/// [`close`](Self::close) closes it, or the drop of its last holder.
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
    /// Deletes objects on a shared store and checks its owner ref.
    ///
    /// Calls are not delayed.
    store_tasks: Pool,
    /// The lock of the vault's folder. Dropped last, after the state is closed.
    guard: Mutex<Option<Box<dyn Send>>>,
    home: HomeProcess,
}

/// The parts of a core.
pub struct CoreParts {
    pub id: Uuid,
    /// Drawn at every open. Owners of an earlier session are dead.
    pub session: Uuid,
    pub components: Components,
    pub store: Store,
    pub objects: Objects,
    pub fence: Arc<dyn Fence>,
    pub newest_commit: u64,
    pub write_timeout: Duration,
    /// Values that must outlive the open state.
    pub guard: Option<Box<dyn Send>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Core {
    /// Makes a core. Its [hooks](Self::register) are registered next.
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
            home: HomeProcess::current(),
        })
    }

    /// Registers the hooks of all features, once, before the first commit.
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

    /// Returns the state. Use [`write`](Self::write) for changes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the read epochs of live readers.
    pub fn read_epochs(&self) -> &Arc<ReadEpochs> {
        &self.read_epochs
    }

    /// Returns the list of rows whose objects can be deleted.
    pub fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    /// Returns whether this process opened the vault, and is no forked child.
    pub(super) fn is_home(&self) -> bool {
        self.home.is_current()
    }

    /// Keeps a forked child from dropping what it shares with its parent.
    ///
    /// A drop would write to the parent's files, release its lock, or wait for its threads.
    pub(super) fn leak(&mut self) {
        self.store.leak();
        std::mem::forget(self.objects.clone());
        std::mem::forget(Arc::clone(&self.fence));
        std::mem::forget(self.guard.get_mut().take());
    }

    pub(super) fn fence(&self) -> &dyn Fence {
        &*self.fence
    }

    /// Returns the threads for shared-store requests that delay no call.
    pub fn store_tasks(&self) -> &Pool {
        &self.store_tasks
    }

    pub(super) fn guard(&self) -> &Mutex<Option<Box<dyn Send>>> {
        &self.guard
    }

    /// Returns the longest wait for the write turn.
    pub fn write_timeout(&self) -> Duration {
        self.writer.timeout()
    }

    /// Returns `Invalid` if this thread is inside a write.
    pub fn refuse_nested_write(&self, action: &'static str) -> Result<()> {
        self.writer.refuse_nested(action)
    }

    /// Waits for the write turn: `Locked` after the timeout, `Invalid` inside a write.
    pub fn turn(&self, action: &'static str) -> Result<Turn<'_>> {
        self.writer.acquire(action)
    }

    /// Draws a random id.
    pub fn draw_uuid(&self) -> Result<Uuid> {
        Ok(uuid::Builder::from_random_bytes(self.entropy().draw()?).into_uuid())
    }

    /// Registers a read epoch at the newest commit.
    pub fn enter_epoch(self: &Arc<Self>) -> Arc<ReadEpoch> {
        let core: Arc<Self> = Arc::clone(self);
        self.read_epochs.enter_epoch(core)
    }

    /// Takes a consistent view. It waits only while the state is checked or reopened.
    pub fn read(self: &Arc<Self>) -> Result<View> {
        self.try_to_reopen();
        if bug::is_planted(Bug::ReadBeforeEpoch) {
            let state = self.store.read()?;
            bug::reached(Bug::ReadBeforeEpoch);
            return Ok(View::new(state, self.enter_epoch(), Arc::clone(self)));
        }
        // The order matters: see `objects/read_epochs.rs`.
        let read_epoch = self.enter_epoch();
        bug::reached(Bug::ReadBeforeEpoch);
        let state = self.store.read()?;
        Ok(View::new(state, read_epoch, Arc::clone(self)))
    }

    /// Reads the newest state, for look-ups of immutable data.
    ///
    /// The caller has a read epoch.
    pub fn read_state(&self) -> Result<StateRead> {
        self.try_to_reopen();
        self.store.read()
    }

    /// Reopens the state after a failure, unless another thread is doing so.
    fn try_to_reopen(&self) {
        if self.store.failed()
            && let Some(turn) = self.writer.try_acquire()
            && let Err(error) = self.reopen_if_failed(&turn)
        {
            tracing::debug!(error = %error.kind(), "state not reopened yet");
        }
    }

    /// Reopens the state after a failure.
    pub fn reopen_if_failed(&self, _turn: &Turn<'_>) -> Result<()> {
        if self.store.reopen_if_failed()? {
            self.fence.reopened(self);
            // A commit of unknown outcome may have happened, and may have left work.
            self.note_leftovers(&self.store.read()?)?;
        }
        Ok(())
    }

    /// Finds unfinished work in the tables.
    ///
    /// Pending rows are excluded, because some belong to live stagings.
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

    /// Runs one transaction, which the closure takes and returns.
    ///
    /// So it can be wrapped.
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

    /// Runs one transaction of a caller that has the write turn.
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
        let (mut finished, internal, mut is_upkeep) = (None, std::cell::Cell::new(false), false);
        let change = |state: StateWrite<'_>| {
            let mut tx = Tx::new(state, Arc::clone(self));
            self.hooks().iter().for_each(|hook| hook.begun(&mut tx));
            let (value, tx) = change(tx)?;
            internal.set(tx.is_internal());
            is_upkeep = tx.is_upkeep();
            finished = Some(tx.finish()?);
            Ok::<T, E>(value)
        };
        let failed = |kind| self.hooks().iter().for_each(|hook| hook.failed(kind, internal.get()));
        let value = self.store.write(action, change, failed)?;
        let took = clock.monotonic().saturating_sub(began);
        finished.expect("finished before the commit").publish(self, took);
        self.fence.committed(self, is_upkeep);
        Ok(value)
    }

    /// Runs work in a commit that other threads may share.
    pub fn submit(self: &Arc<Self>, action: &'static str, work: Box<dyn Work>) -> Result<()> {
        let mut due = Due::default();
        let commit = |turn: &Turn<'_>, pieces: &mut [QueuedWork]| {
            let outcome = self.commit(turn, action, |tx| apply_pieces(pieces, tx));
            due = self.gather_due(turn);
            outcome
        };
        let outcome = self.group.submit(action, &self.writer, work, commit);
        self.delete_gathered(due);
        outcome
    }

    /// Commits a pending row with the names of new objects; durable on return.
    pub fn reserve(self: &Arc<Self>, stage: StageId, row: u32, names: &[ObjectName]) -> Result<()> {
        let since_unix_millis = self.clock().unix_millis();
        let pending = PendingRow::V0 { since_unix_millis, names: names.to_vec() }.encode();
        self.submit("reserve objects", Box::new(Reservation { stage, row, pending }))
    }

    /// Marks unreferenced objects as due, with their pending rows.
    pub fn abandon(&self, stage: StageId) {
        self.reclaim.abandon(stage);
    }

    /// Checks for a take-over before damage is reported.
    ///
    /// An object that the new owner deleted is `Closed` for this session, and not damaged.
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

/// A pending row, committed together with other work.
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
