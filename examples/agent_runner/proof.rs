//! Checks the results: numbers that must add up, and calls that must be refused.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use strongroom::artifacts::{
    ArtifactName, ArtifactQuery, ArtifactScope, ArtifactSpec, ArtifactUri, Artifacts,
    ExpireArtifactsOptions, Quota, VersionsQuery,
};
use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::{ErrorKind, LongCall, Vault};

use crate::agent::Done;
use crate::calculator::{STEPS, STEPS_THAT_FAIL};
use crate::reviewer::Reviewed;
use crate::{NEW, Outcome, REVIEWED, SPEC, TASKS};

/// Returns the number of versions that agents have stored.
pub(crate) fn count(done: &[Done]) -> usize {
    done.iter().map(|done| done.uris.len()).sum()
}

fn ensure(is_so: bool, message: impl Into<String>) -> Outcome {
    if is_so { Ok(()) } else { Err(message.into().into()) }
}

/// Checks that every stored version was reviewed, counted and found.
pub(crate) fn counts(artifacts: &Artifacts, done: &[Done], reviewed: &Reviewed) -> Outcome {
    let put: BTreeSet<ArtifactUri> =
        done.iter().flat_map(|done| done.uris.iter().cloned()).collect();
    ensure(put.len() as u64 == TASKS * STEPS * 3, format!("{} were put", put.len()))?;
    ensure(put == reviewed.uris, "what was put is not what was reviewed")?;
    let bytes: u64 = done.iter().map(|done| done.bytes).sum();
    ensure(bytes == reviewed.bytes, "bytes put are not bytes reviewed")?;
    // The step with the mistake fails one of two tests of its function.
    let failed = reviewed.tests_failed;
    ensure(failed == TASKS * STEPS_THAT_FAIL, format!("{failed} tests failed"))?;
    ensure(reviewed.lines_changed > 0, "no diff has changed anything")?;

    let usage = artifacts.usage()?;
    ensure(usage.all.versions == put.len() as u64 && usage.all.bytes == bytes, "usage differs")?;
    for kind in ["diff", "log", "test"] {
        let total = usage.by_kind.iter().find(|(name, _)| name == kind);
        let is_right = total.is_some_and(|(_, total)| total.versions == TASKS * STEPS);
        ensure(is_right, format!("usage of {kind} is {total:?}"))?;
    }
    for (tags, expected) in [
        (&[NEW][..], 0),
        (&[REVIEWED], put.len() as u64),
        (&[REVIEWED, "failed"], TASKS * STEPS_THAT_FAIL),
        (&[REVIEWED, "passed"], TASKS * (STEPS - STEPS_THAT_FAIL)),
    ] {
        let query = ArtifactQuery::new().spec(SPEC);
        let query = tags.iter().fold(query, |query, tag| query.tag(*tag));
        let found = found(artifacts, &query)?;
        ensure(found == expected, format!("{found} are tagged {tags:?}, not {expected}"))?;
    }
    println!(
        "counted: {} versions, {bytes} bytes, stored in {}; {} lines changed, {failed} tests failed",
        put.len(),
        usage.stored_bytes,
        reviewed.lines_changed
    );
    Ok(())
}

/// Returns the number of search results, page by page.
fn found(artifacts: &Artifacts, query: &ArtifactQuery) -> Outcome<u64> {
    let (mut count, mut cursor) = (0, None);
    loop {
        let page = artifacts.search(&query.clone().after(cursor).limit(10))?;
        count += page.versions.len() as u64;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(count);
        }
    }
}

/// Checks that a task's diffs lead from first to last file.
pub(crate) fn diffs_add_up(artifacts: &Artifacts, done: &[Done]) -> Outcome {
    for Done { task, first, last, .. } in done {
        let name = ArtifactName::new(SPEC, task, "diff")?;
        let mut versions = artifacts.versions(&VersionsQuery::of(&name).limit(usize::MAX))?;
        versions.reverse();
        ensure(versions.len() as u64 == STEPS, format!("{} diffs of {task}", versions.len()))?;
        let mut text = first.clone();
        for info in versions {
            let diff = String::from_utf8(artifacts.read(info.uri())?.into())?;
            text = apply(&text, &diff)?;
        }
        ensure(text == *last, format!("the diffs of {task} make another file"))?;
    }
    println!("rebuilt: {} files from their diffs", done.len());
    Ok(())
}

