//! The expected contents of the vault at the end.

use std::collections::BTreeMap;
use std::path::Path;

use strongroom::Snapshot;
use strongroom::check::CheckOptions;
use strongroom::operations::OperationState;

use super::service::{DIGESTS, JOURNAL, digest, id, key};
use super::{Outcome, Parts, options};

/// Checks that each file is in each of `batches` exactly once.
pub(super) fn prove(site: &Path, folder: &Path, parts: &Parts, batches: u64) -> Outcome {
    let vault = options(site).open(site.join("vault"))?;
    let snapshot = vault.read()?;
    let tries = prove_completed(&snapshot, parts, batches)?;
    let mut journal = BTreeMap::<Vec<u8>, usize>::new();
    for record in snapshot.range::<&[u8]>(JOURNAL, ..)? {
        let record = record?;
        let mut words = record.key().split(|&byte| byte == 0);
        let (batch, path) = words.next().zip(words.next()).ok_or("a row of the journal is odd")?;
        *journal.entry([batch, path].join(&0)).or_default() += 1;
    }
    let paths: Vec<&String> = parts.values().flatten().collect();
    for batch in 0..batches {
        for path in &paths {
            let key = key(batch, path);
            let times = journal.remove(key.as_bytes()).unwrap_or(0);
            if times != 1 {
                return Err(format!("batch {batch}: {path} was processed {times} times").into());
            }
            let stored = snapshot.get(DIGESTS, &key)?.ok_or("a result is missing")?;
            if stored.as_inline() != Some(digest(&folder.join(path), batch)?.as_bytes()) {
                return Err(format!("batch {batch}: the result of {path} is another").into());
            }
        }
    }
    let results = snapshot.count(DIGESTS)?;
    if !journal.is_empty() || results != batches * paths.len() as u64 {
        return Err("there is more than was asked for".into());
    }
    drop(snapshot);
    let report = vault.check(&CheckOptions::new().read_data(strongroom::check::ReadData::All))?;
    if !report.is_ok() || !report.unknown.is_empty() {
        return Err(format!("check found {report:?}").into());
    }
    println!(
        "proved: {} files in {batches} batches, each processed exactly once, {results} results equal \
         to those computed directly; {} operations completed in {tries} tries; check found nothing \
         wrong",
        paths.len(),
        batches * parts.len() as u64
    );
    Ok(vault.close()?)
}

/// Checks that each part of each batch is one completed operation; returns the tries of all.
fn prove_completed(snapshot: &Snapshot, parts: &Parts, batches: u64) -> Outcome<u64> {
    let mut tries = 0;
    for batch in 0..batches {
        for part in parts.keys() {
            let status = snapshot.operation(&id(batch, part))?.ok_or("an operation is gone")?;
            if status.state != OperationState::Completed {
                return Err(format!("{} is {}", status.id, status.state).into());
            }
            tries += status.generation;
        }
    }
    if snapshot.operation_count()? != batches * parts.len() as u64 {
        return Err("the vault has operations that were not submitted".into());
    }
    Ok(tries)
}
