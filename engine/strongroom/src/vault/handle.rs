//! The handle, and the calls that do not belong to one room alone: write, apply, read, stage.

use std::cell::Cell;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use strongroom_backends::Backend;
use strongroom_base::bug::{self, Bug};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, Result};
use uuid::Uuid;

use super::cleaner::{Cleaner, Due};
use super::key_copy::Witness;
use super::keys::Keys;
use super::lock::VaultLock;
use super::options::{Components, PasswordPolicy, VaultOptions};
use super::owner::Owner;
use super::report::{Recovery, VaultInfo};
use crate::artifacts::{Leases, SteadyTime};
use crate::background::Handlers;
use crate::chunks::{Codecs, Cutter, IdKeys, Uploads, preparing_pool};
use crate::documents::Documents;
use crate::metrics::Metrics;
use crate::operations::{Bus, Operations, Owners};
use crate::records::{Staged, stage};
use crate::transaction::{Batch, Group, Piece, Snapshot, Work, WriteTx, Writer, apply_pieces};
use strongroom_base::{CancelToken, NoProgress, Progress};
use strongroom_crypto::{KeySet, KeySource, PasswordCosts};
use strongroom_format::{ObjectName, PendingRow, StageId, VaultRow};
use strongroom_store::objects::{Objects, Pin, Pins};
use strongroom_store::state::{Sealing, StateRead, StateWrite, Store, Table};

/// Threads of the engine's own jobs: updates of one space would only wait for one another.
const OWN_THREADS: usize = 1;
/// Threads for what a store that is far is asked beside calls.
const FAR_THREADS: usize = 1;
/// Threads of upkeep: one run after another.
const UPKEEP_THREADS: usize = 1;
/// Tasks of each of these that wait; one more is refused.
const QUEUE_MAX: usize = 10_000;

/// An open vault. Cheap to clone, and usable from any thread. Closed by [`close`](Self::close),
/// or when the last of its handles is dropped: clones, snapshots, records being read, values that
/// were staged and their readers, stagings, operations, lanes, and batches with a
/// checkpoint. A [`gc`](Self::gc) of its own that is under way then keeps it open until its end, and so do
/// deletes on a store that hosts share.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<VaultInner>,
}

pub(crate) struct VaultInner {
    id: Uuid,
    /// What opens the vault. Changed under the writer's turn.
    pub(super) keys: parking_lot::Mutex<KeySet>,
    /// What the keys will be if a rotation that is under way has happened.
    pub(super) rotating: parking_lot::Mutex<Option<KeySet>>,
    pub(super) witness: parking_lot::Mutex<Witness>,
    pub(super) password: PasswordPolicy,
    /// Drawn at every open; owners of an earlier one are dead.
    pub(crate) session: Uuid,
    pub(crate) components: Components,
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) pins: Arc<Pins>,
    /// The uploads under way.
    pub(crate) uploads: Uploads,
    /// Where streams are cut, and what chunks are called.
    pub(crate) cutter: Cutter,
    pub(crate) id_keys: Arc<IdKeys>,
    pub(crate) codecs: Arc<Codecs>,
    /// Prepares the chunks of long uploads, beside these.
    pub(crate) preparing: Pool,
    /// Chunks in state are about to be packed.
    pub(crate) packing: AtomicBool,
    /// Lengths of contents that were let go of since the last `gc` of its own, and whether one is due.
    pub(super) let_go: AtomicU64,
    pub(super) collecting: AtomicBool,
    /// Bytes of those that the last packing has left.
    pub(crate) kept_in_state: AtomicU64,
    /// Who writes which artifact.
    pub(crate) leases: Arc<Leases>,
    pub(crate) steady: SteadyTime,
    pub(crate) owners: Owners,
    /// What the host does with its operations.
    pub(crate) handlers: Handlers,
    pub(crate) bus: Bus,
    pub(crate) metrics: Metrics,
    /// A runner of the host's operations lives.
    pub(crate) has_runner: AtomicBool,
    /// Runs the engine's own jobs.
    pub(crate) workers: Pool,
    /// Packs chunks, expires and frees, beside those jobs; the last two every so often, if asked for.
    pub(crate) upkeep: Pool,
    pub(super) upkeep_every: Option<Duration>,
    pub(crate) cleaner: Cleaner,
    /// Held by whoever updates the share space.
    pub(crate) space_turn: parking_lot::Mutex<()>,
    pub(super) writer: Writer,
    group: Group,
    pub(super) recovery: Recovery,
    /// The claim to content that others can reach.
    pub(super) owner: Option<Arc<Owner>>,
    /// Asks a store that is far what no call shall wait for: whether the claim holds, and for deletes.
    pub(super) far: Pool,
    /// Dropped last, after the state is closed.
    pub(super) lock: parking_lot::Mutex<Option<VaultLock>>,
}

