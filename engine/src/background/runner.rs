//! Runs the host's operations on threads of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strongroom_backends::{Error, ErrorKind, Result};

use super::attempt::{Attempted, attempt};
use super::ticket::{Asked, ENDING_MAX, JobHandle, Stop, Ticket};
use super::workers::Workers;
use crate::operations::{
    Event, EventKind, OperationSpec, OperationState, Resumable, RetryPolicy, UnfinishedOperation,
};
use crate::progress::Progress;
use crate::vault::Vault;

/// Most threads of a runner.
const THREADS_MAX: usize = 256;

/// How many unfinished operations are read at a time.
const PAGE: usize = 256;

/// How a [`Runner`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    /// How many operations run at once: 2 by default, 1 to 256.
    pub threads: usize,
    /// How many may wait for a thread before more are refused: 1,000 by default.
    pub queue: usize,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { threads: 2, queue: 1_000 }
    }
}

/// What [`Runner::resume_all`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Resumed {
    /// What goes on.
    pub resumed: Vec<JobHandle>,
    /// What was left, each with the reason; not what the runner had already.
    pub left: Vec<UnfinishedOperation>,
}

/// Runs operations in the background, each by the [`Handler`](crate::Handler) of its name that the
/// vault was opened with. Cheap to clone; dropped with its last clone, it stops as by
/// [`shutdown`](Self::shutdown), without waiting. It keeps the vault open.
///
/// ```
/// use std::time::Duration;
/// use strongroom::{
///     Checkpoint, CheckpointPolicy, Handler, Handlers, OperationSpec, OperationState, Runner,
///     RunnerOptions, Vault,
/// };
/// # use strongroom::SecretPassword;
///
/// # fn main() -> strongroom::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let path = folder.path().join("vault");
/// let squares = Handler::new(|job| {
///     let lane = job.lane("main")?;
///     let (first, total) = (lane.status()?.decode::<u64>()?.unwrap_or(0), 1_000);
///     let mut paced = job.paced(&lane, CheckpointPolicy::DEFAULT, first, Some(total))?;
///     for item in first..total {
///         paced.insert("squares", item.to_be_bytes(), (item * item).to_be_bytes());
///         paced.step(|| Checkpoint::encode(&(item + 1)))?;
///     }
///     paced.finish(Checkpoint::encode(&total)?)
/// });
/// # let key = SecretPassword::new("correct horse battery staple");
/// let handlers = Handlers::new().with("squares", squares.checkpoints::<u64>());
/// let vault = Vault::options(key).handlers(handlers).create(&path)?;
/// let runner = Runner::start(&vault, RunnerOptions::default())?;
/// runner.resume_all()?; // whatever the last process left
/// let job = runner.submit(OperationSpec::new("squares-1").name("squares"))?;
/// assert_eq!(job.wait(Duration::from_secs(60))?, Some(OperationState::Completed));
/// runner.shutdown(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runner {
    handle: Arc<Handle>,
}

/// Dropped with the last clone, while tasks may still have the rest.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    vault: Vault,
    workers: Workers,
    queue_max: usize,
    /// What the runner has, by id.
    jobs: Mutex<HashMap<String, Arc<Ticket>>>,
    /// Whenever one leaves.
    left: Condvar,
    stopping: AtomicBool,
    /// A vault has one runner at a time; this one has let go of it.
    let_go: AtomicBool,
}

