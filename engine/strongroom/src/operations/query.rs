//! Page queries over operations.

/// A page of operations in order of their ids; by default the first 1,000.
#[derive(Clone, Debug)]
pub struct OperationsQuery {
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl Default for OperationsQuery {
    fn default() -> Self {
        Self { after: None, limit: 1_000 }
    }
}

impl OperationsQuery {
    /// Creates a query for the first page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects operations after `id`, the last one of the previous page; `None`: from the first.
    #[must_use]
    pub fn after<'i>(mut self, id: impl Into<Option<&'i str>>) -> Self {
        self.after = id.into().map(str::to_owned);
        self
    }

    /// Limits the page to `limit` operations.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
