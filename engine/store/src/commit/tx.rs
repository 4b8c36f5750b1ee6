//! One write transaction, without any feature.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{Error, Result};
use uuid::Uuid;

use super::core::Core;
use super::reclaim::DueRow;
use crate::state::{StateWrite, Table};
use strongroom_format::{DoomedKey, ObjectName};

/// All changes of one commit. It sees its own changes; others see them after the commit.
pub struct Tx<'t> {
    /// The tables.
    pub state: StateWrite<'t>,
    /// Data of features for this transaction.
    pub parts: Parts,
    core: Arc<Core>,
    /// The commit number of this transaction.
    number: u64,
    on_commit: Vec<OnCommit>,
    /// Set if no event and no statistic reports the commit.
    internal: bool,
    /// Set if the transaction has only rows of the engine's own clean-up.
    upkeep: bool,
    doomed: bool,
    /// A refusal that prevents the commit, even if the caller ignores it.
    refused: Option<Error>,
}

type OnCommit = Box<dyn FnOnce(&CommitInfo) + Send>;

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A commit that has happened.
#[derive(Debug)]
pub struct CommitInfo {
    /// Commit number, counted in this session.
    pub number: u64,
    /// Duration from its begin to the end of its sync.
    pub took: Duration,
    /// Set if no event and no statistic reports the commit.
    pub internal: bool,
    /// Data of features for this transaction.
    pub parts: Parts,
}

impl<'t> Tx<'t> {
    pub(super) fn new(state: StateWrite<'t>, core: Arc<Core>) -> Self {
        Self {
            state,
            parts: Parts::default(),
            number: core.read_epochs().next(),
            core,
            on_commit: Vec::new(),
            internal: false,
            upkeep: false,
            doomed: false,
            refused: None,
        }
    }

    /// Returns the core.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the commit number of this transaction.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the id of this session, drawn when the vault was opened.
    pub fn session(&self) -> Uuid {
        self.core.session()
    }

    /// Returns the present time in milliseconds since the Unix epoch.
    pub fn now_unix_millis(&self) -> u64 {
        self.core.clock().unix_millis()
    }

    /// Runs `effect` after the commit, still under the write turn.
    pub fn on_commit(&mut self, effect: impl FnOnce(&CommitInfo) + Send + 'static) {
        self.on_commit.push(Box::new(effect));
    }

    /// Excludes the commit from events and statistics.
    pub fn mark_internal(&mut self) {
        self.internal = true;
    }

    pub(super) fn is_internal(&self) -> bool {
        self.internal
    }

    /// Marks a commit that has only rows of the engine's own clean-up.
    pub(super) fn mark_upkeep(&mut self) {
        (self.internal, self.upkeep) = (true, true);
    }

    pub(super) fn is_upkeep(&self) -> bool {
        self.upkeep
    }

    /// Records a refusal that prevents the commit.
    pub fn refuse(&mut self, error: Error) -> Error {
        self.refused.get_or_insert_with(|| error.clone());
        error
    }

    /// Writes the doomed rows of objects that lost their reference.
    pub fn doom(&mut self, objects: Vec<ObjectName>) -> Result<()> {
        self.doomed |= !objects.is_empty();
        for name in objects {
            let key = DoomedKey { commit: self.number, name }.encode();
            self.state.put(Table::Doomed, &key, &[])?;
        }
        Ok(())
    }

    /// Adds the rows of the hooks, and removes rows of deleted objects.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let core = Arc::clone(&self.core);
        for hook in core.hooks() {
            hook.before_commit(&mut self)?;
        }
        let settled: Vec<DueRow> = core.reclaim().settled();
        for row in &settled {
            self.state.delete(row.table(), row.key())?;
        }
        let Self { parts, number, on_commit, internal, doomed, .. } = self;
        let info = CommitInfo { number, took: Duration::ZERO, internal, parts };
        Ok(Finished { info, on_commit, doomed, settled: settled.len() })
    }
}

/// A transaction that is about to commit, and the work after it.
pub(super) struct Finished {
    pub(super) info: CommitInfo,
    on_commit: Vec<OnCommit>,
    /// Set if it wrote doomed rows.
    doomed: bool,
    /// Number of pending and doomed rows that this commit removed.
    settled: usize,
}

impl Finished {
    /// Does the work after the commit.
    pub(super) fn publish(mut self, core: &Arc<Core>, took: Duration) {
        self.info.took = took;
        core.read_epochs().publish(self.info.number);
        core.reclaim().forget_settled(self.settled);
        if self.doomed {
            core.reclaim().note_doomed();
        }
        for effect in self.on_commit.drain(..) {
            effect(&self.info);
        }
        for hook in core.hooks() {
            Arc::clone(hook).committed(core, &mut self.info);
        }
    }
}

/// Typed values, at most one of each type.
#[derive(Default)]
pub struct Parts(Vec<(TypeId, Box<dyn Any + Send>)>);

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("len", &self.0.len()).finish()
    }
}

impl Parts {
    fn position<T: Any>(&self) -> Option<usize> {
        // Ids are stored outside the boxes, because each write of a record looks up its part.
        self.0.iter().position(|(id, _)| *id == TypeId::of::<T>())
    }

    /// Returns the value of type `T`, if there is one.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.position::<T>().and_then(|at| self.0[at].1.downcast_ref())
    }

    /// Returns the value of type `T`; creates it if it is missing.
    pub fn get_mut<T: Any + Default + Send>(&mut self) -> &mut T {
        let at = self.position::<T>().unwrap_or_else(|| {
            self.0.push((TypeId::of::<T>(), Box::<T>::default()));
            self.0.len() - 1
        });
        self.0[at].1.downcast_mut().expect("found by its type")
    }

    /// Takes the value of type `T` out.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let at = self.position::<T>()?;
        self.0.swap_remove(at).1.downcast().ok().map(|part| *part)
    }
}
