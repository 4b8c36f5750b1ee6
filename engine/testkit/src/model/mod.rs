//! A vault as a plain map, and the calls that change it.
//!
//! The model says what each call answers and what is there afterwards. It has no files, no
//! commits and no content; that it agrees with the engine is the proof.
//!
//! - `operation_model.rs`: operations as plain values.
//! - `driver.rs`, `operation_driver.rs`: calls on a vault and on its model, compared.
//! - `strategy.rs`: calls at random, for proptest to shrink.

use std::collections::BTreeMap;

use strongroom::records::ROW_BYTES_MAX;
use strongroom_base::ErrorKind;

mod driver;
mod operation_driver;
mod operation_model;
mod strategy;

pub use driver::{Driver, Transition};
pub use operation_model::{Act, End, HandleModel, LaneModel, OperationModel, OperationsModel, Who};
pub use strategy::{call, calls, calls_of_seed, operation_calls, operation_calls_of_seed};

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
    /// Something done to an operation.
    Operate {
        /// Operation by number.
        operation: u8,
        /// What.
        act: Act,
    },
    /// Changes with a checkpoint.
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
        /// By which handle.
        who: Who,
    },
    /// `Operations::expire`, of what is so old.
    Expire {
        /// Age in seconds.
        older_secs: u8,
    },
    /// Puts the clock forward or back.
    Jump {
        /// How far.
        millis: i64,
    },
    /// Takes a snapshot and keeps it.
    Hold,
    /// Compares the oldest kept snapshot with the model of its time, and drops it.
    Release,
    /// `Vault::gc` without repacking.
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

/// A vault as a plain map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Records by namespace and key. A namespace stays when its last record goes.
    pub records: BTreeMap<u8, BTreeMap<u8, Pattern>>,
    /// Operations, and their handles.
    pub operations: OperationsModel,
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
            Call::Operate { operation, act } => return self.operations.act(*operation, *act),
            Call::Checkpoint { operation, lane, steps, complete, batch, who } => {
                let data = format!("{steps:?}");
                self.operations.checkpoint(*operation, *lane, data, *complete, *who)?;
                self.steps(&if *batch { as_batch(steps) } else { steps.clone() });
            }
            Call::Expire { older_secs } => {
                self.operations.expire(u64::from(*older_secs) * 1_000);
            }
            Call::Jump { millis } => self.operations.jump(*millis),
            Call::Reopen | Call::Crash { .. } => self.operations.end_process(),
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
}

/// The steps as a batch makes them: it cannot drop a namespace.
fn as_batch(steps: &[Step]) -> Vec<Step> {
    let as_removal = |step: &Step| match *step {
        Step::Drop { namespace } => Step::Remove { namespace, key: 0 },
        other => other,
    };
    steps.iter().map(as_removal).collect()
}
