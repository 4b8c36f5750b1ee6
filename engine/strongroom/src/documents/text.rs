//! A document's text: checked to be JSON, compressed, padded to the full capacity, sealed.
//!
//! The exact bytes are kept. Numbers, duplicate keys and their order are not normalised.
//!
//! ```text
//! padded = stored u32 LE | length u32 LE | stored bytes | zeros   chunks * 64 - 16 bytes
//! sealed = ciphertext of that | tag 16                            chunks * 64 bytes
//! ```
//!
//! The stored bytes are the text, or zstd of it if that is shorter. The two lengths then differ.

use std::io;

use serde::Serialize;
use serde::de::IgnoredAny;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

use super::geometry::{Geometry, LENGTH_BYTES, TEXT_TAG_BYTES};
use super::secret::UpdateKey;
use strongroom_crypto::NONCE_BYTES;

/// Longest document in bytes, before it is compressed: 64 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;

const LEVEL: i32 = 3;

/// Returns `Invalid` unless `text` is one JSON value in UTF-8.
///
/// The error has line and column.
fn check_json(text: &[u8]) -> Result<()> {
    const CHECK: &str = "write document";
    let invalid = |detail: String| Err(Error::new(ErrorKind::Invalid, CHECK).with_detail(detail));
    if text.len() > DOCUMENT_BYTES_MAX {
        let len = text.len();
        return invalid(format!("the document has {len} bytes, the limit is {DOCUMENT_BYTES_MAX}"))
            .map_err(|e| e.with_reason(Reason::ValueTooLong));
    }
    let json = match std::str::from_utf8(text) {
        Ok(json) => json,
        Err(e) => {
            let (line, column) = position(&text[..e.valid_up_to()]);
            return invalid(format!("not UTF-8 at line {line} column {column}"));
        }
    };
    // The parser's message has the type and position of the error, and nothing of the text.
    match serde_json::from_str::<IgnoredAny>(json) {
        Ok(IgnoredAny) => Ok(()),
        Err(e) => invalid(format!("not JSON: {e}")),
    }
}

fn position(before: &[u8]) -> (usize, usize) {
    let line = before.split(|&byte| byte == b'\n').count();
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    (line, column)
}

/// A padded text, and its length inside.
pub(super) struct PackedText {
    pub(super) padded: Zeroizing<Vec<u8>>,
    pub(super) stored_bytes: usize,
}

