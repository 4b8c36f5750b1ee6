//! How features take part in commits, and what may stop one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{ErrorKind, Result};

use super::core::Core;
use super::tx::{CommitInfo, Tx};
use crate::state::{StateRead, StateWrite, Store};

/// A feature's part in every commit. Registered when the vault opens; holds no [`Core`] itself.
pub trait Hook: Send + Sync {
    /// Hears of a transaction that begins.
    fn begun(&self, _tx: &mut Tx<'_>) {}

    /// Adds rows that go along with the commit. An error fails the commit.
    fn before_commit(&self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }

    /// Hears of a commit that has happened, still under the writer's turn.
    fn committed(self: Arc<Self>, _core: &Arc<Core>, _info: &mut CommitInfo) {}

    /// Hears of a commit that failed, or may have.
    fn failed(&self, _kind: ErrorKind, _internal: bool) {}

    /// Returns whether the next commit has rows of this feature left to take along.
    fn has_more(&self) -> bool {
        false
    }

    /// Learns from the tables what there is to do: at open, and after the state was reopened.
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

/// What is left to do once the state is closed; at most for the given time.
pub type Ending = Box<dyn FnOnce(Duration) + Send>;

/// Says whether this state may still write and delete: it may be older than its copy of the key
/// set, or another session may have taken its content over.
pub trait Fence: Send + Sync + fmt::Debug {
    /// Refuses a commit of a state that is known to be superseded. Asks no store.
    fn admit_commit(&self, action: &'static str) -> Result<()>;

    /// Asks the store whether the content is still this vault's, if others can reach it.
    fn admit_delete(&self) -> Result<()>;

    /// Does the same, unless the store was asked a moment ago.
    fn admit_delete_again(&self) -> Result<()>;

    /// Returns whether nothing is to be deleted for now, as far as it is known without asking.
    fn seems_superseded(&self) -> bool;

    /// Returns the same, and asks the store where that is not known yet.
    fn may_be_superseded(&self, core: &Core) -> bool;

    /// Returns whether deletes wait because the content was taken over.
    fn deletes_wait(&self) -> bool;

    /// Hears of a commit: the store may be asked in the background.
    fn committed(&self, core: &Core);

    /// Goes on with the keys of the state file that is there, after it was opened again.
    fn reopened(&self, core: &Core);

    /// Ends the claim to the content; returns what is left to do once the state is closed.
    fn end(&self, store: &Store) -> Option<Ending>;
}
