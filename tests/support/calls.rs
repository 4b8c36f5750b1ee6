//! Failing each file-system call of an act, one at a time.

use strongroom::{Error, Result, Vault};
use strongroom_testkit::{Fault, FaultError, FaultTiming, World, world_options};

pub(crate) const EIO: i32 = 5;
/// Most file-system calls of one commit.
pub(crate) const COMMIT_CALLS_MAX: u64 = 200;

/// Fails each call of `act` in turn, and checks each error.
///
/// Each turn has its own prepared vault.
pub(crate) fn each_call<P>(
    timing: FaultTiming,
    prepare: impl Fn(&Vault) -> P,
    act: impl Fn(&Vault, &P) -> Result<()>,
    look: impl Fn(&World, &Vault, P, Error),
) {
    let mut errors = 0;
    for nth in 1..COMMIT_CALLS_MAX {
        let world = World::new();
        let vault = world_options(&world, 1).create("/vault").unwrap();
        let prepared = prepare(&vault);
        let before = world.calls();
        world.fail_at(nth, Fault { timing, error: FaultError::Os(EIO) });
        let outcome = act(&vault, &prepared);
        let made = world.calls() - before;
        world.clear_faults();
        if made < nth {
            outcome.unwrap();
            assert!(errors > 0, "no fault struck");
            return;
        }
        if let Err(error) = outcome {
            errors += 1;
            look(&world, &vault, prepared, error);
        }
    }
    panic!("it takes more than {COMMIT_CALLS_MAX} calls");
}
