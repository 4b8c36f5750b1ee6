//! Every call of a workload fails once: before it took effect, after it, or half-way.
//!
//! Whatever fails, nothing panics, the error tells what to do, what was acknowledged stays, what
//! was not is whole or absent, and the same handle goes on once the fault is over. An error that
//! is not `Uncertain` means that it did not happen.
//!
//! - `workload.rs`: the steps, and what the vault looks like after each.
//! - `sweep.rs`: one run with one fault, and what is asserted of it.
//! - `operations.rs`: the same of operations in all states, against their model.
//! - `readers.rs`: readers that live through a failure, and what is finished after one.
//!
//! By default calls are sampled, so that this takes seconds; `STRONGROOM_FAULTS=all` fails each.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

mod support;

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
use workload::{BackendPlace, LosingPlace, WorldPlace, pictures};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How many calls of each kind of fault are failed, unless all are.
const SAMPLES: u64 = 60;

/// So many calls at the beginning are failed in any case.
const FIRST: u64 = 110;

/// The calls to fail out of `calls`, each once or evenly sampled.
fn chosen(calls: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var("STRONGROOM_FAULTS").is_ok_and(|value| value == "all");
    let step = if all { 1 } else { calls.div_ceil(SAMPLES) };
    // Another offset than 1 for other steps: not always the same calls of a period. The first ones make the
    // vault, open it and begin to write to it, each in a way that no later one does.
    (1..=calls).filter(move |n| *n <= FIRST || n % step == step / 2)
}

/// What the error of a failed call of the file system may be.
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

fn one_call_of_the_file_system(number: i32, timing: FaultTiming) {
    let expected = pictures(&WorldPlace::new());
    let calls = WorldPlace::calls();
    let mut tally = Tally::default();
    for n in chosen(calls) {
        let place = WorldPlace::new();
        place.world.fail_at(n, of_timing(timing, number));
        let name = format!("call {n}, {timing:?}, errno {number}");
        sweep(&place, &expected, &name, &|kind| allowed(number, kind), &mut tally);
    }
    println!("file system, {calls} calls, {timing:?}, errno {number}: {tally:?}");
    assert!(tally.errors() > 0, "no fault struck");
}

#[test]
fn a_call_of_the_file_system_that_fails_before_it_took_effect_with_eio() {
    one_call_of_the_file_system(EIO, FaultTiming::Before);
}

#[test]
fn a_call_of_the_file_system_that_fails_after_it_took_effect_with_eio() {
    one_call_of_the_file_system(EIO, FaultTiming::After);
}

#[test]
fn a_call_of_the_file_system_that_is_torn_with_eio() {
    one_call_of_the_file_system(EIO, FaultTiming::Torn);
}

#[test]
fn a_call_of_the_file_system_that_fails_before_it_took_effect_with_enospc() {
    one_call_of_the_file_system(ENOSPC, FaultTiming::Before);
}

#[test]
fn a_call_of_the_file_system_that_fails_after_it_took_effect_with_enospc() {
    one_call_of_the_file_system(ENOSPC, FaultTiming::After);
}

#[test]
fn a_call_of_the_file_system_that_is_torn_with_enospc() {
    one_call_of_the_file_system(ENOSPC, FaultTiming::Torn);
}

#[test]
fn all_calls_of_the_file_system_that_fail_from_one_on() {
    let expected = pictures(&WorldPlace::new());
    let calls = WorldPlace::calls();
    for number in [EIO, ENOSPC] {
        let mut tally = Tally::default();
        for n in chosen(calls) {
            let place = WorldPlace::new();
            place.world.fail_from(n, Fault::before(number));
            let name = format!("from call {n}, errno {number}");
            sweep(&place, &expected, &name, &|kind| allowed(number, kind), &mut tally);
        }
        println!("file system, from a call on, errno {number}: {tally:?}");
        assert!(tally.errors() > 0, "no fault struck");
    }
}

/// What a backend may answer, and with which effect: only `Uncertain` may come with one.
const OF_BACKEND: [(BackendTiming, ErrorKind); 4] = [
    (BackendTiming::Before, ErrorKind::Unavailable),
    (BackendTiming::Before, ErrorKind::Full),
    (BackendTiming::Before, ErrorKind::Uncertain),
    (BackendTiming::After, ErrorKind::Uncertain),
];

#[test]
fn one_call_or_all_calls_of_the_backend_that_fail() {
    let expected = pictures(&BackendPlace::new());
    let calls = BackendPlace::calls();
    for (timing, kind) in OF_BACKEND {
        let mut tally = Tally::default();
        let fault = BackendFault { timing, kind };
        for (n, lasting) in chosen(calls).flat_map(|n| [(n, false), (n, true)]) {
            let place = BackendPlace::new();
            if lasting {
                place.faulty.fail_from(n, fault);
            } else {
                place.faulty.fail_at(n, fault);
            }
            let name = format!("backend, call {n}, lasting {lasting}, {fault:?}");
            sweep(&place, &expected, &name, &|met| met == kind, &mut tally);
        }
        println!("backend, {calls} calls, {timing:?}, {kind:?}: {tally:?}");
        assert!(tally.errors() > 0, "no fault struck");
    }
}

/// The canary: if this one passed, the sweeps would prove nothing.
#[test]
fn a_backend_that_loses_what_it_acknowledged_is_caught() {
    let expected = pictures(&BackendPlace::new());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let any = |_| true;
        sweep(&LosingPlace::new(), &expected, "canary", &any, &mut Tally::default());
    }));
    let said = caught.expect_err("the loss must be seen");
    let said = said.downcast_ref::<String>().expect("a message");
    assert!(said.contains("missing from the backend"), "{said}");
}
