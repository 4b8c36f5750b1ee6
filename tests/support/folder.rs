//! The bytes of a folder, to check whether a call changed any.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads every file below `root`, and lists every folder.
///
/// The vault's lock file and the holder's note are excluded, because a refusal may create them.
pub(crate) fn contents(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    if root.is_file() {
        found.insert(PathBuf::new(), Some(fs::read(root).unwrap()));
        return found;
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if name == Path::new("lock") || name == Path::new("holder") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// Runs `act`, and asserts that it changed nothing below `root`.
#[track_caller]
pub(crate) fn unchanged<T>(root: &Path, act: impl FnOnce() -> T) -> T {
    let before = contents(root);
    let outcome = act();
    let after = contents(root);
    let changed: Vec<_> = after
        .iter()
        .filter(|(path, bytes)| before.get(*path) != Some(bytes))
        .map(|(path, _)| path)
        .chain(before.keys().filter(|path| !after.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:?}");
    outcome
}

/// Copies a folder of files and folders.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