/// A ticket that is taken out and ended whatever happens to the code that has it.
struct Guarded<'a> {
    shared: &'a Shared,
    ticket: &'a Arc<Ticket>,
    settled: bool,
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let error = Error::new(ErrorKind::Unavailable, "run operation")
                .with_detail("the runner panicked over it");
            self.shared.end(self.ticket, Err(error));
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.handle.shared.jobs.lock().len();
        f.debug_struct("Runner").field("jobs", &jobs).finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner over `vault`. `Invalid` for options beyond their bounds, or if the vault was opened
    /// without [handlers](crate::VaultOptions::handlers); `Locked` while another runner of this
    /// vault lives: until it is shut down, or its last job has ended.
    pub fn start(vault: &Vault, options: RunnerOptions) -> Result<Self> {
        const START: &str = "start runner";
        let RunnerOptions { threads, queue } = options;
        let invalid =
            |detail: String| Err(Error::new(ErrorKind::Invalid, START).with_detail(detail));
        if !(1..=THREADS_MAX).contains(&threads) || queue == 0 {
            return invalid(format!(
                "{threads} threads and a queue of {queue}, not 1 to {THREADS_MAX} and at least 1"
            ));
        }
        let inner = vault.inner();
        if inner.handlers.is_empty() {
            return invalid("the vault was opened without handlers".into());
        }
        if inner.has_runner.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::Locked, START)
                .with_detail("another runner of this vault lives in this process"));
        }
        let clock = Arc::clone(&inner.components.clock);
        let shared = Shared {
            vault: vault.clone(),
            workers: Workers::new("strongroom-job", threads, clock),
            queue_max: queue,
            jobs: Mutex::default(),
            left: Condvar::new(),
            stopping: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
        };
        Ok(Self { handle: Arc::new(Handle { shared: Arc::new(shared) }) })
    }

    /// Makes an operation known and queues it. On return it survives a crash: the next runner's
    /// [`resume_all`](Self::resume_all) begins it.
    ///
    /// `Invalid` for a name without a handler, or a version that it does not read; `Unavailable` if
    /// the queue is full; `AlreadyExists` if the runner has it; `Closed` after a shutdown; and as
    /// [`Vault::prepare`]. After an error nothing is queued; after one that came in between, or is
    /// `Uncertain`, it may be known, for [`resume_all`](Self::resume_all).
    pub fn submit(&self, spec: OperationSpec) -> Result<JobHandle> {
        self.submit_any(spec, None)
    }

    /// The same, with `progress` to hear what its handler tells.
    pub fn submit_with(
        &self,
        spec: OperationSpec,
        progress: impl Progress + 'static,
    ) -> Result<JobHandle> {
        self.submit_any(spec, Some(Arc::new(progress)))
    }

    fn submit_any(
        &self,
        spec: OperationSpec,
        progress: Option<Arc<dyn Progress>>,
    ) -> Result<JobHandle> {
        const SUBMIT: &str = "submit operation";
        let shared = &self.handle.shared;
        shared.refuse_stopping(SUBMIT)?;
        let refuse = |kind, detail: String| {
            Err(Error::new(kind, SUBMIT).with_detail(detail).with_subject(&spec.id))
        };
        let name = spec.name.as_deref().unwrap_or(&spec.id);
        match shared.vault.inner().handlers.find(name) {
            None => return refuse(ErrorKind::Invalid, Resumable::UnknownName.to_string()),
            Some(handler) if !handler.reads(spec.version) => {
                let told = Resumable::UnknownVersion { version: spec.version };
                return refuse(ErrorKind::Invalid, told.to_string());
            }
            Some(_) => {}
        }
        // In the runner before it is in the vault: nobody else takes it in between.
        let ticket = shared.enter(SUBMIT, &spec.id, progress, Some(shared.queue_max))?;
        let prepared = shared.vault.prepare(spec);
        let queued = prepared.and_then(|()| Shared::queue(shared, &ticket, Duration::ZERO));
        if let Err(error) = queued {
            shared.end(&ticket, Err(error.clone()));
            return Err(error);
        }
        Ok(JobHandle { ticket })
    }

    /// Goes on with one operation at once, paused or not, also if it is to wait. Errors as those of
    /// [`Vault::resume`], and `Invalid` if no handler reads it. If the runner has it already, its
    /// handle.
    pub fn resume(&self, id: &str) -> Result<JobHandle> {
        const RESUME: &str = "resume operation";
        let shared = &self.handle.shared;
        shared.refuse_stopping(RESUME)?;
        if let Some(job) = self.job(id) {
            job.ticket.ask_by_id();
            if let Some(turn) = job.ticket.hurry() {
                Shared::spawn(shared, &job.ticket, turn, Duration::ZERO)
                    .inspect_err(|e| shared.end(&job.ticket, Err(e.clone())))?;
            }
            return Ok(job);
        }
        let refuse =
            |kind, told: String| Err(Error::new(kind, RESUME).with_detail(told).with_subject(id));
        match shared.vault.can_resume(id)? {
            Resumable::Ready | Resumable::BackingOff { .. } | Resumable::Held => {}
            told @ Resumable::Completed => {
                return refuse(ErrorKind::AlreadyExists, told.to_string());
            }
            told @ Resumable::OwnerAlive { .. } => {
                return refuse(ErrorKind::Locked, told.to_string());
            }
            told => return refuse(ErrorKind::Invalid, told.to_string()),
        }
        let ticket = shared.enter(RESUME, id, None, None)?;
        ticket.ask_by_id();
        Shared::queue(shared, &ticket, Duration::ZERO)
            .inspect_err(|e| shared.end(&ticket, Err(e.clone())))?;
        Ok(JobHandle { ticket })
    }

    /// An operation that the runner has: it waits, or runs.
    pub fn job(&self, id: &str) -> Option<JobHandle> {
        let ticket = self.handle.shared.jobs.lock().get(id).cloned()?;
        Some(JobHandle { ticket })
    }

    /// Goes on with everything that is not finished and can be resumed, each when its
    /// [`RetryPolicy`](crate::RetryPolicy) says; what is paused is left, with what cannot be. The
    /// queue's bound does not count here: all of it is in the vault anyway.
    pub fn resume_all(&self) -> Result<Resumed> {
        const RESUME: &str = "resume operations";
        let shared = &self.handle.shared;
        shared.refuse_stopping(RESUME)?;
        let mut report = Resumed::default();
        let mut after = None;
        loop {
            let page = shared.vault.unfinished(after.as_deref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|last| last.id.clone());
            for found in page {
                let wait = match found.resumable {
                    Resumable::Ready => Duration::ZERO,
                    Resumable::BackingOff { wait } => wait,
                    // It is the runner's own, or somebody's.
                    Resumable::OwnerAlive { .. } if self.job(&found.id).is_some() => continue,
                    _ => {
                        report.left.push(found);
                        continue;
                    }
                };
                let ticket = match shared.enter(RESUME, &found.id, None, None) {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                    entered => entered?,
                };
                match Shared::queue(shared, &ticket, wait) {
                    Ok(()) => report.resumed.push(JobHandle { ticket }),
                    Err(error) => {
                        shared.end(&ticket, Err(error));
                        report.left.push(found);
                    }
                }
            }
            if is_last {
                return Ok(report);
            }
        }
    }

    /// Asks an operation to lay itself aside: it does so at its next
    /// [check](crate::Job::check), which may come too late; or at once if it is waiting, in a commit
    /// whose errors are returned. Whoever resumes everything leaves it then. `NotFound` if the
    /// runner does not have it.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.stop("pause operation", id, Stop::Pause)
    }

    /// Asks an operation to give itself up, as [`pause`](Self::pause) asks.
    pub fn cancel(&self, id: &str) -> Result<()> {
        self.stop("cancel operation", id, Stop::Cancel)
    }

    fn stop(&self, call: &'static str, id: &str, why: Stop) -> Result<()> {
        let shared = &self.handle.shared;
        // It may have to wait for who waits for this thread's write.
        shared.vault.inner().refuse_nested_write(call)?;
        let job = self.job(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, call)
                .with_detail("the runner does not have it")
                .with_subject(id)
        })?;
        match job.ticket.stop(why, ENDING_MAX) {
            Asked::Running | Asked::Ended => Ok(()),
            Asked::Busy => Err(Error::new(ErrorKind::Locked, call)
                .with_detail("it is being ended, and that takes long")
                .with_subject(id)),
            Asked::Yours => match shared.obey(id, why) {
                Ok(state) => {
                    shared.end(&job.ticket, Ok(state));
                    Ok(())
                }
                Err(error) => {
                    Shared::put_back(shared, &job.ticket);
                    Err(error)
                }
            },
        }
    }

    /// Stops: nothing new is begun, and what runs is asked to lay itself aside, and waited for, at
    /// most so long. The next runner's [`resume_all`](Self::resume_all) goes on with all of it.
    ///
    /// `Locked` if something still runs then, with how many; it is not ended by force.
    pub fn shutdown(&self, at_most: Duration) -> Result<()> {
        let shared = &self.handle.shared;
        shared.begin_stopping();
        let mut jobs = shared.jobs.lock();
        let runs = |jobs: &mut HashMap<String, Arc<Ticket>>| !jobs.is_empty();
        shared.left.wait_while_for(&mut jobs, runs, at_most);
        if jobs.is_empty() {
            shared.let_go();
            return Ok(());
        }
        Err(Error::new(ErrorKind::Locked, "shut down runner").with_detail(format!(
            "{} operations did not stop within {:.1} s",
            jobs.len(),
            at_most.as_secs_f64()
        )))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_stopping();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Shared {
    fn refuse_stopping(&self, call: &'static str) -> Result<()> {
        if !self.stopping.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, call).with_detail("the runner was shut down"))
    }

    /// Another runner may have the vault.
    fn let_go(&self) {
        if !self.let_go.swap(true, Ordering::AcqRel) {
            self.vault.inner().has_runner.store(false, Ordering::Release);
        }
    }

    /// A ticket for an operation that the runner does not have; `Unavailable` if `queue_max` wait
    /// for a thread already.
    fn enter(
        &self,
        call: &'static str,
        id: &str,
        progress: Option<Arc<dyn Progress>>,
        queue_max: Option<usize>,
    ) -> Result<Arc<Ticket>> {
        let refuse =
            |kind, detail: String| Err(Error::new(kind, call).with_detail(detail).with_subject(id));
        let mut jobs = self.jobs.lock();
        // Asked under the lock: who shuts down goes over all tickets after it.
        self.refuse_stopping(call)?;
        if jobs.contains_key(id) {
            return refuse(ErrorKind::AlreadyExists, "the runner has it already".into());
        }
        let queued = || jobs.values().filter(|ticket| ticket.is_queued()).count();
        if let Some(most) = queue_max.filter(|&most| jobs.len() >= most && queued() >= most) {
            return refuse(ErrorKind::Unavailable, format!("{most} operations wait already"));
        }
        let ticket = Ticket::new(id.to_owned(), progress);
        jobs.insert(id.to_owned(), Arc::clone(&ticket));
        Ok(ticket)
    }

    /// Has it wait for a try.
    fn queue(shared: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) -> Result<()> {
        let turn = ticket.wait_turn(wait > Duration::ZERO);
        Self::spawn(shared, ticket, turn, wait)
    }

    fn spawn(shared: &Arc<Self>, ticket: &Arc<Ticket>, turn: u64, wait: Duration) -> Result<()> {
        let (own, job) = (Arc::clone(shared), Arc::clone(ticket));
        shared.workers.spawn(wait, move || Self::run(&own, &job, turn))
    }

    fn run(shared: &Arc<Self>, ticket: &Arc<Ticket>, turn: u64) {
        let Some(cancel) = ticket.start(turn) else { return };
        let mut guarded = Guarded { shared, ticket, settled: false };
        let outcome = if shared.stopping.load(Ordering::Acquire) {
            shared.state(&ticket.id).map(Attempted::Ended)
        } else {
            attempt(&shared.vault, ticket, cancel)
        };
        let stop = ticket.end_try();
        let next = shared.next(ticket, outcome, stop);
        guarded.settled = true;
        match next {
            Ok(Attempted::Ended(state)) => shared.end(ticket, Ok(state)),
            Err(error) => shared.end(ticket, Err(error)),
            Ok(Attempted::Again(wait)) => Self::wait_again(shared, ticket, wait),
        }
    }

    /// Queues what this thread has once more; or, if the runner was shut down meanwhile, ends it as it
    /// stands.
    fn wait_again(shared: &Arc<Self>, ticket: &Arc<Ticket>, wait: Duration) {
        if Self::queue(shared, ticket, wait).is_err() {
            shared.end_as_it_stands(ticket);
        }
    }

    /// Has what this thread could not end wait on.
    fn put_back(shared: &Arc<Self>, ticket: &Arc<Ticket>) {
        let missed = ticket.put_back();
        let lost =
            missed.is_some_and(|turn| Self::spawn(shared, ticket, turn, Duration::ZERO).is_err());
        // Who shut down meanwhile left it to this thread.
        if lost || shared.stopping.load(Ordering::Acquire) {
            shared.end_as_it_stands(ticket);
        }
    }

    /// Ends what waits, and nothing will come for.
    fn end_as_it_stands(&self, ticket: &Arc<Ticket>) {
        if let Asked::Yours = ticket.stop(Stop::Shutdown, Duration::ZERO) {
            self.end(ticket, self.state(&ticket.id));
        }
    }

    /// What follows a try that was asked to stop by `stop` before it was settled.
    fn next(
        &self,
        ticket: &Ticket,
        outcome: Result<Attempted>,
        stop: Option<Stop>,
    ) -> Result<Attempted> {
        if let Err(error) = &outcome {
            self.warn(&ticket.id, error);
        }
        // What is paused can still be given up.
        let is_over = |state: OperationState, why| {
            state.is_finished() || (state == OperationState::Paused && why != Stop::Cancel)
        };
        match (outcome, stop) {
            (Ok(Attempted::Ended(state)), None | Some(Stop::Shutdown)) => {
                Ok(Attempted::Ended(state))
            }
            // The try has heard of it, or has ended otherwise.
            (Ok(Attempted::Ended(state)), Some(why)) if is_over(state, why) => {
                Ok(Attempted::Ended(state))
            }
            (Ok(_), Some(why)) => self.obey(&ticket.id, why).map(Attempted::Ended),
            (Err(error), Some(why)) => match self.obey(&ticket.id, why) {
                Ok(state) => Ok(Attempted::Ended(state)),
                Err(_) => Err(error),
            },
            (Ok(again @ Attempted::Again(_)), None) => {
                ticket.no_trouble();
                Ok(again)
            }
            (Err(error), None) => match error.kind() {
                // It may pass, and the operation goes on from its checkpoints then.
                ErrorKind::Locked
                | ErrorKind::Unavailable
                | ErrorKind::Full
                | ErrorKind::Uncertain => {
                    Ok(Attempted::Again(RetryPolicy::DEFAULT.backoff(ticket.trouble())))
                }
                _ => Err(error),
            },
        }
    }

    /// Ends an operation that nobody runs as it was asked to; its state then.
    fn obey(&self, id: &str, why: Stop) -> Result<OperationState> {
        match why {
            Stop::Cancel => self.vault.abandon_operation(id).map(|()| OperationState::Cancelled),
            Stop::Pause => self.vault.pause_operation(id).map(|()| OperationState::Paused),
            Stop::Shutdown => self.state(id),
        }
    }

    fn state(&self, id: &str) -> Result<OperationState> {
        let status = self.vault.read()?.operation(id)?;
        status
            .map(|status| status.state)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "run operation").with_subject(id))
    }

    fn warn(&self, id: &str, error: &Error) {
        let inner = self.vault.inner();
        inner.bus.warn(|| {
            let kind = EventKind::warning(format!("the runner could not go on with it: {error}"));
            Event::new(id, None, inner.components.clock.unix_millis(), kind)
        });
    }

    /// Takes a ticket out and ends it, at once: whoever waited for it may bring the operation back,
    /// and who waited for the runner to have none finds all of them ended.
    fn end(&self, ticket: &Arc<Ticket>, outcome: Result<OperationState>) {
        let mut jobs = self.jobs.lock();
        if jobs.get(&ticket.id).is_some_and(|found| Arc::ptr_eq(found, ticket)) {
            jobs.remove(&ticket.id);
        }
        ticket.end(outcome);
        drop(jobs);
        self.left.notify_all();
    }

    fn begin_stopping(&self) {
        let tickets: Vec<Arc<Ticket>> = {
            let jobs = self.jobs.lock();
            self.stopping.store(true, Ordering::Release);
            jobs.values().cloned().collect()
        };
        self.workers.close();
        for ticket in tickets {
            // Whoever brings one in or ends it at this moment finds the pool closed.
            self.end_as_it_stands(&ticket);
        }
    }
}
