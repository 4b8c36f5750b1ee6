//! The prose rules of CONTRIBUTING.md that a program can check.
//!
//! Prose is the comments and texts of Rust sources, and Markdown outside of code. Text in backticks
//! is code.

use std::ops::Range;
use std::path::Path;

use crate::tree::{Finding, Tree};

const COLUMNS_MAX: usize = 100;
const TEST_NAME_MAX: usize = 60;
/// Recorded benchmark runs, which are never rewritten.
const RECORDED: &str = "benches/results";

/// Words that hide the actor or the fact.
const BANNED: [&str; 44] = [
    "whoever",
    "whosever",
    "nobody",
    "somebody",
    "told",
    "tell",
    "tells",
    "telling",
    "let go",
    "lets go",
    "letting go",
    "take back",
    "takes back",
    "taken back",
    "took back",
    "lay aside",
    "lays aside",
    "laid aside",
    "for good",
    "so many",
    "anew",
    "beside",
    "go on",
    "goes on",
    "going on",
    "gone on",
    "went on",
    "lie",
    "lies",
    "lay",
    "lain",
    "lying",
    "stand",
    "stands",
    "stood",
    "standing",
    "hears of",
    "heard of",
    "learns",
    "learnt",
    "patience",
    "as it were",
    "is to be",
    "are to be",
];

/// Words that may not begin a doc comment.
const OPENINGS: [&str; 4] = ["What", "Whether", "Whoever", "Has"];

/// One line of prose.
struct Line<'t> {
    number: usize,
    text: &'t str,
    /// Set on the first line of a doc comment.
    opens_doc: bool,
}

/// Returns banned words in comments, texts, function names and documents.
fn banned(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_prose(path)) {
        // This file contains the list.
        if path.ends_with("tests/tidy/prose.rs") {
            continue;
        }
        let (texts, names) = if is_rust(path) {
            (literals(text), function_names(text))
        } else {
            (Vec::new(), Vec::new())
        };
        let lines = lines(path, text).into_iter().map(|line| (line.number, line.text));
        let texts = lines.chain(texts).map(|(number, text)| (number, text.to_owned()));
        for (number, text) in texts.chain(names) {
            for phrase in BANNED.iter().filter(|phrase| has_phrase(&text, phrase)) {
                let message =
                    format!("\"{phrase}\": name the actor and the fact (CONTRIBUTING.md)");
                findings.push(Finding::new(path, number, message));
            }
        }
    }
    findings
}

/// Returns doc comments that begin with a word of [`OPENINGS`].
fn openings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_rust(path)) {
        for line in lines(path, text).iter().filter(|line| line.opens_doc) {
            let first = line.text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            if OPENINGS.contains(&first) {
                let message = format!("begins with \"{first}\": begin with a verb or a noun");
                findings.push(Finding::new(path, line.number, message));
            }
        }
    }
    findings
}

/// Returns comments that are too wide.
fn wide(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_rust(path)) {
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > COLUMNS_MAX {
                let message = format!("a comment of {columns} columns: wrap it at {COLUMNS_MAX}");
                findings.push(Finding::new(path, number, message));
            }
        }
    }
    findings
}

/// Returns test names that are too long.
fn long_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_rust(path)) {
        let mut is_test = false;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.starts_with("#[") {
                is_test |= line == "#[test]";
                continue;
            }
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|name| is_test && name.len() > TEST_NAME_MAX) {
                let length = name.len();
                let message =
                    format!("a test's name of {length} characters: {TEST_NAME_MAX} at most");
                findings.push(Finding::new(path, number, message));
            }
            is_test = false;
        }
    }
    findings
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn is_prose(path: &Path) -> bool {
    let is_document = path.extension().is_some_and(|extension| extension == "md");
    is_rust(path) || is_document && !path.starts_with(RECORDED)
}

/// Returns the prose lines of a file, without code blocks.
fn lines<'t>(path: &Path, text: &'t str) -> Vec<Line<'t>> {
    let is_document = !is_rust(path);
    let mut lines = Vec::new();
    let (mut is_code, mut was_doc) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        let comment = trimmed.strip_prefix("//");
        let Some(prose) = comment.or(is_document.then_some(trimmed)) else {
            (is_code, was_doc) = (false, false);
            continue;
        };
        let is_doc = comment.is_some_and(|rest| rest.starts_with(['/', '!']));
        let prose = if is_doc { &prose[1..] } else { prose }.trim_start();
        if prose.starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(Line { number, text: prose, opens_doc: is_doc && !was_doc });
        }
        was_doc = is_doc;
    }
    lines
}

