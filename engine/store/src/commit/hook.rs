//! The interfaces by which features take part in commits, or prevent them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{ErrorKind, Result};

use super::core::Core;
use super::tx::{CommitInfo, Tx};
use crate::state::{StateRead, StateWrite, Store};

/// A feature's part in every commit.
///
/// Hooks are registered when the vault opens. A hook does not own a [`Core`].
pub trait Hook: Send + Sync {
    /// Runs when a transaction begins.
    fn begun(&self, _tx: &mut Tx<'_>) {}

    /// Adds rows that go along with the commit. An error fails the commit.
    fn before_commit(&self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }

    /// Runs after a commit, still under the write turn.
    fn committed(self: Arc<Self>, _core: &Arc<Core>, _info: &mut CommitInfo) {}

    /// Runs after a commit that failed, or may have failed.
    fn failed(&self, _kind: ErrorKind, _internal: bool) {}

    /// Returns whether the next commit can add more rows of this feature.
    fn has_more(&self) -> bool {
        false
    }

    /// Finds unfinished work in the tables, after an open or reopen.
    fn opened(&self, _state: &StateRead) -> Result<()> {
        Ok(())
    }

    /// Returns whether [`closing`](Self::closing) has rows to write.
    fn has_last_rows(&self) -> bool {
        false
    }

    /// Writes the rows that must not wait for the next open.
    fn closing(&self, _state: &mut StateWrite<'_>) -> Result<()> {
        Ok(())
    }
}

/// The work after the close, bounded by the given time.
///
/// Its error is the loss of commits: another session took the content over.
pub type Ending = Box<dyn FnOnce(Duration) -> Result<()> + Send>;

/// The check whether this state may still write and delete.
///
/// It may not if it is older than its key copy, or if another session took its content over.
pub trait Fence: Send + Sync + fmt::Debug {
    /// Refuses a commit of a state that is known to be superseded. Makes no request.
    fn admit_commit(&self, action: &'static str) -> Result<()>;

    /// Reads the owner ref of a shared backend.
    ///
    /// It refuses if the content was taken over.
    fn admit_delete(&self) -> Result<()>;

    /// Does the same, unless the owner ref was read a moment ago.
    fn admit_delete_again(&self) -> Result<()>;

    /// Returns whether deletes must wait, without making a request.
    fn seems_superseded(&self) -> bool;

    /// Returns the same, and asks the store if that is unknown.
    fn may_be_superseded(&self, core: &Core) -> bool;

    /// Returns whether deletes wait because the content was taken over.
    fn deletes_wait(&self) -> bool;

    /// Runs after a commit. It may check the owner ref in the background.
    ///
    /// `is_upkeep`: the commit has only rows of the engine's own clean-up.
    fn committed(&self, core: &Core, is_upkeep: bool);

    /// Uses the keys of the reopened state file.
    fn reopened(&self, core: &Core);

    /// Ends the ownership of the content; returns the work after the state is closed.
    fn end(&self, store: &Store) -> Option<Ending>;
}
