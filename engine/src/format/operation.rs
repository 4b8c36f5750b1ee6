//! The rows of tables `operations` and `checkpoints`.

use serde::{Deserialize, Serialize};
use strongroom_backends::Result;
use uuid::Uuid;

use super::codec;

/// A resumable piece of work (table `operations`, by id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OperationRow {
    V0 {
        state: OperationState,
        /// The session of the vault whose process owns it.
        owner: Uuid,
        /// Raised by every begin, resume and take-over; a commit under an older one is refused.
        generation: u64,
        created_unix_millis: u64,
        updated_unix_millis: u64,
        lanes: u32,
        /// Lanes that are not yet complete; at 0 the operation is.
        lanes_open: u32,
    },
}

/// Where an operation stands. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OperationState {
    Running,
    Completed,
}

impl OperationRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read operation row", bytes)
    }
}

/// Where a lane stands (table `checkpoints`, by [`checkpoint_key`]). A lane without a checkpoint
/// yet has a row with `sequence` 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CheckpointRow {
    V0 {
        /// How many checkpoints this lane has had.
        sequence: u64,
        /// Orders the checkpoints of all lanes of the operation.
        order: u64,
        /// 0 to 1.
        progress: f64,
        complete: bool,
        unix_millis: u64,
        data: Vec<u8>,
    },
}

impl CheckpointRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read checkpoint row", bytes)
    }
}

/// Operation id, a zero byte (which no id contains), lane.
pub(crate) fn checkpoint_key(operation: &str, lane: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(operation.len() + 1 + lane.len());
    key.extend_from_slice(operation.as_bytes());
    key.push(0);
    key.extend_from_slice(lane.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::hex;

    #[test]
    fn golden_bytes() {
        let operation = OperationRow::V0 {
            state: OperationState::Completed,
            owner: Uuid::from_bytes(*b"0123456789abcdef"),
            generation: 2,
            created_unix_millis: 250,
            updated_unix_millis: 251,
            lanes: 8,
            lanes_open: 0,
        };
        assert_eq!(
            hex(&operation.encode()),
            "00011030313233343536373839616263646566 02fafbfb000800".replace(' ', "")
        );
        assert_eq!(OperationRow::decode(&operation.encode()).unwrap(), operation);

        let checkpoint = CheckpointRow::V0 {
            sequence: 3,
            order: 9,
            progress: 0.5,
            complete: false,
            unix_millis: 250,
            data: b"17".to_vec(),
        };
        assert_eq!(hex(&checkpoint.encode()), "000309000000000000e03f00fa023137");
        assert_eq!(CheckpointRow::decode(&checkpoint.encode()).unwrap(), checkpoint);

        assert_eq!(checkpoint_key("import", "a"), b"import\0a");
    }
}
