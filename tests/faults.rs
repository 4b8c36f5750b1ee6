//! Every call of a workload fails once: before its effect, after its effect, or half-way.
//!
//! After any fault, nothing panics and the error's kind says what the caller does next.
//! Acknowledged changes stay, and other changes are whole or absent. The same handle is usable once
//! the fault is over. After an error other than `Uncertain` the change has not happened.
//!
//! - `workload.rs`: the steps, and the visible state after each step.
//! - `sweep.rs`: one run with one fault, and its assertions.
//! - `checks.rs`: faults during an integrity check.
//! - `operations.rs`: faults during operations in all states, compared with their model.
//! - `readers.rs`: readers that are open during a failure, and the work that is completed after it.
//!
//! By default calls are sampled, so that the run takes seconds. `STRONGROOM_FAULTS=all` fails each
//! call.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

#[path = "faults/checks.rs"]
mod checks;
#[path = "faults/operations.rs"]
mod operations;
#[path = "faults/readers.rs"]
mod readers;
#[path = "faults/sweep.rs"]
mod sweep;
#[path = "faults/workload.rs"]
mod workload;

use strongroom::ErrorKind;
use strongroom_testkit::{BackendFault, BackendTiming, Fault, FaultTiming};

use sweep::{Tally, sweep};
use workload::{BackendEnvironment, LosingEnvironment, WorldEnvironment, visible_states};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Number of sampled calls for each kind of fault.
const SAMPLES: u64 = 60;

/// Number of calls at the beginning that always fail.
const FIRST: u64 = 110;

/// Returns the numbers of the calls to fail: all `calls`, or the first ones and even samples.
fn chosen(calls: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var("STRONGROOM_FAULTS").is_ok_and(|value| value == "all");
    let step = if all { 1 } else { calls.div_ceil(SAMPLES) };
    // An offset that depends on the step, so that not always the same calls of a period fail. The
    // first calls create the vault, open it and begin to write to it. Later calls do not repeat
    // them.
    (1..=calls).filter(move |n| *n <= FIRST || n % step == step / 2)
}

/// Returns whether a failed file call may have this error kind.
fn allowed(number: i32, kind: ErrorKind) -> bool {
    let definite = if number == ENOSPC { ErrorKind::Full } else { ErrorKind::Unavailable };
    kind == definite || kind == ErrorKind::Uncertain
}

fn of_timing(timing: FaultTiming, number: i32) -> Fault {
    match timing {
        FaultTiming::Before => Fault::before(number),
        FaultTiming::After => Fault::after(number),
        FaultTiming::Torn => Fault::torn(number),
    }
}

fn fail_one_file_call(number: i32, timing: FaultTiming) {
    let expected = visible_states(&WorldEnvironment::new());
    let calls = WorldEnvironment::calls();
    let mut tally = Tally::default();
    for n in chosen(calls) {
        let environment = WorldEnvironment::new();
        environment.world.fail_at(n, of_timing(timing, number));
        let name = format!("call {n}, {timing:?}, errno {number}");
        sweep(&environment, &expected, &name, &|kind| allowed(number, kind), &mut tally);
    }
    println!("file system, {calls} calls, {timing:?}, errno {number}: {tally:?}");
    assert!(tally.errors() > 0, "no call failed");
}

#[test]
fn eio_before_a_file_call_loses_nothing() {
    fail_one_file_call(EIO, FaultTiming::Before);
}

#[test]
fn eio_after_a_file_call_loses_nothing() {
    fail_one_file_call(EIO, FaultTiming::After);
}

#[test]
fn eio_within_a_file_call_loses_nothing() {
    fail_one_file_call(EIO, FaultTiming::Torn);
}

#[test]
fn enospc_before_a_file_call_loses_nothing() {
    fail_one_file_call(ENOSPC, FaultTiming::Before);
}

#[test]
fn enospc_after_a_file_call_loses_nothing() {
    fail_one_file_call(ENOSPC, FaultTiming::After);
}

#[test]
fn enospc_within_a_file_call_loses_nothing() {
    fail_one_file_call(ENOSPC, FaultTiming::Torn);
}

#[test]
fn lasting_failure_of_all_file_calls_loses_nothing() {
    let expected = visible_states(&WorldEnvironment::new());
    let calls = WorldEnvironment::calls();
    for number in [EIO, ENOSPC] {
        let mut tally = Tally::default();
        for n in chosen(calls) {
            let environment = WorldEnvironment::new();
            environment.world.fail_from(n, Fault::before(number));
            let name = format!("from call {n}, errno {number}");
            sweep(&environment, &expected, &name, &|kind| allowed(number, kind), &mut tally);
        }
        println!("file system, from a call on, errno {number}: {tally:?}");
        assert!(tally.errors() > 0, "no call failed");
    }
}

/// Errors of a backend with their timing. Only `Uncertain` may follow an effect.
const BACKEND_FAULTS: [(BackendTiming, ErrorKind); 4] = [
    (BackendTiming::Before, ErrorKind::Unavailable),
    (BackendTiming::Before, ErrorKind::Full),
    (BackendTiming::Before, ErrorKind::Uncertain),
    (BackendTiming::After, ErrorKind::Uncertain),
];

#[test]
fn failure_of_one_or_all_backend_calls_loses_nothing() {
    let expected = visible_states(&BackendEnvironment::new());
    let calls = BackendEnvironment::calls();
    for (timing, kind) in BACKEND_FAULTS {
        let mut tally = Tally::default();
        let fault = BackendFault { timing, kind };
        for (n, lasting) in chosen(calls).flat_map(|n| [(n, false), (n, true)]) {
            let environment = BackendEnvironment::new();
            if lasting {
                environment.faulty.fail_from(n, fault);
            } else {
                environment.faulty.fail_at(n, fault);
            }
            let name = format!("backend, call {n}, lasting {lasting}, {fault:?}");
            sweep(&environment, &expected, &name, &|met| met == kind, &mut tally);
        }
        println!("backend, {calls} calls, {timing:?}, {kind:?}: {tally:?}");
        assert!(tally.errors() > 0, "no call failed");
    }
}

/// Canary: the sweep must detect a backend that loses acknowledged objects.
#[test]
fn backend_that_loses_objects_is_detected() {
    let expected = visible_states(&BackendEnvironment::new());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let any = |_| true;
        sweep(&LosingEnvironment::new(), &expected, "canary", &any, &mut Tally::default());
    }));
    let panic = caught.expect_err("the loss was not detected");
    let message = panic.downcast_ref::<String>().expect("a message");
    let is_detected = message.contains("missing from the backend")
        || message.contains("the key copy on the backend is missing");
    assert!(is_detected, "{message}");
}
