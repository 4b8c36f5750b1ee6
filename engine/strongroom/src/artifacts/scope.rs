//! Selections of artifacts for a call, and pages of their versions.

use strongroom_base::{Error, ErrorKind, Result};

use super::name::{ArtifactName, ArtifactUri};
use crate::records::check_name;

/// Most versions of a page whose query has no limit.
const PAGE: usize = 1_000;

/// A selection of artifacts: all, those of a spec, or those of one task of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactScope {
    pub(super) spec: Option<String>,
    pub(super) task: Option<String>,
}

impl ArtifactScope {
    /// Selects all artifacts.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects the artifacts of a spec.
    pub fn spec(spec: impl Into<String>) -> Self {
        Self { spec: Some(spec.into()), task: None }
    }

    /// Selects only one task of the spec; `None` selects all tasks. Without a spec the call is
    /// `Invalid`.
    #[must_use]
    pub fn task<'t>(mut self, task: impl Into<Option<&'t str>>) -> Self {
        self.task = task.into().map(str::to_owned);
        self
    }

    /// Returns the first names of its artifacts. `Invalid` for a task without a spec.
    pub(super) fn names(&self, action: &'static str) -> Result<Vec<&str>> {
        if self.spec.is_none() && self.task.is_some() {
            return Err(Error::new(ErrorKind::Invalid, action).with_detail("a task needs a spec"));
        }
        Ok(self.spec.as_deref().into_iter().chain(self.task.as_deref()).collect())
    }

    /// Does the same for a call that needs a spec: `Invalid` without.
    pub(super) fn names_of_spec(&self, action: &'static str) -> Result<Vec<&str>> {
        let names = self.names(action)?;
        if names.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, action)
                .with_detail("the scope covers all artifacts; name a spec"));
        }
        for (what, name) in ["spec", "task"].into_iter().zip(&names) {
            check_name(action, what, name)?;
        }
        Ok(names)
    }
}

/// A page of versions in order of their names; by default the first 1,000.
#[derive(Clone, Debug)]
pub struct ListQuery {
    pub(super) scope: ArtifactScope,
    pub(super) after: Option<ArtifactUri>,
    pub(super) limit: usize,
}

impl ListQuery {
    /// Queries the first page of the versions in `scope`.
    pub fn of(scope: ArtifactScope) -> Self {
        Self { scope, after: None, limit: PAGE }
    }

    /// Continues after the last version of the previous page; `None` is the first page.
    #[must_use]
    pub fn after<'u>(mut self, uri: impl Into<Option<&'u ArtifactUri>>) -> Self {
        self.after = uri.into().cloned();
        self
    }

    /// Sets the most versions of the page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// A page of the versions of one artifact, newest first; by default the newest 1,000.
#[derive(Clone, Debug)]
pub struct VersionsQuery {
    pub(super) name: ArtifactName,
    pub(super) before: Option<u64>,
    pub(super) limit: usize,
}

impl VersionsQuery {
    /// Queries the newest versions of an artifact.
    pub fn of(name: &ArtifactName) -> Self {
        Self { name: name.clone(), before: None, limit: PAGE }
    }

    /// Continues with versions older than `version`; `None` is the newest and those before it.
    #[must_use]
    pub fn before(mut self, version: impl Into<Option<u64>>) -> Self {
        self.before = version.into();
        self
    }

    /// Sets the most versions of the page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
