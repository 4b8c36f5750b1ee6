//! The tables, and their two forms of access: a consistent read and the one write.
//!
//! All tables are ordered maps of bytes, which `engine/format/` defines. A table is opened at its
//! first use and stays open for the rest of the transaction. Each namespace has its own table, so
//! redb stores its length with its root, and no key has a prefix.
//!
//! redb may panic on damaged pages. Every call of it in this file goes through
//! [`StorageHealth::guard`], which translates a panic to `Corrupt`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redb::{
    AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableHandle, WriteTransaction,
};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::RedbFailure;
use super::storage_health::StorageHealth;

type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

const READ: &str = "read state";
const WRITE: &str = "write state";

/// A table of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Schema version, and the vault's own row.
    Meta,
    /// Namespaces by name.
    Namespaces,
    /// Namespaces that are being dropped, by number.
    Dropping,
    /// Operations by id.
    Operations,
    /// Checkpoints by operation id and lane.
    Checkpoints,
    /// Earlier checkpoints, by operation id, lane and position in the lane's ring.
    History,
    /// Ids of the host's unfinished operations.
    Unfinished,
    /// Location and reference count of each chunk, by id.
    Chunks,
    /// Chunks of content that are stored in the state, by id.
    Bodies,
    /// Ids of chunks without references.
    Released,
    /// Packs of chunks, by the name of their object.
    Packs,
    /// Unfinished uploads that have put packs, by id.
    Uploads,
    /// Artifacts, by spec, task, type and version.
    Artifacts,
    /// Keys of versions of artifacts, in the order of their arrival.
    Arrivals,
    /// Search groups of versions of artifacts.
    FoundBy,
    /// Totals.
    Totals,
    /// The host's settings.
    Settings,
    /// Names of objects of unfinished uploads, by staging.
    Pending,
    /// Objects without a reference, by the commit that dropped the last one.
    Doomed,
    /// The share space, and its unfinished update.
    Space,
    /// The records of a namespace, by key.
    Records(u32),
}

/// Number of tables that every state has.
const FIXED: usize = 20;
const RECORDS_PREFIX: &str = "records/";

impl Table {
    pub(super) const ALL_FIXED: [Self; FIXED] = [
        Self::Meta,
        Self::Namespaces,
        Self::Dropping,
        Self::Operations,
        Self::Checkpoints,
        Self::Pending,
        Self::Doomed,
        Self::Space,
        Self::History,
        Self::Unfinished,
        Self::Chunks,
        Self::Bodies,
        Self::Released,
        Self::Packs,
        Self::Artifacts,
        Self::Uploads,
        Self::Arrivals,
        Self::FoundBy,
        Self::Totals,
        Self::Settings,
    ];

    /// Returns its name in redb, and in reports.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Meta => "meta",
            Self::Namespaces => "namespaces",
            Self::Dropping => "dropping",
            Self::Operations => "operations",
            Self::Checkpoints => "checkpoints",
            Self::Pending => "pending",
            Self::Doomed => "doomed",
            Self::Space => "space",
            Self::History => "history",
            Self::Unfinished => "unfinished",
            Self::Chunks => "chunks",
            Self::Bodies => "bodies",
            Self::Released => "released",
            Self::Packs => "packs",
            Self::Artifacts => "artifacts",
            Self::Uploads => "uploads",
            Self::Arrivals => "arrivals",
            Self::FoundBy => "found_by",
            Self::Totals => "totals",
            Self::Settings => "settings",
            Self::Records(number) => return Cow::Owned(format!("{RECORDS_PREFIX}{number}")),
        })
    }

    /// Returns its position among the fixed tables, or the namespace's number.
    fn place(self) -> Result<usize, u32> {
        match self {
            Self::Meta => Ok(0),
            Self::Namespaces => Ok(1),
            Self::Dropping => Ok(2),
            Self::Operations => Ok(3),
            Self::Checkpoints => Ok(4),
            Self::Pending => Ok(5),
            Self::Doomed => Ok(6),
            Self::Space => Ok(7),
            Self::History => Ok(8),
            Self::Unfinished => Ok(9),
            Self::Chunks => Ok(10),
            Self::Bodies => Ok(11),
            Self::Released => Ok(12),
            Self::Packs => Ok(13),
            Self::Artifacts => Ok(14),
            Self::Uploads => Ok(15),
            Self::Arrivals => Ok(16),
            Self::FoundBy => Ok(17),
            Self::Totals => Ok(18),
            Self::Settings => Ok(19),
            Self::Records(number) => Err(number),
        }
    }
}

