//! Retention: how long versions are kept, by type, and the deletion of expired ones.
//!
//! Time counts from the put of a version, by the clock. If the clock was set back, it counts from
//! the latest time at which any earlier version was put or deleted, plus the time since then while
//! the vault was open. A clock that runs backwards and is corrected later therefore expires nothing
//! early, except for time in which the vault was closed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Result};

use super::Artifacts;
use super::catalogue::drop_version;
use super::delete::VERSIONS_PER_COMMIT;
use super::info::ArtifactInfo;
use super::lease::{self, Grant};
use super::search::version_at;
use super::usage::read_settings;
use crate::records::check_name;
use strongroom_base::{LongCall, long_call_options};
use strongroom_format::{Arrival, FoundBy};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

const EXPIRE: &str = "expire artifacts";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Default retention by type; all other types are kept for ever.
const DEFAULTS: [(&str, Duration); 3] = [
    ("diff", Duration::from_secs(30 * DAY.as_secs())),
    ("log", Duration::from_secs(7 * DAY.as_secs())),
    ("test", Duration::from_secs(14 * DAY.as_secs())),
];

/// Most types with a set retention.
const KINDS_SET_MAX: usize = 1_000;

/// Options of [`Artifacts::expire`].
///
/// Progress is the number of deleted versions. A cancelled call ends between two commits; deleted
/// versions stay deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpireArtifactsOptions<'a> {
    dry_run: bool,
    call: LongCall<'a>,
}

long_call_options!(ExpireArtifactsOptions);

impl ExpireArtifactsOptions<'_> {
    /// Makes the default options: delete expired versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports expired versions, and deletes nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// The result of [`Artifacts::expire`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredArtifacts {
    /// Versions that were deleted; in a dry run, that would be.
    pub versions: u64,
    /// Sum of the lengths of their contents, in bytes.
    pub bytes: u64,
    /// Versions that stay until the lease of their artifact is released.
    pub locked: u64,
}

impl Artifacts {
    /// Returns the set or default retention of each type with one.
    ///
    /// `None` means for ever, as for every other type.
    pub fn retention(&self) -> Result<BTreeMap<String, Option<Duration>>> {
        let defaults = DEFAULTS.map(|(kind, kept)| (kind.to_owned(), Some(kept)));
        let set = read_settings(self.core().read()?.state())?.1;
        let set = set.into_iter().map(|(kind, millis)| (kind, millis.map(Duration::from_millis)));
        Ok(defaults.into_iter().chain(set).collect())
    }

    /// Sets the retention of a type; `None` for ever.
    ///
    /// The setting is stored in the vault, and applies to existing versions too. `Invalid` for more
    /// than 1,000 types.
    pub fn set_retention(&self, kind: &str, kept: Option<Duration>) -> Result<()> {
        const SET: &str = "set retention";
        check_name(SET, "type", kind)?;
        let millis = kept
            .map(|kept| {
                u64::try_from(kept.as_millis()).map_err(|_| {
                    Error::new(ErrorKind::Invalid, SET).with_detail("the time exceeds the limit")
                })
            })
            .transpose()?;
        self.change_settings(SET, |_, retention| {
            retention.retain(|(other, _)| other != kind);
            if retention.len() == KINDS_SET_MAX {
                return Err(Error::new(ErrorKind::Invalid, SET).with_detail(format!(
                    "{KINDS_SET_MAX} types already have a retention, which is the limit"
                )));
            }
            retention.push((kind.to_owned(), millis));
            retention.sort();
            Ok(())
        })
    }

    /// Lists at most `limit` expired versions, oldest of each type first.
    pub fn expired(&self, limit: usize) -> Result<Vec<ArtifactInfo>> {
        let mut expired = Vec::new();
        for (kind, kept) in self.retention()? {
            let Some(kept) = kept else { continue };
            let mut behind = None;
            while expired.len() < limit {
                let some = self.next_expired(&kind, kept, &mut behind)?;
                if some.is_empty() {
                    break;
                }
                expired.extend(some.into_iter().take(limit - expired.len()));
            }
        }
        Ok(expired)
    }

