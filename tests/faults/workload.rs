//! The workload's steps, environments, and visible state after each step.

use std::cell::Cell;
use std::sync::Arc;

use strongroom::backends::Memory;
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::operations::{Checkpoint, OperationStatus};
use strongroom::storage::MemoryState;
use strongroom::{Batch, Result, Vault, VaultOptions};
use strongroom_testkit::{DeferredBackend, FaultyBackend, SeededEntropy, TestKey, World};

use crate::support::clock::SharedClock;
use crate::support::records::{check, long};

/// Bytes of the cache. With this size most calls are not reads.
const CACHE_BYTES: usize = 1 << 20;

/// Creates and opens a vault, with or without faults.
pub(crate) trait Environment {
    fn create(&self) -> Result<Vault>;
    fn open(&self) -> Result<Vault>;
    fn clear_faults(&self);
}

/// Bytes of an object. Long values are longer, so they are stored in packs.
const OBJECT_BYTES: usize = 32 << 10;

/// Returns options that draw other names at every opening.
fn options(seeds: &Cell<u64>) -> VaultOptions {
    seeds.set(seeds.get() + 1);
    Vault::options(TestKey)
        .clock(SharedClock::default())
        .entropy(SeededEntropy::new(seeds.get()))
        .cache_bytes(CACHE_BYTES)
        .object_bytes(OBJECT_BYTES)
}

/// A simulated disk.
pub(crate) struct WorldEnvironment {
    pub(crate) world: World,
    seeds: Cell<u64>,
}

impl WorldEnvironment {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let seeds = Cell::new(0);
        Self { world, seeds }
    }

    /// Returns the number of file calls of the whole workload.
    pub(crate) fn calls() -> u64 {
        let environment = Self::new();
        run(&environment);
        environment.world.calls()
    }
}

impl Environment for WorldEnvironment {
    fn create(&self) -> Result<Vault> {
        let options = options(&self.seeds).file_system(self.world.clone());
        options.create("/vault")
    }

    fn open(&self) -> Result<Vault> {
        let options = options(&self.seeds).file_system(self.world.clone());
        options.open("/vault")
    }

    fn clear_faults(&self) {
        self.world.clear_faults();
    }
}

/// State in memory, and content on a backend that fails.
pub(crate) struct BackendEnvironment {
    pub(crate) faulty: Arc<FaultyBackend>,
    state: MemoryState,
    seeds: Cell<u64>,
}

impl BackendEnvironment {
    pub(crate) fn new() -> Self {
        Self {
            faulty: Arc::new(FaultyBackend::new(Arc::new(Memory::new()))),
            state: MemoryState::new(),
            seeds: Cell::new(0),
        }
    }

    pub(crate) fn calls() -> u64 {
        let environment = Self::new();
        run(&environment);
        environment.faulty.calls()
    }
}

impl Environment for BackendEnvironment {
    fn create(&self) -> Result<Vault> {
        options(&self.seeds).create_on(self.state.clone(), Arc::clone(&self.faulty))
    }

    fn open(&self) -> Result<Vault> {
        options(&self.seeds).open_on(self.state.clone(), Arc::clone(&self.faulty))
    }

    fn clear_faults(&self) {
        self.faulty.clear();
    }
}

/// State in memory, and a backend that loses its acknowledged objects.
///
/// They are lost when the vault closes.
pub(crate) struct LosingEnvironment {
    memory: Memory,
    state: MemoryState,
    seeds: Cell<u64>,
}

impl LosingEnvironment {
    pub(crate) fn new() -> Self {
        Self { memory: Memory::new(), state: MemoryState::new(), seeds: Cell::new(0) }
    }

    fn backend(&self) -> DeferredBackend {
        DeferredBackend::new(Arc::new(self.memory.clone()), u64::MAX)
    }
}

impl Environment for LosingEnvironment {
    fn create(&self) -> Result<Vault> {
        options(&self.seeds).create_on(self.state.clone(), self.backend())
    }

    fn open(&self) -> Result<Vault> {
        options(&self.seeds).open_on(self.state.clone(), self.backend())
    }

    fn clear_faults(&self) {}
}

