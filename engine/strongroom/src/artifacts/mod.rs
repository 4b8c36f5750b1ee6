//! Artifacts: what tasks leave behind, such as diffs, logs and test results.
//!
//! An [`ArtifactName`] has a spec, a task and a type; each put of an [`ArtifactSpec`] makes a
//! version, which an [`ArtifactUri`] names. [`Artifacts`] finds versions by an [`ArtifactQuery`],
//! and an [`ArtifactReader`] streams one; an [`ArtifactScope`] names many for export, deletion and
//! verification. An [`ArtifactLease`] has one writer at a time; a [`Quota`]
//! limits the space.

// - `name.rs`: an artifact's name and its URI. It knows no vault. `info.rs`: what is told of a version.
// - `catalogue.rs` writes the rows of versions, and all that is kept beside them; nobody else does.
// - `put.rs` stores, `tags.rs` changes tags, `delete.rs` drops, `retention.rs` drops what has expired.
//   `retention_clock.rs` has the time from which that counts.
// - `lease.rs`: one writer of an artifact at a time.
// - `scope.rs`: which artifacts a call covers. `read.rs`, `search.rs` and `verify.rs` look and read, without any lock.
// - `export.rs` writes a ZIP archive, with the names that `archive_path.rs` makes safe.
// - `usage.rs`: what artifacts come to, and the quota.
//
// A version's row, its content's reference, its tags, what it is found by and the totals change in one
// commit.

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
mod retention_clock;
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

use strongroom_content::Content;
use strongroom_store::commit::Core;

/// The artifacts of a vault. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifacts {
    room: Arc<Room>,
    /// How leases are waited for; none are taken without.
    policy: Option<LeasePolicy>,
    /// A lease that writes to its artifact are made under.
    holding: Option<Arc<lease::Grant>>,
}

/// What all handles of one vault's artifacts share.
struct Room {
    content: Content,
    /// Who writes which artifact.
    leases: Arc<lease::Leases>,
    retention_clock: retention_clock::RetentionClock,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl Artifacts {
    pub(crate) fn new(content: Content) -> Self {
        let clock = content.core().clock();
        let leases = lease::Leases::new(Arc::clone(clock));
        let retention_clock = retention_clock::RetentionClock::new(Arc::clone(clock));
        let room = Arc::new(Room { content, leases, retention_clock });
        Self { room, policy: Some(LeasePolicy::default()), holding: None }
    }

    fn core(&self) -> &Arc<Core> {
        self.room.content.core()
    }
}
