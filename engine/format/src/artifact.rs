//! Rows of artifacts.
//!
//! Table `artifacts` has the artifacts and versions, `found_by` the search groups of versions, and
//! `arrivals` the keys of versions in the order of their arrival.

use serde::{Deserialize, Serialize};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::chunk::ContentRef;
use super::codec::{self, coded};

/// An artifact (key of [`artifact_key`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArtifactRow {
    V0 {
        /// Number of the next version. Numbers are never reused, so the row stays after all
        /// versions are deleted.
        next_version: u64,
        versions: u32,
    },
}

/// A version of an artifact (key of [`version_key`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionRow {
    V0 {
        content: ContentRef,
        /// BLAKE3 of the content.
        checksum: [u8; 32],
        created_unix_millis: u64,
        /// Start of its retention, never before that of earlier versions.
        kept_from_unix_millis: u64,
        /// Position among all versions of the vault, by arrival.
        arrival: u64,
        mime: Option<String>,
        /// Sorted, without duplicates.
        tags: Vec<String>,
        metadata: Vec<(String, String)>,
    },
}

coded! {
    ArtifactRow: "read artifact row";
    VersionRow: "read version row";
}

/// Length of the group in a [`FoundBy`] key.
const GROUP_BYTES: usize = 16;

/// A key of table `found_by`: a group of versions, then their arrival. Rows are empty.
///
/// A group is all versions with the same spec, task, type and tag, or with some of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundBy {
    pub group: [u8; GROUP_BYTES],
    pub at: Arrival,
}

/// The arrival of a version: its time and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    pub unix_millis: u64,
    pub number: u64,
}

impl FoundBy {
    /// Returns the group of versions with these names and that tag; omitted ones match all.
    ///
    /// A hash of 128 bits, because names are long and each version is in 8 groups, and 8 more for
    /// each tag.
    pub fn group(names: [Option<&str>; 3], tag: Option<&str>) -> [u8; GROUP_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for name in names.into_iter().chain([tag]) {
            // One more than the length, because 0 means that the name is omitted.
            let len = name.map_or(0, |name| name.len() as u64 + 1);
            hasher.update(&len.to_le_bytes());
            hasher.update(name.unwrap_or_default().as_bytes());
        }
        let mut group = [0; GROUP_BYTES];
        hasher.finalize_xof().fill(&mut group);
        group
    }

    pub fn encode(self) -> [u8; GROUP_BYTES + 16] {
        let mut key = [0; GROUP_BYTES + 16];
        key[..GROUP_BYTES].copy_from_slice(&self.group);
        key[GROUP_BYTES..][..8].copy_from_slice(&self.at.unix_millis.to_be_bytes());
        key[GROUP_BYTES + 8..].copy_from_slice(&self.at.number.to_be_bytes());
        key
    }

    pub fn decode(key: &[u8]) -> Result<Self> {
        let corrupt = || {
            Error::new(ErrorKind::Corrupt, "read artifact row")
                .with_reason(Reason::RowDamaged)
                .with_detail("key is malformed")
        };
        let (group, at) = key.split_first_chunk().ok_or_else(corrupt)?;
        let (unix_millis, number) = at.split_first_chunk().ok_or_else(corrupt)?;
        let at = Arrival {
            unix_millis: u64::from_be_bytes(*unix_millis),
            number: u64::from_be_bytes(number.try_into().map_err(|_| corrupt())?),
        };
        Ok(Self { group: *group, at })
    }
}

/// Returns spec, task and type, each followed by a zero byte.
///
/// None of them contains a zero byte.
pub fn artifact_key(spec: &str, task: &str, kind: &str) -> Vec<u8> {
    artifacts_prefix(&[spec, task, kind])
}

/// Returns the key prefix of all artifacts with these first names.
pub fn artifacts_prefix(names: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    for name in names {
        key.extend_from_slice(name.as_bytes());
        key.push(0);
    }
    key
}

/// Returns the artifact's key, then the version's number, big-endian.
pub fn version_key(artifact: &[u8], version: u64) -> Vec<u8> {
    [artifact, &version.to_be_bytes()].concat()
}

/// Splits a key into names, and the version if it has one.
pub fn split_key(key: &[u8]) -> Result<([&str; 3], Option<u64>)> {
    let corrupt = || {
        Error::new(ErrorKind::Corrupt, "read artifact row")
            .with_reason(Reason::RowDamaged)
            .with_detail("key is malformed")
    };
    let mut rest = key;
    let mut names = [""; 3];
    for name in &mut names {
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(corrupt)?;
        *name = std::str::from_utf8(&rest[..end]).map_err(|_| corrupt())?;
        rest = &rest[end + 1..];
    }
    let version = match rest.len() {
        0 => None,
        8 => Some(u64::from_be_bytes(rest.try_into().expect("eight bytes"))),
        _ => return Err(corrupt()),
    };
    Ok((names, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChunkId;
    use crate::codec::hex;

    #[test]
    fn golden_bytes() {
        let artifact = ArtifactRow::V0 { next_version: 300, versions: 2 };
        assert_eq!(hex(&artifact.encode()), "00fb2c0102");
        assert_eq!(ArtifactRow::decode(&artifact.encode()).unwrap(), artifact);

        let content = ContentRef { len: 300, root: ChunkId([7; 32]), height: 1 };
        let version = VersionRow::V0 {
            content,
            checksum: [9; 32],
            created_unix_millis: 250,
            kept_from_unix_millis: 251,
            arrival: 8,
            mime: Some("a/b".into()),
            tags: vec!["t".into()],
            metadata: vec![("k".into(), "v".into())],
        };
        let (root, checksum) = ("07".repeat(32), "09".repeat(32));
        assert_eq!(
            hex(&version.encode()),
            format!("00fb2c01{root}01{checksum}fafbfb00080103612f6201017401016b0176")
        );
        assert_eq!(VersionRow::decode(&version.encode()).unwrap(), version);

        let at = Arrival { unix_millis: 258, number: 3 };
        let group = FoundBy::group([Some("s"), None, Some("log")], Some("t"));
        let found = FoundBy { group, at };
        assert_eq!(
            hex(&found.encode()),
            "a87b0f1a47897590eed1170d27497e0c00000000000001020000000000000003"
        );
        assert_eq!(FoundBy::decode(&found.encode()).unwrap(), found);
        assert_eq!(FoundBy::decode(&[0; 31]).unwrap_err().kind(), ErrorKind::Corrupt);
        // An omitted name differs from an empty one, and each name has its own position.
        let groups = [
            FoundBy::group([Some("a"), Some("b"), None], None),
            FoundBy::group([Some("ab"), None, None], None),
            FoundBy::group([Some("a"), None, Some("b")], None),
            FoundBy::group([Some("a"), None, None], Some("b")),
        ];
        assert!(groups.iter().enumerate().all(|(n, group)| !groups[..n].contains(group)));

        let key = artifact_key("s", "1.1", "log");
        assert_eq!(key, b"s\x001.1\0log\0");
        let key = version_key(&key, 258);
        assert_eq!(key, b"s\x001.1\0log\0\0\0\0\0\0\0\x01\x02");
        assert_eq!(split_key(&key).unwrap(), (["s", "1.1", "log"], Some(258)));
        assert_eq!(split_key(b"s\x001.1\0log\0").unwrap(), (["s", "1.1", "log"], None));
        for bad in [&b""[..], b"s\0", b"s\0t\0k\0\0", b"s\0t\0k"] {
            assert_eq!(split_key(bad).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
