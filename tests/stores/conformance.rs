//! The conformance suite and the races on a real server.

use std::path::Path;

use strongroom::backends::{Backend, Condition, Key};
use strongroom_testkit::conformance;
use tokio::runtime::Builder;

use crate::server::Location;
use crate::setting;
use crate::support::process::{Worker, print_line, wait_for_go};

const PROCESSES: usize = 8;

/// Number of moves after which a process prints that it continues.
const MOVES_REPORTED: usize = 25;

/// Returns the number of moves of each process.
fn moves() -> u64 {
    setting("STRONGROOM_STORE_MOVES", 50)
}

#[test]
fn server_passes_the_conformance_suite() {
    const TEST: &str = "server_passes_the_conformance_suite";
    if Location::new(TEST).is_none() {
        return;
    }
    conformance::run(&|| Location::new(TEST).unwrap().open());
}

/// Opens, uses and drops the store on the caller's thread.
fn use_and_drop(location: &Location) {
    let (store, key) = (location.open(), Key::new("content/a").unwrap());
    store.put(&key, "body".into(), &Condition::Any).unwrap();
    assert_eq!(store.get(&key).unwrap().body, "body");
}

#[test]
fn the_client_works_on_any_thread_and_inside_any_runtime() {
    let test = "the_client_works_on_any_thread_and_inside_any_runtime";
    let Some(location) = Location::new(test) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| use_and_drop(&location));
    });
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.build().unwrap();
        runtime.block_on(async { use_and_drop(&location) });
        let in_task = location.clone();
        runtime.block_on(async move {
            let outside = in_task.clone();
            tokio::spawn(async move { use_and_drop(&in_task) }).await.unwrap();
            tokio::task::spawn_blocking(move || use_and_drop(&outside)).await.unwrap();
        });
    }
}

pub(crate) fn increment(at: &Path) {
    let store = Location::from_url(at.to_str().unwrap()).open();
    print_line("ready");
    wait_for_go();
    // The lines show the parent process that this process continues.
    for (part, done) in (0..moves()).step_by(MOVES_REPORTED).enumerate() {
        let contender = format!("pid-{}-{part}", std::process::id());
        conformance::increment(&store, &contender, (moves() - done).min(MOVES_REPORTED as u64));
        print_line("continues");
    }
    print_line("done");
}

#[test]
fn eight_processes_lose_no_move_on_a_server() {
    let Some(location) = Location::new("eight_processes_lose_no_move_on_a_server") else { return };
    let store = location.open();
    conformance::start_counter(&store);
    let start = || Worker::start("increment", Path::new(location.url()));
    let mut workers: Vec<Worker> = (0..PROCESSES).map(|_| start()).collect();
    for worker in &workers {
        worker.expect("ready");
    }
    workers.iter_mut().for_each(Worker::go);
    for worker in &workers {
        while worker.line().expect("the worker prints its end") != "done" {}
    }
    let value = conformance::counter_value(&store);
    assert_eq!(value, PROCESSES as u64 * moves());
    println!("{value} moves by {PROCESSES} processes on {}: none lost", store.name());
}
