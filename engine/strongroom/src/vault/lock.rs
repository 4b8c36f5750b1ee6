//! One process at a time: a kernel lock on a file of its own, and a note beside it.
//!
//! The lock file is made at creation and never renamed or unlinked, so that everybody locks the
//! same inode, whatever becomes of the state file. The kernel passes the lock on within
//! milliseconds of its holder's death, and it cannot be forced: a holder that is stopped is
//! alive. The note only informs; nothing is decided by it.

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

/// How long, and how often, to try for a vault that another process has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LockPolicy {
    /// The wait in all; default 10 s. Zero tries once.
    pub timeout: Duration,
    /// Most tries; default 5.
    pub tries: u32,
    /// The pause after the first try; default 0.1 s.
    pub first_pause: Duration,
    /// Each pause is so many times the one before, a quarter more or less at random;
    /// default 4. The last one is cut to the timeout.
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
    /// `Invalid` unless the pauses grow by a finite factor of at least 1.
    pub(super) fn validate(&self) -> Result<()> {
        self.backoff().map(drop)
    }

    fn backoff(&self) -> Result<Backoff> {
        // No pause is longer than the wait in all.
        Backoff::checked(self.first_pause, self.growth, self.timeout).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "lock vault")
                .with_detail(format!("pauses grow by {}, which is not 1 or more", self.growth))
        })
    }

    /// Starts the tries of one call; the first counts as made.
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

/// Who has the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub process: ProcessIdentity,
    /// What it opened the vault for.
    pub operation: String,
    /// Since when; milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} on {} for {:?}", self.process.pid, self.process.host, self.operation)
    }
}

/// Why a vault was not to be had: the source of the error `Locked`.
#[derive(Clone, Debug)]
pub struct LockRefused {
    /// Who has it, as far as its note tells.
    pub holder: Option<Holder>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it was tried.
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

/// The lock of an open vault; passed on when dropped.
#[derive(Debug)]
pub(super) struct VaultLock {
    fs: Arc<dyn FileSystem>,
    note_path: PathBuf,
    // Closed last: who gets the lock next finds no note of ours.
    file: Box<dyn File>,
    /// The holder before this one, if it left its note behind: it died. With its note.
    died: Option<(Holder, Vec<u8>)>,
    /// Whether the vault was opened; until then the dead holder's recovery is still to come.
    confirmed: bool,
}

/// What the lock is taken with.
pub(super) struct Locking<'a> {
    pub(super) fs: &'a Arc<dyn FileSystem>,
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) process: &'a ProcessIdentity,
    pub(super) policy: LockPolicy,
    pub(super) operation: &'a str,
}

impl Locking<'_> {
    /// Waits for the lock of `lock_path`, made if it does not exist, as the policy says.
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
        let died = self.read_note(note_path);
        if let Err(e) = self.write_note(note_path) {
            // It only informs: a full disk must not keep anybody from deleting.
            tracing::warn!(error = %e.kind(), "holder's note not written");
        }
        Ok(VaultLock {
            fs: Arc::clone(self.fs),
            note_path: note_path.to_owned(),
            file,
            died,
            confirmed: false,
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
                // The note only informs.
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
    /// The holder before this one, if it died with the vault open.
    pub(super) fn died(&self) -> Option<&Holder> {
        self.died.as_ref().map(|(holder, _)| holder)
    }

    /// Which file it is, among all of the host; empty if that is not told.
    pub(super) fn place(&self) -> String {
        self.file.identity().unwrap_or_default()
    }

    /// The vault is open, and what the dead holder left is recovered.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }
}

impl Drop for VaultLock {
    fn drop(&mut self) {
        // The note only informs: if this fails, the next holder takes us for dead, which by then
        // we are.
        let left = match &self.died {
            Some((_, note)) if !self.confirmed => write_file(&*self.fs, &self.note_path, note),
            _ => self.fs.remove_file(&self.note_path),
        };
        if let Err(e) = left {
            tracing::debug!(error = %e.kind(), "holder's note not taken back");
        }
    }
}

/// Not synced: after a power cut nobody holds anything.
fn write_file(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = fs.open(path, Access::OpenOrCreate)?;
    file.set_len(0)?;
    file.write_all_at(bytes, 0)
}
