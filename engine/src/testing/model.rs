//! A vault as a plain map, and the calls that change it.
//!
//! The model says what each call answers and what is there afterwards. It has no files, no
//! commits and no content; that it agrees with the engine is the proof.

use std::collections::BTreeMap;

use strongroom_backends::ErrorKind;

use crate::ROW_BYTES_MAX;

/// Bytes of a value, told by length and seed, so that calls stay short to read and to shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// Length in bytes.
    pub len: u32,
    /// Tells values of one length apart.
    pub seed: u8,
}

impl Pattern {
    /// The bytes: no run of them repeats, and none are zeros alone.
    pub fn bytes(self) -> Vec<u8> {
        let mut state = u64::from(self.seed) << 32 | u64::from(self.len) | 1;
        (0..self.len)
            .map(|_| {
                // A linear congruential step (Knuth, MMIX); its high byte is good enough here.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    }

    /// Whether it is too long for state and must be staged.
    pub fn is_staged(self) -> bool {
        self.len as usize > ROW_BYTES_MAX
    }
}

/// A change of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a value the value of a key.
    Insert {
        /// Namespace by number.
        namespace: u8,
        /// Key by number.
        key: u8,
        /// The value; staged if it is long.
        value: Pattern,
    },
    /// Removes a record.
    Remove {
        /// Namespace by number.
        namespace: u8,
        /// Key by number.
        key: u8,
    },
    /// Drops a namespace. In a batch, which cannot, it removes key 0.
    Drop {
        /// Namespace by number.
        namespace: u8,
    },
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its closure returns `Ok`.
    Commit,
    /// Its closure returns an error.
    Error,
    /// Its closure panics.
    Panic,
}

/// A call of a vault, or something that happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Vault::write`.
    Write {
        /// The changes, in order.
        steps: Vec<Step>,
        /// How it ends.
        ending: Ending,
    },
    /// `Vault::apply`, on the condition that a key is there or absent.
    Apply {
        /// The changes, in order.
        steps: Vec<Step>,
        /// Namespace, key, and whether the record must be there.
        condition: Option<(u8, u8, bool)>,
    },
    /// `Vault::stage`, and nothing done with it.
    StageAndDrop(Pattern),
    /// `Vault::begin`.
    Begin {
        /// Operation by number.
        operation: u8,
        /// How many lanes.
        lanes: u8,
    },
    /// `Vault::resume`.
    Resume {
        /// Operation by number.
        operation: u8,
    },
    /// `Vault::take_over`. The handle that was fenced is kept.
    TakeOver {
        /// Operation by number.
        operation: u8,
    },
    /// Drops all handles of an operation.
    LetGo {
        /// Operation by number.
        operation: u8,
    },
    /// Changes with a checkpoint, by the newest handle or by a fenced one.
    Checkpoint {
        /// Operation by number.
        operation: u8,
        /// Lane by number.
        lane: u8,
        /// The changes, in order.
        steps: Vec<Step>,
        /// Whether it completes the lane.
        complete: bool,
        /// By a batch; else by a closure.
        batch: bool,
        /// By a handle that was taken over, if there is one.
        stale: bool,
    },
    /// Takes a snapshot and keeps it.
    Hold,
    /// Compares the oldest kept snapshot with the model of its time, and drops it.
    Release,
    /// `Vault::clean`.
    Clean,
    /// `Vault::check`, reading all data.
    Check,
    /// Closes and opens again.
    Reopen,
    /// Cuts the power; what was not synced ends as the seed says.
    Crash {
        /// Seed of the image.
        seed: u64,
    },
}

/// A lane as the model has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneModel {
    /// How many checkpoints it has had.
    pub checkpoints: u64,
    /// Whether it is complete.
    pub complete: bool,
}

/// An operation as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationModel {
    /// Raised by begin, resume and take-over.
    pub generation: u64,
    /// Its lanes by number.
    pub lanes: Vec<LaneModel>,
}

impl OperationModel {
    /// Whether all lanes are complete.
    pub fn is_complete(&self) -> bool {
        self.lanes.iter().all(|lane| lane.complete)
    }
}

/// A vault as a plain map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Records by namespace and key. A namespace stays when its last record goes.
    pub records: BTreeMap<u8, BTreeMap<u8, Pattern>>,
    /// Operations by number.
    pub operations: BTreeMap<u8, OperationModel>,
    /// Generations of the live handles, by operation, oldest first. Gone with the process.
    pub handles: BTreeMap<u8, Vec<u64>>,
}

