//! The state machine of operations in the model: the result and the effects of each act.
//!
//! Written from the table in ARCHITECTURE.md, not from the engine's code.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom::operations::{OperationState, Resumable, RetryPolicy};
use strongroom_base::ErrorKind;

/// The limit of tries of the driver's operations.
pub(super) const RETRY: RetryPolicy = RetryPolicy {
    attempts_max: 3,
    backoff_first: Duration::from_secs(1),
    backoff_max: Duration::from_secs(3),
};

/// Checkpoints that the driver's operations keep for a lane.
pub(super) const CHECKPOINTS_KEPT: u16 = 3;

/// An act on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `Operations::begin_with`, with that number of lanes.
    Begin(u8),
    /// `Operations::prepare`, with that number of lanes.
    Prepare(u8),
    /// `Operations::resume`.
    Resume,
    /// `Operations::take_over`. The fenced handle is kept.
    TakeOver,
    /// Drops all handles.
    LetGo,
    /// Ends the operation through a handle.
    End(End, Who),
    /// `Lane::complete`.
    CompleteLane(u8, Who),
    /// `Operation::migrate` to a version.
    Migrate(u8, Who),
    /// `Operations::pause`.
    PauseUnowned,
    /// `Operations::abandon`.
    Abandon,
    /// `Operations::delete`.
    Remove,
}

/// The ends that a handle offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `Operation::pause`.
    Pause,
    /// `Operation::complete`.
    Complete,
    /// `Operation::fail`.
    Fail,
    /// `Operation::cancel`.
    Cancel,
}

/// One of an operation's handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The newest handle.
    Newest,
    /// The oldest handle, which may be fenced or ended.
    Oldest,
}

/// A lane in the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneModel {
    /// Number of its checkpoints.
    pub checkpoints: u64,
    /// The lane is complete.
    pub complete: bool,
    /// Data of the kept checkpoints, latest first.
    pub kept: Vec<String>,
}

/// An operation in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationModel {
    /// Its state.
    pub state: OperationState,
    /// Paused on request.
    pub held: bool,
    /// Raised by begin, resume and take-over.
    pub generation: u64,
    /// Tries since the last checkpoint.
    pub attempts: u32,
    /// Version of its checkpoints.
    pub version: u32,
    /// The operation has failed at least once.
    pub failed: bool,
    /// Its lanes by number.
    pub lanes: Vec<LaneModel>,
    /// Time of its last change.
    updated: u64,
}

/// A handle of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleModel {
    generation: u64,
    /// Number among all handles.
    number: u64,
}

/// All operations of a vault, and their handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationsModel {
    /// Operations by number.
    pub operations: BTreeMap<u8, OperationModel>,
    /// Handles by operation, oldest first. They end with the process.
    pub handles: BTreeMap<u8, Vec<HandleModel>>,
    /// The owning handle, by operation.
    owners: BTreeMap<u8, HandleModel>,
    handles_had: u64,
    /// Wall time in milliseconds.
    now: u64,
}

type Answer = Result<(), ErrorKind>;

impl Default for OperationsModel {
    fn default() -> Self {
        Self {
            operations: BTreeMap::new(),
            handles: BTreeMap::new(),
            owners: BTreeMap::new(),
            handles_had: 0,
            now: strongroom_base::component::ManualClock::START_UNIX_MILLIS,
        }
    }
}

impl OperationsModel {
    /// Returns the result of the act.
    ///
    /// `NotFound` also means that the driver has no handle for it.
    pub(super) fn act(&mut self, operation: u8, act: Act) -> Answer {
        match act {
            Act::Begin(lanes) => {
                self.create(operation, lanes, OperationState::Running)?;
                self.own(operation);
                Ok(())
            }
            Act::Prepare(lanes) => self.create(operation, lanes, OperationState::Initialized),
            Act::Resume => self.resume(operation, false),
            Act::TakeOver => self.resume(operation, true),
            Act::LetGo => {
                self.handles.remove(&operation);
                self.owners.remove(&operation);
                Ok(())
            }
            Act::End(end, who) => self.end(operation, end, who),
            Act::CompleteLane(lane, who) => {
                self.lane(operation, lane, who)?.complete = true;
                self.advance(operation);
                Ok(())
            }
            Act::Migrate(version, who) => {
                let found = self.owned(operation, who)?;
                if !found.state.is_active() {
                    return Err(ErrorKind::Invalid);
                }
                found.version = version.into();
                for lane in &mut found.lanes {
                    if let Some(latest) = lane.kept.first_mut() {
                        *latest = migrated(version, latest);
                    }
                }
                self.touch(operation);
                Ok(())
            }
            Act::PauseUnowned => self.end_unowned(operation, OperationState::Paused),
            Act::Abandon => self.end_unowned(operation, OperationState::Cancelled),
            Act::Remove => {
                if self.operations.contains_key(&operation) && self.is_owned(operation) {
                    return Err(ErrorKind::Locked);
                }
                self.operations.remove(&operation);
                Ok(())
            }
        }
    }

