//! Links between documents lead to files and headings that exist.

use std::path::{Component, Path, PathBuf};

use crate::tree::{Finding, Tree};

/// A link of a document.
struct Link<'t> {
    line: usize,
    target: &'t str,
}

/// Returns links to missing files, and to missing headings of documents.
fn broken(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_document(path)) {
        for Link { line, target } in links(text) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { resolve(path, file) };
            let is_folder = tree.keys().any(|path| path.starts_with(&to));
            let fault = if !is_folder {
                format!("link to `{target}`: there is no such file")
            } else if !heading.is_empty() && !has_heading(&tree[&to], heading) {
                format!("link to `{target}`: the document has no such heading")
            } else {
                continue;
            };
            findings.push(Finding::new(path, line, fault));
        }
    }
    findings
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Returns the links to files of the repository, outside of code.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let inline =
            text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split(')').next());
        let defined =
            text.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, to)| to);
        let targets = inline.chain(defined).map(str::trim);
        links.extend(targets.filter(|to| !to.contains("://")).map(|target| Link { line, target }));
    }
    links
}

/// Returns the path of a link in the document at `from`.
fn resolve(from: &Path, link: &str) -> PathBuf {
    let mut path = from.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

fn has_heading(text: &str, wanted: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line.trim_start_matches('#').trim()) == wanted)
}

/// Returns the anchor that renderers of Markdown give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    #[test]
    fn links_of_the_repository_are_whole() {
        let count: usize =
            repository().iter().filter(|(p, _)| is_document(p)).map(|(_, t)| links(t).len()).sum();
        println!("links between documents: {count}");
        assert!(count > 50, "{count} links were found");
        assert_none(&broken(repository()));
    }

    #[test]
    fn link_to_a_missing_file_is_reported() {
        for text in ["[old](attic.md)\n", "[old]: ../loft/\n", "[a](index.md#b) [b](README.md)\n"] {
            let found = added(broken, &planted("docs/attic/old.md", text));
            assert!(found.iter().all(|f| f.message.contains("no such file")), "{found:?}");
            assert!(!found.is_empty(), "{text}");
        }
    }

    #[test]
    fn link_to_a_missing_heading_is_reported() {
        let tree = planted("docs/old.md", "# A `b`, c\n\n[x](#a-b-c) [y](#a)\n");
        assert_one(&added(broken, &tree), "docs/old.md", "no such heading");
    }

    #[test]
    fn links_in_code_and_to_the_web_are_not_reported() {
        let text = "```\n[a](b.md)\n```\n[w](https://example.com/a.md)\n[up](../README.md)\n";
        assert_none(&added(broken, &planted("docs/old.md", text)));
    }
}
