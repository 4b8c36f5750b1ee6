//! The rows of artifacts, inside a transaction. The only code that writes them.
//!
//! A version has a row, a part in its artifact's count, a position in the order of arrivals, search
//! groups, and a part in the totals. All of these change in one commit, so they are right after any
//! crash.

use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Reason, Result, RetentionClock};

use super::name::{ArtifactName, ArtifactUri};
use strongroom_content::{FoundRoots, Roots, release};
use strongroom_format::{
    Arrival, ArtifactRow, CatalogueRow, ContentRef, FoundBy, TotalKey, TotalRow, VersionRow,
    artifact_key, split_key, version_key,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

const READ: &str = "read artifact";

pub(super) fn key_of(name: &ArtifactName) -> Vec<u8> {
    artifact_key(&name.spec, &name.task, &name.kind)
}

pub(super) fn read_head(tx: &Tx<'_>, artifact: &[u8]) -> Result<Option<ArtifactRow>> {
    tx.state.get(Table::Artifacts, artifact, |row| row.map(ArtifactRow::decode))?.transpose()
}

/// Lists an artifact's version numbers before one, oldest first, at most `limit`.
pub(super) fn version_numbers(
    tx: &Tx<'_>,
    name: &ArtifactName,
    before: u64,
    limit: usize,
) -> Result<Vec<u64>> {
    let artifact = key_of(name);
    let (lower, upper) = (version_key(&artifact, 0), version_key(&artifact, before));
    let span = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
    let rows = tx.state.range(Table::Artifacts, span)?.take(limit);
    rows.map(|entry| {
        let (_, version) = split_key(entry?.key.as_slice())?;
        Ok(version.expect("its key has a number"))
    })
    .collect()
}

/// Returns the number of an artifact's newest version.
pub(super) fn newest_version(tx: &Tx<'_>, name: &ArtifactName) -> Result<Option<u64>> {
    let artifact = key_of(name);
    let (lower, upper) = (version_key(&artifact, 0), version_key(&artifact, u64::MAX));
    let span = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
    let newest = tx.state.range(Table::Artifacts, span)?.next_back().transpose()?;
    Ok(newest
        .map(|entry| split_key(entry.key.as_slice()).map(|(_, version)| version))
        .transpose()?
        .flatten())
}

/// A new version, without the values that the catalogue assigns.
pub(super) struct NewVersion {
    pub(super) content: ContentRef,
    pub(super) checksum: [u8; 32],
    pub(super) mime: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) metadata: Vec<(String, String)>,
}

/// Writes a version with the next number of its artifact; returns that number.
pub(super) fn add_version(
    tx: &mut Tx<'_>,
    retention_clock: &RetentionClock,
    name: &ArtifactName,
    new: NewVersion,
) -> Result<u64> {
    let artifact = key_of(name);
    let (number, versions) = match read_head(tx, &artifact)? {
        Some(ArtifactRow::V0 { next_version, versions }) => (next_version, versions),
        None => (1, 0),
    };
    let now = tx.now_unix_millis();
    let CatalogueRow::V0 { next_arrival, newest_unix_millis, .. } = read_catalogue(tx)?;
    let kept_from = retention_clock.at_least(newest_unix_millis, tx.now_unix_millis());
    let NewVersion { content, checksum, mime, tags, metadata } = new;
    let row = VersionRow::V0 {
        content,
        checksum,
        created_unix_millis: now,
        kept_from_unix_millis: kept_from,
        arrival: next_arrival,
        mime,
        tags,
        metadata,
    };
    let head = ArtifactRow::V0 { next_version: number + 1, versions: versions + 1 };
    tx.state.put(Table::Artifacts, &artifact, &head.encode())?;
    let key = version_key(&artifact, number);
    tx.state.put(Table::Artifacts, &key, &row.encode())?;
    tx.state.put(Table::Arrivals, &next_arrival.to_be_bytes(), &key)?;
    group(tx, name, &row, Change::Add(kept_from))?;
    count(tx, retention_clock, name, content.len, Change::Add(kept_from))?;
    Ok(number)
}

/// Drops a version with its reference; returns whether it existed.
pub(super) fn drop_version(
    tx: &mut Tx<'_>,
    retention_clock: &RetentionClock,
    name: &ArtifactName,
    version: u64,
) -> Result<bool> {
    let artifact = key_of(name);
    let key = version_key(&artifact, version);
    let row = tx.state.remove(Table::Artifacts, &key, |row| row.map(VersionRow::decode))?;
    let Some(row) = row.transpose()? else { return Ok(false) };
    let VersionRow::V0 { content, arrival, .. } = &row;
    tx.state.delete(Table::Arrivals, &arrival.to_be_bytes())?;
    group(tx, name, &row, Change::Drop)?;
    count(tx, retention_clock, name, content.len, Change::Drop)?;
    release(tx, content)?;
    let corrupt = || {
        Error::new(ErrorKind::Corrupt, READ)
            .with_reason(Reason::RowDamaged)
            .with_detail("an artifact does not count its versions")
            .with_subject(ArtifactUri { name: name.clone(), version: None })
    };
    let ArtifactRow::V0 { next_version, versions } =
        read_head(tx, &artifact)?.ok_or_else(corrupt)?;
    let versions = versions.checked_sub(1).ok_or_else(corrupt)?;
    // The row stays after the last version, because the next version must not get a number that a
    // URI has.
    let head = ArtifactRow::V0 { next_version, versions };
    tx.state.put(Table::Artifacts, &artifact, &head.encode())?;
    Ok(true)
}

