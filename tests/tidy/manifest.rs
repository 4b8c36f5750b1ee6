//! The dependencies of the crates obey the order, in their `Cargo.toml`.

use std::path::Path;

use crate::order::{Place, lib_of};
use crate::tree::{Finding, Tree};

/// A dependency in a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency<'t> {
    pub(crate) name: &'t str,
    pub(crate) is_dev: bool,
    pub(crate) line: usize,
}

/// Returns the dependencies that a manifest lists, without those of the workspace.
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let (mut is_list, mut is_dev) = (false, false);
    for (line, text) in (1..).zip(manifest.lines().map(str::trim)) {
        if let Some(header) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_dev = header.contains("dev-dependencies");
            is_list = header.ends_with("dependencies") && !header.starts_with("workspace");
            if let Some((table, name)) = header.rsplit_once("dependencies.")
                && !table.starts_with("workspace")
            {
                found.push(Dependency { name, is_dev, line });
            }
        } else if let Some(name) = renamed(text) {
            found.push(Dependency { name, is_dev, line });
        } else if is_list && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let end = text.find(['.', '=', ' ']).unwrap_or(text.len());
            found.push(Dependency { name: &text[..end], is_dev, line });
        }
    }
    found
}

/// Returns the real name of a renamed dependency.
fn renamed(text: &str) -> Option<&str> {
    let (before, after) = text.split_once("package = \"")?;
    let (name, _) = after.split_once('"')?;
    (!before.starts_with('#')).then_some(name)
}

/// Returns dependencies on crates that are not lower, except tests'.
fn upward(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree {
        if !path.ends_with("Cargo.toml") {
            continue;
        }
        let Some(from) = path.parent().and_then(lib_of).and_then(Place::of_crate) else {
            if path.starts_with("engine") {
                let message = "not in the order: add the crate to the table in tests/tidy/order.rs";
                findings.push(Finding::new(path, 1, message));
            }
            continue;
        };
        for dependency in dependencies(text) {
            let lib = dependency.name.replace('-', "_");
            let Some(to) = Place::of_crate(&lib) else { continue };
            if !dependency.is_dev && !from.may_import(&to) {
                let message = format!(
                    "{} depends on {lib}, which is not below it: move what it needs down",
                    from.name
                );
                findings.push(Finding::new(path, dependency.line, message));
            }
        }
    }
    findings
}

/// Returns whether `path` is the manifest of a crate that ships.
pub(crate) fn ships(path: &Path) -> bool {
    path.ends_with("Cargo.toml")
        && ["engine", "backends", "cli"].iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    #[test]
    fn dependencies_of_the_repository_run_downwards() {
        assert_none(&upward(repository()));
    }

    #[test]
    fn dependency_on_a_higher_crate_is_reported() {
        let path = "engine/base/Cargo.toml";
        let part = "strongroom_base depends on strongroom_store";
        for text in [
            "\n[dependencies]\nstrongroom-store.workspace = true",
            "\n[target.'cfg(unix)'.dependencies]\nstrongroom-store = { path = \"../store\" }",
            "\n[dependencies.strongroom-store]\nworkspace = true",
            "\n[dependencies]\nshelf = { package = \"strongroom-store\", workspace = true }",
        ] {
            assert_one(&added(upward, &planted(path, text)), path, part);
        }
    }

    #[test]
    fn dependency_of_tests_is_allowed() {
        let text = "\n[dev-dependencies]\nstrongroom-testkit.workspace = true";
        assert_none(&added(upward, &planted("engine/base/Cargo.toml", text)));
    }

    #[test]
    fn crate_outside_the_table_is_reported() {
        let path = "engine/attic/Cargo.toml";
        assert_one(&added(upward, &planted(path, "[package]")), path, "not in the order");
    }
}