/// A step of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Insert(&'static str),
    InsertTwo(&'static str, &'static str),
    Stage(&'static str, u64),
    Remove(&'static str),
    Apply,
    Begin,
    Commit(&'static str),
    Complete(&'static str),
    FillOther,
    DropOther,
    ReadAll,
    Clean,
    Check,
    Reopen,
}

use Step::{
    Apply, Begin, Check, Clean, Commit, Complete, DropOther, FillOther, Insert, InsertTwo, ReadAll,
    Remove, Reopen, Stage,
};

pub(crate) const STEPS: [Step; 24] = [
    Insert("a"),
    InsertTwo("b", "c"),
    Stage("long", 1),
    Stage("long", 2),
    Remove("b"),
    Reopen,
    Apply,
    Begin,
    Commit("x"),
    Complete("y"),
    FillOther,
    Stage("gone", 3),
    ReadAll,
    DropOther,
    Insert("d"),
    Remove("gone"),
    Clean,
    Reopen,
    Commit("x"),
    Check,
    Complete("x"),
    Remove("long"),
    Insert("e"),
    Reopen,
];

impl Step {
    /// Runs the step. The caller runs `Reopen`.
    pub(crate) fn run(self, vault: &Vault) -> Result<()> {
        match self {
            Insert(key) => vault.write(|tx| tx.insert("n", key, long(5, 3_000))),
            InsertTwo(first, second) => vault.write(|tx| {
                tx.insert("n", first, "1")?;
                tx.insert("n", second, "2")
            }),
            Stage(key, seed) => {
                let staged = vault.stage(&long(seed, 70_000)[..])?;
                vault.write(|tx| tx.insert("n", key, staged))
            }
            Remove(key) => vault.write(|tx| tx.delete("n", key)).map(drop),
            Apply => {
                let mut batch = Batch::new();
                batch.insert("n", "f", "3").delete("n", "c");
                vault.apply(batch)
            }
            Begin => vault.operations().begin("import", ["x", "y"]).map(drop),
            Commit(lane) => commit(vault, lane, false),
            Complete(lane) => commit(vault, lane, true),
            FillOther => {
                let staged = vault.stage(&long(4, 70_000)[..])?;
                vault.write(|tx| {
                    tx.insert("other", "long", staged)?;
                    (0..1_050u32).try_for_each(|i| tx.insert("other", i.to_be_bytes(), "v"))
                })
            }
            DropOther => vault.write(|tx| tx.delete_namespace("other")).map(drop),
            ReadAll => visible_state(vault).map(drop),
            Clean => vault.gc(&GcOptions::new().without_repacking(true)).map(drop),
            Check => {
                let report = check(vault)?;
                assert!(report.is_ok(), "{report:?}");
                Ok(())
            }
            Reopen => unreachable!("the caller reopens the vault"),
        }
    }
}

fn commit(vault: &Vault, lane: &str, complete: bool) -> Result<()> {
    let operation = vault.operations().resume("import")?;
    let handle = operation.lane(lane)?;
    let status = handle.status()?;
    let mut batch = Batch::new();
    batch.insert("n", format!("{lane}{}", status.checkpoints), "row");
    let checkpoint = Checkpoint::new(status.checkpoints.to_string());
    let checkpoint = if complete { checkpoint.complete() } else { checkpoint };
    handle.commit(batch, checkpoint)
}

/// All that a reader sees: records, and the checkpoints of the lanes.
///
/// The operation generation is left out, because a refused commit may have raised it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VisibleState {
    records: Vec<(String, Vec<u8>, digest::Digest)>,
    lanes: Vec<(String, u64, bool, Vec<u8>)>,
}

/// Digests of values, so that a failed comparison can be printed.
mod digest {
    pub(crate) type Digest = (usize, u64);

    pub(crate) fn of(bytes: &[u8]) -> Digest {
        let fold = |sum: u64, &byte: &u8| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        (bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }
}

pub(crate) fn visible_state(vault: &Vault) -> Result<VisibleState> {
    let snapshot = vault.read()?;
    let mut records = Vec::new();
    for namespace in snapshot.namespaces()? {
        for record in snapshot.prefix(&namespace.name, "")? {
            let record = record?;
            let digest = digest::of(&record.value().bytes()?);
            records.push((namespace.name.clone(), record.key().to_vec(), digest));
        }
    }
    let lanes = |status: OperationStatus| {
        let lanes = status.lanes.into_iter();
        lanes.map(|lane| (lane.name, lane.checkpoints, lane.complete, lane.data))
    };
    let lanes = snapshot.operation("import")?.into_iter().flat_map(lanes);
    Ok(VisibleState { records, lanes: lanes.collect() })
}

/// Returns the visible states of a run without faults.
///
/// The first state is that before the first step. One follows for each step.
pub(crate) fn visible_states(environment: &dyn Environment) -> Vec<VisibleState> {
    let mut vault = environment.create().unwrap();
    let mut visible_states = vec![visible_state(&vault).unwrap()];
    for step in STEPS {
        vault = follow(environment, vault, step);
        visible_states.push(visible_state(&vault).unwrap());
    }
    vault.close().unwrap();
    visible_states
}

/// Runs the whole workload without faults and without reads between the steps.
fn run(environment: &dyn Environment) {
    let vault = environment.create().unwrap();
    let vault = STEPS.into_iter().fold(vault, |vault, step| follow(environment, vault, step));
    assert!(vault.check(&CheckOptions::new()).unwrap().is_ok());
    vault.close().unwrap();
}

fn follow(environment: &dyn Environment, vault: Vault, step: Step) -> Vault {
    if step == Reopen {
        vault.close().unwrap();
        return environment.open().unwrap();
    }
    step.run(&vault).unwrap();
    vault
}
