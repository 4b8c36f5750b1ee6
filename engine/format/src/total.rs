//! Totals (table `totals`), and the host's settings for artifacts (table `settings`).

use serde::{Deserialize, Serialize};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::codec::{self, coded};

/// The subject of a row of table `totals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalKey<'a> {
    /// The content store: a [`StoredTotal`].
    Stored,
    /// All artifacts: a [`CatalogueRow`].
    Catalogue,
    /// The artifacts of a spec: a [`TotalRow`].
    Spec(&'a str),
    /// The artifacts of a type: a [`TotalRow`].
    Kind(&'a str),
}

impl<'a> TotalKey<'a> {
    pub fn encode(self) -> Vec<u8> {
        let (tag, name) = match self {
            Self::Stored => (0, ""),
            Self::Catalogue => (1, ""),
            Self::Spec(name) => (2, name),
            Self::Kind(name) => (3, name),
        };
        let mut key = vec![tag];
        key.extend_from_slice(name.as_bytes());
        key
    }

    pub fn decode(key: &'a [u8]) -> Result<Self> {
        let corrupt = || {
            Error::new(ErrorKind::Corrupt, "read total")
                .with_reason(Reason::RowDamaged)
                .with_detail("key is malformed")
        };
        let (tag, name) = key.split_first().ok_or_else(corrupt)?;
        let name = std::str::from_utf8(name).map_err(|_| corrupt())?;
        match (tag, name) {
            (0, "") => Ok(Self::Stored),
            (1, "") => Ok(Self::Catalogue),
            (2, name) => Ok(Self::Spec(name)),
            (3, name) => Ok(Self::Kind(name)),
            _ => Err(corrupt()),
        }
    }
}

/// The bytes in the content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredTotal {
    V0 {
        /// Bytes of chunks in state.
        state_bytes: u64,
        /// Bytes of existing packs.
        pack_bytes: u64,
    },
}

/// The totals of all artifacts of the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogueRow {
    V0 {
        versions: u64,
        /// Sum of the lengths of their contents.
        bytes: u64,
        next_arrival: u64,
        /// Latest put time of a version, after any deletion or clock change.
        newest_unix_millis: u64,
    },
}

/// The totals of the artifacts of a spec or of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TotalRow {
    V0 { versions: u64, bytes: u64 },
}

/// The host's settings for artifacts (table `settings`, key [`ARTIFACT_SETTINGS`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArtifactSettingsRow {
    V0 {
        quota: Option<QuotaFields>,
        /// Retention of each type in milliseconds; `None` for ever. Sorted.
        retention: Vec<(String, Option<u64>)>,
    },
}

/// The limit for the content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaFields {
    pub bytes: u64,
    pub warn_percent: u8,
}

pub const ARTIFACT_SETTINGS: &[u8] = b"artifacts";

coded! {
    StoredTotal: "read total";
    CatalogueRow: "read total";
    TotalRow: "read total";
    ArtifactSettingsRow: "read settings";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let stored = StoredTotal::V0 { state_bytes: 7, pack_bytes: 300 };
        assert_eq!(hex(&stored.encode()), "0007fb2c01");
        assert_eq!(StoredTotal::decode(&stored.encode()).unwrap(), stored);
        let catalogue =
            CatalogueRow::V0 { versions: 2, bytes: 300, next_arrival: 9, newest_unix_millis: 250 };
        assert_eq!(hex(&catalogue.encode()), "0002fb2c0109fa");
        assert_eq!(CatalogueRow::decode(&catalogue.encode()).unwrap(), catalogue);
        let total = TotalRow::V0 { versions: 2, bytes: 300 };
        assert_eq!(hex(&total.encode()), "0002fb2c01");
        assert_eq!(TotalRow::decode(&total.encode()).unwrap(), total);
        let settings = ArtifactSettingsRow::V0 {
            quota: Some(QuotaFields { bytes: 300, warn_percent: 80 }),
            retention: vec![("log".into(), Some(7)), ("x".into(), None)],
        };
        assert_eq!(hex(&settings.encode()), "0001fb2c015002036c6f670107017800");
        assert_eq!(ArtifactSettingsRow::decode(&settings.encode()).unwrap(), settings);

        for key in
            [TotalKey::Stored, TotalKey::Catalogue, TotalKey::Spec("s"), TotalKey::Kind("log")]
        {
            assert_eq!(TotalKey::decode(&key.encode()).unwrap(), key);
        }
        assert_eq!(TotalKey::Kind("log").encode(), b"\x03log");
        for bad in [&b""[..], b"\0x", b"\x09s", b"\x02\xff"] {
            assert_eq!(TotalKey::decode(bad).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
