//! Runs the host's operations on background threads.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::handlers::Handlers;
use super::jobs::Jobs;
use super::ticket::{ENDING_MAX, JobHandle, StopOutcome, StopReason};
use crate::Vault;
use crate::operations::{OperationSpec, OperationsQuery, Resumable, UnfinishedOperation};
use strongroom_base::Progress;

/// Most threads of a runner.
const THREADS_MAX: usize = 256;

/// Number of unfinished operations that are read at a time.
const PAGE: usize = 256;

/// Options of a [`Runner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    threads: usize,
    queue: usize,
}

impl RunnerOptions {
    /// Creates the default options: 2 threads and a queue of 1,000.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads, 1 to 256: the most operations that run at once.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how many operations may wait for a thread, at least 1; more are refused.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { threads: 2, queue: 1_000 }
    }
}

/// Report of [`Runner::resume_all`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Resumed {
    /// Jobs of the resumed operations.
    pub resumed: Vec<JobHandle>,
    /// Operations not resumed, each with the reason. Jobs that the runner already had are not
    /// listed.
    pub left: Vec<UnfinishedOperation>,
}

/// Runs operations in the background.
///
/// Each operation is run by the [`Handler`](crate::runner::Handler) for its name that was passed
/// when the vault was opened. Cheap to clone. When the last clone is dropped, the runner stops as
/// by [`shutdown`](Self::shutdown), but does not wait. It keeps the vault open.
///
/// ```
/// use std::time::Duration;
/// use strongroom::operations::{Checkpoint, CheckpointPolicy, OperationSpec, OperationState};
/// use strongroom::runner::{Handler, Handlers, Runner, RunnerOptions};
/// use strongroom::Vault;
/// # use strongroom::SecretPassword;
///
/// # fn main() -> strongroom::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let path = folder.path().join("vault");
/// let squares = Handler::new(|job| {
///     let lane = job.lane("main")?;
///     let (first, total) = (lane.status()?.decode::<u64>()?.unwrap_or(0), 1_000);
///     let mut writer = job.auto_checkpoint(&lane, CheckpointPolicy::DEFAULT, first)?.total(total);
///     for item in first..total {
///         writer.insert("squares", item.to_be_bytes(), (item * item).to_be_bytes());
///         writer.step(|| Checkpoint::encode(&(item + 1)))?;
///     }
///     writer.finish(Checkpoint::encode(&total)?)
/// });
/// # let key = SecretPassword::new("correct horse battery staple");
/// let handlers = Handlers::new().with("squares", squares.checkpoints::<u64>());
/// let vault = Vault::options(key).handlers(handlers).create(&path)?;
/// let runner = Runner::start(&vault, RunnerOptions::new())?;
/// runner.resume_all()?; // operations that the last process left
/// let job = runner.submit(OperationSpec::new("squares-1").name("squares"))?;
/// assert_eq!(job.wait(Duration::from_secs(60))?, Some(OperationState::Completed));
/// runner.shutdown(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runner {
    handle: Arc<ShutdownOnDrop>,
}

/// Stops the runner when its last clone is dropped; tasks may hold the jobs for longer.
struct ShutdownOnDrop {
    jobs: Arc<Jobs>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.handle.jobs.len();
        f.debug_struct("Runner").field("jobs", &jobs).finish_non_exhaustive()
    }
}

