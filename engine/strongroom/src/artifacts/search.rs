//! Searching versions by spec, task, type, tags and time, in any combination.
//!
//! Table `found_by` has each version once for each subset of its names (with or without spec, task
//! and type: 8), and 8 times more for each of its tags, in the order of arrival. A search by names,
//! one tag and a time therefore reads only what it finds. With several tags the search walks their
//! groups together, and each group skips what another excludes. Common tags that rarely occur
//! together need many steps for few results, so a page ends after a number of steps, with a cursor.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Bound, Range};
use std::str::FromStr;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::info::ArtifactInfo;
use super::put::check_tags;
use crate::records::check_name;
use strongroom_format::{Arrival, FoundBy};
use strongroom_store::state::{StateRead, Table};

const SEARCH: &str = "search artifacts";

/// Most versions of a page whose query has no limit.
const PAGE: usize = 1_000;

/// Longest page of a search.
pub const SEARCH_PAGE_MAX: usize = 10_000;

/// Steps without a result after which a page ends.
const MISSES_PER_PAGE: usize = 512;

/// A search query; without conditions it matches every version.
#[derive(Clone)]
pub struct ArtifactQuery {
    spec: Option<String>,
    task: Option<String>,
    kind: Option<String>,
    tags: BTreeSet<String>,
    created: Option<Range<u64>>,
    after: Option<ArtifactCursor>,
    limit: usize,
}

impl Default for ArtifactQuery {
    fn default() -> Self {
        let tags = BTreeSet::new();
        Self { spec: None, task: None, kind: None, tags, created: None, after: None, limit: PAGE }
    }
}

impl fmt::Debug for ArtifactQuery {
    /// Tags are omitted: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactQuery").field("created", &self.created).finish_non_exhaustive()
    }
}

impl ArtifactQuery {
    /// Matches every version.
    pub fn new() -> Self {
        Self::default()
    }

    /// Matches only versions of that spec.
    #[must_use]
    pub fn spec(mut self, spec: impl Into<String>) -> Self {
        self.spec = Some(spec.into());
        self
    }

    /// Matches only versions of that task.
    ///
    /// They may have any spec, unless one is set.
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = Some(task.into());
        self
    }

    /// Matches only versions of that type.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Matches only versions with that tag.
    ///
    /// They must have every other set tag too.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Matches only versions put in that span of Unix milliseconds; the end is excluded.
    #[must_use]
    pub fn created(mut self, unix_millis: Range<u64>) -> Self {
        self.created = Some(unix_millis);
        self
    }

    /// Continues after a page's [`next`](ArtifactPage::next); `None` is the first page.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<Option<ArtifactCursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// Sets the most versions of the page, 1 to [`SEARCH_PAGE_MAX`]; 1,000 by default.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    fn validate(&self) -> Result<()> {
        let named = [("spec", &self.spec), ("task", &self.task), ("type", &self.kind)];
        for (what, name) in named {
            name.as_ref().map_or(Ok(()), |name| check_name(SEARCH, what, name))?;
        }
        check_tags(SEARCH, &self.tags)
    }

    /// Returns the groups whose common members match.
    fn groups(&self) -> Vec<[u8; 16]> {
        let names = [self.spec.as_deref(), self.task.as_deref(), self.kind.as_deref()];
        if self.tags.is_empty() {
            return vec![FoundBy::group(names, None)];
        }
        self.tags.iter().map(|tag| FoundBy::group(names, Some(tag))).collect()
    }
}

/// The end of a page, from which the next one continues.
///
/// It stays valid whatever is put or deleted in between. It prints and parses as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArtifactCursor(Arrival);

impl fmt::Display for ArtifactCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.0.unix_millis, self.0.number)
    }
}

impl FromStr for ArtifactCursor {
    type Err = Error;

    /// Parses a cursor; `Invalid` for other text.
    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(part, 16).ok().filter(|_| is_hex)
        };
        text.split_once('-')
            .and_then(|(millis, arrival)| {
                let (unix_millis, number) = (number(millis)?, number(arrival)?);
                Some(Self(Arrival { unix_millis, number }))
            })
            .ok_or_else(|| {
                Error::new(ErrorKind::Invalid, SEARCH).with_detail("the text is not a cursor")
            })
    }
}

/// A page of results, newest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArtifactPage {
    /// The versions.
    pub versions: Vec<ArtifactInfo>,
    /// The cursor for the next page; `None` if this is the last.
    pub next: Option<ArtifactCursor>,
}