/// Replaces the tags of a version; returns whether the version exists.
pub(super) fn change_tags<E: From<Error>>(
    tx: &mut Tx<'_>,
    name: &ArtifactName,
    version: u64,
    change: impl FnOnce(&mut Vec<String>) -> Result<(), E>,
) -> Result<bool, E> {
    let key = version_key(&key_of(name), version);
    let row = tx.state.get(Table::Artifacts, &key, |row| row.map(VersionRow::decode))?;
    let Some(mut row) = row.transpose()? else { return Ok(false) };
    group(tx, name, &row, Change::Drop)?;
    let VersionRow::V0 { tags, .. } = &mut row;
    change(tags)?;
    tags.sort_unstable();
    tags.dedup();
    let VersionRow::V0 { kept_from_unix_millis, .. } = row;
    group(tx, name, &row, Change::Add(kept_from_unix_millis))?;
    tx.state.put(Table::Artifacts, &key, &row.encode())?;
    Ok(true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A version whose retention starts at that time.
    Add(u64),
    Drop,
}

/// Lists all search groups of a version.
pub(crate) fn groups(name: [&str; 3], tags: &[String]) -> impl Iterator<Item = [u8; 16]> {
    let tags: Vec<Option<&str>> =
        std::iter::once(None).chain(tags.iter().map(|tag| Some(&**tag))).collect();
    (0..8_u8).flat_map(move |known| {
        let names = std::array::from_fn(|at| (known >> at & 1 == 1).then_some(name[at]));
        tags.clone().into_iter().map(move |tag| FoundBy::group(names, tag))
    })
}

fn group(tx: &mut Tx<'_>, name: &ArtifactName, row: &VersionRow, change: Change) -> Result<()> {
    let VersionRow::V0 { created_unix_millis, arrival, tags, .. } = row;
    let at = Arrival { unix_millis: *created_unix_millis, number: *arrival };
    for group in groups([&name.spec, &name.task, &name.kind], tags) {
        let key = FoundBy { group, at }.encode();
        match change {
            Change::Add(_) => tx.state.put(Table::FoundBy, &key, &[])?,
            Change::Drop => tx.state.delete(Table::FoundBy, &key)?,
        }
    }
    Ok(())
}

pub(super) fn read_catalogue(tx: &Tx<'_>) -> Result<CatalogueRow> {
    let row = tx
        .state
        .get(Table::Totals, &TotalKey::Catalogue.encode(), |row| row.map(CatalogueRow::decode))?;
    Ok(row.transpose()?.unwrap_or(CatalogueRow::V0 {
        versions: 0,
        bytes: 0,
        next_arrival: 1,
        newest_unix_millis: 0,
    }))
}

/// Records the time. The retention of later versions does not start before it.
pub(super) fn note_time(tx: &mut Tx<'_>, retention_clock: &RetentionClock) -> Result<()> {
    let CatalogueRow::V0 { versions, bytes, next_arrival, newest_unix_millis } =
        read_catalogue(tx)?;
    let newest_unix_millis = retention_clock.at_least(newest_unix_millis, tx.now_unix_millis());
    let row = CatalogueRow::V0 { versions, bytes, next_arrival, newest_unix_millis };
    tx.state.put(Table::Totals, &TotalKey::Catalogue.encode(), &row.encode())
}

/// Adds a version of that length to the totals, or subtracts it.
fn count(
    tx: &mut Tx<'_>,
    retention_clock: &RetentionClock,
    name: &ArtifactName,
    len: u64,
    change: Change,
) -> Result<()> {
    let corrupt = || {
        Error::new(ErrorKind::Corrupt, "read total")
            .with_reason(Reason::RowDamaged)
            .with_detail("a total is less than a part of it")
    };
    let changed = |versions: u64, bytes: u64| {
        let sum = match change {
            Change::Add(_) => (versions.checked_add(1), bytes.checked_add(len)),
            Change::Drop => (versions.checked_sub(1), bytes.checked_sub(len)),
        };
        sum.0.zip(sum.1).ok_or_else(corrupt)
    };
    let CatalogueRow::V0 { versions, bytes, mut next_arrival, mut newest_unix_millis } =
        read_catalogue(tx)?;
    let (versions, bytes) = changed(versions, bytes)?;
    newest_unix_millis = match change {
        Change::Add(kept_from) => newest_unix_millis.max(kept_from),
        Change::Drop => retention_clock.at_least(newest_unix_millis, tx.now_unix_millis()),
    };
    next_arrival += u64::from(change != Change::Drop);
    let row = CatalogueRow::V0 { versions, bytes, next_arrival, newest_unix_millis };
    tx.state.put(Table::Totals, &TotalKey::Catalogue.encode(), &row.encode())?;
    for key in [TotalKey::Spec(&name.spec), TotalKey::Kind(&name.kind)] {
        let key = key.encode();
        let row = tx.state.get(Table::Totals, &key, |row| row.map(TotalRow::decode))?;
        let TotalRow::V0 { versions, bytes } =
            row.transpose()?.unwrap_or(TotalRow::V0 { versions: 0, bytes: 0 });
        let (versions, bytes) = changed(versions, bytes)?;
        if versions == 0 {
            tx.state.delete(Table::Totals, &key)?;
        } else {
            tx.state.put(Table::Totals, &key, &TotalRow::V0 { versions, bytes }.encode())?;
        }
    }
    Ok(())
}

/// The contents of all versions.
pub(crate) struct ArtifactRoots;

impl Roots for ArtifactRoots {
    fn roots(&self, tx: &Tx<'_>) -> Result<FoundRoots> {
        let mut found = FoundRoots::default();
        for entry in tx.state.range(Table::Artifacts, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            if let (_, Some(_)) = split_key(entry.key.as_slice())? {
                let VersionRow::V0 { content, .. } = VersionRow::decode(entry.row.as_slice())?;
                found.roots.push(content.root);
            }
        }
        Ok(found)
    }
}
