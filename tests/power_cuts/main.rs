//! Real power cuts: vaults on loop-mounted ext4 and xfs, cut off in the middle of their work.
//!
//! Another process works in the mount and says each call that was acknowledged. At a moment
//! drawn at random it is killed, and in the same breath the file system is shut down by its own
//! ioctl, without flushing its journal: from then on nothing reaches the device, and what was
//! not synced is gone. The file system is mounted again, which replays its journal, and the
//! vault opened as by the next process.
//!
//! - `commits.rs`, `creation.rs`, `rotation.rs`: what is worked, and how it is judged.
//! - `disk.rs`: the image, its mount and the cut. `unsynced.rs`: the control, whose syncs do
//!   nothing, and which must therefore lose.
//!
//! This wants root, loop devices, python3 and the two `mkfs`, so it runs only when asked. The
//! one command, for a hundred cuts of each kind on each file system, as root on Debian:
//!
//! ```text
//! apt-get update && apt-get install -y e2fsprogs xfsprogs python3 &&
//!   STRONGROOM_POWER_CUTS=100 cargo test --release --test power_cuts -- --nocapture
//! ```
//!
//! Stopped by a signal it leaves its mounts and images below the temporary folder.
//!
//! The cut is one of the file system: a device that lies about its own cache is not simulated
//! here, but in `tests/crash.rs`.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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
use support::process::{Heard, Worker, role, say};
use support::random::Random;
use support::records::check;
use unsynced::Unsynced;

const CUTS_VARIABLE: &str = "STRONGROOM_POWER_CUTS";
const START_VARIABLE: &str = "STRONGROOM_POWER_CUTS_START";
const UNSYNCED_VARIABLE: &str = "STRONGROOM_POWER_CUTS_UNSYNCED";

/// One cut of the control for so many of the real thing, and the least.
const CONTROL_EVERY: u64 = 10;
const CONTROL_MIN: u64 = 3;
/// How long a killed worker may take to be gone: its last call returns to the kernel first.
const DYING_MAX: Duration = Duration::from_secs(10);

/// A kind of work. Its calls are numbered; how many were done is all that needs to be known to
/// tell what must be there.
struct Work {
    name: &'static str,
    /// Cuts in one folder: the later ones also fall into the recovery from the earlier.
    cuts_per_folder: u64,
    /// A cut is aimed at a moment after fewer acknowledgements than this, and
    acknowledged_max: u64,
    /// fewer microseconds.
    delay_micros_max: u64,
    /// Makes what must be in a new folder before the first call.
    prepare: fn(&Path) -> Result<(), BoxError>,
    /// Makes call after call, from the one of this number on, and tells of each.
    run: fn(&Path, u64) -> Result<(), BoxError>,
    /// Opens what is in the folder after a cut. So many calls were acknowledged; how many were
    /// done, which is one more at most. The error says what was lost.
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

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    let Some((role, folder)) = role() else {
        return;
    };
    let work = WORKS.iter().find(|work| work.name == role).expect("a known kind of work");
    let start = std::env::var(START_VARIABLE).unwrap().parse().unwrap();
    say("ready");
    // It ends by being killed; anything else is told, and fails the test.
    let ended = (work.run)(&folder, start);
    say(&format!("ended: {ended:?}"));
}

/// The key after so many rotations: those of one folder are all different.
fn key(rotations: u64) -> NumberedKey {
    NumberedKey(rotations.to_le_bytes()[0])
}

/// With the key after so many rotations; in the worker of a control without any sync.
fn options(rotations: u64) -> VaultOptions {
    let options = Vault::options(key(rotations));
    match std::env::var_os(UNSYNCED_VARIABLE) {
        Some(_) => options.file_system(Unsynced::default()),
        None => options,
    }
}

/// Says that this call was acknowledged.
fn acknowledge(call: u64) {
    say(&format!("done {call}"));
}

/// Nothing is wrong with the vault, and after a clean-up nothing is in it that belongs to nobody.
fn whole(vault: &Vault) -> Result<(), BoxError> {
    support::records::clean(vault);
    let report = check(vault)?;
    if report.is_ok() && report.unknown.is_empty() && report.due == 0 {
        return Ok(());
    }
    Err(format!("not whole: {report:?}").into())
}

