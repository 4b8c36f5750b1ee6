//! The header of the state file: the data needed to open the rest, and the key set.
//!
//! The file begins with two copies of [`HEADER_BYTES`], so that one survives while the other is
//! written. The copy of the higher generation is valid. A third copy is on the backend. The
//! checksum distinguishes damage from a wrong key. Only the MAC authenticates the bytes, and it
//! needs the root key (`engine/crypto/src/set.rs`).

use strongroom_base::{Error, ErrorKind, Key, Reason, Result};
use uuid::Uuid;

/// Length of one copy of the header in bytes.
pub const HEADER_BYTES: usize = 4096;
/// Number of copies at the beginning of the state file.
pub const HEADER_COPIES: usize = 2;

/// The only format that this version reads and writes.
const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"STRNGRM\n";
const CHECKSUM_BYTES: usize = 32;
const CHECKSUM_AT: usize = HEADER_BYTES - CHECKSUM_BYTES;
const MAC_BYTES: usize = 32;
const MAC_AT: usize = CHECKSUM_AT - MAC_BYTES;
const SLOTS_AT: usize = 128;
const SLOT_BYTES: usize = 168;
const RING_AT: usize = SLOTS_AT + SLOTS_MAX * SLOT_BYTES;

/// Most unlock slots of a vault.
pub const SLOTS_MAX: usize = 8;
/// Length of the sealed key ring in bytes: nonce 24, ciphertext, tag 16.
pub const RING_BYTES: usize = 24 + RING_PLAIN_BYTES + 16;
/// Length of the key ring before sealing.
pub const RING_PLAIN_BYTES: usize = 1792;
/// Longest name of a backend in bytes.
pub const BACKEND_NAME_BYTES_MAX: usize = 64;

/// Prefix of the keys of all headers on a backend.
pub const KEY_SETS_PREFIX: &str = "keys/";

/// Returns the key of the header's copy on the backend.
pub fn key_set_key(vault: Uuid) -> Key {
    Key::new(format!("{KEY_SETS_PREFIX}{}", vault.simple())).expect("hex digits are a key")
}

/// The fields of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub vault: Uuid,
    /// Drawn for each state file, and bound into every block of it.
    pub file: Uuid,
    /// Raised by every change of the key set.
    pub generation: u64,
    pub cipher: CipherCode,
    /// `Backend::name` of the content's backend; at most [`BACKEND_NAME_BYTES_MAX`] bytes.
    pub backend: String,
    /// At most [`SLOTS_MAX`] slots.
    pub slots: Vec<SlotRow>,
    /// The key ring, sealed under the root key.
    pub ring: [u8; RING_BYTES],
    /// Keyed BLAKE3 of all bytes before it.
    pub mac: [u8; MAC_BYTES],
}

/// The encoded name of a cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherCode {
    XChaCha20Poly1305 = 1,
    Aes256GcmSiv = 2,
}

/// An unlock slot: one way to the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// Never reused in a vault.
    pub id: u32,
    pub kind: SlotKind,
    pub created_unix_millis: u64,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
    pub nonce: [u8; 24],
    /// The sealed root key: ciphertext 32, tag 16.
    pub wrapped: [u8; 48],
}

/// The type of secret that opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// A password, hashed by Argon2id with these costs.
    Password { memory_kib: u32, passes: u32, lanes: u32 },
    /// A 32-byte key.
    Key,
}

impl SlotRow {
    /// Layout: id u32, kind u32 (1 password, 2 key), created u64, memory KiB u32, passes u32, lanes
    /// u32, zero u32, salt 32, commitment 32, nonce 24, wrapped 48. Numbers LE.
    fn encode(&self, out: &mut [u8]) {
        let (kind, [memory_kib, passes, lanes]) = match self.kind {
            SlotKind::Password { memory_kib, passes, lanes } => (1u32, [memory_kib, passes, lanes]),
            SlotKind::Key => (2, [0; 3]),
        };
        let mut out = Out(out);
        out.put(&self.id.to_le_bytes());
        out.put(&kind.to_le_bytes());
        out.put(&self.created_unix_millis.to_le_bytes());
        for cost in [memory_kib, passes, lanes, 0] {
            out.put(&cost.to_le_bytes());
        }
        for bytes in [&self.salt[..], &self.commitment, &self.nonce, &self.wrapped] {
            out.put(bytes);
        }
    }

