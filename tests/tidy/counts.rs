//! Numbers that may not grow: root names, vault methods, `inner()` calls.

use std::path::{Path, PathBuf};

use crate::lexer::{Token, after_group, are, tokens};
use crate::paths::paths;
use crate::source::sources;
use crate::tree::{Finding, Tree};

/// Most public names at the root of the library, modules included.
const ROOT_NAMES_MAX: usize = 30;
/// Most public methods of `Vault`.
const VAULT_METHODS_MAX: usize = 20;
/// Most calls of `inner()` in the engine, all in the test kit.
const INNER_CALLS_MAX: usize = 10;

const ROOT: &str = "engine/strongroom/src/lib.rs";
/// Declarations that can be public, before their name.
const DECLARATIONS: [&str; 10] =
    ["mod", "struct", "enum", "union", "trait", "type", "const", "static", "fn", "macro"];

/// A counted name, and the location of its declaration or use.
struct Counted {
    name: String,
    path: PathBuf,
    line: usize,
}

impl Counted {
    fn new(name: &str, path: &Path, token: &Token) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), line: token.line }
    }
}

/// Returns a finding at the first name in `counted` beyond the limit.
fn excess(counted: &[Counted], max: usize, advice: &str) -> Option<Finding> {
    let first = counted.get(max)?;
    let message = format!("{} is 1 of {}, {max} are the most: {advice}", first.name, counted.len());
    Some(Finding::new(&first.path, first.line, message))
}

fn root_excess(tree: &Tree, max: usize) -> Option<Finding> {
    excess(&root_names(tree), max, "move names into the module of their feature")
}

fn method_excess(tree: &Tree, max: usize) -> Option<Finding> {
    excess(&vault_methods(tree), max, "move the method to the handle of its room")
}

fn inner_excess(tree: &Tree, max: usize) -> Option<Finding> {
    excess(&inner_calls(tree), max, "pass what is needed instead of the whole inside")
}

/// Returns the public names at the root of the library.
///
/// A `*` hides names, so it counts as 1,000.
fn root_names(tree: &Tree) -> Vec<Counted> {
    let path = Path::new(ROOT);
    let tokens = tokens(tree.get(path).map_or("", String::as_str));
    let mut names = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < tokens.len() {
        depth += usize::from(tokens[at].is("{"));
        depth -= usize::from(tokens[at].is("}") && depth > 0);
        if depth == 0 && are(&tokens, at, &["pub", "use"]) {
            let end = (at..tokens.len()).find(|n| tokens[*n].is(";")).unwrap_or(tokens.len());
            for named in paths(&tokens[at..end]) {
                let name = named.segments.join("::");
                let hidden = if name.ends_with('*') { 1_000 } else { 1 };
                names.extend((0..hidden).map(|_| Counted {
                    name: name.clone(),
                    path: path.to_owned(),
                    line: named.line,
                }));
            }
            at = end;
        } else if depth == 0
            && tokens[at].is("pub")
            && let [declaration, name, ..] = &tokens[at + 1..]
            && DECLARATIONS.iter().any(|word| declaration.is(word))
        {
            names.push(Counted::new(name.word().unwrap_or_default(), path, name));
        }
        at += 1;
    }
    names
}

/// Returns the public methods in all `impl Vault` blocks of the library.
fn vault_methods(tree: &Tree) -> Vec<Counted> {
    let mut methods = Vec::new();
    for source in sources(tree, "engine/strongroom") {
        let tokens = &source.tokens;
        for at in (0..tokens.len()).filter(|at| tokens[*at].is("impl")) {
            let Some(open) = (at..tokens.len()).find(|n| tokens[*n].is("{")) else { continue };
            let header = &tokens[at..open];
            if header.last().is_some_and(|t| t.is("Vault")) && !header.iter().any(|t| t.is("for")) {
                let body = &tokens[open..after_group(tokens, open)];
                let names = public_functions(body);
                methods.extend(names.map(|(name, token)| Counted::new(name, source.path, token)));
            }
        }
    }
    methods
}

