//! The documents of a vault: the data that all of its handles share.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_base::Result;
use strongroom_base::pool::Pool;
use strongroom_crypto::{PasswordCosts, PasswordPolicy};
use strongroom_store::commit::Core;

use crate::operations::Operations;

/// Threads of background writes. Updates of one space would only wait for each other.
const THREADS: usize = 1;
/// Most waiting background writes; further ones are refused.
const QUEUE_MAX: usize = 10_000;

/// The documents of a vault: its share space. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    pub(super) room: Arc<DocumentsInner>,
}

pub(super) struct DocumentsInner {
    pub(super) core: Arc<Core>,
    pub(super) operations: Operations,
    /// Costs of documents' passwords.
    password: PasswordPolicy,
    /// Held by the running update.
    pub(super) turn: Mutex<()>,
    /// Runs background writes.
    pub(super) workers: Pool,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    pub(crate) fn new(operations: Operations, password: PasswordPolicy) -> Self {
        let core = Arc::clone(operations.core());
        let workers =
            Pool::new("strongroom-documents", THREADS, QUEUE_MAX, Arc::clone(core.clock()));
        let room = DocumentsInner { core, operations, password, turn: Mutex::default(), workers };
        Self { room: Arc::new(room) }
    }
}

impl DocumentsInner {
    /// Returns the costs of an attempt at a document's password: the given ones, or the vault's.
    pub(super) fn document_costs(&self, given: Option<PasswordCosts>) -> Result<PasswordCosts> {
        self.password.with(given).checked()
    }

    /// Returns the costs of a space, if they are within bounds.
    pub(super) fn bear_costs(&self, costs: PasswordCosts) -> Result<PasswordCosts> {
        self.password.bounds.check(costs, "open space").map(|()| costs)
    }
}
