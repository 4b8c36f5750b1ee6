//! The rows of table `meta`: the schema of the tables, and the vault's identity.

use serde::{Deserialize, Serialize};
use strongroom_base::Result;
use uuid::Uuid;

use super::codec;

/// The schema that this version writes. A step of `state/migrate.rs` leads from each version to the
/// next.
pub const SCHEMA_VERSION: u32 = 5;

/// Key of the [`SchemaRow`].
pub const META_SCHEMA: &[u8] = b"schema";
/// Key of the [`VaultRow`].
pub const META_VAULT: &[u8] = b"vault";

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
    }
}
