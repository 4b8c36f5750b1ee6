//! Deleting artifacts and versions. The next `gc` frees their content, unless it is shared.

use std::sync::Arc;

use strongroom_base::{Error, ErrorKind, Result};

use super::Artifacts;
use super::catalogue::{drop_version, version_numbers};
use super::lease::{self, Grant};
use super::name::{ArtifactName, ArtifactUri};
use super::read::NameSpan;
use super::scope::{ArtifactScope, VersionsQuery};
use strongroom_base::{LongCall, RetentionClock};
use strongroom_format::{ArtifactRow, split_key};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

pub(super) const DELETE: &str = "delete artifact";

/// Most versions that one commit deletes.
pub(super) const VERSIONS_PER_COMMIT: usize = 256;

impl Artifacts {
    /// Deletes an artifact with all its versions, or one version.
    ///
    /// Returns the number of deleted versions; 0 if there was none. More than 256 need several
    /// commits, oldest first. Waits for the artifact's lease, as [`put`](Self::put) does.
    pub fn delete(&self, uri: &ArtifactUri) -> Result<u64> {
        self.core().refuse_nested_write(DELETE)?;
        let lease = self.lease_for(&uri.name, DELETE)?;
        let Some(version) = uri.version else { return self.drop_all(&uri.name, lease.as_ref()) };
        let change = |tx: &mut Tx<'_>| {
            lease::check(lease.as_ref(), DELETE)?;
            drop_version(tx, &self.room.retention_clock, &uri.name, version).map(u64::from)
        };
        self.core().write(DELETE, change)
    }

    /// Deletes all but the newest `kept` versions of an artifact.
    ///
    /// At least one version stays; returns their number.
    pub fn delete_old(&self, name: &ArtifactName, kept: usize) -> Result<u64> {
        if kept == 0 {
            return Err(Error::new(ErrorKind::Invalid, DELETE)
                .with_detail("keep at least one version, or delete the artifact"));
        }
        self.core().refuse_nested_write(DELETE)?;
        let lease = self.lease_for(name, DELETE)?;
        let newest = self.versions(&VersionsQuery::of(name).limit(kept))?;
        let oldest_kept = newest.last().and_then(|info| info.uri.version);
        match oldest_kept {
            Some(oldest) => self.drop_before(name, oldest, lease.as_ref()),
            None => Ok(0),
        }
    }

    /// Deletes all artifacts of the scope's spec or task; returns the number of versions.
    ///
    /// It waits for each artifact that is being written, and holds nothing meanwhile. Versions that
    /// are put meanwhile may stay. `Invalid` for a scope without a spec. Progress is the number of
    /// deleted versions. A cancelled call ends between two commits; deleted versions stay deleted.
    pub fn delete_all(&self, scope: &ArtifactScope, call: LongCall<'_>) -> Result<u64> {
        let span = NameSpan::new(&scope.names_of_spec(DELETE)?);
        self.core().refuse_nested_write(DELETE)?;
        let (mut deleted, mut behind) = (0, None);
        let at_once = self.at_once();
        loop {
            let artifacts = self.next_artifacts(&span, behind.as_deref())?;
            let Some((last, _)) = artifacts.last() else { return Ok(deleted) };
            behind = Some(last.clone());
            let mut together = DropBatch::default();
            for (_, CountedDrop { name, versions }) in artifacts {
                call.check(DELETE)?;
                let is_full = together.versions + versions > VERSIONS_PER_COMMIT;
                if !is_full && let Ok(lease) = at_once.lease_for(&name, DELETE) {
                    together.add(name, lease, versions);
                    continue;
                }
                deleted += self.drop_together(std::mem::take(&mut together))?;
                let lease = self.lease_for(&name, DELETE)?;
                if versions > VERSIONS_PER_COMMIT {
                    deleted += self.drop_all(&name, lease.as_ref())?;
                } else {
                    together.add(name, lease, versions);
                }
            }
            deleted += self.drop_together(together)?;
            call.report(deleted, None);
        }
    }

    /// Deletes artifacts in one commit.
    fn drop_together(&self, together: DropBatch) -> Result<u64> {
        if together.artifacts.is_empty() {
            return Ok(0);
        }
        let change = |tx: &mut Tx<'_>| {
            together.artifacts.iter().try_fold(0, |sum, (name, lease)| {
                lease::check(lease.as_ref(), DELETE)?;
                let dropped =
                    drop_some(tx, &self.room.retention_clock, name, u64::MAX, VERSIONS_PER_COMMIT)?;
                Ok::<_, Error>(sum + dropped)
            })
        };
        self.core().write(DELETE, change)
    }

    /// Returns the next artifacts that have versions, with row keys.
    fn next_artifacts(
        &self,
        span: &NameSpan,
        behind: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, CountedDrop)>> {
        let snapshot = self.core().read()?;
        let mut artifacts = Vec::new();
        let Some(bounds) = span.behind(behind) else { return Ok(artifacts) };
        for entry in snapshot.state().range(Table::Artifacts, bounds)? {
            let entry = entry?;
            let key = entry.key.as_slice();
            let ([spec, task, kind], None) = split_key(key)? else { continue };
            let ArtifactRow::V0 { versions, .. } = ArtifactRow::decode(entry.row.as_slice())?;
            if versions > 0 {
                let name = ArtifactName { spec: spec.into(), task: task.into(), kind: kind.into() };
                artifacts.push((key.to_vec(), CountedDrop { name, versions: versions as usize }));
            }
            if artifacts.len() == VERSIONS_PER_COMMIT {
                break;
            }
        }
        Ok(artifacts)
    }

    fn drop_all(&self, name: &ArtifactName, lease: Option<&Arc<Grant>>) -> Result<u64> {
        self.drop_before(name, u64::MAX, lease)
    }

    /// Deletes the versions before one, in commits of bounded size.
    pub(super) fn drop_before(
        &self,
        name: &ArtifactName,
        before: u64,
        lease: Option<&Arc<Grant>>,
    ) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let change = |tx: &mut Tx<'_>| {
                lease::check(lease, DELETE)?;
                drop_some(tx, &self.room.retention_clock, name, before, VERSIONS_PER_COMMIT)
            };
            let some = self.core().write(DELETE, change)?;
            dropped += some;
            if some < VERSIONS_PER_COMMIT as u64 {
                return Ok(dropped);
            }
        }
    }
}

/// An artifact, and its number of versions when it was listed.
struct CountedDrop {
    name: ArtifactName,
    versions: usize,
}

/// Artifacts that one commit deletes, with their leases.
#[derive(Default)]
struct DropBatch {
    artifacts: Vec<(ArtifactName, Option<Arc<Grant>>)>,
    versions: usize,
}

impl DropBatch {
    fn add(&mut self, name: ArtifactName, lease: Option<Arc<Grant>>, versions: usize) {
        self.artifacts.push((name, lease));
        self.versions += versions;
    }
}

/// Deletes the oldest versions before one, at most `limit`; returns their number.
pub(super) fn drop_some(
    tx: &mut Tx<'_>,
    retention_clock: &RetentionClock,
    name: &ArtifactName,
    before: u64,
    limit: usize,
) -> Result<u64> {
    let numbers = version_numbers(tx, name, before, limit)?;
    for &version in &numbers {
        drop_version(tx, retention_clock, name, version)?;
    }
    Ok(numbers.len() as u64)
}
