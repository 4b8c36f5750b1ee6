//! Running calls on a vault and on its model, and comparing both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::operations::{Checkpoint, ExpireOperations, Operation, OperationState, Recorder};
use strongroom::{Batch, Snapshot, Staged, Vault, VaultOptions, WriteTx};
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::ManualClock;
use strongroom_base::{Error, ErrorKind, Result};

use super::{Call, Ending, Model, Pattern, Step, as_batch};
use crate::vault::world_options;
use crate::world::{Replay, World};

/// A vault on its own world, together with its model.
pub struct Driver {
    world: World,
    vault: Option<Vault>,
    model: Model,
    pub(super) handles: BTreeMap<u8, Vec<Operation>>,
    held: VecDeque<(Snapshot, Model)>,
    clock: ManualClock,
    transitions: Transitions,
    seed: u64,
}

/// Every reported change of an operation's state.
#[derive(Clone, Debug, Default)]
struct Transitions {
    seen: Arc<Mutex<BTreeSet<Transition>>>,
}

/// The previous state, if there was one, and the new state.
pub type Transition = (Option<OperationState>, OperationState);

impl Recorder for Transitions {
    fn transition(&self, from: Option<OperationState>, to: OperationState) {
        self.seen.lock().insert((from, to));
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("model", &self.model).finish_non_exhaustive()
    }
}

/// Path of the driver's vault in its world.
const PATH: &str = "/vault";

impl Driver {
    /// Makes a new vault in `world`.
    pub fn create(world: World, seed: u64) -> Result<Self> {
        let mut driver = Self::over(world, None, Model::new(), seed);
        driver.vault = Some(driver.options().create(PATH)?);
        Ok(driver)
    }

    /// Drives a borrowed vault that matches `model`, for use of [`call`](Self::call).
    pub fn lent(vault: Vault, model: Model) -> Self {
        Self::over(World::new(), Some(vault), model, 0)
    }

    /// Returns the observed changes of operations' states.
    pub fn transitions(&self) -> BTreeSet<Transition> {
        self.transitions.seen.lock().clone()
    }

    fn options(&self) -> VaultOptions {
        world_options(&self.world, self.seed)
            .clock(self.clock.clone())
            .recorder(self.transitions.clone())
    }

    /// Ends driving, drops all handles and snapshots, and returns the model.
    pub fn into_model(self) -> Model {
        self.model
    }

