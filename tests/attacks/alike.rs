//! Equal calls of the storage for every update and for every refusal.
//!
//! An update of either document makes the same calls, and so does every way to be refused. Backend
//! calls are compared by method, object and bytes. Calls of the state file are compared by offset
//! and length too, where nothing is written.
//!
//! Times are printed and not compared, because they depend on the machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::backends::{Backend, Memory};
use strongroom::content::GcOptions;
use strongroom::documents::{Partition, SecretPartitionKey, Space, SpaceOptions};
use strongroom::keys::PasswordCosts;
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{BackendCall, RecordingBackend, TestKey, passwords_hashed};

use crate::support::syncs::{HookedState, StateCall};
use crate::{entropy, setting};

struct Scene {
    memory: Memory,
    backend: Arc<RecordingBackend>,
    state: Arc<Mutex<Vec<StateCall>>>,
    vault: Vault,
    space: Space,
}

impl Scene {
    /// Creates a vault whose state has no cache.
    ///
    /// So every read of the state is recorded.
    fn new(of: u64, options: &SpaceOptions) -> Self {
        let memory = Memory::new();
        let backend = Arc::new(RecordingBackend::new(Arc::new(memory.clone())));
        let state = Arc::<Mutex<Vec<StateCall>>>::default();
        let recorded = Arc::clone(&state);
        let vault = Vault::options(TestKey)
            .cheap_passwords()
            .cache_bytes(0)
            .entropy(entropy(of))
            .create_on(
                HookedState::of_calls(move |call| recorded.lock().push(call)),
                Arc::clone(&backend),
            )
            .unwrap();
        let space = vault.documents().create_space(options).unwrap();
        Self { memory, backend, state, vault, space }
    }

    fn add(&self, name: &str, keep: &[&SecretPartitionKey]) -> SecretPartitionKey {
        self.space.add_partition(&SecretPassword::new(name), keep).unwrap()
    }

    fn open(&self, key: &SecretPartitionKey, name: &str) -> strongroom::Result<Partition> {
        self.space.partition(key, &SecretPassword::new(name))
    }

    /// Returns the backend calls and the state calls that `act` makes.
    fn calls<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<BackendCall>, Vec<StateCall>) {
        self.backend.take();
        self.state.lock().clear();
        let result = act();
        (result, self.backend.take(), std::mem::take(&mut self.state.lock()))
    }
}

/// Replaces the keys in calls by numbers in order of first use.
///
/// A delete gets 0, because deletes run in the order of the random keys.
fn anonymous(calls: Vec<BackendCall>) -> Vec<(&'static str, usize, u64)> {
    let mut met = HashMap::new();
    let mut anonymous = Vec::new();
    for BackendCall { method, key, bytes } in calls {
        let next = met.len() + 1;
        let object = if method == "delete" { 0 } else { *met.entry(key).or_insert(next) };
        anonymous.push((method, object, bytes));
    }
    anonymous
}

