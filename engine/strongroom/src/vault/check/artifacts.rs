//! Checks the rows of artifacts, their search rows and their totals.
//!
//! Search rows are compared as two sums of hashes: of the expected rows and of the existing ones.
//! That takes no memory for each row.

use std::collections::BTreeMap;

use strongroom_base::Result;

use super::Check;
use super::content::Chunks;
use crate::artifacts::{ArtifactUri, groups};
use strongroom_format::{
    Arrival, ArtifactRow, ArtifactSettingsRow, CatalogueRow, FoundBy, StoredTotal, TotalKey,
    TotalRow, VersionRow, split_key,
};
use strongroom_store::state::{StateRead, Table};

/// Most versions that a report names as affected by damage.
const AFFECTED_NAMED_MAX: usize = 10_000;

/// Sum of hashes of rows, independent of their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct RowSum(u64, u128);

impl RowSum {
    fn add(&mut self, key: &[u8], row: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(row);
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        self.0 += 1;
        self.1 = self.1.wrapping_add(u128::from_le_bytes(hash));
    }
}

/// Sums over the rows of versions.
#[derive(Default)]
struct VersionSums {
    arrivals: RowSum,
    found_by: RowSum,
    versions: u64,
    bytes: u64,
    /// Totals by spec and by type, under the keys of their rows.
    totals: BTreeMap<Vec<u8>, (u64, u64)>,
    last_arrival: u64,
}

impl VersionSums {
    fn count(&mut self, key: &[u8], names: [&str; 3], row: &VersionRow) {
        let VersionRow::V0 { content, created_unix_millis, arrival, tags, .. } = row;
        self.arrivals.add(&arrival.to_be_bytes(), key);
        let at = Arrival { unix_millis: *created_unix_millis, number: *arrival };
        for group in groups(names, tags) {
            self.found_by.add(&FoundBy { group, at }.encode(), &[]);
        }
        for total in [TotalKey::Spec(names[0]), TotalKey::Kind(names[2])] {
            let (versions, bytes) = self.totals.entry(total.encode()).or_default();
            (*versions, *bytes) = (*versions + 1, bytes.wrapping_add(content.len));
        }
        self.last_arrival = self.last_arrival.max(*arrival);
        (self.versions, self.bytes) = (self.versions + 1, self.bytes.wrapping_add(content.len));
    }
}

impl Check<'_> {
    /// Checks artifacts and their versions.
    ///
    /// Each artifact must count its versions. Each version must have its content, have all its
    /// search rows, and be counted in the totals.
    pub(super) fn artifacts(&mut self, state: &StateRead, chunks: &mut Chunks) -> Result<()> {
        let mut sums = VersionSums::default();
        // Current artifact of the scan: its key, its counted versions, and the versions found.
        let mut at: Option<(Vec<u8>, u32, u32)> = None;
        let mut is_counted = true;
        self.scan(state, Table::Artifacts, |check, entry| {
            let (key, row) = (entry.key.as_slice(), entry.row.as_slice());
            let outcome = split_key(key).and_then(|(names, version)| {
                let Some(version) = version else {
                    let ArtifactRow::V0 { versions, .. } = ArtifactRow::decode(row)?;
                    let last = at.replace((key.to_vec(), versions, 0));
                    is_counted &= last.is_none_or(|(_, recorded, found)| recorded == found);
                    return Ok(());
                };
                check.report.artifacts += 1;
                match &mut at {
                    Some((artifact, _, found)) if key.starts_with(artifact) => *found += 1,
                    _ => {
                        check.wrong(Table::Artifacts, format!("version {version} has no artifact"));
                    }
                }
                let row = VersionRow::decode(row)?;
                sums.count(key, names, &row);
                let VersionRow::V0 { content, .. } = row;
                if let Some(wrong) = chunks.refer(&content) {
                    check.wrong(Table::Artifacts, wrong);
                }
                Ok(())
            });
            if let Err(e) = outcome {
                check.wrong(Table::Artifacts, e.to_string());
            }
            Ok(())
        })?;
        if !is_counted || at.is_some_and(|(_, recorded, found)| recorded != found) {
            self.wrong(Table::Artifacts, "an artifact does not count its versions");
        }
        self.compare(state, Table::Arrivals, sums.arrivals, "the order of versions is wrong")?;
        self.compare(
            state,
            Table::FoundBy,
            sums.found_by,
            "the search rows of versions are wrong",
        )?;
        self.totals(state, sums)?;
        self.settings(state)
    }

    fn compare(
        &mut self,
        state: &StateRead,
        table: Table,
        expected: RowSum,
        wrong: &str,
    ) -> Result<()> {
        let mut found = RowSum::default();
        self.scan(state, table, |_, entry| {
            found.add(entry.key.as_slice(), entry.row.as_slice());
            Ok(())
        })?;
        if found != expected {
            self.wrong(table, wrong);
        }
        Ok(())
    }

    fn totals(&mut self, state: &StateRead, mut sums: VersionSums) -> Result<()> {
        let mut all = (0, 0);
        let (mut is_right, mut next_arrival) = (true, 1);
        self.scan(state, Table::Totals, |check, entry| {
            let (key, row) = (entry.key.as_slice(), entry.row.as_slice());
            let outcome = TotalKey::decode(key).and_then(|total| match total {
                TotalKey::Stored => StoredTotal::decode(row).map(drop),
                TotalKey::Catalogue => {
                    let CatalogueRow::V0 { versions, bytes, next_arrival: next, .. } =
                        CatalogueRow::decode(row)?;
                    (all, next_arrival) = ((versions, bytes), next);
                    Ok(())
                }
                TotalKey::Spec(_) | TotalKey::Kind(_) => {
                    let TotalRow::V0 { versions, bytes } = TotalRow::decode(row)?;
                    is_right &= sums.totals.remove(key) == Some((versions, bytes));
                    Ok(())
                }
            });
            if let Err(e) = outcome {
                check.wrong(Table::Totals, e.to_string());
            }
            Ok(())
        })?;
        if !is_right || !sums.totals.is_empty() || all != (sums.versions, sums.bytes) {
            self.wrong(Table::Totals, "the totals of artifacts are not the sums of their versions");
        }
        if sums.versions > 0 && sums.last_arrival >= next_arrival {
            self.wrong(Table::Totals, "a version's arrival number is not below the next one");
        }
        Ok(())
    }

    fn settings(&mut self, state: &StateRead) -> Result<()> {
        self.scan(state, Table::Settings, |check, entry| {
            if let Err(e) = ArtifactSettingsRow::decode(entry.row.as_slice()) {
                check.wrong(Table::Settings, e.to_string());
            }
            Ok(())
        })
    }

    /// Adds the versions to the report whose content cannot be read entirely.
    pub(super) fn affected(&mut self, state: &StateRead, chunks: &Chunks) -> Result<()> {
        self.scan(state, Table::Artifacts, |check, entry| {
            let Ok((names, Some(version))) = split_key(entry.key.as_slice()) else { return Ok(()) };
            let Ok(VersionRow::V0 { content, .. }) = VersionRow::decode(entry.row.as_slice())
            else {
                return Ok(());
            };
            if chunks.is_damaged(&content.root) {
                check.report.artifacts_affected += 1;
                if check.report.affected.len() < AFFECTED_NAMED_MAX {
                    check.report.affected.push(ArtifactUri::of(names, version));
                }
            }
            Ok(())
        })
    }
}
