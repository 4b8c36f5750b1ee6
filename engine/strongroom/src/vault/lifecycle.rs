//! Creating, opening, recovering and closing a vault.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_backends::{Backend, Disk};
use strongroom_base::{Error, ErrorKind, LongCall, Reason, Result};

use super::custody::{Custody, draw_id, sealing};
use super::folder::{Folder, FolderContent};
use super::handle::{Vault, VaultParts};
use super::key_copy::{
    CopyRelation, Credentials, KeyCopy, RollbackCheck, is_authentic, known_copy, only_key_set,
    write_known_copy,
};
use super::lock::{LockContext, VaultLock};
use super::options::VaultOptions;
use super::owner::{AcquiredContent, acquire_content, create_owner_ref};
use super::report::Recovery;
use super::upkeep::schedule;
use crate::documents::{UnfinishedUpdate, remove_unfinished, unfinished};
use crate::operations::OperationsQuery;
use strongroom_crypto::{KeySet, NewSlot, Unlock, Wrapping};
use strongroom_format::{
    BACKEND_NAME_BYTES_MAX, DoomedKey, Header, KeyCopyRow, META_OWNER, META_VAULT, VaultRow,
};
use strongroom_store::commit::{Components as CoreComponents, Core, CoreParts};
use strongroom_store::objects::Objects;
use strongroom_store::state::{OpenedStore, Repairs, StateRead, StateStorage, Store, Table};

/// Age at which opening a vault discards an interrupted share space update: an hour.
const SPACE_UPDATE_EXPIRY_MILLIS: u64 = 60 * 60 * 1_000;

impl Vault {
    pub(super) fn create_in_folder(options: VaultOptions, path: &Path) -> Result<Self> {
        let _span = tracing::debug_span!("create").entered();
        options.validate()?;
        let unlock = options.keys.unlock()?;
        let folder = Folder::new(Arc::clone(&options.fs), path);
        folder.create()?;
        if folder.inspect()? == FolderContent::Vault {
            return Err(vault_exists(path));
        }
        let lock = acquire(&options, &folder, "create vault")?;
        // Only the lock's holder creates, so this inspection decides.
        if folder.inspect()? == FolderContent::Vault {
            return Err(vault_exists(path));
        }
        let state = folder.state();
        let backend = backend_of(&options, &folder)?;
        let keys = create_state(&options, &state, &backend, &unlock)?;
        Self::open_parts(
            options,
            Arc::new(state),
            backend,
            OpenedKeys { set: keys, unlock },
            Recovery::default(),
            Some(lock),
            true,
        )
        .map_err(created_but_not_opened)
    }

    pub(super) fn open_in_folder(options: VaultOptions, path: &Path) -> Result<Self> {
        let _span = tracing::debug_span!("open").entered();
        let folder = Folder::new(Arc::clone(&options.fs), path);
        folder.expect_vault()?;
        options.validate()?;
        if !folder.has_lock() {
            // This may be a copy without its lock, or no vault at all. No file is created in a
            // folder that is not a vault's.
            match Store::peek(&folder.state()) {
                Err(e) if !(options.restore_key_set && is_header_lost(&e)) => return Err(e),
                _ => {}
            }
        }
        let unlock = options.keys.unlock()?;
        let lock = acquire(&options, &folder, "open vault")?;
        // The state file may have been replaced during the wait for the lock, so it is read only
        // now.
        folder.expect_vault()?;
        let mut recovery = Recovery { died: lock.dead_holder().cloned(), ..Recovery::default() };
        let state = folder.state();
        let name = options.backend.as_ref().map_or(Disk::NAME, |backend| backend.name());
        let set = unlock_state(&options, &state, name, &unlock, &mut recovery, || {
            only_key_set(&*backend_of(&options, &folder)?)
        })?;
        let keys = OpenedKeys { set, unlock };
        recovery.unfinished_state = folder.discard_unfinished()?;
        let backend: Arc<dyn Backend> = if let Some(backend) = &options.backend {
            Arc::clone(backend)
        } else {
            let (entropy, clock) = (&options.components.entropy, &options.components.clock);
            // The content folder was created before the state was published.
            let disk = Disk::with_made(
                Arc::clone(&options.fs),
                Arc::clone(entropy),
                Arc::clone(clock),
                folder.content_path(),
            )?;
            recovery.temporaries = disk.clear_temporaries()?;
            Arc::new(disk)
        };
        Self::open_parts(options, Arc::new(state), backend, keys, recovery, Some(lock), false)
    }