fn definition(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// A value of a table: a page of redb's cache, or owned bytes.
pub enum Row {
    Page(AccessGuard<'static, &'static [u8]>),
    Owned(Bytes),
}

impl Row {
    /// Makes a row of a page.
    ///
    /// This runs under a guard: reading the value of a damaged page panics, and if it does not now
    /// it never will.
    #[inline]
    fn page(page: AccessGuard<'static, &'static [u8]>) -> Self {
        let _checked = page.value();
        Self::Page(page)
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Page(page) => page.value(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} bytes)", self.as_slice().len())
    }
}

/// A span of a table's keys.
pub type KeySpan<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A consistent read of all tables at the time when it began.
pub struct StateRead {
    transaction: ReadTransaction,
    fixed: [OnceLock<TableRead>; FIXED],
    health: Arc<StorageHealth>,
}

impl fmt::Debug for StateRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateRead").finish_non_exhaustive()
    }
}

impl StateRead {
    pub(super) fn new(transaction: ReadTransaction, health: Arc<StorageHealth>) -> Self {
        Self { transaction, fixed: Default::default(), health }
    }

    /// Opens a table for as long as the caller keeps it.
    pub fn open(&self, table: Table) -> Result<TableRead> {
        let name = table.name();
        let inner = self.health.guard(READ, || {
            self.transaction.open_table(definition(&name)).map_err(|e| e.during(READ))
        })?;
        Ok(TableRead { inner, health: Arc::clone(&self.health) })
    }

    /// Runs `read` on a table; a fixed table stays open.
    fn on<R>(&self, table: Table, read: impl FnOnce(&TableRead) -> Result<R>) -> Result<R> {
        let Ok(place) = table.place() else { return read(&self.open(table)?) };
        if let Some(open) = self.fixed[place].get() {
            return read(open);
        }
        let open = self.open(table)?;
        read(self.fixed[place].get_or_init(|| open))
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>> {
        self.on(table, |table| table.get(key))
    }

    pub fn range(&self, table: Table, span: KeySpan<'_>) -> Result<Rows> {
        self.on(table, |table| table.range(span))
    }

    pub fn len(&self, table: Table) -> Result<u64> {
        self.on(table, TableRead::row_count)
    }

    /// Returns the numbers of the namespaces that have a table.
    pub fn record_tables(&self) -> Result<Vec<u32>> {
        self.health.guard(READ, || {
            let tables = self.transaction.list_tables().map_err(|e| e.during(READ))?;
            let number = |name: &str| name.strip_prefix(RECORDS_PREFIX)?.parse().ok();
            Ok(tables.filter_map(|table| number(table.name())).collect())
        })
    }
}

/// One table of a consistent read.
pub struct TableRead {
    inner: ReadOnlyTable<&'static [u8], &'static [u8]>,
    health: Arc<StorageHealth>,
}

impl fmt::Debug for TableRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRead").finish_non_exhaustive()
    }
}

impl TableRead {
    pub fn get(&self, key: &[u8]) -> Result<Option<Row>> {
        self.health.guard(READ, || {
            let page = self.inner.get(key).map_err(|e| e.during(READ))?;
            Ok(page.map(Row::page))
        })
    }

    pub fn range(&self, span: KeySpan<'_>) -> Result<Rows> {
        self.health.guard(READ, || {
            let inner = self.inner.range::<&[u8]>(span).map_err(|e| e.during(READ))?;
            Ok(Rows { inner, health: Arc::clone(&self.health), failed: false })
        })
    }

    /// Returns the number of its rows.
    pub fn row_count(&self) -> Result<u64> {
        self.health.guard(READ, || self.inner.len().map_err(|e| e.during(READ)))
    }
}

