//! Several processes on one root of the disk backend.
//!
//! A test starts this executable again, to run only the test `worker`, with a role and a root in
//! its environment. Every wait for a worker is a wait for its output, which ends with the worker.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use strongroom_backends::fs::{Access, FileSystem, Os};
use strongroom_backends::{Backend, Condition, Disk, Key};
use strongroom_testkit::conformance;

/// Processes in the race.
const PROCESSES: u64 = 4;
/// Increments of each process.
const MOVES: u64 = 100;
/// Longest silence of a worker before it is killed and the test fails.
const WORKER_SILENCE_MAX: Duration = Duration::from_secs(60);

const ROLE: &str = "STRONGROOM_TEST_ROLE";
const ROOT: &str = "STRONGROOM_TEST_ROOT";

/// The code of the other processes, not a test by itself.
#[test]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = std::env::var(ROOT).expect("a worker has a root");
    match role.as_str() {
        "increment" => {
            let disk = Disk::open(root).unwrap();
            say_ready_and_wait();
            conformance::increment(&disk, &format!("pid-{}", std::process::id()), MOVES);
        }
        "create" => {
            let disk = Disk::open(root).unwrap();
            say_ready_and_wait();
            let body = std::process::id().to_string().into();
            if disk.put(&created(), body, &Condition::Absent).is_ok() {
                println!("\nwon");
            }
        }
        "hold" => {
            let lock = Os.open(&Path::new(&root).join("lock"), Access::OpenOrCreate).unwrap();
            assert!(lock.try_lock().unwrap());
            say_ready_and_wait();
        }
        other => panic!("no such role: {other}"),
    }
}

/// The test harness writes to the same output, without a line end.
fn say_ready_and_wait() {
    println!("\nready");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

fn created() -> Key {
    Key::new("race/created").unwrap()
}

/// A process that runs `worker`; killed when dropped.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Worker {
    fn start(role: &str, root: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ROOT, root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let worker = Self { child, input, lines };
        assert!(worker.says("ready"), "the worker gets ready");
        worker
    }

    /// Waits for a line; `false` if the output ends first.
    fn says(&self, wanted: &str) -> bool {
        loop {
            match self.lines.recv_timeout(WORKER_SILENCE_MAX) {
                Ok(line) if line == wanted => return true,
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("a worker is silent for {} s", WORKER_SILENCE_MAX.as_secs())
                }
            }
        }
    }

    fn go(&mut self) {
        drop(self.input.take());
    }

    /// Waits for its success; returns whether it printed `wanted`.
    fn finish(mut self, wanted: &str) -> bool {
        let said = self.says(wanted);
        while self.says("") {}
        assert!(self.child.wait().unwrap().success(), "the worker succeeds");
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn workers(role: &str, root: &Path) -> Vec<Worker> {
    let mut workers: Vec<Worker> = (0..PROCESSES).map(|_| Worker::start(role, root)).collect();
    workers.iter_mut().for_each(Worker::go);
    workers
}

#[test]
fn processes_lose_no_update() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    conformance::start_counter(&disk);
    for worker in workers("increment", home.path()) {
        worker.finish("");
    }
    assert_eq!(conformance::counter_value(&disk), PROCESSES * MOVES);
    assert_eq!(disk.clear_temporaries().unwrap(), 0, "finished writers leave nothing");
}

#[test]
fn only_one_process_creates_a_key() {
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let winners: Vec<u32> = workers("create", home.path())
            .into_iter()
            .filter_map(|worker| {
                let pid = worker.child.id();
                worker.finish("won").then_some(pid)
            })
            .collect();
        let [winner] = winners[..] else {
            panic!("exactly one process wins, not {winners:?}");
        };
        let kept = Disk::open(home.path()).unwrap().get(&created()).unwrap().body;
        assert_eq!(kept, winner.to_string());
    }
}

#[test]
fn lock_of_killed_process_is_released() {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::open(home.path()).unwrap();
    let holder = Worker::start("hold", home.path());
    std::thread::scope(|scope| {
        let put = scope.spawn(|| disk.put(&created(), "body".into(), &Condition::Any));
        drop(holder);
        put.join().unwrap().expect("the put waits for the lock and gets it");
    });
}
