//! `init`, `info`, `check` and `compact`: the vault as a whole.

use serde_json::{Value as Json, json};
use strongroom::Vault;
use strongroom::check::{CheckOptions, CheckReport, Problem, ReadData};
use strongroom::content::{RebuildOptions, RebuildReport};
use strongroom::keys::Cipher;

use crate::args::{CipherName, Costs};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json, time};
use crate::recovery::{Unfinished, recovery_json};
use crate::session::Session;

/// Format of the vaults that this program creates and opens.
const FORMAT: u32 = 1;

/// Largest number of affected artifacts that the text of a check lists.
const AFFECTED_LISTED_MAX: usize = 100;

/// Largest number of unknown objects that the text of a check lists.
const UNKNOWN_LISTED_MAX: usize = 10;

pub(crate) fn init(
    session: &Session<'_>,
    cipher: Option<CipherName>,
    costs: &Costs,
) -> Result<Outcome, Failure> {
    let vault = session.create("init", cipher.map(Cipher::from), costs)?;
    let info = vault.info()?;
    let id = info.id;
    session.close(vault)?;
    let path = session.path().display();
    if session.json() {
        print_json(&json!({
            "vault": path.to_string(),
            "id": id.to_string(),
            "format": FORMAT,
            "cipher": cipher_json(info.cipher),
        }))?;
    } else {
        let mut output = Output::new();
        output.line(format_args!("vault {id} created in {path}"))?;
        output.finish()?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn info(session: &Session<'_>) -> Result<Outcome, Failure> {
    let vault = session.open("info")?;
    let info = vault.info()?;
    let namespaces = vault.read()?.namespaces()?.len();
    let keys = vault.keys().list().len();
    let recovery = vault.recovery().clone();
    let unfinished = Unfinished::of(&vault)?;
    session.close(vault)?;
    if session.json() {
        print_json(&json!({
            "vault": session.path().display().to_string(),
            "id": info.id.to_string(),
            "format": FORMAT,
            "cipher": cipher_json(info.cipher),
            "key_generation": info.key_generation,
            "keys": keys,
            "created_unix_millis": info.created_unix_millis,
            "backend": info.backend,
            "state_bytes": info.state_bytes,
            "namespaces": namespaces,
            "records": info.records,
            "operations": info.operations,
            "operations_unfinished": unfinished.operations,
            "operations_resumable": unfinished.resumable,
            "recovery": recovery_json(&recovery),
        }))?;
        return Ok(Outcome::Done);
    }
    let mut output = Output::new();
    output.line(format_args!("vault       {}", session.path().display()))?;
    output.line(format_args!("id          {}", info.id))?;
    output.line(format_args!("format      {FORMAT}"))?;
    output.line(format_args!("cipher      {}", info.cipher))?;
    output.line(format_args!("keys        {keys}, generation {}", info.key_generation))?;
    output.line(format_args!("created     {}", time(info.created_unix_millis)))?;
    output.line(format_args!("backend     {}", info.backend))?;
    output.line(format_args!("state       {} bytes", info.state_bytes))?;
    output.line(format_args!("namespaces  {namespaces}"))?;
    output.line(format_args!("records     {}", info.records))?;
    output.line(format_args!("operations  {}, {unfinished}", info.operations))?;
    output.finish()?;
    Ok(Outcome::Done)
}

/// Returns the cipher's name as `--cipher` takes it.
fn cipher_json(cipher: Cipher) -> String {
    cipher.as_str().to_ascii_lowercase()
}

pub(crate) fn compact(session: &Session<'_>) -> Result<Outcome, Failure> {
    let vault = session.open("compact")?;
    let bar = session.spinner("{spinner} compacting");
    let report = vault.compact();
    bar.finish_and_clear();
    let report = report?;
    session.close(vault)?;
    if session.json() {
        print_json(&json!({
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
        }))?;
        return Ok(Outcome::Done);
    }
    let mut output = Output::new();
    output.line(format_args!(
        "state of {} bytes, {} before",
        report.bytes_after, report.bytes_before
    ))?;
    output.finish()?;
    Ok(Outcome::Done)
}

pub(crate) fn check(
    session: &Session<'_>,
    read_data: ReadData,
    rebuild_index: bool,
) -> Result<Outcome, Failure> {
    let vault = session.open("check")?;
    let rebuilt = if rebuild_index { Some(rebuild(session, &vault)?) } else { None };
    let bar = session.spinner("{spinner} {pos} rows and objects checked");
    let progress = |done, _| bar.set_position(done);
    let report = vault.check(&CheckOptions::new().read_data(read_data).progress(&progress))?;
    bar.finish_and_clear();
    session.close(vault)?;
    if session.json() {
        print_json(&check_json(&report, rebuilt.as_ref()))?;
    } else {
        print_check(&report)?;
    }
    Ok(if report.is_ok() { Outcome::Done } else { Outcome::Problems })
}

fn rebuild(session: &Session<'_>, vault: &Vault) -> Result<RebuildReport, Failure> {
    let bar = session.spinner("{spinner} {pos} objects searched for chunks");
    let progress = |done, _| bar.set_position(done);
    let report = vault.rebuild_index(&RebuildOptions::new().progress(&progress));
    bar.finish_and_clear();
    let report = report?;
    session.say(format!(
        "index rebuilt: {} chunks in {} packs, {} unreferenced, {} missing, {} damaged",
        report.chunks, report.packs, report.unreferenced, report.missing, report.damaged
    ));
    if report.unknown_packs > 0 {
        session.say(format!(
            "note: no row named {} of these packs, of {} bytes; `gc` keeps them until \
             --discard-unknown, because a newer state of the vault may need them",
            report.unknown_packs, report.unknown_bytes
        ));
    }
    Ok(report)
}

fn check_json(report: &CheckReport, rebuilt: Option<&RebuildReport>) -> Json {
    let rebuilt = rebuilt.map(|rebuilt| {
        json!({
            "packs": rebuilt.packs,
            "chunks": rebuilt.chunks,
            "unreferenced": rebuilt.unreferenced,
            "missing": rebuilt.missing,
            "damaged": rebuilt.damaged,
        })
    });
    let affected: Vec<_> = report.affected.iter().map(ToString::to_string).collect();
    let problems: Vec<_> = report.problems.iter().map(problem_json).collect();
    json!({
        "ok": report.is_ok(),
        "state_intact": report.state_intact,
        "records": report.records,
        "operations": report.operations,
        "artifacts": report.artifacts,
        "chunks": report.chunks,
        "objects": report.objects,
        "object_bytes": report.object_bytes,
        "due": report.due,
        "problems": problems,
        "artifacts_affected": report.artifacts_affected,
        "records_affected": report.records_affected,
        "affected": affected,
        "unknown": report.unknown,
        "index_rebuilt": rebuilt,
    })
}

fn problem_json(problem: &Problem) -> Json {
    match problem {
        Problem::Row { table, detail } => json!({
            "kind": "row", "table": table, "detail": detail,
        }),
        Problem::Missing { object } => json!({ "kind": "missing", "object": object }),
        Problem::Damaged { object, detail } => json!({
            "kind": "damaged", "object": object, "detail": detail,
        }),
        other => json!({ "kind": "other", "detail": other.to_string() }),
    }
}

fn print_check(report: &CheckReport) -> Result<(), Failure> {
    let mut output = Output::new();
    if report.state_intact == Some(false) {
        output.line("problem: the state file is damaged")?;
    }
    for problem in &report.problems {
        output.line(format_args!("problem: {problem}"))?;
    }
    for uri in report.affected.iter().take(AFFECTED_LISTED_MAX) {
        output.line(format_args!("affected: {uri}"))?;
    }
    if let Some(more @ 1..) = report.artifacts_affected.checked_sub(AFFECTED_LISTED_MAX as u64) {
        output.line(format_args!("and {more} more; `verify` names all"))?;
    }
    if report.records_affected > 0 {
        let affected = report.records_affected;
        output.line(format_args!(
            "affected: {affected} records with unreadable parts in their values"
        ))?;
    }
    for object in report.unknown.iter().take(UNKNOWN_LISTED_MAX) {
        output.line(format_args!("unknown object, not deleted: {object}"))?;
    }
    if let Some(more @ 1..) = report.unknown.len().checked_sub(UNKNOWN_LISTED_MAX) {
        output.line(format_args!("and {more} more; --json lists all"))?;
    }
    output.line(format_args!(
        "{} records, {} operations, {} versions of artifacts, {} chunks, {} objects of {} bytes checked",
        report.records,
        report.operations,
        report.artifacts,
        report.chunks,
        report.objects,
        report.object_bytes
    ))?;
    output.line(if report.is_ok() { "ok" } else { "the vault is damaged" })?;
    output.finish()
}