/// Rows of a table in key order, from either end. The first error ends it.
pub struct Rows {
    inner: redb::Range<'static, &'static [u8], &'static [u8]>,
    health: Arc<StorageHealth>,
    failed: bool,
}

/// A row with its key.
pub struct Entry {
    pub key: Row,
    pub row: Row,
}

type Pages<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

impl Iterator for Rows {
    type Item = Result<Entry>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Self { inner, health, failed } = self;
        step(health, failed, || inner.next(), in_place)
    }
}

impl DoubleEndedIterator for Rows {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let Self { inner, health, failed } = self;
        step(health, failed, || inner.next_back(), in_place)
    }
}

#[inline]
fn in_place((key, row): Pages<'static>) -> Entry {
    Entry { key: Row::page(key), row: Row::page(row) }
}

/// Takes one step of a range of redb's; none after an error, which would repeat for ever.
///
/// The entry is built in place: it is large, and each move of it is measurable in a scan.
#[inline]
fn step<'a>(
    health: &StorageHealth,
    failed: &mut bool,
    advance: impl FnOnce() -> Option<Result<Pages<'a>, redb::StorageError>>,
    entry: impl FnOnce(Pages<'a>) -> Entry,
) -> Option<Result<Entry>> {
    if *failed {
        return None;
    }
    let mut stepped = None;
    let guarded = health.guard(READ, || {
        stepped = match advance() {
            Some(Ok(pages)) => Some(Ok(entry(pages))),
            Some(Err(e)) => Some(Err(e.during(READ))),
            None => None,
        };
        Ok(())
    });
    if let Err(error) = guarded {
        stepped = Some(Err(error));
    }
    *failed = matches!(stepped, Some(Err(_)));
    stepped
}

/// The one write: all tables, changed together when it commits.
pub struct StateWrite<'t> {
    transaction: &'t WriteTransaction,
    fixed: [OnceCell<Box<WriteTable<'t>>>; FIXED],
    /// Tables of records, in the order in which they were opened.
    records: OnceCell<Box<OpenRecords<'t>>>,
    health: Arc<StorageHealth>,
}

struct OpenRecords<'t> {
    number: u32,
    table: WriteTable<'t>,
    next: OnceCell<Box<OpenRecords<'t>>>,
}

impl fmt::Debug for StateWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWrite").finish_non_exhaustive()
    }
}

