//! The totals of artifacts, and the quota of the content store.

use strongroom_base::{Error, ErrorKind, Result};

use super::Artifacts;
use super::catalogue::note_time;
use strongroom_content::read_stored;
use strongroom_format::{
    ARTIFACT_SETTINGS, ArtifactSettingsRow, CatalogueRow, QuotaFields, TotalKey, TotalRow,
};
use strongroom_store::commit::Tx;
use strongroom_store::state::{StateRead, Table};

const USAGE: &str = "read usage";
const SET_QUOTA: &str = "set quota";

/// The total of some artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArtifactTotal {
    /// Number of versions.
    pub versions: u64,
    /// Sum of the lengths of their contents, each counted in full.
    pub bytes: u64,
}

/// Totals of a vault's artifacts, and bytes of its content store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactUsage {
    /// Total of all artifacts.
    pub all: ArtifactTotal,
    /// Totals by spec, sorted.
    pub by_spec: Vec<(String, ArtifactTotal)>,
    /// Totals by type, sorted.
    pub by_kind: Vec<(String, ArtifactTotal)>,
    /// Bytes in the content store: each content once, compressed and sealed, including content that
    /// waits for `gc`. The quota limits this value.
    pub stored_bytes: u64,
    /// The quota, if one is set.
    pub quota: Option<Quota>,
}

impl ArtifactUsage {
    /// Returns whether the store has reached the quota's warning level.
    pub fn is_filling(&self) -> bool {
        self.quota.is_some_and(|quota| self.stored_bytes >= quota.warn_bytes())
    }
}

/// The limit of the content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Limit in stored bytes.
    pub bytes: u64,
    /// Level from which puts log a warning, in percent; 1 to 100.
    pub warn_percent: u8,
}

impl Quota {
    /// Makes a quota of `bytes`, with a warning at 80 %.
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, warn_percent: 80 }
    }

    /// Returns the warning level in bytes.
    pub const fn warn_bytes(&self) -> u64 {
        // `bytes * percent / 100` could overflow.
        self.bytes / 100 * self.warn_percent as u64
            + self.bytes % 100 * self.warn_percent as u64 / 100
    }
}

impl Artifacts {
    /// Returns the totals by spec and type, and the store's bytes.
    pub fn usage(&self) -> Result<ArtifactUsage> {
        let snapshot = self.core().read()?;
        let state = snapshot.state();
        let catalogue = state.get(Table::Totals, &TotalKey::Catalogue.encode())?;
        let all = match catalogue.map(|row| CatalogueRow::decode(row.as_slice())).transpose()? {
            Some(CatalogueRow::V0 { versions, bytes, .. }) => ArtifactTotal { versions, bytes },
            None => ArtifactTotal::default(),
        };
        let (mut by_spec, mut by_kind) = (Vec::new(), Vec::new());
        let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for entry in state.range(Table::Totals, everything)? {
            let entry = entry?;
            let totals = match TotalKey::decode(entry.key.as_slice())? {
                TotalKey::Spec(name) => (&mut by_spec, name),
                TotalKey::Kind(name) => (&mut by_kind, name),
                TotalKey::Stored | TotalKey::Catalogue => continue,
            };
            let TotalRow::V0 { versions, bytes } = TotalRow::decode(entry.row.as_slice())?;
            totals.0.push((totals.1.to_owned(), ArtifactTotal { versions, bytes }));
        }
        let quota = read_settings(state)?.0;
        Ok(ArtifactUsage { all, by_spec, by_kind, stored_bytes: read_stored(state)?, quota })
    }

    /// Returns the quota; `None` if the store has no limit.
    pub fn quota(&self) -> Result<Option<Quota>> {
        Ok(read_settings(self.core().read()?.state())?.0)
    }

    /// Sets the quota; `None` removes it.
    ///
    /// The setting is stored in the vault. Existing content stays, whatever the quota. A
    /// [`put`](Self::put) that exceeds it is `Full` and changes nothing. So is
    /// [staging](crate::Vault::stage) a long value, which uses the same store. The quota limits
    /// stored bytes, so [`gc`](crate::Vault::gc) must run before deleted content makes room.
    pub fn set_quota(&self, quota: Option<Quota>) -> Result<()> {
        if let Some(quota) = quota
            && !(1..=100).contains(&quota.warn_percent)
        {
            return Err(Error::new(ErrorKind::Invalid, SET_QUOTA).with_detail(format!(
                "the warning level is {} percent; use 1 to 100",
                quota.warn_percent
            )));
        }
        self.change_settings(SET_QUOTA, |settings, _| {
            *settings = quota
                .map(|quota| QuotaFields { bytes: quota.bytes, warn_percent: quota.warn_percent });
            Ok(())
        })
    }

    /// Logs a warning if the store has reached the quota's warning level.
    pub(super) fn warn_if_filling(&self, limit: Option<u64>) -> Result<()> {
        if limit.is_none() {
            return Ok(());
        }
        let snapshot = self.core().read()?;
        let stored = read_stored(snapshot.state())?;
        if let Some(quota) = read_settings(snapshot.state())?.0
            && stored >= quota.warn_bytes()
        {
            tracing::warn!(stored, quota = quota.bytes, "the store is filling");
        }
        Ok(())
    }

    pub(super) fn change_settings(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Option<QuotaFields>, &mut RetentionRows) -> Result<()>,
    ) -> Result<()> {
        let write = |tx: &mut Tx<'_>| {
            let row = tx.state.get(Table::Settings, ARTIFACT_SETTINGS, |row| {
                row.map(ArtifactSettingsRow::decode)
            })?;
            let (mut quota, mut retention) = match row.transpose()? {
                Some(ArtifactSettingsRow::V0 { quota, retention }) => (quota, retention),
                None => (None, Vec::new()),
            };
            change(&mut quota, &mut retention)?;
            note_time(tx, &self.room.retention_clock)?;
            let row = ArtifactSettingsRow::V0 { quota, retention };
            tx.state.put(Table::Settings, ARTIFACT_SETTINGS, &row.encode())
        };
        self.core().write(operation, write)
    }
}

/// Retention by type, in milliseconds; `None` for ever.
type RetentionRows = Vec<(String, Option<u64>)>;

/// Reads the quota, and the set retention of types.
pub(super) fn read_settings(state: &StateRead) -> Result<(Option<Quota>, RetentionRows)> {
    let row = state.get(Table::Settings, ARTIFACT_SETTINGS)?;
    match row.map(|row| ArtifactSettingsRow::decode(row.as_slice())).transpose() {
        Ok(None) => Ok((None, Vec::new())),
        Ok(Some(ArtifactSettingsRow::V0 { quota, retention })) => {
            let quota =
                quota.map(|QuotaFields { bytes, warn_percent }| Quota { bytes, warn_percent });
            Ok((quota, retention))
        }
        Err(e) => Err(e.or_subject(USAGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_of_any_size_warns_at_its_fraction() {
        assert_eq!(Quota::new(1_000).warn_bytes(), 800);
        assert_eq!(Quota { bytes: 99, warn_percent: 50 }.warn_bytes(), 49);
        assert_eq!(Quota { bytes: u64::MAX, warn_percent: 100 }.warn_bytes(), u64::MAX);
    }
}
