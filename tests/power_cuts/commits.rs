//! Numbered commits of several sizes.
//!
//! A commit writes one short row, in a transaction or a batch; 200 rows; one long row; or staged
//! content. Some staged content replaces older content, which is then released.

use std::collections::BTreeMap;
use std::path::Path;

use strongroom::{Batch, Result, Vault};
use strongroom_testkit::BoxError;

use crate::support::records::{all, long};
use crate::{acknowledge, check_whole, options};

/// Number of rows in a commit of many rows.
const ROWS: u64 = 200;
const ROW_BYTES: usize = 300;
const WIDE_BYTES: usize = 60_000;
/// Length of a staged value, in bytes: too long for a record's row, so stored as content.
const CONTENT_BYTES: usize = 100 << 10;
/// Key of the row with the number of commits.
const COUNT: &str = "count";
/// Key of the row that many commits replace.
const REPLACED: &str = "replaced";

const SHAPES: u64 = 8;

/// Returns the rows of a commit, without the row that counts commits.
fn rows(commit: u64) -> Vec<(String, Vec<u8>)> {
    let one = |key: String, len| vec![(key, long(commit, len))];
    match commit % SHAPES {
        0 | 4 => one(REPLACED.to_owned(), CONTENT_BYTES),
        1 => one(format!("content-{commit:06}"), CONTENT_BYTES),
        2 => (0..ROWS).map(|row| many(commit, row)).collect(),
        3 => one(format!("wide-{commit:06}"), WIDE_BYTES),
        _ => one(format!("small-{commit:06}"), 20),
    }
}

fn many(commit: u64, row: u64) -> (String, Vec<u8>) {
    (format!("many-{commit:06}-{row:03}"), long(commit ^ (row << 32), ROW_BYTES))
}

fn is_staged(value: &[u8]) -> bool {
    value.len() == CONTENT_BYTES
}

fn count(commit: u64) -> Vec<u8> {
    (commit + 1).to_be_bytes().to_vec()
}

pub(crate) fn commit(vault: &Vault, commit: u64) -> Result<()> {
    let rows = rows(commit);
    if commit % SHAPES == 5 {
        let mut batch = Batch::new();
        for (key, value) in rows {
            batch.insert("n", key, value);
        }
        batch.insert("n", COUNT, count(commit));
        return vault.apply(batch);
    }
    let mut writes = Vec::new();
    for (key, value) in rows {
        let staged = if is_staged(&value) { Some(vault.stage(&value[..])?) } else { None };
        writes.push((key, value, staged));
    }
    vault.write(|tx| {
        for (key, value, staged) in writes {
            match staged {
                Some(staged) => tx.insert("n", &key, staged)?,
                None => tx.insert("n", &key, &value)?,
            }
        }
        tx.insert("n", COUNT, count(commit))
    })
}

/// Returns all rows after `commits` commits.
fn expected(commits: u64) -> BTreeMap<String, Vec<u8>> {
    let mut expected: BTreeMap<_, _> = (0..commits).flat_map(rows).collect();
    if let Some(last) = commits.checked_sub(1) {
        expected.insert(COUNT.to_owned(), count(last));
    }
    expected
}

pub(crate) fn prepare(folder: &Path) -> Result<(), BoxError> {
    Ok(options(0).create(folder.join("vault"))?.close()?)
}

pub(crate) fn run(folder: &Path, start: u64) -> Result<(), BoxError> {
    let vault = options(0).open(folder.join("vault"))?;
    for number in start.. {
        commit(&vault, number)?;
        acknowledge(number);
    }
    Ok(())
}

pub(crate) fn judge(folder: &Path, acknowledged: u64) -> Result<u64, BoxError> {
    let vault = options(0).open(folder.join("vault"))?;
    check_whole(&vault)?;
    let commits = commits_in(&vault, acknowledged)?;
    vault.close()?;
    Ok(commits)
}

/// Returns the number of commits in the vault: the acknowledged ones, or one more.
///
/// Returns an error if the number or a row differs.
pub(crate) fn commits_in(vault: &Vault, acknowledged: u64) -> Result<u64, BoxError> {
    let found: BTreeMap<_, _> = all(vault)?.into_iter().collect();
    let commits = found.get(COUNT).and_then(|bytes| bytes[..].try_into().ok());
    let commits = commits.map_or(0, u64::from_be_bytes);
    let same = found == expected(commits);
    if same && (commits == acknowledged || commits == acknowledged + 1) {
        return Ok(commits);
    }
    Err(format!("{acknowledged} commits acknowledged, {commits} found, rows whole: {same}").into())
}
