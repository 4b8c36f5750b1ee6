//! The form of a ref on the backend.

use bytes::Bytes;
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use strongroom_crypto::{Cipher, NONCE_BYTES, SealKey, SecretKey, TAG_BYTES};
use strongroom_format::{REF_PLAIN_STEP_BYTES, RefName, RefRow};

/// Longest body of a ref in bytes, and the row's part.
const REF_BYTES_MAX: usize = 64 << 10;
const REF_ROW_BYTES_MAX: usize = REF_BYTES_MAX - 2 * REF_PLAIN_STEP_BYTES;

/// The keys for names and bodies of refs.
///
/// Both derive from the id key, which no rotation changes, because every state of the vault must
/// find a ref.
pub(super) struct RefKeys {
    names: SecretKey,
    seal: SealKey,
}

impl std::fmt::Debug for RefKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefKeys(..)")
    }
}

impl RefKeys {
    pub(super) fn new(id_key: &SecretKey) -> Self {
        Self {
            names: id_key.derive("strongroom 2026 ref name", &[]),
            seal: SealKey::derive(Cipher::XChaCha20Poly1305, id_key, "strongroom 2026 refs"),
        }
    }

    /// Returns the name on the backend of the ref `name`.
    pub(super) fn name(&self, name: &str) -> RefName {
        let hash = blake3::keyed_hash(self.names.expose(), name.as_bytes());
        RefName(*hash.as_bytes().first_chunk().expect("a hash is longer"))
    }

    pub(super) fn seal(
        &self,
        vault: Uuid,
        name: RefName,
        row: &RefRow,
        entropy: &dyn Entropy,
    ) -> Result<Bytes> {
        let row = row.encode();
        if row.len() > REF_ROW_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "move ref").with_detail(format!(
                "the ref has {} bytes, the limit is {REF_ROW_BYTES_MAX}",
                row.len()
            )));
        }
        let len = u32::try_from(row.len()).expect("a ref is short");
        let nonce: [u8; NONCE_BYTES] = entropy.draw()?;
        let mut body = nonce.to_vec();
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(&row);
        let plain = (4 + row.len()).next_multiple_of(REF_PLAIN_STEP_BYTES);
        body.resize(NONCE_BYTES + plain, 0);
        let tag = self.seal.seal(&nonce, &associated_data(vault, name), &mut body[NONCE_BYTES..]);
        body.extend_from_slice(&tag);
        Ok(body.into())
    }

    /// Opens a body; `Corrupt` if it is not a ref of that vault and name.
    pub(super) fn open(&self, vault: Uuid, name: RefName, body: &[u8]) -> Result<RefRow> {
        let corrupt = || {
            Error::new(ErrorKind::Corrupt, "read ref")
                .with_reason(Reason::RefDamaged)
                .with_detail("the ref is damaged or belongs to another vault")
                .with_subject(name.key())
        };
        if body.len() < NONCE_BYTES + TAG_BYTES + 4 || body.len() > REF_BYTES_MAX {
            return Err(corrupt());
        }
        let (nonce, rest) = body.split_first_chunk().ok_or_else(corrupt)?;
        let (message, tag) = rest.split_last_chunk().ok_or_else(corrupt)?;
        let mut plain = vec![0; message.len()];
        let opened = self.seal.open(nonce, &associated_data(vault, name), message, tag, &mut plain);
        opened.map_err(|_| corrupt())?;
        let (len, rest) = plain.split_first_chunk().ok_or_else(corrupt)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| corrupt())?;
        RefRow::decode(rest.get(..len).ok_or_else(corrupt)?)
    }
}

/// Returns the associated data of a ref.
fn associated_data(vault: Uuid, name: RefName) -> [u8; 32] {
    let mut place = [0; 32];
    place[..16].copy_from_slice(vault.as_bytes());
    place[16..].copy_from_slice(&name.0);
    place
}

#[cfg(test)]
mod tests {
    use strongroom_base::component::OsEntropy;

    use super::*;
    use strongroom_format::AttemptId;

    #[test]
    fn only_the_unchanged_ref_opens_under_its_name() {
        let keys = RefKeys::new(&SecretKey::new([7; 32]));
        let (vault, name) = (Uuid::from_u128(1), keys.name("owner"));
        let row = RefRow::V0 {
            generation: 2,
            attempts: vec![AttemptId([1; 16])],
            value: b"value".to_vec(),
        };
        let body = keys.seal(vault, name, &row, &OsEntropy).unwrap();
        assert_eq!(body.len(), NONCE_BYTES + REF_PLAIN_STEP_BYTES + TAG_BYTES);
        assert_eq!(keys.open(vault, name, &body).unwrap(), row);
        assert!(keys.open(Uuid::from_u128(2), name, &body).is_err());
        assert!(keys.open(vault, keys.name("other"), &body).is_err());
        for at in 0..body.len() {
            let mut other = body.to_vec();
            other[at] ^= 1;
            let error = keys.open(vault, name, &other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
            assert!(keys.open(vault, name, &body[..at]).is_err(), "{at}");
        }
    }
}
