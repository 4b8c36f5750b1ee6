//! Rows of chunks and packs, and references to content.
//!
//! The tables are `chunks`, `bodies`, `released` and `packs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::codec::{self, coded};
use super::content::ObjectName;

/// The keyed hash of a chunk's bytes, its lookup key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId(pub [u8; 32]);

impl ChunkId {
    /// Reads the id from a key of tables `chunks`, `bodies` and `released`.
    pub fn of_key(key: &[u8]) -> Result<Self> {
        key.try_into().map(Self).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "read chunk row")
                .with_reason(Reason::RowDamaged)
                .with_detail("key has a wrong length")
        })
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The contents of a chunk. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChunkKind {
    /// Bytes of content.
    Data,
    /// References to chunks.
    Node,
}

/// A chunk (table `chunks`, by id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkRow {
    V0 {
        kind: ChunkKind,
        /// Number of nodes and contents that refer to it. A node counts once for each distinct
        /// child.
        references: u64,
        /// Length of the chunk's bytes.
        len: u32,
        place: ChunkPlace,
    },
}

/// The location of a chunk. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkPlace {
    /// In table `bodies`.
    State { stored: u32 },
    /// In a pack, at offset `at`, sealed.
    Pack { pack: ObjectName, epoch: u32, at: u32, stored: u32 },
    /// Nowhere, because its pack is lost. Its references still count, for a put of the same bytes.
    Lost,
}

/// A pack (table `packs`, by its object's name).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackRow {
    V0 {
        /// Epoch of the content key that seals it.
        epoch: u32,
        /// Length of the object.
        bytes: u64,
        /// Number of its chunks that are in table `chunks`, and their bytes.
        chunks: u32,
        chunk_bytes: u64,
        /// The upload that put it, while table `uploads` has it.
        upload: Option<UploadId>,
    },
}

/// The id of an upload that has put packs: the key of its row in table `uploads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UploadId(pub [u8; 16]);

/// An upload that has put packs and has not ended (table `uploads`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadRow {
    V0 {
        /// Time at which it began; 0 after it ended without a commit.
        ///
        /// The maximum marks the keeper of packs that a rebuild found without rows.
        since_unix_millis: u64,
    },
}

/// A chunk without references (table `released`, by id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleasedRow {
    V0 {
        /// Session and commit that dropped its last reference.
        session: uuid::Uuid,
        commit: u64,
    },
}

/// A content: the root of a tree of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRef {
    /// Length in bytes.
    pub len: u64,
    /// A node, or the only chunk if the height is 0.
    pub root: ChunkId,
    pub height: u8,
}

/// A chunk under a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    pub id: ChunkId,
    /// Length of the content under it.
    pub len: u64,
}

/// The contents of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeBody {
    V0 { children: Vec<Child> },
}

/// The contents of a pack's trailer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackTrailer {
    V0 { chunks: Vec<PackedChunk> },
}

/// A chunk in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackedChunk {
    pub id: ChunkId,
    pub kind: ChunkKind,
    pub len: u32,
    pub at: u32,
    pub stored: u32,
}

coded! {
    ChunkRow: "read chunk row";
    PackRow: "read pack row";
    UploadRow: "read upload row";
    ReleasedRow: "read released row";
    NodeBody: "read node";
    PackTrailer: "read pack";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    const ID: ChunkId = ChunkId(*b"0123456789abcdef0123456789ABCDEF");
    const ID_HEX: &str = "3031323334353637383961626364656630313233343536373839414243444546";
    const NAME: ObjectName = ObjectName(*b"0123456789abcdef");
    const NAME_HEX: &str = "30313233343536373839616263646566";

    #[test]
    fn golden_bytes() {
        let place = ChunkPlace::Pack { pack: NAME, epoch: 1, at: 16, stored: 300 };
        let chunk = ChunkRow::V0 { kind: ChunkKind::Node, references: 2, len: 251, place };
        assert_eq!(hex(&chunk.encode()), format!("000102fbfb0001{NAME_HEX}0110fb2c01"));
        assert_eq!(ChunkRow::decode(&chunk.encode()).unwrap(), chunk);
        let place = ChunkPlace::State { stored: 7 };
        let chunk = ChunkRow::V0 { kind: ChunkKind::Data, references: 0, len: 9, place };
        assert_eq!(hex(&chunk.encode()), "000000090007");
        let chunk =
            ChunkRow::V0 { kind: ChunkKind::Data, references: 1, len: 0, place: ChunkPlace::Lost };
        assert_eq!(hex(&chunk.encode()), "0000010002");

        let pack = PackRow::V0 {
            epoch: 1,
            bytes: 300,
            chunks: 2,
            chunk_bytes: 250,
            upload: Some(UploadId(*b"0123456789abcdef")),
        };
        assert_eq!(hex(&pack.encode()), format!("0001fb2c0102fa01{NAME_HEX}"));
        assert_eq!(PackRow::decode(&pack.encode()).unwrap(), pack);

        let upload = UploadRow::V0 { since_unix_millis: 250 };
        assert_eq!(hex(&upload.encode()), "00fa");
        let session = uuid::Uuid::from_bytes(*b"0123456789abcdef");
        let released = ReleasedRow::V0 { session, commit: 9 };
        assert_eq!(hex(&released.encode()), format!("0010{NAME_HEX}09"));

        let node = NodeBody::V0 { children: vec![Child { id: ID, len: 300 }] };
        assert_eq!(hex(&node.encode()), format!("0001{ID_HEX}fb2c01"));
        assert_eq!(NodeBody::decode(&node.encode()).unwrap(), node);

        let packed = PackedChunk { id: ID, kind: ChunkKind::Data, len: 9, at: 16, stored: 8 };
        let trailer = PackTrailer::V0 { chunks: vec![packed] };
        assert_eq!(hex(&trailer.encode()), format!("0001{ID_HEX}00091008"));
        assert_eq!(PackTrailer::decode(&trailer.encode()).unwrap(), trailer);
        assert_eq!(ChunkId::of_key(&ID.0).unwrap(), ID);
        assert!(ChunkId::of_key(b"short").is_err());
    }
}
