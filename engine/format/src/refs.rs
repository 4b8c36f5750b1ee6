//! Refs: named values on a backend that change by compare-and-set, and the owner ref among them.
//!
//! A ref's object is nonce 24, ciphertext, tag 16. Its plaintext is the length of the row (u32 LE),
//! the row, and zeros up to a multiple of [`REF_PLAIN_STEP_BYTES`].

use serde::{Deserialize, Serialize};
use strongroom_base::{Key, Result};
use uuid::Uuid;

use super::codec::{self, coded};

/// Prefix of the keys of all refs on a backend.
pub(crate) const REFS_PREFIX: &str = "refs/";
/// Step of a sealed row's length, which hides its exact length.
pub const REF_PLAIN_STEP_BYTES: usize = 512;
/// Number of attempts that a ref remembers.
pub const REF_ATTEMPTS_MAX: usize = 16;

/// Key of the [`OwnerRow`] in table `meta`.
pub const META_OWNER: &[u8] = b"owner";

/// A ref's name on the backend: a keyed hash of its plain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefName(pub [u8; 16]);

impl RefName {
    pub fn key(self) -> Key {
        let name = format!("{REFS_PREFIX}{:032x}", u128::from_be_bytes(self.0));
        Key::new(name).expect("hex digits are a key")
    }
}

/// One attempt to move a ref; drawn for each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptId(pub [u8; 16]);

/// The contents of a ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefRow {
    V0 {
        /// Number of moves, including the creation.
        generation: u64,
        /// The attempts that moved it, newest first; at most [`REF_ATTEMPTS_MAX`].
        attempts: Vec<AttemptId>,
        value: Vec<u8>,
    },
}

/// The ownership token of one open of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Drawn at creation and by every take-over.
    pub lineage: Uuid,
    /// Drawn at every open.
    pub session: Uuid,
}

/// The value of the owner ref: the session that owns the vault's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerRefRow {
    V0 {
        vault: Uuid,
        claim: Claim,
        /// Set after that session has closed the vault.
        closed: bool,
        host: String,
        boot_id: String,
        pid_namespace: String,
        pid: u32,
        process_start: u64,
        /// Identity of the lock file that the process had for its state; empty if it had none.
        place: String,
        operation: String,
        since_unix_millis: u64,
    },
}

/// The state's knowledge of the owner ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerRow {
    V0 {
        /// The owner ref's token, and those that may have replaced it.
        ///
        /// This state was about to put the latter.
        ///
        /// The ref has one of them, unless another state was used.
        known: Vec<Claim>,
        /// The token of the last session's close.
        ///
        /// The session put it, or was about to. That session has ended.
        closing: Option<Claim>,
        /// Time at which this state took the content over from another.
        taken_over_unix_millis: Option<u64>,
    },
}

coded! {
    RefRow: "read ref";
    OwnerRefRow: "read owner ref";
    OwnerRow: "read owner row";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let row = RefRow::V0 {
            generation: 3,
            attempts: vec![AttemptId([7; 16]), AttemptId([8; 16])],
            value: b"to".to_vec(),
        };
        let golden = "000302070707070707070707070707070707070808080808080808080808080808080802746f";
        assert_eq!(hex(&row.encode()), golden);
        assert_eq!(RefRow::decode(&row.encode()).unwrap(), row);

        let claim =
            Claim { lineage: Uuid::from_bytes([1; 16]), session: Uuid::from_bytes([2; 16]) };
        let owner = OwnerRefRow::V0 {
            vault: Uuid::from_bytes([3; 16]),
            claim,
            closed: true,
            host: "h".into(),
            boot_id: "b".into(),
            pid_namespace: "n".into(),
            pid: 7,
            process_start: 9,
            place: "p".into(),
            operation: "o".into(),
            since_unix_millis: 250,
        };
        let golden = "001003030303030303030303030303030303100101010101010101010101010101010110020202020202020202020202020202020101680162016e07090170016ffa";
        assert_eq!(hex(&owner.encode()), golden);
        assert_eq!(OwnerRefRow::decode(&owner.encode()).unwrap(), owner);

        let row =
            OwnerRow::V0 { known: vec![claim], closing: None, taken_over_unix_millis: Some(250) };
        let golden =
            "0001100101010101010101010101010101010110020202020202020202020202020202020001fa";
        assert_eq!(hex(&row.encode()), golden);
        assert_eq!(OwnerRow::decode(&row.encode()).unwrap(), row);
        assert_eq!(RefName([10; 16]).key().as_str(), "refs/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a");
    }
}
