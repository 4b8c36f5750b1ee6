//! The open database: begin, commit, and reopening after a failure.
//!
//! After the first error of its storage redb refuses all calls until it is reopened. A failed store
//! therefore reports that error once, and is `Unavailable` from then on. The next write that finds
//! no reader left reopens it, at the latest [`READERS_GRACE`] after the failure; readers that still
//! live then get `Closed`. Two redb instances never use one file, because the second would reuse
//! pages that readers of the first still need.
//!
//! A block that does not open is damage, which reopening cannot repair. The handle is then
//! `Corrupt` permanently. The vault must be opened again, and reports what it found.
//!
//! Callers serialise writes (`commit/writer.rs`); this file relies on it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, RepairSession, WriteTransaction};
use strongroom_base::component::{Clock, HomeProcess};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::{RedbFailure, panic_as_corrupt};
use super::header::{self, FoundHeaders};
use super::migrate;
use super::sealed::{Sealed, Sealing};
use super::storage::{StateFile, StateStorage};
use super::storage_health::StorageHealth;
use super::tables::{StateRead, StateWrite};
use uuid::Uuid;

use strongroom_format::{Header, file_bytes};

/// Longest time that live readers delay the reopening of a failed store.
pub(crate) const READERS_GRACE: Duration = Duration::from_secs(30);

/// Size from which commits keep redb's allocator state on disk.
///
/// redb calls this `quick_repair`.
///
/// It costs a second fdatasync for each commit (2.7 times as long, measured on redb 4.5.0). It
/// saves the walk over the state at an open after a crash: 5 to 8 s for each GiB in use. The file
/// grows by doubling, so at this size a quarter to half a GiB is in use.
const QUICK_REPAIR_FROM_BYTES: u64 = 512 << 20;

/// Page cache of a state while it is created; it then has some twenty pages.
const CREATE_CACHE_BYTES: usize = 1 << 20;

/// One state, open.
pub struct Store {
    pub(super) storage: Arc<dyn StateStorage>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cache_bytes: usize,
    /// The sealing of the state; while it is replaced, also that of the new file.
    pub(super) sealings: Mutex<Vec<Sealing>>,
    pub(super) slot: RwLock<Slot>,
    home: HomeProcess,
}

pub(super) enum Slot {
    Open(Opened),
    /// Failed, closed, and not yet reopened.
    Broken,
    /// Found damaged when it was reopened; permanent.
    Damaged,
    Closed,
}

pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) health: Arc<StorageHealth>,
    /// The storage of `database`, for access to the vault's header.
    pub(super) sealed: Sealed,
    /// Time of the first failure.
    failed_since: Mutex<Option<Duration>>,
}

/// The result of opening a state.
pub struct OpenedStore {
    pub store: Store,
    pub repairs: Repairs,
}

/// Damage that was found and repaired when a state was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repairs {
    /// The state had not been closed, and redb repaired it.
    pub repaired: bool,
    /// The state may be that of the commit before the last.
    ///
    /// redb fell back to it, or a copy of the super-header of an unclosed state does not open.
    pub fell_back: bool,
    /// Number of blocks that did not open and belonged to no commit.
    pub torn_blocks: u64,
    /// A copy of the super-header did not open.
    pub super_header: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("storage", &self.storage).finish_non_exhaustive()
    }
}

