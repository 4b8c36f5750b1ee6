//! The keys of one vault are rotated again and again, with a commit between any two rotations.
//! After a cut it opens with the newest key that was acknowledged, or with that of the rotation
//! under way, and never with both or an older one; either way it has every row.

use std::path::Path;

use strongroom::ErrorKind;
use strongroom::keys::NewKey;
use strongroom_testkit::{BoxError, NumberedKey};

use crate::commits::{commit, commits_in};
use crate::{acknowledge, key, options, whole};

/// Makes the commit and the rotation of each number: the vault is then under the next key.
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

pub(crate) fn judge(folder: &Path, told: u64) -> Result<u64, BoxError> {
    let path = folder.join("vault");
    let mut keys = Vec::new();
    for number in told.saturating_sub(1)..=told + 1 {
        if opens(&path, number)? {
            keys.push(number);
        }
    }
    let found = match keys[..] {
        [found] if found >= told => found,
        _ => return Err(format!("{told} rotations acknowledged, opens with {keys:?}").into()),
    };
    let vault = options(found).open(&path)?;
    whole(&vault)?;
    // The commit that comes before the rotation under way may be there already.
    let commits = commits_in(&vault, told)?;
    vault.close()?;
    if commits < found {
        return Err(format!("{found} rotations, {commits} commits").into());
    }
    Ok(found)
}
