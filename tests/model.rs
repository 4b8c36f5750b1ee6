//! A state machine over all calls, compared with a plain map.
//!
//! The calls include crashes and reopenings.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use strongroom::operations::OperationState;
use strongroom_testkit::{Bug, Call, Driver, Transition, World, calls, operation_calls, plant};

/// Most calls of one case.
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
fn vault_agrees_with_the_model() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&calls(CALLS_MAX, true), |calls| run(&calls)) {
        panic!("{error}");
    }
}

/// Returns every allowed change of an operation's state, as in ARCHITECTURE.md.
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

/// Runs the calls. Returns the number of calls, and the changes of state that occurred.
fn run_machine(calls: &[Call]) -> Result<(usize, BTreeSet<Transition>), TestCaseError> {
    let driver = Driver::create(World::new(), 7);
    let mut driver = driver.expect("the simulated disk has no fault");
    calls.iter().try_for_each(|call| driver.run(call)).map_err(TestCaseError::fail)?;
    let changes = driver.transitions();
    let table = table();
    match changes.iter().find(|change| !table.contains(change)) {
        Some(change) => Err(TestCaseError::fail(format!("{change:?} is not in the table"))),
        None => Ok((calls.len(), changes)),
    }
}

/// Returns the number of calls on operations in all cases.
///
/// The calls include crashes, reopenings, take-overs and jumps of the clock.
fn machine_steps() -> usize {
    let given = std::env::var("STRONGROOM_MACHINE_STEPS").ok().and_then(|n| n.parse().ok());
    given.unwrap_or(12_000)
}

#[test]
fn operations_agree_with_their_state_machine() {
    // The calls are the same in each run, unless more are requested. So it does not depend on
    // chance whether every change of the table occurs.
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = operation_calls(200);
    let (mut steps, mut cases, mut changes) = (0, 0, BTreeSet::new());
    while steps < machine_steps() {
        let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
        let calls = tree.current();
        match run_machine(&calls) {
            Ok((calls_made, new_changes)) => {
                steps += calls_made;
                cases += 1;
                changes.extend(new_changes);
            }
            Err(error) => {
                let shrunk = runner.run_one(tree, |calls| run_machine(&calls).map(drop));
                panic!("{error}; {shrunk:?}");
            }
        }
    }
    println!(
        "machine of operations: {steps} steps, {cases} vaults, {} changes of state",
        changes.len()
    );
    let all: BTreeSet<Transition> = table().into_iter().collect();
    assert_eq!(changes, all, "not every change of the table occurred");
}

/// Canary: asserts that the test finds a bug in the machine.
///
/// The failing case must shrink to at most `most` calls.
fn assert_machine_bug_found(bug: Bug, most: usize) {
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
fn machine_without_its_table_is_found_and_shrinks() {
    assert_machine_bug_found(Bug::AnyStep, 4);
}

#[test]
fn uncounted_tries_are_found_and_shrink() {
    assert_machine_bug_found(Bug::UncountedTries, 3);
}

#[test]
fn ended_operation_that_stays_listed_is_found_and_shrinks() {
    assert_machine_bug_found(Bug::KeepsListed, 2);
}

#[test]
fn missing_fence_is_found_and_shrinks() {
    assert_machine_bug_found(Bug::NoFence, 4);
}

/// Canary: asserts that the test finds a planted bug.
///
/// The failing case must shrink to at most `most` calls.
fn assert_found_and_shrunk(bug: Bug, most: usize) {
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
fn forgotten_removal_is_found_and_shrinks() {
    assert_found_and_shrunk(Bug::DriverSkipsRemoval, 2);
}

#[test]
fn checkpoint_without_its_data_is_found_and_shrinks() {
    assert_found_and_shrunk(Bug::DriverSkipsBatchData, 2);
}
