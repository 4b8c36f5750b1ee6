//! Costs of passwords, and headers that demand more than a host allows.

use strongroom::keys::{KeyKind, NewKey, PasswordCosts};
use strongroom::{ErrorKind, Result, Vault, VaultOptions};
use strongroom_testkit::World;

use crate::forge::{LANES, MEMORY, PASSES, forged, set_u32, slot};
use crate::scene::{FIRST, Scene, Secret, fill};
use crate::support::records::assert_error;

const WORD: Secret = Secret::Password("correct horse battery staple");
/// Largest memory limit for passwords that a host can set, in KiB.
const MEMORY_KIB_MAX: u32 = 4 << 20;
const GOOD: PasswordCosts = PasswordCosts::RFC9106_SECOND;

/// Returns options with the password costs of production.
fn options(world: &World, secret: Secret) -> VaultOptions {
    Vault::options(secret).file_system(world.clone())
}

fn costs_of(vault: &Vault) -> Vec<Option<PasswordCosts>> {
    let cost = |kind| match kind {
        KeyKind::Password(costs) => Some(costs),
        _ => None,
    };
    vault.keys().list().into_iter().map(|key| cost(key.kind)).collect()
}

#[test]
fn costs_below_rfc_9106_or_out_of_bounds_are_invalid() {
    let world = World::new();
    options(&world, FIRST).create("/vault").unwrap().close().unwrap();
    let bad = [
        (PasswordCosts { memory_kib: (64 << 10) - 1, ..GOOD }, "use at least 65536"),
        (PasswordCosts { passes: 2, ..GOOD }, "2 passes"),
        (PasswordCosts { memory_kib: 0, passes: 0, lanes: 0 }, "0 KiB"),
        (PasswordCosts { memory_kib: (1 << 20) + 1, ..GOOD }, "1048577 KiB"),
        (PasswordCosts { memory_kib: u32::MAX, ..GOOD }, "4294967295 KiB"),
        (PasswordCosts { passes: 65, ..GOOD }, "65 passes"),
        (PasswordCosts { lanes: 0, ..GOOD }, "0 lanes"),
        (PasswordCosts { lanes: 17, ..GOOD }, "17 lanes"),
        (PasswordCosts::FOR_TESTS, "8 KiB"),
    ];
    for (costs, expected) in bad {
        let options = || options(&world, FIRST).password_costs(costs);
        assert_error(options().open("/vault"), ErrorKind::Invalid, expected);
        assert_error(options().create("/other"), ErrorKind::Invalid, expected);
    }
    let allowing = |kib| options(&world, FIRST).password_memory_kib_max(kib).open("/vault");
    assert_error(allowing(MEMORY_KIB_MAX + 1), ErrorKind::Invalid, "the limit is 4194304");
    assert_error(allowing((64 << 10) - 1), ErrorKind::Invalid, "65536 KiB");
    allowing(MEMORY_KIB_MAX).unwrap().close().unwrap();
    allowing(64 << 10).unwrap();
}

#[test]
fn password_gets_costs_of_the_open_that_wraps_it() {
    let world = World::new();
    let vault = options(&world, WORD).create("/vault").unwrap();
    assert_eq!(costs_of(&vault), [Some(GOOD)], "by default");
    vault.close().unwrap();

    let higher = PasswordCosts { memory_kib: 72 << 10, passes: 4, lanes: 2 };
    let raising = || options(&world, WORD).password_costs(higher);
    let vault = raising().open("/vault").unwrap();
    vault.keys().add(&NewKey::new(&FIRST)).unwrap();
    let id = vault.keys().add(&NewKey::new(&Secret::Password("another"))).unwrap();
    assert_eq!(costs_of(&vault), [Some(GOOD), None, Some(higher)], "only the added password");
    assert_eq!(vault.keys().rewrap(&WORD).unwrap().0, 1);
    assert_eq!(costs_of(&vault), [Some(higher), None, Some(higher)]);
    vault.close().unwrap();

    // The option does not affect opening: the header has the costs of each password.
    let vault = options(&world, WORD).open("/vault").unwrap();
    assert_eq!(costs_of(&vault), [Some(higher), None, Some(higher)]);
    vault.keys().delete(id).unwrap();
    vault.close().unwrap();

    // A host may allow less memory than a header demands.
    let sparing = |secret| options(&world, secret).password_memory_kib_max(71 << 10);
    assert_error(sparing(WORD).open("/vault"), ErrorKind::Invalid, "73728 KiB");
    let vault = sparing(FIRST).open("/vault").unwrap();
    assert_eq!(costs_of(&vault), [Some(higher), None]);
}

