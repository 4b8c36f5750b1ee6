//! The files of the repository, in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Files by their path from the root of the repository.
///
/// Only sources, manifests and documents have their text.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// A violation of a rule: the place, and how to correct it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Returns the files of this repository.
pub(crate) fn repository() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut tree = Tree::new();
        read_folder(root, root, &mut tree);
        assert!(tree.len() > 100, "{} is the repository", root.display());
        tree
    })
}

fn read_folder(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).expect("a folder of the repository is readable") {
        let entry = entry.expect("an entry of the repository is readable");
        let path = entry.path();
        if entry.file_type().expect("an entry has a type").is_dir() {
            let is_foreign = entry.file_name() == ".git" || path.join("CACHEDIR.TAG").exists();
            if !is_foreign && entry.file_name() != "target" {
                read_folder(root, &path, tree);
            }
            continue;
        }
        let is_text = path.extension().is_some_and(|e| e == "rs" || e == "toml" || e == "md");
        let text = if is_text {
            fs::read_to_string(&path).expect("a source file is readable, and UTF-8")
        } else {
            String::new()
        };
        let path = path.strip_prefix(root).expect("it is below the root").to_owned();
        tree.insert(path, text);
    }
}

/// Creates a repository in memory.
pub(crate) fn made_up(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
}

/// Returns a copy of this repository with `text` added to one file.
///
/// A missing file is created.
pub(crate) fn planted(path: &str, text: &str) -> Tree {
    let mut tree = repository().clone();
    tree.entry(path.into()).or_default().push_str(text);
    tree
}

/// Returns the findings in `tree` that the repository does not have.
pub(crate) fn added(rule: impl Fn(&Tree) -> Vec<Finding>, tree: &Tree) -> Vec<Finding> {
    let old = rule(repository());
    rule(tree).into_iter().filter(|finding| !old.contains(finding)).collect()
}

/// Fails with all findings, one for each line.
pub(crate) fn assert_none(findings: &[Finding]) {
    let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), lines.join("\n"));
}

/// Asserts one finding, in `path`, whose message contains `part`.
pub(crate) fn assert_one(findings: &[Finding], path: &str, part: &str) {
    let [finding] = findings else { panic!("not one finding: {findings:#?}") };
    assert_eq!(finding.path, Path::new(path), "{finding}");
    assert!(finding.message.contains(part), "{finding}");
}
