//! The paths of sources and folders in ARCHITECTURE.md exist, as does each path in the first column
//! of its code map.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{Finding, Tree};

const DOCUMENT: &str = "ARCHITECTURE.md";
const MAP: &str = "## Code map";

/// The files and folders of a repository, without slashes at their end.
struct Listing(BTreeSet<String>);

impl Listing {
    fn new(tree: &Tree) -> Self {
        let all = tree.keys().flat_map(|path| path.ancestors());
        Self(all.filter_map(Path::to_str).map(str::to_owned).collect())
    }

    fn has(&self, path: &str) -> bool {
        self.0.contains(path.trim_end_matches('/'))
    }

    /// Returns whether some path ends in `end`.
    fn has_suffix(&self, end: &str) -> bool {
        let end = format!("/{}", end.trim_end_matches('/'));
        self.0.iter().any(|path| path.ends_with(&end))
    }

    fn begins_with_root_entry(&self, path: &str) -> bool {
        path.split_once('/').is_some_and(|(top, _)| !top.is_empty() && self.0.contains(top))
    }
}

/// Returns the document's paths that do not exist, and those with globs.
fn wrong_paths(tree: &Tree) -> Vec<Finding> {
    let document = Path::new(DOCUMENT);
    let Some(text) = tree.get(document) else {
        return vec![Finding::new(document, 1, "the document is missing: write it")];
    };
    let listing = Listing::new(tree);
    let mut findings = Vec::new();
    let (mut in_block, mut in_map) = (false, false);
    for (line, text) in (1..).zip(text.lines()) {
        if text.starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if text.starts_with('#') {
            in_map = text == MAP;
        }
        let mut report = |path: &str, fault: Option<&str>| {
            findings.extend(
                fault.map(|fault| Finding::new(document, line, format!("`{path}` {fault}"))),
            );
        };
        if in_block {
            for word in text.split_whitespace().filter(|word| is_folder(word)) {
                report(word, fault(&listing, word));
            }
            continue;
        }
        let first_cell = text.split('|').nth(1).unwrap_or_default();
        // In a cell, a path may be relative to the parent folder of an earlier path.
        let mut parent = "";
        for path in spans(first_cell).filter(|_| in_map) {
            let sibling = format!("{parent}/{path}");
            if !listing.has(path) && !listing.has(sibling.trim_start_matches('/')) {
                report(path, Some(MISSING));
            }
            parent =
                path.trim_end_matches('/').rsplit_once('/').map_or(parent, |(parent, _)| parent);
        }
        let rest =
            if in_map { text.strip_prefix('|').map(|t| &t[first_cell.len()..]) } else { None };
        for span in spans(rest.unwrap_or(text)) {
            report(span, fault(&listing, span));
        }
    }
    findings
}

const MISSING: &str = "does not exist: name its new path, or remove it";

/// Returns the error in a span that looks like a path.
///
/// `None` if the span is correct, or no path.
fn fault(listing: &Listing, span: &str) -> Option<&'static str> {
    let is_top = listing.begins_with_root_entry(span);
    let is_source = Path::new(span).extension().is_some_and(|extension| extension == "rs");
    let is_path = is_top || (span.contains('/') && (span.ends_with('/') || is_source));
    if !is_path || span.starts_with('/') || span.contains(char::is_whitespace) {
        None
    } else if span.contains(['*', '{', '?']) {
        Some("names several paths: name each")
    } else if listing.has(span) || (!is_top && listing.has_suffix(span)) {
        None
    } else {
        Some(MISSING)
    }
}

/// Returns whether a word of a drawing is a folder's path.
fn is_folder(word: &str) -> bool {
    word.ends_with('/') && word.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Returns the texts between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, made_up, planted, repository};

    #[test]
    fn paths_in_the_document_exist() {
        assert_none(&wrong_paths(repository()));
    }

    #[test]
    fn lost_path_is_reported() {
        for path in ["engine/attic/src/", "tests/attic.rs", "attic/old.rs", "state/attic/"] {
            let tree = planted(DOCUMENT, &format!("\nSee `{path}`.\n"));
            assert_one(&added(wrong_paths, &tree), DOCUMENT, &format!("`{path}` does not exist"));
        }
    }

    #[test]
    fn path_with_a_glob_is_reported() {
        for path in ["engine/*/src", "engine/{base,store}/src/"] {
            let tree = planted(DOCUMENT, &format!("\nSee `{path}`.\n"));
            assert_one(&added(wrong_paths, &tree), DOCUMENT, "name each");
        }
    }

    #[test]
    fn lost_path_in_a_drawing_is_reported() {
        let tree = planted(DOCUMENT, "\n```\n |-- attic/  old things\n```\n");
        assert_one(&added(wrong_paths, &tree), DOCUMENT, "`attic/` does not exist");
    }

    #[test]
    fn text_that_is_no_path_is_not_reported() {
        let text = "\n`/proc`, `a/b`, `cargo test engine/attic/`, `strongroom.x`, engine/attic\n";
        assert_none(&added(wrong_paths, &planted(DOCUMENT, text)));
    }

    #[test]
    fn first_column_of_the_map_is_all_paths() {
        let row = |cell| format!("# A\n\n{MAP}\n\n| folder | |\n| --- | --- |\n| {cell} | b |\n");
        let of = |cell| {
            wrong_paths(&made_up(&[
                (DOCUMENT, &row(cell)),
                ("cli/src/a/mod.rs", ""),
                ("cli/src/b.rs", ""),
            ]))
        };
        assert_none(&of("`cli/src/a/`, `b.rs`"));
        assert_one(&of("`cli/src/a/`, `c.rs`"), DOCUMENT, "`c.rs` does not exist");
        assert_one(&of("`attic`"), DOCUMENT, "`attic` does not exist");
    }

    #[test]
    fn missing_document_is_reported() {
        assert_one(&wrong_paths(&made_up(&[])), DOCUMENT, "missing");
    }
}
