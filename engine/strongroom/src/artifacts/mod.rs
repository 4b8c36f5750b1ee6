//! Artifacts: results of tasks, such as diffs, logs and test results.
//!
//! An [`ArtifactName`] has a spec, a task and a type. Each put of an [`ArtifactSpec`] adds a
//! version, which an [`ArtifactUri`] names. [`Artifacts`] finds versions by an [`ArtifactQuery`],
//! and an [`ArtifactReader`] streams one. An [`ArtifactScope`] selects many for export, deletion
//! and verification. An [`ArtifactLease`] ensures one writer at a time. A [`Quota`] limits the
//! space.

// - `name.rs`: an artifact's name and its URI; it knows no vault. `info.rs`: the properties of a
//   version.
// - `catalogue.rs` writes the rows of versions, and all rows derived from them; no other file does.
// - `put.rs` stores, `tags.rs` changes tags, `delete.rs` deletes, `retention.rs` deletes expired
//   versions.
// - `lease.rs`: one writer of an artifact at a time.
// - `scope.rs`: selections of artifacts. `read.rs`, `search.rs` and `verify.rs` read without any
//   lock.
// - `export.rs` writes a ZIP archive, with names that `archive_path.rs` makes safe.
// - `usage.rs`: totals, and the quota.
//
// A version's row, its content's reference, its tags, its search groups and the totals change in
// one commit.

mod archive_path;
mod catalogue;
mod delete;
mod export;
mod info;
mod lease;
mod name;
mod put;
mod read;
mod retention;
mod scope;
mod search;
mod tags;
mod usage;
mod verify;

use std::fmt;
use std::sync::Arc;

pub(crate) use catalogue::{ArtifactRoots, groups};
pub use export::ExportReport;
pub use info::ArtifactInfo;
pub use lease::{ArtifactLease, LeaseHolder, LeasePolicy, LeaseRefused};
pub use name::{ArtifactName, ArtifactUri};
pub use put::{ARTIFACT_METADATA_BYTES_MAX, ArtifactSpec, OnExisting, TAGS_MAX};
pub use read::ArtifactReader;
pub use retention::{ExpireArtifactsOptions, ExpiredArtifacts};
pub use scope::{ArtifactScope, ListQuery, VersionsQuery};
pub use search::{ArtifactCursor, ArtifactPage, ArtifactQuery, SEARCH_PAGE_MAX};
pub use tags::TagChange;
pub use usage::{ArtifactTotal, ArtifactUsage, Quota};
pub use verify::VerifiedArtifacts;

use strongroom_base::RetentionClock;
use strongroom_content::Content;
use strongroom_store::commit::Core;

/// The artifacts of a vault. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifacts {
    room: Arc<ArtifactsInner>,
    /// The wait for leases; `None` uses no leases.
    policy: Option<LeasePolicy>,
    /// A lease for writes to its artifact.
    holding: Option<Arc<lease::Grant>>,
}

/// The data that all handles of one vault's artifacts share.
struct ArtifactsInner {
    content: Content,
    /// The leases of all artifacts.
    leases: Arc<lease::Leases>,
    retention_clock: RetentionClock,
}

impl fmt::Debug for ArtifactsInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactsInner").finish_non_exhaustive()
    }
}

impl Artifacts {
    pub(crate) fn new(content: Content) -> Self {
        let clock = content.core().clock();
        let leases = lease::Leases::new(Arc::clone(clock));
        let retention_clock = RetentionClock::new(Arc::clone(clock));
        let room = Arc::new(ArtifactsInner { content, leases, retention_clock });
        Self { room, policy: Some(LeasePolicy::default()), holding: None }
    }

    fn core(&self) -> &Arc<Core> {
        self.room.content.core()
    }
}
