//! Leases: one writer of an artifact at a time.
//!
//! A lease has a holder, a fencing token and an expiry. It is stored in memory, because one process
//! at a time has the vault and a lease must not outlive it. Safety comes from a check, not from
//! waiting: inside its transaction a commit checks that its token is still the artifact's. A holder
//! whose lease was taken away, or expired and went to another, changes nothing any more, however
//! late it continues.
//!
//! Readers need no leases.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_base::backoff::{Backoff, Pauses};
use strongroom_base::component::Clock;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::name::ArtifactName;
use crate::records::check_name;

const LOCK: &str = "lock artifact";

/// The shortest pause, whatever the policy is.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The wait for leases of artifacts, and their duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePolicy {
    /// Longest wait; default 30 s. Zero tries once.
    pub timeout: Duration,
    /// Pause after the first try; default 0.1 s.
    ///
    /// Each pause is twice the one before, and ends early when the lease is released.
    pub first_pause: Duration,
    /// The longest pause; default 2 s.
    pub longest_pause: Duration,
    /// Duration of a lease unless it is [renewed](ArtifactLease::renew); default 1 h.
    ///
    /// A put renews its lease with every chunk. Others may take an expired lease.
    pub lasts: Duration,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            lasts: Duration::from_secs(60 * 60),
        }
    }
}

/// The holder of an artifact's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Name of the holder: its own choice, or the name or number of its thread.
    pub holder: String,
    /// Start of the lease, in milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
}

impl fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.holder)
    }
}

/// The reason that a lease was refused: the source of the error `Locked`.
#[derive(Clone, Debug)]
pub struct LeaseRefused {
    /// The present holder.
    pub holder: LeaseHolder,
    /// Number of tries.
    pub attempts: u32,
    /// Duration of the tries.
    pub elapsed: Duration,
}

impl fmt::Display for LeaseRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = if self.attempts == 1 { "try" } else { "tries" };
        let secs = self.elapsed.as_secs_f64();
        write!(f, "held by {}, {} {tries} in {secs:.1} s", self.holder, self.attempts)
    }
}

impl StdError for LeaseRefused {}

/// The leases of one vault.
#[derive(Debug)]
pub(crate) struct Leases {
    clock: Arc<dyn Clock>,
    held: Mutex<LeaseTable>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct LeaseTable {
    /// Token of the newest lease; raised with each.
    newest: u64,
    by_artifact: HashMap<ArtifactName, Lease>,
}

#[derive(Clone, Debug)]
struct Lease {
    token: u64,
    holder: LeaseHolder,
    /// Expiry, on the monotonic clock.
    ends: Duration,
}

impl Leases {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, held: Mutex::default(), released: Condvar::new() })
    }

    fn acquire(
        self: &Arc<Self>,
        name: &ArtifactName,
        holder: &str,
        policy: &LeasePolicy,
        operation: &'static str,
    ) -> Result<ArtifactLease> {
        let backoff = Backoff::new(policy.first_pause, 2.0, policy.longest_pause);
        let mut pauses = Pauses::new(backoff, &*self.clock).last_try_at(policy.timeout);
        let mut held = self.held.lock();
        loop {
            let now = self.clock.monotonic();
            let other = match held.by_artifact.get(name) {
                Some(lease) if lease.ends > now => lease.holder.clone(),
                _ => break,
            };
            let Some(pause) = pauses.next_pause_of(PAUSE_MIN)? else {
                let (attempts, elapsed) = (pauses.attempts(), pauses.elapsed());
                let refused = LeaseRefused { holder: other, attempts, elapsed };
                return Err(Error::new(ErrorKind::Locked, operation)
                    .with_reason(Reason::ArtifactLeased)
                    .with_subject(name.newest())
                    .with_source(refused));
            };
            if self.released.wait_for(&mut held, pause).timed_out() {
                // A stopped clock must not make a wait endless.
                pauses.lasted(pause);
            } else {
                pauses.ended_early();
            }
        }
        held.newest += 1;
        let token = held.newest;
        let ends = self.clock.monotonic().saturating_add(policy.lasts);
        let since_unix_millis = self.clock.unix_millis();
        let holder = LeaseHolder { holder: holder.to_owned(), since_unix_millis };
        held.by_artifact.insert(name.clone(), Lease { token, holder, ends });
        drop(held);
        let grant =
            Grant { leases: Arc::clone(self), name: name.clone(), token, lasts: policy.lasts };
        Ok(ArtifactLease { grant: Arc::new(grant) })
    }

    fn holder(&self, name: &ArtifactName) -> Option<LeaseHolder> {
        let now = self.clock.monotonic();
        let held = self.held.lock();
        held.by_artifact.get(name).filter(|lease| lease.ends > now).map(|l| l.holder.clone())
    }

    fn force(&self, name: &ArtifactName) -> Option<LeaseHolder> {
        let taken = self.held.lock().by_artifact.remove(name);
        self.released.notify_all();
        taken.map(|lease| lease.holder)
    }
}

/// A granted lease, returned when its last reference is dropped.
#[derive(Debug)]
pub(super) struct Grant {
    leases: Arc<Leases>,
    name: ArtifactName,
    token: u64,
    lasts: Duration,
}