/// What some cuts came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    lost: u64,
    acknowledged: u64,
    /// Cuts after which the call that was under way was found done.
    under_way_done: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, lost, acknowledged, under_way_done } = self;
        let undone = cuts - lost - under_way_done;
        write!(f, "{lost} lost of {cuts} cuts ({acknowledged} calls acknowledged; ")?;
        write!(f, "the one under way was done {under_way_done} times, undone {undone} times)")
    }
}

/// Where a row of cuts stands.
struct Round<'a> {
    work: &'a Work,
    synced: bool,
    disk: &'a mut Disk,
    random: &'a mut Random,
    /// Calls that are known to be done in the folder.
    done: u64,
    tally: Tally,
}

impl Round<'_> {
    /// An empty folder, durable, with what the work needs in it.
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

    /// Has another process work, cuts it off, and counts the calls that were acknowledged.
    fn work_and_cut(&mut self) -> u64 {
        let cutter = Cutter::start(self.disk.mount_point());
        let mut variables = vec![(START_VARIABLE, self.done.to_string())];
        if !self.synced {
            variables.push((UNSYNCED_VARIABLE, "1".to_owned()));
        }
        let worker = Worker::start_with(self.work.name, &self.disk.folder(), &variables);
        worker.expect("ready");
        let mut done = self.done;
        for _ in 0..self.random.below(self.work.acknowledged_max) {
            let line = worker.line().expect("it works until the cut");
            done = call(&line).unwrap_or_else(|| panic!("before the cut: {line}")) + 1;
        }
        let delay = Duration::from_micros(self.random.below(self.work.delay_micros_max));
        cutter.cut(worker.pid(), delay);
        loop {
            match worker.hear(DYING_MAX) {
                Heard::Line(line) => done = call(&line).map_or(done, |call| call + 1),
                Heard::End => return done,
                Heard::Silence => panic!("a killed worker does not end"),
            }
        }
    }

    fn once(&mut self) {
        let told = self.work_and_cut();
        self.disk.remount();
        self.tally.cuts += 1;
        self.tally.acknowledged += told - self.done;
        match (self.work.judge)(&self.disk.folder(), told) {
            Ok(found) => {
                assert!(found == told || found == told + 1, "the judge found {found} for {told}");
                self.tally.under_way_done += found - told;
                self.done = found;
            }
            Err(error) => {
                self.tally.lost += 1;
                if self.synced {
                    println!("{}, {}: lost: {error}", self.disk.kind(), self.work.name);
                }
                // What is left of it is of no further use.
                self.prepare();
            }
        }
    }
}

/// The number of the call that this line acknowledges.
fn call(line: &str) -> Option<u64> {
    line.strip_prefix("done ")?.parse().ok()
}

fn cut(work: &Work, synced: bool, disk: &mut Disk, random: &mut Random, cuts: u64) -> Tally {
    let per_folder = if synced { work.cuts_per_folder } else { 1 };
    let mut round = Round { work, synced, disk, random, done: 0, tally: Tally::default() };
    for n in 0..cuts {
        if n % per_folder == 0 {
            round.prepare();
        }
        round.once();
    }
    round.tally
}

/// Every kind of work on one file system, and the control of each.
fn cut_power_of(kind: FileSystemKind) {
    let Ok(cuts) = std::env::var(CUTS_VARIABLE) else {
        println!("\nSKIPPED: power cuts of {kind}: ask for them by {CUTS_VARIABLE}=100, as root");
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
        assert!(control.lost > 0, "{kind}, {name}: the control lost nothing");
    }
    assert_eq!(lost, 0, "{kind}");
}

#[test]
fn what_was_acknowledged_survives_power_cuts_of_ext4() {
    cut_power_of(FileSystemKind::Ext4);
}

#[test]
fn what_was_acknowledged_survives_power_cuts_of_xfs() {
    cut_power_of(FileSystemKind::Xfs);
}