    /// Deletes expired versions in commits of at most 256.
    ///
    /// It logs their number.
    ///
    /// It never waits: an artifact that is being written stays until the next call.
    /// [`gc`](crate::Vault::gc) frees the space.
    pub fn expire(&self, options: &ExpireArtifactsOptions<'_>) -> Result<ExpiredArtifacts> {
        self.core().refuse_nested_write(EXPIRE)?;
        let mut report = ExpiredArtifacts::default();
        for (kind, kept) in self.retention()? {
            let Some(kept) = kept else { continue };
            let (mut behind, before) = (None, report);
            loop {
                options.call.check(EXPIRE)?;
                let some = self.next_expired(&kind, kept, &mut behind)?;
                if some.is_empty() {
                    break;
                }
                if options.dry_run {
                    report.versions += some.len() as u64;
                    report.bytes += some.iter().map(ArtifactInfo::len).sum::<u64>();
                } else {
                    self.drop_expired(&some, &mut report)?;
                }
                options.call.report(report.versions, None);
            }
            let versions = report.versions - before.versions;
            if versions > 0 && !options.dry_run {
                tracing::info!(kind, versions, "expired artifacts deleted");
            }
        }
        Ok(report)
    }

    fn drop_expired(&self, some: &[ArtifactInfo], report: &mut ExpiredArtifacts) -> Result<()> {
        let at_once = self.at_once();
        let mut leases: BTreeMap<_, Option<Arc<Grant>>> = BTreeMap::new();
        let mut free = Vec::new();
        for info in some {
            let name = info.uri().name();
            if !leases.contains_key(name) {
                match at_once.lease_for(name, EXPIRE) {
                    Ok(lease) => drop(leases.insert(name, lease)),
                    Err(e) if e.kind() == ErrorKind::Locked => {
                        report.locked += 1;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
            }
            free.push(info);
        }
        let change = |tx: &mut Tx<'_>| {
            leases.values().try_for_each(|lease| lease::check(lease.as_ref(), EXPIRE))?;
            let mut dropped = (0, 0);
            for info in &free {
                let version = info.uri().version().expect("an info has its number");
                if drop_version(tx, &self.room.retention_clock, info.uri().name(), version)? {
                    dropped = (dropped.0 + 1, dropped.1 + info.len());
                }
            }
            Ok::<_, Error>(dropped)
        };
        match self.core().write(EXPIRE, change) {
            Ok((versions, bytes)) => {
                report.versions += versions;
                report.bytes += bytes;
                Ok(())
            }
            // A lease was taken away; the versions stay until the next call.
            Err(e) if e.kind() == ErrorKind::Conflict => {
                report.locked += free.len() as u64;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Returns the next expired versions of a type, after one.
    fn next_expired(
        &self,
        kind: &str,
        kept: Duration,
        behind: &mut Option<Arrival>,
    ) -> Result<Vec<ArtifactInfo>> {
        let now = self.core().clock().unix_millis();
        let millis = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let Some(latest) = now.checked_sub(millis) else { return Ok(Vec::new()) };
        let group = FoundBy::group([None, None, Some(kind)], None);
        let first = Arrival { unix_millis: 0, number: 0 };
        let lower = FoundBy { group, at: behind.unwrap_or(first) }.encode();
        let last = Arrival { unix_millis: latest, number: u64::MAX };
        let upper = FoundBy { group, at: last }.encode();
        let mut expired = Vec::new();
        if lower > upper {
            return Ok(expired);
        }
        let snapshot = self.core().read()?;
        let span = (Bound::Excluded(&lower[..]), Bound::Included(&upper[..]));
        for entry in snapshot.state().range(Table::FoundBy, span)? {
            let at = FoundBy::decode(entry?.key.as_slice())?.at;
            *behind = Some(at);
            let info = version_at(snapshot.state(), at)?;
            if info.kept_from_unix_millis <= latest {
                expired.push(info);
            }
            if expired.len() == VERSIONS_PER_COMMIT {
                break;
            }
        }
        Ok(expired)
    }
}
