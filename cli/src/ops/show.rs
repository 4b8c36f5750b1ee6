//! `ops show`: everything that a vault records about one operation.

use serde_json::{Map, Value as Json, json};
use strongroom::operations::{LaneStatus, OperationStatus, Resumable, RetryPolicy};
use strongroom::{Error, ErrorKind, Reason, Snapshot, Vault};

use super::{can_resume, operation_json, percent, resumable_json};
use crate::exit::Failure;
use crate::output::{Output, add_bytes, failure_json, hex, text, time};
use crate::session::Session;

/// Level of detail of the lanes.
#[derive(Clone, Copy)]
struct LaneDetail {
    data: bool,
    history: bool,
}

pub(super) fn run(
    session: &Session<'_>,
    id: &str,
    data: bool,
    history: bool,
) -> Result<(), Failure> {
    let vault = session.open("ops show")?;
    let snapshot = vault.read()?;
    let operation = snapshot.operation(id)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "show operation")
            .with_reason(Reason::OperationMissing)
            .with_detail("there is no such operation")
            .with_subject(id)
    })?;
    let resumable = resumable(&vault, id)?;
    let depth = LaneDetail { data, history };
    if session.json() {
        print_json(&snapshot, &operation, resumable.as_ref(), depth)?;
    } else {
        print_text(&snapshot, &operation, resumable.as_ref(), depth)?;
    }
    drop(snapshot);
    session.close(vault)
}

