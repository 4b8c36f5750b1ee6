//! The documents of a vault: what all of its handles share.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_base::Result;
use strongroom_base::pool::Pool;
use strongroom_crypto::{PasswordCosts, PasswordPolicy};
use strongroom_store::commit::Core;

use crate::operations::Operations;

/// Threads of writes in the background: updates of one space would only wait for one another.
const THREADS: usize = 1;
/// How many of them may wait; one more is refused.
const QUEUE_MAX: usize = 10_000;

/// The documents of a vault: its share space. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    pub(super) room: Arc<Room>,
}

pub(super) struct Room {
    pub(super) core: Arc<Core>,
    pub(super) operations: Operations,
    /// What passwords of documents cost.
    password: PasswordPolicy,
    /// Held by the update that is under way.
    pub(super) turn: Mutex<()>,
    /// Runs writes in the background.
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
        let workers = Pool::new("strongroom-own", THREADS, QUEUE_MAX, Arc::clone(core.clock()));
        let room = Room { core, operations, password, turn: Mutex::default(), workers };
        Self { room: Arc::new(room) }
    }
}

impl Room {
    /// Returns the costs of an attempt at a document's password: those given, or the vault's own.
    pub(super) fn document_costs(&self, given: Option<PasswordCosts>) -> Result<PasswordCosts> {
        self.password.with(given).checked()
    }

    /// Returns the costs that a space asks for, if they are within the bounds.
    pub(super) fn bear_costs(&self, costs: PasswordCosts) -> Result<PasswordCosts> {
        self.password.bounds.check(costs, "open space").map(|()| costs)
    }
}
