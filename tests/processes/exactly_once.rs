//! An import that writes every row exactly once despite kills.
//!
//! Each row counts its writes. One transaction writes the row, its count and the lane's
//! checkpoint. Some rows are long, and their content is staged before the transaction.

use std::path::Path;
use std::time::Duration;

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::content::GcOptions;
use strongroom::operations::{Checkpoint, Lane, OperationState};
use strongroom::{Error, ErrorKind, Result, Vault, WriteTx};
use strongroom_testkit::TestKey;

use crate::support::process::{Worker, WorkerOutput, print_line};
use crate::support::random::Random;
use crate::support::records::{assert_whole, get, long, put};

const LANES: u64 = 8;
const ROWS_VARIABLE: &str = "STRONGROOM_KILL_ROWS";
const KILLS_VARIABLE: &str = "STRONGROOM_KILLS";
/// Distance between two long rows, in rows.
const LONG_EVERY: u64 = 199;
const LONG_BYTES: usize = 300_000;
/// One in this number of kills is aimed at the opening.
const EARLY_EVERY: u64 = 5;
/// Time in which a started worker opens the vault, in microseconds.
///
/// Some kills within this time come soon after the opening.
const OPENING_MICROS: u32 = 40_000;
/// Time in which a started worker creates the vault, in microseconds.
const CREATION_MICROS: u32 = 3_000;
/// At most one kill in this number is aimed at the creation.
///
/// Two such kills are always allowed. After a killed creation the next worker creates the vault
/// again, so the number of these kills needs a limit.
const CREATION_EVERY: u64 = 10;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn rows_per_lane() -> u64 {
    setting(ROWS_VARIABLE, 2_000).div_ceil(LANES)
}

fn key(lane: u64, row: u64) -> String {
    format!("{lane}-{row:08}")
}

fn is_long(row: u64) -> bool {
    row % LONG_EVERY == LONG_EVERY / 2
}

/// Creates or opens the vault, and imports the missing rows.
pub(crate) fn import(path: &Path) {
    print_line("starting");
    let vault = match Vault::options(TestKey).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let vault = Vault::options(TestKey).create(path).unwrap();
            print_line("created");
            vault
        }
        opened => opened.unwrap(),
    };
    let snapshot = vault.read().unwrap();
    let done = snapshot.count("rows").unwrap();
    let status = snapshot.operation("import").unwrap();
    drop(snapshot);
    print_line(&format!("working {done}"));
    if status.is_some_and(|status| status.state == OperationState::Completed) {
        print_line("done");
        return;
    }
    let names = (0..LANES).map(|lane| lane.to_string());
    let operation = vault.operations().begin_or_resume("import", names).unwrap();
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let handle = operation.lane(&lane.to_string()).unwrap();
            let vault = &vault;
            scope.spawn(move || import_lane(vault, &handle, lane));
        }
    });
    print_line("done");
    vault.close().unwrap();
}

fn import_lane(vault: &Vault, handle: &Lane, lane: u64) {
    let status = handle.status().unwrap();
    if status.complete {
        return;
    }
    let rows = rows_per_lane();
    for row in status.decode().unwrap().unwrap_or(0)..rows {
        let checkpoint = Checkpoint::encode(&(row + 1)).unwrap();
        let checkpoint = checkpoint.progress((row + 1) as f64 / rows as f64);
        let checkpoint = if row + 1 == rows { checkpoint.complete() } else { checkpoint };
        write_row(vault, handle, lane, row, checkpoint).unwrap();
    }
}

fn write_row(vault: &Vault, lane: &Lane, l: u64, row: u64, checkpoint: Checkpoint) -> Result<()> {
    let key = key(l, row);
    let staged = if is_long(row) { Some(vault.stage(&long(row, LONG_BYTES)[..])?) } else { None };
    vault.write(|tx| {
        let times = times_in(tx, &key)? + 1;
        tx.insert("rows", &key, times.to_be_bytes())?;
        if let Some(staged) = staged {
            tx.insert("long", &key, staged)?;
        }
        tx.checkpoint(lane, checkpoint)
    })
}

