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

/// Most versions that go in the commit of the one that replaces them, which others' puts may share.
const REPLACED_PER_COMMIT: usize = 16;

/// Most tags of a version.
pub const TAGS_MAX: usize = 64;

/// Longest metadata of a version, in bytes of all keys and values.
pub const ARTIFACT_METADATA_BYTES_MAX: usize = 16_384;

/// What a put does where the artifact has a version already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// It makes another version, with the next number.
    #[default]
    AddVersion,
    /// It makes a version with the next number in the place of all others. Of more than 16 others the rest
    /// goes right after.
    Replace,
    /// It is refused: `AlreadyExists`.
    Refuse,
}

/// A version to be: the artifact's name, and what is told with it.
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
    /// Neither tags nor metadata: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactSpec")
            .field("name", &self.name)
            .field("on_existing", &self.on_existing)
            .finish_non_exhaustive()
    }
}

impl ArtifactSpec {
    /// A version of the artifact of that name.
    pub fn new(name: ArtifactName) -> Self {
        let (tags, metadata) = (BTreeSet::new(), BTreeMap::new());
        Self { name, mime: None, tags, metadata, on_existing: OnExisting::default(), size: None }
    }

    /// What its bytes are, as a MIME type; 1 to 128 bytes.
    pub fn mime(mut self, mime: impl Into<String>) -> Self {
        self.mime = Some(mime.into());
        self
    }

    /// Adds a tag, 1 to 128 bytes; at most [`TAGS_MAX`].
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Adds a pair for the host's own use; at most [`ARTIFACT_METADATA_BYTES_MAX`] in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// What to do where the artifact has a version already; it adds one without this.
    pub fn on_existing(mut self, on_existing: OnExisting) -> Self {
        self.on_existing = on_existing;
        self
    }

    /// How many bytes its source has, if that is known: a put that the quota has no room for is refused
    /// before the first is read, and a source that has fewer or more is `Invalid`.
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

/// `Invalid` for tags beyond their bounds.
pub(super) fn check_tags(operation: &'static str, tags: &BTreeSet<String>) -> Result<()> {
    tags.iter().try_for_each(|tag| check_name(operation, "tag", tag))?;
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, operation)
        .with_detail(format!("{} tags, the limit is {TAGS_MAX}", tags.len())))
}

impl Artifacts {
    /// Stores all of `source` as a version of an artifact; the URI of that version. Durable on return:
    /// content, row, tags and totals are there together or not at all.
    ///
    /// Bytes that the vault holds already are not stored again, whatever they belong to. Interrupted by a
    /// crash, the same put goes on: read from its start, it stores only the rest (and at most two packs, 32 MiB,
    /// once more). If `source` fails, nothing
    /// is stored, and what it brought so far is freed by the next [`gc`](crate::Vault::gc).
    ///
    /// One put of an artifact at a time: the others wait for its lease ([`LeasePolicy`], `Locked` after 30 s
    /// unless told otherwise), before their sources are read. `Conflict` if the lease was taken away
    /// meanwhile.
    ///
    /// Before anything is read: `Invalid` for tags or metadata beyond their bounds, `AlreadyExists` as
    /// [`OnExisting::Refuse`] has it, `Full` if a source of known [size](ArtifactSpec::size) does not fit the
    /// [quota](Self::set_quota); with sources of unknown size that comes when it does not.
    ///
    /// [`LeasePolicy`]: crate::artifacts::LeasePolicy
    pub fn put(&self, spec: ArtifactSpec, source: impl Read) -> Result<ArtifactUri> {
        self.put_with(spec, source, LongCall::new())
    }

    /// As [`put`](Self::put). Progress is the bytes read so far.
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
            // It is committed, whatever becomes of the rest.
            if on_existing == OnExisting::Replace
                && let Err(error) = self.drop_before(&name, version, lease.as_ref())
            {
                tracing::warn!(error = %error.kind(), "replaced versions not all dropped");
            }
            if let Err(error) = self.warn_if_filling(limit) {
                tracing::debug!(error = %error.kind(), "usage not looked at");
            }
            Ok(name.version(version))
        };
        put().map_err(|e: Error| e.or_subject(name.newest()))
    }

    /// Checks all that can be checked before the source is read.
    ///
    /// Returns the lease of the artifact, and how many bytes the store may take.
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

/// A source of the size that was told, if one was; reading it renews the lease.
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
            let told = if is_end { "ends before" } else { "goes on behind" };
            return Err(Error::new(ErrorKind::Invalid, PUT)
                .with_detail(format!("the source {told} the {size} bytes that were told"))
                .into());
        }
        self.lease.map_or(Ok(()), |grant| grant.renew(PUT))?;
        Ok(taken)
    }
}