/// Returns whether the operation can be resumed; `None` for one of the engine's own.
fn resumable(vault: &Vault, id: &str) -> Result<Option<Resumable>, Failure> {
    match vault.operations().can_resume(id) {
        Ok(resumable) => Ok(Some(resumable)),
        Err(e) if e.kind() == ErrorKind::Invalid => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn print_text(
    snapshot: &Snapshot,
    operation: &OperationStatus,
    resumable: Option<&Resumable>,
    depth: LaneDetail,
) -> Result<(), Failure> {
    let mut output = Output::new();
    let held = if operation.held { ", held" } else { "" };
    let latest = operation.latest().map_or("-", |lane| lane.name.as_str());
    output.line(format_args!("operation   {}", operation.id))?;
    output.line(format_args!("name        {}", operation.name))?;
    output.line(format_args!("version     {}", operation.version))?;
    output.line(format_args!("state       {}{held}", operation.state))?;
    match resumable {
        Some(resumable) => {
            output.line(format_args!("resumable   {}: {resumable}", can_resume(resumable)))?;
        }
        None => output.line("resumable   no: the engine owns this operation")?,
    }
    output.line(format_args!("progress    {}", percent(operation.progress())))?;
    output.line(format_args!("attempts    {}", attempts(operation)))?;
    output.line(format_args!("generation  {}", operation.generation))?;
    output.line(format_args!("begun       {}", time(operation.created_unix_millis)))?;
    output.line(format_args!("changed     {}", time(operation.updated_unix_millis)))?;
    for (key, value) in &operation.metadata {
        let (key, value) = (text(key.as_bytes()), text(value.as_bytes()));
        output.line(format_args!("metadata    {key}: {value}"))?;
    }
    if let Some(failure) = &operation.failure {
        let (when, error) = (time(failure.unix_millis), text(failure.error.as_bytes()));
        output.line(format_args!("failed      {when}: {error}"))?;
    }
    output.line(format_args!(
        "retains     {} checkpoints of each lane",
        operation.checkpoints_kept
    ))?;
    output.line(format_args!("latest lane {latest}"))?;
    output.line(format_args!(
        "lanes       {}, {} complete",
        operation.lanes.len(),
        operation.lanes_complete()
    ))?;
    for lane in &operation.lanes {
        print_lane(&mut output, snapshot, &operation.id, lane, depth)?;
    }
    output.finish()
}

/// Formats the attempts since the last checkpoint and their limit.
fn attempts(operation: &OperationStatus) -> String {
    let RetryPolicy { attempts_max, backoff_first, backoff_max } = operation.retry;
    let made = operation.attempts;
    let most = match attempts_max {
        0 => "no limit".to_owned(),
        most => format!("at most {most}"),
    };
    format!("{made} since the last checkpoint, {most}; waits {backoff_first:?} to {backoff_max:?}")
}

fn print_lane(
    output: &mut Output,
    snapshot: &Snapshot,
    operation: &str,
    lane: &LaneStatus,
    depth: LaneDetail,
) -> Result<(), Failure> {
    output.line(format_args!(
        "  {}\t{}\t{} checkpoints\t{} bytes of data\t{}",
        lane.name,
        done(lane),
        lane.checkpoints,
        lane.data.len(),
        time(lane.updated_unix_millis)
    ))?;
    if !depth.history {
        return print_data(output, lane, depth);
    }
    for kept in snapshot.checkpoints(operation, &lane.name)? {
        output.line(format_args!(
            "    checkpoint {}\t{}\t{} bytes of data\t{}",
            kept.checkpoints,
            done(&kept),
            kept.data.len(),
            time(kept.updated_unix_millis)
        ))?;
        print_data(output, &kept, depth)?;
    }
    Ok(())
}

fn done(lane: &LaneStatus) -> String {
    let complete = if lane.complete { ", complete" } else { "" };
    format!("{}{complete}", percent(lane.progress))
}

fn print_data(output: &mut Output, lane: &LaneStatus, depth: LaneDetail) -> Result<(), Failure> {
    if !depth.data || lane.checkpoints == 0 {
        return Ok(());
    }
    let data = match std::str::from_utf8(&lane.data) {
        Ok(_) => text(&lane.data),
        Err(_) => format!("hex {}", hex(&lane.data)),
    };
    output.line(format_args!("    {data}"))
}

/// Prints lane by lane.
///
/// Their history may be much longer than the rest.
fn print_json(
    snapshot: &Snapshot,
    operation: &OperationStatus,
    resumable: Option<&Resumable>,
    depth: LaneDetail,
) -> Result<(), Failure> {
    let mut output = Output::new();
    let head = head_json(operation, resumable).to_string();
    let open = head.strip_suffix('}').expect("made as an object");
    output.piece(format_args!("{open},\"lanes\":["))?;
    for (at, lane) in operation.lanes.iter().enumerate() {
        let mut document = checkpoint_json(lane, depth);
        document["name"] = json!(lane.name);
        if depth.history {
            let kept = snapshot.checkpoints(&operation.id, &lane.name)?;
            document["history"] = kept.iter().map(|kept| checkpoint_json(kept, depth)).collect();
        }
        let comma = if at == 0 { "" } else { "," };
        output.piece(format_args!("{comma}{document}"))?;
    }
    output.line("]}")?;
    output.finish()
}

/// Returns all fields except the lanes.
fn head_json(operation: &OperationStatus, resumable: Option<&Resumable>) -> Json {
    let mut document = operation_json(operation);
    let RetryPolicy { attempts_max, backoff_first, backoff_max } = operation.retry;
    let millis = |wait: std::time::Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let metadata = operation.metadata.iter();
    let metadata: Map<_, _> = metadata.map(|(key, value)| (key.clone(), json!(value))).collect();
    let failure = operation.failure.as_ref();
    document["version"] = json!(operation.version);
    document["attempts"] = json!(operation.attempts);
    document["retry"] = json!({
        "attempts_max": attempts_max,
        "backoff_first_millis": millis(backoff_first),
        "backoff_max_millis": millis(backoff_max),
    });
    document["metadata"] = Json::Object(metadata);
    document["failure"] = json!(failure.map(failure_json));
    document["resumable"] = json!(resumable.map(resumable_json));
    document["checkpoints_kept"] = json!(operation.checkpoints_kept);
    document["latest_lane"] = json!(operation.latest().map(|lane| lane.name.as_str()));
    document
}

/// Returns one checkpoint of a lane.
fn checkpoint_json(lane: &LaneStatus, depth: LaneDetail) -> Json {
    let mut document = json!({
        "checkpoints": lane.checkpoints,
        "progress": lane.progress,
        "complete": lane.complete,
        "updated_unix_millis": lane.updated_unix_millis,
        "data_len": lane.data.len(),
    });
    if depth.data {
        let object = document.as_object_mut().expect("made as an object");
        add_bytes(object, "data", &lane.data);
    }
    document
}