fn times_in(tx: &WriteTx<'_>, key: &str) -> Result<u64> {
    tx.get("rows", key)?.map_or(Ok(0), |value| Ok::<_, Error>(times(&value.bytes()?)))
}

fn times(row: &[u8]) -> u64 {
    u64::from_be_bytes(row.try_into().expect("eight bytes"))
}

/// Assumed rows a second before the first measurement.
///
/// The value is too high on purpose, so that the first kills do not come too late.
const FIRST_RATE: f64 = 5_000.0;

/// Number of kills in each phase of a worker.
#[derive(Debug, Default)]
struct KillPhases {
    in_creation: u64,
    in_opening: u64,
    in_work: u64,
    after_the_end: u64,
}

/// Kills workers at random moments.
///
/// The moments are chosen so that the last kill comes near the end of the import.
struct Killer {
    random: Random,
    clock: SystemClock,
    kills_left: u64,
    /// Number of kills that may still be aimed at the creation.
    creations_left: u64,
    phases: KillPhases,
    /// Measured rows a second.
    rate: f64,
    /// Number of rows when the last worker began to import.
    rows_before: u64,
    /// Time of the last worker's import, in seconds.
    worked_secs: f64,
}

impl Killer {
    fn delay(&mut self, mean_micros: f64) -> Duration {
        let micros = mean_micros * 2.0 * (self.random.below(1_000) as f64 / 1_000.0);
        Duration::from_secs_f64(micros / 1e6)
    }

    fn once(&mut self, path: &Path) {
        let exists = path.join("state.redb").exists();
        let aimed_at_creation = !exists && self.creations_left > 0;
        self.creations_left -= u64::from(aimed_at_creation);
        let worker = Worker::start("import", path);
        self.kills_left -= 1;
        assert_eq!(worker.line().as_deref(), Some("starting"));
        if aimed_at_creation || exists && self.random.below(EARLY_EVERY) == 0 {
            let within = if exists { OPENING_MICROS } else { CREATION_MICROS };
            let delay = self.delay(f64::from(within) / 2.0);
            match worker.next_line_within(delay) {
                WorkerOutput::Silence => {
                    worker.kill();
                    let phases = &mut self.phases;
                    *if exists { &mut phases.in_opening } else { &mut phases.in_creation } += 1;
                }
                heard => self.kill_in_work(worker, heard),
            }
        } else {
            let heard = WorkerOutput::Line(worker.line().expect("the worker opens the vault"));
            self.kill_in_work(worker, heard);
        }
    }

    /// Kills a live worker during its import.
    ///
    /// `heard` is the last line that the worker printed.
    fn kill_in_work(&mut self, worker: Worker, mut heard: WorkerOutput) {
        let total = rows_per_lane() * LANES;
        if heard == WorkerOutput::Line("created".to_owned()) {
            heard = WorkerOutput::Line(worker.line().expect("the worker begins to import"));
        }
        let WorkerOutput::Line(line) = heard else {
            panic!("the worker failed");
        };
        let done: u64 = line.strip_prefix("working ").unwrap().parse().unwrap();
        if done > self.rows_before && self.worked_secs > 0.0 {
            self.rate = (done - self.rows_before) as f64 / self.worked_secs;
        }
        (self.rows_before, self.worked_secs) = (done, 0.0);
        let left = total.saturating_sub(self.rows_before) as f64;
        let mean = left / self.rate / (self.kills_left as f64 + 2.0);
        let delay = self.delay(mean * 1e6);
        let start = self.clock.monotonic();
        let ended = worker.next_line_within(delay) != WorkerOutput::Silence;
        worker.kill();
        self.worked_secs = (self.clock.monotonic().saturating_sub(start)).as_secs_f64();
        if ended {
            self.phases.after_the_end += 1;
        } else {
            self.phases.in_work += 1;
        }
    }
}

