//! A fault in each file call, with operations in all states.
//!
//! Afterwards the vault, with its list of unfinished operations, must be as before or as after the
//! failed call.

use strongroom::{ErrorKind, Vault};
use strongroom_testkit::{
    Call, Driver, Fault, FaultError, FaultTiming, Model, World, operation_calls_of_seed,
    world_options,
};

/// Calls on operations in one run.
const CALLS: usize = 60;

/// Distance between the faulty calls, unless every call is to fail.
const STRIDE: u64 = 23;

fn stride() -> u64 {
    if std::env::var("STRONGROOM_FAULTS").is_ok_and(|faults| faults == "all") { 1 } else { STRIDE }
}

fn open(world: &World, seed: u64) -> Vault {
    world_options(world, seed).open("/vault").expect("all faults are cleared")
}

/// Counts of one run.
#[derive(Default)]
struct RunCounts {
    /// Calls of the file system.
    file_calls: u64,
    errors: u64,
    /// Calls that returned an error although their change happened.
    happened: u64,
}

/// Makes all calls with one fault.
///
/// After a failed call the vault is opened again.
fn run(nth: u64, fault: Option<Fault>, seed: u64) -> RunCounts {
    let world = World::new();
    let vault = world_options(&world, 0).create("/vault").unwrap();
    let before = world.calls();
    if let Some(fault) = fault {
        world.fail_at(nth, fault);
    }
    let mut counts = RunCounts::default();
    let mut driver = Driver::lent(vault, Model::new());
    for call in operation_calls_of_seed(CALLS, seed) {
        let model = driver.model().clone();
        let Err(error) = driver.call(&call) else { continue };
        counts.errors += 1;
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
        let current = match (without.differs_from(&vault), after.differs_from(&vault)) {
            (Ok(()), _) => without,
            (Err(_), Ok(())) => {
                counts.happened += 1;
                assert_eq!(kind, ErrorKind::Uncertain, "{call:?} happened");
                after
            }
            (Err(without), Err(with)) => panic!("{call:?}: {without}; with it: {with}"),
        };
        driver = Driver::lent(vault, current);
    }
    counts.file_calls = world.calls() - before;
    let vault = open_after(driver, &world);
    drop(vault);
    counts
}

/// Closes the vault and opens it again. The vault must still equal the model.
fn open_after(driver: Driver, world: &World) -> Vault {
    world.clear_faults();
    let mut model = driver.into_model();
    model.apply(&Call::Reopen).unwrap();
    let vault = open(world, 99);
    model.differs_from(&vault).unwrap();
    vault
}

#[test]
fn file_fault_leaves_operations_as_before_or_after_the_call() {
    let timings = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];
    let errors = [5, 28].map(FaultError::Os);
    let (mut runs, mut failed, mut happened) = (0, 0, 0);
    for seed in 0..3 {
        let calls = run(0, None, seed).file_calls;
        let mut nth = 1 + seed;
        while nth <= calls {
            for timing in timings {
                for error in errors {
                    let counts = run(nth, Some(Fault { timing, error }), seed);
                    runs += 1;
                    failed += counts.errors;
                    happened += counts.happened;
                }
            }
            nth += stride();
        }
    }
    println!("operations: {runs} faults, {failed} calls failed, {happened} of them had happened");
    assert!(failed > 0 && happened > 0, "no call failed, or none failed after its effect");
}
