//! The open database: begin, commit, and the reopening after a failure.
//!
//! redb refuses everything after the first error of its storage, until it is opened again. So a
//! failed store reports that error once, answers `Unavailable` from then on, and is reopened by
//! the next write that finds no reader left, at the latest [`READERS_GRACE`] after the failure;
//! readers that still live then get `Closed`. There are never two redb instances on one file:
//! the second would reuse pages that the first one's readers pin.
//!
//! Callers serialise writes (`vault/writer.rs`); this file relies on it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, StorageBackend, WriteTransaction};
use strongroom_backends::component::Clock;
use strongroom_backends::{Error, ErrorKind, Result};

use super::failure::{RedbFailure, panic_as_corrupt};
use super::frame::{Framed, Watch};
use super::migrate;
use super::storage::StateStorage;
use super::tables::{StateRead, StateWrite};
use crate::format::Header;

/// How long live readers may put off the reopening of a failed store.
pub(crate) const READERS_GRACE: Duration = Duration::from_secs(30);

/// From this size of state on, commits keep redb's allocator state on disk (`quick_repair`).
///
/// It costs a second fdatasync a commit (2.7 times as long, measured on redb 4.5.0) and saves
/// the walk over the state when the vault opens after a crash: 5 to 8 s a GiB in use. The file
/// grows by doubling, so at this size a quarter of a GiB to half a GiB is in use.
const QUICK_REPAIR_FROM_BYTES: u64 = 512 << 20;

/// One state, open.
pub(crate) struct Store {
    storage: Arc<dyn StateStorage>,
    clock: Arc<dyn Clock>,
    cache_bytes: usize,
    slot: RwLock<Slot>,
}

enum Slot {
    Open(Opened),
    /// Failed, dropped, and not yet opened again.
    Broken,
    /// Opened again and found damaged; for good.
    Damaged,
    Closed,
}

struct Opened {
    database: Database,
    watch: Arc<Watch>,
    /// When the failure was first met.
    failed_since: Mutex<Option<Duration>>,
}

/// What opening a state found.
pub(crate) struct OpenedStore {
    pub(crate) store: Store,
    pub(crate) header: Header,
    /// It had not been closed, and redb went over it.
    pub(crate) repaired: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("storage", &self.storage).finish_non_exhaustive()
    }
}

