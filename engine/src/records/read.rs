//! Reading records from a snapshot: one, a span in order from either end, and how many.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use parking_lot::RwLock;
use strongroom_backends::Result;

use super::name::check_name;
use super::span::Span;
use crate::content::{Objects, Pin, Value};
use crate::format::{NamespaceRow, RecordKey};
use crate::state::{Entry, Row, Rows, Table};
use crate::transaction::Snapshot;

/// A namespace, as a snapshot lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// How many records it has.
    pub records: u64,
}

/// A namespace's number and how many records it has, if it exists.
type Found = Option<(u32, u64)>;

/// What a snapshot knows of names it was asked for before.
#[derive(Debug, Default)]
pub(crate) struct NamespaceCache {
    known: RwLock<HashMap<Box<str>, Found>>,
}

/// Reading records.
impl Snapshot {
    /// The value of `key`; `None` if there is no such record or no such namespace.
    pub fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let Some((number, _)) = self.find_namespace(namespace)? else {
            return Ok(None);
        };
        let mut table_key = Vec::with_capacity(64);
        RecordKey::write(&mut table_key, number, key.as_ref());
        let row = self.state().get(Table::Records, &table_key)?;
        row.map(|row| Value::new(row, self.objects(), self.pin()))
            .transpose()
    }

    /// The records whose keys lie in `keys`, in key order; from the other end with `rev()`.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: &str,
        keys: impl RangeBounds<K>,
    ) -> Result<Records> {
        let number = self.find_namespace(namespace)?;
        self.records(number.map(|(number, _)| Span::of_range(number, &keys)))
    }

    /// The records whose keys begin with `prefix`, in key order; from the other end with `rev()`.
    pub fn prefix(&self, namespace: &str, prefix: impl AsRef<[u8]>) -> Result<Records> {
        let number = self.find_namespace(namespace)?;
        self.records(number.map(|(number, _)| Span::of_prefix(number, prefix.as_ref())))
    }

    /// How many records `namespace` has; 0 if there is none of that name. Takes the same time
    /// however many they are.
    pub fn count(&self, namespace: &str) -> Result<u64> {
        Ok(self
            .find_namespace(namespace)?
            .map_or(0, |(_, records)| records))
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        self.state()
            .range(Table::Namespaces, all)?
            .map(|entry| {
                let entry = entry?;
                let NamespaceRow::V0 { records, .. } = NamespaceRow::decode(entry.row.as_slice())?;
                let name = String::from_utf8_lossy(entry.key.as_slice()).into_owned();
                Ok(Namespace { name, records })
            })
            .collect()
    }

    fn find_namespace(&self, name: &str) -> Result<Found> {
        if let Some(&known) = self.namespace_cache().known.read().get(name) {
            return Ok(known);
        }
        check_name("read records", "namespace", name)?;
        let row = self.state().get(Table::Namespaces, name.as_bytes())?;
        let found = row
            .map(|row| {
                let NamespaceRow::V0 { number, records } = NamespaceRow::decode(row.as_slice())?;
                Ok((number, records))
            })
            .transpose()?;
        self.namespace_cache()
            .known
            .write()
            .insert(name.into(), found);
        Ok(found)
    }

    fn records(&self, span: Option<Span>) -> Result<Records> {
        let rows = match span {
            Some(span) if !span.is_empty() => {
                Some(self.state().range(Table::Records, span.bounds())?)
            }
            _ => None,
        };
        Ok(Records {
            rows,
            objects: self.objects().clone(),
            pin: Arc::clone(self.pin()),
        })
    }
}

/// Records in key order, from either end. It keeps what it reads, also past its snapshot's end.
pub struct Records {
    rows: Option<Rows>,
    objects: Objects,
    pin: Arc<Pin>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    fn record(&self, entry: Result<Entry>) -> Result<Record> {
        let entry = entry?;
        Record::new(entry, &self.objects, &self.pin)
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.rows.as_mut()?.next()?;
        Some(self.record(entry))
    }
}

impl DoubleEndedIterator for Records {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.rows.as_mut()?.next_back()?;
        Some(self.record(entry))
    }
}

/// A record: its key and its value.
pub struct Record {
    key: Row,
    value: Value,
}

impl Record {
    pub(crate) fn new(entry: Entry, objects: &Objects, pin: &Arc<Pin>) -> Result<Self> {
        RecordKey::host_key(entry.key.as_slice())?;
        Ok(Self {
            key: entry.key,
            value: Value::new(entry.row, objects, pin)?,
        })
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        RecordKey::host_key(self.key.as_slice()).expect("checked when it was made")
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl fmt::Debug for Record {
    /// Never the key or the bytes: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}
