//! The properties of a version of an artifact.

use std::fmt;

use strongroom_base::Result;

use super::name::{ArtifactName, ArtifactUri};
use strongroom_format::{ContentRef, VersionRow, split_key};

/// A version of an artifact, at the time of the call.
#[derive(Clone, PartialEq, Eq)]
pub struct ArtifactInfo {
    pub(super) uri: ArtifactUri,
    pub(super) content: ContentRef,
    checksum: [u8; 32],
    pub(super) created_unix_millis: u64,
    pub(super) arrival: u64,
    pub(super) kept_from_unix_millis: u64,
    mime: Option<String>,
    tags: Vec<String>,
    metadata: Vec<(String, String)>,
}

impl fmt::Debug for ArtifactInfo {
    /// Tags and metadata are omitted: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactInfo")
            .field("uri", &self.uri)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl ArtifactInfo {
    /// Returns its URI, with its number.
    pub fn uri(&self) -> &ArtifactUri {
        &self.uri
    }

    /// Returns the length of its content in bytes.
    pub fn len(&self) -> u64 {
        self.content.len
    }

    /// Returns whether its content has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the BLAKE3 hash of its content.
    pub fn checksum(&self) -> &[u8; 32] {
        &self.checksum
    }

    /// Returns the time of the put, in milliseconds since the Unix epoch.
    pub fn created_unix_millis(&self) -> u64 {
        self.created_unix_millis
    }

    /// Returns the MIME type of its content, if one was set.
    pub fn mime(&self) -> Option<&str> {
        self.mime.as_deref()
    }

    /// Returns its tags, sorted.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns the host's metadata pairs, by key.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Decodes a version's row of table `artifacts`.
    pub(super) fn decode(key: &[u8], row: &[u8]) -> Result<Self> {
        let ([spec, task, kind], version) = split_key(key)?;
        let name =
            ArtifactName { spec: spec.to_owned(), task: task.to_owned(), kind: kind.to_owned() };
        let VersionRow::V0 {
            content,
            checksum,
            created_unix_millis,
            kept_from_unix_millis,
            arrival,
            mime,
            tags,
            metadata,
        } = VersionRow::decode(row)?;
        let uri = ArtifactUri { name, version };
        Ok(Self {
            uri,
            content,
            checksum,
            created_unix_millis,
            arrival,
            kept_from_unix_millis,
            mime,
            tags,
            metadata,
        })
    }
}
