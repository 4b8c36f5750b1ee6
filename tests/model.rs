//! A state machine over all calls, with crash and reopen, against a plain map.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use strongroom::testing::{Call, Driver, Plant, World, calls};

/// Most calls in one case.
const CALLS_MAX: usize = 40;

fn run(calls: &[Call], plant: Option<Plant>) -> Result<(), TestCaseError> {
    let driver = Driver::create(World::new(), 7).expect("the simulated disk has no fault");
    let mut driver = match plant {
        Some(plant) => driver.with_plant(plant),
        None => driver,
    };
    calls.iter().try_for_each(|call| driver.run(call)).map_err(TestCaseError::fail)
}

fn cases() -> u32 {
    let given = std::env::var("STRONGROOM_MODEL_CASES").ok().and_then(|n| n.parse().ok());
    given.unwrap_or(150)
}

#[test]
fn the_vault_agrees_with_the_model() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&calls(CALLS_MAX, true), |calls| run(&calls, None)) {
        panic!("{error}");
    }
}

/// The same test must find a planted bug, and shrink it to what shows it.
fn finds(plant: Plant, most: usize) {
    let config = Config {
        cases: 2_000,
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&calls(CALLS_MAX, true), |calls| run(&calls, Some(plant))) {
        Err(TestError::Fail(reason, calls)) => {
            println!("{plant:?} shrank to {calls:?}: {reason}");
            assert!(calls.len() <= most, "{plant:?} shrank to {} calls only", calls.len());
        }
        other => panic!("{plant:?} was not found: {other:?}"),
    }
}

#[test]
fn a_forgotten_removal_is_found_and_shrinks() {
    finds(Plant::ForgetsRemoval, 2);
}

#[test]
fn a_checkpoint_without_its_data_is_found_and_shrinks() {
    finds(Plant::ForgetsDataOfBatch, 2);
}
