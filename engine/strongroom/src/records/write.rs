//! Writing records inside a transaction, and the life of namespaces.

use std::collections::HashMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::name::check_name;
use super::payload::{Payload, Source};
use super::read::Record;
use super::span::Span;
use super::staged::StagedParts;
use super::value::Value;
use crate::chunks::{PinnedVault, let_go};
use crate::transaction::WriteTx;
use strongroom_format::{
    ContentRef, META_VAULT, NamespaceRow, ObjectName, RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX,
    RecordRow, VaultRow, dropping_key, dropping_number,
};
use strongroom_store::state::{KeySpan, Row, Table};

/// How many records of a dropped namespace one commit removes.
const DROPPED_PER_COMMIT_MAX: usize = 1_000;

const ALL: KeySpan<'static> = (Bound::Unbounded, Bound::Unbounded);

/// The numbers of the namespaces that a transaction has touched, by name.
pub(crate) type Namespaces = HashMap<String, u32>;

/// Records.
impl WriteTx<'_> {
    /// The value of `key`, with what this transaction has written; `None` if there is none.
    pub fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let Some(table) = self.find_namespace(namespace)? else { return Ok(None) };
        let row = self.state.get(table, key.as_ref(), |row| row.map(Bytes::copy_from_slice))?;
        row.map(|row| self.value(Row::Owned(row))).transpose()
    }

    /// Whether there is a record of that key.
    pub fn contains(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let Some(table) = self.find_namespace(namespace)? else { return Ok(false) };
        self.state.get(table, key.as_ref(), |row| row.is_some())
    }

    /// Makes `value` the value of `key`; the namespace is made if it does not exist.
    ///
    /// Bytes may have up to [`ROW_BYTES_MAX`]; a longer value is [staged] before the transaction.
    /// `Invalid` if the key, the name or the bytes are too long, or the staging is of another
    /// vault; `Full` if the content store may not take it. Then nothing of this call is in the
    /// transaction. After an error of the storage or
    /// of a damaged row the transaction does not commit, whatever the closure returns.
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
        self.insert_checked(namespace, key.as_ref(), &value)
    }

    /// Inserts what was checked.
    pub(crate) fn insert_checked(
        &mut self,
        namespace: &str,
        key: &[u8],
        value: &Payload<'_>,
    ) -> Result<()> {
        let table = self.make_namespace(namespace)?;
        let stored = match &value.source {
            Source::Bytes(bytes) => {
                RecordRow::write_inline(&mut self.row, bytes);
                None
            }
            Source::Staged(staged) => match staged.parts() {
                StagedParts::Inline(bytes) => {
                    RecordRow::write_inline(&mut self.row, bytes);
                    None
                }
                StagedParts::Content(stored) => {
                    RecordRow::write_content(&mut self.row, &stored.content());
                    Some(stored)
                }
            },
        };
        // The new content first: what both have does not go and come.
        let finished = stored
            .map_or(Ok(()), |stored| self.adopt(stored))
            .and_then(|()| self.state.insert(table, key, &self.row, reference_of_row))
            .and_then(|replaced| self.let_go(replaced.transpose()?));
        // Half of it may be in: then nothing of the transaction may be.
        finished.map_err(|e| self.refuse(e))
    }

    /// Removes the record of `key`; whether there was one.
    pub fn remove(&mut self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let Some(table) = self.open_namespace(namespace)? else { return Ok(false) };
        let removed = self.state.remove(table, key.as_ref(), reference_of_row);
        let finished = removed.and_then(|removed| {
            let reference = removed.transpose()?;
            let was_there = reference.is_some();
            self.let_go(reference).map(|()| was_there)
        });
        finished.map_err(|e| self.refuse(e))
    }

    /// The records whose keys lie in `keys`, in key order, from either end, with what this
    /// transaction has written.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: &str,
        keys: impl RangeBounds<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        self.records(namespace, Span::of_range(&keys))
    }

    /// The records whose keys begin with `prefix`, in key order, from either end.
    pub fn prefix(
        &self,
        namespace: &str,
        prefix: impl AsRef<[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        self.records(namespace, Span::of_prefix(prefix.as_ref()))
    }

    /// How many records `namespace` has; 0 if there is none of that name. Takes the same time
    /// however many they are.
    pub fn count(&self, namespace: &str) -> Result<u64> {
        self.find_namespace(namespace)?.map_or(Ok(0), |table| self.state.len(table))
    }

    /// Drops a namespace with all its records; whether there was one.
    ///
    /// It is gone at once. Its rows are removed in bounded batches, the first with this commit
    /// and the others with later ones or [`clean`](crate::Vault::clean).
    pub fn drop_namespace(&mut self, namespace: &str) -> Result<bool> {
        let Some(Table::Records(number)) = self.open_namespace(namespace)? else {
            return Ok(false);
        };
        self.namespaces.remove(namespace);
        self.state.delete(Table::Namespaces, namespace.as_bytes())?;
        self.state.put(Table::Dropping, &dropping_key(number), &[])?;
        self.dropping = true;
        Ok(true)
    }

    /// Removes a bounded batch of the records of namespaces that are being dropped; whether any
    /// are left.
    pub(crate) fn advance_dropping(&mut self) -> Result<bool> {
        let mut left = DROPPED_PER_COMMIT_MAX;
        while let Some(number) = self.first_dropping()? {
            let table = Table::Records(number);
            let batch = self
                .state
                .range(table, ALL)?
                .take(left)
                .map(|entry| entry.map(|entry| entry.key))
                .collect::<Result<Vec<_>>>()?;
            for key in &batch {
                let removed = self.state.remove(table, key.as_slice(), reference_of_row)?;
                // What is damaged must not keep the namespace for ever; `check` tells what it held.
                match self.let_go(removed.and_then(Result::ok)) {
                    Err(e) if e.kind() == ErrorKind::Corrupt => {}
                    let_go => let_go?,
                }
            }
            left -= batch.len();
            if left == 0 {
                return Ok(true);
            }
            self.state.delete_record_table(number)?;
            self.state.delete(Table::Dropping, &dropping_key(number))?;
        }
        Ok(false)
    }

    fn first_dropping(&self) -> Result<Option<u32>> {
        let first = self.state.range(Table::Dropping, ALL)?.next().transpose()?;
        first.map(|entry| dropping_number(entry.key.as_slice())).transpose()
    }

    fn records(
        &self,
        namespace: &str,
        span: Span,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        let rows = match self.find_namespace(namespace)? {
            Some(table) if !span.is_empty() => Some(self.state.range(table, span.bounds())?),
            _ => None,
        };
        Ok(rows.into_iter().flatten().map(|entry| {
            let entry = entry?;
            Ok(Record::of(entry.key, self.value(entry.row)?))
        }))
    }

    /// The value of a row as this transaction has it. One that is not in its row outlives the transaction: its
    /// pin is of the commit before it.
    fn value(&self, row: Row) -> Result<Value> {
        let pinned = || PinnedVault::new(&self.vault, &self.vault.pin());
        Ok(Value::new(row, pinned)?.with_adopted(&self.adopted))
    }

    /// That a value is of this vault, and that the store may take it.
    pub(crate) fn check_staged(&self, value: &Payload<'_>) -> Result<()> {
        match &value.source {
            Source::Staged(staged) if !staged.is_of(&self.vault) => {
                Err(Error::new(ErrorKind::Invalid, "insert record")
                    .with_detail("the value was staged in another vault, or before it reopened"))
            }
            Source::Staged(staged) => match staged.parts() {
                StagedParts::Content(stored) => stored.check(self),
                StagedParts::Inline(_) => Ok(()),
            },
            Source::Bytes(_) => Ok(()),
        }
    }

    /// Nothing refers from here on to what a row did.
    fn let_go(&mut self, reference: Option<Reference>) -> Result<()> {
        match reference {
            None | Some(Reference::Nothing) => Ok(()),
            Some(Reference::Objects(objects)) => self.doom(objects),
            Some(Reference::Content(content)) => let_go(self, &content),
        }
    }

    fn find_namespace(&self, name: &str) -> Result<Option<Table>> {
        let number = match self.namespaces.get(name) {
            Some(&number) => Some(number),
            None => self.read_namespace(name)?,
        };
        Ok(number.map(Table::Records))
    }

    /// As `find_namespace`, and remembers it.
    fn open_namespace(&mut self, name: &str) -> Result<Option<Table>> {
        if let Some(&number) = self.namespaces.get(name) {
            return Ok(Some(Table::Records(number)));
        }
        let Some(number) = self.read_namespace(name)? else { return Ok(None) };
        self.namespaces.insert(name.to_owned(), number);
        Ok(Some(Table::Records(number)))
    }

    fn make_namespace(&mut self, name: &str) -> Result<Table> {
        if let Some(table) = self.open_namespace(name)? {
            return Ok(table);
        }
        let number = self.draw_namespace_number()?;
        let row = NamespaceRow::V0 { number }.encode();
        self.state.put(Table::Namespaces, name.as_bytes(), &row)?;
        self.namespaces.insert(name.to_owned(), number);
        Ok(Table::Records(number))
    }

    fn draw_namespace_number(&mut self) -> Result<u32> {
        let row = self.state.get(Table::Meta, META_VAULT, |row| row.map(VaultRow::decode))?;
        let mut row = row.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Corrupt, "read vault row")
                .with_reason(Reason::RowDamaged)
                .with_detail("row is missing"))
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

    fn read_namespace(&self, name: &str) -> Result<Option<u32>> {
        check_name("open namespace", "namespace", name)?;
        let row = self.state.get(Table::Namespaces, name.as_bytes(), |row| {
            row.map(NamespaceRow::decode).transpose()
        })??;
        Ok(row.map(|NamespaceRow::V0 { number }| number))
    }
}

