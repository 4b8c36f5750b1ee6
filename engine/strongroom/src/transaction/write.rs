//! One write transaction: the host's changes, and what goes along with every commit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_base::{Error, Result};

use crate::chunks::{StoredContent, Uploads, stored_total};
use crate::operations::Heard;
use crate::records::Namespaces;
use crate::vault::VaultInner;
use strongroom_format::{DoomedKey, ObjectName};
use strongroom_store::state::{StateWrite, Table};

/// All changes of one commit. Made by [`Vault::write`](crate::Vault::write).
///
/// It sees its own changes. Nothing of it is visible to others, or on disk, before the commit.
pub struct WriteTx<'t> {
    pub(crate) state: StateWrite<'t>,
    pub(crate) vault: Arc<VaultInner>,
    pub(crate) namespaces: Namespaces,
    /// Contents that this transaction refers to first.
    pub(crate) adopted: Vec<Arc<StoredContent>>,
    /// Lanes that have had a checkpoint, with how many that makes.
    pub(crate) checkpointed: Vec<(Arc<AtomicU64>, u64)>,
    /// What is to be heard of once it has committed.
    pub(crate) heard: Heard,
    /// Lengths of contents that this transaction lets go of, in bytes together.
    pub(crate) let_go: u64,
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
    adopted: Vec<Arc<StoredContent>>,
    /// If it adopted any: how much of the content store lies in state, in bytes.
    state_bytes: u64,
    let_go: u64,
    checkpointed: Vec<(Arc<AtomicU64>, u64)>,
    heard: Heard,
    /// It wrote doomed rows.
    doomed: bool,
    /// Rows of tables pending and doomed that this commit removed.
    settled: usize,
    /// Uploads whose rows say from this commit on that they were given up.
    given_up: usize,
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
            let_go: 0,
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

    /// Writes the rows of a content that was stored before, and a reference to it.
    pub(crate) fn adopt(&mut self, stored: &Arc<StoredContent>) -> Result<()> {
        stored.write(self)?;
        self.adopted.push(Arc::clone(stored));
        Ok(())
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

    /// What goes along with every commit: a batch of what dropped namespaces left, the rows of objects that
    /// are deleted already, and those of uploads that ended without their commit.
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
        let given_up = self.vault.uploads.given_up();
        Uploads::mark(&mut self.state, &given_up)?;
        let state_bytes = if self.adopted.is_empty() { 0 } else { stored_total(&self)?.0 };
        let Self { commit, adopted, checkpointed, heard, let_go, doomed, dropping, .. } = self;
        let (settled, given_up) = (settled.len(), given_up.len());
        Ok(Committed {
            commit,
            adopted,
            state_bytes,
            let_go,
            checkpointed,
            heard,
            doomed,
            settled,
            given_up,
            dropping,
        })
    }
}

impl Committed {
    /// Tells the vault that the commit has happened, and how long it took.
    pub(crate) fn publish(self, vault: &Arc<VaultInner>, took: Duration) {
        vault.pins.publish(self.commit);
        vault.uploads.publish(self.commit);
        vault.cleaner.forget_settled(self.settled);
        vault.uploads.forget_given_up(self.given_up);
        vault.cleaner.set_dropping(self.dropping);
        if self.doomed {
            vault.cleaner.note_doomed();
        }
        self.adopted.iter().for_each(|stored| stored.settle());
        vault.pack_if_much(self.state_bytes);
        vault.gc_if_much(self.let_go);
        for (known, checkpoints) in self.checkpointed {
            known.store(checkpoints, Ordering::Release);
        }
        vault.metrics.committed(took, &self.heard);
        vault.bus.send(self.heard);
    }
}
