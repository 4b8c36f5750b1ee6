//! Vault after vault is created in one folder. One whose creation returned is there and whole;
//! the one under way is either no vault, and can be created anew, or a whole one.

use std::path::{Path, PathBuf};

use strongroom::ErrorKind;
use strongroom_testkit::BoxError;

use crate::support::records::{all, try_put};
use crate::{acknowledge, options, whole};

fn vault(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("vault-{number}"))
}

pub(crate) fn run(folder: &Path, start: u64) -> Result<(), BoxError> {
    for number in start.. {
        let vault = options(0).create(vault(folder, number))?;
        acknowledge(number);
        drop(vault);
    }
    Ok(())
}

pub(crate) fn judge(folder: &Path, told: u64) -> Result<u64, BoxError> {
    for number in 0..told {
        works(&vault(folder, number))
            .map_err(|error| format!("vault {number} of {told}: {error}"))?;
    }
    let under_way = vault(folder, told);
    match options(0).open(&under_way) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options(0).create(&under_way)?.close()?;
            works(&under_way).map_err(|error| format!("created anew: {error}"))?;
            Ok(told)
        }
        Err(error) => Err(format!("the vault under way: {error}").into()),
        Ok(vault) => {
            vault.close()?;
            works(&under_way).map_err(|error| format!("the vault under way: {error}"))?;
            Ok(told + 1)
        }
    }
}

/// It opens, is whole and empty, and takes a row.
fn works(path: &Path) -> Result<(), BoxError> {
    let vault = options(0).open(path)?;
    whole(&vault)?;
    if !all(&vault)?.is_empty() {
        return Err("a new vault has rows".into());
    }
    try_put(&vault, "k", b"v")?;
    vault.close()?;
    let vault = options(0).open(path)?;
    let rows = all(&vault)?;
    vault.close()?;
    let row = ("k".to_owned(), b"v".to_vec());
    if rows == [row] { Ok(()) } else { Err(format!("{} rows for one", rows.len()).into()) }
}
