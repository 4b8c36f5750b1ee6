//! `ops`: list, show, pause, abandon and expire operations.
//!
//! - `list.rs`: lists. `show.rs`: one operation, with its lanes and checkpoints.
//!
//! The data of checkpoints is printed only on demand. Metadata and failure texts of a host are
//! escaped. The vault is opened without handlers, so the answer whether an operation can be resumed
//! is that of the vault alone.

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
    session.close(vault)?;
    session.answer(&json!({ "id": id, "paused": true }), format!("operation {id} paused"))
}

fn abandon(session: &Session<'_>, id: &str) -> Result<(), Failure> {
    let vault = session.open("ops abandon")?;
    vault.operations().abandon(id)?;
    session.close(vault)?;
    session.answer(&json!({ "id": id, "abandoned": true }), format!("operation {id} cancelled"))
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
    session.close(vault)?;
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
    let verb = if dry_run { "would remove" } else { "removed" };
    for id in &report.ids {
        output.line(format_args!("{verb}: {id}"))?;
    }
    if let Some(more @ 1..) = report.operations.checked_sub(report.ids.len() as u64) {
        output.line(format_args!("{verb}: {more} more"))?;
    }
    let (operations, kept) = (report.operations, report.kept);
    let would_be = if dry_run { "would be " } else { "" };
    output.line(format_args!("{operations} operations {would_be}removed, {kept} kept"))?;
    output.finish()
}

/// Returns the operation's fields that `ops list` and `ops show` share.
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

/// Returns whether an operation can be resumed: `yes`, `by id` or `no`.
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
        "status": resumability_code(resumable),
        "text": resumable.to_string(),
    })
}

/// Returns the code of the answer, for programs.
fn resumability_code(resumable: &Resumable) -> &'static str {
    match resumable {
        Resumable::Ready => "ready",
        Resumable::BackingOff { .. } => "backing_off",
        Resumable::Held => "held",
        Resumable::Completed => "completed",
        Resumable::Cancelled => "cancelled",
        Resumable::AttemptsExhausted { .. } => "attempts_exhausted",
        Resumable::Unreadable { .. } => "unreadable",
        // The other answers need handlers or a handle, which this program does not have.
        _ => "other",
    }
}

/// Formats a fraction of 1 as a percentage.
fn percent(progress: f64) -> String {
    format!("{:.1} %", progress * 100.0)
}
