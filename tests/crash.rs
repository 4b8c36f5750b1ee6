//! Simulated power cuts over random work on a vault, and the canaries that prove the judge.
//!
//! `STRONGROOM_CRASH_IMAGES=20000 cargo test --release --test crash` opens that many images;
//! without it the run is short enough for every `cargo test`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use strongroom::testing::{
    BoxError, Call, CrashOptions, CrashSummary, Defect, Driver, Model, Scene, calls_of_seed,
    crash_test,
};
use strongroom::{Batch, Checkpoint, Vault};

/// Images in all, over every workload; the canaries open a tenth each.
fn images() -> u64 {
    let given = std::env::var("STRONGROOM_CRASH_IMAGES").ok().and_then(|n| n.parse().ok());
    given.unwrap_or(1_500)
}

/// Calls of one recorded workload.
const CALLS: usize = 60;

/// Random calls, made by the driver on the scene's vault.
fn random_calls(seed: u64) -> impl FnOnce(&mut Scene<Call>) -> Result<(), BoxError> {
    move |scene| {
        let mut driver = Driver::lent(scene.vault().clone(), Model::new());
        for call in calls_of_seed(CALLS, false, seed) {
            match call {
                // Reopening is the scene's, which owns the vault.
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

/// The vault is what the acknowledged calls made of it, or that and the call under way.
fn agrees_with_the_model(vault: &Vault, done: &[Call], under_way: &[Call]) -> Result<(), BoxError> {
    let snapshot = vault.read()?;
    let mut model = Model::new();
    for call in done {
        model.apply(call).ok();
    }
    let without = model.differs(&snapshot);
    let Err(without) = without else { return Ok(()) };
    for call in under_way {
        model.apply(call).ok();
    }
    let with = model.differs(&snapshot);
    with.map_err(|with| format!("{without}; with {under_way:?}: {with}").into())
}

fn random_work(options: &CrashOptions) -> CrashSummary {
    // A record holds some hundreds of events; some tens of images of each are enough.
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
            summary.merge(crash_test(&options, random_calls(seed), agrees_with_the_model));
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        let mut summary = CrashSummary::default();
        for worker in workers {
            summary.merge(worker.join().expect("a worker of the crash test panicked"));
        }
        summary
    })
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let summary = random_work(&CrashOptions { images: images(), ..CrashOptions::default() });
    println!("random work: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// The same work and judge must fail on a disk, or a backend, that breaks a promise.
fn canary(name: &str, options: CrashOptions) {
    let images = (images() / 10).max(300);
    let summary = random_work(&CrashOptions { images, ..options });
    println!("canary, {name}: {} lost of {} images", summary.failed, summary.images);
    assert!(summary.failed > 0, "the canary {name} was not noticed: {summary}");
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let defect = Some(Defect::LyingSync);
    canary("a sync that lies", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn a_folder_that_is_not_synced_is_noticed() {
    let defect = Some(Defect::NoDirSync);
    canary("folder fsync left out", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn a_rename_before_the_sync_is_noticed() {
    let defect = Some(Defect::LateSync);
    canary("rename before fsync", CrashOptions { defect, ..CrashOptions::default() });
}

#[test]
fn a_row_before_its_object_is_noticed() {
    let late_objects = Some(3);
    canary("row before object", CrashOptions { late_objects, ..CrashOptions::default() });
}

/// One row and one checkpoint of a lane.
#[derive(Clone, Debug)]
struct Row {
    lane: usize,
    number: u32,
}

const LANES: usize = 4;
const ROWS_PER_LANE: u32 = 12;

fn lane_name(lane: usize) -> String {
    format!("lane-{lane}")
}

/// Lanes in parallel threads, whose batches share commits.
fn parallel_lanes(scene: &mut Scene<Row>) -> Result<(), BoxError> {
    let vault = scene.vault().clone();
    let operation = vault.begin("import", (0..LANES).map(lane_name))?;
    let world = scene.world().clone();
    let attempts = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let (operation, world) = (operation.clone(), world.clone());
                scope.spawn(move || -> Result<Vec<(Row, u64, u64)>, BoxError> {
                    let handle = operation.lane(&lane_name(lane))?;
                    let mut attempts = Vec::new();
                    for number in 0..ROWS_PER_LANE {
                        let mut batch = Batch::new();
                        batch.insert(lane_name(lane), number.to_be_bytes(), vec![7; 500]);
                        let checkpoint = Checkpoint::encode(&(number + 1))?;
                        let began = world.events();
                        handle.commit(batch, checkpoint)?;
                        attempts.push((Row { lane, number }, began, world.events()));
                    }
                    Ok(attempts)
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().expect("a lane panicked"))
            .collect::<Result<Vec<_>, BoxError>>()
    })?;
    for (row, began, done) in attempts.into_iter().flatten() {
        scene.note(row, began, Some(done));
    }
    Ok(())
}

/// Each lane has exactly the rows that its checkpoint tells, and none that was acknowledged is
/// missing.
fn lanes_hold(vault: &Vault, done: &[Row], _under_way: &[Row]) -> Result<(), BoxError> {
    let snapshot = vault.read()?;
    for lane in 0..LANES {
        let Some(status) = snapshot.lane("import", &lane_name(lane))? else {
            return if done.is_empty() { Ok(()) } else { Err("the operation is gone".into()) };
        };
        let told = status.decode::<u32>()?.unwrap_or(0);
        let rows = snapshot.count(&lane_name(lane))?;
        if rows != u64::from(told) || status.checkpoints != u64::from(told) {
            let checkpoints = status.checkpoints;
            return Err(format!("{rows} rows, told {told}, {checkpoints} checkpoints").into());
        }
        let acknowledged = done.iter().filter(|row| row.lane == lane).map(|row| row.number).max();
        if acknowledged.is_some_and(|number| told <= number) {
            return Err(format!("lane {lane} stands at {told}, lost {acknowledged:?}").into());
        }
    }
    Ok(())
}

#[test]
fn lanes_that_share_commits_lose_and_repeat_nothing() {
    let mut summary = CrashSummary::default();
    for seed in 0..4 {
        let options = CrashOptions { images: images() / 20, seed, ..CrashOptions::default() };
        summary.merge(crash_test(&options, parallel_lanes, lanes_hold));
    }
    println!("parallel lanes: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}
