//! Puts whose process is killed repeatedly, and the memory of puts.
//!
//! After each kill the same put stores only the rest. The test counts new objects in the vault's
//! folder, and those of them that stay. At the end the artifact has the bytes of the put, and no
//! other content is left. Contents are generated while they are read, and never held in memory as a
//! whole.
//!
//! `STRONGROOM_UPLOAD_MIB` sets the length of the content, `STRONGROOM_UPLOAD_KILLS` the number of
//! kills, and `STRONGROOM_UPLOAD_PACK_KIB` the approximate length of a pack. A full run has 1024,
//! 50 and 16384, which is the default of a vault.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

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
use support::process::{Worker, WorkerOutput, print_line, role};
use support::random::Random;
use support::records::assert_whole;

const MIB_VARIABLE: &str = "STRONGROOM_UPLOAD_MIB";
const KILLS_VARIABLE: &str = "STRONGROOM_UPLOAD_KILLS";
const PACK_VARIABLE: &str = "STRONGROOM_UPLOAD_PACK_KIB";

const MIB: u64 = 1 << 20;
/// Bytes that are added to the limits of whole packs.
///
/// Packs exceed their length, and a kill loses more than whole packs. The reasons are the chunks
/// that fill packs, their lists, nodes, chunks between threads, and progress that is reported in
/// whole MiB.
const SLACK_BYTES: u64 = 5 * MIB;
/// Most memory of a putting process in KiB, whatever the content's length.
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

/// Not a test. Runs the worker processes of the other tests.
#[test]
fn worker() {
    let Some((role, path)) = role() else {
        return;
    };
    assert_eq!(role, "put", "an unknown role");
    let vault = options().open(path).unwrap();
    let artifacts = vault.artifacts();
    print_line("putting");
    if !artifacts.exists(&name().newest()).unwrap() {
        let size = content_bytes();
        let spec = ArtifactSpec::new(name()).size(size);
        let reported = AtomicU64::new(0);
        let progress = |done: u64, _: Option<u64>| {
            let mib = done / MIB;
            if reported.swap(mib, Ordering::Relaxed) < mib {
                print_line(&format!("at {mib}"));
            }
        };
        artifacts.put_with(spec, Content::new(size), LongCall::new().progress(&progress)).unwrap();
    }
    vault.close().unwrap();
    print_line(&format!("peak {}", peak_kib(std::process::id())));
}

/// Returns the peak memory of a process so far, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the stored MiB from a line of a worker's output.
fn mib(line: &str) -> u64 {
    line.strip_prefix("at ").unwrap().parse().unwrap()
}

/// Returns the peak memory in KiB that a worker prints.
fn printed_peak(lines: &[String]) -> u64 {
    lines.last().and_then(|line| line.strip_prefix("peak ")).unwrap().parse().unwrap()
}

type Files = BTreeMap<PathBuf, u64>;

/// Returns the files in the folders of a vault with their lengths. The state file is left out.
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

/// The result of a killed attempt.
struct Attempt {
    /// Bytes of the content that the attempt has read, as it reported.
    reached: u64,
    /// Bytes of the files that the attempt created.
    written: u64,
    files: Files,
}

/// Kills a worker after `target` bytes and a further `delay`.
///
/// Returns the bytes that the worker had read, and its peak memory in KiB. Returns `None` if the
/// worker ended before the kill.
fn kill_after(path: &Path, target: u64, delay: Duration) -> Option<(u64, u64)> {
    let clock = SystemClock::new();
    let worker = Worker::start("put", path);
    worker.expect("putting");
    let mut reached = 0;
    while reached * MIB < target {
        let line = worker.line().expect("the worker reports progress or its end");
        if line.starts_with("peak") {
            return None;
        }
        reached = mib(&line);
    }
    let ends = clock.monotonic() + delay;
    loop {
        match worker.next_line_within(ends.saturating_sub(clock.monotonic())) {
            WorkerOutput::Silence => break,
            WorkerOutput::End => panic!("the worker has failed"),
            WorkerOutput::Line(line) if line.starts_with("peak") => return None,
            WorkerOutput::Line(line) => reached = mib(&line),
        }
    }
    let peak = peak_kib(worker.pid());
    worker.kill().then_some((reached * MIB, peak))
}