    /// Returns the associated data of the wrapped key.
    ///
    /// All of the row except the wrapped key, the nonce and the commitment.
    pub fn bound(&self) -> [u8; 64] {
        let mut row = [0; SLOT_BYTES];
        self.encode(&mut row);
        row[..64].try_into().expect("sixty-four bytes")
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut bytes = In(bytes);
        let id = bytes.u32();
        let kind = bytes.u32();
        let created_unix_millis = bytes.u64();
        let [memory_kib, passes, lanes, zero] = [(); 4].map(|()| bytes.u32());
        let kind = match kind {
            1 => SlotKind::Password { memory_kib, passes, lanes },
            2 if [memory_kib, passes, lanes] == [0; 3] => SlotKind::Key,
            _ => return Err("a slot of an unknown kind"),
        };
        if zero != 0 {
            return Err("a slot of an unknown form");
        }
        let (salt, commitment) = (bytes.array(), bytes.array());
        let (nonce, wrapped) = (bytes.array(), bytes.array());
        Ok(Self { id, kind, created_unix_millis, salt, commitment, nonce, wrapped })
    }
}

impl Header {
    /// Layout: magic 8, format version u32, vault id 16, file id 16, generation u64, cipher u8,
    /// number of slots u8, length of the backend's name u8, name, zeros to byte 128, eight slots,
    /// key ring, zeros, MAC 32, BLAKE3 of all before 32. Numbers LE.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.authenticated();
        bytes.extend_from_slice(&self.mac);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Returns the bytes that the MAC covers.
    pub fn authenticated(&self) -> Vec<u8> {
        let mut bytes = vec![0; MAC_AT];
        let name = self.backend.as_bytes();
        let mut out = Out(&mut bytes);
        out.put(MAGIC);
        out.put(&FORMAT_VERSION.to_le_bytes());
        out.put(self.vault.as_bytes());
        out.put(self.file.as_bytes());
        out.put(&self.generation.to_le_bytes());
        let slots = u8::try_from(self.slots.len()).expect("checked where one is added");
        out.put(&[self.cipher as u8, slots]);
        out.put(&[u8::try_from(name.len()).expect("checked at creation")]);
        out.put(name);
        for (slot, out) in self.slots.iter().zip(bytes[SLOTS_AT..].chunks_exact_mut(SLOT_BYTES)) {
            slot.encode(out);
        }
        bytes[RING_AT..RING_AT + RING_BYTES].copy_from_slice(&self.ring);
        bytes
    }

    /// Decodes a header without authenticating it.
    ///
    /// `Invalid` for a file that does not belong to a vault, or has another format version.
    /// `Corrupt` for a damaged header. The MAC authenticates the fields later.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason, detail: String| {
            let kind = match reason {
                Reason::HeaderDamaged => ErrorKind::Corrupt,
                _ => ErrorKind::Invalid,
            };
            Err(Error::new(kind, "open vault").with_reason(reason).with_detail(detail))
        };
        if bytes.len() >= MAGIC.len() && &bytes[..MAGIC.len()] != MAGIC {
            return refuse(Reason::NotAVault, "the state file is not a Strongroom vault's".into());
        }
        if bytes.len() < HEADER_BYTES {
            let detail = format!("the state file ends within its header, at byte {}", bytes.len());
            return refuse(Reason::HeaderDamaged, detail);
        }
        let bytes = &bytes[..HEADER_BYTES];
        // The version precedes the checksum, because a newer format may place its checksum
        // elsewhere.
        let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        if version > FORMAT_VERSION {
            let detail = format!(
                "the vault has format {version}, this program reads up to {FORMAT_VERSION}: \
                 use a newer program"
            );
            return refuse(Reason::FormatUnsupported, detail);
        }
        if blake3::hash(&bytes[..CHECKSUM_AT]) != bytes[CHECKSUM_AT..] {
            return refuse(Reason::HeaderDamaged, "the header's checksum does not match".into());
        }
        if version < FORMAT_VERSION {
            let detail = "the vault has format 0, which was unsealed and for development only: \
                          create a new vault";
            return refuse(Reason::FormatUnsupported, detail.into());
        }
        let header = Self::fields(bytes).and_then(|header| {
            // Bytes outside of fields must be zeros, so that the MAC covers all bytes.
            if header.encode() == bytes { Ok(header) } else { Err("bytes outside of all fields") }
        });
        header.or_else(|detail| refuse(Reason::HeaderDamaged, format!("the header has {detail}")))
    }

    fn fields(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = In(&bytes[12..SLOTS_AT]);
        let vault = Uuid::from_bytes(fields.array());
        let file = Uuid::from_bytes(fields.array());
        let generation = fields.u64();
        let [cipher, slots, name] = fields.array();
        let cipher = match cipher {
            1 => CipherCode::XChaCha20Poly1305,
            2 => CipherCode::Aes256GcmSiv,
            _ => return Err("an unknown cipher"),
        };
        if usize::from(slots) > SLOTS_MAX {
            return Err("too many slots");
        }
        let name = fields.0.get(..usize::from(name)).ok_or("a backend name that is too long")?;
        let backend = String::from_utf8_lossy(name).into_owned();
        let slots = bytes[SLOTS_AT..]
            .chunks_exact(SLOT_BYTES)
            .take(usize::from(slots))
            .map(SlotRow::decode)
            .collect::<Result<_, _>>()?;
        let ring = bytes[RING_AT..RING_AT + RING_BYTES].try_into().expect("as long");
        let mac = bytes[MAC_AT..CHECKSUM_AT].try_into().expect("as long");
        Ok(Self { vault, file, generation, cipher, backend, slots, ring, mac })
    }
}

