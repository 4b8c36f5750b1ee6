//! Runs the program and checks its output and exit code.

mod artifact_store;
mod artifacts;
mod docs;
mod documents;
mod host;
mod keys;
mod manual;
mod operation_ends;
mod operations;
mod partitions;
#[cfg(target_os = "linux")]
mod prompts;
mod reasons;
mod records;
mod recovery;
mod rotation;
mod secrets;
mod sharing;
mod shell;
mod spaces;
mod statistics;
mod stores;
mod vaults;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

/// Key file of the test vaults. It avoids password hashing.
const KEY: [u8; 32] = *b"known to all who read the source";

/// Variables that a user may have set and a test removes.
const VARIABLES: [&str; 7] = [
    "STRONGROOM_BACKEND",
    "STRONGROOM_LOG",
    "STRONGROOM_PASSWORD",
    "STRONGROOM_NEW_PASSWORD",
    "STRONGROOM_PARTITION_KEY",
    "STRONGROOM_PARTITION_PASSWORD",
    "STRONGROOM_NEW_PARTITION_PASSWORD",
];

/// A temporary folder with a vault's path, and [`KEY`] in file `key`.
struct Cli {
    folder: TempDir,
}

/// Output and exit code of a finished command.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Cli {
    /// Creates a folder without a vault.
    fn empty() -> Self {
        let cli = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        cli.secret("key", KEY);
        cli
    }

    /// Creates a folder with a new vault.
    fn new() -> Self {
        let cli = Self::empty();
        cli.ok(&["init", "v"]);
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner may read.
    fn secret(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.path(name)).expect("it is made");
        file.write_all(bytes.as_ref()).expect("it is written");
    }

    /// Returns the program in the folder, with piped streams.
    ///
    /// It has no terminal and no key.
    fn keyless(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_strongroom")).args(args);
        self.prepare(command)
    }

    fn prepare(&self, mut command: Command) -> Command {
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    /// Starts the program with [`KEY`].
    fn spawn(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(["--key-file", "key"]).args(args);
        self.prepare(command).spawn().expect("the program starts")
    }

    fn run_with(&self, args: &[&str], stdin: &[u8]) -> Said {
        finish(self.spawn(args), stdin)
    }

    fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, b"")
    }

    /// Runs the program without a key, but with `variables` in its environment.
    fn run_keyless(&self, args: &[&str], variables: &[(&str, &str)], stdin: &[u8]) -> Said {
        let child = self.keyless(args).envs(variables.iter().copied()).spawn();
        finish(child.expect("setsid, of util-linux, starts"), stdin)
    }

    /// Returns the standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> Vec<u8> {
        self.run(args).ok()
    }
    fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.ok(args)).expect("text")
    }

    fn json(&self, args: &[&str]) -> Json {
        self.run(args).json()
    }

    fn put(&self, namespace: &str, key: &str, value: &[u8]) {
        let said = self.run_with(&["records", "put", "v", namespace, key], value);
        assert_eq!((said.code, said.stdout.len()), (0, 0), "{}", said.stderr);
    }

    /// Runs a command that must fail with `code` and `text`.
    ///
    /// The error is one line that contains `text`.
    fn refused(&self, args: &[&str], code: i32, text: &str) -> Said {
        self.run(args).refused(code, text)
    }
}

impl Said {
    /// Returns the standard output of a command that must have succeeded.
    fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    fn json(self) -> Json {
        serde_json::from_slice(&self.ok()).expect("one JSON document")
    }

    /// Asserts a failure with `code` and `text`.
    ///
    /// The error is one line, text or JSON, that contains `text`.
    fn refused(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stdout.is_empty());
        let is_error =
            |line: &&str| line.starts_with("strongroom:") || line.starts_with("{\"error\"");
        let errors = self.stderr.lines().filter(is_error);
        let [error] = errors.collect::<Vec<_>>()[..] else {
            panic!("not one error line: {}", self.stderr);
        };
        assert!(error.contains(text), "{error}");
        self
    }
}

fn finish(mut child: Child, stdin: &[u8]) -> Said {
    let mut pipe = child.stdin.take().expect("piped");
    // A command that refuses its arguments does not read standard input.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    said(child)
}

fn said(child: Child) -> Said {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    Said {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr: String::from_utf8(stderr).expect("messages are text"),
    }
}

/// Returns non-text bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Returns all files and folders below `folder`, with file contents.
fn tree(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut due = vec![folder.to_owned()];
    while let Some(path) = due.pop() {
        let bytes = if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder");
            due.extend(entries.map(|entry| entry.expect("an entry").path()));
            None
        } else {
            Some(std::fs::read(&path).expect("a file"))
        };
        found.push((path, bytes));
    }
    found.sort();
    found
}
