//! The note of the lock's holder: JSON, so that a person can read it too.

use serde::{Deserialize, Serialize};

/// Longest note that is read, in bytes.
pub const NOTE_BYTES_MAX: u64 = 4_096;

/// The holder of the vault's lock. Unknown fields are ignored, so later versions may add some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderNote {
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    pub process_start: u64,
    pub operation: String,
    pub since_unix_millis: u64,
}

impl HolderNote {
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers")
    }

    /// Decodes a note; `None` if it is torn or foreign, because it only informs.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let note = HolderNote {
            host: "build-7".into(),
            boot_id: "5f0c".into(),
            pid: 4711,
            process_start: 99,
            operation: "open vault".into(),
            since_unix_millis: 250,
        };
        let golden = r#"{"host":"build-7","boot_id":"5f0c","pid":4711,"process_start":99,"operation":"open vault","since_unix_millis":250}"#;
        assert_eq!(note.encode(), golden.as_bytes());
        assert_eq!(HolderNote::decode(golden.as_bytes()), Some(note));
        assert_eq!(HolderNote::decode(&golden.as_bytes()[..40]), None);
    }
}