/// Returns the bytes of the content at which attempts are killed.
///
/// So each attempt has a rest to store. One in five is instead anywhere before its position, where
/// the attempt reads content that is already stored.
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
fn put_killed_repeatedly_loses_at_most_two_packs_per_kill() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    options().create(&path).unwrap().close().unwrap();
    let mut random = Random::new(u64::from(std::process::id()));
    // Long enough that a kill may fall anywhere between two packs, or during the put of one.
    let delay_micros = content_bytes() / 10_000;
    // The key copy, which no put writes.
    let others = files(&path);
    let (mut attempts, mut peak, mut before) = (Vec::new(), 0, others.clone());
    for target in targets(&mut random, setting(KILLS_VARIABLE, 5)) {
        let delay = Duration::from_micros(random.below(delay_micros));
        let Some((reached, its_peak)) = kill_after(&path, target, delay) else { continue };
        peak = peak.max(its_peak);
        let files = files(&path);
        let new = files.iter().filter(|(path, _)| !before.contains_key(*path));
        let written = new.map(|(_, bytes)| bytes).sum();
        before.clone_from(&files);
        attempts.push(Attempt { reached, written, files });
    }
    peak = peak.max(printed_peak(&Worker::start("put", &path).finish()));
    let mut last = files(&path);
    last.retain(|path, _| !others.contains_key(path));
    let new = last.iter().filter(|(path, _)| !before.contains_key(*path));
    let written_last: u64 = new.map(|(_, bytes)| bytes).sum();
    let stored: u64 = last.values().sum();

    // The pack that is being filled, and the previous one while it is being stored.
    let two_packs = 2 * pack_bytes() + SLACK_BYTES;
    let mut kept_before = 0;
    for (number, Attempt { reached, written, files }) in attempts.iter().enumerate() {
        let kept = files.iter().filter(|(path, _)| last.contains_key(*path));
        let kept: u64 = kept.map(|(_, bytes)| bytes).sum();
        println!("attempt {number}: {reached} bytes read, {written} written, {kept} kept in all");
        assert!(kept + two_packs >= *reached, "attempt {number} lost more than two packs");
        assert!(
            *written <= kept - kept_before + two_packs,
            "attempt {number} wrote more than two packs that are not kept"
        );
        kept_before = kept;
    }
    let written = written_last + attempts.iter().map(|attempt| attempt.written).sum::<u64>();
    println!(
        "put of {} bytes killed {} times: {stored} bytes stored, {written} written in all, \
         {} of them not kept; peak of memory {peak} KiB",
        content_bytes(),
        attempts.len(),
        written - stored
    );
    assert!(written <= stored + attempts.len() as u64 * two_packs);
    assert!(written_last <= stored - kept_before);
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    assert!(
        attempts.len() as u64 * 2 > setting(KILLS_VARIABLE, 5),
        "too many attempts ended before their kill"
    );
    assert_whole_and_alone(&path);
}

/// Asserts that the artifact is whole, and that nothing else is stored.
///
/// After its deletion nothing is left.
fn assert_whole_and_alone(path: &Path) {
    let clock = ManualClock::new();
    // The clock is two days later than the clocks of all attempts.
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
    assert_eq!(
        (freed.chunks, freed.packs, report.artifacts),
        (0, 0, 1),
        "gc freed content of the artifact"
    );
    // The one object more is the key copy.
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
        assert!(some[..taken] == others[..taken], "different bytes after byte {read}");
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

/// Lengths of contents whose memory is measured, in MiB.
///
/// The first is less than the allowed memory of a process, the second far more.
const MEASURED_MIB: [u64; 2] = [24, 256];

#[test]
fn put_takes_bounded_memory_for_any_length() {
    for mib in MEASURED_MIB {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault");
        options().create(&path).unwrap().close().unwrap();
        let variables = [
            (MIB_VARIABLE, mib.to_string()),
            // The default of a vault.
            (PACK_VARIABLE, (16 << 10).to_string()),
        ];
        let peak = printed_peak(&Worker::start_with("put", &path, &variables).finish());
        println!("put of {mib} MiB: peak of memory {peak} KiB");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
    }
}
