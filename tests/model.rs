//! A state machine over all calls, with crash and reopen, against a plain map.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use strongroom::operations::OperationState;
use strongroom_testkit::{Bug, Call, Driver, Transition, World, calls, operation_calls, plant};

/// Most calls in one case.
const CALLS_MAX: usize = 40;

fn run(calls: &[Call]) -> Result<(), TestCaseError> {
    let mut driver = Driver::create(World::new(), 7).expect("the simulated disk has no fault");
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
    if let Err(error) = runner.run(&calls(CALLS_MAX, true), |calls| run(&calls)) {
        panic!("{error}");
    }
}

/// Every change of an operation's state that there may be, as ARCHITECTURE.md has it.
fn table() -> Vec<Transition> {
    use OperationState::{Cancelled, Completed, Failed, Initialized, Paused, Recovering, Running};
    let follow: [(Option<OperationState>, &[OperationState]); 6] = [
        (None, &[Initialized, Running]),
        (Some(Initialized), &[Running, Paused, Cancelled]),
        (Some(Running), &[Recovering, Paused, Completed, Failed, Cancelled]),
        (Some(Recovering), &[Recovering, Running, Paused, Completed, Failed, Cancelled]),
        (Some(Paused), &[Running, Cancelled]),
        (Some(Failed), &[Recovering, Paused, Cancelled]),
    ];
    follow.iter().flat_map(|(from, next)| next.iter().map(|&to| (*from, to))).collect()
}

/// Runs the calls; the steps made, and the changes of state that there were.
fn run_machine(calls: &[Call]) -> Result<(usize, BTreeSet<Transition>), TestCaseError> {
    let driver = Driver::create(World::new(), 7);
    let mut driver = driver.expect("the simulated disk has no fault");
    calls.iter().try_for_each(|call| driver.run(call)).map_err(TestCaseError::fail)?;
    let seen = driver.transitions();
    let table = table();
    match seen.iter().find(|step| !table.contains(step)) {
        Some(step) => Err(TestCaseError::fail(format!("{step:?} is not in the table"))),
        None => Ok((calls.len(), seen)),
    }
}

/// Steps on operations in all, with crashes, reopenings, take-overs and jumps of the clock.
fn machine_steps() -> usize {
    let given = std::env::var("STRONGROOM_MACHINE_STEPS").ok().and_then(|n| n.parse().ok());
    given.unwrap_or(12_000)
}

#[test]
fn operations_agree_with_their_machine() {
    // The same calls each time, unless more are asked for: that each change of the table is met must
    // not depend on luck.
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = operation_calls(200);
    let (mut steps, mut cases, mut seen) = (0, 0, BTreeSet::new());
    while steps < machine_steps() {
        let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
        let calls = tree.current();
        match run_machine(&calls) {
            Ok((made, steps_seen)) => {
                steps += made;
                cases += 1;
                seen.extend(steps_seen);
            }
            Err(error) => {
                let shrunk = runner.run_one(tree, |calls| run_machine(&calls).map(drop));
                panic!("{error}; {shrunk:?}");
            }
        }
    }
    println!(
        "machine of operations: {steps} steps, {cases} vaults, {} changes of state",
        seen.len()
    );
    let all: BTreeSet<Transition> = table().into_iter().collect();
    assert_eq!(seen, all, "not every change of the table was met");
}

/// The same test must find a bug in the machine, and shrink it to what shows it.
fn machine_finds(bug: Bug, most: usize) {
    let _bug = plant(bug);
    let config = Config { cases: 500, max_shrink_iters: 4_000, ..Config::default() };
    let config = Config { failure_persistence: None, ..config };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&operation_calls(100), |calls| run_machine(&calls).map(drop)) {
        Err(TestError::Fail(reason, calls)) => {
            println!("{bug:?} shrank to {calls:?}: {reason}");
            assert!(calls.len() <= most, "{bug:?} shrank to {} calls only", calls.len());
        }
        other => panic!("{bug:?} was not found: {other:?}"),
    }
}

#[test]
fn a_machine_without_its_table_is_found_and_shrinks() {
    machine_finds(Bug::AnyStep, 4);
}

#[test]
fn tries_that_are_not_counted_are_found_and_shrink() {
    machine_finds(Bug::UncountedTries, 3);
}

#[test]
fn an_ended_operation_that_stays_listed_is_found_and_shrinks() {
    machine_finds(Bug::KeepsListed, 2);
}

#[test]
fn a_missing_fence_is_found_and_shrinks() {
    machine_finds(Bug::NoFence, 4);
}

/// The same test must find a planted bug, and shrink it to what shows it.
fn finds(bug: Bug, most: usize) {
    let _bug = plant(bug);
    let config = Config {
        cases: 2_000,
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&calls(CALLS_MAX, true), |calls| run(&calls)) {
        Err(TestError::Fail(reason, calls)) => {
            println!("{bug:?} shrank to {calls:?}: {reason}");
            assert!(calls.len() <= most, "{bug:?} shrank to {} calls only", calls.len());
        }
        other => panic!("{bug:?} was not found: {other:?}"),
    }
}

#[test]
fn a_forgotten_removal_is_found_and_shrinks() {
    finds(Bug::DriverSkipsRemoval, 2);
}

#[test]
fn a_checkpoint_without_its_data_is_found_and_shrinks() {
    finds(Bug::DriverSkipsBatchData, 2);
}
