//! The program as a user has it: run as a process, judged by its output and exit code.

mod operations;
mod records;
mod sharing;
mod vaults;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

/// A folder of its own for each test, and the path of a vault in it.
struct Cli {
    folder: TempDir,
}

/// What a finished command said.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Cli {
    /// A folder without a vault.
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// A folder with a new vault.
    fn new() -> Self {
        let cli = Self::empty();
        cli.ok(&["init", "v"]);
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command in the folder, its streams piped; the vault is `v`.
    fn spawn(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("STRONGROOM_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    fn run_with(&self, args: &[&str], stdin: &[u8]) -> Said {
        let mut child = self.spawn(args);
        let mut pipe = child.stdin.take().expect("piped");
        // A command that refuses its arguments does not read.
        let _ = pipe.write_all(stdin);
        drop(pipe);
        said(child)
    }

    fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, b"")
    }

    /// The standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.stderr);
        said.stdout
    }

    fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.ok(args)).expect("text")
    }

    fn json(&self, args: &[&str]) -> Json {
        let output = self.ok(args);
        serde_json::from_slice(&output).expect("one JSON document")
    }

    fn put(&self, namespace: &str, key: &str, value: &[u8]) {
        let said = self.run_with(&["records", "put", "v", namespace, key], value);
        assert_eq!((said.code, said.stdout.len()), (0, 0), "{}", said.stderr);
    }

    /// The command must fail with `code` and one error line that contains `told`.
    fn refused(&self, args: &[&str], code: i32, told: &str) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, code, "{args:?}: {}", said.stderr);
        assert!(said.stdout.is_empty(), "{args:?}");
        let errors = said.stderr.lines().filter(|l| l.starts_with("strongroom:"));
        let [error] = errors.collect::<Vec<_>>()[..] else {
            panic!("not one error line: {}", said.stderr);
        };
        assert!(error.contains(told), "{error}");
        said
    }
}

fn said(child: Child) -> Said {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    Said {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr: String::from_utf8(stderr).expect("messages are text"),
    }
}

/// Bytes that are not text and differ from place to place.
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

/// Every file and folder below `folder`, in order, with the bytes of files.
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
