//! The steps of the workload, where it runs, and what the vault looks like after each step.

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

/// Little, but enough that most calls are not reads.
const CACHE_BYTES: usize = 1 << 20;

/// Where a vault is created and opened, with trouble or without.
pub(crate) trait Place {
    fn create(&self) -> Result<Vault>;
    fn open(&self) -> Result<Vault>;
    fn clear_faults(&self);
}

/// Draws other names at every opening.
/// Long values are longer than that: they lie in packs.
const OBJECT_BYTES: usize = 32 << 10;

fn options(seeds: &Cell<u64>) -> VaultOptions {
    seeds.set(seeds.get() + 1);
    Vault::options(TestKey)
        .clock(SharedClock::default())
        .entropy(SeededEntropy::new(seeds.get()))
        .cache_bytes(CACHE_BYTES)
        .object_bytes(OBJECT_BYTES)
}

/// A simulated disk.
pub(crate) struct WorldPlace {
    pub(crate) world: World,
    seeds: Cell<u64>,
}

impl WorldPlace {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let seeds = Cell::new(0);
        Self { world, seeds }
    }

    /// How many calls the whole workload makes.
    pub(crate) fn calls() -> u64 {
        let place = Self::new();
        run(&place);
        place.world.calls()
    }
}

impl Place for WorldPlace {
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
pub(crate) struct BackendPlace {
    pub(crate) faulty: Arc<FaultyBackend>,
    state: MemoryState,
    seeds: Cell<u64>,
}

impl BackendPlace {
    pub(crate) fn new() -> Self {
        Self {
            faulty: Arc::new(FaultyBackend::new(Arc::new(Memory::new()))),
            state: MemoryState::new(),
            seeds: Cell::new(0),
        }
    }

    pub(crate) fn calls() -> u64 {
        let place = Self::new();
        run(&place);
        place.faulty.calls()
    }
}

impl Place for BackendPlace {
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

/// State in memory, and a backend that loses what it acknowledged whenever the vault closes.
pub(crate) struct LosingPlace {
    memory: Memory,
    state: MemoryState,
    seeds: Cell<u64>,
}

impl LosingPlace {
    pub(crate) fn new() -> Self {
        Self { memory: Memory::new(), state: MemoryState::new(), seeds: Cell::new(0) }
    }

    fn backend(&self) -> DeferredBackend {
        DeferredBackend::new(Arc::new(self.memory.clone()), u64::MAX)
    }
}

impl Place for LosingPlace {
    fn create(&self) -> Result<Vault> {
        options(&self.seeds).create_on(self.state.clone(), self.backend())
    }

    fn open(&self) -> Result<Vault> {
        options(&self.seeds).open_on(self.state.clone(), self.backend())
    }

    fn clear_faults(&self) {}
}

/// What the workload does, one acknowledged thing after the other.
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
    /// Does it; `Reopen` is the caller's.
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
            ReadAll => picture(vault).map(drop),
            Clean => vault.gc(&GcOptions::new().without_repacking(true)).map(drop),
            Check => {
                let report = check(vault)?;
                assert!(report.is_ok(), "{report:?}");
                Ok(())
            }
            Reopen => unreachable!("the caller's"),
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

/// What a reader sees: records, and where the lanes stand. Not how often it was resumed, which
/// a refused commit may have raised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    records: Vec<(String, Vec<u8>, digest::Digest)>,
    lanes: Vec<(String, u64, bool, Vec<u8>)>,
}

/// Long values by a number, so that a failed comparison can be printed.
mod digest {
    pub(crate) type Digest = (usize, u64);

    pub(crate) fn of(bytes: &[u8]) -> Digest {
        let fold = |sum: u64, &byte: &u8| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        (bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }
}

pub(crate) fn picture(vault: &Vault) -> Result<Picture> {
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
    Ok(Picture { records, lanes: lanes.collect() })
}

/// The pictures before the first step and after each, where nothing fails.
pub(crate) fn pictures(place: &dyn Place) -> Vec<Picture> {
    let mut vault = place.create().unwrap();
    let mut pictures = vec![picture(&vault).unwrap()];
    for step in STEPS {
        vault = follow(place, vault, step);
        pictures.push(picture(&vault).unwrap());
    }
    vault.close().unwrap();
    pictures
}

/// The whole workload without faults, and without looking on the way.
fn run(place: &dyn Place) {
    let vault = place.create().unwrap();
    let vault = STEPS.into_iter().fold(vault, |vault, step| follow(place, vault, step));
    assert!(vault.check(&CheckOptions::new()).unwrap().is_ok());
    vault.close().unwrap();
}

fn follow(place: &dyn Place, vault: Vault, step: Step) -> Vault {
    if step == Reopen {
        vault.close().unwrap();
        return place.open().unwrap();
    }
    step.run(&vault).unwrap();
    vault
}
