//! `stats`: numbers about a vault's operations.
//!
//! Only the process that commits knows the duration of its commits, so this command does not print
//! it.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::operations::Statistics;

use crate::exit::{Failure, Outcome};
use crate::output::{Output, age, failure_json, print_json, text, time};
use crate::session::Session;

pub(crate) fn run(session: &Session<'_>) -> Result<Outcome, Failure> {
    let vault = session.open("stats")?;
    let bar = session.spinner("{spinner} counting operations");
    let statistics = vault.operations().statistics();
    bar.finish_and_clear();
    let statistics = statistics?;
    session.close(vault)?;
    let now_unix_millis = SystemClock::new().unix_millis();
    if session.json() {
        print_json(&statistics_json(&statistics, now_unix_millis))?;
    } else {
        print_text(&statistics, now_unix_millis)?;
    }
    Ok(Outcome::Done)
}

fn print_text(statistics: &Statistics, now_unix_millis: u64) -> Result<(), Failure> {
    let mut output = Output::new();
    for (state, operations) in &statistics.operations {
        output.line(format_args!("{state:<13} {operations}"))?;
    }
    output.line(format_args!(
        "unreadable    {} operations, {} checkpoints",
        statistics.unreadable_operations, statistics.unreadable_checkpoints
    ))?;
    output.line(format_args!("lanes         {}", statistics.lanes))?;
    output.line(format_args!(
        "checkpoints   {} kept, {} bytes of data",
        statistics.checkpoints, statistics.checkpoint_bytes
    ))?;
    match &statistics.oldest_unfinished {
        Some((id, begun)) => {
            let ago = age(Duration::from_millis(now_unix_millis.saturating_sub(*begun)));
            output.line(format_args!("oldest        {id}, begun {}, {ago} ago", time(*begun)))?;
        }
        None => output.line("oldest        none unfinished")?,
    }
    match &statistics.last_failure {
        Some((id, failure)) => {
            let (when, error) = (time(failure.unix_millis), text(failure.error.as_bytes()));
            output.line(format_args!("last failure  {id}, {when}: {error}"))?;
        }
        None => output.line("last failure  none")?,
    }
    output.finish()
}

fn statistics_json(statistics: &Statistics, now_unix_millis: u64) -> Json {
    let states = statistics.operations.iter();
    let operations: Map<_, _> =
        states.map(|(state, operations)| (state.to_string(), json!(operations))).collect();
    let oldest = statistics.oldest_unfinished.as_ref().map(|(id, begun)| {
        json!({
            "id": id,
            "created_unix_millis": begun,
            "age_millis": now_unix_millis.saturating_sub(*begun),
        })
    });
    let last_failure = statistics.last_failure.as_ref().map(|(id, failure)| {
        let mut document = failure_json(failure);
        document["id"] = json!(id);
        document
    });
    json!({
        "operations": operations,
        "unreadable_operations": statistics.unreadable_operations,
        "unreadable_checkpoints": statistics.unreadable_checkpoints,
        "lanes": statistics.lanes,
        "checkpoints": statistics.checkpoints,
        "checkpoint_bytes": statistics.checkpoint_bytes,
        "oldest_unfinished": oldest,
        "last_failure": last_failure,
    })
}