impl Store {
    /// Creates and publishes a state with the rows of `fill`.
    ///
    /// It has all tables.
    pub fn create(
        storage: &dyn StateStorage,
        header: &Header,
        sealing: Sealing,
        fill: impl FnOnce(&mut StateWrite<'_>) -> Result<()>,
    ) -> Result<()> {
        const CREATE: &str = "create state";
        let (database, health) =
            create_database(storage.create()?, header, sealing, CREATE_CACHE_BYTES)?;
        let transaction = database.begin_write().map_err(|e| e.during(CREATE))?;
        let mut write = StateWrite::new(&transaction, health);
        migrate::initialise(&mut write)?;
        fill(&mut write)?;
        drop(write);
        transaction.commit().map_err(|e| e.during(CREATE))?;
        database.close().map_err(|e| e.during(CREATE))?;
        storage.publish()
    }

    /// Reads only the published state's headers; changes nothing.
    pub fn peek(storage: &dyn StateStorage) -> Result<FoundHeaders> {
        header::read(&*storage.open()?)
    }

    /// Opens the published state and migrates its schema.
    pub fn open(
        storage: Arc<dyn StateStorage>,
        clock: Arc<dyn Clock>,
        cache_bytes: usize,
        sealing: Sealing,
    ) -> Result<OpenedStore> {
        let (opened, repairs) = open_database(&*storage, cache_bytes, sealing.clone())?;
        migrate::migrate(&opened.database, &opened.health)?;
        let home = HomeProcess::current();
        let (sealings, slot) = (Mutex::new(vec![sealing]), RwLock::new(Slot::Open(opened)));
        Ok(OpenedStore {
            store: Self { storage, clock, cache_bytes, sealings, slot, home },
            repairs,
        })
    }

    /// Reads the headers of the open state; changes nothing.
    pub fn read_headers(&self) -> Result<FoundHeaders> {
        self.on_file("read header", header::read)
    }

    /// Rewrites the copies of the open state's header that differ from `header`.
    ///
    /// `header` is the authentic one.
    pub fn repair_header(&self, header: &Header) -> Result<()> {
        self.on_file("repair header", |file| header::repair(file, header))
    }

    /// Writes both copies of the open state's header.
    ///
    /// Each is durable before the next is written.
    ///
    /// After an error it may have happened: `Uncertain`.
    pub fn write_header(&self, header: &Header) -> Result<()> {
        self.on_file("write header", |file| {
            header::write(file, header).map_err(|e| e.with_kind(ErrorKind::Uncertain))
        })
    }

    fn on_file<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&dyn StateFile) -> Result<T>,
    ) -> Result<T> {
        self.home.check(operation)?;
        match &*self.slot.read() {
            Slot::Open(opened) => act(opened.sealed.file()),
            Slot::Broken => Err(broken(operation)),
            Slot::Damaged => Err(damaged(operation)),
            Slot::Closed => Err(closed(operation)),
        }
    }

    /// Begins a consistent read.
    pub fn read(&self) -> Result<StateRead> {
        const READ: &str = "begin read";
        self.home.check(READ)?;
        match &*self.slot.read() {
            Slot::Open(opened) if opened.health.in_doubt() => {
                Err(Error::new(ErrorKind::Unavailable, READ)
                    .with_reason(Reason::CommitInDoubt)
                    .with_detail(
                        "the outcome of a commit is unknown until the state is opened again",
                    ))
            }
            Slot::Open(opened) => {
                let transaction = opened
                    .health
                    .guard(READ, || opened.database.begin_read().map_err(|e| e.during(READ)))?;
                Ok(StateRead::new(transaction, Arc::clone(&opened.health)))
            }
            Slot::Broken => Err(broken(READ)),
            Slot::Damaged => Err(damaged(READ)),
            Slot::Closed => Err(closed(READ)),
        }
    }

    /// Runs `change` in a transaction: commits on `Ok`, leaves nothing on `Err` or panic.
    ///
    /// An error of the commit is `Uncertain` only if the publishing write had begun. Otherwise the
    /// commit did not happen.
    pub fn write<T, E: From<Error>>(
        &self,
        operation: &'static str,
        change: impl for<'t> FnOnce(StateWrite<'t>) -> Result<T, E>,
        failed: impl FnOnce(ErrorKind),
    ) -> Result<T, E> {
        let (transaction, health) = self.begin_write(operation)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            change(StateWrite::new(&transaction, Arc::clone(&health)))
        }));
        match outcome {
            Ok(Ok(value)) => {
                commit(operation, transaction, &health).inspect_err(|e| {
                    self.note_failure();
                    failed(e.kind());
                })?;
                Ok(value)
            }
            Ok(Err(e)) => {
                abort(transaction, &health);
                Err(e)
            }
            // redb leaks the pages of a transaction that unwinding drops, so it is ended first.
            Err(panic) => {
                abort(transaction, &health);
                resume_unwind(panic)
            }
        }
    }

    /// Records the time of the failure, from which the readers' grace counts.
    fn note_failure(&self) {
        if let Slot::Open(opened) = &*self.slot.read() {
            let now = self.clock.monotonic();
            opened.failed_since.lock().get_or_insert(now);
        }
    }

    fn begin_write(
        &self,
        operation: &'static str,
    ) -> Result<(WriteTransaction, Arc<StorageHealth>)> {
        self.home.check(operation)?;
        match &*self.slot.read() {
            Slot::Open(opened) => {
                let mut transaction = opened.health.guard(operation, || {
                    opened.database.begin_write().map_err(|e| e.during(operation))
                })?;
                if opened.health.len() >= QUICK_REPAIR_FROM_BYTES {
                    transaction.set_quick_repair(true);
                }
                Ok((transaction, Arc::clone(&opened.health)))
            }
            Slot::Broken => Err(broken(operation)),
            Slot::Damaged => Err(damaged(operation)),
            Slot::Closed => Err(closed(operation)),
        }
    }

    /// Returns whether the store must be reopened before the next write.
    pub fn failed(&self) -> bool {
        match &*self.slot.read() {
            Slot::Open(opened) => opened.health.failed(),
            Slot::Broken => true,
            Slot::Damaged | Slot::Closed => false,
        }
    }

    /// Reopens and checks the state after a failure.
    ///
    /// No reader may be left, or their grace is over.
    ///
    /// `Unavailable` while readers are waited for, or if the storage still fails. The caller has
    /// the write turn, so no write is running.
    pub fn reopen_if_failed(&self) -> Result<bool> {
        const REOPEN: &str = "reopen state";
        if !self.failed() {
            return Ok(false);
        }
        let mut slot = self.slot.write();
        let mut readers = 0;
        match &*slot {
            Slot::Closed => return Err(closed(REOPEN)),
            Slot::Damaged => return Err(damaged(REOPEN)),
            Slot::Broken => {}
            Slot::Open(opened) => {
                let now = self.clock.monotonic();
                let since = *opened.failed_since.lock().get_or_insert(now);
                readers = opened.readers();
                if readers > 0 && now.saturating_sub(since) < READERS_GRACE {
                    return Err(Error::new(ErrorKind::Unavailable, REOPEN)
                        .with_reason(Reason::EarlierWriteFailed)
                        .with_detail(format!(
                            "an earlier write failed; reopening waits for {readers} reads, \
                         at most {} s",
                            READERS_GRACE.as_secs()
                        )));
                }
            }
        }
        tracing::warn!(readers, "reopen state after a failure");
        // Dropped before the next one is opened, so that two instances never share a file.
        let (mut in_doubt, mut torn) = (true, false);
        if let Slot::Open(opened) = &*slot {
            // The check's own commit changes no row, so reads need not wait for its outcome.
            in_doubt = opened.health.in_doubt() || opened.health.may_have_torn_check();
            torn = opened.health.may_have_torn_copy();
            opened.health.close();
            if opened.health.is_distrusted() {
                *slot = Slot::Damaged;
                return Err(damaged(REOPEN));
            }
        }
        *slot = Slot::Broken;
        let (mut opened, repairs) = self.reopen()?;
        // A commit of unknown outcome may be missing; an acknowledged one may not.
        let lost = !in_doubt && (repairs.fell_back || repairs.super_header && !torn);
        let intact = check_database(&mut opened, REOPEN)?;
        if lost || !intact {
            *slot = Slot::Damaged;
            return Err(damaged(REOPEN));
        }
        tracing::info!("state reopened");
        *slot = Slot::Open(opened);
        Ok(true)
    }

    /// Opens the published state. The caller has dropped the previous instance.
    pub(super) fn reopen(&self) -> Result<(Opened, Repairs)> {
        let found = header::read(&*self.storage.open()?)?;
        let sealings = self.sealings.lock().clone();
        let of = |file| sealings.iter().find(|sealing| sealing.file == file);
        let header = found.of_file(|file| of(file).is_some());
        let sealing = header.and_then(|header| of(header.file).cloned()).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "open state")
                .with_detail("another state file has replaced it")
        })?;
        open_database(&*self.storage, self.cache_bytes, sealing)
    }

    /// Returns the file id of the open state; `None` while it is not open.
    pub fn file(&self) -> Option<Uuid> {
        match &*self.slot.read() {
            Slot::Open(opened) => Some(opened.sealed.id()),
            _ => None,
        }
    }

    /// Runs redb's integrity check, which opens every block in use.
    ///
    /// It compares every page of the committed trees with its checksum. Returns `false` if redb
    /// found damage and repaired what it could. The caller has the write turn, and knows that no
    /// readers exist.
    pub fn check_integrity(&self) -> Result<bool> {
        const CHECK: &str = "check state";
        match &mut *self.slot.write() {
            Slot::Open(opened) => check_database(opened, CHECK),
            Slot::Broken => Err(broken(CHECK)),
            Slot::Damaged => Err(damaged(CHECK)),
            Slot::Closed => Err(closed(CHECK)),
        }
    }

    /// Returns the size of redb's part of the state in bytes.
    pub fn bytes(&self) -> u64 {
        match &*self.slot.read() {
            Slot::Open(opened) => opened.health.len(),
            _ => 0,
        }
    }

    /// Abandons the inherited state in a forked process.
    ///
    /// Dropping the database would write to the file of the parent.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::replace(self.slot.get_mut(), Slot::Closed));
    }

    /// Closes the state. Later calls, and readers that still live, get `Closed`.
    pub fn close(&self) -> Result<()> {
        let slot = std::mem::replace(&mut *self.slot.write(), Slot::Closed);
        let Slot::Open(Opened { database, health, .. }) = slot else { return Ok(()) };
        health.close();
        catch_unwind(AssertUnwindSafe(|| database.close()))
            .map_err(|panic| panic_as_corrupt("close state", panic))?
            .map_err(|e| e.during("close state"))
    }
}

