//! Storing an artifact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::catalogue::{NewVersion, add_version, newest_version};
use super::delete::drop_some;
use super::lease::{self, Grant};
use super::name::{ArtifactName, ArtifactUri};
use super::read::find;
use super::usage::read_settings;
use crate::records::check_name;
use strongroom_base::LongCall;
use strongroom_content::StoredContent;
use strongroom_store::commit::Tx;

const PUT: &str = "put artifact";

/// Most replaced versions that the replacing commit deletes.
///
/// Puts of others may share that commit.
const REPLACED_PER_COMMIT: usize = 16;

/// Most tags of a version.
pub const TAGS_MAX: usize = 64;

/// Longest metadata of a version, in bytes of all keys and values.
pub const ARTIFACT_METADATA_BYTES_MAX: usize = 16_384;

/// The behaviour of a put if the artifact has a version already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// Adds a version with the next number.
    #[default]
    AddVersion,
    /// Adds a version with the next number, and deletes all others.
    ///
    /// If there are more than 16 others, the rest is deleted right after the commit.
    Replace,
    /// Refuses the put: `AlreadyExists`.
    Refuse,
}

/// A new version: the artifact's name and its properties.
#[derive(Clone)]
pub struct ArtifactSpec {
    name: ArtifactName,
    mime: Option<String>,
    tags: BTreeSet<String>,
    metadata: BTreeMap<String, String>,
    on_existing: OnExisting,
    size: Option<u64>,
}

impl fmt::Debug for ArtifactSpec {
    /// Tags and metadata are omitted: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactSpec")
            .field("name", &self.name)
            .field("on_existing", &self.on_existing)
            .finish_non_exhaustive()
    }
}

impl ArtifactSpec {
    /// Describes a version of the artifact `name`.
    pub fn new(name: ArtifactName) -> Self {
        let (tags, metadata) = (BTreeSet::new(), BTreeMap::new());
        Self { name, mime: None, tags, metadata, on_existing: OnExisting::default(), size: None }
    }

    /// Sets the MIME type of the content; 1 to 128 bytes.
    pub fn mime(mut self, mime: impl Into<String>) -> Self {
        self.mime = Some(mime.into());
        self
    }

    /// Adds a tag, 1 to 128 bytes; at most [`TAGS_MAX`].
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Adds a metadata pair; at most [`ARTIFACT_METADATA_BYTES_MAX`] in total.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets the behaviour if the artifact has a version already; the default adds one.
    pub fn on_existing(mut self, on_existing: OnExisting) -> Self {
        self.on_existing = on_existing;
        self
    }

    /// Sets the length of the source in bytes, if it is known.
    ///
    /// A put that exceeds the quota is then refused before the first byte is read. A source with
    /// another length is `Invalid`.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    fn validate(&self) -> Result<()> {
        let invalid = |detail| Err(Error::new(ErrorKind::Invalid, PUT).with_detail(detail));
        if let Some(mime) = &self.mime {
            check_name(PUT, "MIME type", mime)?;
        }
        check_tags(PUT, &self.tags)?;
        let bytes: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ARTIFACT_METADATA_BYTES_MAX {
            return invalid(format!(
                "metadata has {bytes} bytes, the limit is {ARTIFACT_METADATA_BYTES_MAX}"
            ));
        }
        Ok(())
    }
}

/// Returns `Invalid` for tags beyond their limits.
pub(super) fn check_tags(operation: &'static str, tags: &BTreeSet<String>) -> Result<()> {
    tags.iter().try_for_each(|tag| check_name(operation, "tag", tag))?;
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, operation)
        .with_detail(format!("{} tags, the limit is {TAGS_MAX}", tags.len())))
}

impl Artifacts {
    /// Stores all of `source` as a version of an artifact; returns the URI of that version.
    ///
    /// Durable on return: content, row, tags and totals are committed together or not at all.
    ///
    /// Existing chunks are not stored again, whatever they belong to. After a crash, repeat the
    /// same put: it stores only the rest, and again at most two packs (32 MiB), or five on a remote
    /// backend. If `source` fails, nothing is stored, and the next [`gc`](crate::Vault::gc) frees
    /// its chunks.
    ///
    /// One put of an artifact runs at a time. Others wait for its lease before they read their
    /// sources ([`LeasePolicy`], `Locked` after 30 s by default). `Conflict` if the lease was taken
    /// away meanwhile.
    ///
    /// Before anything is read: `Invalid` for tags or metadata beyond their limits, `AlreadyExists`
    /// according to [`OnExisting::Refuse`], `Full` if a source of known [size](ArtifactSpec::size)
    /// exceeds the [quota](Self::set_quota). A source of unknown size is `Full` when it exceeds the
    /// quota.
    ///
    /// [`LeasePolicy`]: crate::artifacts::LeasePolicy
    pub fn put(&self, spec: ArtifactSpec, source: impl Read) -> Result<ArtifactUri> {
        self.put_with(spec, source, LongCall::new())
    }

