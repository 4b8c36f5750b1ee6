//! The tables, and the two ways to reach them: a consistent read and the one write.
//!
//! All are ordered maps of bytes; `format/` says of which. A table is opened on first use and
//! kept open for the rest of the transaction.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Bound;
use std::sync::OnceLock;

use bytes::Bytes;
use redb::{
    AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};
use strongroom_backends::Result;

use super::failure::RedbFailure;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;
type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A table of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Schema version and the vault's own row.
    Meta,
    /// Namespaces by name.
    Namespaces,
    /// Namespaces that are being dropped, by number.
    Dropping,
    /// Records by namespace number and key.
    Records,
    /// Operations by id.
    Operations,
    /// Checkpoints by operation id and lane.
    Checkpoints,
    /// Names of objects that are under way, by staging.
    Pending,
    /// Objects without a reference, by the commit that dropped it.
    Doomed,
}

const TABLES: usize = 8;

impl Table {
    pub(super) const ALL: [Self; TABLES] = [
        Self::Meta,
        Self::Namespaces,
        Self::Dropping,
        Self::Records,
        Self::Operations,
        Self::Checkpoints,
        Self::Pending,
        Self::Doomed,
    ];

    const fn definition(self) -> Definition {
        TableDefinition::new(match self {
            Self::Meta => "meta",
            Self::Namespaces => "namespaces",
            Self::Dropping => "dropping",
            Self::Records => "records",
            Self::Operations => "operations",
            Self::Checkpoints => "checkpoints",
            Self::Pending => "pending",
            Self::Doomed => "doomed",
        })
    }
}

/// A value of a table: a page of redb's cache, or bytes of our own.
pub(crate) enum Row {
    Page(AccessGuard<'static, &'static [u8]>),
    Owned(Bytes),
}

impl Row {
    pub(crate) fn as_slice(&self) -> &[u8] {
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
pub(crate) type KeySpan<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A consistent read of all tables as they were when it began.
pub(crate) struct StateRead {
    transaction: ReadTransaction,
    tables: [OnceLock<ReadTable>; TABLES],
}

impl fmt::Debug for StateRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateRead").finish_non_exhaustive()
    }
}

impl StateRead {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self {
            transaction,
            tables: Default::default(),
        }
    }

    fn table(&self, table: Table) -> Result<&ReadTable> {
        let slot = &self.tables[table as usize];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self
            .transaction
            .open_table(table.definition())
            .map_err(|e| e.during("open table"))?;
        Ok(slot.get_or_init(|| open))
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>> {
        let page = self
            .table(table)?
            .get(key)
            .map_err(|e| e.during("read state"))?;
        Ok(page.map(Row::Page))
    }

    pub(crate) fn range(&self, table: Table, span: KeySpan<'_>) -> Result<Rows> {
        let inner = self
            .table(table)?
            .range::<&[u8]>(span)
            .map_err(|e| e.during("read state"))?;
        Ok(Rows { inner })
    }

    pub(crate) fn len(&self, table: Table) -> Result<u64> {
        self.table(table)?.len().map_err(|e| e.during("read state"))
    }
}

/// Rows of a table in key order, from either end.
pub(crate) struct Rows {
    inner: redb::Range<'static, &'static [u8], &'static [u8]>,
}

/// A row with its key.
pub(crate) struct Entry {
    pub(crate) key: Row,
    pub(crate) row: Row,
}

type Pages = (
    AccessGuard<'static, &'static [u8]>,
    AccessGuard<'static, &'static [u8]>,
);

fn entry(pages: Result<Pages, redb::StorageError>) -> Result<Entry> {
    let (key, row) = pages.map_err(|e| e.during("read state"))?;
    Ok(Entry {
        key: Row::Page(key),
        row: Row::Page(row),
    })
}

impl Iterator for Rows {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next().map(entry)
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.inner.next_back().map(entry)
    }
}

/// The one write: all tables, changed together when it commits.
pub(crate) struct StateWrite<'t> {
    transaction: &'t WriteTransaction,
    tables: [OnceCell<Box<WriteTable<'t>>>; TABLES],
}

impl fmt::Debug for StateWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWrite").finish_non_exhaustive()
    }
}

impl<'t> StateWrite<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Self {
        Self {
            transaction,
            tables: Default::default(),
        }
    }

    /// Makes all tables, so that a read never meets one that is missing.
    pub(super) fn create_tables(&self) -> Result<()> {
        Table::ALL
            .into_iter()
            .try_for_each(|table| self.table(table).map(drop))
    }

    fn table(&self, table: Table) -> Result<&WriteTable<'t>> {
        let slot = &self.tables[table as usize];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self
            .transaction
            .open_table(table.definition())
            .map_err(|e| e.during("open table"))?;
        Ok(slot.get_or_init(|| Box::new(open)))
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut WriteTable<'t>> {
        self.table(table)?;
        Ok(self.tables[table as usize].get_mut().expect("opened above"))
    }

    /// Passes the row of `key` to `look`.
    pub(crate) fn get<R>(
        &self,
        table: Table,
        key: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let row = self
            .table(table)?
            .get(key)
            .map_err(|e| e.during("read state"))?;
        Ok(look(row.as_ref().map(AccessGuard::value)))
    }

    /// Writes the row of `key`, and passes the one that it replaces to `look`.
    pub(crate) fn insert<R>(
        &mut self,
        table: Table,
        key: &[u8],
        row: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let old = self
            .table_mut(table)?
            .insert(key, row)
            .map_err(|e| e.during("write state"))?;
        Ok(look(old.as_ref().map(AccessGuard::value)))
    }

    /// Writes the row of `key`.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<()> {
        self.insert(table, key, row, |_| ())
    }

    /// Removes the row of `key`, if there is one.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<()> {
        self.remove(table, key, |_| ())
    }

    /// Removes the row of `key`, and passes what it was to `look`.
    pub(crate) fn remove<R>(
        &mut self,
        table: Table,
        key: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let old = self
            .table_mut(table)?
            .remove(key)
            .map_err(|e| e.during("write state"))?;
        Ok(look(old.as_ref().map(AccessGuard::value)))
    }

    /// Copies of the rows in `span`, in key order from either end.
    pub(crate) fn range(
        &self,
        table: Table,
        span: KeySpan<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Entry>> + use<'_, 't>> {
        let range = self
            .table(table)?
            .range::<&[u8]>(span)
            .map_err(|e| e.during("read state"))?;
        Ok(range.map(|pages| {
            let (key, row) = pages.map_err(|e| e.during("read state"))?;
            Ok(Entry {
                key: Row::Owned(Bytes::copy_from_slice(key.value())),
                row: Row::Owned(Bytes::copy_from_slice(row.value())),
            })
        }))
    }
}
