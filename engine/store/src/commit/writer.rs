//! The single writer within this process.
//!
//! redb would let a second writer wait without limit. This lock comes first: its wait is bounded,
//! and a thread that already has the lock gets an error instead of waiting for itself.

use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use strongroom_base::component::HomeProcess;
use strongroom_base::{Error, ErrorKind, Reason, Result};

/// The writer's lock of one vault.
#[derive(Debug)]
pub(super) struct Writer {
    turn: Mutex<()>,
    holder: Mutex<Option<ThreadId>>,
    timeout: Duration,
    home: HomeProcess,
}

/// The write turn, as a parameter type for functions that need it. Dropping it ends the turn.
#[derive(Debug)]
pub struct Turn<'a> {
    writer: &'a Writer,
    _turn: MutexGuard<'a, ()>,
}

impl Writer {
    pub(super) fn new(timeout: Duration) -> Self {
        let home = HomeProcess::current();
        Self { turn: Mutex::new(()), holder: Mutex::new(None), timeout, home }
    }

    /// Returns the longest wait for the write turn.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for the write turn.
    ///
    /// `Locked` after the timeout, `Invalid` inside a write, `Closed` in a forked process.
    pub(super) fn acquire(&self, operation: &'static str) -> Result<Turn<'_>> {
        self.refuse_nested(operation)?;
        let turn = self.turn.try_lock_for(self.timeout).ok_or_else(|| {
            Error::new(ErrorKind::Locked, operation).with_reason(Reason::WriteTimeout).with_detail(
                format!(
                    "another write of this process did not end within {} s",
                    self.timeout.as_secs_f32()
                ),
            )
        })?;
        Ok(self.held(turn))
    }

    /// Takes the write turn if it is free now.
    pub(super) fn try_acquire(&self) -> Option<Turn<'_>> {
        if !self.home.is_current() {
            return None;
        }
        self.turn.try_lock().map(|turn| self.held(turn))
    }

    /// Returns `Invalid` if this thread is inside a write, `Closed` in a forked process.
    pub(super) fn refuse_nested(&self, operation: &'static str) -> Result<()> {
        self.home.check(operation)?;
        if *self.holder.lock() == Some(thread::current().id()) {
            let detail =
                "the call is inside a write of the same vault, and a vault has one write at a time";
            return Err(Error::new(ErrorKind::Invalid, operation)
                .with_reason(Reason::NestedWrite)
                .with_detail(detail));
        }
        Ok(())
    }

    fn held<'a>(&'a self, turn: MutexGuard<'a, ()>) -> Turn<'a> {
        *self.holder.lock() = Some(thread::current().id());
        Turn { writer: self, _turn: turn }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.writer.holder.lock() = None;
    }
}
