//! The encoding of rows: bincode 2 in its standard configuration, with a limit on allocations.
//!
//! The configuration is little-endian with variable-length integers. bincode's development has
//! ended; 2.0.1 is pinned, golden bytes pin its output, and `wincode` reads the same encoding
//! (docs/internals.md, "Dependencies").

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_base::{Error, ErrorKind, Reason, Result};

/// Most bytes that decoding one row may allocate: 16 MiB, the references of about 4 TiB of content.
const DECODED_BYTES_MAX: usize = 16 << 20;

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODED_BYTES_MAX>,
>;

const fn config() -> Config {
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Encodes `row`.
pub(super) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(row, config()).expect("rows have no unserialisable types")
}

/// Decodes a row from all of `bytes`; `Corrupt` if that fails.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    let corrupt = |detail: String| {
        Error::new(ErrorKind::Corrupt, what).with_reason(Reason::RowDamaged).with_detail(detail)
    };
    let (row, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|e| corrupt(format!("row does not decode: {e}")))?;
    if used == bytes.len() {
        Ok(row)
    } else {
        Err(corrupt(format!("the row has {} extra bytes", bytes.len() - used)))
    }
}

/// Gives row types `encode` and `decode`. The text names the row in errors.
macro_rules! coded {
    ($($type:ty: $what:literal;)*) => {$(
        impl $type {
            pub fn encode(&self) -> Vec<u8> {
                codec::encode(self)
            }

            pub fn decode(bytes: &[u8]) -> Result<Self> {
                codec::decode($what, bytes)
            }
        }
    )*};
}
pub(super) use coded;

/// Formats bytes as lower-case hex, for golden tests.
#[cfg(test)]
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("writing to a string");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_short_and_oversized_input_is_corrupt() {
        let bytes = encode(&(7u32, "seven".to_string()));
        assert_eq!(decode::<(u32, String)>("read row", &bytes).unwrap().0, 7);
        let mut longer = bytes.clone();
        longer.push(0);
        let mut huge_length = vec![7u8, 253];
        huge_length.extend_from_slice(&u64::MAX.to_le_bytes());
        for bad in [&bytes[..bytes.len() - 1], &longer, &huge_length, &[]] {
            let error = decode::<(u32, String)>("read row", bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