    pub(super) fn create_on(options: VaultOptions, state: Arc<dyn StateStorage>) -> Result<Self> {
        options.validate()?;
        let unlock = options.keys.unlock()?;
        if state.exists()? {
            return Err(Error::new(ErrorKind::AlreadyExists, "create vault")
                .with_reason(Reason::VaultExists));
        }
        let backend = Arc::clone(options.backend.as_ref().expect("given by the caller"));
        let keys = create_state(&options, &*state, &backend, &unlock)?;
        let keys = OpenedKeys { set: keys, unlock };
        Self::open_parts(options, state, backend, keys, Recovery::default(), None, true)
            .map_err(created_but_not_opened)
    }

    pub(super) fn open_on(options: VaultOptions, state: Arc<dyn StateStorage>) -> Result<Self> {
        options.validate()?;
        let unlock = options.keys.unlock()?;
        let backend = Arc::clone(options.backend.as_ref().expect("given by the caller"));
        let mut recovery = Recovery::default();
        let (name, restore) = (backend.name(), || only_key_set(&*backend));
        let set = unlock_state(&options, &*state, name, &unlock, &mut recovery, restore)?;
        let keys = OpenedKeys { set, unlock };
        Self::open_parts(options, state, backend, keys, recovery, None, false)
    }

    fn open_parts(
        options: VaultOptions,
        state: Arc<dyn StateStorage>,
        backend: Arc<dyn Backend>,
        opened: OpenedKeys,
        mut recovery: Recovery,
        lock: Option<VaultLock>,
        created: bool,
    ) -> Result<Self> {
        let OpenedKeys { set: keys, unlock } = opened;
        let clock = Arc::clone(&options.components.clock);
        let OpenedStore { store, repairs } = Store::open(
            state,
            clock,
            options.cache_bytes,
            sealing(&options.components.entropy, &keys),
        )?;
        recovery.note(repairs);
        // The key has opened the header, and the header the state: only now is anything written.
        if recovery.key_set_restored {
            store.write_header(keys.header())?;
        } else {
            store.repair_header(keys.header())?;
        }
        let newest_commit = check_vault_row(&store, keys.header())?;
        let session = draw_id(&*options.components.entropy)?;
        // Ownership is acquired before anything is written to the backend.
        let owner = if backend.is_shared() {
            let lock_identity = lock.as_ref().map(VaultLock::identity).unwrap_or_default();
            let acquired =
                acquire_content(&options, &store, &backend, &keys, session, &lock_identity)?;
            let AcquiredContent { owner, taken_over } = acquired;
            recovery.taken_over = taken_over;
            Some(Arc::new(owner))
        } else {
            None
        };
        let opened = OpenedKeys { set: keys, unlock };
        let keys = settle_key_copy(&options, &store, &*backend, opened, &mut recovery)
            .inspect_err(|_| {
                // No handle will have the vault open, so the ownership is given up again.
                let ending = owner.as_ref().and_then(|owner| owner.end(&store));
                if let Some(ending) = ending {
                    ending.notify_store(options.write_timeout);
                }
            })?;
        let content_keys = keys.content_keys();
        let (clock, entropy) = (&options.components.clock, &options.components.entropy);
        let id = keys.header().vault;
        let objects = Objects::new(
            backend,
            Arc::clone(entropy),
            options.object_bytes,
            id,
            content_keys,
            Arc::clone(clock),
        );
        let custody = Custody::new(keys, options.password, recovery.rollback_check(), owner);
        let lock = lock.map(|lock| Arc::new(Mutex::new(lock)));
        let core = Core::new(CoreParts {
            id,
            session,
            components: CoreComponents { clock: Arc::clone(clock), entropy: Arc::clone(entropy) },
            store,
            objects,
            fence: Arc::<Custody>::clone(&custody),
            newest_commit,
            write_timeout: options.write_timeout,
            guard: lock.clone().map(|lock| Box::new(lock) as Box<dyn Send>),
        });
        let mut inner = VaultParts::new(core, custody, options.handlers, options.recorder);
        recover(&inner, &mut recovery)?;
        if let Some(lock) = lock {
            lock.lock().confirm();
        }
        tracing::info!(
            clean = recovery.was_clean(),
            repaired = recovery.state_repaired,
            objects = recovery.objects,
            operations = recovery.operations.len(),
            "vault opened"
        );
        // Writing the key copy of a new vault is no recovery.
        recovery.key_copy_written &= !created;
        inner.recovery = recovery;
        let vault = Self::new(inner);
        if let Some(every) = options.upkeep_every {
            schedule(&vault, every);
        }
        Ok(vault)
    }
}

