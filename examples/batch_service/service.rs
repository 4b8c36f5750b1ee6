//! The service, as a host would write it.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom::ErrorKind;
use strongroom::operations::{
    Checkpoint, CheckpointPolicy, Event, EventKind, ONLY_LANE, OperationSpec, OperationState,
    RetryPolicy,
};
use strongroom::runner::{Handler, Handlers, Job, Runner, RunnerOptions};

use super::{Outcome, Parts, options, parts_of};

const DIGEST: &str = "digest";
/// Namespace of the results: one row for each file and batch.
pub(super) const DIGESTS: &str = "digests";
/// Namespace of the journal: one row for each committed result of work on a file.
pub(super) const JOURNAL: &str = "journal";

/// Bytes of a file that are hashed, counted from its start.
const HASHED_BYTES: usize = 2 << 20;
/// Rare enough that commits are a small part of the work.
///
/// Frequent enough that a process which lives a tenth of a second progresses.
const POLICY: CheckpointPolicy =
    CheckpointPolicy { items: 16, cost: 0.1, ..CheckpointPolicy::DEFAULT };
/// A try that is killed before its first checkpoint counts.
///
/// The number of kills shows nothing about the work. So there is no limit, and hardly a pause. A
/// host whose own work may kill the process sets a limit above the kills that it expects.
const RETRY: RetryPolicy = RetryPolicy {
    attempts_max: 0,
    backoff_first: Duration::from_millis(1),
    backoff_max: Duration::from_millis(20),
};

/// Interval between checks of the jobs while waiting for an event.
const TICK: Duration = Duration::from_millis(10);

// The service's reports, in addition to its events.
pub(super) const OPENED: &str = "opened";
pub(super) const PROGRESS: &str = "progress";
pub(super) const FINISHED: &str = "finished";

/// Works through a batch and all earlier work.
///
/// It ends when everything is done or its input ends.
pub(super) fn serve(site: &Path, folder: &Path, batch: u64) -> Outcome {
    let stop = stop_at_end_of_input();
    let parts = Arc::new(parts_of(folder)?);
    let (own_folder, own_parts) = (folder.to_owned(), Arc::clone(&parts));
    let handler = Handler::new(move |job| digest_part(job, &own_folder, &own_parts));
    let handlers = Handlers::new().with(DIGEST, handler.checkpoints::<Done>());
    let vault = options(site).handlers(handlers).open(site.join("vault"))?;
    println!("{OPENED}");
    let events = vault.operations().subscribe(1_024);
    let runner = Runner::start(&vault, RunnerOptions::new().threads(4))?;
    let resumed = runner.resume_all()?;
    if let Some(left) = resumed.left.first() {
        return Err(format!("{} cannot be resumed: {}", left.id, left.resumable).into());
    }
    let mut jobs = resumed.resumed;
    println!("resumed {} operations", jobs.len());
    for part in parts.keys() {
        match runner.submit(spec(batch, part)) {
            Ok(job) => jobs.push(job),
            // An earlier process has submitted it.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
    }
    while !jobs.is_empty() && !stop.load(Ordering::Acquire) {
        events.next_within(TICK).iter().for_each(print_event);
        let mut open = Vec::new();
        for job in jobs {
            match job.wait(Duration::ZERO)? {
                None => open.push(job),
                Some(OperationState::Completed) => {}
                Some(state) => return Err(format!("{} is {state}", job.id()).into()),
            }
        }
        jobs = open;
    }
    std::iter::from_fn(|| events.next_now()).for_each(|event| print_event(&event));
    println!("{}", if jobs.is_empty() { FINISHED } else { "stopping" });
    runner.shutdown(Duration::from_secs(10))?;
    Ok(vault.close()?)
}

fn print_event(event: &Event) {
    match &event.kind {
        EventKind::Progress { progress, .. } => {
            println!("{PROGRESS} {} {:.0} %", event.id, 100.0 * progress);
        }
        EventKind::Failed { error } => eprintln!("failed {}: {error}", event.id),
        other => println!("{other:?} {}", event.id),
    }
}

/// Sets the flag when the parent process closes its input, or dies.
fn stop_at_end_of_input() -> Arc<AtomicBool> {
    let stop = Arc::<AtomicBool>::default();
    let own = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        own.store(true, Ordering::Release);
    });
    stop
}

fn spec(batch: u64, part: &str) -> OperationSpec {
    OperationSpec::new(id(batch, part))
        .name(DIGEST)
        .metadata("batch", batch.to_string())
        .metadata("part", part)
        .retry(RETRY)
}

/// The same in every process.
///
/// So a batch is never submitted twice.
pub(super) fn id(batch: u64, part: &str) -> String {
    format!("{DIGEST}-{batch}-{part}")
}

/// The checkpoint: the number of completed files of the part, and the last one.
#[derive(Serialize, Deserialize)]
struct Done {
    files: usize,
    last: String,
}

/// Does the work of one operation, new or resumed.
fn digest_part(job: &Job, folder: &Path, parts: &Parts) -> Outcome {
    let value_of = |key| {
        let mut pairs = job.status().metadata.iter();
        pairs.find(|(k, _)| k == key).map(|(_, value)| value.as_str()).ok_or("no metadata")
    };
    let batch: u64 = value_of("batch")?.parse()?;
    let files = parts.get(value_of("part")?).ok_or("the part is gone")?;
    let lane = job.lane(ONLY_LANE)?;
    let done = lane.status()?.decode::<Done>()?;
    let first = done.as_ref().map_or(0, |done| done.files);
    if done.is_some_and(|done| files.get(first - 1) != Some(&done.last)) {
        return Err("the folder has changed".into());
    }
    let generation = job.operation().generation();
    let mut writer = job.auto_checkpoint(&lane, POLICY, first as u64)?.total(files.len() as u64);
    for (place, path) in files.iter().enumerate().skip(first) {
        let key = key(batch, path);
        writer.insert(DIGESTS, key.clone(), digest(&folder.join(path), batch)?);
        writer.insert(JOURNAL, format!("{key}\0{generation}\0{}", place - first), "");
        writer.step(|| Checkpoint::encode(&Done { files: place + 1, last: path.clone() }))?;
    }
    let last = files.last().ok_or("a part has files")?.clone();
    Ok(writer.finish(Checkpoint::encode(&Done { files: files.len(), last })?)?)
}

/// Returns a file's result key, which also begins its journal rows.
pub(super) fn key(batch: u64, path: &str) -> String {
    format!("{batch}\0{path}")
}

/// Computes lines, words, and a hash keyed by the batch's number; about a millisecond for most
/// files.
pub(super) fn digest(path: &Path, batch: u64) -> Outcome<String> {
    let bytes = fs::read(path)?;
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').count();
    let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(batch);
    for _ in 0..(HASHED_BYTES / bytes.len().max(1)).clamp(1, HASHED_BYTES / 64) {
        hasher.write(&bytes);
    }
    Ok(format!("{lines} lines, {words} words, {:016x}", hasher.finish()))
}
