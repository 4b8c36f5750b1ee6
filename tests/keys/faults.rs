//! A file system that fails during a change of the keys.
//!
//! Each call of the file system fails in turn. Afterwards the vault has the old keys or the new
//! keys, and all its data. The handle stays usable.

use std::collections::BTreeMap;

use strongroom::keys::{KeyId, NewKey};
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::{Fault, FaultError, FaultTiming, Replay};

use crate::scene::{FIRST, NEW_STATE, Scene, Secret, assert_filled, ids};
use crate::support::records::{get, put};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Largest number of file system calls in one change.
const CALLS_MAX: u64 = 2_000;

const OTHER: Secret = Secret::Key(2);
const NEW: Secret = Secret::Key(3);
/// Added after the failed change.
const AFTER: Secret = Secret::Key(4);
const ALL: [Secret; 3] = [FIRST, OTHER, NEW];

/// A change of a vault that `FIRST` and `OTHER` open.
struct Change {
    name: &'static str,
    act: fn(&Vault) -> Result<()>,
    /// Secrets that open the vault after the change.
    after: &'static [Secret],
}

const BEFORE: &[Secret] = &[FIRST, OTHER];

const CHANGES: [Change; 4] = [
    Change {
        name: "add",
        act: |vault| vault.keys().add(&NewKey::new(&NEW)).map(drop),
        after: &[FIRST, OTHER, NEW],
    },
    Change { name: "remove", act: |vault| vault.keys().delete(KeyId(2)), after: &[FIRST] },
    Change {
        name: "replace",
        act: |vault| vault.keys().replace(KeyId(2), &NEW),
        after: &[FIRST, NEW],
    },
    Change { name: "rewrap", act: |vault| vault.keys().rewrap(&OTHER).map(drop), after: BEFORE },
];

const ROTATE: Change = Change {
    name: "rotate",
    act: |vault| vault.keys().rotate(&[NewKey::new(&FIRST), NewKey::new(&NEW)]),
    after: &[FIRST, NEW],
};

/// One run in which the injected fault failed the change.
struct Run<'a> {
    scene: Scene,
    change: &'a Change,
    error: Error,
    name: String,
}

/// Fails each call of `change` in turn, and checks each failed change.
fn each_call(change: &Change, timing: FaultTiming, number: i32, check: impl Fn(Run<'_>, Vault)) {
    let prepared = Scene::with_vault(BEFORE);
    let mut kinds = BTreeMap::<String, u64>::new();
    for nth in 1..CALLS_MAX {
        let scene = prepared.duplicate();
        let vault = scene.open(FIRST).unwrap();
        let before = scene.world.calls();
        scene.world.fail_at(nth, Fault { timing, error: FaultError::Os(number) });
        let outcome = (change.act)(&vault);
        let made = scene.world.calls() - before;
        scene.world.clear_faults();
        let name = format!("{}, call {nth}, {timing:?}, errno {number}", change.name);
        if made < nth {
            outcome.unwrap();
            assert!(!kinds.is_empty(), "no fault struck");
            println!("{}, {made} calls, {timing:?}, errno {number}: {kinds:?}", change.name);
            return;
        }
        match outcome {
            Ok(()) => {
                vault.close().unwrap();
                assert_eq!(scene.openers(&ALL), change.after, "{name}");
            }
            Err(error) => {
                *kinds.entry(format!("{:?}", error.kind())).or_default() += 1;
                check(Run { scene, change, error, name }, vault);
            }
        }
    }
    panic!("a change takes more than {CALLS_MAX} calls");
}

const TIMINGS: [FaultTiming; 3] = [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn];

fn each_call_of_all(changes: &[Change], check: impl Fn(Run<'_>, Vault)) {
    for change in changes {
        for timing in TIMINGS {
            for number in [EIO, ENOSPC] {
                each_call(change, timing, number, &check);
            }
        }
    }
}

impl Run<'_> {
    /// Asserts old or new keys, and an error that fits.
    ///
    /// An error other than `Uncertain` requires the old keys.
    fn assert_old_or_new(&self, found: &[Secret]) {
        let Self { change, error, name, .. } = self;
        let kind = error.kind();
        let allowed = [ErrorKind::Uncertain, ErrorKind::Unavailable, ErrorKind::Full];
        assert!(allowed.contains(&kind), "{name}: {error}");
        assert!(found == BEFORE || found == change.after, "{name}: {found:?} after {error}");
        if kind != ErrorKind::Uncertain {
            assert_eq!(found, BEFORE, "{name}: the change took effect, after {error}");
        }
    }
}

fn reopened_has_old_or_new_keys(run: Run<'_>, vault: Vault) {
    // The close may fail; the next open repairs the vault.
    let _ = vault.close();
    let found = run.scene.openers(&ALL);
    run.assert_old_or_new(&found);
    let vault = run.scene.open(FIRST).unwrap();
    assert!(vault.recovery().was_clean(), "{}: {:?}", run.name, vault.recovery());
    assert_filled(&vault);
    assert!(run.scene.world.read_file(NEW_STATE).is_err(), "{}", run.name);
}

#[test]
fn failed_change_leaves_old_or_new_keys() {
    each_call_of_all(&CHANGES, reopened_has_old_or_new_keys);
}

#[test]
fn failed_rotation_leaves_old_or_new_keys() {
    each_call_of_all(&[ROTATE], reopened_has_old_or_new_keys);
}

/// Asserts that the handle still stores a record and a key.
fn handle_stays_usable(run: Run<'_>, vault: Vault) {
    let Run { scene, name, .. } = &run;
    put(&vault, "after", "1");
    let added = vault.keys().add(&NewKey::new(&AFTER));
    added.unwrap_or_else(|e| panic!("{name}: {e}, after {}", run.error));
    assert_filled(&vault);
    let listed = ids(&vault);
    vault.close().unwrap_or_else(|e| panic!("{name}: {e}"));
    run.assert_old_or_new(&scene.openers(&ALL));
    let vault = scene.open(AFTER).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(vault.recovery().was_clean(), "{name}: {:?}", vault.recovery());
    assert_eq!(ids(&vault), listed, "{name}");
    assert_eq!(get(&vault, "after").unwrap(), b"1");
    assert_filled(&vault);
}

#[test]
fn handle_stays_usable_after_a_failed_change() {
    each_call_of_all(&CHANGES, handle_stays_usable);
}

#[test]
fn handle_stays_usable_after_a_failed_rotation() {
    each_call_of_all(&[ROTATE], handle_stays_usable);
}

#[test]
fn write_after_a_failed_rotation_survives_a_power_cut() {
    each_call(&ROTATE, FaultTiming::Before, EIO, |run, vault| {
        put(&vault, "after", "1");
        let world = &run.scene.world;
        let mut replay = Replay::new(&world.journal());
        replay.advance_to(world.events());
        drop(vault);
        for seed in 0..12 {
            let scene = Scene::on(replay.image(seed));
            let vault = scene.open(FIRST).unwrap_or_else(|e| panic!("{}, {seed}: {e}", run.name));
            assert!(get(&vault, "after").is_some(), "{}, image {seed}: {}", run.name, run.error);
        }
    });
}

#[test]
fn list_after_an_uncertain_change_matches_the_reopened_vault() {
    each_call_of_all(&CHANGES, |run, vault| {
        let listed = vault.keys().list();
        let _ = vault.close();
        let vault = run.scene.open(FIRST).unwrap();
        assert_eq!(listed, vault.keys().list(), "{}: {}", run.name, run.error);
    });
}