impl<'t> StateWrite<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, health: Arc<StorageHealth>) -> Self {
        Self { transaction, fixed: Default::default(), records: OnceCell::new(), health }
    }

    /// Creates the tables that every state has.
    ///
    /// A read then always finds them.
    pub(super) fn create_tables(&self) -> Result<()> {
        Table::ALL_FIXED.into_iter().try_for_each(|table| self.make(table))
    }

    /// Creates a table that may stay empty.
    pub(super) fn make(&self, table: Table) -> Result<()> {
        self.table(table).map(drop)
    }

    fn open(&self, table: Table) -> Result<WriteTable<'t>> {
        let name = table.name();
        self.health.guard(WRITE, || {
            self.transaction.open_table(definition(&name)).map_err(|e| e.during(WRITE))
        })
    }

    fn table(&self, table: Table) -> Result<&WriteTable<'t>> {
        match table.place() {
            Ok(place) => {
                let slot = &self.fixed[place];
                if slot.get().is_none() {
                    let open = self.open(table)?;
                    return Ok(slot.get_or_init(|| Box::new(open)));
                }
                Ok(slot.get().expect("opened before"))
            }
            Err(number) => self.record_table(number),
        }
    }

    /// Finds this table in the list of open tables; opens it at the end of the list if needed.
    fn record_table(&self, number: u32) -> Result<&WriteTable<'t>> {
        let mut slot = &self.records;
        while let Some(open) = slot.get() {
            if open.number == number {
                return Ok(&open.table);
            }
            slot = &open.next;
        }
        let table = self.open(Table::Records(number))?;
        let open = OpenRecords { number, table, next: OnceCell::new() };
        Ok(&slot.get_or_init(|| Box::new(open)).table)
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut WriteTable<'t>> {
        self.table(table)?;
        match table.place() {
            Ok(place) => Ok(self.fixed[place].get_mut().expect("opened above")),
            Err(number) => {
                let mut open = self.records.get_mut().expect("opened above");
                while open.number != number {
                    open = open.next.get_mut().expect("opened above");
                }
                Ok(&mut open.table)
            }
        }
    }

    /// Passes the row of `key` to `look`.
    pub fn get<R>(
        &self,
        table: Table,
        key: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let table = self.table(table)?;
        self.health.guard(READ, || {
            let row = table.get(key).map_err(|e| e.during(READ))?;
            Ok(look(row.as_ref().map(AccessGuard::value)))
        })
    }

    /// Writes the row of `key`, and passes the replaced row to `look`.
    pub fn insert<R>(
        &mut self,
        table: Table,
        key: &[u8],
        row: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let health = Arc::clone(&self.health);
        let table = self.table_mut(table)?;
        health.guard(WRITE, || {
            let old = table.insert(key, row).map_err(|e| e.during(WRITE))?;
            Ok(look(old.as_ref().map(AccessGuard::value)))
        })
    }

    /// Writes the row of `key`.
    pub fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<()> {
        self.insert(table, key, row, |_| ())
    }

    /// Removes the row of `key`, and passes the removed row to `look`.
    pub fn remove<R>(
        &mut self,
        table: Table,
        key: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let health = Arc::clone(&self.health);
        let table = self.table_mut(table)?;
        health.guard(WRITE, || {
            let old = table.remove(key).map_err(|e| e.during(WRITE))?;
            Ok(look(old.as_ref().map(AccessGuard::value)))
        })
    }

    /// Removes the row of `key`, if there is one.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<()> {
        self.remove(table, key, |_| ())
    }

    /// Returns the number of rows of a table.
    pub fn len(&self, table: Table) -> Result<u64> {
        let table = self.table(table)?;
        self.health.guard(READ, || table.len().map_err(|e| e.during(READ)))
    }

    /// Returns copies of the rows in `span`, in either key order.
    pub fn range(
        &self,
        table: Table,
        span: KeySpan<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Entry>> + use<'_, 't>> {
        let table = self.table(table)?;
        let inner =
            self.health.guard(READ, || table.range::<&[u8]>(span).map_err(|e| e.during(READ)))?;
        Ok(Copies { inner, health: &self.health, failed: false })
    }

    /// Removes the table of a namespace, which has no rows left.
    pub fn delete_record_table(&mut self, number: u32) -> Result<()> {
        self.close_record_table(number);
        let name = Table::Records(number).name();
        let deleted = self.health.guard(WRITE, || {
            self.transaction.delete_table(definition(&name)).map_err(|e| e.during(WRITE))
        })?;
        if deleted {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Corrupt, WRITE)
                .with_reason(Reason::RowDamaged)
                .with_detail("a namespace has no table"))
        }
    }

    /// redb does not delete an open table.
    fn close_record_table(&mut self, number: u32) {
        let mut slot = &mut self.records;
        while slot.get().is_some_and(|open| open.number != number) {
            slot = &mut slot.get_mut().expect("seen above").next;
        }
        if let Some(rest) = slot.take().and_then(|mut closed| closed.next.take()) {
            *slot = OnceCell::from(rest);
        }
    }
}

/// Rows copied out of a table that is being written.
struct Copies<'a> {
    inner: redb::Range<'a, &'static [u8], &'static [u8]>,
    health: &'a StorageHealth,
    failed: bool,
}

fn copied((key, row): Pages<'_>) -> Entry {
    let owned =
        |page: &AccessGuard<'_, &'static [u8]>| Row::Owned(Bytes::copy_from_slice(page.value()));
    Entry { key: owned(&key), row: owned(&row) }
}

impl Iterator for Copies<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { inner, health, failed } = self;
        step(health, failed, || inner.next(), copied)
    }
}

impl DoubleEndedIterator for Copies<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let Self { inner, health, failed } = self;
        step(health, failed, || inner.next_back(), copied)
    }
}
