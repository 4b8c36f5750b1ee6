//! The keys of a partition and of its document.
//!
//! ```text
//! partition key --.-- opens the envelope
//!                 |
//! password --Argon2id--> document key --.-- orders the slots in use
//!              (salt)                   |
//!                        (id, text hash)'--> update key --> text, coefficients, masks, tags,
//!                                                           garbage, nonces
//! ```
//!
//! An update key belongs to one update and one text. A resumed update draws the same bytes from it,
//! and another content gets another key, so no keystream covers two different shares.

use std::fmt;

use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::{Zeroize, Zeroizing};

use super::stream::Stream;
use strongroom_crypto::{Cipher, PasswordCosts, SealKey, SecretKey, SecretPassword, hash_password};

/// Length of a salt in bytes.
pub(super) const SALT_BYTES: usize = 32;
/// Length of an update's id in bytes.
pub(super) const UPDATE_ID_BYTES: usize = 16;

const TEXT_PREFIX: &str = "srp1_";
const CHECKSUM_BYTES: usize = 4;

/// The key that opens a partition together with its password: 32 random bytes.
///
/// Alone it proves that the partition exists, protects it when another is added, and destroys it. A
/// lost key cannot be recovered: nothing in the vault lists partitions. It is zeroised when
/// dropped, and its `Debug` shows nothing.
pub struct SecretPartitionKey {
    key: SecretKey,
}

impl fmt::Debug for SecretPartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretPartitionKey(..)")
    }
}

impl SecretPartitionKey {
    pub(super) fn draw(entropy: &dyn Entropy) -> Result<Self> {
        SecretKey::draw(entropy).map(|key| Self { key })
    }

    /// Parses the output of [`to_text`](Self::to_text), ignoring blanks around it.
    ///
    /// `Invalid` for other text, including a misspelt key: four bytes are a checksum.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "read partition key")
                .with_reason(Reason::PartitionKeyInvalid)
                .with_detail("the text is not a partition key, or is misspelt")
        };
        let mut bytes = Zeroizing::new([0; SecretKey::BYTES + CHECKSUM_BYTES]);
        let digits = text.trim().strip_prefix(TEXT_PREFIX).ok_or_else(invalid)?;
        unhex(digits, &mut bytes[..]).ok_or_else(invalid)?;
        let (key, checksum) = bytes.split_first_chunk().expect("longer");
        let key = Self { key: SecretKey::new(*key) };
        if key.checksum() == *checksum { Ok(key) } else { Err(invalid()) }
    }

    /// Returns the key as one line of text to keep: `srp1_` and 72 hex digits.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_PREFIX.len() + 72));
        text.push_str(TEXT_PREFIX);
        for byte in self.key.expose().iter().chain(&self.checksum()) {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits"));
            }
        }
        text
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let derived = self.key.derive("strongroom 2026 partition key checksum", &[]);
        *derived.expose().first_chunk().expect("longer")
    }

    pub(super) fn duplicate(&self) -> Self {
        Self { key: self.key.duplicate() }
    }

    pub(super) fn commitment_key(&self) -> SecretKey {
        self.key.derive("strongroom 2026 envelope commitment", &[])
    }

    /// One fixed cipher.
    ///
    /// Its nonces come from an update key and use all 24 bytes.
    pub(super) fn envelope_key(&self) -> SealKey {
        SealKey::derive(Cipher::XChaCha20Poly1305, &self.key, "strongroom 2026 envelope")
    }

    /// Returns the stream that selects the cells of its envelope.
    pub(super) fn cells(&self) -> Stream {
        Stream::new(&self.key.derive("strongroom 2026 envelope cells", &[]), &[])
    }

    /// Returns the stream that substitutes an absent envelope.
    pub(super) fn absent(&self) -> Stream {
        Stream::new(&self.key.derive("strongroom 2026 absent envelope", &[]), &[])
    }

    /// Derives the document key, in the time that `costs` require.
    pub(super) fn document_key(
        &self,
        password: &SecretPassword,
        salt: &[u8; SALT_BYTES],
        costs: PasswordCosts,
    ) -> Result<DocumentKey> {
        let hashed = hash_password(password, salt, costs)?;
        Ok(DocumentKey { key: self.key.derive("strongroom 2026 document key", hashed.expose()) })
    }
}

