//! Operations in all states, cut at every event.
//!
//! Each image must list the unfinished operations, and their resumability, as the model does.

use strongroom::Vault;
use strongroom::operations::{OperationState, OperationsQuery};
use strongroom_testkit::{
    BoxError, Call, CrashOptions, Model, calls_of_seed, crash_test, operation_calls_of_seed,
};

use super::{images, in_rounds, judge_by_model, make_calls};

/// Calls of one recorded workload.
const CALLS: usize = 120;

/// Returns calls of operations, with a reopening every 40 calls.
fn calls(seed: u64) -> Vec<Call> {
    let mut calls = operation_calls_of_seed(CALLS, seed);
    for at in (20..CALLS).step_by(40) {
        calls.insert(at, Call::Reopen);
    }
    calls
}

/// Judges the list of unfinished operations of `open`.
///
/// It must equal the vault's current list, and the model's.
fn lists_agree(vault: &Vault, done: &[Call], under_way: &[Call]) -> Result<(), BoxError> {
    judge_by_model(vault, done, under_way)?;
    let now = vault.operations().unfinished(&OperationsQuery::new().limit(usize::MAX))?;
    if vault.recovery().operations == now {
        return Ok(());
    }
    Err(format!("open listed {:?}, and now {now:?}", vault.recovery().operations).into())
}

#[test]
fn unfinished_operations_after_power_cut_match_the_model() {
    let options = CrashOptions { images: images() / 2, ..CrashOptions::default() };
    let summary = in_rounds(&options, |options| {
        crash_test(options, make_calls(calls(options.seed)), lists_agree)
    });
    println!("operations: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

#[test]
fn workload_brings_operations_into_every_state() {
    let mut met = std::collections::BTreeSet::new();
    for seed in 1..4 {
        let mut model = Model::new();
        for call in calls(seed) {
            model.apply(&call).ok();
            met.extend(model.operations.operations.values().map(|found| found.state));
        }
    }
    assert_eq!(met.len(), OperationState::ALL.len(), "{met:?}");
    // The general workload includes operations too.
    let all = calls_of_seed(CALLS, false, 1);
    assert!(all.iter().any(|call| matches!(call, Call::Operate { .. })));
}
