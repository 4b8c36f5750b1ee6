//! The rows of tables `operations`, `checkpoints` and `history`; the keys of those and of
//! `unfinished`.

use serde::{Deserialize, Serialize};
use strongroom_base::Result;
use uuid::Uuid;

use super::codec;

/// Ids that begin so are the engine's own: hosts see such operations, and cannot touch them. They
/// have no history, are not in table `unfinished`, and no event or statistic tells of them.
pub const OWN_OPERATION_PREFIX: &str = "strongroom.";

/// A resumable piece of work (table `operations`, by id).
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

/// What the newest version of an operation's row holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFields {
    pub state: OperationState,
    /// Paused by somebody, and not by the end of a runner.
    pub held: bool,
    /// What kind of work it is; without one the id stands for it.
    pub name: Option<String>,
    /// Of the program that wrote the checkpoints, as the host counts.
    pub version: u32,
    /// The session of the vault whose process owns it.
    pub owner: Uuid,
    /// Raised by every begin, resume and take-over; a commit under an older one is refused.
    pub generation: u64,
    /// Starts since the last checkpoint.
    pub attempts: u32,
    pub created_unix_millis: u64,
    pub updated_unix_millis: u64,
    pub lanes: u32,
    /// Lanes that are not yet complete; at 0 the operation is.
    pub lanes_open: u32,
    /// Checkpoints kept of each lane, the latest among them.
    pub checkpoints_kept: u16,
    pub retry: RetryRow,
    pub metadata: Vec<(String, String)>,
    pub failure: Option<FailureRow>,
}

/// How often an operation is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRow {
    /// Starts without a checkpoint; 0 for no limit.
    pub attempts_max: u32,
    pub backoff_first_millis: u64,
    pub backoff_max_millis: u64,
}

/// How an operation failed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    pub unix_millis: u64,
    pub text: String,
}

/// Where an operation stands. Append only.
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
    /// Whether nothing is left to do: it is not in table `unfinished`.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

impl OperationFields {
    pub fn encode(self) -> Vec<u8> {
        codec::encode(&OperationRow::V1(self))
    }

    /// The fields of a row of any version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match codec::decode("read operation row", bytes)? {
            OperationRow::V1(fields) => Ok(fields),
            // What a program of that version did not write counts as it then was.
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

/// Where a lane stands (table `checkpoints`, by [`checkpoint_key`]). A lane without a checkpoint
/// yet has a row with `sequence` 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CheckpointRow {
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
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode("read checkpoint row", bytes)
    }
}

/// Operation id, a zero byte (which no id contains), lane.
pub fn checkpoint_key(operation: &str, lane: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(operation.len() + 1 + lane.len());
    key.extend_from_slice(operation.as_bytes());
    key.push(0);
    key.extend_from_slice(lane.as_bytes());
    key
}

/// Operation id, a zero byte, lane, a zero byte, place in the lane's ring (table `history`, of
/// [`CheckpointRow`]s). A lane has `checkpoints_kept - 1` places.
pub fn history_key(operation: &str, lane: &str, place: u16) -> Vec<u8> {
    let mut key = checkpoint_key(operation, lane);
    key.push(0);
    key.extend_from_slice(&place.to_be_bytes());
    key
}

/// From the first key of an operation's lanes on, in tables `checkpoints` and `history`; up to and
/// without the second.
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
