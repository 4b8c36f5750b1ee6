//! Reading artifacts and their properties, from snapshots, without any lock.

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;

use bytes::Bytes;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::catalogue::key_of;
use super::info::ArtifactInfo;
use super::name::ArtifactUri;
use super::scope::{ListQuery, VersionsQuery};
use strongroom_base::LongCall;
use strongroom_content::{Content, ContentReader};
use strongroom_format::{artifacts_prefix, split_key, version_key};
use strongroom_store::commit::View;
use strongroom_store::state::{KeySpan, Table};

const READ: &str = "read artifact";
const COPY: &str = "write copy of artifact";

/// Most bytes that [`Artifacts::copy_to`] writes at once.
const COPY_BYTES: usize = 256 << 10;

/// Most bytes that [`Artifacts::read`] reserves before reading.
const READ_RESERVED_MAX: u64 = 64 << 20;

/// A stream over a version of an artifact, in bounded memory; forward, and to any position.
///
/// It takes no lock and never waits for a writer. It shows the version as it was when it was
/// opened, despite later puts and deletions, and its content is not freed before it is dropped. Its
/// errors contain the vault's [`Error`]: `Corrupt` for content that differs from what was put. No
/// byte of a damaged chunk is returned.
pub struct ArtifactReader {
    info: ArtifactInfo,
    content: ContentReader,
}

impl fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactReader").field("info", &self.info).finish_non_exhaustive()
    }
}

impl ArtifactReader {
    /// Makes the reader of a version in the view.
    pub(super) fn new(store: &Content, view: &View, info: ArtifactInfo) -> Self {
        let content = ContentReader::new(store.pinned(view), info.content);
        Self { info, content }
    }

    /// Returns the properties of the version.
    pub fn info(&self) -> &ArtifactInfo {
        &self.info
    }
}

impl Read for ArtifactReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.content.read(buffer).map_err(|e| damaged(e, &self.info.uri).into())
    }
}

impl Seek for ArtifactReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.content.seek(to)
    }
}

impl Artifacts {
    /// Returns the properties of a version.
    ///
    /// Without a number in the URI, it is the newest.
    ///
    /// `NotFound` if it does not exist.
    pub fn info(&self, uri: &ArtifactUri) -> Result<ArtifactInfo> {
        find(&self.core().read()?, uri)?.ok_or_else(|| not_found(uri))
    }

    /// Returns whether the artifact, or the version of it, exists.
    pub fn exists(&self, uri: &ArtifactUri) -> Result<bool> {
        Ok(find(&self.core().read()?, uri)?.is_some())
    }

    /// Opens a version, the newest if the URI has no number. `NotFound` if it does not exist.
    pub fn open(&self, uri: &ArtifactUri) -> Result<ArtifactReader> {
        let snapshot = self.core().read()?;
        let info = find(&snapshot, uri)?.ok_or_else(|| not_found(uri))?;
        Ok(ArtifactReader::new(&self.room.content, &snapshot, info))
    }

