//! One write transaction: the host's changes, and what goes along with every commit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_backends::{Error, Result};

use crate::content::Staged;
use crate::format::{DoomedKey, ObjectName};
use crate::operations::Heard;
use crate::records::Namespaces;
use crate::state::{StateWrite, Table};
use crate::vault::VaultInner;

/// All changes of one commit. Made by [`Vault::write`](crate::Vault::write).
///
/// It sees its own changes. Nothing of it is visible to others, or on disk, before the commit.
pub struct WriteTx<'t> {
    pub(crate) state: StateWrite<'t>,
    pub(crate) vault: Arc<VaultInner>,
    pub(crate) namespaces: Namespaces,
    /// Stagings whose rows this transaction turned into references.
    pub(crate) adopted: Vec<Staged>,
    /// Lanes that have had a checkpoint, with how many that makes.
    pub(crate) checkpointed: Vec<(Arc<AtomicU64>, u64)>,
    /// What is to be heard of once it has committed.
    pub(crate) heard: Heard,
    /// Rows of a dropped namespace may be left to remove.
    pub(crate) dropping: bool,
    /// A buffer for a row, reused from call to call.
    pub(crate) row: Vec<u8>,
    /// The number under which it commits.
    commit: u64,
    doomed: bool,
    /// A refusal that must not be committed over, even if the host ignores it.
    refused: Option<Error>,
}

impl fmt::Debug for WriteTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("commit", &self.commit).finish_non_exhaustive()
    }
}

/// What is to be done once the commit has happened.
pub(crate) struct Committed {
    commit: u64,
    adopted: Vec<Staged>,
    checkpointed: Vec<(Arc<AtomicU64>, u64)>,
    heard: Heard,
    /// It wrote doomed rows.
    doomed: bool,
    /// Rows of tables pending and doomed that this commit removed.
    settled: usize,
    dropping: bool,
}

impl<'t> WriteTx<'t> {
    pub(crate) fn new(state: StateWrite<'t>, vault: Arc<VaultInner>) -> Self {
        Self {
            state,
            namespaces: Namespaces::default(),
            adopted: Vec::new(),
            checkpointed: Vec::new(),
            heard: Heard::new(&vault.bus),
            dropping: vault.cleaner.is_dropping(),
            row: Vec::new(),
            commit: vault.pins.next(),
            doomed: false,
            refused: None,
            vault,
        }
    }

    /// The number under which it commits.
    pub(crate) fn number(&self) -> u64 {
        self.commit
    }

    /// Remembers a refusal after which the transaction must not commit.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        self.refused.get_or_insert_with(|| error.clone());
        error
    }

    /// Writes the doomed rows of objects that lost their reference.
    pub(crate) fn doom(&mut self, objects: Vec<ObjectName>) -> Result<()> {
        self.doomed |= !objects.is_empty();
        for name in objects {
            let key = DoomedKey { commit: self.commit, name }.encode();
            self.state.put(Table::Doomed, &key, &[])?;
        }
        Ok(())
    }

    /// What goes along with every commit: a batch of what dropped namespaces left, and the rows
    /// of objects that are deleted already.
    pub(crate) fn finish(mut self) -> Result<Committed> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        if self.dropping {
            self.dropping = self.advance_dropping()?;
        }
        let settled = self.vault.cleaner.settled();
        for row in &settled {
            self.state.delete(row.table(), row.key())?;
        }
        let Self { commit, adopted, checkpointed, heard, doomed, dropping, .. } = self;
        let settled = settled.len();
        Ok(Committed { commit, adopted, checkpointed, heard, doomed, settled, dropping })
    }
}

impl Committed {
    /// Tells the vault that the commit has happened, and how long it took.
    pub(crate) fn publish(self, vault: &VaultInner, took: Duration) {
        vault.pins.publish(self.commit);
        vault.uploads.publish(self.commit);
        vault.cleaner.forget_settled(self.settled);
        vault.cleaner.set_dropping(self.dropping);
        if self.doomed {
            vault.cleaner.note_doomed();
        }
        self.adopted.into_iter().for_each(Staged::keep);
        for (known, checkpoints) in self.checkpointed {
            known.store(checkpoints, Ordering::Release);
        }
        vault.metrics.committed(took, &self.heard);
        vault.bus.send(self.heard);
    }
}
