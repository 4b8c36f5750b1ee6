//! A vault as a plain map, and the calls that change it.
//!
//! The model computes the result of each call and its effects. It has no files, no commits and no
//! content. Its agreement with the engine is the proof.
//!
//! - `operation_model.rs`: operations as plain values.
//! - `driver.rs`, `operation_driver.rs`: calls on a vault and on its model, compared.
//! - `strategy.rs`: random calls, for proptest to shrink.

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

/// A value's bytes, given by length and seed.
///
/// So calls stay short to read and to shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// Length in bytes.
    pub len: u32,
    /// Distinguishes values of the same length.
    pub seed: u8,
}

impl Pattern {
    /// Returns the bytes: no run of them repeats, and no part is all zeros.
    pub fn bytes(self) -> Vec<u8> {
        let mut state = u64::from(self.seed) << 32 | u64::from(self.len) | 1;
        (0..self.len)
            .map(|_| {
                // A linear congruential step (Knuth, MMIX); its high byte is random enough here.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    }

    /// Returns whether the value is too long for a row.
    ///
    /// Such a value must be staged.
    pub fn is_staged(self) -> bool {
        self.len as usize > ROW_BYTES_MAX
    }
}

/// A change of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets the value of a key.
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
    /// Drops a namespace. A batch, which cannot do that, removes key 0 instead.
    Drop {
        /// Namespace by number.
        namespace: u8,
    },
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its closure returns `Ok`.
    Commit,
    /// Its closure returns an error.
    Error,
    /// Its closure panics.
    Panic,
}

/// A call of a vault, or an event that affects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Vault::write`.
    Write {
        /// The changes, in order.
        steps: Vec<Step>,
        /// The end of the transaction.
        ending: Ending,
    },
    /// `Vault::apply`, on the condition that a key exists or is absent.
    Apply {
        /// The changes, in order.
        steps: Vec<Step>,
        /// Namespace, key, and whether the record must be there.
        condition: Option<(u8, u8, bool)>,
    },
    /// `Vault::stage`, and a drop of the result.
    StageAndDrop(Pattern),
    /// An act on an operation.
    Operate {
        /// Operation by number.
        operation: u8,
        /// The act.
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
        /// Completes the lane.
        complete: bool,
        /// Uses a batch; otherwise a closure.
        batch: bool,
        /// The handle.
        who: Who,
    },
    /// `Operations::expire`, for operations of at least that age.
    Expire {
        /// Age in seconds.
        older_secs: u8,
    },
    /// Sets the clock forward or back.
    Jump {
        /// Milliseconds of the change.
        millis: i64,
    },
    /// Takes a snapshot and keeps it.
    Hold,
    /// Compares the oldest kept snapshot with its model, and drops it.
    Release,
    /// `Vault::gc` without repacking.
    Clean,
    /// `Vault::check`, reading all data.
    Check,
    /// Closes and opens again.
    Reopen,
    /// Cuts the power. The seed decides the fate of unsynced data.
    Crash {
        /// Seed of the image.
        seed: u64,
    },
}

/// A vault as a plain map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Records by namespace and key. A namespace stays after its last record.
    pub records: BTreeMap<u8, BTreeMap<u8, Pattern>>,
    /// Operations, and their handles.
    pub operations: OperationsModel,
}

impl Model {
    /// Makes an empty vault.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the result of the call. On `Ok` the model has changed as the vault must have.
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

/// Returns the steps as a batch makes them: it cannot drop a namespace.
fn as_batch(steps: &[Step]) -> Vec<Step> {
    let as_removal = |step: &Step| match *step {
        Step::Drop { namespace } => Step::Remove { namespace, key: 0 },
        other => other,
    };
    steps.iter().map(as_removal).collect()
}
