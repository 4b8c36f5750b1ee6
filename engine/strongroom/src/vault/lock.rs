//! The vault's lock: a kernel lock on its own file, and a note about the holder.
//!
//! The lock file is created with the vault and never renamed or unlinked. So all processes lock the
//! same inode, even if the state file is replaced. The kernel releases the lock within milliseconds
//! of its holder's death. The lock cannot be forced: a stopped holder is alive. The note only
//! informs; no decision depends on it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::backoff::{Backoff, Jitter, Pauses};
use strongroom_base::component::{Clock, Entropy, ProcessIdentity};
use strongroom_base::fs::{Access, File, FileSystem};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_format::{HolderNote, NOTE_BYTES_MAX};

/// Limits on waiting for a vault that another process holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LockPolicy {
    /// Longest wait in all; 10 s by default. Zero tries once.
    pub timeout: Duration,
    /// Most tries; 5 by default.
    pub tries: u32,
    /// Pause after the first try; 0.1 s by default.
    pub first_pause: Duration,
    /// Factor from each pause to the next, at least 1; 4 by default.
    ///
    /// Each pause varies at random by a quarter. The last pause is cut to the timeout.
    pub growth: f64,
}

impl Default for LockPolicy {
    /// Tries after about 0, 0.1, 0.5, 2.1 and 8.5 s.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            tries: 5,
            first_pause: Duration::from_millis(100),
            growth: 4.0,
        }
    }
}

impl LockPolicy {
    /// Checks that the growth is finite and at least 1; otherwise `Invalid`.
    pub(super) fn validate(&self) -> Result<()> {
        self.backoff().map(drop)
    }

    fn backoff(&self) -> Result<Backoff> {
        // No pause is longer than the whole wait.
        Backoff::checked(self.first_pause, self.growth, self.timeout).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "lock vault")
                .with_detail(format!("the growth of pauses is {}, must be at least 1", self.growth))
        })
    }

    /// Starts the tries of one call; the first one counts as made.
    pub(super) fn pauses<'a>(
        &self,
        clock: &'a dyn Clock,
        entropy: &'a dyn Entropy,
    ) -> Result<Pauses<'a>> {
        Ok(Pauses::new(self.backoff()?, clock)
            .jittered(Jitter::QUARTER_AROUND, entropy)
            .tries(self.tries)
            .last_try_at(self.timeout))
    }
}

/// The process that holds a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Identity of the process.
    pub process: ProcessIdentity,
    /// Purpose for which the process opened the vault.
    pub operation: String,
    /// Time of opening, in milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} on {} for {:?}", self.process.pid, self.process.host, self.operation)
    }
}

/// Details of a refused lock: the source of the error `Locked`.
#[derive(Clone, Debug)]
pub struct LockRefused {
    /// Holder of the vault, if it left a readable note.
    pub holder: Option<Holder>,
    /// Number of tries.
    pub attempts: u32,
    /// Time spent on all tries.
    pub elapsed: Duration,
}

impl fmt::Display for LockRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(f, "held by {holder}")?,
            None => f.write_str("held by a process that left no note")?,
        }
        let tries = if self.attempts == 1 { "try" } else { "tries" };
        let secs = self.elapsed.as_secs_f64();
        write!(f, ", {} {tries} in {secs:.1} s", self.attempts)
    }
}

impl StdError for LockRefused {}

/// The lock of an open vault. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct VaultLock {
    fs: Arc<dyn FileSystem>,
    note_path: PathBuf,
    // Dropped last, after the note is removed: the next holder finds no note of this one.
    file: Box<dyn File>,
    /// Previous holder and its note, if it died with the vault open.
    dead_holder: Option<(Holder, Vec<u8>)>,
    /// Set once the vault is open; until then, the dead holder's recovery is not finished.
    is_confirmed: bool,
}

