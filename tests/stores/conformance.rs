//! The conformance suite and the races on a real server.

use std::path::Path;

use strongroom::backends::{Backend, Condition, Key};
use strongroom_testkit::conformance;
use tokio::runtime::Builder;

use crate::server::Place;
use crate::setting;
use crate::support::process::{Worker, say, wait_for_go};

const PROCESSES: usize = 8;

/// After so many moves a process says that it goes on.
const MOVES_TOLD: usize = 25;

/// Moves of each process.
fn moves() -> u64 {
    setting("STRONGROOM_STORE_MOVES", 50)
}

#[test]
fn a_server_conforms() {
    const TEST: &str = "a_server_conforms";
    if Place::new(TEST).is_none() {
        return;
    }
    conformance::run(&|| Place::new(TEST).unwrap().open());
}

/// Opens, puts, gets, and drops the store, in the place where it is called.
fn use_and_drop(place: &Place) {
    let (store, key) = (place.open(), Key::new("content/a").unwrap());
    store.put(&key, "body".into(), &Condition::Any).unwrap();
    assert_eq!(store.get(&key).unwrap().body, "body");
}

#[test]
fn the_client_of_a_cloud_is_called_and_dropped_from_any_thread_and_inside_any_runtime() {
    let test = "the_client_of_a_cloud_is_called_and_dropped_from_any_thread_and_inside_any_runtime";
    let Some(place) = Place::new(test) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| use_and_drop(&place));
    });
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.build().unwrap();
        runtime.block_on(async { use_and_drop(&place) });
        let in_task = place.clone();
        runtime.block_on(async move {
            let outside = in_task.clone();
            tokio::spawn(async move { use_and_drop(&in_task) }).await.unwrap();
            tokio::task::spawn_blocking(move || use_and_drop(&outside)).await.unwrap();
        });
    }
}

pub(crate) fn increment(at: &Path) {
    let store = Place::at(at.to_str().unwrap()).open();
    say("ready");
    wait_for_go();
    // Whoever started it hears that it goes on.
    for (turn, left) in (0..moves()).step_by(MOVES_TOLD).enumerate() {
        let contender = format!("pid-{}-{turn}", std::process::id());
        conformance::increment(&store, &contender, (moves() - left).min(MOVES_TOLD as u64));
        say("goes on");
    }
    say("done");
}

#[test]
fn no_move_of_eight_processes_is_lost_on_a_server() {
    let Some(place) = Place::new("no_move_of_eight_processes_is_lost_on_a_server") else { return };
    let store = place.open();
    conformance::start_counter(&store);
    let start = || Worker::start("increment", Path::new(place.url()));
    let mut workers: Vec<Worker> = (0..PROCESSES).map(|_| start()).collect();
    for worker in &workers {
        worker.expect("ready");
    }
    workers.iter_mut().for_each(Worker::go);
    for worker in &workers {
        while worker.line().expect("a worker ends when it is done") != "done" {}
    }
    let value = conformance::counter_value(&store);
    assert_eq!(value, PROCESSES as u64 * moves());
    println!("{value} moves by {PROCESSES} processes on {}: none lost", store.name());
}