impl Model {
    /// An empty vault.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the call answers; on `Ok` the model has changed as the vault must have.
    pub fn apply(&mut self, call: &Call) -> Result<(), ErrorKind> {
        match call {
            Call::Write { steps, ending } => match ending {
                Ending::Commit => self.steps(steps),
                Ending::Error | Ending::Panic => return Err(ErrorKind::Invalid),
            },
            Call::Apply { steps, condition } => {
                if let Some((namespace, key, present)) = condition
                    && self.has(*namespace, *key) != *present
                {
                    return Err(ErrorKind::Conflict);
                }
                self.steps(&as_batch(steps));
            }
            Call::Begin { operation, lanes } => return self.begin(*operation, *lanes),
            Call::Resume { operation } => {
                if self.operations.get(operation).is_some_and(|found| !found.is_complete())
                    && self.handles.contains_key(operation)
                {
                    return Err(ErrorKind::Locked);
                }
                return self.claim(*operation);
            }
            Call::TakeOver { operation } => return self.claim(*operation),
            Call::LetGo { operation } => drop(self.handles.remove(operation)),
            Call::Checkpoint { operation, lane, steps, complete, batch, stale } => {
                let steps = if *batch { as_batch(steps) } else { steps.clone() };
                return self.checkpoint(*operation, *lane, &steps, *complete, *stale);
            }
            Call::Reopen | Call::Crash { .. } => self.handles.clear(),
            Call::StageAndDrop(_) | Call::Hold | Call::Release | Call::Clean | Call::Check => {}
        }
        Ok(())
    }

    fn has(&self, namespace: u8, key: u8) -> bool {
        self.records.get(&namespace).is_some_and(|records| records.contains_key(&key))
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Insert { namespace, key, value } => {
                    self.records.entry(namespace).or_default().insert(key, value);
                }
                Step::Remove { namespace, key } => {
                    if let Some(records) = self.records.get_mut(&namespace) {
                        records.remove(&key);
                    }
                }
                Step::Drop { namespace } => drop(self.records.remove(&namespace)),
            }
        }
    }

    fn begin(&mut self, operation: u8, lanes: u8) -> Result<(), ErrorKind> {
        if lanes == 0 {
            return Err(ErrorKind::Invalid);
        }
        if self.operations.contains_key(&operation) {
            return Err(ErrorKind::AlreadyExists);
        }
        let lanes = vec![LaneModel::default(); lanes.into()];
        self.operations.insert(operation, OperationModel { generation: 1, lanes });
        self.handles.entry(operation).or_default().push(1);
        Ok(())
    }

    fn claim(&mut self, operation: u8) -> Result<(), ErrorKind> {
        let found = self.operations.get_mut(&operation).ok_or(ErrorKind::NotFound)?;
        if found.is_complete() {
            return Err(ErrorKind::AlreadyExists);
        }
        found.generation += 1;
        self.handles.entry(operation).or_default().push(found.generation);
        Ok(())
    }

    /// `NotFound` stands for a call that the driver cannot make, for want of a handle.
    fn checkpoint(
        &mut self,
        operation: u8,
        lane: u8,
        steps: &[Step],
        complete: bool,
        stale: bool,
    ) -> Result<(), ErrorKind> {
        let handles = self.handles.get(&operation).ok_or(ErrorKind::NotFound)?;
        let (oldest, newest) = (handles.first(), handles.last());
        let generation = *if stale { oldest } else { newest }.ok_or(ErrorKind::NotFound)?;
        let found = self.operations.get_mut(&operation).ok_or(ErrorKind::NotFound)?;
        let current = found.generation;
        let row = found.lanes.get_mut(usize::from(lane)).ok_or(ErrorKind::NotFound)?;
        if generation != current {
            return Err(ErrorKind::Conflict);
        }
        if row.complete {
            return Err(ErrorKind::Invalid);
        }
        row.checkpoints += 1;
        row.complete = complete;
        self.steps(steps);
        Ok(())
    }
}

/// The steps as a batch makes them: it cannot drop a namespace.
pub(super) fn as_batch(steps: &[Step]) -> Vec<Step> {
    let as_removal = |step: &Step| match *step {
        Step::Drop { namespace } => Step::Remove { namespace, key: 0 },
        other => other,
    };
    steps.iter().map(as_removal).collect()
}
