//! `ops list` and `ops show`: operations, their lanes and checkpoints.
//!
//! A checkpoint's data is the host's own and is printed only on demand.

use serde_json::{Value as Json, json};
use strongroom::{Error, ErrorKind, LaneStatus, OperationStatus};

use crate::args::Ops;
use crate::exit::{Failure, Outcome};
use crate::output::{Output, add_bytes, hex, print_json, text, time};
use crate::session::Session;

/// How many operations are read at a time.
const OPERATIONS_PER_PAGE: usize = 100;

pub(crate) fn run(session: &Session<'_>, command: &Ops) -> Result<Outcome, Failure> {
    match command {
        Ops::List { .. } => list(session)?,
        Ops::Show { id, data, .. } => show(session, id, *data)?,
    }
    Ok(Outcome::Done)
}

fn list(session: &Session<'_>) -> Result<(), Failure> {
    let vault = session.open("ops list")?;
    let snapshot = vault.read()?;
    let mut output = Output::new();
    if session.json() {
        output.piece("{\"operations\":[")?;
    }
    let mut comma = "";
    let mut after: Option<String> = None;
    loop {
        let page = snapshot.operations(after.as_deref(), OPERATIONS_PER_PAGE)?;
        for operation in &page {
            if session.json() {
                output.piece(format_args!("{comma}{}", operation_json(operation)))?;
                comma = ",";
            } else {
                output.line(format_args!(
                    "{}\t{}\t{}\t{}/{} lanes\t{}",
                    operation.id,
                    operation.state,
                    percent(operation.progress()),
                    operation.lanes_complete(),
                    operation.lanes.len(),
                    time(operation.updated_unix_millis)
                ))?;
            }
        }
        let is_last = page.len() < OPERATIONS_PER_PAGE;
        after = page.into_iter().next_back().map(|operation| operation.id);
        if is_last {
            break;
        }
    }
    if session.json() {
        output.line("]}")?;
    }
    output.finish()?;
    drop(snapshot);
    Ok(vault.close()?)
}

fn show(session: &Session<'_>, id: &str, with_data: bool) -> Result<(), Failure> {
    let vault = session.open("ops show")?;
    let operation = vault.read()?.operation(id)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "show operation")
            .with_detail("there is no such operation")
            .with_subject(id)
    })?;
    vault.close()?;
    let latest = operation.latest().map(|lane| lane.name.as_str());
    if session.json() {
        let mut document = operation_json(&operation);
        let lanes = operation.lanes.iter().map(|lane| lane_json(lane, with_data));
        document["lanes"] = lanes.collect();
        document["latest_lane"] = json!(latest);
        return print_json(&document);
    }
    let mut output = Output::new();
    output.line(format_args!("operation   {}", operation.id))?;
    output.line(format_args!("state       {}", operation.state))?;
    output.line(format_args!("progress    {}", percent(operation.progress())))?;
    output.line(format_args!("generation  {}", operation.generation))?;
    output.line(format_args!("begun       {}", time(operation.created_unix_millis)))?;
    output.line(format_args!("changed     {}", time(operation.updated_unix_millis)))?;
    output.line(format_args!("latest lane {}", latest.unwrap_or("-")))?;
    output.line(format_args!(
        "lanes       {}, {} complete",
        operation.lanes.len(),
        operation.lanes_complete()
    ))?;
    for lane in &operation.lanes {
        print_lane(&mut output, lane, with_data)?;
    }
    output.finish()
}

fn print_lane(output: &mut Output, lane: &LaneStatus, with_data: bool) -> Result<(), Failure> {
    output.line(format_args!(
        "  {}\t{}{}\t{} checkpoints\t{} bytes of data\t{}",
        lane.name,
        percent(lane.progress),
        if lane.complete { ", complete" } else { "" },
        lane.checkpoints,
        lane.data.len(),
        time(lane.updated_unix_millis)
    ))?;
    if with_data && lane.checkpoints > 0 {
        let data = match std::str::from_utf8(&lane.data) {
            Ok(_) => text(&lane.data),
            Err(_) => format!("hex {}", hex(&lane.data)),
        };
        output.line(format_args!("    {data}"))?;
    }
    Ok(())
}

fn operation_json(operation: &OperationStatus) -> Json {
    json!({
        "id": operation.id,
        "state": operation.state.to_string(),
        "progress": operation.progress(),
        "generation": operation.generation,
        "created_unix_millis": operation.created_unix_millis,
        "updated_unix_millis": operation.updated_unix_millis,
        "lanes_total": operation.lanes.len(),
        "lanes_complete": operation.lanes_complete(),
    })
}

fn lane_json(lane: &LaneStatus, with_data: bool) -> Json {
    let mut document = json!({
        "name": lane.name,
        "checkpoints": lane.checkpoints,
        "progress": lane.progress,
        "complete": lane.complete,
        "updated_unix_millis": lane.updated_unix_millis,
        "data_len": lane.data.len(),
    });
    if with_data {
        let object = document.as_object_mut().expect("made as an object");
        add_bytes(object, "data", &lane.data);
    }
    document
}

fn percent(progress: f64) -> String {
    format!("{:.1} %", progress * 100.0)
}
