//! Registry of this process's live operation handles and their open lanes.
//!
//! Between processes the vault's lock decides. An owner of another session is dead, because this
//! process could not have the vault open otherwise. Within the process this registry decides.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Live handles of one vault.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    live: Mutex<HashMap<String, LiveHandle>>,
    /// Number of the next handle.
    ///
    /// A generation does not identify a handle: after a delete, a new operation under the same id
    /// starts from generation 0 or 1.
    next_handle_id: AtomicU64,
}

#[derive(Debug)]
struct LiveHandle {
    handle_id: u64,
    generation: u64,
    lanes: HashSet<String>,
}

impl Owners {
    /// Returns the generation of the live handle of `operation`.
    pub(super) fn generation(&self, operation: &str) -> Option<u64> {
        self.live.lock().get(operation).map(|live| live.generation)
    }

    /// Registers a handle, replacing one that it takes over; returns the handle's number.
    pub(super) fn acquire(&self, operation: &str, generation: u64) -> u64 {
        let handle_id = self.next_handle_id.fetch_add(1, Ordering::Relaxed);
        let live = LiveHandle { handle_id, generation, lanes: HashSet::new() };
        self.live.lock().insert(operation.to_owned(), live);
        handle_id
    }

    /// Returns whether the handle lives: not ended and not taken over.
    pub(super) fn is_live(&self, operation: &str, handle_id: u64) -> bool {
        self.live.lock().get(operation).is_some_and(|live| live.handle_id == handle_id)
    }

    /// Removes a handle, unless another one has taken over.
    pub(super) fn release(&self, operation: &str, handle_id: u64) {
        let mut live = self.live.lock();
        if live.get(operation).is_some_and(|live| live.handle_id == handle_id) {
            live.remove(operation);
        }
    }

    /// Opens a lane; returns `false` if it is already open.
    ///
    /// A handle that has ended or was taken over may open any lane: its commits are refused anyway.
    pub(super) fn open_lane(&self, operation: &str, handle_id: u64, lane: &str) -> bool {
        match self.live.lock().get_mut(operation) {
            Some(live) if live.handle_id == handle_id => live.lanes.insert(lane.to_owned()),
            _ => true,
        }
    }

    /// Closes a lane.
    pub(super) fn close_lane(&self, operation: &str, handle_id: u64, lane: &str) {
        if let Some(live) = self.live.lock().get_mut(operation)
            && live.handle_id == handle_id
        {
            live.lanes.remove(lane);
        }
    }
}