/// Encodes `value` as JSON.
pub(super) fn of<T: Serialize>(value: &T) -> Result<Zeroizing<Vec<u8>>> {
    let invalid = |_| {
        Error::new(ErrorKind::Invalid, "write document")
            .with_detail("the value cannot be encoded as JSON")
    };
    // Counted first, because a growing buffer leaves copies of the text behind.
    let mut counted = Count(0);
    serde_json::to_writer(&mut counted, value).map_err(invalid)?;
    let mut text = Zeroizing::new(Vec::with_capacity(counted.0));
    serde_json::to_writer(&mut *text, value).map_err(invalid)?;
    Ok(text)
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks `text`, compresses it if that helps, and pads it.
///
/// `Invalid` if it is not JSON, `Full` if it does not fit.
pub(super) fn pack(text: &[u8], geometry: &Geometry) -> Result<PackedText> {
    check_json(text)?;
    pack_bytes(text, geometry)
}

fn pack_bytes(text: &[u8], geometry: &Geometry) -> Result<PackedText> {
    let smaller = zstd::bulk::compress(text, LEVEL).map(Zeroizing::new).ok();
    let smaller = smaller.filter(|smaller| smaller.len() < text.len());
    let stored = smaller.as_deref().map_or(text, |smaller| &smaller[..]);
    if stored.len() > geometry.capacity {
        return Err(Error::new(ErrorKind::Full, "write document")
            .with_reason(Reason::CapacityExceeded)
            .with_detail(format!(
                "the document has {} bytes, {} compressed; a partition of this space holds {}",
                text.len(),
                stored.len(),
                geometry.capacity
            )));
    }
    let mut padded = Zeroizing::new(vec![0; geometry.padded_bytes()]);
    let length = |len: usize| u32::try_from(len).expect("at most DOCUMENT_BYTES_MAX").to_le_bytes();
    padded[..4].copy_from_slice(&length(stored.len()));
    padded[4..LENGTH_BYTES].copy_from_slice(&length(text.len()));
    padded[LENGTH_BYTES..LENGTH_BYTES + stored.len()].copy_from_slice(stored);
    Ok(PackedText { padded, stored_bytes: stored.len() })
}

/// Returns the packed text. The padding is authentic, so a wrong one is a bug or a newer format.
pub(super) fn unpack(padded: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let corrupt = || {
        Error::new(ErrorKind::Corrupt, "read document")
            .with_reason(Reason::DocumentDamaged)
            .with_detail("the document's text does not decompress")
    };
    let (stored, len) = stored(padded).ok_or_else(corrupt)?;
    if stored.len() == len {
        return Ok(Zeroizing::new(stored.to_vec()));
    }
    // Allocated at its full length, so that no part of it is moved.
    let mut text = Zeroizing::new(vec![0; len]);
    let unpacked = zstd::bulk::decompress_to_buffer(stored, &mut text[..]);
    if unpacked.is_ok_and(|unpacked| unpacked == len) { Ok(text) } else { Err(corrupt()) }
}

/// Returns the bytes of the capacity that a padded text uses.
pub(super) fn stored_bytes(padded: &[u8]) -> usize {
    stored(padded).map_or(0, |(stored, _)| stored.len())
}

/// Returns the stored bytes, and the length of the text.
fn stored(padded: &[u8]) -> Option<(&[u8], usize)> {
    let (stored, rest) = padded.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let number = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let length = number(length).filter(|&length| length <= DOCUMENT_BYTES_MAX)?;
    Some((rest.get(..number(stored)?)?, length))
}

/// Returns the chunks that a stored text of that length fills.
pub(super) fn chunks_of(stored_bytes: usize) -> usize {
    (LENGTH_BYTES + stored_bytes + TEXT_TAG_BYTES).div_ceil(strongroom_sharing::SECRET_BYTES)
}

/// Seals a padded text: the bytes that are cut into chunks.
pub(super) fn seal(padded: &[u8], key: &UpdateKey) -> Zeroizing<Vec<u8>> {
    let mut sealed = Zeroizing::new(Vec::with_capacity(padded.len() + TEXT_TAG_BYTES));
    sealed.extend_from_slice(padded);
    // The key seals this one message.
    let tag = key.text().seal(&[0; NONCE_BYTES], &[], &mut sealed);
    sealed.extend_from_slice(&tag);
    sealed
}

/// Opens `sealed`; returns the padded text if [`seal`] made it.
pub(super) fn open(sealed: &[u8], key: &UpdateKey) -> Option<Zeroizing<Vec<u8>>> {
    let (message, tag) = sealed.split_last_chunk::<TEXT_TAG_BYTES>()?;
    let mut padded = Zeroizing::new(vec![0; message.len()]);
    key.text().open(&[0; NONCE_BYTES], &[], message, tag, &mut padded).ok()?;
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_round_trip() {
        let geometry = Geometry::new(2_048, 2, 3, 3).unwrap();
        for len in (0..=2_048).step_by(64).chain([1, 63, 65, 2_047]) {
            // Incompressible bytes.
            let mut noise = vec![0; len];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            for text in [noise, vec![b'0'; len], vec![0; len]] {
                let packed = pack_bytes(&text, &geometry).unwrap();
                assert_eq!(packed.padded.len(), geometry.padded_bytes());
                assert_eq!(stored_bytes(&packed.padded), packed.stored_bytes);
                assert!(*unpack(&packed.padded).unwrap() == text, "{len}");
            }
        }
        let mut noise = vec![0; 2_049];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let error = pack_bytes(&noise, &geometry).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().contains("2049 bytes"), "{error}");
        assert!(pack_bytes(&vec![b' '; 1 << 20], &geometry).is_ok());
    }

    #[test]
    fn invalid_json_is_refused_with_its_position() {
        for good in [
            "null",
            " [1e400, -0.0, 1E-999]\n",
            r#"{"a":1,"a":2}"#,
            "\"\u{1F512} \\ud800\"",
            &format!("1{}", "0".repeat(400)),
            &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        ] {
            check_json(good.as_bytes()).unwrap();
        }
        for (bad, place) in [
            ("", "line 1 column 0"),
            ("{\"secret\":\n 01}", "line 2 column"),
            ("[1,]", "line 1 column 4"),
            ("{} {}", "line 1 column 4"),
            ("\u{feff}{}", "line 1 column 1"),
            ("NaN", "line 1 column 1"),
        ] {
            let error = check_json(bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(place), "{bad}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let error = check_json(b"[\n\"\xff\"]").unwrap_err();
        assert!(error.to_string().contains("line 2 column 2"), "{error}");
    }
}
