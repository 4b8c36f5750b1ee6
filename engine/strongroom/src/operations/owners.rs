//! Which operations have a live handle in this process, and which of their lanes are open.
//!
//! Between processes the vault's lock decides: an owner of another session is dead, or this
//! process would not have the vault open. Within the process this registry does.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The live handles of one vault.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    live: Mutex<HashMap<String, Live>>,
    /// Numbers the claims. A generation does not tell two handles apart for ever: an id that was
    /// removed and begun again starts anew.
    claims: AtomicU64,
}

#[derive(Debug)]
struct Live {
    claim: u64,
    generation: u64,
    lanes: HashSet<String>,
}

impl Owners {
    /// The generation of the live handle of `operation`.
    pub(super) fn generation(&self, operation: &str) -> Option<u64> {
        self.live.lock().get(operation).map(|live| live.generation)
    }

    /// Registers a handle, in place of one that it takes over; its claim.
    pub(super) fn claim(&self, operation: &str, generation: u64) -> u64 {
        let claim = self.claims.fetch_add(1, Ordering::Relaxed);
        let live = Live { claim, generation, lanes: HashSet::new() };
        self.live.lock().insert(operation.to_owned(), live);
        claim
    }

    /// Whether the handle of that claim lives: it has not ended, and nobody has taken over.
    pub(super) fn is_live(&self, operation: &str, claim: u64) -> bool {
        self.live.lock().get(operation).is_some_and(|live| live.claim == claim)
    }

    /// Ends a handle; nothing if another has taken over.
    pub(super) fn release(&self, operation: &str, claim: u64) {
        let mut live = self.live.lock();
        if live.get(operation).is_some_and(|live| live.claim == claim) {
            live.remove(operation);
        }
    }

    /// Opens a lane; `false` if it is open. A handle that has ended or was taken over opens freely:
    /// what it commits is refused anyway.
    pub(super) fn open_lane(&self, operation: &str, claim: u64, lane: &str) -> bool {
        match self.live.lock().get_mut(operation) {
            Some(live) if live.claim == claim => live.lanes.insert(lane.to_owned()),
            _ => true,
        }
    }

    /// Closes a lane.
    pub(super) fn close_lane(&self, operation: &str, claim: u64, lane: &str) {
        if let Some(live) = self.live.lock().get_mut(operation)
            && live.claim == claim
        {
            live.lanes.remove(lane);
        }
    }
}