impl Store {
    /// Creates a state with its tables and what `fill` writes, and publishes it.
    pub(crate) fn create(
        storage: &dyn StateStorage,
        header: &Header,
        fill: impl FnOnce(&mut StateWrite<'_>) -> Result<()>,
    ) -> Result<()> {
        const CREATE: &str = "create state";
        let framed = Framed::create(storage.create()?, header).map_err(|e| Error::io(CREATE, e))?;
        let watch = framed.watch();
        let database =
            Database::builder().create_with_backend(framed).map_err(|e| e.during(CREATE))?;
        let transaction = database.begin_write().map_err(|e| e.during(CREATE))?;
        let mut write = StateWrite::new(&transaction, watch);
        migrate::initialise(&mut write)?;
        fill(&mut write)?;
        drop(write);
        transaction.commit().map_err(|e| e.during(CREATE))?;
        database.close().map_err(|e| e.during(CREATE))?;
        storage.publish()
    }

    /// Reads the published state's header and nothing else; changes nothing.
    pub(crate) fn peek(storage: &dyn StateStorage) -> Result<Header> {
        Framed::open(storage.open()?).map(|(_, header)| header)
    }

    /// Opens the published state and brings its schema up to date.
    pub(crate) fn open(
        storage: Arc<dyn StateStorage>,
        clock: Arc<dyn Clock>,
        cache_bytes: usize,
    ) -> Result<OpenedStore> {
        let (opened, header, repaired) = open_database(storage.open()?, cache_bytes)?;
        migrate::migrate(&opened.database, &opened.watch)?;
        let slot = RwLock::new(Slot::Open(opened));
        Ok(OpenedStore { store: Self { storage, clock, cache_bytes, slot }, header, repaired })
    }

    /// Begins a consistent read.
    pub(crate) fn read(&self) -> Result<StateRead> {
        const READ: &str = "begin read";
        match &*self.slot.read() {
            Slot::Open(opened) if opened.watch.in_doubt() => {
                Err(Error::new(ErrorKind::Unavailable, READ).with_detail(
                    "the outcome of a commit is unknown until the state is opened again",
                ))
            }
            Slot::Open(opened) => {
                let transaction = opened
                    .watch
                    .guard(READ, || opened.database.begin_read().map_err(|e| e.during(READ)))?;
                Ok(StateRead::new(transaction, Arc::clone(&opened.watch)))
            }
            Slot::Broken => Err(broken(READ)),
            Slot::Damaged => Err(damaged(READ)),
            Slot::Closed => Err(closed(READ)),
        }
    }

    /// Runs `change` in a transaction: commits on `Ok`, leaves nothing on `Err` or panic.
    ///
    /// An error of the commit itself is `Uncertain` only if the write that publishes it had
    /// begun; otherwise it did not happen.
    pub(crate) fn write<T, E: From<Error>>(
        &self,
        operation: &'static str,
        change: impl for<'t> FnOnce(StateWrite<'t>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (transaction, watch) = self.begin_write(operation)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            change(StateWrite::new(&transaction, Arc::clone(&watch)))
        }));
        match outcome {
            Ok(Ok(value)) => {
                commit(operation, transaction, &watch).inspect_err(|_| self.note_failure())?;
                Ok(value)
            }
            Ok(Err(e)) => {
                abort(transaction, &watch);
                Err(e)
            }
            // redb leaks the pages of a transaction that unwinding drops; so it is ended first.
            Err(panic) => {
                abort(transaction, &watch);
                resume_unwind(panic)
            }
        }
    }

    /// Remembers when the failure was met; readers have their grace from then.
    fn note_failure(&self) {
        if let Slot::Open(opened) = &*self.slot.read() {
            let now = self.clock.monotonic();
            opened.failed_since.lock().get_or_insert(now);
        }
    }

    fn begin_write(&self, operation: &'static str) -> Result<(WriteTransaction, Arc<Watch>)> {
        match &*self.slot.read() {
            Slot::Open(opened) => {
                let mut transaction = opened.watch.guard(operation, || {
                    opened.database.begin_write().map_err(|e| e.during(operation))
                })?;
                if opened.watch.len() >= QUICK_REPAIR_FROM_BYTES {
                    transaction.set_quick_repair(true);
                }
                Ok((transaction, Arc::clone(&opened.watch)))
            }
            Slot::Broken => Err(broken(operation)),
            Slot::Damaged => Err(damaged(operation)),
            Slot::Closed => Err(closed(operation)),
        }
    }

    /// Whether a failure stands between this store and the next write.
    pub(crate) fn failed(&self) -> bool {
        match &*self.slot.read() {
            Slot::Open(opened) => opened.watch.failed(),
            Slot::Broken => true,
            Slot::Damaged | Slot::Closed => false,
        }
    }

    /// After a failure: opens the state again if no reader is left or they had their grace, and
    /// walks it. `Unavailable` while readers are waited for, or if the storage still fails.
    ///
    /// The caller holds the writer's lock, so no write is under way.
    pub(crate) fn reopen_if_failed(&self, readers: usize) -> Result<bool> {
        const REOPEN: &str = "reopen state";
        if !self.failed() {
            return Ok(false);
        }
        let mut slot = self.slot.write();
        match &*slot {
            Slot::Closed => return Err(closed(REOPEN)),
            Slot::Damaged => return Err(damaged(REOPEN)),
            Slot::Broken => {}
            Slot::Open(opened) => {
                let now = self.clock.monotonic();
                let since = *opened.failed_since.lock().get_or_insert(now);
                if readers > 0 && now.saturating_sub(since) < READERS_GRACE {
                    return Err(Error::new(ErrorKind::Unavailable, REOPEN).with_detail(format!(
                        "an earlier write failed; reopening waits for {readers} readers, \
                         at most {} s",
                        READERS_GRACE.as_secs()
                    )));
                }
            }
        }
        tracing::warn!(readers, "reopen state after a failure");
        // Dropped before the next one is opened: never two instances on one file.
        if let Slot::Open(opened) = &*slot {
            opened.watch.close();
        }
        *slot = Slot::Broken;
        let (mut opened, _, _) = open_database(self.storage.open()?, self.cache_bytes)?;
        let intact = check_database(&mut opened, REOPEN)?;
        if !intact {
            *slot = Slot::Damaged;
            return Err(damaged(REOPEN));
        }
        tracing::info!("state reopened");
        *slot = Slot::Open(opened);
        Ok(true)
    }

    /// redb's own integrity check: every page of the committed trees against its checksum.
    /// `false` if it found damage and repaired what it could.
    ///
    /// The caller holds the writer's lock and knows that there are no readers.
    pub(crate) fn check_integrity(&self) -> Result<bool> {
        const CHECK: &str = "check state";
        match &mut *self.slot.write() {
            Slot::Open(opened) => check_database(opened, CHECK),
            Slot::Broken => Err(broken(CHECK)),
            Slot::Damaged => Err(damaged(CHECK)),
            Slot::Closed => Err(closed(CHECK)),
        }
    }

    /// Size of redb's part of the state in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match &*self.slot.read() {
            Slot::Open(opened) => opened.watch.len(),
            _ => 0,
        }
    }

    /// Closes the state; every later call, and readers that still live, get `Closed`.
    pub(crate) fn close(&self) -> Result<()> {
        let slot = std::mem::replace(&mut *self.slot.write(), Slot::Closed);
        let Slot::Open(Opened { database, watch, .. }) = slot else { return Ok(()) };
        watch.close();
        catch_unwind(AssertUnwindSafe(|| database.close()))
            .map_err(|panic| panic_as_corrupt("close state", panic))?
            .map_err(|e| e.during("close state"))
    }
}

