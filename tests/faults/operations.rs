//! A fault in each call of the file system, while operations go through all of their states: what is
//! there afterwards, and what is listed as left to do, is that of before the failed call or of after.

use strongroom::{ErrorKind, Vault};
use strongroom_testkit::{
    Call, Driver, Fault, FaultError, FaultTiming, Model, World, operation_calls_of_seed,
    world_options,
};

/// Calls on operations of one run.
const CALLS: usize = 60;

/// One run in so many is made, unless all are asked for.
const STRIDE: u64 = 23;

fn stride() -> u64 {
    if std::env::var("STRONGROOM_FAULTS").is_ok_and(|faults| faults == "all") { 1 } else { STRIDE }
}

fn open(world: &World, seed: u64) -> Vault {
    world_options(world, seed).open("/vault").expect("no fault is planted any more")
}

/// How a run went.
#[derive(Default)]
struct Told {
    /// Calls of the file system.
    made: u64,
    errors: u64,
    /// Calls that had failed, and were found to have happened.
    happened: u64,
}

/// Makes all calls with one fault, and opens the vault again where it struck.
fn run(nth: u64, fault: Option<Fault>, seed: u64) -> Told {
    let world = World::new();
    let vault = world_options(&world, 0).create("/vault").unwrap();
    let before = world.calls();
    if let Some(fault) = fault {
        world.fail_at(nth, fault);
    }
    let mut told = Told::default();
    let mut driver = Driver::lent(vault, Model::new());
    for call in operation_calls_of_seed(CALLS, seed) {
        let model = driver.model().clone();
        let Err(error) = driver.call(&call) else { continue };
        told.errors += 1;
        world.clear_faults();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Uncertain),
            "{call:?}: {error}"
        );
        let mut after = driver.into_model();
        after.apply(&Call::Reopen).unwrap();
        let mut without = model;
        without.apply(&Call::Reopen).unwrap();
        let vault = open(&world, nth);
        let stands = match (without.differs_from(&vault), after.differs_from(&vault)) {
            (Ok(()), _) => without,
            (Err(_), Ok(())) => {
                told.happened += 1;
                assert_eq!(kind, ErrorKind::Uncertain, "{call:?} happened after all");
                after
            }
            (Err(without), Err(with)) => panic!("{call:?}: {without}; with it: {with}"),
        };
        driver = Driver::lent(vault, stands);
    }
    told.made = world.calls() - before;
    let vault = open_after(driver, &world);
    drop(vault);
    told
}

/// The vault closed and opened again shows the same once more.
fn open_after(driver: Driver, world: &World) -> Vault {
    world.clear_faults();
    let mut model = driver.into_model();
    model.apply(&Call::Reopen).unwrap();
    let vault = open(world, 99);
    model.differs_from(&vault).unwrap();
    vault
}

#[test]
fn a_fault_anywhere_leaves_operations_as_before_or_after_the_call() {
    let timings = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];
    let errors = [5, 28].map(FaultError::Os);
    let (mut runs, mut failed, mut happened) = (0, 0, 0);
    for seed in 0..3 {
        let calls = run(0, None, seed).made;
        let mut nth = 1 + seed;
        while nth <= calls {
            for timing in timings {
                for error in errors {
                    let told = run(nth, Some(Fault { timing, error }), seed);
                    runs += 1;
                    failed += told.errors;
                    happened += told.happened;
                }
            }
            nth += stride();
        }
    }
    println!("operations: {runs} faults, {failed} calls failed, {happened} of them had happened");
    assert!(failed > 0 && happened > 0, "no fault struck where it matters");
}
