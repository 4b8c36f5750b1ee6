//! Secrecy of stored data: files reveal neither records, nor names, nor keys.
//!
//! A worker process works on a vault in a real folder. It uses 70 markers as the host's data:
//! record keys and values, inline and staged, namespaces, operations, lanes, checkpoints, labels
//! of keys, passwords, raw keys and documents. It provokes errors that involve the markers,
//! deletes, rotates, compacts, is killed and is started again.
//!
//! At each stop, the test searches every file below the worker's scratch folder for every marker
//! at any alignment: the vault, temporary files, home folder, working folder, log at level
//! `TRACE`, standard output and standard error. It also searches the names of all files. No marker
//! may be found, and every sealed block must look random.
//!
//! - `worker.rs`: the worker process.
//! - `markers.rs`: the markers and their uses.
//! - `scan.rs`: the search for markers: raw, reversed, hexadecimal, decimal, base 64, UTF-16.
//! - `uniform.rs`: tests of randomness, and of the uniqueness of nonces.
//! - `log.rs`: the log.
//!
//! The test does not cover memory that the kernel writes to disk. A core dump contains keys and
//! records in plain text, and so may swap. The host must set `RLIMIT_CORE` and encrypt the swap.
//! The test prints its own limit of core dumps. The file `holder` contains the host's purpose in
//! plain text by design, for processes that wait for the vault.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod log;
mod markers;
mod scan;
mod uniform;
mod worker;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use strongroom::keys::Cipher;

use markers::Markers;
use scan::Scanner;
use uniform::Blocks;

/// Time limit for a worker without output: then the test kills the worker and fails.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Runs the part of a child process; passes at once in the test program itself.
#[test]
fn worker() {
    worker::run();
}

/// A worker process and its output; killed when dropped.
struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(scratch: &Path, part: &str, markers: &Markers, cipher: Cipher) -> Self {
        let folder = |name: &str| {
            let path = scratch.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let errors = fs::File::create(folder("output").join(format!("{part}.stderr"))).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(worker::PART, part)
            .env(worker::SCRATCH, scratch)
            .env(worker::MARKERS, markers.to_string())
            .env(worker::CIPHER, cipher.as_str())
            .env("RUST_BACKTRACE", "full")
            .env("TMPDIR", folder("tmp"))
            .env("HOME", folder("home"))
            .current_dir(folder("cwd"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut copy = fs::File::create(scratch.join(format!("output/{part}.stdout"))).unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                writeln!(copy, "{line}").unwrap();
                if let Some(said) = line.strip_prefix('@')
                    && sender.send(said.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        Self { child, input, lines }
    }

    /// Waits for the worker's next stop; `None` after its end.
    fn stop(&self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(stop) => Some(stop),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the worker prints nothing"),
        }
    }

    fn release(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The kill fails if the process has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the paths of all files and folders below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Counts of the scans of the scratch folder.
#[derive(Debug, Default)]
struct ScanCounts {
    stops: u64,
    files: u64,
    bytes: u64,
}

impl ScanCounts {
    fn scan(&mut self, scratch: &Path, scanner: &Scanner, stop: &str) {
        self.stops += 1;
        for path in files(scratch) {
            let name = path.strip_prefix(scratch).unwrap().to_string_lossy().into_owned();
            assert_eq!(scanner.find(name.as_bytes()), None, "at {stop}, in the name {name}");
            if path.is_dir() {
                continue;
            }
            let mut bytes = Vec::new();
            fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(scanner.find(&bytes), None, "at {stop}, in the file {name}");
            self.files += 1;
            self.bytes += bytes.len() as u64;
        }
    }
}

fn assert_no_marker_on_disk(cipher: Cipher) {
    let home = tempfile::tempdir().unwrap();
    let scratch = home.path();
    let markers = Markers::draw();
    let scanner = Scanner::new(&markers);
    let (mut counts, mut blocks) = (ScanCounts::default(), Blocks::default());
    let mut scan = |stop: &str, blocks: &mut Blocks| {
        counts.scan(scratch, &scanner, stop);
        blocks.gather(&scratch.join("vault"));
    };

    let mut first = Process::start(scratch, "first", &markers, cipher);
    let mut stops = Vec::new();
    while let Some(stop) = first.stop() {
        scan(&stop, &mut blocks);
        stops.push(stop);
        if stops.last().unwrap() == worker::KILL {
            first.child.kill().unwrap();
            assert!(!first.child.wait().unwrap().success(), "the worker was killed");
            break;
        }
        first.release();
    }
    assert_eq!(stops, worker::FIRST_STOPS, "{}", output_of(scratch, "first"));
    scan("death", &mut blocks);
    drop(first);

    let mut second = Process::start(scratch, "second", &markers, cipher);
    let mut stops = Vec::new();
    while let Some(stop) = second.stop() {
        scan(&stop, &mut blocks);
        stops.push(stop);
        second.release();
    }
    assert!(second.child.wait().unwrap().success(), "{}", output_of(scratch, "second"));
    assert_eq!(stops, worker::SECOND_STOPS);
    drop(second);
    scan("end", &mut blocks);
    log::assert_written(scratch);
    assert_leak_is_found(scratch, &scanner, &markers);
    println!("{cipher}: none of {} markers found: {counts:?}", markers.count());
    println!("{cipher}: {}", blocks.assert_uniform());
    println!(
        "{cipher}: {}",
        output_of(scratch, "second").lines().find(|l| l.contains("core")).unwrap()
    );
}

/// Canary: leaks one marker in a file, and one in a file name.
fn assert_leak_is_found(scratch: &Path, scanner: &Scanner, markers: &Markers) {
    let marker = markers.iter().last().unwrap();
    for (name, text) in [("tmp/leak", marker), (&format!("tmp/{marker}")[..], "nothing")] {
        let path = scratch.join(name);
        fs::write(&path, [&[0; 4096], text.as_bytes()].concat()).unwrap();
        let scan = || ScanCounts::default().scan(scratch, scanner, "the canary");
        assert!(catch_unwind(scan).is_err(), "a leak is not found");
        fs::remove_file(path).unwrap();
    }
}

/// Returns the output of a worker, for assert messages.
fn output_of(scratch: &Path, part: &str) -> String {
    let output = |end: &str| {
        fs::read_to_string(scratch.join(format!("output/{part}.{end}"))).unwrap_or_default()
    };
    output("stdout") + &output("stderr")
}

#[test]
fn no_marker_on_disk_with_aes_256_gcm_siv() {
    assert_no_marker_on_disk(Cipher::Aes256GcmSiv);
}

#[test]
fn no_marker_on_disk_with_xchacha20_poly1305() {
    assert_no_marker_on_disk(Cipher::XChaCha20Poly1305);
}
