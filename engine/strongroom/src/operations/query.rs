//! Pages of operations.

/// A page of operations in order of their ids: by default the first 1,000.
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
    /// The first page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those after that id, the last one of the page before; `None` is the first page.
    #[must_use]
    pub fn after<'i>(mut self, id: impl Into<Option<&'i str>>) -> Self {
        self.after = id.into().map(str::to_owned);
        self
    }

    /// At most that many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
