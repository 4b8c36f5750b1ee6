//! The rows of `namespaces`, `dropping` and the record tables.
//!
//! A record's row is one tag byte and the value itself, not bincode. So a value is stored and
//! returned without passing through a codec.

use serde::{Deserialize, Serialize};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::chunk::ContentRef;
use super::codec;
use super::content::ObjectsRow;

/// Longest value inside a row, in bytes; a longer one is staged as content.
///
/// redb rounds a leaf up to a power of two: 65,280 bytes occupy 1.01 times their length, 65,536
/// would occupy twice (measured on redb 4.5.0).
pub const ROW_BYTES_MAX: usize = 65_280;

/// Longest key of a record, in bytes.
pub const RECORD_KEY_BYTES_MAX: usize = 1_024;

const TAG_INLINE: u8 = 0;
const TAG_OBJECTS: u8 = 1;
const TAG_CONTENT: u8 = 2;

/// A namespace (table `namespaces`, by name). Its records have their own table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceRow {
    V0 {
        /// Number in the name of its table; never reused.
        number: u32,
    },
}

impl NamespaceRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read namespace row", bytes)
    }
}

/// Returns the key of a row of table `dropping`: the namespace's number, big-endian.
pub fn dropping_key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Reads the number from a key of table `dropping`.
pub fn dropping_number(key: &[u8]) -> Result<u32> {
    let number = key.try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "read namespace row")
            .with_reason(Reason::RowDamaged)
            .with_detail("key has a wrong length")
    })?;
    Ok(u32::from_be_bytes(number))
}

/// The contents of a record's row.
#[derive(Debug)]
pub enum RecordRow {
    /// The value itself; see [`inline_value`](Self::inline_value).
    Inline,
    /// Objects of the value, as written before schema 5.
    Objects(ObjectsRow),
    /// The value in the content store.
    Content(ContentRef),
}

impl RecordRow {
    /// Returns whether the row contains the value itself.
    #[inline]
    pub fn is_inline(row: &[u8]) -> bool {
        row.first() == Some(&TAG_INLINE)
    }

    /// Returns the value in a row that was decoded as [`Inline`](Self::Inline).
    pub fn inline_value(row: &[u8]) -> &[u8] {
        &row[1..]
    }

    /// Writes an inline value's row into a reused `buffer`.
    pub fn write_inline(buffer: &mut Vec<u8>, value: &[u8]) {
        buffer.clear();
        buffer.push(TAG_INLINE);
        buffer.extend_from_slice(value);
    }

    /// Writes the row of a value in the content store into `buffer`.
    pub fn write_content(buffer: &mut Vec<u8>, content: &ContentRef) {
        buffer.clear();
        buffer.push(TAG_CONTENT);
        buffer.extend_from_slice(&codec::encode(content));
    }

    pub fn decode(row: &[u8]) -> Result<Self> {
        match row.split_first() {
            Some((&TAG_INLINE, _)) => Ok(Self::Inline),
            Some((&TAG_OBJECTS, rest)) => {
                Ok(Self::Objects(codec::decode("read record row", rest)?))
            }
            Some((&TAG_CONTENT, rest)) => {
                Ok(Self::Content(codec::decode("read record row", rest)?))
            }
            Some((tag, _)) => Err(corrupt(&format!("record row has unknown tag {tag}"))),
            None => Err(corrupt("record row is empty")),
        }
    }
}

fn corrupt(detail: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read record row")
        .with_reason(Reason::RowDamaged)
        .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;
    use crate::codec::hex;
    use crate::content::{ObjectName, ObjectRef};

    #[test]
    fn golden_bytes() {
        let row = NamespaceRow::V0 { number: 300 };
        assert_eq!(hex(&row.encode()), "00fb2c01");
        assert_eq!(NamespaceRow::decode(&row.encode()).unwrap(), row);

        assert_eq!(hex(&dropping_key(258)), "00000102");
        assert_eq!(dropping_number(&dropping_key(258)).unwrap(), 258);

        let mut buffer = Vec::new();
        RecordRow::write_inline(&mut buffer, b"1815");
        assert_eq!(hex(&buffer), "0031383135");

        let objects = ObjectsRow::V0 {
            len: 5,
            objects: vec![ObjectRef { name: ObjectName(*b"0123456789abcdef"), len: 5, epoch: 300 }],
        };
        let row = [&[TAG_OBJECTS][..], &codec::encode(&objects)].concat();
        assert_eq!(hex(&row), "010005013031323334353637383961626364656605fb2c01");
        assert!(matches!(RecordRow::decode(&row).unwrap(), RecordRow::Objects(o) if o == objects));

        let root = ChunkId(*b"0123456789abcdef0123456789abcdef");
        let content = ContentRef { len: 300, root, height: 1 };
        RecordRow::write_content(&mut buffer, &content);
        let golden = "02fb2c01303132333435363738396162636465663031323334353637383961626364656601";
        assert_eq!(hex(&buffer), golden);
        assert!(
            matches!(RecordRow::decode(&buffer).unwrap(), RecordRow::Content(c) if c == content)
        );
    }

    #[test]
    fn foreign_rows_are_corrupt() {
        for bad in [&b""[..], &[3], &[TAG_OBJECTS], &[TAG_OBJECTS, 9, 9], &[TAG_CONTENT, 9]] {
            assert_eq!(RecordRow::decode(bad).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert_eq!(dropping_number(b"abc").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
