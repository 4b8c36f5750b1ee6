//! Copies the state into a new file, and compacts it.
//!
//! The copy can have new keys.
//!
//! Both need the state without readers, because a redb reader keeps pages of the old file. They
//! wait for such a moment for a bounded time, and are then `Locked`, with nothing changed.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLockWriteGuard;
use redb::{CompactionError, Database};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::{RedbFailure, panic_as_corrupt};
use super::sealed::Sealing;
use super::storage_health::StorageHealth;
use super::store::{Opened, Slot, Store, broken, closed, create_database, damaged};
use super::tables::{StateRead, StateWrite, Table};
use strongroom_base::LongCall;
use strongroom_format::Header;

/// Bytes of rows in one transaction while a state is copied.
const COPY_BYTES: usize = 4 << 20;

/// Interval between checks for live readers.
const READERS_POLL: Duration = Duration::from_millis(5);

/// The options of a copy.
pub struct CopyOptions<'a> {
    /// Receives the number of copied rows.
    pub call: LongCall<'a>,
    /// Longest wait for readers.
    pub timeout: Duration,
}

const ROTATE: &str = "rotate keys";

impl Store {
    /// Copies the state into a new file, and continues with it.
    ///
    /// `header` and `sealing` are those of the new file.
    ///
    /// The old file is untouched until the new one replaces it. The caller has the write turn.
    /// `Full` if there is no room for the copy. `Locked` if readers live longer than the timeout.
    /// `Uncertain` if either file may be the state; the valid one is open then.
    pub fn replace(&self, header: &Header, sealing: Sealing, with: &CopyOptions<'_>) -> Result<()> {
        let copied = self.copy_into_new(header, &sealing, with).and_then(|()| {
            let slot = self.alone(with.timeout, ROTATE)?;
            self.swap(slot, sealing.clone())
        });
        if copied.is_err()
            && let Err(error) = self.storage.discard()
        {
            // The next creation, rotation or open discards it.
            tracing::warn!(error = %error.kind(), "copy of the state not discarded");
        }
        copied
    }

    fn copy_into_new(
        &self,
        header: &Header,
        sealing: &Sealing,
        with: &CopyOptions<'_>,
    ) -> Result<()> {
        let (needed, room) = (self.bytes(), self.storage.available_bytes()?);
        if room < needed {
            return Err(Error::new(ErrorKind::Full, ROTATE)
                .with_reason(Reason::StorageFull)
                .with_detail(format!(
                    "the copy of the state may need {needed} bytes, and {room} are free"
                )));
        }
        let read = self.read()?;
        let storage = self.storage.create()?;
        let (database, health) =
            create_database(storage, header, sealing.clone(), self.cache_bytes)?;
        let mut copy = Copy { database: &database, health, with, rows: 0 };
        for table in Table::ALL_FIXED {
            copy.table(&read, table)?;
        }
        for number in read.record_tables()? {
            copy.table(&read, Table::Records(number))?;
        }
        drop(copy);
        database.close().map_err(|e| e.during(ROTATE))
    }

    /// Takes the slot when no reader of the open state lives. New readers wait from then on.
    fn alone(
        &self,
        timeout: Duration,
        operation: &'static str,
    ) -> Result<RwLockWriteGuard<'_, Slot>> {
        let began = self.clock.monotonic();
        loop {
            // Released while it waits, so reads continue.
            let slot = self.slot.write();
            let readers = match &*slot {
                Slot::Open(opened) if opened.health.failed() => return Err(broken(operation)),
                Slot::Open(opened) => opened.readers(),
                Slot::Broken => return Err(broken(operation)),
                Slot::Damaged => return Err(damaged(operation)),
                Slot::Closed => return Err(closed(operation)),
            };
            if readers == 0 {
                return Ok(slot);
            }
            if self.clock.monotonic().saturating_sub(began) >= timeout {
                return Err(Error::new(ErrorKind::Locked, operation).with_detail(format!(
                    "{readers} reads did not end within {} s",
                    timeout.as_secs_f32()
                )));
            }
            drop(slot);
            self.clock.sleep(READERS_POLL);
        }
    }

    /// Closes the old state, publishes and opens the new one; opens the valid one if that fails.
    fn swap(&self, mut slot: RwLockWriteGuard<'_, Slot>, sealing: Sealing) -> Result<()> {
        let Slot::Open(Opened { database, health, .. }) =
            std::mem::replace(&mut *slot, Slot::Broken)
        else {
            return Err(broken(ROTATE));
        };
        health.close();
        let closed = catch_unwind(AssertUnwindSafe(|| database.close()))
            .map_err(|panic| panic_as_corrupt(ROTATE, panic))
            .and_then(|closed| closed.map_err(|e| e.during(ROTATE)));
        self.sealings.lock().push(sealing);
        let published = closed.and_then(|()| self.storage.publish());
        // The file itself shows which state it is.
        let reopened = self.reopen().map_err(|e| match &published {
            // It has happened; the next reopening reports it.
            Ok(()) => e.with_kind(ErrorKind::Uncertain),
            Err(published) => published.clone(),
        });
        let (opened, _) = reopened?;
        let file = opened.sealed.id();
        self.sealings.lock().retain(|sealing| sealing.file == file);
        *slot = Slot::Open(opened);
        published
    }

    /// Moves pages from the end of the file, and truncates it; returns whether any could be moved.
    ///
    /// The caller has the write turn. `Locked` if readers live longer than `timeout`.
    pub fn compact(&self, timeout: Duration) -> Result<bool> {
        const COMPACT: &str = "compact state";
        let mut slot = self.alone(timeout, COMPACT)?;
        let Slot::Open(Opened { database, health, .. }) = &mut *slot else {
            return Err(broken(COMPACT));
        };
        health.guard(COMPACT, || {
            database.compact().map_err(|error| match error {
                CompactionError::Storage(e) => e.during(COMPACT),
                other => Error::new(ErrorKind::Locked, COMPACT).with_source(other),
            })
        })
    }
}

impl Opened {
    /// Returns the number of live readers.
    ///
    /// Each holds a reference to the health, as do this handle and the storage. No write is running
    /// when this is called.
    pub(super) fn readers(&self) -> usize {
        Arc::strong_count(&self.health).saturating_sub(2)
    }
}

/// A copy in progress.
struct Copy<'a> {
    database: &'a Database,
    health: Arc<StorageHealth>,
    with: &'a CopyOptions<'a>,
    rows: u64,
}

impl Copy<'_> {
    /// Copies all rows of a table, in transactions of bounded size.
    fn table(&mut self, read: &StateRead, table: Table) -> Result<()> {
        let mut rows = read.range(table, (Bound::Unbounded, Bound::Unbounded))?.peekable();
        loop {
            let transaction = self.database.begin_write().map_err(|e| e.during(ROTATE))?;
            let mut write = StateWrite::new(&transaction, Arc::clone(&self.health));
            write.make(table)?;
            let mut bytes = 0;
            while bytes < COPY_BYTES
                && let Some(entry) = rows.next()
            {
                let entry = entry?;
                let (key, row) = (entry.key.as_slice(), entry.row.as_slice());
                bytes += key.len() + row.len();
                write.put(table, key, row)?;
                self.rows += 1;
            }
            drop(write);
            transaction.commit().map_err(|e| e.during(ROTATE))?;
            self.with.call.check(ROTATE)?;
            self.with.call.report(self.rows, None);
            if rows.peek().is_none() {
                return Ok(());
            }
        }
    }
}