/// Deletes leftovers of a dead process, and lists its unfinished work.
fn recover(inner: &VaultParts, recovery: &mut Recovery) -> Result<()> {
    let core = &inner.core;
    core.adopt_leftovers()?;
    // The vault is usable without either step: later writes continue them.
    let expired = expire_space_update(core);
    let cleaned = if core.has_leftovers() {
        core.settle_rows(LongCall::new()).and_then(|()| core.delete_due(LongCall::new()))
    } else {
        Ok(0)
    };
    let query = OperationsQuery::new().limit(Recovery::OPERATIONS_LISTED_MAX);
    recovery.operations = inner.operations.unfinished(&query)?;
    recovery.objects = *cleaned.as_ref().unwrap_or(&0);
    recovery.space_update = *expired.as_ref().unwrap_or(&None);
    recovery.clean_up_error = expired.err().or(cleaned.err());
    Ok(())
}

/// Discards a share space update that was interrupted an hour ago.
///
/// Returns an update that may still be resumed. Its own session has ended.
fn expire_space_update(core: &Arc<Core>) -> Result<Option<UnfinishedUpdate>> {
    let Some(row) = unfinished(core.read()?.state())? else { return Ok(None) };
    let found = UnfinishedUpdate::of(&row);
    let now = core.clock().unix_millis();
    if now.saturating_sub(found.since_unix_millis) < SPACE_UPDATE_EXPIRY_MILLIS {
        return Ok(Some(found));
    }
    let turn = core.turn("open vault")?;
    match core.commit(&turn, "open vault", remove_unfinished) {
        // The state is older than its key copy: nothing is discarded in it.
        Err(e) if e.kind() == ErrorKind::Conflict => Ok(Some(found)),
        outcome => outcome.map(|_| None),
    }
}

/// Opens the key set of a state. Writes nothing.
fn unlock_state(
    options: &VaultOptions,
    state: &dyn StateStorage,
    backend: &str,
    unlock: &Unlock,
    recovery: &mut Recovery,
    restore: impl FnOnce() -> Result<Header>,
) -> Result<KeySet> {
    let open = |header: Header| {
        check_backend(&header, backend)?;
        KeySet::unlock(header, unlock, options.password.bounds)
    };
    match Store::peek(state).and_then(|found| found.authenticate(open, is_authentic)) {
        Ok(found) => {
            recovery.header_repaired = found.damaged;
            Ok(found.opened)
        }
        Err(e) if options.restore_key_set && is_header_lost(&e) => {
            let keys = open(restore()?)?;
            recovery.key_set_restored = true;
            Ok(keys)
        }
        Err(e) => Err(e),
    }
}

/// Returns whether an error means that no copy of the header is usable.
///
/// A file whose beginning was overwritten does not look like a vault's. Its blocks are
/// authenticated before anything is written.
fn is_header_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt || error.reason() == Some(Reason::NotAVault)
}

/// Updates the key copy on the backend to the header.
///
/// An unreachable backend does not keep the host from the state.
fn settle_key_copy(
    options: &VaultOptions,
    store: &Store,
    backend: &dyn Backend,
    opened: OpenedKeys,
    recovery: &mut Recovery,
) -> Result<KeySet> {
    let OpenedKeys { set: keys, unlock } = opened;
    let known = known_copy(&store.read()?)?;
    let copy = match KeyCopy::read(backend, keys.header()) {
        Ok(copy) => copy,
        Err(e) => {
            recovery.key_copy_error = Some(e);
            return Ok(keys);
        }
    };
    let credentials = Credentials { unlock: &unlock, bounds: options.password.bounds };
    let relation = copy.compare(&keys, known, Some(credentials));
    let keys = match RollbackCheck::of(relation, known.is_some()) {
        RollbackCheck::Ahead(generation) if options.adopt_older_state => {
            tracing::warn!(generation, "older state adopted");
            let raised = keys.raised_above(generation, &*options.components.entropy)?;
            store.write_header(raised.header())?;
            raised
        }
        RollbackCheck::Ahead(generation) => {
            recovery.key_copy_ahead = Some(generation);
            return Ok(keys);
        }
        // A take-over that happened has decided that this state continues.
        RollbackCheck::Unverified
            if !options.adopt_older_state && recovery.taken_over.is_none() =>
        {
            recovery.key_copy_unverified = true;
            return Ok(keys);
        }
        RollbackCheck::Agrees | RollbackCheck::Unverified | RollbackCheck::Unknown => keys,
    };
    if relation != CopyRelation::Same {
        if let Err(e) = copy.write(backend, keys.header()) {
            recovery.key_copy_error = Some(e);
            return Ok(keys);
        }
        recovery.key_copy_written = true;
    }
    if known.is_none() {
        write_known_copy(store, KeyCopyRow::of(keys.header()))?;
    }
    Ok(keys)
}

/// An opened key set, and the secret that opened it.
struct OpenedKeys {
    set: KeySet,
    unlock: Unlock,
}

