//! Real power cuts of vaults on loop-mounted ext4 and xfs file systems.
//!
//! A worker process works in the mount and prints each acknowledged call. At a random moment the
//! worker is killed, and at once the shutdown ioctl of the file system follows, without a flush
//! of the journal. From then on nothing reaches the device, and data that was not synced is
//! lost. The test mounts the file system again, which replays the journal, and opens the vault.
//!
//! - `commits.rs`, `creation.rs`, `rotation.rs`: the work, and the check after a cut.
//! - `disk.rs`: the image, its mount and the cut.
//! - `unsynced.rs`: the control, whose syncs do nothing and which must therefore lose data.
//!
//! The test needs root, loop devices, python3 and both `mkfs` programs, so it runs only on
//! request. For a hundred cuts of each kind on each file system, run as root on Debian:
//!
//! ```text
//! apt-get update && apt-get install -y e2fsprogs xfsprogs python3 &&
//!   STRONGROOM_POWER_CUTS=100 cargo test --release --test power_cuts -- --nocapture
//! ```
//!
//! If a signal stops the test, its mounts and images stay in the temporary folder.
//!
//! The cut happens in the file system. A device that ignores flushes is not simulated here, but
//! in `tests/crash`.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod commits;
mod creation;
mod disk;
mod rotation;
mod unsynced;

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use strongroom::{Vault, VaultOptions};
use strongroom_testkit::{BoxError, NumberedKey};

use disk::{Cutter, Disk, FileSystemKind};
use support::process::{Worker, WorkerOutput, print_line, role};
use support::random::Random;
use support::records::check;
use unsynced::Unsynced;

const CUTS_VARIABLE: &str = "STRONGROOM_POWER_CUTS";
const START_VARIABLE: &str = "STRONGROOM_POWER_CUTS_START";
const UNSYNCED_VARIABLE: &str = "STRONGROOM_POWER_CUTS_UNSYNCED";

/// Number of real cuts for each cut of the control.
const CONTROL_EVERY: u64 = 10;
/// Smallest number of cuts of the control.
const CONTROL_MIN: u64 = 3;
/// Time limit for a killed worker to end: its last system call must return first.
const DYING_MAX: Duration = Duration::from_secs(10);

/// A kind of work, as a sequence of numbered calls.
///
/// The number of completed calls determines the expected content.
struct Work {
    name: &'static str,
    /// Number of cuts in one folder: later cuts may hit the recovery from earlier cuts.
    cuts_per_folder: u64,
    /// Exclusive upper bound of the acknowledged calls before a cut.
    acknowledged_max: u64,
    /// Exclusive upper bound of the delay after these calls, in microseconds.
    delay_micros_max: u64,
    /// Creates the content that a new folder needs before the first call.
    prepare: fn(&Path) -> Result<(), BoxError>,
    /// Makes calls from the given number on, and acknowledges each.
    run: fn(&Path, u64) -> Result<(), BoxError>,
    /// Checks the folder after a cut, given the number of acknowledged calls.
    ///
    /// Returns the number of completed calls, at most one more. The error names the loss.
    judge: fn(&Path, u64) -> Result<u64, BoxError>,
}

const WORKS: [Work; 3] = [
    Work {
        name: "commits",
        cuts_per_folder: 5,
        acknowledged_max: 40,
        delay_micros_max: 20_000,
        prepare: commits::prepare,
        run: commits::run,
        judge: commits::judge,
    },
    Work {
        name: "creation",
        cuts_per_folder: 1,
        acknowledged_max: 6,
        delay_micros_max: 40_000,
        prepare: |_| Ok(()),
        run: creation::run,
        judge: creation::judge,
    },
    Work {
        name: "rotate",
        cuts_per_folder: 5,
        acknowledged_max: 6,
        delay_micros_max: 40_000,
        prepare: commits::prepare,
        run: rotation::run,
        judge: rotation::judge,
    },
];

/// Runs the role of a child process; passes at once in the test program itself.
#[test]
fn worker() {
    let Some((role, folder)) = role() else {
        return;
    };
    let work = WORKS.iter().find(|work| work.name == role).expect("a known kind of work");
    let start = std::env::var(START_VARIABLE).unwrap().parse().unwrap();
    print_line("ready");
    // The worker ends when it is killed. Any other end is printed, and fails the test.
    let ended = (work.run)(&folder, start);
    print_line(&format!("ended: {ended:?}"));
}

/// Returns the key after `rotations` rotations: the keys of one folder all differ.
fn key(rotations: u64) -> NumberedKey {
    NumberedKey(rotations.to_le_bytes()[0])
}

/// Returns options with the key after `rotations` rotations.
///
/// In the worker of a control, syncs do nothing.
fn options(rotations: u64) -> VaultOptions {
    let options = Vault::options(key(rotations));
    match std::env::var_os(UNSYNCED_VARIABLE) {
        Some(_) => options.file_system(Unsynced::default()),
        None => options,
    }
}

/// Prints that a call was acknowledged.
fn acknowledge(call: u64) {
    print_line(&format!("done {call}"));
}

