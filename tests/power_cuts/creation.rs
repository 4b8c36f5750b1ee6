//! Vaults are created in one folder, one after another.
//!
//! After a cut, each vault whose creation returned is whole. The interrupted creation left either
//! a whole vault or none. In the second case the vault can be created again.

use std::path::{Path, PathBuf};

use strongroom::ErrorKind;
use strongroom_testkit::BoxError;

use crate::support::records::{all, try_put};
use crate::{acknowledge, check_whole, options};

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

pub(crate) fn judge(folder: &Path, acknowledged: u64) -> Result<u64, BoxError> {
    for number in 0..acknowledged {
        check_new_vault(&vault(folder, number))
            .map_err(|error| format!("vault {number} of {acknowledged}: {error}"))?;
    }
    let unfinished = vault(folder, acknowledged);
    match options(0).open(&unfinished) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options(0).create(&unfinished)?.close()?;
            check_new_vault(&unfinished).map_err(|error| format!("created again: {error}"))?;
            Ok(acknowledged)
        }
        Err(error) => Err(format!("the vault being created: {error}").into()),
        Ok(vault) => {
            vault.close()?;
            check_new_vault(&unfinished)
                .map_err(|error| format!("the vault being created: {error}"))?;
            Ok(acknowledged + 1)
        }
    }
}

/// Checks that a new vault is whole, empty and writable.
fn check_new_vault(path: &Path) -> Result<(), BoxError> {
    let vault = options(0).open(path)?;
    check_whole(&vault)?;
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