/// Checks what one call can know of a record before any row is written.
pub(crate) fn check_record(operation: &'static str, key: &[u8], value: &Payload<'_>) -> Result<()> {
    let too_long = |reason, what: &str, len: usize, max: usize, hint: &str| {
        Err(Error::new(ErrorKind::Invalid, operation)
            .with_reason(reason)
            .with_detail(format!("{what} has {len} bytes, the limit is {max}{hint}")))
    };
    if key.len() > RECORD_KEY_BYTES_MAX {
        return too_long(Reason::KeyTooLong, "key", key.len(), RECORD_KEY_BYTES_MAX, "");
    }
    match &value.source {
        Source::Bytes(bytes) if bytes.len() > ROW_BYTES_MAX => {
            too_long(Reason::ValueTooLong, "value", bytes.len(), ROW_BYTES_MAX, ": stage it")
        }
        _ => Ok(()),
    }
}

/// What a row refers to.
enum Reference {
    Nothing,
    Objects(Vec<ObjectName>),
    Content(ContentRef),
}

/// What a row refers to; `None` for no row.
fn reference_of_row(row: Option<&[u8]>) -> Option<Result<Reference>> {
    Some(RecordRow::decode(row?).map(|row| match row {
        RecordRow::Inline => Reference::Nothing,
        RecordRow::Content(content) => Reference::Content(content),
        RecordRow::Objects(row) => {
            Reference::Objects(row.objects().iter().map(|object| object.name).collect())
        }
    }))
}
