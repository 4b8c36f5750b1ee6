//! Operations in all states, cut at every event: what an image lists as left to do, and why, is what
//! the model says.

use strongroom::Vault;
use strongroom::operations::{OperationState, OperationsQuery};
use strongroom_testkit::{
    BoxError, Call, CrashOptions, Model, calls_of_seed, crash_test, operation_calls_of_seed,
};

use super::{agrees_with_the_model, images, in_rounds, make_calls};

/// Calls of one recorded workload.
const CALLS: usize = 120;

/// Acts on operations, and the vault reopened now and then.
fn calls(seed: u64) -> Vec<Call> {
    let mut calls = operation_calls_of_seed(CALLS, seed);
    for at in (20..CALLS).step_by(40) {
        calls.insert(at, Call::Reopen);
    }
    calls
}

/// The list that `open` made is the one that the vault makes now, and both are the model's.
fn lists_agree(vault: &Vault, done: &[Call], under_way: &[Call]) -> Result<(), BoxError> {
    agrees_with_the_model(vault, done, under_way)?;
    let now = vault.operations().unfinished(&OperationsQuery::new().limit(usize::MAX))?;
    if vault.recovery().operations == now {
        return Ok(());
    }
    Err(format!("open listed {:?}, and now {now:?}", vault.recovery().operations).into())
}

#[test]
fn what_is_left_to_do_is_listed_right_after_power_cuts() {
    let options = CrashOptions { images: images() / 2, ..CrashOptions::default() };
    let summary = in_rounds(&options, |options| {
        crash_test(options, make_calls(calls(options.seed)), lists_agree)
    });
    println!("operations: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

#[test]
fn the_workload_brings_operations_into_every_state() {
    let mut met = std::collections::BTreeSet::new();
    for seed in 1..4 {
        let mut model = Model::new();
        for call in calls(seed) {
            model.apply(&call).ok();
            met.extend(model.operations.operations.values().map(|found| found.state));
        }
    }
    assert_eq!(met.len(), OperationState::ALL.len(), "{met:?}");
    // And the work on everything else has operations too.
    let all = calls_of_seed(CALLS, false, 1);
    assert!(all.iter().any(|call| matches!(call, Call::Operate { .. })));
}
