//! Namespaces whose keys and values are serde types.
//!
//! Encoded keys sort like the keys themselves (`memcomparable`): numbers by value, texts and tuples
//! lexicographically. A key cannot contain a map. Values are `MessagePack` with named fields
//! (`rmp-serde`), so a field with a default can be added later.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::batch::Batch;
use super::read::Record;
use super::snapshot::Snapshot;
use super::transaction::WriteTx;

/// A namespace of keys `K` and values `V`.
///
/// It holds only the name and the types, no data, so it can be a constant. The caller ensures that
/// the types match; rows that do not decode are `Corrupt`.
///
/// ```
/// # use strongroom::backends::Memory;
/// # use strongroom::records::TypedNamespace;
/// # use strongroom::storage::MemoryState;
/// # use strongroom::{SecretKey, Vault};
/// const BIRTHS: TypedNamespace<(u32, String), String> = TypedNamespace::new("births");
///
/// # fn main() -> strongroom::Result<()> {
/// # let options = Vault::options(SecretKey::new([0; SecretKey::BYTES]));
/// # let vault = options.create_on(MemoryState::new(), Memory::new())?;
/// vault.write(|tx| BIRTHS.insert(tx, &(1815, "Ada".into()), &"London".into()))?;
/// let snapshot = vault.read()?;
/// let of_1815 = BIRTHS.range(&snapshot, (1815, String::new())..(1816, String::new()))?;
/// assert_eq!(of_1815.count(), 1);
/// # Ok(())
/// # }
/// ```
pub struct TypedNamespace<K, V> {
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
}

impl<K, V> Clone for TypedNamespace<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for TypedNamespace<K, V> {}

impl<K, V> fmt::Debug for TypedNamespace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedNamespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> TypedNamespace<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// Names a namespace, read and written as `K` and `V`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// Returns the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the value of `key`.
    pub fn get(&self, snapshot: &Snapshot, key: &K) -> Result<Option<V>> {
        let value = snapshot.get(self.name, encode_key(key)?)?;
        value.map(|value| value.decode()).transpose()
    }

    /// Returns the value of `key` as the transaction sees it.
    pub fn get_in(&self, tx: &WriteTx<'_>, key: &K) -> Result<Option<V>> {
        let value = tx.get(self.name, encode_key(key)?)?;
        value.map(|value| value.decode()).transpose()
    }

    /// Sets the value of `key`.
    ///
    /// `Invalid` if the encoded key or value is too long, or a type cannot be encoded.
    pub fn insert(&self, tx: &mut WriteTx<'_>, key: &K, value: &V) -> Result<()> {
        tx.insert(self.name, encode_key(key)?, encode_value(value)?)
    }

    /// Removes the record of `key`; returns whether it existed.
    pub fn delete(&self, tx: &mut WriteTx<'_>, key: &K) -> Result<bool> {
        tx.delete(self.name, encode_key(key)?)
    }

    /// Adds an insert to `batch`.
    pub fn insert_into(&self, batch: &mut Batch, key: &K, value: &V) -> Result<()> {
        batch.insert(self.name, encode_key(key)?, encode_value(value)?);
        Ok(())
    }

    /// Returns the records whose keys are in `keys`, in key order; from the other end with `rev()`.
    pub fn range(
        &self,
        snapshot: &Snapshot,
        keys: impl RangeBounds<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<TypedRecord<K, V>>>> {
        let bounds = (encode_bound(keys.start_bound())?, encode_bound(keys.end_bound())?);
        let records = snapshot.range::<Vec<u8>>(self.name, bounds)?;
        Ok(records.map(|record| decode_record(&record?)))
    }
}

fn decode_record<K: DeserializeOwned, V: DeserializeOwned>(
    record: &Record,
) -> Result<TypedRecord<K, V>> {
    let key = memcomparable::from_slice(record.key()).map_err(|_| undecodable("decode key"))?;
    Ok(TypedRecord { key, value: record.value().decode()? })
}

fn encode_bound<K: Serialize>(bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
    Ok(match bound {
        Bound::Included(key) => Bound::Included(encode_key(key)?),
        Bound::Excluded(key) => Bound::Excluded(encode_key(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

fn encode_key<K: Serialize>(key: &K) -> Result<Vec<u8>> {
    memcomparable::to_vec(key).map_err(|_| unencodable("encode key"))
}

fn encode_value<V: Serialize>(value: &V) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(|_| unencodable("encode value"))
}

pub(crate) fn decode_value<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
    rmp_serde::from_slice(bytes).map_err(|_| undecodable("decode value"))
}

/// The decoder's message is omitted.
///
/// It quotes data, which is the host's secret.
fn undecodable(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation)
        .with_reason(Reason::TypeMismatch)
        .with_detail("the value does not decode as the requested type")
}

pub(crate) fn unencodable(operation: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation).with_detail("the type cannot be encoded")
}
