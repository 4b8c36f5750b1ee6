//! Puts whose process is killed again and again, and what memory they take.
//!
//! After each kill the same put stores only the rest: what its listing of the vault's objects shows to be
//! new is counted, and so is what of it stays. At the end the artifact is what was put, byte by byte, and
//! nothing else is left. Contents are drawn as they are read, and never held whole.
//!
//! `STRONGROOM_UPLOAD_MIB` sets the length of the content, `STRONGROOM_UPLOAD_KILLS` how often its process
//! is killed, and `STRONGROOM_UPLOAD_PACK_KIB` about how long a pack is; the full run is 1024, 50 and
//! 16384, which is what a vault has unless it is told otherwise.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom::artifacts::{ArtifactName, ArtifactSpec};
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::content::GcOptions;
use strongroom::{LongCall, Vault, VaultOptions};
use strongroom_testkit::{ManualClock, TestKey};

use support::content::Content;
use support::process::{Heard, Worker, role, say};
use support::random::Random;
use support::records::assert_whole;

const MIB_VARIABLE: &str = "STRONGROOM_UPLOAD_MIB";
const KILLS_VARIABLE: &str = "STRONGROOM_UPLOAD_KILLS";
const PACK_VARIABLE: &str = "STRONGROOM_UPLOAD_PACK_KIB";

const MIB: u64 = 1 << 20;
/// By how much packs may pass their length, and what a kill cost what was read of them: the chunks that fill
/// them, their lists, nodes, chunks between threads, and what is told of progress in whole MiB.
const SLACK_BYTES: u64 = 5 * MIB;
/// What a process may take that puts, in KiB, whatever the content's length.
const PEAK_KIB_MAX: u64 = 64 << 10;
const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn content_bytes() -> u64 {
    setting(MIB_VARIABLE, 64) * MIB
}

fn pack_bytes() -> u64 {
    setting(PACK_VARIABLE, 1 << 10) << 10
}

fn options() -> VaultOptions {
    // A pack is two objects long.
    let object_bytes = usize::try_from(pack_bytes() / 2).unwrap();
    Vault::options(TestKey).object_bytes(object_bytes)
}

fn name() -> ArtifactName {
    ArtifactName::new("spec", "task", "dump").unwrap()
}

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    let Some((role, path)) = role() else {
        return;
    };
    assert_eq!(role, "put", "there is one role");
    let vault = options().open(path).unwrap();
    let artifacts = vault.artifacts();
    say("putting");
    if !artifacts.exists(&name().newest()).unwrap() {
        let size = content_bytes();
        let spec = ArtifactSpec::new(name()).size(size);
        let told = AtomicU64::new(0);
        let progress = |done: u64, _: Option<u64>| {
            let mib = done / MIB;
            if told.swap(mib, Ordering::Relaxed) < mib {
                say(&format!("at {mib}"));
            }
        };
        artifacts.put_with(spec, Content::new(size), LongCall::new().progress(&progress)).unwrap();
    }
    vault.close().unwrap();
    say(&format!("peak {}", peak_kib(std::process::id())));
}

/// The most memory that a process has held so far, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many MiB a worker says that it has stored.
fn mib(line: &str) -> u64 {
    line.strip_prefix("at ").unwrap().parse().unwrap()
}

/// The peak that a worker says at its end.
fn peak_said(said: &[String]) -> u64 {
    said.last().and_then(|line| line.strip_prefix("peak ")).unwrap().parse().unwrap()
}

type Files = BTreeMap<PathBuf, u64>;

