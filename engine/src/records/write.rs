//! Writing records inside a transaction, and the life of namespaces.

use std::collections::HashMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use strongroom_backends::{Error, ErrorKind, Result};

use super::name::check_name;
use super::payload::{Payload, Source};
use super::read::Record;
use super::span::Span;
use crate::content::{Staged, StagedParts, Value};
use crate::format::{
    META_VAULT, NamespaceRow, ObjectName, RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX, RecordKey,
    RecordRow, VaultRow, record_prefix,
};
use crate::state::{Row, Table};
use crate::transaction::WriteTx;

/// How many records of a dropped namespace one commit removes.
const DROPPED_PER_COMMIT_MAX: usize = 1_000;

/// The namespaces that a transaction has touched, by name; their rows are written at its end.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    open: HashMap<String, OpenNamespace>,
}

#[derive(Clone, Copy, Debug)]
struct OpenNamespace {
    number: u32,
    records: u64,
    changed: bool,
}

/// Records.
impl WriteTx<'_> {
    /// The value of `key`, with what this transaction has written; `None` if there is none.
    pub fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let Some(number) = self.find_namespace(namespace)? else {
            return Ok(None);
        };
        let mut table_key = Vec::with_capacity(64);
        RecordKey::write(&mut table_key, number, key.as_ref());
        let row = self.state.get(Table::Records, &table_key, |row| {
            row.map(Bytes::copy_from_slice)
        })?;
        // A value on the backend outlives the transaction: its pin is of the commit before it.
        row.map(|row| Value::new(Row::Owned(row), &self.vault.objects, &self.vault.pins.pin()))
            .transpose()
    }

    /// Whether there is a record of that key.
    pub fn contains(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let Some(number) = self.find_namespace(namespace)? else {
            return Ok(false);
        };
        let mut table_key = Vec::with_capacity(64);
        RecordKey::write(&mut table_key, number, key.as_ref());
        self.state
            .get(Table::Records, &table_key, |row| row.is_some())
    }

    /// Makes `value` the value of `key`; the namespace is made if it does not exist.
    ///
    /// Bytes may have up to [`ROW_BYTES_MAX`]; a longer value is [staged] before the transaction.
    /// `Invalid` if the key, the name or the bytes are too long, or the staging is of another
    /// vault. After an error nothing of this call is in the transaction.
    ///
    /// [staged]: crate::Vault::stage
    pub fn insert<'p>(
        &mut self,
        namespace: &str,
        key: impl AsRef<[u8]>,
        value: impl Into<Payload<'p>>,
    ) -> Result<()> {
        let value = value.into();
        check_record("insert record", key.as_ref(), &value)?;
        self.check_staged(&value)?;
        let number = self.make_namespace(namespace)?;
        let staged = match value.source {
            Source::Bytes(bytes) => {
                RecordRow::write_inline(&mut self.row, &bytes);
                None
            }
            Source::Staged(staged) => {
                match staged.parts() {
                    StagedParts::Inline(bytes) => RecordRow::write_inline(&mut self.row, bytes),
                    StagedParts::Stored { stored, .. } => {
                        RecordRow::write_stored(&mut self.row, stored);
                    }
                }
                Some(staged)
            }
        };
        RecordKey::write(&mut self.key, number, key.as_ref());
        let replaced = self
            .state
            .insert(Table::Records, &self.key, &self.row, objects_of_row)?;
        if replaced.is_none() {
            self.count_records(namespace, 1);
        }
        self.doom(replaced.transpose()?.unwrap_or_default())?;
        staged.map_or(Ok(()), |staged| self.adopt(staged))
    }

    /// Removes the record of `key`; whether there was one.
    pub fn remove(&mut self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let Some(number) = self.open_namespace(namespace)? else {
            return Ok(false);
        };
        RecordKey::write(&mut self.key, number, key.as_ref());
        let removed = self
            .state
            .remove(Table::Records, &self.key, objects_of_row)?;
        let Some(objects) = removed.transpose()? else {
            return Ok(false);
        };
        self.count_records(namespace, -1);
        self.doom(objects)?;
        Ok(true)
    }

    /// The records whose keys lie in `keys`, in key order, from either end, with what this
    /// transaction has written.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: &str,
        keys: impl RangeBounds<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        let number = self.find_namespace(namespace)?;
        self.records(number.map(|number| Span::of_range(number, &keys)))
    }

    /// The records whose keys begin with `prefix`, in key order, from either end.
    pub fn prefix(
        &self,
        namespace: &str,
        prefix: impl AsRef<[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        let number = self.find_namespace(namespace)?;
        self.records(number.map(|number| Span::of_prefix(number, prefix.as_ref())))
    }

    /// How many records `namespace` has; 0 if there is none of that name.
    pub fn count(&self, namespace: &str) -> Result<u64> {
        if let Some(open) = self.namespaces.open.get(namespace) {
            return Ok(open.records);
        }
        Ok(self
            .read_namespace(namespace)?
            .map_or(0, |open| open.records))
    }

    /// Drops a namespace with all its records; whether there was one.
    ///
    /// It is gone at once. Its rows are removed in bounded batches, the first with this commit
    /// and the others with later ones or [`clean`](crate::Vault::clean).
    pub fn drop_namespace(&mut self, namespace: &str) -> Result<bool> {
        let Some(number) = self.open_namespace(namespace)? else {
            return Ok(false);
        };
        let open = self
            .namespaces
            .open
            .remove(namespace)
            .expect("opened above");
        let row = NamespaceRow::V0 {
            number,
            records: open.records,
        }
        .encode();
        self.state.delete(Table::Namespaces, namespace.as_bytes())?;
        self.state
            .put(Table::Dropping, &record_prefix(number), &row)?;
        self.dropping = true;
        Ok(true)
    }

    /// Removes a bounded batch of the records of namespaces that are being dropped; whether any
    /// are left.
    pub(crate) fn advance_dropping(&mut self) -> Result<bool> {
        let mut left = DROPPED_PER_COMMIT_MAX;
        while let Some(number) = self.first_dropping()? {
            let span = Span::of_prefix(number, b"");
            let batch = self
                .state
                .range(Table::Records, span.bounds())?
                .take(left)
                .map(|entry| entry.map(|entry| entry.key))
                .collect::<Result<Vec<_>>>()?;
            for key in &batch {
                let removed = self
                    .state
                    .remove(Table::Records, key.as_slice(), objects_of_row)?;
                self.doom(removed.transpose()?.unwrap_or_default())?;
            }
            left -= batch.len();
            if left == 0 {
                return Ok(true);
            }
            self.state.delete(Table::Dropping, &record_prefix(number))?;
        }
        Ok(false)
    }

    fn first_dropping(&self) -> Result<Option<u32>> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let first = self.state.range(Table::Dropping, all)?.next().transpose()?;
        first
            .map(|entry| RecordKey::namespace(entry.key.as_slice()))
            .transpose()
    }

    /// Writes the rows of the namespaces that have changed.
    pub(crate) fn write_namespaces(&mut self) -> Result<()> {
        for (name, open) in &mut self.namespaces.open {
            if std::mem::take(&mut open.changed) {
                let row = NamespaceRow::V0 {
                    number: open.number,
                    records: open.records,
                };
                self.state
                    .put(Table::Namespaces, name.as_bytes(), &row.encode())?;
            }
        }
        Ok(())
    }

    fn records(
        &self,
        span: Option<Span>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        let pin = self.vault.pins.pin();
        let rows = match span {
            Some(span) if !span.is_empty() => {
                Some(self.state.range(Table::Records, span.bounds())?)
            }
            _ => None,
        };
        let objects = &self.vault.objects;
        Ok(rows
            .into_iter()
            .flatten()
            .map(move |entry| Record::new(entry?, objects, &pin)))
    }

    pub(crate) fn check_staged(&self, value: &Payload<'_>) -> Result<()> {
        match &value.source {
            Source::Staged(staged) if !staged.is_of(self.vault.as_stage_home()) => {
                Err(Error::new(ErrorKind::Invalid, "insert record")
                    .with_detail("the value was staged in another vault, or before it reopened"))
            }
            _ => Ok(()),
        }
    }

    /// Turns a staging's pending rows into the reference just written.
    fn adopt(&mut self, staged: Staged) -> Result<()> {
        if let StagedParts::Stored { stage, rows, .. } = *staged.parts() {
            for row in 0..rows {
                self.state.delete(Table::Pending, &stage.key(row))?;
            }
        }
        self.adopted.push(staged);
        Ok(())
    }

    fn find_namespace(&self, name: &str) -> Result<Option<u32>> {
        if let Some(open) = self.namespaces.open.get(name) {
            return Ok(Some(open.number));
        }
        Ok(self.read_namespace(name)?.map(|open| open.number))
    }

    /// As `find_namespace`, and remembers it.
    fn open_namespace(&mut self, name: &str) -> Result<Option<u32>> {
        if let Some(open) = self.namespaces.open.get(name) {
            return Ok(Some(open.number));
        }
        let Some(open) = self.read_namespace(name)? else {
            return Ok(None);
        };
        self.namespaces.open.insert(name.to_owned(), open);
        Ok(Some(open.number))
    }

    fn make_namespace(&mut self, name: &str) -> Result<u32> {
        if let Some(number) = self.open_namespace(name)? {
            return Ok(number);
        }
        let number = self.draw_namespace_number()?;
        let open = OpenNamespace {
            number,
            records: 0,
            changed: true,
        };
        self.namespaces.open.insert(name.to_owned(), open);
        Ok(number)
    }

    fn draw_namespace_number(&mut self) -> Result<u32> {
        let row = self
            .state
            .get(Table::Meta, META_VAULT, |row| row.map(VaultRow::decode))?;
        let mut row = row.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Corrupt, "read vault row").with_detail("row is missing"))
        })?;
        let VaultRow::V0 { next_namespace, .. } = &mut row;
        let number = *next_namespace;
        *next_namespace = number.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Full, "make namespace")
                .with_detail("all 2^32 - 1 namespace numbers were used")
        })?;
        self.state.put(Table::Meta, META_VAULT, &row.encode())?;
        Ok(number)
    }

    fn read_namespace(&self, name: &str) -> Result<Option<OpenNamespace>> {
        check_name("open namespace", "namespace", name)?;
        let row = self
            .state
            .get(Table::Namespaces, name.as_bytes(), |row| {
                row.map(NamespaceRow::decode)
            })?
            .transpose()?;
        Ok(
            row.map(|NamespaceRow::V0 { number, records }| OpenNamespace {
                number,
                records,
                changed: false,
            }),
        )
    }

    fn count_records(&mut self, namespace: &str, change: i64) {
        let open = self
            .namespaces
            .open
            .get_mut(namespace)
            .expect("opened by the caller");
        open.records = open.records.saturating_add_signed(change);
        open.changed = true;
    }
}

/// Checks what one call can know of a record before any row is written.
pub(crate) fn check_record(operation: &'static str, key: &[u8], value: &Payload<'_>) -> Result<()> {
    let too_long = |what: &str, len: usize, max: usize, hint: &str| {
        Err(Error::new(ErrorKind::Invalid, operation)
            .with_detail(format!("{what} has {len} bytes, the limit is {max}{hint}")))
    };
    if key.len() > RECORD_KEY_BYTES_MAX {
        return too_long("key", key.len(), RECORD_KEY_BYTES_MAX, "");
    }
    match &value.source {
        Source::Bytes(bytes) if bytes.len() > ROW_BYTES_MAX => {
            too_long("value", bytes.len(), ROW_BYTES_MAX, ": stage it")
        }
        _ => Ok(()),
    }
}

/// The objects that a row refers to; `None` for no row.
fn objects_of_row(row: Option<&[u8]>) -> Option<Result<Vec<ObjectName>>> {
    Some(match RecordRow::decode(row?) {
        Ok(RecordRow::Inline) => Ok(Vec::new()),
        Ok(RecordRow::Stored(stored)) => Ok(stored.objects().iter().map(|o| o.name).collect()),
        Err(e) => Err(e),
    })
}
