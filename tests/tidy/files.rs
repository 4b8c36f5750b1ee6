//! A source file begins with its purpose, and is short.

use std::path::Path;

use crate::tree::{Finding, Tree};

const LINES_MAX: usize = 600;
const FOLDERS: [&str; 6] = ["engine", "backends", "cli", "tests", "benches", "examples"];

/// Returns source files that are too long or do not begin with `//!`.
fn misshapen(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_source(path)) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            let message = format!("{lines} lines, and {LINES_MAX} are the most: split the file");
            findings.push(Finding::new(path, LINES_MAX + 1, message));
        }
        let first = text.lines().map(str::trim).zip(1..).find(|(line, _)| !line.is_empty());
        if !first.is_some_and(|(line, _)| line.starts_with("//!")) {
            let line = first.map_or(1, |(_, line)| line);
            let message = "does not begin with `//!`: say what the file is for";
            findings.push(Finding::new(path, line, message));
        }
    }
    findings
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
        && FOLDERS.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    #[test]
    fn sources_of_the_repository_are_in_form() {
        let longest = repository()
            .iter()
            .filter(|(path, _)| is_source(path))
            .max_by_key(|(_, text)| text.lines().count());
        let (path, text) = longest.expect("there are sources");
        println!("longest source: {}, {} lines", path.display(), text.lines().count());
        assert_none(&misshapen(repository()));
    }

    #[test]
    fn source_of_too_many_lines_is_reported() {
        let path = "tests/attic.rs";
        let text = format!("//! Old things.\n{}", "\n".repeat(LINES_MAX - 1));
        assert_none(&added(misshapen, &planted(path, &text)));
        assert_one(&added(misshapen, &planted(path, &(text + "\n"))), path, "split the file");
    }

    #[test]
    fn source_without_its_purpose_is_reported() {
        let path = "benches/attic/new.rs";
        for text in ["", "use std::fmt;\n", "#![allow(dead_code)]\n//! Late.\n", "/// Of others.\n"]
        {
            assert_one(&added(misshapen, &planted(path, text)), path, "say what the file is for");
        }
        assert_none(&added(misshapen, &planted(path, "\n//! Old things.\n")));
    }
}