/// What lies in the folders of a vault, with its length: everything but the state.
fn files(vault: &Path) -> Files {
    let mut found = Files::new();
    let below = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = below(vault).filter(|path| path.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for path in below(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = path.metadata().unwrap().len();
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// What a killed attempt has left.
struct Attempt {
    /// Of the content, in bytes, as it told itself.
    reached: u64,
    /// Bytes of the files that were not there before.
    written: u64,
    files: Files,
}

/// Lets a worker put until it has read `target` bytes and `delay` has passed, and kills it; what it had
/// read, and its peak. `None` if it has got to its end before.
fn kill_behind(path: &Path, target: u64, delay: Duration) -> Option<(u64, u64)> {
    let clock = SystemClock::new();
    let worker = Worker::start("put", path);
    worker.expect("putting");
    let mut reached = 0;
    while reached * MIB < target {
        let line = worker.line().expect("it puts until it is killed, or tells its end");
        if line.starts_with("peak") {
            return None;
        }
        reached = mib(&line);
    }
    let ends = clock.monotonic() + delay;
    loop {
        match worker.hear(ends.saturating_sub(clock.monotonic())) {
            Heard::Silence => break,
            Heard::End => panic!("it has failed"),
            Heard::Line(line) if line.starts_with("peak") => return None,
            Heard::Line(line) => reached = mib(&line),
        }
    }
    let peak = peak_kib(worker.pid());
    worker.kill().then_some((reached * MIB, peak))
}

/// Where attempts are killed, in bytes of the content: further on each time, so that there is a rest to
/// store; and one in five anywhere before that, while it reads what it finds stored.
fn targets(random: &mut Random, kills: u64) -> Vec<u64> {
    let within = content_bytes() / 10 * 9;
    let mut targets: Vec<u64> = (0..kills).map(|_| random.below(within)).collect();
    targets.sort_unstable();
    for target in targets.iter_mut().skip(4).step_by(5) {
        *target = random.below(*target);
    }
    targets
}

#[test]
fn a_put_that_is_killed_again_and_again_stores_nothing_twice_but_two_packs() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    options().create(&path).unwrap().close().unwrap();
    let mut random = Random::new(u64::from(std::process::id()));
    // Long enough that a kill may land anywhere between two packs, and while one is put.
    let delay_micros = content_bytes() / 10_000;
    // The copy of the key set, which no put writes.
    let others = files(&path);
    let (mut attempts, mut peak, mut before) = (Vec::new(), 0, others.clone());
    for target in targets(&mut random, setting(KILLS_VARIABLE, 5)) {
        let delay = Duration::from_micros(random.below(delay_micros));
        let Some((reached, its_peak)) = kill_behind(&path, target, delay) else { continue };
        peak = peak.max(its_peak);
        let files = files(&path);
        let new = files.iter().filter(|(path, _)| !before.contains_key(*path));
        let written = new.map(|(_, bytes)| bytes).sum();
        before.clone_from(&files);
        attempts.push(Attempt { reached, written, files });
    }
    peak = peak.max(peak_said(&Worker::start("put", &path).finish()));
    let mut last = files(&path);
    last.retain(|path, _| !others.contains_key(path));
    let new = last.iter().filter(|(path, _)| !before.contains_key(*path));
    let written_last: u64 = new.map(|(_, bytes)| bytes).sum();
    let stored: u64 = last.values().sum();

    // The pack that is being filled, and the one before it while that is being put.
    let two_packs = 2 * pack_bytes() + SLACK_BYTES;
    let mut kept_before = 0;
    for (number, Attempt { reached, written, files }) in attempts.iter().enumerate() {
        let kept = files.iter().filter(|(path, _)| last.contains_key(*path));
        let kept: u64 = kept.map(|(_, bytes)| bytes).sum();
        println!("attempt {number}: {reached} bytes read, {written} written, {kept} kept in all");
        assert!(kept + two_packs >= *reached, "attempt {number} lost more than two packs");
        assert!(
            *written <= kept - kept_before + two_packs,
            "attempt {number} wrote more than two packs that were of no use"
        );
        kept_before = kept;
    }
    let written = written_last + attempts.iter().map(|attempt| attempt.written).sum::<u64>();
    println!(
        "put of {} bytes killed {} times: {stored} bytes stored, {written} written in all, \
         {} of them in vain; peak of memory {peak} KiB",
        content_bytes(),
        attempts.len(),
        written - stored
    );
    assert!(written <= stored + attempts.len() as u64 * two_packs);
    assert!(written_last <= stored - kept_before);
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    assert!(
        attempts.len() as u64 * 2 > setting(KILLS_VARIABLE, 5),
        "most kills land before the end"
    );
    assert_whole_and_alone(&path);
}

/// The artifact is what was put, and all that there is; without it nothing is left.
fn assert_whole_and_alone(path: &Path) {
    let clock = ManualClock::new();
    // Whatever the attempts thought to be the time, it is two days later.
    let now = SystemClock::new().unix_millis() - clock.unix_millis();
    clock.jump(i64::try_from(now).unwrap());
    clock.advance(TWO_DAYS);
    let vault = options().clock(clock).open(path).unwrap();
    let collect = || {
        let freed = vault.gc(&GcOptions::new()).unwrap();
        (freed, assert_whole(&vault))
    };
    let objects = |vault: &Path| files(vault).values().filter(|bytes| **bytes > 0).count() as u64;
    let (freed, report) = collect();
    assert_eq!((freed.chunks, freed.packs, report.artifacts), (0, 0, 1), "all of it is in use");
    // Beside them there is the copy of the key set.
    assert_eq!(objects(path), report.objects + 1);
    let artifacts = vault.artifacts();
    let (mut stored, mut put) =
        (artifacts.open(&name().newest()).unwrap(), Content::new(content_bytes()));
    let (mut some, mut others) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut read = 0;
    loop {
        let taken = stored.read(&mut some).unwrap();
        if taken == 0 {
            break;
        }
        put.read_exact(&mut others[..taken]).unwrap();
        assert!(some[..taken] == others[..taken], "other bytes behind byte {read}");
        read += taken as u64;
    }
    assert_eq!(read, content_bytes());
    drop(stored);
    artifacts.delete(&name().newest()).unwrap();
    let (freed, report) = collect();
    assert!(freed.packs > 0);
    assert_eq!((report.chunks, report.objects, report.artifacts), (0, 0, 0));
    assert_eq!(objects(path), 1);
}

/// Lengths of contents that are put to see what memory that takes, in MiB: less than what a process may
/// take, and far more.
const MEASURED_MIB: [u64; 2] = [24, 256];

#[test]
fn a_put_takes_bounded_memory_whatever_its_length() {
    for mib in MEASURED_MIB {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        options().create(&path).unwrap().close().unwrap();
        let variables = [
            (MIB_VARIABLE, mib.to_string()),
            // What a vault has unless it is told otherwise.
            (PACK_VARIABLE, (16 << 10).to_string()),
        ];
        let peak = peak_said(&Worker::start_with("put", &path, &variables).finish());
        println!("put of {mib} MiB: peak of memory {peak} KiB");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    }
}