/// Makes a write durable: redb writes the pages, then the header that publishes them, and syncs.
fn commit(
    operation: &'static str,
    transaction: WriteTransaction,
    health: &StorageHealth,
) -> Result<()> {
    health.begin_commit();
    health.guard(operation, || transaction.commit().map_err(|e| e.during(operation))).map_err(
        |error| {
            health.fail();
            tracing::warn!(error = %error.kind(), "commit failed");
            if !health.may_have_committed() {
                return error;
            }
            health.doubt();
            error.with_kind(ErrorKind::Uncertain)
        },
    )
}

fn abort(transaction: WriteTransaction, health: &StorageHealth) {
    const ABORT: &str = "abort write";
    if let Err(error) = health.guard(ABORT, || transaction.abort().map_err(|e| e.during(ABORT))) {
        // In either case nothing of it is visible or durable; the next write reopens.
        health.fail();
        tracing::warn!(error = %error.kind(), "abort failed");
    }
}

fn check_database(opened: &mut Opened, operation: &'static str) -> Result<bool> {
    let Opened { database, health, .. } = opened;
    health.note_check(true);
    let intact =
        health.guard(operation, || database.check_integrity().map_err(|e| e.during(operation)))?;
    health.note_check(false);
    Ok(intact)
}

/// Makes a new, empty database behind `header` and `sealing`.
pub(super) fn create_database(
    storage: Box<dyn StateFile>,
    header: &Header,
    sealing: Sealing,
    cache_bytes: usize,
) -> Result<(Database, Arc<StorageHealth>)> {
    const CREATE: &str = "create state";
    storage.set_len(file_bytes(0)).map_err(|e| Error::io(CREATE, e))?;
    header::write(&*storage, header)?;
    let sealed = Sealed::create(storage, sealing);
    let health = sealed.health();
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(sealed.clone())
        .map_err(|e| e.during(CREATE))?;
    sealed.establish();
    Ok((database, health))
}