    fn over(world: World, vault: Option<Vault>, model: Model, seed: u64) -> Self {
        Self {
            world,
            vault,
            model,
            handles: BTreeMap::new(),
            held: VecDeque::new(),
            clock: ManualClock::new(),
            transitions: Transitions::default(),
            seed,
        }
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn vault(&self) -> &Vault {
        self.vault.as_ref().expect("only missing inside `reopen`")
    }

    /// Makes the call on both; the error describes the difference.
    pub fn run(&mut self, call: &Call) -> Result<(), String> {
        let mut after = self.model.clone();
        let expected = after.apply(call);
        let answered = self.make(call);
        match (expected, answered) {
            (Ok(()), Ok(())) => self.model = after,
            (Err(expected), Err(error)) if error.kind() == expected => {}
            (expected, answered) => {
                return Err(format!("{call:?}: expected {expected:?}, got {answered:?}"));
            }
        }
        self.compare().map_err(|differs| format!("after {call:?}: {differs}"))
    }

    /// Makes the call on the vault alone. A refusal of the kind that the model expects counts as a
    /// result.
    pub fn call(&mut self, call: &Call) -> Result<()> {
        let refused = self.model.apply(call).err();
        match (refused, self.make(call)) {
            (Some(kind), Err(error)) if error.kind() == kind => Ok(()),
            (Some(kind), Ok(())) => Err(Error::new(ErrorKind::Corrupt, "drive vault")
                .with_detail(format!("{call:?} was not refused as {}", kind.as_str()))),
            (_, made) => made,
        }
    }

    /// Compares the whole vault with the model.
    pub fn compare(&self) -> Result<(), String> {
        self.model.differs_from(self.vault())
    }

    fn make(&mut self, call: &Call) -> Result<()> {
        match call {
            Call::Write { steps, ending } => self.write(steps, *ending),
            Call::Apply { steps, condition } => {
                let mut batch = self.batch(steps)?;
                match condition {
                    Some((namespace, key, true)) => {
                        batch.require_present(namespace_name(*namespace), key_bytes(*key));
                    }
                    Some((namespace, key, false)) => {
                        batch.require_absent(namespace_name(*namespace), key_bytes(*key));
                    }
                    None => {}
                }
                self.vault().apply(batch)
            }
            Call::StageAndDrop(value) => self.vault().stage(&value.bytes()[..]).map(drop),
            Call::Operate { operation, act } => self.act(*operation, *act),
            Call::Checkpoint { operation, lane, steps, complete, batch, who } => {
                let lane = self.lane(*operation, *lane, *who)?;
                let checkpoint = Checkpoint::new(format!("{steps:?}"));
                let checkpoint = if *complete { checkpoint.complete() } else { checkpoint };
                if *batch {
                    let steps =
                        if bug::is_planted(Bug::DriverSkipsBatchData) { &[] } else { &steps[..] };
                    lane.commit(self.batch(steps)?, checkpoint)
                } else {
                    let staged = self.stage(steps)?;
                    self.vault().write(|tx| {
                        perform(tx, steps, staged)?;
                        tx.checkpoint(&lane, checkpoint)
                    })
                }
            }
            Call::Expire { older_secs } => {
                let older_than = Duration::from_secs((*older_secs).into());
                let options = ExpireOperations::new().older_than(older_than);
                self.vault().operations().expire(&options).map(drop)
            }
            Call::Jump { millis } => {
                self.clock.jump(*millis);
                Ok(())
            }
            Call::Hold => {
                self.held.push_back((self.vault().read()?, self.model.clone()));
                Ok(())
            }
            Call::Release => self.release_oldest(),
            Call::Clean => self.vault().gc(&GcOptions::new().without_repacking(true)).map(drop),
            Call::Check => self.check(),
            Call::Reopen => self.reopen(None),
            Call::Crash { seed } => self.reopen(Some(*seed)),
        }
    }

    fn write(&self, steps: &[Step], ending: Ending) -> Result<()> {
        let staged = self.stage(steps)?;
        let write = || {
            self.vault().write(|tx| {
                perform(tx, steps, staged)?;
                match ending {
                    Ending::Commit => Ok(()),
                    Ending::Error => Err(Error::new(ErrorKind::Invalid, "fail on purpose")),
                    // Not `panic!`, whose message would be printed thousands of times.
                    Ending::Panic => std::panic::resume_unwind(Box::new("on purpose")),
                }
            })
        };
        let panicked = |_| Err(Error::new(ErrorKind::Invalid, "panic on purpose"));
        catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(panicked)
    }

    fn stage(&self, steps: &[Step]) -> Result<VecDeque<Staged>> {
        let long = |step: &Step| match step {
            Step::Insert { value, .. } if value.is_staged() => Some(*value),
            _ => None,
        };
        let values = steps.iter().filter_map(long);
        values.map(|value| self.vault().stage(&value.bytes()[..])).collect()
    }

    fn batch(&self, steps: &[Step]) -> Result<Batch> {
        let mut batch = Batch::new();
        for step in as_batch(steps) {
            match step {
                Step::Insert { namespace, key, value } if value.is_staged() => {
                    let staged = self.vault().stage(&value.bytes()[..])?;
                    batch.insert(namespace_name(namespace), key_bytes(key), staged);
                }
                Step::Insert { namespace, key, value } => {
                    batch.insert(namespace_name(namespace), key_bytes(key), value.bytes());
                }
                Step::Remove { namespace, key } => {
                    batch.delete(namespace_name(namespace), key_bytes(key));
                }
                Step::Drop { .. } => unreachable!("as_batch leaves none"),
            }
        }
        Ok(batch)
    }

    fn release_oldest(&mut self) -> Result<()> {
        let Some((snapshot, model)) = self.held.pop_front() else {
            return Ok(());
        };
        model.differs(&snapshot).map_err(|differs| {
            Error::new(ErrorKind::Corrupt, "compare held snapshot").with_detail(differs)
        })
    }

    fn check(&self) -> Result<()> {
        let report = self.vault().check(&CheckOptions::new().read_data(ReadData::All))?;
        if report.is_ok() && report.unknown.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "check vault").with_detail(format!("{report:?}")))
    }

    /// Reopens after a close, or after a power cut with that seed.
    fn reopen(&mut self, cut: Option<u64>) -> Result<()> {
        while !self.held.is_empty() {
            self.release_oldest()?;
        }
        self.handles.clear();
        let vault = self.vault.take().expect("put back below");
        match cut {
            None => vault.close()?,
            Some(seed) => {
                let mut replay = Replay::new(&self.world.journal());
                replay.advance_to(self.world.events());
                self.world = replay.image(seed);
                drop(vault);
            }
        }
        self.seed += 1;
        self.vault = Some(self.options().open(PATH)?);
        self.check()
    }
}