impl Artifacts {
    /// Returns a page of the versions that match `query`, newest first.
    ///
    /// The time depends on the length of the page, not on the size of the vault. With several tags
    /// a page may be shorter than its limit, even empty, although more follow: it ends after 512
    /// versions with some of the tags and not all. Only a page without [`next`](ArtifactPage::next)
    /// is the last.
    pub fn search(&self, query: &ArtifactQuery) -> Result<ArtifactPage> {
        query.validate()?;
        let limit = query.limit;
        if !(1..=SEARCH_PAGE_MAX).contains(&limit) {
            return Err(Error::new(ErrorKind::Invalid, SEARCH)
                .with_detail(format!("the page limit is {limit}; use 1 to {SEARCH_PAGE_MAX}")));
        }
        let snapshot = self.core().read()?;
        let state = snapshot.state();
        let mut walk = GroupWalk::new(state, query, query.after);
        let (mut versions, mut last) = (Vec::new(), None);
        loop {
            match walk.next()? {
                WalkStep::Found(_) if versions.len() == limit => {
                    return Ok(ArtifactPage { versions, next: last.map(ArtifactCursor) });
                }
                WalkStep::Found(at) => {
                    versions.push(version_at(state, at)?);
                    last = Some(at);
                }
                WalkStep::Missed(at) => {
                    // That version is the first of the next page.
                    let number = at.number.saturating_add(1);
                    let next = Some(ArtifactCursor(Arrival { number, ..at }));
                    return Ok(ArtifactPage { versions, next });
                }
                WalkStep::End => return Ok(ArtifactPage { versions, next: None }),
            }
        }
    }
}

/// Returns the version with that arrival.
pub(super) fn version_at(state: &StateRead, at: Arrival) -> Result<ArtifactInfo> {
    let lost = || {
        Error::new(ErrorKind::Corrupt, SEARCH)
            .with_reason(Reason::RowDamaged)
            .with_detail("a search entry has no version row")
    };
    let key = state.get(Table::Arrivals, &at.number.to_be_bytes())?.ok_or_else(lost)?;
    let row = state.get(Table::Artifacts, key.as_slice())?.ok_or_else(lost)?;
    ArtifactInfo::decode(key.as_slice(), row.as_slice())
}

/// The common members of several groups, newest first.
struct GroupWalk<'a> {
    state: &'a StateRead,
    groups: Vec<[u8; 16]>,
    /// The oldest possible result.
    oldest: Arrival,
    /// Results come before it.
    before: Bound<Arrival>,
    /// Number of steps without a result.
    misses: usize,
}

/// The outcome of a step of a walk.
enum WalkStep {
    Found(Arrival),
    /// Many steps had no result. No skipped version matches; this one may.
    Missed(Arrival),
    End,
}

impl<'a> GroupWalk<'a> {
    fn new(state: &'a StateRead, query: &ArtifactQuery, after: Option<ArtifactCursor>) -> Self {
        let created = query.created.clone().unwrap_or(0..u64::MAX);
        let first_of = |unix_millis| Arrival { unix_millis, number: 0 };
        let mut before = match query.created {
            Some(_) => Bound::Excluded(first_of(created.end)),
            None => Bound::Unbounded,
        };
        if let Some(ArtifactCursor(after)) = after
            && !matches!(before, Bound::Excluded(end) if end <= after)
        {
            before = Bound::Excluded(after);
        }
        Self { state, groups: query.groups(), oldest: first_of(created.start), before, misses: 0 }
    }

    fn next(&mut self) -> Result<WalkStep> {
        let mut bound = self.before;
        loop {
            // The newest version of the first group, if the other groups have it too.
            let Some(candidate) = self.newest(self.groups[0], bound)? else {
                return Ok(WalkStep::End);
            };
            let mut found = candidate;
            for &group in &self.groups[1..] {
                let Some(at) = self.newest(group, Bound::Included(found))? else {
                    return Ok(WalkStep::End);
                };
                found = at;
            }
            if found == candidate {
                self.before = Bound::Excluded(found);
                return Ok(WalkStep::Found(found));
            }
            self.misses += 1;
            if self.misses == MISSES_PER_PAGE {
                return Ok(WalkStep::Missed(found));
            }
            bound = Bound::Included(found);
        }
    }

    /// Returns the newest member of a group within a bound.
    fn newest(&self, group: [u8; 16], bound: Bound<Arrival>) -> Result<Option<Arrival>> {
        let latest = Arrival { unix_millis: u64::MAX, number: u64::MAX };
        let key = |at| FoundBy { group, at }.encode();
        let lower = key(self.oldest);
        let (upper, is_included) = match bound {
            Bound::Included(at) => (key(at), true),
            Bound::Excluded(at) => (key(at), false),
            Bound::Unbounded => (key(latest), true),
        };
        if upper < lower || (upper == lower && !is_included) {
            return Ok(None);
        }
        let upper =
            if is_included { Bound::Included(&upper[..]) } else { Bound::Excluded(&upper[..]) };
        let span = (Bound::Included(&lower[..]), upper);
        let row = self.state.range(Table::FoundBy, span)?.next_back().transpose()?;
        row.map(|entry| FoundBy::decode(entry.key.as_slice()).map(|found| found.at)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_cursor_parses() {
        let cursor = ArtifactCursor(Arrival { unix_millis: 1_800_000_000_000, number: 300 });
        assert_eq!(cursor.to_string().parse::<ArtifactCursor>().unwrap(), cursor);
        for bad in ["", "-", "1", "1-", "+1-2", "1-2-3", "g-1", "11111111111111111-1"] {
            let error = bad.parse::<ArtifactCursor>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