    /// Makes a checkpoint with that data, through one of the handles.
    pub(super) fn checkpoint(
        &mut self,
        operation: u8,
        lane: u8,
        data: String,
        complete: bool,
        who: Who,
    ) -> Answer {
        let row = self.lane(operation, lane, who)?;
        row.checkpoints += 1;
        row.complete = complete;
        row.kept.insert(0, data);
        row.kept.truncate(CHECKPOINTS_KEPT.into());
        let found = &self.operations[&operation];
        if complete || found.attempts > 0 || found.state == OperationState::Recovering {
            self.advance(operation);
        }
        Ok(())
    }

    /// Ends the process.
    pub(super) fn end_process(&mut self) {
        self.handles.clear();
        self.owners.clear();
    }

    /// Sets the clock forward or back.
    pub(super) fn jump(&mut self, millis: i64) {
        self.now = self.now.saturating_add_signed(millis);
    }

    /// Drops operations that ended long ago.
    pub(super) fn expire(&mut self, older_millis: u64) {
        let (now, owners) = (self.now, &self.owners);
        self.operations.retain(|number, found| {
            let ended =
                matches!(found.state, OperationState::Completed | OperationState::Cancelled);
            let old = now.saturating_sub(found.updated) >= older_millis;
            !(ended && old) || owners.contains_key(number)
        });
    }

    /// Lists unfinished operations, and whether each can be resumed.
    pub fn unfinished(&self) -> Vec<(u8, OperationState, Resumable)> {
        let left = self.operations.iter().filter(|(_, found)| !found.state.is_finished());
        left.map(|(&number, found)| (number, found.state, self.resumable(number, found))).collect()
    }

    fn resumable(&self, number: u8, found: &OperationModel) -> Resumable {
        if let Some(owner) = self.owners.get(&number) {
            return Resumable::OwnerAlive { generation: owner.generation };
        }
        if found.attempts >= RETRY.attempts_max {
            return Resumable::AttemptsExhausted { attempts: found.attempts };
        }
        if found.held {
            return Resumable::Held;
        }
        // 1 s, 2 s, and so on, from the last change on; at least 1 s after a failure.
        let failed = found.state == OperationState::Failed;
        let backoff = match found.attempts {
            0 if failed => 1_000,
            0 => 0,
            1 => 1_000,
            _ => 2_000,
        };
        match backoff - self.now.saturating_sub(found.updated).min(backoff) {
            0 => Resumable::Ready,
            left => Resumable::BackingOff { wait: Duration::from_millis(left) },
        }
    }

    fn is_owned(&self, operation: u8) -> bool {
        self.owners.contains_key(&operation)
    }

    fn create(&mut self, operation: u8, lanes: u8, state: OperationState) -> Answer {
        if lanes == 0 {
            return Err(ErrorKind::Invalid);
        }
        if self.operations.contains_key(&operation) {
            return Err(ErrorKind::AlreadyExists);
        }
        let begun = u32::from(state == OperationState::Running);
        let created = OperationModel {
            state,
            held: false,
            generation: begun.into(),
            attempts: begun,
            version: 0,
            failed: false,
            lanes: vec![LaneModel::default(); lanes.into()],
            updated: self.now,
        };
        self.operations.insert(operation, created);
        Ok(())
    }

    /// Makes a new handle the owner of the operation.
    fn own(&mut self, operation: u8) {
        let generation = self.operations[&operation].generation;
        let handle = HandleModel { generation, number: self.handles_had };
        self.handles_had += 1;
        self.handles.entry(operation).or_default().push(handle);
        self.owners.insert(operation, handle);
    }

