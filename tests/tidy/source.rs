//! The code that ships: engine, backends and command line, without tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::lexer::{Token, after_group, are, tokens};
use crate::tree::Tree;

/// A source file.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    /// Tokens of the code outside of test modules.
    pub(crate) tokens: Vec<Token>,
}

/// Returns the shipped source files below `folder`.
pub(crate) fn sources<'t>(tree: &'t Tree, folder: &str) -> Vec<Source<'t>> {
    let mut files = Vec::new();
    let mut test_modules = BTreeSet::new();
    for (path, text) in tree {
        if path.starts_with(folder) && ships(path) {
            let (kept, modules) = without_tests(&tokens(text));
            test_modules.extend(modules.iter().map(|name| children(path).join(name)));
            files.push(Source { path, tokens: kept });
        }
    }
    let is_test = |path: &Path| {
        path.ancestors().any(|folder| test_modules.contains(&folder.with_extension("")))
    };
    files.retain(|source| !is_test(source.path));
    files
}

fn ships(path: &Path) -> bool {
    crate_folder(path).is_some() && path.extension().is_some_and(|extension| extension == "rs")
}

/// Returns the folder of the crate whose `src` contains `path`.
pub(crate) fn crate_folder(path: &Path) -> Option<&Path> {
    let folder = path.ancestors().find(|folder| folder.ends_with("src"))?.parent()?;
    (folder.starts_with("engine") || folder == Path::new("backends") || folder == Path::new("cli"))
        .then_some(folder)
}

/// Returns the modules from the root of the crate to the file.
pub(crate) fn modules(path: &Path) -> Vec<String> {
    let src = crate_folder(path).expect("it ships").join("src");
    let below = path.strip_prefix(src).expect("it is below `src`").with_extension("");
    let mut modules: Vec<_> =
        below.iter().map(|part| part.to_str().expect("names are UTF-8").to_owned()).collect();
    modules.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    modules
}

/// Returns the folder for the files of the modules that `path` declares.
fn children(path: &Path) -> PathBuf {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs" | "main.rs") => path.with_file_name(""),
        _ => path.with_extension(""),
    }
}

/// Returns the tokens outside tests, and other files' test modules.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let is_inner = are(tokens, at, &["#", "!", "["]);
        let open = at + 1 + usize::from(is_inner);
        if !are(tokens, at, &["#"]) || !are(tokens, open, &["["]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = after_group(tokens, open);
        if !asks_for_tests(&tokens[open..end]) {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
        } else if is_inner {
            return (Vec::new(), modules);
        } else {
            let (item, after) = item(tokens, end);
            if let [is_mod, name, semicolon] = &tokens[item..after]
                && is_mod.is("mod")
                && semicolon.is(";")
            {
                modules.extend(name.word().map(str::to_owned));
            }
            at = after;
        }
    }
    (kept, modules)
}

/// Returns whether an attribute is `cfg(test)`, or includes it.
fn asks_for_tests(attribute: &[Token]) -> bool {
    let has = |text| attribute.iter().any(|token| token.is(text));
    are(attribute, 1, &["cfg", "("]) && has("test") && !has("not") && !has("any")
}

/// Returns the start and end of the item after attributes.
fn item(tokens: &[Token], mut at: usize) -> (usize, usize) {
    while are(tokens, at, &["#", "["]) {
        at = after_group(tokens, at + 1);
    }
    let start = at;
    while at < tokens.len() {
        if tokens[at].is(";") {
            return (start, at + 1);
        }
        let is_body = tokens[at].is("{");
        let is_group = is_body || tokens[at].is("(") || tokens[at].is("[");
        at = if is_group { after_group(tokens, at) } else { at + 1 };
        if is_body {
            break;
        }
    }
    (start, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn words(tree: &Tree) -> Vec<String> {
        let all = sources(tree, "").into_iter().flat_map(|source| source.tokens);
        all.filter_map(|token| token.word().map(str::to_owned)).collect()
    }

    #[test]
    fn test_code_is_left_out() {
        let tree = made_up(&[
            (
                "engine/a/src/lib.rs",
                "mod b; #[cfg(test)] mod tests; #[cfg(test)] #[rustfmt::skip] fn f() { g(); }",
            ),
            ("engine/a/src/b.rs", "#[cfg(all(test, unix))] mod tests { x(); } #[cfg(not(test))] y"),
            ("engine/a/src/tests.rs", "t"),
            ("engine/a/src/tests/more.rs", "t"),
            ("engine/a/src/b/whole.rs", "#![cfg(test)] t"),
            ("engine/a/tests/t.rs", "t"),
        ]);
        assert_eq!(words(&tree), ["cfg", "not", "test", "y", "mod", "b"]);
    }

    #[test]
    fn modules_of_a_file_follow_its_path() {
        let of = |path| modules(Path::new(path)).join("::");
        assert_eq!(of("engine/a/src/b/c.rs"), "b::c");
        assert_eq!(of("engine/a/src/b/mod.rs"), "b");
        assert_eq!(of("cli/src/main.rs"), "");
    }
}