impl Runner {
    /// Starts a runner over `vault`.
    ///
    /// `Invalid` for options beyond their limits, or if the vault was opened without
    /// [handlers](crate::VaultOptions::handlers). `Locked` while another runner of this vault
    /// lives, which ends with its shutdown or with its last job.
    pub fn start(vault: &Vault, options: RunnerOptions) -> Result<Self> {
        const START: &str = "start runner";
        let RunnerOptions { threads, queue } = options;
        let invalid =
            |detail: String| Err(Error::new(ErrorKind::Invalid, START).with_detail(detail));
        if !(1..=THREADS_MAX).contains(&threads) || queue == 0 {
            return invalid(format!(
                "{threads} threads, queue {queue}: threads must be 1 to {THREADS_MAX}, the queue at least 1"
            ));
        }
        let operations = vault.operations();
        let known: &dyn Any = &**operations.known_work();
        let handlers = known.downcast_ref::<Handlers>().cloned().unwrap_or_default();
        if handlers.is_empty() {
            return invalid("the vault was opened without handlers".into());
        }
        if operations.runner().swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorKind::Locked, START)
                .with_detail("another runner of this vault lives in this process"));
        }
        let jobs = Arc::new(Jobs::new(vault.clone(), handlers, threads, queue));
        Ok(Self { handle: Arc::new(ShutdownOnDrop { jobs }) })
    }

    /// Registers an operation in the vault, and queues it.
    ///
    /// Durable on return: after a crash, the next runner's [`resume_all`](Self::resume_all) begins
    /// it.
    ///
    /// `Invalid` for a name without a handler, or a version that its handler does not read.
    /// `Unavailable` if the queue is full. `AlreadyExists` if the runner has the operation.
    /// `Closed` after a shutdown. Other errors are those of
    /// [`Operations::prepare`](crate::operations::Operations::prepare).
    ///
    /// After an error the operation is not queued. After an `Uncertain` error, or a failure to
    /// queue, it may be registered; then [`resume_all`](Self::resume_all) begins it.
    pub fn submit(&self, spec: OperationSpec) -> Result<JobHandle> {
        self.submit_any(spec, None)
    }

    /// Submits an operation as [`submit`](Self::submit) does, and reports its progress to
    /// `progress`.
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
        let jobs = &self.handle.jobs;
        jobs.refuse_stopping(SUBMIT)?;
        let refuse = |kind, detail: String| {
            Err(Error::new(kind, SUBMIT)
                .with_reason(Reason::HandlerMissing)
                .with_detail(detail)
                .with_subject(&spec.id))
        };
        let name = spec.name.as_deref().unwrap_or(&spec.id);
        match jobs.handlers.find(name) {
            None => return refuse(ErrorKind::Invalid, Resumable::UnknownName.to_string()),
            Some(handler) if !handler.reads(spec.version) => {
                let answer = Resumable::UnknownVersion { version: spec.version };
                return refuse(ErrorKind::Invalid, answer.to_string());
            }
            Some(_) => {}
        }
        // Added to the runner before the vault, so that no other call takes the operation in
        // between.
        let ticket = jobs.enter(SUBMIT, &spec.id, progress, true)?;
        let prepared = jobs.operations.prepare(spec);
        let queued = prepared.and_then(|()| Jobs::queue(jobs, &ticket, Duration::ZERO));
        if let Err(error) = queued {
            jobs.end(&ticket, Err(error.clone()));
            return Err(error);
        }
        Ok(JobHandle { ticket })
    }

    /// Resumes one operation at once, even a paused or waiting one.
    ///
    /// If the runner already has the operation, its wait is skipped and its handle returned.
    ///
    /// Fails as [`Operations::resume`](crate::operations::Operations::resume) does. `Invalid` if no
    /// handler reads it, `Closed` after a shutdown.
    pub fn resume(&self, id: &str) -> Result<JobHandle> {
        const RESUME: &str = "resume operation";
        let jobs = &self.handle.jobs;
        jobs.refuse_stopping(RESUME)?;
        if let Some(job) = self.job(id) {
            job.ticket.set_by_id();
            if let Some(wait_id) = job.ticket.skip_wait() {
                Jobs::spawn(jobs, &job.ticket, wait_id, Duration::ZERO)
                    .inspect_err(|e| jobs.end(&job.ticket, Err(e.clone())))?;
            }
            return Ok(job);
        }
        let refuse = |kind, answer: Resumable| Err(answer.refusal(kind, RESUME, id));
        match jobs.operations.can_resume(id)? {
            Resumable::Ready | Resumable::BackingOff { .. } | Resumable::Held => {}
            answer @ Resumable::Completed => {
                return refuse(ErrorKind::AlreadyExists, answer);
            }
            answer @ Resumable::OwnerAlive { .. } => {
                return refuse(ErrorKind::Locked, answer);
            }
            answer => return refuse(ErrorKind::Invalid, answer),
        }
        let ticket = jobs.enter(RESUME, id, None, false)?;
        ticket.set_by_id();
        Jobs::queue(jobs, &ticket, Duration::ZERO)
            .inspect_err(|e| jobs.end(&ticket, Err(e.clone())))?;
        Ok(JobHandle { ticket })
    }

    /// Returns the job of operation `id`, if the runner has it.
    pub fn job(&self, id: &str) -> Option<JobHandle> {
        self.handle.jobs.find(id).map(|ticket| JobHandle { ticket })
    }

    /// Resumes every unfinished operation that can be resumed.
    ///
    /// Each is tried when its [`RetryPolicy`](crate::operations::RetryPolicy) allows. Paused
    /// operations, and those that cannot be resumed, are reported as left. The queue's limit does
    /// not apply: the operations are in the vault anyway. `Closed` after a shutdown.
    pub fn resume_all(&self) -> Result<Resumed> {
        const RESUME: &str = "resume operations";
        let jobs = &self.handle.jobs;
        jobs.refuse_stopping(RESUME)?;
        let mut report = Resumed::default();
        let mut query = OperationsQuery::new().limit(PAGE);
        loop {
            let page = jobs.operations.unfinished(&query)?;
            let is_last = page.len() < PAGE;
            if let Some(last) = page.last() {
                query = query.after(last.id.as_str());
            }
            for found in page {
                let wait = match found.resumable {
                    Resumable::Ready => Duration::ZERO,
                    Resumable::BackingOff { wait } => wait,
                    // The live handle belongs to a job of this runner.
                    Resumable::OwnerAlive { .. } if self.job(&found.id).is_some() => continue,
                    _ => {
                        report.left.push(found);
                        continue;
                    }
                };
                let ticket = match jobs.enter(RESUME, &found.id, None, false) {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                    entered => entered?,
                };
                match Jobs::queue(jobs, &ticket, wait) {
                    Ok(()) => report.resumed.push(JobHandle { ticket }),
                    Err(error) => {
                        jobs.end(&ticket, Err(error));
                        report.left.push(found);
                    }
                }
            }
            if is_last {
                return Ok(report);
            }
        }
    }

    /// Asks an operation to pause. A runner that resumes all operations then skips it.
    ///
    /// A running operation pauses at its next [check](crate::runner::Job::check), unless it ends
    /// before. A waiting one is paused at once, in a commit whose errors are returned.
    ///
    /// `NotFound` if the runner does not have the operation. `Locked` if it is ending at this
    /// moment, and that takes over a minute. `Invalid` inside a write to the vault.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.stop("pause operation", id, StopReason::Pause)
    }

    /// Asks an operation to cancel itself, in the way of [`pause`](Self::pause).
    pub fn cancel(&self, id: &str) -> Result<()> {
        self.stop("cancel operation", id, StopReason::Cancel)
    }

    fn stop(&self, call: &'static str, id: &str, reason: StopReason) -> Result<()> {
        let jobs = &self.handle.jobs;
        // This call may wait for a thread that itself waits for this thread's write.
        jobs.operations.core().refuse_nested_write(call)?;
        let job = self.job(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, call)
                .with_detail("the runner does not have the operation")
                .with_subject(id)
        })?;
        match job.ticket.stop(reason, ENDING_MAX) {
            StopOutcome::Running | StopOutcome::Ended => Ok(()),
            StopOutcome::Busy => Err(Error::new(ErrorKind::Locked, call)
                .with_detail("the operation is still ending; retry later")
                .with_subject(id)),
            StopOutcome::Taken => match jobs.apply_stop(id, reason) {
                Ok(state) => {
                    jobs.end(&job.ticket, Ok(state));
                    Ok(())
                }
                Err(error) => {
                    Jobs::put_back(jobs, &job.ticket);
                    Err(error)
                }
            },
        }
    }

    /// Stops the runner: begins nothing new, and asks running operations to pause.
    ///
    /// Waits for them at most `at_most`. The next runner's [`resume_all`](Self::resume_all) resumes
    /// all of them.
    ///
    /// `Locked` if operations still run after that time; the error has their number. They are not
    /// ended by force.
    pub fn shutdown(&self, at_most: Duration) -> Result<()> {
        let jobs = &self.handle.jobs;
        jobs.begin_stopping();
        let left = jobs.wait_for_none(at_most);
        if left == 0 {
            jobs.release();
            return Ok(());
        }
        Err(Error::new(ErrorKind::Locked, "shut down runner").with_detail(format!(
            "{left} operations did not stop within {:.1} s",
            at_most.as_secs_f64()
        )))
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.jobs.begin_stopping();
    }
}
