//! The paths that a source names, with each `use` group split.

use crate::lexer::{Token, are};

/// A path like `crate::vault::Vault`; it may end in `*`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    /// Name after `as`.
    pub(crate) alias: Option<String>,
    /// Inline modules around the path.
    pub(crate) inside: Vec<String>,
    pub(crate) line: usize,
}

impl Named {
    /// Returns the path from the root of its crate.
    ///
    /// `None` unless it begins with `crate`, `self` or `super`.
    pub(crate) fn absolute(&self, file: &[String]) -> Option<Vec<String>> {
        let mut module = [file, &self.inside].concat();
        let mut rest = self.segments.as_slice();
        match rest.first()?.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => module.truncate(module.len().checked_sub(1)?),
            _ => return None,
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|segment| segment == "super") {
            module.pop()?;
            rest = &rest[1..];
        }
        Some([&module, rest].concat())
    }
}

/// Returns all paths of more than one segment, and all imported paths.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut all = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < tokens.len() {
        if are(tokens, at, &["mod"]) && are(tokens, at + 2, &["{"]) {
            inside.push((tokens[at + 1].word().unwrap_or_default().to_owned(), depth));
        }
        if tokens[at].is("{") {
            depth += 1;
        } else if tokens[at].is("}") {
            depth = depth.saturating_sub(1);
            inside.pop_if(|(_, before)| *before == depth);
        }
        let is_import = tokens[at].is("use");
        let start =
            at + usize::from(is_import) + usize::from(are(tokens, at + 1, &["::"]) && is_import);
        if is_import || (tokens[at].word().is_some() && are(tokens, at + 1, &["::"])) {
            let inside = inside.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            let mut found = Vec::new();
            at = tree(tokens, start, &mut Vec::new(), &mut found).max(at + 1);
            all.extend(found.into_iter().map(|named| Named { inside: inside.clone(), ..named }));
        } else {
            at += 1;
        }
    }
    all
}

/// Collects the paths that begin at `at`. Returns the index after them.
///
/// They continue `prefix`.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Named>,
) -> usize {
    let Some(token) = tokens.get(at) else { return at };
    if token.is("{") {
        at += 1;
        while at < tokens.len() && !tokens[at].is("}") {
            at = if tokens[at].is(",") {
                at + 1
            } else {
                tree(tokens, at, prefix, found).max(at + 1)
            };
        }
        return at + 1;
    }
    let segment = match token.word() {
        Some(word) => word,
        None if token.is("*") => "*",
        None => return at,
    };
    prefix.push(segment.to_owned());
    let goes_on = are(tokens, at + 1, &["::"])
        && tokens
            .get(at + 2)
            .is_some_and(|next| next.word().is_some() || next.is("*") || next.is("{"));
    let after = if goes_on {
        tree(tokens, at + 2, prefix, found)
    } else {
        let alias = if are(tokens, at + 1, &["as"]) { tokens.get(at + 2) } else { None };
        let after = at + 1 + 2 * usize::from(alias.is_some());
        let alias = alias.and_then(Token::word).map(str::to_owned);
        let (segments, line) = (prefix.clone(), token.line);
        found.push(Named { segments, alias, inside: Vec::new(), line });
        after
    };
    prefix.pop();
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::tokens;

    fn of(text: &str) -> Vec<String> {
        paths(&tokens(text)).into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn group_of_imports_is_split() {
        let found = of(
            "use a::{self, b::{c, d as e}, f::*}; pub(crate) use ::g; fn h() { i::j::<k::L>() }",
        );
        assert_eq!(found, ["a::self", "a::b::c", "a::b::d", "a::f::*", "g", "i::j", "k::L"]);
    }

    #[test]
    fn super_is_resolved_from_its_module() {
        let of = |text: &str| {
            let named = paths(&tokens(text)).pop().expect("there is one");
            named.absolute(&["room".into(), "file".into()]).map(|path| path.join("::"))
        };
        assert_eq!(of("super::x::Y").as_deref(), Some("room::x::Y"));
        assert_eq!(of("super::super::other::X").as_deref(), Some("other::X"));
        assert_eq!(of("mod m { use super::super::x::Y; }").as_deref(), Some("room::x::Y"));
        assert_eq!(of("mod m { } use self::x::Y;").as_deref(), Some("room::file::x::Y"));
        assert_eq!(of("use crate::{a::B};").as_deref(), Some("a::B"));
        assert_eq!(of("use std::fmt;"), None);
    }
}
