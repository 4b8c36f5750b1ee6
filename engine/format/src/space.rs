//! The rows of table `space`: the share space, and its unfinished update.
//!
//! No field depends on a partition: rows look the same whichever document an update changes, and
//! however many documents exist.

use serde::{Deserialize, Serialize};
use strongroom_base::Result;
use uuid::Uuid;

use super::codec;
use super::content::{ObjectName, ObjectRef};

/// Key of the [`SpaceRow`].
pub const SPACE: &[u8] = b"space";
/// Key of the [`UpdateRow`].
pub const SPACE_UPDATE: &[u8] = b"update";

/// Length of a slot: a share of 66 bytes and its tag of 14, masked.
pub const SLOT_BYTES: usize = 80;

/// Number of objects with cells in a generation: the first ones.
pub const CELL_OBJECTS: usize = 2;

/// The share space with its parameters, and its valid generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpaceRow {
    V0 {
        id: Uuid,
        created_unix_millis: u64,
        /// Time at which a generation last replaced another; none in a new space.
        updated_unix_millis: Option<u64>,
        /// Most bytes of a compressed document.
        capacity_bytes: u32,
        threshold: u8,
        shares: u8,
        /// Number of partitions whose slots fit.
        partitions: u8,
        costs: CostsRow,
        generation: GenerationRow,
    },
}

/// The cost of an attempt at a document's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostsRow {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

/// The objects of one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRow {
    pub id: Uuid,
    /// Two objects of cells, then the segments.
    pub objects: Vec<ObjectRef>,
}

/// An unfinished generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRow {
    V0 {
        since_unix_millis: u64,
        /// The generation on which it is based.
        base: Uuid,
        id: Uuid,
        /// The reserved names of all its objects.
        names: Vec<ObjectName>,
        /// Key epochs of the stored objects, in order.
        epochs: Vec<u32>,
    },
}

impl SpaceRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read space row", bytes)
    }

    pub fn generation(&self) -> &GenerationRow {
        let Self::V0 { generation, .. } = self;
        generation
    }
}

impl UpdateRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read update row", bytes)
    }

    pub fn names(&self) -> &[ObjectName] {
        let Self::V0 { names, .. } = self;
        names
    }

    pub fn epochs(&self) -> &[u32] {
        let Self::V0 { epochs, .. } = self;
        epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let name = ObjectName(*b"0123456789abcdef");
        let space = SpaceRow::V0 {
            id: Uuid::from_bytes(*b"0123456789abcdef"),
            created_unix_millis: 250,
            updated_unix_millis: Some(251),
            capacity_bytes: 65_536,
            threshold: 3,
            shares: 9,
            partitions: 12,
            costs: CostsRow { memory_kib: 65_536, passes: 3, lanes: 4 },
            generation: GenerationRow {
                id: Uuid::from_bytes(*b"fedcba9876543210"),
                objects: vec![ObjectRef { name, len: 300, epoch: 1 }],
            },
        };
        assert_eq!(
            hex(&space.encode()),
            "001030313233343536373839616263646566fa01fbfb00fc0000010003090c\
             fc00000100030410666564636261393837363534333231300130313233343536373839616263646566fb2c0101"
        );
        assert_eq!(SpaceRow::decode(&space.encode()).unwrap(), space);

        let update = UpdateRow::V0 {
            since_unix_millis: 250,
            base: Uuid::from_bytes(*b"0123456789abcdef"),
            id: Uuid::from_bytes(*b"fedcba9876543210"),
            names: vec![name],
            epochs: vec![1, 2],
        };
        assert_eq!(
            hex(&update.encode()),
            "00fa1030313233343536373839616263646566106665646362613938373635343332313001\
             30313233343536373839616263646566020102"
        );
        assert_eq!(UpdateRow::decode(&update.encode()).unwrap(), update);
    }
}
