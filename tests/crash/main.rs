//! Simulated power cuts during random work on a vault, with canaries.
//!
//! Each canary plants a defect that the judge must detect.
//!
//! `STRONGROOM_CRASH_IMAGES=20000 cargo test --release --test crash` opens 20,000 images. Without
//! the variable the run is short enough for every `cargo test`.

mod artifact_calls;
mod artifact_model;
mod artifacts;
mod documents;
mod keys;
mod lanes;
mod operations;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use strongroom::Vault;
use strongroom_testkit::{
    BoxError, Bug, Call, CrashOptions, CrashSummary, Defect, Driver, Model, Scene, bug,
    calls_of_seed, crash_test, plant,
};

/// Returns the number of images of the main workload. Each canary opens a tenth, at least 300.
fn images() -> u64 {
    let given = std::env::var("STRONGROOM_CRASH_IMAGES").ok().and_then(|n| n.parse().ok());
    given.unwrap_or(1_500)
}

/// Calls of one recorded workload.
const CALLS: usize = 60;

/// Makes random calls on the scene's vault.
fn random_calls(seed: u64) -> impl FnOnce(&mut Scene<Call>) -> Result<(), BoxError> {
    make_calls(calls_of_seed(CALLS, false, seed))
}

fn make_calls(calls: Vec<Call>) -> impl FnOnce(&mut Scene<Call>) -> Result<(), BoxError> {
    move |scene| {
        let mut driver = Driver::lent(scene.vault().clone(), Model::new());
        for call in calls {
            match call {
                // The scene owns the vault, so only the scene can reopen the vault.
                Call::Reopen | Call::Crash { .. } => {
                    let mut model = driver.into_model();
                    model.apply(&Call::Reopen).expect("reopening is never refused");
                    scene.attempt(Call::Reopen, |_| Ok::<_, BoxError>(()))?;
                    scene.reopen()?;
                    driver = Driver::lent(scene.vault().clone(), model);
                }
                call => {
                    scene.attempt(call.clone(), |_| driver.call(&call))?;
                }
            }
        }
        Ok(())
    }
}

/// Judges the vault after a cut.
///
/// The vault must equal the model of the acknowledged calls, possibly with the call under way. The
/// list of unfinished operations must equal the model's.
fn judge_by_model(vault: &Vault, done: &[Call], under_way: &[Call]) -> Result<(), BoxError> {
    let mut model = Model::new();
    for call in done {
        model.apply(call).ok();
    }
    // The judged vault was opened again, so no handle of the recorded session is left.
    let differs = |model: &Model| {
        let mut opened = model.clone();
        opened.apply(&Call::Reopen).expect("reopening is never refused");
        opened.differs_from(vault)
    };
    let without = differs(&model);
    let Err(without) = without else { return Ok(()) };
    for call in under_way {
        model.apply(call).ok();
    }
    let with = differs(&model);
    with.map_err(|with| format!("{without}; with {under_way:?}: {with}").into())
}

fn random_work(options: &CrashOptions) -> CrashSummary {
    in_rounds(options, |options| crash_test(options, random_calls(options.seed), judge_by_model))
}

/// Runs the images of `options` over many recorded workloads.
///
/// Each workload has a seed of its own.
fn in_rounds(
    options: &CrashOptions,
    test: impl Fn(&CrashOptions) -> CrashSummary + Sync,
) -> CrashSummary {
    // A recording has some hundreds of events. Some tens of images of each event are enough.
    let rounds = (options.images / 500).max(1);
    let per_round = CrashOptions { images: options.images / rounds, ..options.clone() };
    let next = AtomicU64::new(0);
    let worker = || {
        let mut summary = CrashSummary::default();
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds {
                return summary;
            }
            let seed = options.seed.wrapping_add(round);
            let options = CrashOptions { seed, ..per_round.clone() };
            summary.merge(test(&options));
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(bug::carry(worker)), scope.spawn(bug::carry(worker))];
        let mut summary = CrashSummary::default();
        for worker in workers {
            summary.merge(worker.join().expect("a worker of the crash test panicked"));
        }
        summary
    })
}

#[test]
fn acknowledged_calls_survive_power_cuts() {
    let summary = random_work(&CrashOptions { images: images(), ..CrashOptions::default() });
    println!("random work: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// Asserts that the judge detects a disk that breaks a promise.
///
/// The work and the judge are those of the other tests. The backend may break the promise instead.
fn canary(name: &str, options: CrashOptions) {
    let images = (images() / 10).max(300);
    let summary = random_work(&CrashOptions { images, ..options });
    println!("canary, {name}: {} lost of {} images", summary.failed, summary.images);
    assert!(summary.failed > 0, "the canary {name} was not detected: {summary}");
}

#[test]
fn disk_without_real_syncs_is_detected() {
    let defect = Some(Defect::SyncWithoutEffect);
    canary("sync without effect", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn missing_folder_sync_is_detected() {
    let defect = Some(Defect::NoDirSync);
    canary("folder fsync left out", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn rename_before_the_sync_is_detected() {
    let defect = Some(Defect::LateSync);
    canary("rename before fsync", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn super_header_without_second_copy_is_detected() {
    let _bug = plant(Bug::SingleSuperHeader);
    canary("header not doubled", CrashOptions::default());
}

#[test]
fn repair_without_leniency_is_detected() {
    let _bug = plant(Bug::NoLeniency);
    canary("no leniency", CrashOptions::default());
}

#[test]
fn blocks_larger_than_a_page_are_detected() {
    let _bug = plant(Bug::LargerBlocks);
    canary("larger blocks", CrashOptions::default());
}

#[test]
fn row_committed_before_its_object_is_detected() {
    let late_objects = Some(3);
    canary("row before object", CrashOptions { late_objects, ..CrashOptions::default() });
}
