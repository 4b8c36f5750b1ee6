//! The host's transaction.

use std::fmt;
use std::ops::RangeBounds;

use bytes::Bytes;
use strongroom_base::Result;
use strongroom_content::{Content, adopted};
use strongroom_store::commit::Tx;
use strongroom_store::state::Row;

use super::payload::Payload;
use super::read::Record;
use super::rows;
use super::span::Span;
use super::value::Value;

/// All changes of one commit. Made by [`Vault::write`](crate::Vault::write).
///
/// It sees its own changes. Before the commit nothing of it is visible to others, or on disk.
pub struct WriteTx<'t> {
    pub(crate) tx: Tx<'t>,
    content: Content,
}

impl fmt::Debug for WriteTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("commit", &self.tx.number()).finish_non_exhaustive()
    }
}

impl<'t> WriteTx<'t> {
    pub(crate) fn new(tx: Tx<'t>, content: Content) -> Self {
        Self { tx, content }
    }

    pub(crate) fn into_inner(self) -> Tx<'t> {
        self.tx
    }
}

/// Records.
impl WriteTx<'_> {
    /// Returns the value of `key`, including changes of this transaction.
    pub fn get(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let Some(table) = rows::find_namespace(&self.tx, namespace)? else { return Ok(None) };
        let row = self.tx.state.get(table, key.as_ref(), |row| row.map(Bytes::copy_from_slice))?;
        row.map(|row| self.value(Row::Owned(row))).transpose()
    }

    /// Returns whether a record of that key exists.
    pub fn contains(&self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let Some(table) = rows::find_namespace(&self.tx, namespace)? else { return Ok(false) };
        self.tx.state.get(table, key.as_ref(), |row| row.is_some())
    }

    /// Sets the value of `key` to `value`; creates the namespace if needed.
    ///
    /// Bytes may be at most [`ROW_BYTES_MAX`](crate::records::ROW_BYTES_MAX) long; a longer value
    /// is [staged] before the transaction. `Invalid` if the key, the name or the bytes are too
    /// long, or if the staging belongs to another vault. `Full` if the content store would exceed
    /// its quota. Then nothing of this call is in the transaction. After an error of the storage,
    /// or of a damaged row, the transaction does not commit, whatever the closure returns.
    ///
    /// [staged]: crate::Vault::stage
    pub fn insert<'p>(
        &mut self,
        namespace: &str,
        key: impl AsRef<[u8]>,
        value: impl Into<Payload<'p>>,
    ) -> Result<()> {
        let value = value.into();
        rows::check_record("insert record", key.as_ref(), &value)?;
        rows::check_staged(&self.tx, &value)?;
        rows::insert(&mut self.tx, namespace, key.as_ref(), &value)
    }

    /// Removes the record of `key`. Returns whether it existed.
    pub fn delete(&mut self, namespace: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        rows::remove(&mut self.tx, namespace, key.as_ref())
    }

    /// Returns the records with keys in `keys`, from either end.
    ///
    /// Changes of this transaction are included.
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: &str,
        keys: impl RangeBounds<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        self.records(namespace, Span::of_range(&keys))
    }

    /// Returns the records with keys that begin with `prefix`, in order.
    ///
    /// The order may start from either end.
    pub fn prefix(
        &self,
        namespace: &str,
        prefix: impl AsRef<[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        self.records(namespace, Span::of_prefix(prefix.as_ref()))
    }

    /// Returns the number of records in `namespace`; 0 if it does not exist.
    ///
    /// The call takes constant time.
    pub fn count(&self, namespace: &str) -> Result<u64> {
        let table = rows::find_namespace(&self.tx, namespace)?;
        table.map_or(Ok(0), |table| self.tx.state.len(table))
    }

    /// Drops a namespace with all its records. Returns whether it existed.
    ///
    /// The namespace is gone at once. Its rows are removed in bounded batches: the first with this
    /// commit, the others with later ones or with [`gc`](crate::Vault::gc).
    pub fn delete_namespace(&mut self, namespace: &str) -> Result<bool> {
        rows::drop_namespace(&mut self.tx, namespace)
    }

    fn records(
        &self,
        namespace: &str,
        span: Span,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Record>>> {
        let rows = match rows::find_namespace(&self.tx, namespace)? {
            Some(table) if !span.is_empty() => Some(self.tx.state.range(table, span.bounds())?),
            _ => None,
        };
        Ok(rows.into_iter().flatten().map(|entry| {
            let entry = entry?;
            Ok(Record::of(entry.key, self.value(entry.row)?))
        }))
    }

    /// Returns the value of a row in this transaction.
    ///
    /// A value outside its row outlives the transaction: its read epoch is at the commit before.
    fn value(&self, row: Row) -> Result<Value> {
        Ok(Value::new(row, || self.content.pinned_now())?.with_adopted(adopted(&self.tx)))
    }
}
