//! What lies at rest tells nothing: not the records, not their names, not who holds the keys.
//!
//! A process of its own works on a vault in a real folder, with 70 markers in the place of all
//! that is a host's: record keys and values, inline and staged, namespaces, operations, lanes,
//! checkpoints, labels of keys, passwords, raw keys. It provokes errors that carry them, deletes,
//! rotates, compacts, is killed and goes on. At each stop every file below its scratch folder is
//! searched for every marker at any alignment: the vault, the folder for temporary files, its
//! home, its working folder, its log at level `TRACE`, what it wrote to its two outputs; and the
//! names of all files. None is found, and every block that was ever sealed looks like chance.
//!
//! - `worker.rs`: what the process does. `markers.rs`: the markers, and where each is used.
//! - `scan.rs`: looking for them, raw, in hexadecimal, in base 64 and in UTF-16.
//! - `uniform.rs`: tests of randomness, and that no nonce is used twice. `log.rs`: the log.
//!
//! What is not looked at: memory that the kernel writes elsewhere. A core dump holds keys and
//! records in clear, and so may swap; `RLIMIT_CORE` and encrypted swap are the host's to set
//! (the limit that held here is printed). The note `holder` has the host's purpose text in clear,
//! by design: it is for those who wait.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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

/// A worker that is silent for longer is killed, and its test fails.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Not a test of its own: what the other process runs.
#[test]
fn worker() {
    worker::run();
}

/// A process that works below a scratch folder, and all that it says; killed when dropped.
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

    /// Its next stop; `None` once it has ended.
    fn stop(&self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(stop) => Some(stop),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the worker is silent"),
        }
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file below `folder`, and every name.
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

/// What a scan of the scratch folder went over.
#[derive(Debug, Default)]
struct Looked {
    stops: u64,
    files: u64,
    bytes: u64,
}

impl Looked {
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

fn nothing_is_told(cipher: Cipher) {
    let home = tempfile::tempdir().unwrap();
    let scratch = home.path();
    let markers = Markers::draw();
    let scanner = Scanner::new(&markers);
    let (mut looked, mut blocks) = (Looked::default(), Blocks::default());
    let mut look = |stop: &str, blocks: &mut Blocks| {
        looked.scan(scratch, &scanner, stop);
        blocks.gather(&scratch.join("vault"));
    };

    let mut first = Process::start(scratch, "first", &markers, cipher);
    let mut stops = Vec::new();
    while let Some(stop) = first.stop() {
        look(&stop, &mut blocks);
        stops.push(stop);
        if stops.last().unwrap() == worker::KILL {
            first.child.kill().unwrap();
            assert!(!first.child.wait().unwrap().success(), "it was killed");
            break;
        }
        first.go_on();
    }
    assert_eq!(stops, worker::FIRST_STOPS, "{}", said(scratch, "first"));
    look("death", &mut blocks);
    drop(first);

    let mut second = Process::start(scratch, "second", &markers, cipher);
    let mut stops = Vec::new();
    while let Some(stop) = second.stop() {
        look(&stop, &mut blocks);
        stops.push(stop);
        second.go_on();
    }
    assert!(second.child.wait().unwrap().success(), "{}", said(scratch, "second"));
    assert_eq!(stops, worker::SECOND_STOPS);
    drop(second);
    look("end", &mut blocks);
    log::expect_told(scratch);
    expect_noticed(scratch, &scanner, &markers);
    println!("{cipher}: none of {} markers found: {looked:?}", markers.count());
    println!("{cipher}: {}", blocks.expect_uniform());
    println!("{cipher}: {}", said(scratch, "second").lines().find(|l| l.contains("core")).unwrap());
}

/// The canary: one marker, in a file or in a name.
fn expect_noticed(scratch: &Path, scanner: &Scanner, markers: &Markers) {
    let marker = markers.iter().last().unwrap();
    for (name, text) in [("tmp/leak", marker), (&format!("tmp/{marker}")[..], "nothing")] {
        let path = scratch.join(name);
        fs::write(&path, [&[0; 4096], text.as_bytes()].concat()).unwrap();
        let look = || Looked::default().scan(scratch, scanner, "the canary");
        assert!(catch_unwind(look).is_err(), "a leak is not noticed");
        fs::remove_file(path).unwrap();
    }
}

/// What a worker said, for the message of a failure.
fn said(scratch: &Path, part: &str) -> String {
    let output = |end: &str| {
        fs::read_to_string(scratch.join(format!("output/{part}.{end}"))).unwrap_or_default()
    };
    output("stdout") + &output("stderr")
}

#[test]
fn no_marker_is_found_in_what_a_process_wrote_with_aes_gcm_siv() {
    nothing_is_told(Cipher::Aes256GcmSiv);
}

#[test]
fn no_marker_is_found_in_what_a_process_wrote_with_xchacha20_poly1305() {
    nothing_is_told(Cipher::XChaCha20Poly1305);
}