#[test]
fn import_that_is_killed_writes_every_row_exactly_once() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let kills = setting(KILLS_VARIABLE, 10);
    let mut killer = Killer {
        random: Random::new(u64::from(std::process::id())),
        clock: SystemClock::new(),
        kills_left: kills,
        creations_left: (kills / CREATION_EVERY).max(2),
        phases: KillPhases::default(),
        rate: FIRST_RATE,
        rows_before: 0,
        worked_secs: 0.0,
    };
    while killer.kills_left > 0 {
        killer.once(&path);
    }
    let last = Worker::start("import", &path).finish();
    assert_eq!(last.last().map(String::as_str), Some("done"));

    let vault = Vault::options(TestKey).open(&path).unwrap();
    let snapshot = vault.read().unwrap();
    let rows = rows_per_lane();
    let mut expected = (0..LANES).flat_map(|lane| (0..rows).map(move |row| key(lane, row)));
    for record in snapshot.prefix("rows", "").unwrap() {
        let record = record.unwrap();
        let key = expected.next().expect("no additional row");
        assert_eq!(record.key(), key.as_bytes());
        assert_eq!(times(record.value().as_inline().unwrap()), 1, "row {key}");
    }
    assert_eq!(expected.next(), None, "no missing row");
    let mut objects = 0;
    for record in snapshot.prefix("long", "").unwrap() {
        let record = record.unwrap();
        let row = String::from_utf8_lossy(&record.key()[2..]).parse().unwrap();
        assert!(is_long(row) && record.value().bytes().unwrap() == long(row, LONG_BYTES));
        objects += 1;
    }
    assert_eq!(objects, LANES * (0..rows).filter(|&row| is_long(row)).count() as u64);
    let status = snapshot.operation("import").unwrap().unwrap();
    assert_eq!(status.state, OperationState::Completed);
    drop(snapshot);
    assert_whole(&vault);
    vault.write(|tx| tx.delete_namespace("long")).unwrap();
    vault.gc(&GcOptions::new()).unwrap();
    assert_eq!(assert_whole(&vault).objects, 0, "no other objects");
    println!(
        "exactly once: {} rows in {LANES} lanes, {objects} of them long, {kills} kills: {:?}, \
         0 rows lost, 0 repeated, operation at generation {}",
        rows * LANES,
        killer.phases,
        status.generation
    );
    let phases = &killer.phases;
    assert!(phases.in_work * 2 >= kills, "{phases:?}");
}

/// Number of kills that must hit a creation.
const CREATIONS_KILLED: u32 = 20;
/// Largest number of kills tried for that.
const CREATIONS_TRIED: u32 = 300;

#[test]
fn killed_creation_leaves_no_vault_and_can_be_repeated() {
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut tried, mut killed, mut begun) = (0, 0, 0);
    while killed < CREATIONS_KILLED {
        tried += 1;
        assert!(tried <= CREATIONS_TRIED, "{killed} kills in a creation");
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        let worker = Worker::start("import", &path);
        assert_eq!(worker.line().as_deref(), Some("starting"));
        let micros = random.below(u64::from(CREATION_MICROS));
        worker.next_line_within(Duration::from_micros(micros));
        worker.kill();
        let vault = if path.join("state.redb").exists() {
            Vault::options(TestKey).open(&path)
        } else {
            killed += 1;
            begun += u32::from(path.exists());
            let missing = Vault::options(TestKey).open(&path).map(drop);
            assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
            Vault::options(TestKey).create(&path)
        };
        put(&vault.unwrap(), "k", "v");
        let vault = Vault::options(TestKey).open(&path).unwrap();
        assert_eq!(get(&vault, "k").unwrap(), b"v");
        assert_whole(&vault);
    }
    println!("{tried} creations, {killed} killed before their end, {begun} of these had begun");
}