/// Opens a vault whose header is forged to demand these costs.
fn open_with_forged_costs(
    scene: &Scene,
    good: &[u8],
    [memory, passes, lanes]: [u32; 3],
) -> Result<Vault> {
    scene.set_state(forged(good, |header| {
        set_u32(header, slot(0) + MEMORY, memory);
        set_u32(header, slot(0) + PASSES, passes);
        set_u32(header, slot(0) + LANES, lanes);
    }));
    scene.unchanged(|| options(&scene.world, WORD).open("/vault"))
}

#[test]
fn header_costs_out_of_bounds_are_invalid_and_not_spent() {
    let scene = Scene::new();
    let vault = options(&scene.world, WORD).create("/vault").unwrap();
    fill(&vault);
    vault.close().unwrap();
    let good = scene.state();
    let PasswordCosts { memory_kib, passes, lanes } = GOOD;
    // If the costs were spent, 4 TiB could not be allocated, and 2^32 passes would not end.
    let out_of_bounds = [
        ([(19 << 10) - 1, passes, lanes], "19455 KiB"),
        ([0, passes, lanes], "0 KiB"),
        ([(1 << 20) + 1, passes, lanes], "1048577 KiB"),
        ([u32::MAX, passes, lanes], "4294967295 KiB"),
        ([memory_kib, 0, lanes], "0 passes"),
        ([memory_kib, 65, lanes], "65 passes"),
        ([memory_kib, u32::MAX, lanes], "4294967295 passes"),
        ([memory_kib, passes, 0], "0 lanes"),
        ([memory_kib, passes, 17], "17 lanes"),
        ([memory_kib, passes, u32::MAX], "4294967295 lanes"),
        ([u32::MAX; 3], "4294967295 KiB"),
        ([0; 3], "0 KiB"),
    ];
    for (costs, expected) in out_of_bounds {
        assert_error(open_with_forged_costs(&scene, &good, costs), ErrorKind::Invalid, expected);
    }
    // Costs within the bounds are spent. The password then derives another key.
    for costs in [[19 << 10, passes, lanes], [memory_kib, 1, lanes], [memory_kib, passes, 16]] {
        assert_error(open_with_forged_costs(&scene, &good, costs), ErrorKind::Denied, "");
    }
    scene.set_state(&good);
    options(&scene.world, WORD).open("/vault").unwrap();
}

#[test]
fn password_out_of_bounds_leaves_other_keys_usable() {
    let scene = Scene::new();
    let high = PasswordCosts { memory_kib: 80 << 10, ..GOOD };
    let vault = options(&scene.world, WORD).password_costs(high).create("/vault").unwrap();
    vault.keys().add(&NewKey::new(&FIRST)).unwrap();
    vault.close().unwrap();
    let reopened =
        |secret| options(&scene.world, secret).password_memory_kib_max(64 << 10).open("/vault");
    // Adds a second password with costs within the bounds.
    let vault = reopened(FIRST).unwrap();
    let outcome = vault.keys().add(&NewKey::new(&Secret::Password("second")));
    assert_error(outcome, ErrorKind::Invalid, "81920 KiB");
    vault.close().unwrap();
    let vault = options(&scene.world, FIRST).open("/vault").unwrap();
    vault.keys().add(&NewKey::new(&Secret::Password("second"))).unwrap();
    vault.close().unwrap();
    reopened(Secret::Password("second")).unwrap().close().unwrap();
    assert_error(reopened(WORD), ErrorKind::Invalid, "81920 KiB");
    assert_error(reopened(Secret::Key(9)), ErrorKind::Denied, "");
}