/// Where a write becomes durable: redb writes the pages, then (`frame.rs`) the header that
/// publishes them, and returns after the sync.
fn commit(operation: &'static str, transaction: WriteTransaction, watch: &Watch) -> Result<()> {
    watch.begin_commit();
    watch.guard(operation, || transaction.commit().map_err(|e| e.during(operation))).map_err(
        |error| {
            watch.fail();
            tracing::warn!(error = %error.kind(), "commit failed");
            if !watch.may_have_committed() {
                return error;
            }
            watch.doubt();
            error.with_kind(ErrorKind::Uncertain)
        },
    )
}

fn abort(transaction: WriteTransaction, watch: &Watch) {
    const ABORT: &str = "abort write";
    if let Err(error) = watch.guard(ABORT, || transaction.abort().map_err(|e| e.during(ABORT))) {
        // Nothing of it is visible or durable either way; the next write reopens.
        watch.fail();
        tracing::warn!(error = %error.kind(), "abort failed");
    }
}

fn check_database(opened: &mut Opened, operation: &'static str) -> Result<bool> {
    let Opened { database, watch, .. } = opened;
    watch.guard(operation, || database.check_integrity().map_err(|e| e.during(operation)))
}

fn open_database(
    storage: Box<dyn StorageBackend>,
    cache_bytes: usize,
) -> Result<(Opened, Header, bool)> {
    const OPEN: &str = "open state";
    let (framed, header) = Framed::open(storage)?;
    let watch = framed.watch();
    let repaired = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&repaired);
    let database = catch_unwind(AssertUnwindSafe(|| {
        Database::builder()
            .set_cache_size(cache_bytes)
            .set_repair_callback(move |_| note.store(true, Ordering::Relaxed))
            .create_with_backend(framed)
    }))
    .map_err(|panic| panic_as_corrupt(OPEN, panic))?
    .map_err(|e| e.during(OPEN))?;
    let opened = Opened { database, watch, failed_since: Mutex::new(None) };
    Ok((opened, header, repaired.load(Ordering::Relaxed)))
}

fn broken(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .with_detail("the state could not be opened again after a failure")
}

fn damaged(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation)
        .with_detail("the state was damaged when it was opened again after a failure")
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation).with_detail("the vault is closed")
}