    fn resume(&mut self, operation: u8, by_force: bool) -> Answer {
        let owned = self.is_owned(operation);
        let found = self.operations.get_mut(&operation).ok_or(ErrorKind::NotFound)?;
        let exhausted = found.attempts >= RETRY.attempts_max;
        found.state = match found.state {
            OperationState::Completed => return Err(ErrorKind::AlreadyExists),
            OperationState::Cancelled => return Err(ErrorKind::Invalid),
            _ if owned && !by_force => return Err(ErrorKind::Locked),
            _ if exhausted && !by_force => return Err(ErrorKind::Invalid),
            OperationState::Initialized | OperationState::Paused => OperationState::Running,
            _ => OperationState::Recovering,
        };
        found.held = false;
        found.generation += 1;
        found.attempts = if by_force { 1 } else { found.attempts + 1 };
        self.touch(operation);
        self.own(operation);
        Ok(())
    }

    fn handle(&self, operation: u8, who: Who) -> Result<HandleModel, ErrorKind> {
        let handles = self.handles.get(&operation).ok_or(ErrorKind::NotFound)?;
        let handle = match who {
            Who::Newest => handles.last(),
            Who::Oldest => handles.first(),
        };
        handle.copied().ok_or(ErrorKind::NotFound)
    }

    /// Returns the operation, for a handle that owns it.
    fn owned(&mut self, operation: u8, who: Who) -> Result<&mut OperationModel, ErrorKind> {
        let handle = self.handle(operation, who)?;
        let found = self.operations.get_mut(&operation).ok_or(ErrorKind::NotFound)?;
        match self.owners.get(&operation) {
            Some(owner) if *owner == handle => Ok(found),
            _ => Err(ErrorKind::Conflict),
        }
    }

    /// Returns a lane that accepts checkpoints, for a handle that owns it.
    fn lane(&mut self, operation: u8, lane: u8, who: Who) -> Result<&mut LaneModel, ErrorKind> {
        self.handle(operation, who)?;
        let found = self.operations.get(&operation).ok_or(ErrorKind::NotFound)?;
        if usize::from(lane) >= found.lanes.len() {
            return Err(ErrorKind::NotFound);
        }
        let lane = &mut self.owned(operation, who)?.lanes[usize::from(lane)];
        if lane.complete { Err(ErrorKind::Invalid) } else { Ok(lane) }
    }

    fn end(&mut self, operation: u8, end: End, who: Who) -> Answer {
        let found = self.owned(operation, who)?;
        if found.state == OperationState::Completed && end == End::Complete {
            // The operation ended with its last lane.
            self.owners.remove(&operation);
            return Ok(());
        }
        if !found.state.is_active() {
            return Err(ErrorKind::Invalid);
        }
        match end {
            End::Pause => {
                found.state = OperationState::Paused;
                found.held = true;
                found.attempts = found.attempts.saturating_sub(1);
            }
            End::Complete => {
                found.state = OperationState::Completed;
                found.attempts = 0;
                found.lanes.iter_mut().for_each(|lane| lane.complete = true);
            }
            End::Fail => {
                found.state = OperationState::Failed;
                found.failed = true;
            }
            End::Cancel => found.state = OperationState::Cancelled,
        }
        self.touch(operation);
        self.owners.remove(&operation);
        Ok(())
    }

    fn end_unowned(&mut self, operation: u8, state: OperationState) -> Answer {
        let owned = self.is_owned(operation);
        let found = self.operations.get_mut(&operation).ok_or(ErrorKind::NotFound)?;
        if owned {
            return Err(ErrorKind::Locked);
        }
        if found.state.is_finished() {
            return Err(ErrorKind::Invalid);
        }
        found.state = state;
        found.held = state == OperationState::Paused;
        self.touch(operation);
        Ok(())
    }

    /// Records progress of a lane.
    fn advance(&mut self, operation: u8) {
        let found = self.operations.get_mut(&operation).expect("its lane was found");
        found.attempts = 0;
        let complete = found.lanes.iter().all(|lane| lane.complete);
        found.state = if complete { OperationState::Completed } else { OperationState::Running };
        self.touch(operation);
    }

    /// Time in a row never decreases, even if the clock does.
    fn touch(&mut self, operation: u8) {
        if let Some(found) = self.operations.get_mut(&operation) {
            found.updated = found.updated.max(self.now);
        }
    }
}

/// Returns the migrated data of the driver.
pub(super) fn migrated(version: u8, data: &str) -> String {
    format!("{version}: {data}")
}
