//! Runs the host's operations on threads of its own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::handlers::Handlers;
use super::jobs::Jobs;
use super::ticket::{Asked, ENDING_MAX, JobHandle, Stop};
use crate::Vault;
use crate::operations::{OperationSpec, OperationsQuery, Resumable, UnfinishedOperation};
use strongroom_base::Progress;

/// Most threads of a runner.
const THREADS_MAX: usize = 256;

/// How many unfinished operations are read at a time.
const PAGE: usize = 256;

/// Options of a [`Runner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    threads: usize,
    queue: usize,
}

impl RunnerOptions {
    /// The default options: 2 threads and a queue of 1,000.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations run at once, 1 to 256.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// How many may wait for a thread before more are refused, at least 1.
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

/// What [`Runner::resume_all`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Resumed {
    /// What goes on.
    pub resumed: Vec<JobHandle>,
    /// What was left, each with the reason; not what the runner had already.
    pub left: Vec<UnfinishedOperation>,
}

/// Runs operations in the background, each by the [`Handler`](crate::runner::Handler) of its name that the
/// vault was opened with. Cheap to clone; dropped with its last clone, it stops as by
/// [`shutdown`](Self::shutdown), without waiting. It keeps the vault open.
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
    jobs: Arc<Jobs>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.handle.jobs.len();
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
        Ok(Self { handle: Arc::new(Handle { jobs }) })
    }

    /// Makes an operation known and queues it. On return it survives a crash: the next runner's
    /// [`resume_all`](Self::resume_all) begins it.
    ///
    /// `Invalid` for a name without a handler, or a version that it does not read; `Unavailable` if
    /// the queue is full; `AlreadyExists` if the runner has it; `Closed` after a shutdown; and as
    /// [`Operations::prepare`](crate::operations::Operations::prepare). After an error nothing is queued;
    /// after one that came in between, or is `Uncertain`, it may be known, for
    /// [`resume_all`](Self::resume_all).
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
                let told = Resumable::UnknownVersion { version: spec.version };
                return refuse(ErrorKind::Invalid, told.to_string());
            }
            Some(_) => {}
        }
        // In the runner before it is in the vault: nobody else takes it in between.
        let ticket = jobs.enter(SUBMIT, &spec.id, progress, true)?;
        let prepared = jobs.operations.prepare(spec);
        let queued = prepared.and_then(|()| Jobs::queue(jobs, &ticket, Duration::ZERO));
        if let Err(error) = queued {
            jobs.end(&ticket, Err(error.clone()));
            return Err(error);
        }
        Ok(JobHandle { ticket })
    }

    /// Goes on with one operation at once, paused or not, also if it is to wait. Errors as those of
    /// [`Operations::resume`](crate::operations::Operations::resume), and `Invalid` if no handler reads
    /// it. If the runner has it already, its handle.
    pub fn resume(&self, id: &str) -> Result<JobHandle> {
        const RESUME: &str = "resume operation";
        let jobs = &self.handle.jobs;
        jobs.refuse_stopping(RESUME)?;
        if let Some(job) = self.job(id) {
            job.ticket.ask_by_id();
            if let Some(turn) = job.ticket.hurry() {
                Jobs::spawn(jobs, &job.ticket, turn, Duration::ZERO)
                    .inspect_err(|e| jobs.end(&job.ticket, Err(e.clone())))?;
            }
            return Ok(job);
        }
        let refuse = |kind, told: Resumable| Err(told.refusal(kind, RESUME, id));
        match jobs.operations.can_resume(id)? {
            Resumable::Ready | Resumable::BackingOff { .. } | Resumable::Held => {}
            told @ Resumable::Completed => {
                return refuse(ErrorKind::AlreadyExists, told);
            }
            told @ Resumable::OwnerAlive { .. } => {
                return refuse(ErrorKind::Locked, told);
            }
            told => return refuse(ErrorKind::Invalid, told),
        }
        let ticket = jobs.enter(RESUME, id, None, false)?;
        ticket.ask_by_id();
        Jobs::queue(jobs, &ticket, Duration::ZERO)
            .inspect_err(|e| jobs.end(&ticket, Err(e.clone())))?;
        Ok(JobHandle { ticket })
    }

    /// An operation that the runner has: it waits, or runs.
    pub fn job(&self, id: &str) -> Option<JobHandle> {
        self.handle.jobs.find(id).map(|ticket| JobHandle { ticket })
    }

    /// Goes on with everything that is not finished and can be resumed, each when its
    /// [`RetryPolicy`](crate::operations::RetryPolicy) says; what is paused is left, with what cannot be. The
    /// queue's bound does not count here: all of it is in the vault anyway.
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
                    // It is the runner's own, or somebody's.
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

    /// Asks an operation to lay itself aside: it does so at its next
    /// [check](crate::runner::Job::check), which may come too late; or at once if it is waiting, in a commit
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
        let jobs = &self.handle.jobs;
        // It may have to wait for who waits for this thread's write.
        jobs.operations.core().refuse_nested_write(call)?;
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
            Asked::Yours => match jobs.obey(id, why) {
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

    /// Stops: nothing new is begun, and what runs is asked to lay itself aside, and waited for, at
    /// most so long. The next runner's [`resume_all`](Self::resume_all) goes on with all of it.
    ///
    /// `Locked` if something still runs then, with how many; it is not ended by force.
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

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs.begin_stopping();
    }
}
