//! `check --store`: inspects what a store holds of a vault whose state is lost.

use serde_json::json;
use strongroom::check::{CheckOptions, ReadData, StoreReport};

use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json, time};
use crate::session::Session;

/// Largest number of contents that the text lists.
const CONTENTS_LISTED_MAX: usize = 20;

pub(crate) fn check(session: &Session<'_>, read_data: bool) -> Result<Outcome, Failure> {
    let options = session.without_state()?;
    let bar = session.spinner("{spinner} {pos} objects inspected");
    let progress = |done, _| bar.set_position(done);
    let read_data = if read_data { ReadData::All } else { ReadData::No };
    let report = options.check_store(&CheckOptions::new().read_data(read_data).progress(&progress));
    bar.finish_and_clear();
    let report = report?;
    if session.json() {
        print_report_json(&report)?;
    } else {
        print_report(&report)?;
    }
    Ok(if report.is_ok() { Outcome::Done } else { Outcome::Problems })
}

fn print_report_json(report: &StoreReport) -> Result<(), Failure> {
    let damaged: Vec<_> = report
        .damaged
        .iter()
        .map(|(object, detail)| json!({ "object": object, "detail": detail }))
        .collect();
    print_json(&json!({
        "ok": report.is_ok(),
        "id": report.vault.to_string(),
        "key_generation": report.key_generation,
        "holder": report.holder.as_ref().map(ToString::to_string),
        "closed": report.is_closed,
        "objects": report.objects,
        "object_bytes": report.object_bytes,
        "packs": report.packs,
        "others": report.others,
        "chunks": report.chunks,
        "chunk_bytes": report.chunk_bytes,
        "contents": report.contents,
        "damaged": damaged,
        "unknown": report.unknown,
    }))
}

fn print_report(report: &StoreReport) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(format_args!("vault       {}", report.vault))?;
    output.line(format_args!("keys        generation {}", report.key_generation))?;
    if let Some(holder) = &report.holder {
        let since = time(holder.since_unix_millis);
        let state = if report.is_closed { "closed by" } else { "open, or not closed, by" };
        output.line(format_args!("content     {state} {holder}, since {since}"))?;
    }
    output.line(format_args!(
        "objects     {} of {} bytes: {} packs, {} others",
        report.objects, report.object_bytes, report.packs, report.others
    ))?;
    output.line(format_args!("chunks      {} of {} bytes", report.chunks, report.chunk_bytes))?;
    output.line(format_args!("contents    {}, the longest:", report.contents.len()))?;
    for bytes in report.contents.iter().rev().take(CONTENTS_LISTED_MAX) {
        output.line(format_args!("  {bytes} bytes"))?;
    }
    for (object, detail) in &report.damaged {
        output.line(format_args!("problem: {object}: {detail}"))?;
    }
    for object in &report.unknown {
        output.line(format_args!("unknown object: {object}"))?;
    }
    output.line(if report.is_ok() { "ok" } else { "the store is damaged" })?;
    output.finish()
}
