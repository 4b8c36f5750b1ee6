//! Changing the tags of existing versions.

use std::collections::BTreeSet;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::catalogue::{change_tags, newest_version};
use super::lease;
use super::name::ArtifactUri;
use super::put::check_tags;
use strongroom_store::commit::Tx;

const TAG: &str = "tag artifact";

/// A change of a version's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// Adds these tags.
    Add(BTreeSet<String>),
    /// Removes these tags.
    Remove(BTreeSet<String>),
    /// Replaces all tags by these.
    Replace(BTreeSet<String>),
}

impl Artifacts {
    /// Changes a version's tags.
    ///
    /// A URI without a number names the newest version. Returns the URI of the changed version.
    ///
    /// The change is durable on return. Searches find the new tags from that commit on.
    ///
    /// `NotFound` if the version does not exist. `Invalid` for an invalid tag, if `change` or its
    /// result has more than [`TAGS_MAX`](crate::artifacts::TAGS_MAX) tags, and inside a write.
    /// `Locked` if another writer keeps the artifact's lease, `Conflict` if the lease was taken
    /// away meanwhile.
    pub fn tag(&self, uri: &ArtifactUri, change: &TagChange) -> Result<ArtifactUri> {
        let (TagChange::Add(tags) | TagChange::Remove(tags) | TagChange::Replace(tags)) = change;
        check_tags(TAG, tags).map_err(|e| e.or_subject(uri))?;
        self.core().refuse_nested_write(TAG)?;
        let lease = self.lease_for(&uri.name, TAG)?;
        let edit = |tags: &mut Vec<String>| {
            let mut after: BTreeSet<String> = std::mem::take(tags).into_iter().collect();
            match change {
                TagChange::Add(tags) => after.extend(tags.iter().cloned()),
                TagChange::Remove(tags) => after.retain(|tag| !tags.contains(tag)),
                TagChange::Replace(tags) => after.clone_from(tags),
            }
            check_tags(TAG, &after)?;
            tags.extend(after);
            Ok(())
        };
        let write = |tx: &mut Tx<'_>| {
            lease::check(lease.as_ref(), TAG)?;
            let not_found = || {
                Error::new(ErrorKind::NotFound, TAG)
                    .with_reason(Reason::ArtifactMissing)
                    .with_subject(uri)
            };
            let version = match uri.version {
                Some(version) => version,
                None => newest_version(tx, &uri.name)?.ok_or_else(not_found)?,
            };
            if change_tags(tx, &uri.name, version, edit)? {
                Ok(uri.name.version(version))
            } else {
                Err(not_found())
            }
        };
        self.core().write(TAG, write).map_err(|e| e.or_subject(uri))
    }
}
