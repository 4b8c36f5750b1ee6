//! Other processes: this test program again, running only its test `worker`.
//!
//! A worker finds its role and its arguments in the environment, and prints one line at a time.
//! Every wait for it is a wait for its output, and ends when it ends or is silent for too long.
//! Dropping it kills it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

const ROLE: &str = "STRONGROOM_TEST_ROLE";
const VAULT: &str = "STRONGROOM_TEST_VAULT";

/// Longest silence of a worker before it is killed and fails.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Returns the task of a worker process; `None` in the test program itself.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var(ROLE).ok()?;
    let vault = std::env::var_os(VAULT).expect("a worker has a vault");
    Some((role, vault.into()))
}

/// Prints a line for the process that started this one.
///
/// The test harness writes to the same output without ending its line, so a new one is begun.
pub(crate) fn print_line(line: &str) {
    println!("\n@{line}");
}

/// Waits until the parent process continues it, or has ended.
pub(crate) fn wait_for_go() {
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

/// A process that runs `worker`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// The next output of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkerOutput {
    Line(String),
    /// The worker has ended, or closed its output.
    End,
    /// No output within the given time.
    Silence,
}

impl Worker {
    pub(crate) fn start(role: &str, vault: &Path) -> Self {
        Self::start_with(role, vault, &[])
    }

    pub(crate) fn start_with(role: &str, vault: &Path, variables: &[(&str, String)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(VAULT, vault)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let said = output.lines().map_while(Result::ok);
            for line in said.filter_map(|line| line.strip_prefix('@').map(str::to_owned)) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output within `time`.
    pub(crate) fn next_line_within(&self, time: Duration) -> WorkerOutput {
        match self.lines.recv_timeout(time) {
            Ok(line) => WorkerOutput::Line(line),
            Err(RecvTimeoutError::Disconnected) => WorkerOutput::End,
            Err(RecvTimeoutError::Timeout) => WorkerOutput::Silence,
        }
    }

    /// Returns its next line; `None` if it ends before.
    pub(crate) fn line(&self) -> Option<String> {
        match self.next_line_within(SILENCE_MAX) {
            WorkerOutput::Line(line) => Some(line),
            WorkerOutput::End => None,
            WorkerOutput::Silence => panic!("a worker is silent for {} s", SILENCE_MAX.as_secs()),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    /// Continues it after [`wait_for_go`].
    pub(crate) fn go(&mut self) {
        drop(self.input.take());
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(sent.unwrap().success(), "signal {name} is sent");
    }

    /// Kills it by SIGKILL, and waits for its end; returns whether the kill came before its own
    /// end.
    pub(crate) fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        !self.child.wait().unwrap().success()
    }

    /// Waits for its successful end; returns its output until then.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.go();
        let said = std::iter::from_fn(|| self.line()).collect();
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
