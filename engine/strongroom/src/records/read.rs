//! Reading records from a snapshot: one, a span in order from either end, and counts.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use strongroom_base::Result;

use super::name::check_name;
use super::snapshot::Snapshot;
use super::span::Span;
use super::value::Value;
use strongroom_content::Pinned;
use strongroom_format::NamespaceRow;
use strongroom_store::state::{Entry, Row, Rows, Table, TableRead};

/// A namespace in a snapshot's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name of the namespace.
    pub name: String,
    /// Number of its records.
    pub records: u64,
}

/// The opened tables of a snapshot's namespaces; `None` for a missing one.
///
/// Most readers use one namespace, so the first has a place without a lock.
#[derive(Debug, Default)]
pub(crate) struct NamespaceCache {
    first: OnceLock<(Box<str>, Option<Arc<TableRead>>)>,
    others: RwLock<HashMap<Box<str>, Option<Arc<TableRead>>>>,
}

impl NamespaceCache {
    fn get_or_open(
        &self,
        name: &str,
        open: impl FnOnce() -> Result<Option<Arc<TableRead>>>,
    ) -> Result<Option<Arc<TableRead>>> {
        match self.first.get() {
            Some((first, table)) if **first == *name => return Ok(table.clone()),
            None => {
                let opened = open()?;
                let (first, table) = self.first.get_or_init(|| (name.into(), opened.clone()));
                // Another thread may have been first with another name.
                return Ok(if **first == *name { table.clone() } else { opened });
            }
            Some(_) => {}
        }
        if let Some(known) = self.others.read().get(name) {
            return Ok(known.clone());
        }
        let table = open()?;
        self.others.write().insert(name.into(), table.clone());
        Ok(table)
    }
}

/// Reading records.
impl Snapshot {
    /// Returns the value of `key`; `None` if the record or the namespace does not exist.
    pub fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.with_namespace(namespace, |table| {
            let Some(table) = table else { return Ok(None) };
            let row = table.get(key.as_ref())?;
            row.map(|row| Value::new(row, || self.pinned())).transpose()
        })
    }

    /// Returns the records whose keys are in `keys`, in key order; from the other end with `rev()`.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: &str,
        keys: impl RangeBounds<K>,
    ) -> Result<Records> {
        self.records(namespace, &Span::of_range(&keys))
    }

    /// Returns the records whose keys begin with `prefix`, in key order; from the other end with
    /// `rev()`.
    pub fn prefix(&self, namespace: &str, prefix: impl AsRef<[u8]>) -> Result<Records> {
        self.records(namespace, &Span::of_prefix(prefix.as_ref()))
    }

    /// Returns the number of records in `namespace`; 0 if it does not exist.
    ///
    /// The call takes constant time.
    pub fn count(&self, namespace: &str) -> Result<u64> {
        self.with_namespace(namespace, |table| table.map_or(Ok(0), TableRead::row_count))
    }

    /// Lists all namespaces by name.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.state()
            .range(Table::Namespaces, all)?
            .map(|entry| {
                let entry = entry?;
                let NamespaceRow::V0 { number } = NamespaceRow::decode(entry.row.as_slice())?;
                let records = self.state().len(Table::Records(number))?;
                let name = String::from_utf8_lossy(entry.key.as_slice()).into_owned();
                Ok(Namespace { name, records })
            })
            .collect()
    }

    /// Runs `read` on the table of a namespace; `None` if it does not exist.
    fn with_namespace<R>(
        &self,
        name: &str,
        read: impl FnOnce(Option<&TableRead>) -> Result<R>,
    ) -> Result<R> {
        let cache = self.namespace_cache();
        if let Some((first, table)) = cache.first.get()
            && **first == *name
        {
            return read(table.as_deref());
        }
        let table = cache.get_or_open(name, || self.open_namespace(name))?;
        read(table.as_deref())
    }

    fn open_namespace(&self, name: &str) -> Result<Option<Arc<TableRead>>> {
        check_name("read records", "namespace", name)?;
        let Some(row) = self.state().get(Table::Namespaces, name.as_bytes())? else {
            return Ok(None);
        };
        let NamespaceRow::V0 { number } = NamespaceRow::decode(row.as_slice())?;
        self.state().open(Table::Records(number)).map(Arc::new).map(Some)
    }

    fn records(&self, namespace: &str, span: &Span) -> Result<Records> {
        let rows = self.with_namespace(namespace, |table| match table {
            Some(table) if !span.is_empty() => table.range(span.bounds()).map(Some),
            _ => Ok(None),
        })?;
        Ok(Records { rows, pinned: self.pinned() })
    }
}

/// Records in key order, from either end. They stay readable after their snapshot is dropped.
pub struct Records {
    rows: Option<Rows>,
    pinned: Pinned,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.as_mut()?.next()? {
            Ok(entry) => Some(Record::new(entry, &self.pinned)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl DoubleEndedIterator for Records {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.rows.as_mut()?.next_back()? {
            Ok(entry) => Some(Record::new(entry, &self.pinned)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A record: its key and its value.
pub struct Record {
    key: Row,
    value: Value,
}

impl Record {
    #[inline]
    fn new(entry: Entry, pinned: &Pinned) -> Result<Self> {
        Ok(Self { key: entry.key, value: Value::new(entry.row, || pinned.clone())? })
    }

    pub(super) fn of(key: Row, value: Value) -> Self {
        Self { key, value }
    }

    /// Returns the key.
    pub fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    /// Returns the value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the value alone.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl fmt::Debug for Record {
    /// Key and value are omitted: they are the host's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("value", &self.value).finish_non_exhaustive()
    }
}
