//! `usage`, `quota`, `retention`, `expire` and `gc`: the space that the store uses, and frees.

use std::time::Duration;

use serde_json::{Value as Json, json};
use strongroom::artifacts::{ArtifactTotal, ArtifactUsage, ExpireArtifactsOptions, Quota};
use strongroom::content::{GcOptions, KeptUpload};

use crate::args::{QuotaOptions, RetentionOptions};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, age, print_json, text, time};
use crate::session::Session;

const DAY_SECS: u64 = 24 * 60 * 60;

/// Largest number of versions that a dry run of `expire` lists.
const EXPIRED_NAMED_MAX: usize = 10_000;

pub(super) fn usage(session: &Session<'_>) -> Result<(), Failure> {
    let vault = session.open("usage")?;
    let usage = vault.artifacts().usage()?;
    session.close(vault)?;
    if session.json() { print_json(&usage_json(&usage)) } else { print_usage(&usage) }
}

fn print_usage(usage: &ArtifactUsage) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(format_args!("versions  {}", usage.all.versions))?;
    output.line(format_args!("bytes     {}", usage.all.bytes))?;
    output.line(format_args!("stored    {}", usage.stored_bytes))?;
    output.line(format_args!("quota     {}", quota_text(usage.quota)))?;
    for (what, totals) in [("spec", &usage.by_spec), ("type", &usage.by_kind)] {
        for (name, ArtifactTotal { versions, bytes }) in totals {
            let name = text(name.as_bytes());
            output.line(format_args!("{what}\t{name}\t{versions} versions\t{bytes} bytes"))?;
        }
    }
    output.finish()
}

fn usage_json(usage: &ArtifactUsage) -> Json {
    let totals = |what: &str, totals: &[(String, ArtifactTotal)]| -> Vec<Json> {
        let total = |(name, total): &(String, ArtifactTotal)| json!({ what: name, "versions": total.versions, "bytes": total.bytes });
        totals.iter().map(total).collect()
    };
    json!({
        "versions": usage.all.versions,
        "bytes": usage.all.bytes,
        "stored_bytes": usage.stored_bytes,
        "quota": quota_json(usage.quota),
        "specs": totals("spec", &usage.by_spec),
        "types": totals("type", &usage.by_kind),
    })
}

fn quota_text(quota: Option<Quota>) -> String {
    match quota {
        Some(quota) => format!("{} bytes, warning at {} %", quota.bytes, quota.warn_percent),
        None => "none".into(),
    }
}

fn quota_json(quota: Option<Quota>) -> Json {
    quota.map_or(
        Json::Null,
        |quota| json!({ "bytes": quota.bytes, "warn_percent": quota.warn_percent }),
    )
}

pub(super) fn quota(session: &Session<'_>, amount: &QuotaOptions) -> Result<(), Failure> {
    let vault = session.open("quota")?;
    let artifacts = vault.artifacts();
    if let Some(bytes) = amount.set {
        let default = Quota::new(bytes);
        let warn_percent = amount.warn.unwrap_or(default.warn_percent);
        artifacts.set_quota(Some(Quota { warn_percent, ..default }))?;
    } else if amount.none {
        artifacts.set_quota(None)?;
    }
    let usage = artifacts.usage()?;
    session.close(vault)?;
    session.answer(
        &json!({ "quota": quota_json(usage.quota), "stored_bytes": usage.stored_bytes }),
        format!("quota {}; {} bytes are stored", quota_text(usage.quota), usage.stored_bytes),
    )
}

pub(super) fn retention(session: &Session<'_>, kept: &RetentionOptions) -> Result<(), Failure> {
    let vault = session.open("retention")?;
    let artifacts = vault.artifacts();
    if let Some(kind) = &kept.kind {
        let days = kept.days.map(|days| Duration::from_secs(u64::from(days) * DAY_SECS));
        artifacts.set_retention(kind, days)?;
    }
    let retention = artifacts.retention()?;
    session.close(vault)?;
    if session.json() {
        let rows = retention.iter().map(|(kind, kept)| {
            let millis = kept.map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
            json!({ "type": kind, "kept_millis": millis })
        });
        return print_json(&json!({ "retention": rows.collect::<Vec<_>>() }));
    }
    let mut output = Output::new();
    for (kind, kept) in &retention {
        let kept = kept.map_or_else(|| "forever".to_owned(), age);
        output.line(format_args!("{}\t{kept}", text(kind.as_bytes())))?;
    }
    output.finish()
}