/// Applies a unified diff; an error if it does not match the text.
fn apply(text: &str, diff: &str) -> Outcome<String> {
    let mut rest = text.split_inclusive('\n');
    let (mut made, mut at) = (String::new(), 1);
    for line in diff.split_inclusive('\n').skip(2) {
        if let Some(place) = line.strip_prefix("@@ -") {
            let end = place.find([',', ' ']).ok_or("a hunk says where it begins")?;
            let begin: usize = place[..end].parse()?;
            made.extend(rest.by_ref().take(begin.saturating_sub(at)));
            at = at.max(begin);
            continue;
        }
        let (sign, body) = line.split_at(1);
        if sign != "+" {
            let is_there = rest.next() == Some(body);
            ensure(is_there, format!("line {at} is not what the diff says"))?;
            at += 1;
        }
        if sign != "-" {
            made.push_str(body);
        }
    }
    made.extend(rest);
    Ok(made)
}

/// Exports a task as one archive of its versions and list.
pub(crate) fn exported(artifacts: &Artifacts, done: &[Done]) -> Outcome {
    let Some(Done { task, uris, .. }) = done.first() else { return Err("nothing was done".into()) };
    let mut archive = Vec::new();
    let report = artifacts.export(
        &ArtifactScope::spec(SPEC).task(task.as_str()),
        &mut archive,
        LongCall::new(),
    )?;
    ensure(report.versions == uris.len() as u64, format!("{} are exported", report.versions))?;
    let mut archive = zip::ZipArchive::new(io::Cursor::new(archive))?;
    ensure(archive.len() == uris.len() + 1, format!("{} are in the archive", archive.len()))?;
    let mut bytes = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        if entry.name()? != "metadata.json" {
            bytes += io::copy(&mut entry, &mut io::sink())?;
        }
    }
    ensure(bytes == report.bytes, "the archive has other bytes")?;
    println!("exported: {} versions of {task}, {bytes} bytes", report.versions);
    Ok(())
}

/// Checks that content beyond the quota is refused early.
///
/// It is not read, and leaves nothing.
pub(crate) fn quota(artifacts: &Artifacts) -> Outcome {
    let before = artifacts.usage()?;
    let quota = Quota::new(before.stored_bytes + 1_000_000);
    artifacts.set_quota(Some(quota))?;
    let spec = ArtifactSpec::new(ArtifactName::new(SPEC, "too-much", "log")?).size(2_000_000);
    let refused = artifacts.put(spec, io::repeat(7)).map_err(|error| error.kind());
    ensure(refused == Err(ErrorKind::Full), format!("a put beyond the quota is {refused:?}"))?;
    let after = artifacts.usage()?;
    ensure(after.all == before.all && after.quota == Some(quota), "a refused put has left marks")?;
    println!("refused: 2000000 bytes where 1000000 were left");
    Ok(())
}

/// Checks that logs expire, and nothing else.
pub(crate) fn retention(vault: &Vault) -> Outcome {
    let artifacts = vault.artifacts();
    let before = artifacts.usage()?;
    artifacts.set_retention("log", Some(Duration::ZERO))?;
    let dry = ExpireArtifactsOptions::new().dry_run(true);
    let planned = artifacts.expire(&dry)?;
    let expired = artifacts.expire(&ExpireArtifactsOptions::new())?;
    ensure(planned == expired, "a dry run reports something else")?;
    ensure(expired.versions == TASKS * STEPS, format!("{} logs expired", expired.versions))?;
    let freed = vault.gc(&GcOptions::new())?;
    let after = artifacts.usage()?;
    ensure(before.all.versions - after.all.versions == expired.versions, "others went too")?;
    ensure(before.all.bytes - after.all.bytes == expired.bytes, "other bytes went too")?;
    ensure(after.stored_bytes < before.stored_bytes, "no space came back")?;
    let everything = artifacts.verify_all(&ArtifactScope::all(), LongCall::new())?;
    ensure(everything.is_ok() && everything.whole == after.all.versions, "not all are whole")?;
    let thorough = CheckOptions::new().read_data(ReadData::All);
    let report = vault.check(&thorough)?;
    ensure(report.is_ok() && report.unknown.is_empty(), format!("check found {report:?}"))?;
    println!(
        "expired: {} logs, {} chunks freed; {} versions are left, each whole",
        expired.versions, freed.chunks, after.all.versions
    );
    Ok(())
}