fn namespace_name(number: u8) -> String {
    format!("namespace-{number}")
}

fn key_bytes(number: u8) -> Vec<u8> {
    format!("key-{number:03}").into_bytes()
}

/// Makes the steps in the transaction; `staged` has their long values.
fn perform(tx: &mut WriteTx<'_>, steps: &[Step], mut staged: VecDeque<Staged>) -> Result<()> {
    let mut inserted = false;
    for step in steps {
        match *step {
            Step::Insert { namespace, key, value } => {
                inserted = true;
                let name = namespace_name(namespace);
                if value.is_staged() {
                    let staged = staged.pop_front().expect("staged before");
                    tx.insert(&name, key_bytes(key), staged)?;
                } else {
                    tx.insert(&name, key_bytes(key), value.bytes())?;
                }
            }
            Step::Remove { .. } if inserted && bug::is_planted(Bug::DriverSkipsRemoval) => {}
            Step::Remove { namespace, key } => {
                tx.delete(&namespace_name(namespace), key_bytes(key))?;
            }
            Step::Drop { namespace } => {
                tx.delete_namespace(&namespace_name(namespace))?;
            }
        }
    }
    Ok(())
}

pub(super) fn operation_id(number: u8) -> String {
    format!("operation-{number}")
}

pub(super) fn lane_name(number: u8) -> String {
    format!("lane-{number}")
}

impl Model {
    /// Compares `snapshot` with the model; the error describes the difference.
    pub fn differs(&self, snapshot: &Snapshot) -> Result<(), String> {
        let found = snapshot.namespaces().map_err(|e| e.to_string())?;
        let names: Vec<_> = found.iter().map(|namespace| &*namespace.name).collect();
        let expected: Vec<_> = self.records.keys().map(|number| namespace_name(*number)).collect();
        if names != expected {
            return Err(format!("namespaces are {names:?}, expected {expected:?}"));
        }
        for ((number, records), namespace) in self.records.iter().zip(&found) {
            if namespace.records != records.len() as u64 {
                let listed = namespace.records;
                return Err(format!(
                    "{} reports {listed} records, not {}",
                    namespace.name,
                    records.len()
                ));
            }
            records_differ(snapshot, *number, records)?;
        }
        self.operations.differs(snapshot)
    }

    /// Compares the vault and its list of unfinished operations with the model.
    pub fn differs_from(&self, vault: &Vault) -> Result<(), String> {
        let snapshot = vault.read().map_err(|e| e.to_string())?;
        self.differs(&snapshot)?;
        self.operations.unfinished_differ(vault)
    }
}

fn records_differ(
    snapshot: &Snapshot,
    namespace: u8,
    expected: &BTreeMap<u8, Pattern>,
) -> Result<(), String> {
    let name = namespace_name(namespace);
    let mut expected = expected.iter();
    for record in snapshot.prefix(&name, "").map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let Some((key, value)) = expected.next() else {
            return Err(format!("{name} has a record too many"));
        };
        if record.key() != key_bytes(*key) {
            return Err(format!("{name} lacks key {key}, or has one too many before it"));
        }
        let bytes = record.value().bytes().map_err(|e| format!("{name} key {key}: {e}"))?;
        if bytes != value.bytes() {
            return Err(format!("{name} key {key} has another value than {value:?}"));
        }
    }
    expected.next().map_or(Ok(()), |(key, _)| Err(format!("{name} lacks key {key}")))
}
