//! Faults during an integrity check.
//!
//! redb ends its check with a commit of its own, so the check writes and syncs too.

use strongroom::Vault;
use strongroom_testkit::{Fault, SeededEntropy, TestKey, World};

use crate::EIO;
use crate::support::clock::SharedClock;
use crate::support::records::{assert_whole, check, get, put};

/// Returns a new vault with one record.
fn vault(world: &World) -> Vault {
    let vault = Vault::options(TestKey)
        .file_system(world.clone())
        .clock(SharedClock::default())
        .entropy(SeededEntropy::new(1))
        .create("/vault")
        .unwrap();
    put(&vault, "before", b"1");
    vault
}

/// Returns the number of calls that a check makes.
fn calls_of_a_check() -> u64 {
    let world = World::new();
    let vault = vault(&world);
    let before = world.calls();
    check(&vault).unwrap();
    world.calls() - before
}

#[test]
fn vault_is_usable_after_any_torn_call_of_a_check() {
    let calls = calls_of_a_check();
    let mut failed = 0;
    for n in 1..=calls {
        let world = World::new();
        let vault = vault(&world);
        world.fail_at(n, Fault::torn(EIO));
        failed += u64::from(check(&vault).is_err());
        world.clear_faults();
        put(&vault, "after", b"2");
        assert_eq!(get(&vault, "before"), Some(b"1".to_vec()), "call {n}");
        assert_whole(&vault);
        vault.close().unwrap();
        let options = Vault::options(TestKey).file_system(world.clone());
        let vault = options.clock(SharedClock::default()).open("/vault").unwrap();
        assert!(vault.recovery().was_clean(), "call {n}: {:?}", vault.recovery());
        assert_eq!(get(&vault, "after"), Some(b"2".to_vec()), "call {n}");
    }
    assert!(failed > 0, "no fault of {calls} was reported");
}