/// Returns the names of functions, with spaces between their words.
fn function_names(text: &str) -> Vec<(usize, String)> {
    let name = |line: &str| {
        let before = line.find("fn ")?;
        let name = line[before + 3..].split(['(', '<']).next()?;
        let is_function =
            line[..before].chars().all(|c| c.is_ascii_lowercase() || " ()".contains(c));
        is_function.then(|| name.replace('_', " "))
    };
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| Some((number, name(line)?))).collect()
}

/// Returns texts in quotes that end on their line.
///
/// Comments are excluded.
///
/// Only texts with a space are prose.
fn literals(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let code = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"));
    for (number, line) in code {
        let mut begin = None;
        let mut is_escaped = false;
        for (at, c) in line.char_indices() {
            match (c, begin) {
                _ if is_escaped => is_escaped = false,
                ('\\', Some(_)) => is_escaped = true,
                ('"', None) => begin = Some(at + 1),
                ('"', Some(first)) => {
                    begin = None;
                    found.push((number, &line[first..at]));
                }
                _ => {}
            }
        }
    }
    found.retain(|(_, text)| text.contains(' '));
    found
}

/// Returns whether `text` has `phrase` as whole words, outside of backticks.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let ends_word = |range: &Range<usize>| {
        !lower[..range.start].ends_with(is_word) && !lower[range.end..].starts_with(is_word)
    };
    let is_code = |at: usize| lower[..at].matches('`').count() % 2 == 1;
    lower
        .match_indices(phrase)
        .map(|(at, found)| at..at + found.len())
        .any(|range| ends_word(&range) && !is_code(range.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    const PATH: &str = "engine/attic/src/old.rs";

    #[test]
    fn repository_has_no_banned_word() {
        assert_none(&banned(repository()));
    }

    #[test]
    fn repository_has_no_weak_opening() {
        assert_none(&openings(repository()));
    }

    #[test]
    fn repository_has_no_wide_comment() {
        assert_none(&wide(repository()));
    }

    #[test]
    fn repository_has_no_long_test_name() {
        assert_none(&long_names(repository()));
    }

    #[test]
    fn banned_word_is_reported() {
        for text in [
            "// Nobody reads it.\n",
            "fn f() { g(\"all is told\"); }\n",
            "/// It Lies there.\n",
            "    pub(crate) fn f_goes_on<T>(t: T) {}\n",
        ] {
            assert_one(&added(banned, &planted(PATH, text)), PATH, "name the actor");
        }
        let tree = planted("docs/old.md", "It goes on.\n");
        assert_one(&added(banned, &tree), "docs/old.md", "goes on");
    }

    #[test]
    fn other_words_and_code_are_not_reported() {
        for text in [
            "// Understand the layout of `told`.\nlet told = 1;\n",
            "/// ```\n/// somebody();\n/// ```\nfn f() {}\n",
            "// A stand-in.\nconst A: &str = \"told\";\n",
        ] {
            assert_none(&added(banned, &planted(PATH, text)));
        }
        assert_none(&added(banned, &planted("docs/old.md", "```\nit goes on\n```\n")));
    }

    #[test]
    fn weak_opening_is_reported() {
        let text = "/// What it is.\n/// Whether it is.\nstruct A;\n//! Has it.\n";
        let found = added(openings, &planted(PATH, text));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_one(&added(openings, &planted(PATH, "/// Whether.\n")), PATH, "begin with a verb");
        assert_none(&added(openings, &planted(PATH, "/// Whatever. \n// What?\n")));
    }

    #[test]
    fn wide_comment_is_reported() {
        let text = |columns: usize| format!("// {}\n", "a".repeat(columns - 3));
        assert_one(&added(wide, &planted(PATH, &text(101))), PATH, "wrap it");
        assert_none(&added(wide, &planted(PATH, &text(100))));
    }

    #[test]
    fn long_test_name_is_reported() {
        let text =
            |length: usize| format!("#[test]\n#[ignore]\nfn {}() {{}}\n", "a".repeat(length));
        assert_one(&added(long_names, &planted(PATH, &text(61))), PATH, "61 characters");
        assert_none(&added(long_names, &planted(PATH, &text(60))));
        assert_none(&added(long_names, &planted(PATH, &text(61).replace("#[test]\n", ""))));
    }
}
