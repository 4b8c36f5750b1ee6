//! `ops`: operations, looked at, laid aside, given up and dropped.
//!
//! - `list.rs`: many of them. `show.rs`: one, with its lanes and checkpoints.
//!
//! What a host saves in a checkpoint is printed only on demand; its metadata and what it says of a
//! failure are escaped as all text that is not ours. The vault is opened without handlers, so
//! whether an operation can be resumed is what the vault alone knows of it.

mod list;
mod show;

use serde_json::{Value as Json, json};
use strongroom::operations::{ExpireOperations, ExpiredOperations, OperationStatus, Resumable};

use crate::args::{Expiry, Ops};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json};
use crate::session::{Session, moving};

pub(crate) fn run(session: &Session<'_>, command: &Ops) -> Result<Outcome, Failure> {
    match command {
        Ops::List { which, .. } => list::run(session, which)?,
        Ops::Show { id, data, history, .. } => show::run(session, id, *data, *history)?,
        Ops::Pause { id, .. } => pause(session, id)?,
        Ops::Abandon { id, .. } => abandon(session, id)?,
        Ops::Expire { expiry, .. } => expire(session, expiry)?,
    }
    Ok(Outcome::Done)
}

fn pause(session: &Session<'_>, id: &str) -> Result<(), Failure> {
    let vault = session.open("ops pause")?;
    vault.operations().pause(id)?;
    vault.close()?;
    session.answer(&json!({ "id": id, "paused": true }), format!("operation {id} paused"))
}

fn abandon(session: &Session<'_>, id: &str) -> Result<(), Failure> {
    let vault = session.open("ops abandon")?;
    vault.operations().abandon(id)?;
    vault.close()?;
    session.answer(&json!({ "id": id, "abandoned": true }), format!("operation {id} given up"))
}

fn expire(session: &Session<'_>, expiry: &Expiry) -> Result<(), Failure> {
    let Expiry { older_than, exhausted, dry_run } = *expiry;
    let vault = session.open("ops expire")?;
    let bar = session.operations_bar();
    let report = vault.operations().expire(
        &ExpireOperations::new()
            .older_than(older_than)
            .exhausted(exhausted)
            .dry_run(dry_run)
            .progress(&moving(&bar)),
    );
    bar.finish_and_clear();
    let report = report?;
    vault.close()?;
    if session.json() {
        return print_json(&json!({
            "dry_run": dry_run,
            "operations": report.operations,
            "kept": report.kept,
            "ids": report.ids,
        }));
    }
    print_expired(&report, dry_run)
}

fn print_expired(report: &ExpiredOperations, dry_run: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    let dropped = if dry_run { "would drop" } else { "dropped" };
    for id in &report.ids {
        output.line(format_args!("{dropped}: {id}"))?;
    }
    if let Some(more @ 1..) = report.operations.checked_sub(report.ids.len() as u64) {
        output.line(format_args!("{dropped}: {more} more"))?;
    }
    let (operations, kept) = (report.operations, report.kept);
    let would_be = if dry_run { "would be " } else { "" };
    output.line(format_args!("{operations} operations {would_be}dropped, {kept} kept"))?;
    output.finish()
}

/// What `ops list` and `ops show` say of an operation.
fn operation_json(operation: &OperationStatus) -> Json {
    json!({
        "id": operation.id,
        "name": operation.name,
        "state": operation.state.to_string(),
        "held": operation.held,
        "progress": operation.progress(),
        "generation": operation.generation,
        "created_unix_millis": operation.created_unix_millis,
        "updated_unix_millis": operation.updated_unix_millis,
        "lanes_total": operation.lanes.len(),
        "lanes_complete": operation.lanes_complete(),
    })
}

/// Whether it can be resumed, in a word: by everybody, by its id alone, or not.
fn can_resume(resumable: &Resumable) -> &'static str {
    if resumable.with_all() {
        "yes"
    } else if resumable.by_id() {
        "by id"
    } else {
        "no"
    }
}

fn resumable_json(resumable: &Resumable) -> Json {
    let wait_millis = match resumable {
        Resumable::BackingOff { wait } => Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        _ => None,
    };
    json!({
        "by_id": resumable.by_id(),
        "with_all": resumable.with_all(),
        "wait_millis": wait_millis,
        "standing": standing(resumable),
        "told": resumable.to_string(),
    })
}

/// The answer's name, for programs.
fn standing(resumable: &Resumable) -> &'static str {
    match resumable {
        Resumable::Ready => "ready",
        Resumable::BackingOff { .. } => "backing_off",
        Resumable::Held => "held",
        Resumable::Completed => "completed",
        Resumable::Cancelled => "cancelled",
        Resumable::AttemptsExhausted { .. } => "attempts_exhausted",
        Resumable::Unreadable { .. } => "unreadable",
        // What needs handlers, or a handle, which this program has not.
        _ => "other",
    }
}

/// A part of 1 as it is shown.
fn percent(progress: f64) -> String {
    format!("{:.1} %", progress * 100.0)
}
