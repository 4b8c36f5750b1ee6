//! The rows of tables `operations`, `checkpoints` and `history`, and their keys.

use serde::{Deserialize, Serialize};
use strongroom_base::Result;
use uuid::Uuid;

use super::codec;

/// Prefix of the ids of the engine's own operations.
///
/// Hosts see such operations and cannot change them. They have no history, are not in table
/// `unfinished`, and appear in no event or statistic.
pub const OWN_OPERATION_PREFIX: &str = "strongroom.";

/// An operation (table `operations`, by id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OperationRow {
    V0 {
        state: OperationState,
        owner: Uuid,
        generation: u64,
        created_unix_millis: u64,
        updated_unix_millis: u64,
        lanes: u32,
        lanes_open: u32,
    },
    V1(OperationFields),
}

/// The fields of an operation's row in its newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFields {
    pub state: OperationState,
    /// Paused on request, and not by the end of a runner.
    pub held: bool,
    /// Type of work; without a name the id is used.
    pub name: Option<String>,
    /// Version of the host's checkpoints.
    pub version: u32,
    /// The session that owns the operation.
    pub owner: Uuid,
    /// Raised by every begin, resume and take-over; a commit under an older one is refused.
    pub generation: u64,
    /// Starts since the last checkpoint.
    pub attempts: u32,
    pub created_unix_millis: u64,
    pub updated_unix_millis: u64,
    pub lanes: u32,
    /// Number of incomplete lanes. At 0 the operation is complete.
    pub lanes_open: u32,
    /// Number of checkpoints kept for each lane, including the latest.
    pub checkpoints_kept: u16,
    pub retry: RetryRow,
    pub metadata: Vec<(String, String)>,
    pub failure: Option<FailureRow>,
}

/// The limits of tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRow {
    /// Most starts without a checkpoint; 0 for no limit.
    pub attempts_max: u32,
    pub backoff_first_millis: u64,
    pub backoff_max_millis: u64,
}

/// The latest failure of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    pub unix_millis: u64,
    pub text: String,
}

/// The state of an operation. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationState {
    Running,
    Completed,
    Initialized,
    Recovering,
    Paused,
    Failed,
    Cancelled,
}

impl OperationState {
    /// Returns whether no work remains.
    ///
    /// Table `unfinished` then does not list it.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

impl OperationFields {
    pub fn encode(self) -> Vec<u8> {
        codec::encode(&OperationRow::V1(self))
    }

    /// Decodes a row of any version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match codec::decode("read operation row", bytes)? {
            OperationRow::V1(fields) => Ok(fields),
            // Fields that version 0 did not write get their meaning of that time.
            OperationRow::V0 {
                state,
                owner,
                generation,
                created_unix_millis,
                updated_unix_millis,
                lanes,
                lanes_open,
            } => Ok(Self {
                state,
                held: false,
                name: None,
                version: 0,
                owner,
                generation,
                attempts: 0,
                created_unix_millis,
                updated_unix_millis,
                lanes,
                lanes_open,
                checkpoints_kept: 1,
                retry: RetryRow { attempts_max: 0, backoff_first_millis: 0, backoff_max_millis: 0 },
                metadata: Vec::new(),
                failure: None,
            }),
        }
    }
}

/// The status of a lane (table `checkpoints`, by [`checkpoint_key`]).
///
/// A lane without a checkpoint has a row with `sequence` 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CheckpointRow {
    V0 {
        /// Number of checkpoints of this lane so far.
        sequence: u64,
        /// Orders the checkpoints of all lanes of the operation.
        order: u64,
        /// From 0 to 1.
        progress: f64,
        complete: bool,
        unix_millis: u64,
        data: Vec<u8>,
    },
}

impl CheckpointRow {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read checkpoint row", bytes)
    }
}

/// Returns operation id, a zero byte (which no id contains), lane.
pub fn checkpoint_key(operation: &str, lane: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(operation.len() + 1 + lane.len());
    key.extend_from_slice(operation.as_bytes());
    key.push(0);
    key.extend_from_slice(lane.as_bytes());
    key
}

/// Returns operation id, lane and ring position, separated by zeros.
///
/// The key of a [`CheckpointRow`] in table `history`. A lane has `checkpoints_kept - 1` positions.
pub fn history_key(operation: &str, lane: &str, place: u16) -> Vec<u8> {
    let mut key = checkpoint_key(operation, lane);
    key.push(0);
    key.extend_from_slice(&place.to_be_bytes());
    key
}

/// Returns the span of an operation's lanes in tables `checkpoints` and `history`.
///
/// The first key is included, the second is excluded.
pub fn lanes_span(operation: &str) -> (Vec<u8>, Vec<u8>) {
    let lower = checkpoint_key(operation, "");
    let mut upper = lower.clone();
    *upper.last_mut().expect("ends in a zero byte") = 1;
    (lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

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
            hex(&codec::encode(&operation)),
            "00011030313233343536373839616263646566 02fafbfb000800".replace(' ', "")
        );

        let expected = OperationFields {
            state: OperationState::Completed,
            held: false,
            name: None,
            version: 0,
            owner: Uuid::from_bytes(*b"0123456789abcdef"),
            generation: 2,
            attempts: 0,
            created_unix_millis: 250,
            updated_unix_millis: 251,
            lanes: 8,
            lanes_open: 0,
            checkpoints_kept: 1,
            retry: RetryRow { attempts_max: 0, backoff_first_millis: 0, backoff_max_millis: 0 },
            metadata: Vec::new(),
            failure: None,
        };
        assert_eq!(OperationFields::decode(&codec::encode(&operation)).unwrap(), expected);

        let fields = OperationFields {
            state: OperationState::Failed,
            held: true,
            name: Some("scan".into()),
            version: 3,
            attempts: 2,
            checkpoints_kept: 10,
            retry: RetryRow { attempts_max: 5, backoff_first_millis: 100, backoff_max_millis: 250 },
            metadata: vec![("by".into(), "ada".into())],
            failure: Some(FailureRow { unix_millis: 249, text: "no".into() }),
            ..expected
        };
        let bytes = fields.clone().encode();
        assert_eq!(
            hex(&bytes),
            "01 05 01 01 04 7363616e 03 10 30313233343536373839616263646566 02 02 fa fbfb00 08 00 \
             0a 05 64 fa 01 02 6279 03 616461 01 f9 02 6e6f"
                .replace(' ', "")
        );
        assert_eq!(OperationFields::decode(&bytes).unwrap(), fields);

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
        assert_eq!(history_key("import", "a", 8), b"import\0a\0\0\x08");
    }
}