impl Recovery {
    fn note(&mut self, repairs: Repairs) {
        self.state_repaired = repairs.repaired;
        self.last_commit_may_be_missing = repairs.fell_back;
        self.torn_blocks = repairs.torn_blocks;
        self.header_repaired |= repairs.super_header;
    }
}

fn vault_exists(path: &Path) -> Error {
    Error::new(ErrorKind::AlreadyExists, "create vault")
        .with_reason(Reason::VaultExists)
        .with_subject(path.display())
}

fn acquire(options: &VaultOptions, folder: &Folder, operation: &str) -> Result<VaultLock> {
    let context = LockContext {
        fs: &folder.fs,
        clock: &*options.components.clock,
        entropy: &*options.components.entropy,
        process: &options.components.process,
        policy: options.lock,
        operation: options.purpose.as_deref().unwrap_or(operation),
    };
    context.acquire(&folder.lock_path(), &folder.note_path())
}

fn disk_of(options: &VaultOptions, folder: &Folder) -> Result<Disk> {
    let (entropy, clock) = (&options.components.entropy, &options.components.clock);
    let root = folder.content_path();
    Disk::with(Arc::clone(&options.fs), Arc::clone(entropy), Arc::clone(clock), root)
}

fn backend_of(options: &VaultOptions, folder: &Folder) -> Result<Arc<dyn Backend>> {
    match &options.backend {
        Some(backend) => Ok(Arc::clone(backend)),
        None => Ok(Arc::new(disk_of(options, folder)?)),
    }
}

fn create_state(
    options: &VaultOptions,
    state: &dyn StateStorage,
    backend: &Arc<dyn Backend>,
    unlock: &Unlock,
) -> Result<KeySet> {
    let entropy = &*options.components.entropy;
    let id = draw_id(entropy)?;
    let name = backend.name();
    if name.len() > BACKEND_NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::Invalid, "create vault").with_detail(format!(
            "the backend's name has {} bytes, the limit is {BACKEND_NAME_BYTES_MAX}",
            name.len()
        )));
    }
    let created_unix_millis = options.components.clock.unix_millis();
    let row = VaultRow::V0 { id, created_unix_millis, next_namespace: 1 };
    let with = Wrapping {
        vault: id,
        entropy,
        now_unix_millis: created_unix_millis,
        costs: options.password.costs,
        bounds: options.password.bounds,
    };
    let first = NewSlot { unlock, label: "" };
    let keys = KeySet::create(name, options.cipher, &first, &with)?;
    let shared = backend.is_shared();
    let owner = shared.then(|| create_owner_ref(options, backend, &keys)).transpose()?;
    Store::create(state, keys.header(), sealing(&options.components.entropy, &keys), |write| {
        if let Some(owner) = &owner {
            write.put(Table::Meta, META_OWNER, &owner.encode())?;
        }
        write.put(Table::Meta, META_VAULT, &row.encode())
    })?;
    Ok(keys)
}

/// Returns the error for a created vault that could not be opened.
fn created_but_not_opened(error: Error) -> Error {
    Error::new(ErrorKind::Uncertain, "create vault")
        .with_detail(format!("the vault was created, but opening it failed: {error}"))
        .with_source(error)
}

/// Checks that the state was created on a backend of this kind.
pub(super) fn check_backend(header: &Header, name: &str) -> Result<()> {
    if header.backend == name {
        return Ok(());
    }
    let reason = match &*header.backend {
        "disk" => Reason::ContentInFolder,
        _ => Reason::ContentOnStore,
    };
    Err(Error::new(ErrorKind::Invalid, "open vault").with_reason(reason).with_detail(format!(
        "the vault's content is on {:?}, but the vault was opened with {name:?}",
        header.backend
    )))
}

pub(super) fn read_vault_row(state: &StateRead) -> Result<VaultRow> {
    let row = state.get(Table::Meta, META_VAULT)?.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "read vault row")
            .with_reason(Reason::RowDamaged)
            .with_detail("the row of the vault is missing")
    })?;
    VaultRow::decode(row.as_slice())
}

/// Checks that header and state belong together.
///
/// Returns the number of the newest commit that the doomed rows name.
fn check_vault_row(store: &Store, header: &Header) -> Result<u64> {
    let state = store.read()?;
    let VaultRow::V0 { id, .. } = read_vault_row(&state)?;
    if id != header.vault {
        return Err(Error::new(ErrorKind::Corrupt, "open vault")
            .with_detail("header and state belong to different vaults"));
    }
    let all = (Bound::Unbounded, Bound::Unbounded);
    let newest = state.range(Table::Doomed, all)?.next_back().transpose()?;
    newest.map_or(Ok(0), |entry| Ok(DoomedKey::decode(entry.key.as_slice())?.commit))
}