pub(super) fn expire(session: &Session<'_>, dry_run: bool) -> Result<(), Failure> {
    let vault = session.open("expire")?;
    let artifacts = vault.artifacts();
    let named = if dry_run { artifacts.expired(EXPIRED_NAMED_MAX)? } else { Vec::new() };
    let bar = session.spinner("{spinner} {pos} versions");
    let progress = |done, _| bar.set_position(done);
    let report =
        artifacts.expire(&ExpireArtifactsOptions::new().dry_run(dry_run).progress(&progress));
    bar.finish_and_clear();
    let report = report?;
    session.close(vault)?;
    if session.json() {
        let uris: Vec<_> = named.iter().map(|info| info.uri().to_string()).collect();
        return print_json(&json!({
            "dry_run": dry_run,
            "versions": report.versions,
            "bytes": report.bytes,
            "locked": report.locked,
            "uris": uris,
        }));
    }
    let mut output = Output::new();
    for info in &named {
        output.line(format_args!("would delete: {}", info.uri()))?;
    }
    let would_be = if dry_run { "would be " } else { "" };
    output.line(format_args!(
        "{} versions of {} bytes {would_be}deleted",
        report.versions, report.bytes
    ))?;
    output.finish()
}

pub(super) fn gc(
    session: &Session<'_>,
    dry_run: bool,
    discard_unknown: bool,
) -> Result<Outcome, Failure> {
    let vault = session.open("gc")?;
    let bar = session.spinner("{spinner} {pos} chunks");
    let progress = |done, _| bar.set_position(done);
    let options = GcOptions::new().dry_run(dry_run).discard_unknown(discard_unknown);
    let report = vault.gc(&options.progress(&progress));
    bar.finish_and_clear();
    let report = report?;
    session.close(vault)?;
    if report.damaged > 0 {
        session.say(format!(
            "warning: {} nodes or packs could not be read, and what they refer to stays; \
             `strongroom check {} --read-data` tells more",
            report.damaged,
            session.path().display()
        ));
    }
    if report.unknown_packs > 0 {
        session.say(format!(
            "note: {} packs of {} bytes stay, which a rebuild found without rows; a newer state of \
             the vault may need them, so only --discard-unknown frees their unused content",
            report.unknown_packs, report.unknown_bytes
        ));
    }
    let would_be = if dry_run { "would be " } else { "" };
    let kept: Vec<_> = report.kept.iter().map(kept_json).collect();
    let kept_text: String = report.kept.iter().map(kept_text).collect();
    session.answer(
        &json!({
            "dry_run": dry_run,
            "uploads_given_up": report.uploads_given_up,
            "kept_bytes": report.kept_bytes,
            "kept": kept,
            "unknown_packs": report.unknown_packs,
            "unknown_bytes": report.unknown_bytes,
            "chunks": report.chunks,
            "bytes": report.bytes,
            "packs": report.packs,
            "waiting": report.waiting,
            "damaged": report.damaged,
        }),
        format!(
            "{} chunks of {} bytes {would_be}freed, {} packs{kept_text}",
            report.chunks, report.bytes, report.packs
        ),
    )?;
    Ok(if report.damaged == 0 { Outcome::Done } else { Outcome::Problems })
}

/// Returns what an interrupted upload keeps. This process runs no other.
fn kept_json(upload: &KeptUpload) -> Json {
    json!({
        "upload": upload.id.to_string(),
        "bytes": upload.bytes,
        "since_unix_millis": upload.since_unix_millis,
        "until_unix_millis": upload.until_unix_millis,
    })
}

fn kept_text(upload: &KeptUpload) -> String {
    let KeptUpload { id, bytes, since_unix_millis, until_unix_millis, .. } = upload;
    let until = until_unix_millis.map_or(String::new(), |at| format!(" until {}", time(at)));
    format!(
        "\n{bytes} bytes kept{until}: the interrupted upload {id} of {}, which the same put resumes",
        time(*since_unix_millis)
    )
}