    /// Reads all bytes of a version into memory.
    ///
    /// For a long one prefer [`open`](Self::open) or [`copy_to`](Self::copy_to).
    pub fn read(&self, uri: &ArtifactUri) -> Result<Bytes> {
        let mut reader = self.open(uri)?;
        reader.content.expect_all();
        let room = usize::try_from(reader.info.len().min(READ_RESERVED_MAX)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(room);
        reader.read_to_end(&mut bytes).map_err(|e| Error::io(READ, e))?;
        Ok(bytes.into())
    }

    /// Writes all bytes of a version to `to`, in bounded memory; returns its properties.
    ///
    /// `to` is flushed at the end. Progress is the bytes written so far. After an error some of the
    /// bytes are written, but none of a damaged chunk. An error of `to` keeps its kind. For parts
    /// of the content use [`open`](Self::open) and seek.
    pub fn copy_to(
        &self,
        uri: &ArtifactUri,
        mut to: impl Write,
        call: LongCall<'_>,
    ) -> Result<ArtifactInfo> {
        let mut reader = self.open(uri)?;
        reader.content.expect_all();
        let (mut buffer, mut done) = (vec![0; COPY_BYTES], 0);
        loop {
            call.check(READ)?;
            let read = reader.read(&mut buffer).map_err(|e| Error::io(READ, e))?;
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read]).map_err(|e| Error::io(COPY, e))?;
            done += read as u64;
            call.report(done, Some(reader.info.len()));
        }
        to.flush().map_err(|e| Error::io(COPY, e))?;
        Ok(reader.info)
    }

    /// Returns versions of an artifact, newest first; none if it does not exist.
    pub fn versions(&self, query: &VersionsQuery) -> Result<Vec<ArtifactInfo>> {
        let snapshot = self.core().read()?;
        let artifact = key_of(&query.name);
        let lower = version_key(&artifact, 0);
        let upper = version_key(&artifact, query.before.unwrap_or(u64::MAX));
        let span = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
        let rows = snapshot.state().range(Table::Artifacts, span)?.rev();
        rows.take(query.limit)
            .map(|entry| {
                let entry = entry?;
                ArtifactInfo::decode(entry.key.as_slice(), entry.row.as_slice())
            })
            .collect()
    }

    /// Returns versions in order of spec, task, type and number. A page shorter than its limit is
    /// the last one.
    pub fn list(&self, query: &ListQuery) -> Result<Vec<ArtifactInfo>> {
        let span = NameSpan::new(&query.scope.names("list artifacts")?);
        let after = query.after.as_ref();
        let behind =
            after.map(|uri| version_key(&key_of(&uri.name), uri.version.unwrap_or(u64::MAX)));
        let snapshot = self.core().read()?;
        let mut page = Vec::new();
        let Some(bounds) = span.behind(behind.as_deref()) else { return Ok(page) };
        for entry in snapshot.state().range(Table::Artifacts, bounds)? {
            let entry = entry?;
            if page.len() == query.limit {
                break;
            }
            if split_key(entry.key.as_slice())?.1.is_some() {
                page.push(ArtifactInfo::decode(entry.key.as_slice(), entry.row.as_slice())?);
            }
        }
        Ok(page)
    }
}

fn not_found(uri: &ArtifactUri) -> Error {
    Error::new(ErrorKind::NotFound, READ).with_reason(Reason::ArtifactMissing).with_subject(uri)
}

/// Adds the artifact to a content error.
///
/// That error names only an object.
fn damaged(error: std::io::Error, uri: &ArtifactUri) -> Error {
    let inner = Error::io(READ, error);
    let reason = match inner.kind() {
        ErrorKind::Corrupt => Some(Reason::ArtifactDamaged),
        _ => inner.reason(),
    };
    let error = Error::new(inner.kind(), READ).with_subject(uri).with_source(inner);
    match reason {
        Some(reason) => error.with_reason(reason),
        None => error,
    }
}

pub(super) fn find(snapshot: &View, uri: &ArtifactUri) -> Result<Option<ArtifactInfo>> {
    let artifact = key_of(&uri.name);
    let lower = version_key(&artifact, uri.version.unwrap_or(1));
    let upper = version_key(&artifact, uri.version.unwrap_or(u64::MAX));
    let span = (Bound::Included(&lower[..]), Bound::Included(&upper[..]));
    let newest = snapshot.state().range(Table::Artifacts, span)?.next_back().transpose()?;
    newest.map(|entry| ArtifactInfo::decode(entry.key.as_slice(), entry.row.as_slice())).transpose()
}

/// The keys of all artifacts that begin with certain names.
pub(super) struct NameSpan {
    lower: Vec<u8>,
    /// The first key after them; empty at the end of the table.
    upper: Vec<u8>,
}

impl NameSpan {
    pub(super) fn new(names: &[&str]) -> Self {
        let lower = artifacts_prefix(names);
        let mut upper = lower.clone();
        if let Some(zero) = upper.last_mut() {
            *zero = 1;
        }
        Self { lower, upper }
    }

    /// Returns the keys after a key, if any are possible.
    pub(super) fn behind<'a>(&'a self, behind: Option<&'a [u8]>) -> Option<KeySpan<'a>> {
        let lower = match behind {
            Some(behind) if *behind >= self.lower[..] => Bound::Excluded(behind),
            _ => Bound::Included(&self.lower[..]),
        };
        if self.upper.is_empty() {
            return Some((lower, Bound::Unbounded));
        }
        // redb refuses a span that ends before it begins.
        let is_beyond = behind.is_some_and(|behind| *behind >= self.upper[..]);
        (!is_beyond).then_some((lower, Bound::Excluded(&self.upper[..])))
    }
}
