//! A process of the service, to be killed.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::service::{FINISHED, OPENED, PROGRESS};
use super::{Outcome, random};

/// No step takes longer, unless something is wrong.
const LONG: Duration = Duration::from_secs(120);

/// The moment of a kill, relative to the service's reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    Opening,
    BeforeFirstCheckpoint,
    Work,
    End,
}

impl Moment {
    pub(super) const ALL: [Self; 4] =
        [Self::Opening, Self::BeforeFirstCheckpoint, Self::Work, Self::End];

    /// Returns the report to wait for, and the longest delay after it.
    fn aim(self) -> (Option<&'static str>, Duration) {
        let (line, millis) = match self {
            Self::Opening => (None, 8),
            Self::BeforeFirstCheckpoint => (Some(OPENED), 15),
            Self::Work => (Some(PROGRESS), 150),
            Self::End => (Some(FINISHED), 3),
        };
        (line, Duration::from_millis(millis))
    }

    fn after(lines: &[String]) -> Self {
        let has = |line| lines.iter().any(|given: &String| given.starts_with(line));
        match () {
            () if has(FINISHED) => Self::End,
            () if has(PROGRESS) => Self::Work,
            () if has(OPENED) => Self::BeforeFirstCheckpoint,
            () => Self::Opening,
        }
    }
}

/// A process of the service, killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Its sender ends with the process.
    ended: Receiver<Infallible>,
    received: Vec<String>,
}

impl Process {
    pub(super) fn start(site: &Path, folder: &Path, batch: u64) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(site).arg(folder).arg(batch.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let ((teller, lines), (alive, ended)) = (channel(), channel());
        std::thread::spawn(move || {
            let _ = output.lines().map_while(Result::ok).try_for_each(|line| teller.send(line));
            drop(alive);
        });
        Ok(Self { child, input, lines, ended, received: Vec::new() })
    }

    /// Kills the process at random around `aim`; returns the moment. `None` if it finished before.
    pub(super) fn kill(mut self, aim: Moment) -> Outcome<Option<Moment>> {
        let (line, within) = aim.aim();
        if line.is_none_or(|line| self.hears(line)) {
            let micros = u64::from_be_bytes(random()?) % u64::try_from(within.as_micros())?;
            let _ = self.ended.recv_timeout(Duration::from_micros(micros));
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.received.extend(self.lines.iter());
        match status.signal() {
            Some(9) => Ok(Some(Moment::after(&self.received))),
            None if status.success() => Ok(None),
            _ => Err(format!("the service failed: {status}").into()),
        }
    }

    /// Returns whether it prints a line with that beginning before it ends.
    fn hears(&mut self, line: &str) -> bool {
        while let Ok(text) = self.lines.recv_timeout(LONG) {
            let is_it = text.starts_with(line);
            self.received.push(text);
            if is_it {
                return true;
            }
        }
        false
    }

    /// Waits until it has committed something, or ended.
    pub(super) fn works(&mut self) {
        self.hears(PROGRESS);
    }

    /// Closes its input, which requests an orderly stop.
    pub(super) fn stop(mut self) -> Outcome {
        drop(self.input.take());
        self.finish()
    }

    /// Waits until it ends by itself.
    pub(super) fn finish(mut self) -> Outcome {
        match self.ended.recv_timeout(LONG) {
            Err(RecvTimeoutError::Disconnected) if self.child.wait()?.success() => Ok(()),
            _ => Err("the service did not finish".into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