    /// Does the same with progress and cancellation. Progress is the bytes read so far.
    pub fn put_with(
        &self,
        spec: ArtifactSpec,
        source: impl Read,
        call: LongCall<'_>,
    ) -> Result<ArtifactUri> {
        let _span = tracing::debug_span!("put artifact").entered();
        let name = spec.name.clone();
        let put = || {
            let (lease, limit) = self.admit(&spec)?;
            let size = spec.size;
            let upload = self.room.content.upload(limit, size)?;
            let mut source = SizedSource { source, size, read: 0, lease: lease.as_ref() };
            let stored = upload.store(&mut source, size, call)?;
            let on_existing = spec.on_existing;
            let version = self.commit_version(spec, stored, lease.clone())?;
            // The version is committed, even if the rest fails.
            if on_existing == OnExisting::Replace
                && let Err(error) = self.drop_before(&name, version, lease.as_ref())
            {
                tracing::warn!(error = %error.kind(), "some replaced versions were not deleted");
            }
            if let Err(error) = self.warn_if_filling(limit) {
                tracing::debug!(error = %error.kind(), "usage was not read");
            }
            Ok(name.version(version))
        };
        put().map_err(|e: Error| e.or_subject(name.newest()))
    }

    /// Checks everything that can be checked before the source is read.
    ///
    /// Returns the lease of the artifact, and the most bytes that the store may use.
    fn admit(&self, spec: &ArtifactSpec) -> Result<(Option<Arc<Grant>>, Option<u64>)> {
        spec.validate()?;
        self.core().refuse_nested_write(PUT)?;
        let lease = self.lease_for(&spec.name, PUT)?;
        let view = self.core().read()?;
        if spec.on_existing == OnExisting::Refuse && find(&view, &spec.name.newest())?.is_some() {
            return Err(exists(&spec.name));
        }
        let quota = read_settings(view.state())?.0;
        Ok((lease, quota.map(|quota| quota.bytes)))
    }

    /// Commits a stored content as a version; returns its number.
    fn commit_version(
        &self,
        spec: ArtifactSpec,
        stored: StoredContent,
        lease: Option<Arc<Grant>>,
    ) -> Result<u64> {
        let ArtifactSpec { name, mime, tags, metadata, on_existing, .. } = spec;
        let of = name.clone();
        let check = move |tx: &Tx<'_>| {
            lease::check(lease.as_ref(), PUT)?;
            if on_existing == OnExisting::Refuse && newest_version(tx, &of)?.is_some() {
                return Err(exists(&of));
            }
            Ok(())
        };
        let new = NewVersion {
            content: stored.content(),
            checksum: stored.checksum(),
            mime,
            tags: tags.into_iter().collect(),
            metadata: metadata.into_iter().collect(),
        };
        let room = Arc::clone(&self.room);
        let add = move |tx: &mut Tx<'_>| {
            let version = add_version(tx, &room.retention_clock, &name, new)?;
            if on_existing == OnExisting::Replace {
                drop_some(tx, &room.retention_clock, &name, version, REPLACED_PER_COMMIT)?;
            }
            Ok(version)
        };
        stored.commit(PUT, check, add)
    }
}

fn exists(name: &ArtifactName) -> Error {
    Error::new(ErrorKind::AlreadyExists, PUT)
        .with_reason(Reason::ArtifactExists)
        .with_subject(name.newest())
}

/// A source with a known size, if one was set. Reading it renews the lease.
struct SizedSource<'a, R> {
    source: R,
    size: Option<u64>,
    read: u64,
    lease: Option<&'a Arc<Grant>>,
}

impl<R: Read> Read for SizedSource<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.source.read(buffer)?;
        self.read += taken as u64;
        let is_end = taken == 0 && !buffer.is_empty();
        if let Some(size) = self.size
            && (self.read > size || (is_end && self.read < size))
        {
            let fault = if is_end { "ends before" } else { "continues after" };
            return Err(Error::new(ErrorKind::Invalid, PUT)
                .with_detail(format!("the source {fault} the announced {size} bytes"))
                .into());
        }
        self.lease.map_or(Ok(()), |grant| grant.renew(PUT))?;
        Ok(taken)
    }
}
