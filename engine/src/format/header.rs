//! The header of the state file: the 4,096 bytes before redb's first page.
//!
//! Format 0 is unsealed and for development only; the next format replaces it and refuses it.
//! The header is written once, when the file is created under its temporary name, and never
//! changes, so it needs no second copy yet.

use strongroom_backends::{Error, ErrorKind, Result};
use uuid::Uuid;

/// Length of the header, one redb page, so that pages stay aligned.
pub(crate) const HEADER_BYTES: usize = 4096;

/// The format that this version writes and the only one that it reads.
const FORMAT_VERSION: u32 = 0;

const MAGIC: &[u8; 8] = b"STRNGRM\n";
const CHECKSUM_BYTES: usize = 32;
const CHECKSUM_AT: usize = HEADER_BYTES - CHECKSUM_BYTES;

/// Longest name of a backend in bytes.
pub(crate) const BACKEND_NAME_BYTES_MAX: usize = 64;

/// What the header says: enough to refuse a file before anything in it is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) vault: Uuid,
    /// `Backend::name` of the backend that holds the content; at most
    /// [`BACKEND_NAME_BYTES_MAX`].
    pub(crate) backend: String,
}

impl Header {
    /// magic 8 | format version u32 LE | vault id 16 | length of the backend's name 1 | name |
    /// zeros | BLAKE3 of all before, 32.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(self.vault.as_bytes());
        let name = self.backend.as_bytes();
        bytes[28] = u8::try_from(name.len()).expect("checked at creation");
        bytes[29..29 + name.len()].copy_from_slice(name);
        let checksum = blake3::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        bytes
    }

    /// `Invalid` for a file that is no vault's or has a format of another version; `Corrupt` for
    /// a damaged header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let refuse = |kind, detail: String| Err(Error::new(kind, "open vault").with_detail(detail));
        if bytes.len() >= MAGIC.len() && &bytes[..MAGIC.len()] != MAGIC {
            return refuse(ErrorKind::Invalid, "the state file is not a Strongroom vault's".into());
        }
        if bytes.len() < HEADER_BYTES {
            let detail = format!("the state file ends within its header, at byte {}", bytes.len());
            return refuse(ErrorKind::Corrupt, detail);
        }
        let bytes = &bytes[..HEADER_BYTES];
        // The version comes before the checksum: a newer format may keep its checksum elsewhere.
        let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        if version > FORMAT_VERSION {
            let detail = format!(
                "the vault has format {version}, this program reads up to {FORMAT_VERSION}: \
                 use a newer program"
            );
            return refuse(ErrorKind::Invalid, detail);
        }
        if blake3::hash(&bytes[..CHECKSUM_AT]) != bytes[CHECKSUM_AT..] {
            return refuse(ErrorKind::Corrupt, "the header's checksum does not match".into());
        }
        let vault = Uuid::from_slice(&bytes[12..28]).expect("sixteen bytes");
        let name = &bytes[29..29 + usize::from(bytes[28])];
        let backend = String::from_utf8_lossy(name).into_owned();
        Ok(Self { vault, backend })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::hex;

    fn header() -> Header {
        Header { vault: Uuid::from_bytes(*b"0123456789abcdef"), backend: "disk".into() }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode();
        assert_eq!(
            hex(&bytes[..36]),
            "5354524e47524d0a0000000030313233343536373839616263646566046469736b000000"
        );
        assert_eq!(
            hex(&bytes[CHECKSUM_AT..]),
            "5dbb93f4c83b89bed5b113eb0fc648cfd7cc2d4dcad2870e0d4e12d561ec721a"
        );
        assert_eq!(Header::decode(&bytes).unwrap(), header());
    }

    #[test]
    fn every_damaged_byte_and_every_length_is_refused() {
        let good = header().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            assert!(Header::decode(&bad).is_err(), "byte {at}");
            assert!(Header::decode(&good[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut newer = header().encode();
        newer[8] = 7;
        let error = Header::decode(&newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("format 7"), "{error}");
    }
}