/// Returns the number of calls and bytes of each method.
fn summary(calls: &[(&'static str, usize, u64)]) -> String {
    let of = |method: &str| {
        let (mut count, mut sum) = (0, 0);
        for (_, _, bytes) in calls.iter().filter(|call| call.0 == method) {
            count += 1;
            sum += bytes;
        }
        format!("{count} {method} ({sum} B)")
    };
    ["get", "get_range", "put", "delete", "list"].map(of).join(", ")
}

type Act<'a> = &'a dyn Fn(&mut Partition, &str);

#[test]
fn updates_of_both_documents_make_equal_calls() {
    let scene = Scene::new(100, &SpaceOptions::default());
    let key_a = scene.add("pa", &[]);
    let key_b = scene.add("pb", &[&key_a]);
    let mut a = scene.open(&key_a, "pa").unwrap();
    let mut b = scene.open(&key_b, "pb").unwrap();
    let long = format!("[{}1]", "\"a text of B, longer\",".repeat(3_000));
    let acts: [(&str, Act<'_>); 3] = [
        ("write", &|partition, text| {
            partition.write(text).unwrap();
        }),
        ("heal", &|partition, _| {
            partition.heal().unwrap();
        }),
        ("change of password", &|partition, text| {
            partition.change_password(&SecretPassword::new(&text[..1])).unwrap();
        }),
    ];
    for (name, act) in acts {
        let of_a = scene.calls(|| act(&mut a, "1"));
        let of_b = scene.calls(|| act(&mut b, &long));
        let syncs = |state: &[StateCall]| state.iter().filter(|c| **c == StateCall::Sync).count();
        let (calls_a, calls_b) = (anonymous(of_a.1), anonymous(of_b.1));
        println!("{name}: {}; {} syncs of the state", summary(&calls_a), syncs(&of_a.2));
        assert!(calls_a.iter().any(|call| call.0 == "put") && syncs(&of_a.2) > 0);
        assert_eq!(calls_a, calls_b, "{name}");
        assert_eq!(syncs(&of_a.2), syncs(&of_b.2), "{name}");
    }
    // An observer of the storage cannot distinguish these calls from a write either.
    let (_, written, _) = scene.calls(|| a.write("2").unwrap());
    let ((), destroyed, _) = scene.calls(|| scene.space.destroy_partition(&key_b).unwrap());
    let (_, added, _) = scene.calls(|| scene.add("pc", &[&key_a]));
    let written = anonymous(written);
    assert_eq!(anonymous(destroyed), written, "destroying a partition");
    assert_eq!(anonymous(added), written, "adding a partition");
}

/// One readable document, and keys for every way to be refused.
///
/// `right` is the key of the document. Its password is "right".
struct Refusals {
    right: SecretPartitionKey,
    never_here: SecretPartitionKey,
    destroyed: SecretPartitionKey,
}

const REFUSALS: [&str; 4] =
    ["wrong password", "wrong key", "wrong key and password", "destroyed partition"];

impl Refusals {
    fn new(scene: &Scene, elsewhere: u64) -> Self {
        let right = scene.add("right", &[]);
        let destroyed = scene.add("right", &[&right]);
        scene.space.destroy_partition(&destroyed).unwrap();
        let other = Scene::new(elsewhere, &SpaceOptions::default().capacity_bytes(1_024));
        Self { right, never_here: other.add("right", &[]), destroyed }
    }

    fn attempt(&self, scene: &Scene, number: usize) -> strongroom::Result<Partition> {
        let (key, name) = match number {
            0 => (&self.right, "wrong"),
            1 => (&self.never_here, "right"),
            2 => (&self.never_here, "wrong"),
            3 => (&self.destroyed, "right"),
            _ => (&self.right, "right"),
        };
        scene.open(key, name)
    }
}

#[test]
fn refusals_make_equal_calls_and_return_equal_errors() {
    let scene = Scene::new(110, &SpaceOptions::default());
    let refusals = Refusals::new(&scene, 111);
    // Free the objects that the last write replaced, so that gc makes no calls later.
    scene.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    drop(scene.vault.read().unwrap());
    let attempt = |number| {
        let hashed = passwords_hashed();
        let (result, backend, state) = scene.calls(|| refusals.attempt(&scene, number));
        (result, passwords_hashed() - hashed, backend, state)
    };
    let (opened, hashed, backend, state) = attempt(REFUSALS.len());
    opened.unwrap();
    println!(
        "opening: {}; {} reads of the state",
        summary(&anonymous(backend.clone())),
        state.len()
    );
    assert_eq!((hashed, backend.len()), (1, 18));
    assert!(!state.is_empty() && state.iter().all(|call| matches!(call, StateCall::Read(..))));
    let mut errors = Vec::new();
    for (number, name) in REFUSALS.iter().enumerate() {
        let refused = attempt(number);
        let error = refused.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{name}");
        errors.push(format!("{error:?}"));
        assert_eq!((refused.1, &refused.2, &refused.3), (1, &backend, &state), "{name}");
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn refusals_return_equal_errors_with_missing_objects() {
    let scene = Scene::new(120, &SpaceOptions::default().capacity_bytes(8 << 10));
    let refusals = Refusals::new(&scene, 121);
    scene.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let listed = scene.memory.list("content/", None, 100).unwrap();
    let (cells, segments): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|entry| scene.memory.get(&entry.key).unwrap().body.starts_with(b"STRNGCEL"));
    assert_eq!((cells.len(), segments.len()), (2, 16));
    let expect_equal_errors = |missing: &str| {
        let hashed = passwords_hashed();
        let mut errors: Vec<String> = (0..REFUSALS.len())
            .map(|number| format!("{:#?}", refusals.attempt(&scene, number).unwrap_err()))
            .collect();
        let hashed = passwords_hashed() - hashed;
        errors.dedup();
        assert_eq!(errors.len(), 1, "{missing} missing: {errors:?}");
        let right = refusals.attempt(&scene, REFUSALS.len());
        let right = right.map_or_else(|error| error.kind().as_str(), |_| "opened");
        let denied = errors[0].contains("Denied");
        println!("{missing} missing: refused as denied: {denied}; right password: {right}");
        (denied, hashed)
    };
    let mut kinds = Vec::new();
    for missing in 0..=segments.len() {
        if missing > 0 {
            scene.memory.delete(&segments[missing - 1].key).unwrap();
        }
        let (denied, hashed) = expect_equal_errors(&format!("{missing} segments"));
        kinds.push(denied);
        assert_eq!(hashed, REFUSALS.len() as u64);
    }
    // All refusals are `Denied` until two thirds of the blocks are missing and no document is
    // readable.
    assert!(kinds.iter().enumerate().all(|(missing, &denied)| denied == (missing <= 10)));
    for missing in 1..=2 {
        scene.memory.delete(&cells[missing - 1].key).unwrap();
        expect_equal_errors(&format!("16 segments and {missing} objects of cells"));
    }
}

#[test]
fn times_of_refusals_are_printed() {
    let costs = match std::env::var_os("STRONGROOM_ATTACK_COSTS") {
        Some(_) => PasswordCosts::RFC9106_SECOND,
        None => PasswordCosts::FOR_TESTS,
    };
    let capacity = setting("STRONGROOM_ATTACK_CAPACITY", 64 << 10).try_into().unwrap();
    let options = SpaceOptions::default().password_costs(costs).capacity_bytes(capacity);
    let scene = Scene::new(130, &options);
    let refusals = Refusals::new(&scene, 131);
    let attempts = setting("STRONGROOM_ATTACK_ATTEMPTS", 100);
    let clock = SystemClock::new();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); REFUSALS.len()];
    // The kinds alternate, so that other load of the machine affects all of them alike.
    for round in 0..=attempts {
        for (number, times) in times.iter_mut().enumerate() {
            let began = clock.monotonic();
            refusals.attempt(&scene, number).unwrap_err();
            if round > 0 {
                times.push(clock.monotonic().saturating_sub(began));
            }
        }
    }
    println!("{attempts} of each, {capacity} bytes, {costs:?}; ms: least, quartiles, most");
    for (name, mut times) in REFUSALS.iter().zip(times) {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 4].as_secs_f64() * 1e3;
        let [least, first, median, third, most] = [0, 1, 2, 3, 4].map(at);
        println!("{name:<24} {least:8.2} {first:8.2} {median:8.2} {third:8.2} {most:8.2}");
    }
}