fn open_database(
    storage: &dyn StateStorage,
    cache_bytes: usize,
    sealing: Sealing,
) -> Result<(Opened, Repairs)> {
    const OPEN: &str = "open state";
    let (sealed, left) = Sealed::open(storage.open()?, sealing)?;
    if left.fresh {
        // The publisher may have died, or got an error, before the publish was durable.
        storage.settle()?;
    }
    let health = sealed.health();
    let repair = Arc::new(Repair { lenient: !left.closed, ..Repair::default() });
    let (storage, under, session) = (sealed.clone(), sealed.clone(), Arc::clone(&repair));
    let database = catch_unwind(AssertUnwindSafe(|| {
        Database::builder()
            .set_cache_size(cache_bytes)
            // Then the older copy of page 0 is used, and the state before it is unknown.
            .set_check_integrity_on_open(left.damaged)
            .set_repair_callback(move |step| session.step(step, &under))
            .create_with_backend(storage)
    }))
    .map_err(|panic| panic_as_corrupt(OPEN, panic))?
    .map_err(|e| e.during(OPEN))?;
    sealed.establish();
    let repairs = Repairs {
        repaired: repair.walked.load(Ordering::Relaxed),
        // The copy that does not open may have been the newer one.
        fell_back: repair.fell_back.load(Ordering::Relaxed) || left.damaged && !left.closed,
        torn_blocks: repair.torn_blocks.load(Ordering::Relaxed),
        super_header: left.damaged,
    };
    Ok((Opened { database, health, sealed, failed_since: Mutex::new(None) }, repairs))
}

/// redb's repair of an unclosed state, step by step through its callback.
#[derive(Default)]
struct Repair {
    /// Set if torn blocks are allowed, because the state was not closed.
    lenient: bool,
    walked: AtomicBool,
    fell_back: AtomicBool,
    torn_blocks: AtomicU64,
}

impl Repair {
    /// Follows the progress of redb's repair.
    ///
    /// redb calls with 0.0 before it checks the primary commit, with 0.3 if that failed, before it
    /// checks the commit before, and with 0.6 and 0.9 after a successful check.
    fn step(&self, session: &RepairSession, sealed: &Sealed) {
        self.walked.store(true, Ordering::Relaxed);
        if !self.lenient {
            return;
        }
        let progress = session.progress();
        if progress < 0.1 {
            sealed.begin_repair();
        } else if progress < 0.5 {
            self.fell_back.store(true, Ordering::Relaxed);
        } else if progress < 0.8 {
            self.torn_blocks.store(sealed.end_repair(), Ordering::Relaxed);
        }
    }
}

pub(super) fn broken(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .with_reason(Reason::EarlierWriteFailed)
        .with_detail("the state could not be opened again after a failure")
}

pub(super) fn damaged(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation)
        .with_reason(Reason::StateDamaged)
        .with_detail("the state was damaged when it was opened again after a failure")
}

pub(super) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation)
        .with_reason(Reason::VaultClosed)
        .with_detail("the vault is closed")
}