/// What a vault is put together from.
pub(super) struct Parts {
    pub(super) keys: KeySet,
    pub(super) session: Uuid,
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) store: Store,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) newest_commit: u64,
    pub(super) recovery: Recovery,
    pub(super) lock: Option<VaultLock>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for VaultInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultInner").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Vault {
    /// Options with which to create or open a vault, its keys from `keys`.
    pub fn options(keys: impl KeySource + 'static) -> VaultOptions {
        VaultOptions::new(Arc::new(keys))
    }

    pub(super) fn assemble(options: VaultOptions, parts: Parts) -> Self {
        let entropy = Arc::clone(&options.components.entropy);
        let clock = Arc::clone(&options.components.clock);
        let id = parts.keys.header().vault;
        let content_keys = parts.keys.content_keys();
        let (cutter, id_keys) =
            (Cutter::new(parts.keys.id_key()), Arc::new(IdKeys::new(parts.keys.id_key())));
        let inner = VaultInner {
            id,
            keys: parking_lot::Mutex::new(parts.keys),
            rotating: parking_lot::Mutex::default(),
            witness: parking_lot::Mutex::new(parts.recovery.witness()),
            password: options.password,
            session: parts.session,
            components: options.components,
            store: parts.store,
            objects: Objects::new(
                parts.backend,
                entropy,
                options.object_bytes,
                id,
                content_keys,
                Arc::clone(&clock),
            ),
            pins: Pins::new(parts.newest_commit),
            uploads: Uploads::new(parts.newest_commit),
            cutter,
            id_keys,
            codecs: Arc::default(),
            preparing: preparing_pool(Arc::clone(&clock)),
            packing: AtomicBool::new(false),
            let_go: AtomicU64::new(0),
            collecting: AtomicBool::new(false),
            kept_in_state: AtomicU64::new(0),
            leases: Leases::new(Arc::clone(&clock)),
            steady: SteadyTime::new(Arc::clone(&clock)),
            owners: Owners::default(),
            handlers: options.handlers,
            bus: Bus::default(),
            metrics: Metrics::new(options.recorder),
            has_runner: AtomicBool::new(false),
            workers: Pool::new("strongroom-own", OWN_THREADS, QUEUE_MAX, Arc::clone(&clock)),
            owner: parts.owner,
            far: Pool::new("strongroom-far", FAR_THREADS, QUEUE_MAX, Arc::clone(&clock)),
            upkeep: Pool::new("strongroom-upkeep", UPKEEP_THREADS, QUEUE_MAX, clock),
            upkeep_every: options.upkeep_every,
            cleaner: Cleaner::default(),
            space_turn: parking_lot::Mutex::default(),
            writer: Writer::new(options.write_timeout),
            group: Group::default(),
            recovery: parts.recovery,
            lock: parking_lot::Mutex::new(parts.lock),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Arc<VaultInner> {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut VaultInner {
        Arc::get_mut(&mut self.inner).expect("not shared before open returns")
    }

    pub(crate) fn from_inner(inner: Arc<VaultInner>) -> Self {
        Self { inner }
    }

    /// Runs `change` in a transaction over everything in the vault: records, checkpoints,
    /// staged content.
    ///
    /// Commits when it returns `Ok`, and returns once the commit is durable: it survives the
    /// loss of power. Leaves nothing when it returns `Err` or panics; the panic goes on. Waits
    /// for other writes of this process, at most the write timeout.
    ///
    /// Errors of the commit itself: `Full`, `Denied`, `Unavailable`: it did not happen.
    /// `Uncertain`: it may have; read again once the vault has recovered. After a failure of
    /// the storage the vault reopens its state by itself; until then calls are `Unavailable`.
    ///
    /// Calling `write`, `apply` or `stage` of the same vault from within is `Invalid`.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.write("write", change, |_| ())
    }

    /// Commits a prepared batch, together with those of other threads that wait at this moment:
    /// they share one transaction and one sync. Returns once it is durable.
    ///
    /// A batch is checked whole before its first row is written; if it is refused (`Invalid`,
    /// `Conflict`), the others are not touched. If the commit fails, all in it get the error, as
    /// told at [`write`](Self::write).
    pub fn apply(&self, batch: Batch) -> Result<()> {
        let _span = tracing::debug_span!("apply", changes = batch.len()).entered();
        self.inner.submit("apply batch", Box::new(batch))
    }

    /// A consistent snapshot. It waits for no writer; only while the state is checked, or opened
    /// again after a failure, does it wait for that. `Unavailable` after an `Uncertain` commit
    /// until the state was opened again and its outcome is known.
    pub fn read(&self) -> Result<Snapshot> {
        let inner = &self.inner;
        inner.try_to_reopen();
        // The pin first: see `objects/pins.rs`.
        let early = bug::is_planted(Bug::ReadBeforePin).then(|| inner.store.read());
        let pin = early.is_none().then(|| inner.pin());
        bug::reached(Bug::ReadBeforePin);
        let pin = pin.unwrap_or_else(|| inner.pin());
        let state = early.unwrap_or_else(|| inner.store.read())?;
        Ok(Snapshot::new(state, pin, Arc::clone(inner)))
    }

    /// Stores a value of any length, in bounded memory, for a transaction to
    /// [`insert`](WriteTx::insert). Reads `source` to its end.
    ///
    /// What the content store has already, of artifacts or other values, is not stored again. A long value
    /// is on the backend on return, and durable; a short one, up to 256 KiB as it is stored, goes with its
    /// transaction. Nothing refers to it yet: if the [`Staged`] is dropped, or the process dies, it is freed
    /// later. `Full` if the content store may not take it: see
    /// [`set_quota`](crate::Artifacts::set_quota).
    pub fn stage(&self, source: impl Read) -> Result<Staged> {
        self.stage_with(source, &NoProgress, &CancelToken::new())
    }

    /// As [`stage`](Self::stage), telling `progress` the bytes staged so far, and ending with
    /// `Cancelled` when `cancel` is cancelled.
    pub fn stage_with(
        &self,
        mut source: impl Read,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<Staged> {
        let _span = tracing::debug_span!("stage").entered();
        self.inner.writer.refuse_nested("stage value")?;
        // A value that is a row touches nothing else that would tell.
        drop(self.inner.objects.enter("stage value")?);
        let limit = || Ok(self.artifacts().quota()?.map(|quota| quota.bytes));
        stage(self, limit, &mut source, progress, cancel)
    }

    /// Its operations: long work that survives the death of its process.
    pub fn operations(&self) -> Operations {
        Operations::new(self.clone())
    }

    /// Its documents: the share space.
    pub fn documents(&self) -> Documents {
        Documents::new(self.clone())
    }

    /// Its keys: who may open it.
    pub fn keys(&self) -> Keys {
        Keys::new(self.clone())
    }

    /// What opening the vault found, and recovered.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// What the vault is.
    pub fn info(&self) -> Result<VaultInfo> {
        let snapshot = self.read()?;
        let row = super::lifecycle::read_vault_row(snapshot.state())?;
        let VaultRow::V0 { id, created_unix_millis, .. } = row;
        let (header, cipher) = {
            let keys = self.inner.keys.lock();
            (keys.header().clone(), keys.cipher())
        };
        Ok(VaultInfo {
            id,
            created_unix_millis,
            backend: header.backend.clone(),
            cipher,
            key_generation: header.generation,
            state_bytes: self.inner.store.bytes(),
            records: snapshot.namespaces()?.iter().map(|namespace| namespace.records).sum(),
            operations: snapshot.operation_count()?,
        })
    }
}

impl VaultInner {
    pub(super) fn vault_id(&self) -> Uuid {
        self.id
    }

    /// What a state of `keys` is sealed with.
    pub(super) fn sealing(&self, keys: &KeySet) -> Sealing {
        Sealing {
            key: Arc::new(keys.state_key()),
            file: keys.header().file,
            entropy: Arc::clone(&self.components.entropy),
        }
    }

    /// The newest state. For whoever has a pin, and looks up what does not change while it has it.
    pub(crate) fn read_state(&self) -> Result<StateRead> {
        self.try_to_reopen();
        self.store.read()
    }

    /// After a failure: opens the state again, if nobody is at it.
    fn try_to_reopen(&self) {
        if self.store.failed()
            && let Some(_turn) = self.writer.try_acquire()
            && let Err(error) = self.reopen_if_failed()
        {
            tracing::debug!(error = %error.kind(), "state not reopened yet");
        }
    }

    /// Pins the newest commit for a reader.
    pub(crate) fn pin(self: &Arc<Self>) -> Arc<Pin> {
        let vault: Arc<Self> = Arc::clone(self);
        self.pins.pin(vault)
    }

    /// How long a write waits for its turn.
    pub(crate) fn write_timeout(&self) -> Duration {
        self.writer.timeout()
    }

    /// `Invalid` if this thread is inside a write.
    pub(crate) fn refuse_nested_write(&self, operation: &'static str) -> Result<()> {
        self.writer.refuse_nested(operation)
    }

    /// What an attempt at a document's password shall cost: as `told`, or as the vault's own.
    pub(crate) fn document_costs(&self, told: Option<PasswordCosts>) -> Result<PasswordCosts> {
        self.password.with(told).checked()
    }

    /// What an attempt at a document's password costs in a space that asks for `costs`.
    pub(crate) fn bear_costs(&self, costs: PasswordCosts) -> Result<PasswordCosts> {
        self.password.bounds.check(costs, "open space").map(|()| costs)
    }

    /// A random id.
    pub(crate) fn draw_uuid(&self) -> Result<Uuid> {
        super::keys::draw_id(&*self.components.entropy)
    }

    /// One transaction; `then` hears what it committed, still under the writer's turn and before
    /// anybody else does.
    pub(crate) fn write<T, E: From<Error>>(
        self: &Arc<Self>,
        operation: &'static str,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
        then: impl FnOnce(&T),
    ) -> Result<T, E> {
        let _span = tracing::debug_span!("write").entered();
        let turn = self.writer.acquire(operation)?;
        let outcome = self.commit_then(operation, change, then);
        let due = self.gather_due();
        drop(turn);
        self.delete_gathered(due);
        outcome
    }

    /// One commit. The caller has the writer's turn.
    pub(super) fn commit<T, E: From<Error>>(
        self: &Arc<Self>,
        operation: &'static str,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.commit_then(operation, change, |_| ())
    }

    fn commit_then<T, E: From<Error>>(
        self: &Arc<Self>,
        operation: &'static str,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
        then: impl FnOnce(&T),
    ) -> Result<T, E> {
        self.refuse_if_behind(operation)?;
        self.refuse_if_lost()?;
        self.reopen_if_failed()?;
        let clock = &*self.components.clock;
        let began = clock.monotonic();
        let (mut committed, exempt) = (None, Cell::new(false));
        let change = |state: StateWrite<'_>| {
            let mut tx = WriteTx::new(state, Arc::clone(self));
            let value = change(&mut tx)?;
            exempt.set(tx.heard.exempt);
            committed = Some(tx.finish()?);
            Ok::<T, E>(value)
        };
        let failed = |kind| {
            if !exempt.get() {
                self.metrics.failed(kind);
            }
        };
        let value = self.store.write(operation, change, failed)?;
        let took = clock.monotonic().saturating_sub(began);
        then(&value);
        committed.expect("finished before the commit").publish(self, took);
        self.confirm_soon();
        Ok(value)
    }

    /// Opens the state again after a failure. The caller has the writer's turn.
    pub(super) fn reopen_if_failed(&self) -> Result<()> {
        if self.store.reopen_if_failed()? {
            self.settle_rotation();
            // A commit of unknown outcome may have happened, with work for the cleaner.
            self.note_leftovers(&self.store.read()?)?;
        }
        Ok(())
    }

    /// Has work done in a commit that others' work may share.
    pub(crate) fn submit(
        self: &Arc<Self>,
        operation: &'static str,
        work: Box<dyn Work>,
    ) -> Result<()> {
        let mut due = Due::default();
        let outcome = self.group.submit(operation, &self.writer, work, |pieces: &mut [Piece]| {
            let outcome = self.commit(operation, |tx| apply_pieces(pieces, tx));
            due = self.gather_due();
            outcome
        });
        self.delete_gathered(due);
        outcome
    }
}

impl VaultInner {
    /// Commits a pending row of objects that are to be put; durable on return.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        stage: StageId,
        row: u32,
        names: &[ObjectName],
    ) -> Result<()> {
        let since_unix_millis = self.components.clock.unix_millis();
        let pending = PendingRow::V0 { since_unix_millis, names: names.to_vec() }.encode();
        self.submit("reserve objects", Box::new(Reservation { stage, row, pending }))
    }

    /// Nothing will refer to those objects: they and their rows are due for removal.
    pub(crate) fn abandon(&self, stage: StageId) {
        self.cleaner.abandon(stage);
    }
}

