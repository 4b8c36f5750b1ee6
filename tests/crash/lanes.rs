//! Lanes in parallel threads whose batches share commits.

use std::thread;

use strongroom::operations::Checkpoint;
use strongroom::{Batch, Vault};
use strongroom_testkit::{BoxError, CrashOptions, CrashSummary, Scene, crash_test};

use super::images;

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

/// Commits batches of several lanes in parallel threads.
fn parallel_lanes(scene: &mut Scene<Row>) -> Result<(), BoxError> {
    let vault = scene.vault().clone();
    let operation = vault.operations().begin("import", (0..LANES).map(lane_name))?;
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

/// Asserts that each lane's rows match its checkpoint.
///
/// No acknowledged row may be missing.
fn judge_lanes(vault: &Vault, done: &[Row], _under_way: &[Row]) -> Result<(), BoxError> {
    let snapshot = vault.read()?;
    for lane in 0..LANES {
        let Some(status) = snapshot.lane("import", &lane_name(lane))? else {
            return if done.is_empty() { Ok(()) } else { Err("the operation is gone".into()) };
        };
        let decoded = status.decode::<u32>()?.unwrap_or(0);
        let rows = snapshot.count(&lane_name(lane))?;
        if rows != u64::from(decoded) || status.checkpoints != u64::from(decoded) {
            let checkpoints = status.checkpoints;
            return Err(format!(
                "{rows} rows, {decoded} by the checkpoint, {checkpoints} checkpoints"
            )
            .into());
        }
        let acknowledged = done.iter().filter(|row| row.lane == lane).map(|row| row.number).max();
        if acknowledged.is_some_and(|number| decoded <= number) {
            return Err(format!("lane {lane} is at {decoded}, lost {acknowledged:?}").into());
        }
    }
    Ok(())
}

#[test]
fn lanes_that_share_commits_lose_and_repeat_nothing() {
    let mut summary = CrashSummary::default();
    for seed in 0..4 {
        let options = CrashOptions { images: images() / 20, seed, ..CrashOptions::default() };
        summary.merge(crash_test(&options, parallel_lanes, judge_lanes));
    }
    println!("parallel lanes: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}
