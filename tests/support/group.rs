//! Threads that commit at the same time: they queue up behind a write, and are released together.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use strongroom::{Batch, Error, ErrorKind, Result, Vault};

use super::records::assert_error;

/// Threads that commit at the same time.
pub(crate) const THREADS: usize = 4;
/// Longest wait for another thread.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Number of yields to other threads, so that they queue up. It only affects how soon a round
/// occurs in which they share a commit.
const YIELDS: usize = 2_000;

/// Makes two rows of a writer that must exist together.
pub(crate) fn two_rows(writer: &str) -> Batch {
    let mut batch = Batch::new();
    batch.insert("n", format!("{writer} first"), "x").insert("n", format!("{writer} last"), "x");
    batch
}

/// The outcome of each thread.
struct Outcomes {
    sender: Sender<(String, Result<()>)>,
    answers: Receiver<(String, Result<()>)>,
    started: (Sender<()>, Receiver<()>),
}

impl Outcomes {
    fn new() -> Self {
        let (sender, answers) = channel();
        Self { sender, answers, started: channel() }
    }

    /// Starts a thread that applies the rows of `writer`.
    ///
    /// If `unwinding`, it does so while a panic unwinds.
    fn apply(&self, vault: &Vault, writer: &str, unwinding: bool) {
        let (outcomes, started) = (self.sender.clone(), self.started.0.clone());
        let (vault, writer) = (vault.clone(), writer.to_owned());
        thread::spawn(move || {
            let applies = Applies { vault: Some(vault), writer, outcomes, started };
            if unwinding {
                resume_unwind(Box::new("the host's own bug"));
            }
            drop(applies);
        });
        self.started.1.recv_timeout(WAIT_MAX).unwrap();
        (0..YIELDS).for_each(|_| thread::yield_now());
    }

    fn next_line_within(&self, threads: usize) -> Vec<(String, Result<()>)> {
        (0..threads).map(|_| self.answers.recv_timeout(WAIT_MAX).unwrap()).collect()
    }
}

/// Applies the batch when it is dropped.
struct Applies {
    vault: Option<Vault>,
    writer: String,
    outcomes: Sender<(String, Result<()>)>,
    started: Sender<()>,
}

impl Drop for Applies {
    fn drop(&mut self) {
        let batch = two_rows(&self.writer);
        self.started.send(()).unwrap();
        // The handle ends before the test gets the outcome and reopens the vault.
        let outcome = self.vault.take().unwrap().apply(batch);
        self.outcomes.send((self.writer.clone(), outcome)).unwrap();
    }
}

/// Makes threads queue up behind a write without changes; the first of them may unwind. `meanwhile`
/// runs before they are released.
pub(crate) fn apply_at_once(
    vault: &Vault,
    first_unwinds: bool,
    meanwhile: impl FnOnce(),
) -> Vec<(String, Result<()>)> {
    let outcomes = Outcomes::new();
    let held: Result<()> = vault.write(|_| {
        (0..THREADS).for_each(|i| outcomes.apply(vault, &format!("w{i}"), first_unwinds && i == 0));
        meanwhile();
        Err(Error::new(ErrorKind::Invalid, "test"))
    });
    assert_error(held, ErrorKind::Invalid, "");
    outcomes.next_line_within(THREADS)
}