/// Returns the names after `pub fn`, `pub const fn` and similar declarations.
fn public_functions(body: &[Token]) -> impl Iterator<Item = (&str, &Token)> {
    let of_pub = body.iter().enumerate().filter(|(_, token)| token.is("pub"));
    of_pub.filter_map(|(at, _)| {
        let is_modifier =
            |token: &&Token| ["const", "async", "unsafe"].iter().any(|word| token.is(word));
        let mut rest = body[at + 1..].iter().skip_while(is_modifier);
        rest.next().filter(|token| token.is("fn"))?;
        let name = rest.next()?;
        Some((name.word()?, name))
    })
}

/// Returns the calls of `inner()` on any expression in the engine.
fn inner_calls(tree: &Tree) -> Vec<Counted> {
    let mut calls = Vec::new();
    for source in sources(tree, "engine") {
        for at in 0..source.tokens.len() {
            if are(&source.tokens, at, &[".", "inner", "(", ")"]) {
                calls.push(Counted::new("inner()", source.path, &source.tokens[at]));
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, assert_one, made_up, planted, repository};

    const KEYS: &str = "engine/strongroom/src/vault/keys.rs";

    fn check(finding: Option<Finding>) {
        assert_none(&Vec::from_iter(finding));
    }

    fn check_one(finding: Option<Finding>, path: &str, part: &str) {
        assert_one(&Vec::from_iter(finding), path, part);
    }

    #[test]
    fn names_at_the_root_are_not_more() {
        let now = root_names(repository()).len();
        println!("names at the root: {now} (at most {ROOT_NAMES_MAX})");
        check(root_excess(repository(), ROOT_NAMES_MAX));
        let tree = planted(ROOT, "pub use vault::{Attic, Cellar};");
        check_one(root_excess(&tree, now + 1), ROOT, "vault::Cellar");
    }

    #[test]
    fn methods_of_the_vault_are_not_more() {
        let now = vault_methods(repository()).len();
        println!("public methods of Vault: {now} (at most {VAULT_METHODS_MAX})");
        check(method_excess(repository(), VAULT_METHODS_MAX));
        let tree = planted(KEYS, "impl crate::vault::Vault { pub const fn attic(&self) {} }");
        assert_eq!(vault_methods(&tree).len(), now + 1);
        assert!(method_excess(&tree, now).is_some());
    }

    #[test]
    fn calls_of_inner_are_not_more() {
        let now = inner_calls(repository()).len();
        println!("calls of inner(): {now} (at most {INNER_CALLS_MAX})");
        check(inner_excess(repository(), INNER_CALLS_MAX));
        let tree = planted(KEYS, "fn f(v: &V) { v.inner().core; v.into_inner(); }");
        assert_eq!(inner_calls(&tree).len(), now + 1);
        assert!(inner_excess(&tree, now).is_some());
    }

    #[test]
    fn each_public_name_at_the_root_counts() {
        let text = "mod a; pub(crate) use a::Q; pub mod b; pub use a::{X, Y as Z};\n\
                    pub use c as d; pub fn f() { pub use a::W; } /* pub use a::V; */";
        let names = root_names(&made_up(&[(ROOT, text)]));
        let names: Vec<_> = names.iter().map(|counted| counted.name.as_str()).collect();
        assert_eq!(names, ["b", "a::X", "a::Y", "c", "f"]);
        let tree = made_up(&[(ROOT, "pub use a::*;")]);
        check_one(root_excess(&tree, 500), ROOT, "a::*");
    }

    #[test]
    fn public_methods_of_the_vault_alone_count() {
        let text = "impl Vault { pub fn a() { inner(); } fn b() {} pub(crate) fn c() {} }\n\
                    impl fmt::Debug for Vault { pub fn d() {} } impl Other { pub fn e() {} }\n\
                    #[cfg(test)] impl Vault { pub fn g() {} }";
        let tree = made_up(&[(KEYS, text)]);
        check(method_excess(&tree, 1));
        check_one(method_excess(&tree, 0), KEYS, "a is 1 of 1");
    }
}