/// A writer of consecutive fixed fields.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (field, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        field.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// A reader of consecutive fixed fields. The input is always long enough.
struct In<'a>(&'a [u8]);

impl In<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N);
        self.0 = rest;
        field.try_into().expect("as long")
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    fn header() -> Header {
        let kind = SlotKind::Password { memory_kib: 65_536, passes: 3, lanes: 4 };
        let slot = |id, kind| SlotRow {
            id,
            kind,
            created_unix_millis: 1_767_225_600_000,
            salt: [0x11; 32],
            commitment: [0x22; 32],
            nonce: [0x33; 24],
            wrapped: [0x44; 48],
        };
        Header {
            vault: Uuid::from_bytes(*b"0123456789abcdef"),
            file: Uuid::from_bytes(*b"fedcba9876543210"),
            generation: 258,
            cipher: CipherCode::Aes256GcmSiv,
            backend: "disk".into(),
            slots: vec![slot(1, kind), slot(7, SlotKind::Key)],
            ring: [0x55; RING_BYTES],
            mac: [0x66; MAC_BYTES],
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(
            hex(&bytes[..62]),
            "5354524e47524d0a\
             01000000\
             30313233343536373839616263646566\
             66656463626139383736353433323130\
             0201000000000000\
             020204\
             6469736b000000"
        );
        assert_eq!(
            hex(&bytes[SLOTS_AT..SLOTS_AT + 33]),
            "0100000001000000".to_owned()
                + "00a8da769b010000"
                + "00000100"
                + "03000000"
                + "04000000"
                + "00000000"
                + "11"
        );
        assert_eq!(hex(&bytes[RING_AT - 1..=RING_AT]), "0055");
        assert_eq!(Header::decode(&bytes).unwrap(), header());
    }

    #[test]
    fn damaged_byte_or_shorter_length_is_refused() {
        let good = header().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            assert!(Header::decode(&bad).is_err(), "byte {at}");
            assert!(Header::decode(&good[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn fields_out_of_bounds_are_refused_despite_valid_checksum() {
        for (at, value) in [(52, 0), (52, 3), (53, 9), (54, 255), (SLOTS_AT + 4, 3)] {
            let mut bytes = header().encode();
            bytes[at] = value;
            let checksum = blake3::hash(&bytes[..CHECKSUM_AT]);
            bytes[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
            assert_eq!(Header::decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        }
    }

    #[test]
    fn other_formats_differ_from_damage() {
        let mut newer = header().encode();
        newer[8] = 7;
        let error = Header::decode(&newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("format 7"), "{error}");

        let mut older = header().encode();
        older[8] = 0;
        let checksum = blake3::hash(&older[..CHECKSUM_AT]);
        older[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        let error = Header::decode(&older).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("format 0"), "{error}");
    }
}
