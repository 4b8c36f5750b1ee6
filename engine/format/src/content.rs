//! Rows that name objects on the backend: references of records, and tables `pending` and `doomed`.

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_base::{Error, ErrorKind, Key, Reason, Result};

use super::codec;

/// The random name of an object. Its key on the backend is `content/` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName(pub [u8; 16]);

impl ObjectName {
    /// Prefix of the keys of all content objects.
    pub const KEY_PREFIX: &'static str = "content/";

    /// Returns the object's key on the backend.
    pub fn key(self) -> Key {
        Key::new(format!("{}{self:?}", Self::KEY_PREFIX)).expect("hex digits are a key")
    }

    /// Reads the name from a key of the backend; `None` if the key has another form.
    pub fn of_key(key: &Key) -> Option<Self> {
        let digits = key.as_str().strip_prefix(Self::KEY_PREFIX)?;
        (digits.len() == 32).then_some(())?;
        u128::from_str_radix(digits, 16).ok().map(|n| Self(n.to_be_bytes()))
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// One object of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    pub name: ObjectName,
    /// Length of its body in bytes, before sealing.
    pub len: u64,
    /// Epoch of the content key that seals it.
    pub epoch: u32,
}

/// A value stored as objects, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectsRow {
    V0 {
        /// Length of the whole value in bytes.
        len: u64,
        objects: Vec<ObjectRef>,
    },
}

impl ObjectsRow {
    /// Returns the length of the whole value in bytes.
    pub fn value_bytes(&self) -> u64 {
        let Self::V0 { len, .. } = self;
        *len
    }

    pub fn objects(&self) -> &[ObjectRef] {
        let Self::V0 { objects, .. } = self;
        objects
    }
}

/// The id of one staging: the prefix of its keys in table `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub [u8; 16]);

impl StageId {
    /// Returns the key of row `number` of this staging: id, then number, big-endian.
    pub fn key(self, number: u32) -> [u8; 20] {
        let mut key = [0; 20];
        key[..16].copy_from_slice(&self.0);
        key[16..].copy_from_slice(&number.to_be_bytes());
        key
    }
}

/// Names that a staging has reserved. The row is written before the first object is put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PendingRow {
    V0 { since_unix_millis: u64, names: Vec<ObjectName> },
}

impl PendingRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read pending row", bytes)
    }

    pub fn names(&self) -> &[ObjectName] {
        let Self::V0 { names, .. } = self;
        names
    }
}

/// A key of table `doomed`: commit number, big-endian, then object name. Rows are empty.
///
/// The commit is the one that dropped the last reference. Keys sort by commit, so due rows come
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoomedKey {
    pub commit: u64,
    pub name: ObjectName,
}

impl DoomedKey {
    pub fn encode(self) -> [u8; 24] {
        let mut key = [0; 24];
        key[..8].copy_from_slice(&self.commit.to_be_bytes());
        key[8..].copy_from_slice(&self.name.0);
        key
    }

    pub fn decode(key: &[u8]) -> Result<Self> {
        let key: &[u8; 24] = key.try_into().map_err(|_| {
            Error::new(ErrorKind::Corrupt, "read doomed row")
                .with_reason(Reason::RowDamaged)
                .with_detail("key has a wrong length")
        })?;
        let (commit, name) = key.split_at(8);
        Ok(Self {
            commit: u64::from_be_bytes(commit.try_into().expect("eight bytes")),
            name: ObjectName(name.try_into().expect("sixteen bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let name = ObjectName(*b"0123456789abcdef");
        assert_eq!(name.key().as_str(), "content/30313233343536373839616263646566");
        assert_eq!(ObjectName::of_key(&name.key()), Some(name));

        let pending = PendingRow::V0 { since_unix_millis: 250, names: vec![name] };
        assert_eq!(hex(&pending.encode()), "00fa0130313233343536373839616263646566");
        assert_eq!(PendingRow::decode(&pending.encode()).unwrap(), pending);

        assert_eq!(
            hex(&StageId(*b"0123456789abcdef").key(1)),
            "3031323334353637383961626364656600000001"
        );

        let doomed = DoomedKey { commit: 258, name };
        assert_eq!(hex(&doomed.encode()), "000000000000010230313233343536373839616263646566");
        assert_eq!(DoomedKey::decode(&doomed.encode()).unwrap(), doomed);
    }

    #[test]
    fn foreign_keys_are_not_content_objects() {
        for foreign in ["content/30", "other/30313233343536373839616263646566", "content"] {
            assert_eq!(ObjectName::of_key(&Key::new(foreign).unwrap()), None);
        }
    }
}