/// Parameters of acquiring the lock.
pub(super) struct LockContext<'a> {
    pub(super) fs: &'a Arc<dyn FileSystem>,
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) process: &'a ProcessIdentity,
    pub(super) policy: LockPolicy,
    pub(super) operation: &'a str,
}

impl LockContext<'_> {
    /// Locks the file at `lock_path`, and waits as the policy allows.
    ///
    /// The file is created if it is missing.
    pub(super) fn acquire(&self, lock_path: &Path, note_path: &Path) -> Result<VaultLock> {
        let failed = |e| Error::io("lock vault", e).with_subject(lock_path.display());
        let file = self.fs.open(lock_path, Access::OpenOrCreate).map_err(failed)?;
        let mut pauses = self.policy.pauses(self.clock, self.entropy)?;
        while !file.try_lock().map_err(failed)? {
            if !pauses.sleep()? {
                let holder = self.read_note(note_path).map(|(holder, _)| holder);
                let (attempts, elapsed) = (pauses.attempts(), pauses.elapsed());
                let refused = LockRefused { holder, attempts, elapsed };
                return Err(Error::new(ErrorKind::Locked, "lock vault")
                    .with_reason(Reason::VaultLocked)
                    .with_source(refused));
            }
        }
        let dead_holder = self.read_note(note_path);
        if let Err(e) = self.write_note(note_path) {
            // The note only informs. A full disk must not keep a host from opening the vault to
            // delete.
            tracing::warn!(error = %e.kind(), "holder note not written");
        }
        Ok(VaultLock {
            fs: Arc::clone(self.fs),
            note_path: note_path.to_owned(),
            file,
            dead_holder,
            is_confirmed: false,
        })
    }

    fn read_note(&self, path: &Path) -> Option<(Holder, Vec<u8>)> {
        let file = self.fs.open(path, Access::Read).ok()?;
        let len = file.len().ok()?.min(NOTE_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let note = HolderNote::decode(&bytes)?;
        let holder = Holder {
            process: ProcessIdentity {
                host: note.host,
                boot_id: note.boot_id,
                pid: note.pid,
                started: note.process_start,
                // Not in the note, which only informs.
                pid_namespace: String::new(),
            },
            operation: note.operation,
            since_unix_millis: note.since_unix_millis,
        };
        Some((holder, bytes))
    }

    fn write_note(&self, path: &Path) -> io::Result<()> {
        let note = HolderNote {
            host: self.process.host.clone(),
            boot_id: self.process.boot_id.clone(),
            pid: self.process.pid,
            process_start: self.process.started,
            operation: self.operation.to_owned(),
            since_unix_millis: self.clock.unix_millis(),
        };
        write_file(&**self.fs, path, &note.encode())
    }
}

impl VaultLock {
    /// Returns the previous holder, if it died with the vault open.
    pub(super) fn dead_holder(&self) -> Option<&Holder> {
        self.dead_holder.as_ref().map(|(holder, _)| holder)
    }

    /// Returns an id of the lock file, unique on this host.
    ///
    /// Empty if unknown.
    pub(super) fn identity(&self) -> String {
        self.file.identity().unwrap_or_default()
    }

    /// Marks the vault as open, and the dead holder's recovery as finished.
    pub(super) fn confirm(&mut self) {
        self.is_confirmed = true;
    }
}

impl Drop for VaultLock {
    fn drop(&mut self) {
        // The note only informs. If this fails, the next holder reports this process as dead; by
        // then it has closed the vault.
        let left = match &self.dead_holder {
            Some((_, note)) if !self.is_confirmed => write_file(&*self.fs, &self.note_path, note),
            _ => self.fs.remove_file(&self.note_path),
        };
        if let Err(e) = left {
            tracing::debug!(error = %e.kind(), "holder note not removed");
        }
    }
}

/// Writes a file without syncing it: after a power cut no process holds the vault.
fn write_file(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = fs.open(path, Access::OpenOrCreate)?;
    file.set_len(0)?;
    file.write_all_at(bytes, 0)
}