/// A pending row, committed together with what others commit.
struct Reservation {
    stage: StageId,
    row: u32,
    pending: Vec<u8>,
}

impl Work for Reservation {
    fn check(&self, _tx: &WriteTx<'_>) -> Result<()> {
        Ok(())
    }

    fn apply(&mut self, tx: &mut WriteTx<'_>) -> Result<()> {
        tx.state.put(Table::Pending, &self.stage.key(self.row), &self.pending)
    }
}

impl Drop for VaultInner {
    fn drop(&mut self) {
        // Nobody can hold the turn any more; errors have nobody to go to, and the next open
        // recovers what a failed close leaves.
        let given_up = self.uploads.given_up();
        if !given_up.is_empty() && !self.store.failed() && !self.seems_behind() {
            let mark = |mut state: StateWrite<'_>| Uploads::mark(&mut state, &given_up);
            if let Err(error) = self.store.write("close vault", mark, |_| ()) {
                tracing::debug!(error = %error.kind(), "unfinished uploads not marked");
            }
        }
        let ending = self.owner.as_ref().and_then(|owner| owner.end(&self.store));
        if let Err(error) = self.store.close() {
            tracing::warn!(error = %error.kind(), "vault not closed cleanly");
        }
        if let Some(ending) = ending {
            ending.tell(self.writer.timeout());
        }
    }
}
