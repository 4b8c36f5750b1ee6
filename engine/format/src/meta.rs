//! The rows of table `meta`: the schema of the tables, and the vault's identity.

use serde::{Deserialize, Serialize};
use strongroom_base::Result;
use uuid::Uuid;

use super::codec;
use super::header::Header;

/// The schema that this release writes.
///
/// For each earlier schema, `state/migrate.rs` has a step to the next.
pub const SCHEMA_VERSION: u32 = 5;

/// Key of the [`SchemaRow`].
pub const META_SCHEMA: &[u8] = b"schema";
/// Key of the [`VaultRow`].
pub const META_VAULT: &[u8] = b"vault";

/// Key of the [`KeyCopyRow`].
pub const META_KEY_COPY: &[u8] = b"key copy";

/// The schema of the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaRow {
    V0 { version: u32 },
}

/// The identity of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VaultRow {
    V0 {
        /// Equal to the id in the header.
        id: Uuid,
        created_unix_millis: u64,
        /// Number of the next namespace; numbers are never reused.
        next_namespace: u32,
    },
}

/// Identifies the key copy that a session with this state wrote or found on the backend.
///
/// Once this row exists, a missing copy means that others changed the backend or the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyCopyRow {
    V0 {
        /// BLAKE3 of the copy's bytes.
        ///
        /// After a rotation the new keys cannot authenticate the older copy. This hash identifies
        /// it.
        hash: [u8; 32],
    },
}

impl KeyCopyRow {
    /// Returns the row for a key copy that equals `header`.
    pub fn of(header: &Header) -> Self {
        Self::V0 { hash: *blake3::hash(&header.encode()).as_bytes() }
    }

    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read row of the key copy", bytes)
    }
}

impl SchemaRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read schema version", bytes)
    }
}

impl VaultRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read vault row", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let schema = SchemaRow::V0 { version: 1 };
        assert_eq!(hex(&schema.encode()), "0001");
        assert_eq!(SchemaRow::decode(&schema.encode()).unwrap(), schema);

        let vault = VaultRow::V0 {
            id: Uuid::from_bytes(*b"0123456789abcdef"),
            created_unix_millis: 1_767_225_600_000,
            next_namespace: 3,
        };
        assert_eq!(
            hex(&vault.encode()),
            "001030313233343536373839616263646566fd00a8da769b01000003"
        );
        assert_eq!(VaultRow::decode(&vault.encode()).unwrap(), vault);

        let copy = KeyCopyRow::V0 { hash: [0xab; 32] };
        assert_eq!(hex(&copy.encode()), format!("00{}", "ab".repeat(32)));
        assert_eq!(KeyCopyRow::decode(&copy.encode()).unwrap(), copy);
    }
}
