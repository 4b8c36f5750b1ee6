//! `doc`: reads, writes, plans and heals the document of a partition.
//!
//! A text to write is read completely before the vault is opened. A text that was read is printed
//! after the vault was closed. So a pipe from `doc read` to `doc write` does not block itself.

use std::path::{Path, PathBuf};

use serde_json::json;
use strongroom::LongCall;
use strongroom::documents::{Document, DocumentVersion, Plan, WriteOptions, Written};
use zeroize::Zeroizing;

use crate::args::{Documents, PartitionOptions};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json};
use crate::partition::{Opening, damage_json};
use crate::secret::{STDIN, create_file, is_like_a_key, read_document};
use crate::session::{Session, moving, usage};

pub(crate) fn run(session: &Session<'_>, command: &Documents) -> Result<Outcome, Failure> {
    match command {
        Documents::Read { place, file } => read(session, place, named_file(file.as_ref())?)?,
        Documents::Write { place, file, expect, resume } => {
            write(session, place, named_file(file.as_ref())?, *expect, *resume)?;
        }
        Documents::Plan { place, file } => plan(session, place, named_file(file.as_ref())?)?,
        Documents::Heal { place } => heal(session, place)?,
    }
    Ok(Outcome::Done)
}

/// Returns the file, unless it names standard input or output.
///
/// A partition key without `--key` in front is refused as a path, and must not be shown.
fn named_file(file: Option<&PathBuf>) -> Result<Option<&Path>, Failure> {
    match file.map(PathBuf::as_path) {
        Some(path) if is_like_a_key(path.as_os_str()) => {
            Err(usage("the file argument is a partition key; give it with --key"))
        }
        path => Ok(path.filter(|path| path.as_os_str() != STDIN)),
    }
}

fn read(
    session: &Session<'_>,
    place: &PartitionOptions,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let (vault, partition) = Opening::new(session, place, &[])?.open(session, "doc read")?;
    let document = partition.read()?;
    session.close(vault)?;
    if let Some(path) = file {
        create_file("create document file", path, document.bytes())?;
    }
    if document.damage().any() {
        let path = session.path().display();
        session.say(format!(
            "warning: the document is whole, but damaged: {}; `strongroom doc heal {path}` \
             writes it anew",
            document.damage()
        ));
    }
    if session.json() {
        return print_document_json(&document, file);
    }
    if file.is_none() {
        let mut output = Output::new();
        output.bytes(document.bytes())?;
        output.finish()?;
    }
    Ok(())
}

/// Prints the document in pieces.
///
/// So its text enters only buffers that are zeroised.
fn print_document_json(document: &Document, file: Option<&Path>) -> Result<(), Failure> {
    let (version, len) = (document.version(), document.bytes().len());
    let damage = damage_json(&document.damage());
    let mut output = Output::new();
    output.piece(format_args!("{{\"version\":\"{version}\",\"len\":{len},"))?;
    if let Some(path) = file {
        output.piece("\"file\":")?;
        output.string(&path.display().to_string())?;
    } else {
        output.piece("\"text\":")?;
        output.string(document.text())?;
    }
    output.line(format_args!(",\"damage\":{damage}}}"))?;
    output.finish()
}

/// Reads the partition's secrets, and the text from `file` or standard input.
fn with_text(
    session: &Session<'_>,
    place: &PartitionOptions,
    file: Option<&Path>,
) -> Result<(Opening, Zeroizing<Vec<u8>>), Failure> {
    let opening = Opening::new(session, place, &[(file.is_none(), "the document")])?;
    let text = read_document(file.unwrap_or(Path::new(STDIN)), session.notes())?;
    Ok((opening, text))
}

fn write(
    session: &Session<'_>,
    place: &PartitionOptions,
    file: Option<&Path>,
    expected: Option<DocumentVersion>,
    resume: bool,
) -> Result<(), Failure> {
    let (opening, text) = with_text(session, place, file)?;
    let (vault, partition) = opening.open(session, "doc write")?;
    let bar = session.objects_bar();
    let progress = moving(&bar);
    let options = WriteOptions::new().expected(expected).resume(resume).progress(&progress);
    let written = partition.write_with(&*text, &options);
    bar.finish_and_clear();
    let Written { version, damage, .. } = written?;
    session.close(vault)?;
    if damage.blocks > 0 {
        session.say(format!(
            "warning: {} blocks of the space could not be read and are random bytes now; whoever \
             has another document in it should heal it",
            damage.blocks
        ));
    }
    if session.json() {
        return print_json(&json!({ "version": version.to_string(), "len": text.len() }));
    }
    let mut output = Output::new();
    output.line(version)?;
    output.finish()
}

fn plan(
    session: &Session<'_>,
    place: &PartitionOptions,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let (opening, text) = with_text(session, place, file)?;
    let (vault, partition) = opening.open(session, "doc plan")?;
    let plan = partition.plan(&*text)?;
    session.close(vault)?;
    if plan.damage.any() {
        session.say(format!("warning: damaged: {}", plan.damage));
    }
    if plan.is_large_change() {
        session.say(format!(
            "warning: the length of the document would change by {:+.1} %",
            plan.change_percent()
        ));
    }
    if session.json() { print_plan_json(&plan) } else { print_plan(&plan) }
}

fn print_plan(plan: &Plan) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(format_args!("now: {} bytes, {} chunks", plan.bytes_now, plan.chunks_now))?;
    output.line(format_args!("then: {} bytes, {} chunks", plan.bytes_then, plan.chunks_then))?;
    output.line(format_args!(
        "change: {:+} bytes ({:+.1} %)",
        plan.change_bytes(),
        plan.change_percent()
    ))?;
    output.line(format_args!("capacity: {:.1} %", plan.capacity_percent()))?;
    output.line(format_args!("time: about {:.1} s", plan.estimated.as_secs_f64()))?;
    output.line(format_args!("version: {}", plan.version))?;
    output.finish()
}

fn print_plan_json(plan: &Plan) -> Result<(), Failure> {
    print_json(&json!({
        "version": plan.version.to_string(),
        "bytes_now": plan.bytes_now,
        "bytes_then": plan.bytes_then,
        "chunks_now": plan.chunks_now,
        "chunks_then": plan.chunks_then,
        "change_bytes": plan.change_bytes(),
        "change_percent": plan.change_percent(),
        "large_change": plan.is_large_change(),
        "stored_bytes": plan.stored_bytes,
        "capacity_bytes": plan.capacity_bytes,
        "capacity_percent": plan.capacity_percent(),
        "estimated_secs": plan.estimated.as_secs_f64(),
    }))
}

fn heal(session: &Session<'_>, place: &PartitionOptions) -> Result<(), Failure> {
    let (vault, partition) = Opening::new(session, place, &[])?.open(session, "doc heal")?;
    let bar = session.objects_bar();
    let damage = partition.heal_with(LongCall::new().progress(&moving(&bar)));
    bar.finish_and_clear();
    let damage = damage?;
    session.close(vault)?;
    if session.json() {
        return print_json(&json!({ "damage": damage_json(&damage) }));
    }
    let mut output = Output::new();
    if damage.any() {
        output.line(format_args!("healed: {damage}"))?;
    } else {
        output.line("nothing was damaged")?;
    }
    output.finish()
}
