//! The rows of tables `namespaces`, `dropping` and `records`.
//!
//! A record's row is not bincode but one tag byte and the value itself, so that a value is
//! stored and served without being copied through a codec.

use serde::{Deserialize, Serialize};
use strongroom_backends::{Error, ErrorKind, Result};

use super::codec;
use super::content::StoredRow;

/// Longest value that lies in state itself, in bytes; a longer one is staged as content.
///
/// redb rounds a leaf up to a power of two: 65,280 bytes take 1.01 times themselves, 65,536
/// would take twice (measured on redb 4.5.0).
pub const ROW_BYTES_MAX: usize = 65_280;

/// Longest key of a record, in bytes.
pub const RECORD_KEY_BYTES_MAX: usize = 1_024;

const NAMESPACE_BYTES: usize = 4;
const TAG_INLINE: u8 = 0;
const TAG_STORED: u8 = 1;

/// A namespace that exists (table `namespaces`, by name) or is being dropped (table
/// `dropping`, by number).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NamespaceRow {
    V0 {
        /// The first four bytes of its records' keys.
        number: u32,
        /// How many records it has.
        records: u64,
    },
}

impl NamespaceRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read namespace row", bytes)
    }
}

/// A key of table `records`: namespace number, big-endian, then the host's key.
pub(crate) struct RecordKey;

impl RecordKey {
    /// Writes the table key into `buffer`, which is reused from call to call.
    pub(crate) fn write(buffer: &mut Vec<u8>, namespace: u32, key: &[u8]) {
        buffer.clear();
        buffer.extend_from_slice(&namespace.to_be_bytes());
        buffer.extend_from_slice(key);
    }

    /// The host's part of a table key.
    pub(crate) fn host_key(table_key: &[u8]) -> Result<&[u8]> {
        table_key
            .get(NAMESPACE_BYTES..)
            .ok_or_else(|| corrupt("record key is too short"))
    }

    /// The namespace number of a table key.
    pub(crate) fn namespace(table_key: &[u8]) -> Result<u32> {
        let number = table_key
            .first_chunk()
            .ok_or_else(|| corrupt("record key is too short"))?;
        Ok(u32::from_be_bytes(*number))
    }
}

/// What all table keys of a namespace begin with.
pub(crate) fn record_prefix(namespace: u32) -> [u8; NAMESPACE_BYTES] {
    namespace.to_be_bytes()
}

/// What a row of table `records` holds.
#[derive(Debug)]
pub(crate) enum RecordRow {
    /// The value itself: see [`inline_value`](Self::inline_value).
    Inline,
    /// Where the value lies on the backend.
    Stored(StoredRow),
}

impl RecordRow {
    /// The value that a row holds which was decoded as [`Inline`](Self::Inline).
    pub(crate) fn inline_value(row: &[u8]) -> &[u8] {
        &row[1..]
    }

    /// Writes the row of an inline value into `buffer`, which is reused from call to call.
    pub(crate) fn write_inline(buffer: &mut Vec<u8>, value: &[u8]) {
        buffer.clear();
        buffer.push(TAG_INLINE);
        buffer.extend_from_slice(value);
    }

    /// Writes the row of a value on the backend into `buffer`.
    pub(crate) fn write_stored(buffer: &mut Vec<u8>, stored: &StoredRow) {
        buffer.clear();
        buffer.push(TAG_STORED);
        buffer.extend_from_slice(&codec::encode(stored));
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self> {
        match row.split_first() {
            Some((&TAG_INLINE, _)) => Ok(Self::Inline),
            Some((&TAG_STORED, rest)) => Ok(Self::Stored(codec::decode("read record row", rest)?)),
            Some((tag, _)) => Err(corrupt(&format!("record row has unknown tag {tag}"))),
            None => Err(corrupt("record row is empty")),
        }
    }
}

fn corrupt(detail: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read record row").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::hex;
    use crate::format::content::{ObjectName, ObjectRef};

    #[test]
    fn golden_bytes() {
        let row = NamespaceRow::V0 {
            number: 2,
            records: 300,
        };
        assert_eq!(hex(&row.encode()), "0002fb2c01");
        assert_eq!(NamespaceRow::decode(&row.encode()).unwrap(), row);

        let mut buffer = Vec::new();
        RecordKey::write(&mut buffer, 2, b"ada");
        assert_eq!(hex(&buffer), "00000002616461");
        assert_eq!(RecordKey::host_key(&buffer).unwrap(), b"ada");
        assert_eq!(RecordKey::namespace(&buffer).unwrap(), 2);

        RecordRow::write_inline(&mut buffer, b"1815");
        assert_eq!(hex(&buffer), "0031383135");

        let stored = StoredRow::V0 {
            len: 5,
            objects: vec![ObjectRef {
                name: ObjectName(*b"0123456789abcdef"),
                len: 5,
                checksum: [0xaa; 32],
            }],
        };
        RecordRow::write_stored(&mut buffer, &stored);
        let golden = format!(
            "0100050130313233343536373839616263646566{}{}",
            "05",
            "aa".repeat(32)
        );
        assert_eq!(hex(&buffer), golden);
        assert!(matches!(RecordRow::decode(&buffer).unwrap(), RecordRow::Stored(s) if s == stored));
    }

    #[test]
    fn foreign_rows_are_corrupt() {
        for bad in [&b""[..], &[2], &[TAG_STORED], &[TAG_STORED, 9, 9]] {
            assert_eq!(
                RecordRow::decode(bad).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
        assert_eq!(
            RecordKey::host_key(b"abc").unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}