/// Checks that the vault has no damage, and no leftovers after gc.
///
/// Leftovers are unknown objects, and doomed objects that should be deleted.
fn check_whole(vault: &Vault) -> Result<(), BoxError> {
    support::records::clean(vault);
    let report = check(vault)?;
    if report.is_ok() && report.unknown.is_empty() && report.due == 0 {
        return Ok(());
    }
    Err(format!("not whole: {report:?}").into())
}

/// Results of several cuts.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    lost: u64,
    acknowledged: u64,
    /// Number of cuts after which the interrupted call had completed.
    interrupted_done: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, lost, acknowledged, interrupted_done } = self;
        let undone = cuts - lost - interrupted_done;
        write!(f, "{lost} lost of {cuts} cuts ({acknowledged} calls acknowledged; ")?;
        write!(f, "the interrupted call was done {interrupted_done} times, undone {undone} times)")
    }
}

/// Progress of a sequence of cuts.
struct Round<'a> {
    work: &'a Work,
    is_synced: bool,
    disk: &'a mut Disk,
    random: &'a mut Random,
    /// Number of completed calls in the folder.
    done: u64,
    tally: Tally,
}

impl Round<'_> {
    /// Creates an empty durable folder and prepares the work in it.
    fn prepare(&mut self) {
        let folder = self.disk.folder();
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir(&folder).unwrap();
        disk::sync_folder(folder.parent().expect("the root of the mount"));
        (self.work.prepare)(&folder).unwrap();
        self.done = 0;
    }

    /// Starts a worker and cuts its power; returns the acknowledged calls.
    fn work_and_cut(&mut self) -> u64 {
        let cutter = Cutter::start(self.disk.mount_point());
        let mut variables = vec![(START_VARIABLE, self.done.to_string())];
        if !self.is_synced {
            variables.push((UNSYNCED_VARIABLE, "1".to_owned()));
        }
        let worker = Worker::start_with(self.work.name, &self.disk.folder(), &variables);
        worker.expect("ready");
        let mut done = self.done;
        for _ in 0..self.random.below(self.work.acknowledged_max) {
            let line = worker.line().expect("the worker runs until the cut");
            done = call(&line).unwrap_or_else(|| panic!("before the cut: {line}")) + 1;
        }
        let delay = Duration::from_micros(self.random.below(self.work.delay_micros_max));
        cutter.cut(worker.pid(), delay);
        loop {
            match worker.next_line_within(DYING_MAX) {
                WorkerOutput::Line(line) => done = call(&line).map_or(done, |call| call + 1),
                WorkerOutput::End => return done,
                WorkerOutput::Silence => panic!("a killed worker does not end"),
            }
        }
    }

    fn once(&mut self) {
        let acknowledged = self.work_and_cut();
        self.disk.remount();
        self.tally.cuts += 1;
        self.tally.acknowledged += acknowledged - self.done;
        match (self.work.judge)(&self.disk.folder(), acknowledged) {
            Ok(found) => {
                let is_possible = found == acknowledged || found == acknowledged + 1;
                assert!(is_possible, "{found} calls found, {acknowledged} acknowledged");
                self.tally.interrupted_done += found - acknowledged;
                self.done = found;
            }
            Err(error) => {
                self.tally.lost += 1;
                if self.is_synced {
                    println!("{}, {}: lost: {error}", self.disk.kind(), self.work.name);
                }
                // A damaged folder is useless for further cuts.
                self.prepare();
            }
        }
    }
}

/// Returns the number of the call that a line acknowledges.
fn call(line: &str) -> Option<u64> {
    line.strip_prefix("done ")?.parse().ok()
}

fn cut(work: &Work, is_synced: bool, disk: &mut Disk, random: &mut Random, cuts: u64) -> Tally {
    let per_folder = if is_synced { work.cuts_per_folder } else { 1 };
    let mut round = Round { work, is_synced, disk, random, done: 0, tally: Tally::default() };
    for n in 0..cuts {
        if n % per_folder == 0 {
            round.prepare();
        }
        round.once();
    }
    round.tally
}

/// Cuts the power of every kind of work and of its control.
fn cut_power_of(kind: FileSystemKind) {
    let Ok(cuts) = std::env::var(CUTS_VARIABLE) else {
        println!("\nSKIPPED: power cuts of {kind}: set {CUTS_VARIABLE}=100 and run as root");
        return;
    };
    let cuts: u64 = cuts.parse().expect("a number of cuts");
    let mut random = Random::new(u64::from(std::process::id()));
    let mut disk = Disk::new(kind);
    let mut lost = 0;
    for work in &WORKS {
        let name = work.name;
        let tally = cut(work, true, &mut disk, &mut random, cuts);
        println!("\n{kind}, {name}: {tally}");
        lost += tally.lost;
        let controls = (cuts / CONTROL_EVERY).max(CONTROL_MIN);
        let control = cut(work, false, &mut disk, &mut random, controls);
        println!("{kind}, {name}, control without fsync: {control}");
        assert!(control.lost > 0, "{kind}, {name}: the control lost no data");
    }
    assert_eq!(lost, 0, "{kind}");
}

#[test]
fn acknowledged_calls_survive_power_cuts_of_ext4() {
    cut_power_of(FileSystemKind::Ext4);
}

#[test]
fn acknowledged_calls_survive_power_cuts_of_xfs() {
    cut_power_of(FileSystemKind::Xfs);
}
