//! Rotations of one vault, with a commit before each.
//!
//! After a cut, exactly one key opens the vault: the newest acknowledged key, or the key of the
//! interrupted rotation. The vault has every row in both cases.

use std::path::Path;

use strongroom::ErrorKind;
use strongroom::keys::NewKey;
use strongroom_testkit::{BoxError, NumberedKey};

use crate::commits::{commit, commits_in};
use crate::{acknowledge, check_whole, key, options};

/// Makes a commit and a rotation for each number.
pub(crate) fn run(folder: &Path, start: u64) -> Result<(), BoxError> {
    let vault = options(start).open(folder.join("vault"))?;
    for number in start.. {
        commit(&vault, number)?;
        let next: NumberedKey = key(number + 1);
        vault.keys().rotate(&[NewKey::new(&next)])?;
        acknowledge(number);
    }
    Ok(())
}

fn opens(path: &Path, number: u64) -> Result<bool, BoxError> {
    match options(number).open(path) {
        Ok(vault) => vault.close().map(|()| true).map_err(Into::into),
        Err(error) if error.kind() == ErrorKind::Denied => Ok(false),
        Err(error) => Err(format!("key {number}: {error}").into()),
    }
}

pub(crate) fn judge(folder: &Path, acknowledged: u64) -> Result<u64, BoxError> {
    let path = folder.join("vault");
    let mut keys = Vec::new();
    for number in acknowledged.saturating_sub(1)..=acknowledged + 1 {
        if opens(&path, number)? {
            keys.push(number);
        }
    }
    let found = match keys[..] {
        [found] if found >= acknowledged => found,
        _ => {
            return Err(
                format!("{acknowledged} rotations acknowledged, opens with {keys:?}").into()
            );
        }
    };
    let vault = options(found).open(&path)?;
    check_whole(&vault)?;
    // The commit before the interrupted rotation may have completed.
    let commits = commits_in(&vault, acknowledged)?;
    vault.close()?;
    if commits < found {
        return Err(format!("{found} rotations, {commits} commits").into());
    }
    Ok(found)
}