/// Fills `bytes` from the same number of pairs of hex digits.
fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

/// Hashes the concatenated parts with BLAKE3, keyed by `key`.
pub(super) fn keyed_hash(key: &SecretKey, parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    hasher.zeroize();
    hash
}

/// The key derived from partition key and password.
pub(super) struct DocumentKey {
    key: SecretKey,
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentKey(..)")
    }
}

impl DocumentKey {
    /// Returns the stream that orders the slots in use.
    pub(super) fn order(&self) -> Stream {
        Stream::new(&self.key.derive("strongroom 2026 order of slots", &[]), &[])
    }

    /// Not keyed by the partition key.
    ///
    /// Its holder could otherwise test guessed texts without the password.
    pub(super) fn text_hash(&self, id: &[u8; UPDATE_ID_BYTES], padded: &[u8]) -> blake3::Hash {
        keyed_hash(&self.key.derive("strongroom 2026 text hash", &[]), &[id, padded])
    }

    pub(super) fn update_key(&self, id: &[u8; UPDATE_ID_BYTES], hash: &[u8; 32]) -> UpdateKey {
        let mut bound = [0; UPDATE_ID_BYTES + 32];
        bound[..UPDATE_ID_BYTES].copy_from_slice(id);
        bound[UPDATE_ID_BYTES..].copy_from_slice(hash);
        UpdateKey { key: self.key.derive("strongroom 2026 update", &bound) }
    }
}

/// The key of one update of one text.
pub(super) struct UpdateKey {
    key: SecretKey,
}

impl fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateKey(..)")
    }
}

impl UpdateKey {
    /// Returns the key of the padded text, for nonce zero.
    ///
    /// It seals only this message.
    pub(super) fn text(&self) -> SealKey {
        SealKey::derive(Cipher::XChaCha20Poly1305, &self.key, "strongroom 2026 document text")
    }

    /// Returns the stream of the coefficients of all chunks, in order.
    pub(super) fn coefficients(&self) -> Stream {
        self.stream("strongroom 2026 coefficients", &[])
    }

    /// Returns the stream that masks the shares at `place`, in chunk order.
    pub(super) fn mask(&self, place: u8) -> Stream {
        self.stream("strongroom 2026 masks", &[place])
    }

    /// Returns the stream of the tags' POLYVAL key at `place`.
    pub(super) fn tag(&self, place: u8) -> Stream {
        self.stream("strongroom 2026 tags", &[place])
    }

    /// Returns the stream that fills unused slots of the partition.
    pub(super) fn garbage(&self) -> Stream {
        self.stream("strongroom 2026 garbage", &[])
    }

    /// Returns the stream of the nonces of the envelope's copies.
    pub(super) fn nonces(&self) -> Stream {
        self.stream("strongroom 2026 envelope nonces", &[])
    }

    fn stream(&self, context: &str, message: &[u8]) -> Stream {
        Stream::new(&self.key.derive(context, &[]), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_base::component::OsEntropy;

    #[test]
    fn key_round_trips_as_text_and_misspelt_key_is_refused() {
        let key = SecretPartitionKey::draw(&OsEntropy).unwrap();
        let text = key.to_text();
        let read = SecretPartitionKey::parse(&format!(" {}\n", *text)).unwrap();
        assert_eq!(read.key.expose(), key.key.expose());
        assert!(SecretPartitionKey::parse(&text.to_uppercase().replace("SRP", "srp")).is_ok());
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let misspelt = String::from_utf8(bytes).unwrap();
            let error = SecretPartitionKey::parse(&misspelt).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.to_string().contains(&misspelt[5..20]), "{error}");
        }
        for bad in ["", "srp1_", "srp1_00", "0011", &text[..text.len() - 1], "srp1_é"] {
            assert!(SecretPartitionKey::parse(bad).is_err(), "{bad}");
        }
    }
}