impl Grant {
    /// Returns `Conflict` if another holder has the artifact now.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        let held = self.leases.held.lock();
        match held.by_artifact.get(&self.name) {
            Some(lease) if lease.token == self.token => Ok(()),
            _ => Err(Error::new(ErrorKind::Conflict, operation)
                .with_reason(Reason::LeaseLost)
                .with_detail("the lease was taken away, or expired and another holder has it")
                .with_subject(self.name.newest())),
        }
    }

    pub(super) fn renew(&self, operation: &'static str) -> Result<()> {
        self.check(operation)?;
        let ends = self.leases.clock.monotonic().saturating_add(self.lasts);
        if let Some(lease) = self.leases.held.lock().by_artifact.get_mut(&self.name)
            && lease.token == self.token
        {
            lease.ends = ends;
        }
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        if held.by_artifact.get(&self.name).is_some_and(|lease| lease.token == self.token) {
            held.by_artifact.remove(&self.name);
            self.leases.released.notify_all();
        }
    }
}

/// The exclusive right to write an artifact, until it is dropped.
///
/// Writes through [`Artifacts::holding`] use it.
#[derive(Debug)]
pub struct ArtifactLease {
    pub(super) grant: Arc<Grant>,
}

impl ArtifactLease {
    /// Returns the artifact.
    pub fn name(&self) -> &ArtifactName {
        &self.grant.name
    }

    /// Returns its fencing token, above every earlier one of this session.
    pub fn token(&self) -> u64 {
        self.grant.token
    }

    /// Extends the lease by its full duration from now. `Conflict` if another holder has the
    /// artifact now.
    pub fn renew(&self) -> Result<()> {
        self.grant.renew("renew lease")
    }
}

/// Leases. Calls that write an artifact (puts, deletions, changes of tags) acquire one and wait for
/// it according to the handle's [`LeasePolicy`]. Different artifacts are written in parallel, and
/// reads never wait.
impl Artifacts {
    /// Returns a handle that waits for leases according to `policy`.
    #[must_use]
    pub fn with_lease_policy(&self, policy: LeasePolicy) -> Self {
        Self { policy: Some(policy), ..self.clone() }
    }

    /// Returns a handle that uses no leases and ignores those of others: the last commit wins.
    #[must_use]
    pub fn without_leases(&self) -> Self {
        Self { policy: None, ..self.clone() }
    }

    /// Returns a handle whose writes to the lease's artifact use `lease`.
    #[must_use]
    pub fn holding(&self, lease: &ArtifactLease) -> Self {
        Self { holding: Some(Arc::clone(&lease.grant)), ..self.clone() }
    }

    /// Acquires the lease of an artifact, whether or not the artifact exists.
    ///
    /// `Locked` if another holder has it for longer than the policy waits, with [`LeaseRefused`] as
    /// source. `Invalid` if the handle uses no leases.
    pub fn lock(&self, name: &ArtifactName) -> Result<ArtifactLease> {
        self.lock_as(name, &this_thread())
    }

    /// Acquires the lease under a holder name of 1 to 128 bytes.
    pub fn lock_as(&self, name: &ArtifactName, holder: &str) -> Result<ArtifactLease> {
        check_name(LOCK, "holder", holder)?;
        let policy = self.policy.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, LOCK)
                .with_reason(Reason::LeasesDisabled)
                .with_detail("this handle uses no leases")
        })?;
        self.room.leases.acquire(name, holder, policy, LOCK)
    }

    /// Returns the holder of an artifact's lease, if there is one.
    pub fn lease_holder(&self, name: &ArtifactName) -> Option<LeaseHolder> {
        self.room.leases.holder(name)
    }

    /// Returns whether an artifact's lease has a holder.
    pub fn is_locked(&self, name: &ArtifactName) -> bool {
        self.lease_holder(name).is_some()
    }

    /// Ends the lease of an artifact, and returns its holder.
    ///
    /// That holder's commits are `Conflict` from now on. A warning is logged.
    pub fn force_unlock(&self, name: &ArtifactName) -> Option<LeaseHolder> {
        let taken = self.room.leases.force(name);
        if let Some(holder) = &taken {
            let since = holder.since_unix_millis;
            tracing::warn!(artifact = %name.newest(), since, "lease taken away by force");
        }
        taken
    }

    /// Returns the same handle without waits for leases.
    pub(super) fn at_once(&self) -> Self {
        let policy = self.policy.map(|policy| LeasePolicy { timeout: Duration::ZERO, ..policy });
        Self { policy, ..self.clone() }
    }

    /// Returns the lease for writes, if the handle uses leases.
    pub(super) fn lease_for(
        &self,
        name: &ArtifactName,
        operation: &'static str,
    ) -> Result<Option<Arc<Grant>>> {
        if let Some(grant) = self.holding.as_ref().filter(|grant| grant.name == *name) {
            grant.check(operation)?;
            return Ok(Some(Arc::clone(grant)));
        }
        let Some(policy) = &self.policy else { return Ok(None) };
        let lease = self.room.leases.acquire(name, &this_thread(), policy, operation)?;
        Ok(Some(lease.grant))
    }
}

fn this_thread() -> String {
    let thread = std::thread::current();
    let named = thread.name().filter(|name| check_name(LOCK, "holder", name).is_ok());
    named.map_or_else(|| format!("{:?}", thread.id()), str::to_owned)
}

/// Returns `Ok` without a lease.
pub(super) fn check(lease: Option<&Arc<Grant>>, operation: &'static str) -> Result<()> {
    lease.map_or(Ok(()), |grant| grant.check(operation))
}
