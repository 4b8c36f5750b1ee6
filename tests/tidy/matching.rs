//! Exit codes and hints depend on the kind and reason of an error, never on its text.

use std::path::Path;

use crate::lexer::{Kind, Token, are};
use crate::source::sources;
use crate::tree::{Finding, Tree};

/// Methods that search or compare a text.
const SEARCHES: [&str; 5] = ["contains", "starts_with", "ends_with", "find", "eq"];
/// Tokens before `action()` which show that its text decides something.
const DECISIONS: [&str; 6] = ["==", "!=", "match", "matches", "let", "if"];

/// Returns the places that decide by the text of an error.
fn text_decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources(tree, "cli").into_iter().filter(|source| is_in_scope(source.path)) {
        let tokens = &source.tokens;
        for at in 0..tokens.len() {
            if is_search(tokens, at) || is_decision(tokens, at) {
                let message = "decides by the text of an error: ask its kind() or reason()";
                findings.push(Finding::new(source.path, tokens[at].line, message));
            }
        }
    }
    findings
}

fn is_in_scope(path: &Path) -> bool {
    path == Path::new("cli/src/exit.rs")
        || path == Path::new("cli/src/hint.rs")
        || path.starts_with("cli/src/hint")
}

/// Returns whether a text is searched here.
///
/// It is `.contains` of a literal, or any comparison or search of the result of `to_string()`.
fn is_search(tokens: &[Token], at: usize) -> bool {
    let is_literal = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Literal);
    let searches_literal = are(tokens, at, &[".", "contains", "("]) && is_literal(at + 3);
    let searches_display = are(tokens, at, &["to_string", "(", ")"])
        && (are(tokens, at + 3, &["=="])
            || are(tokens, at + 3, &["!="])
            || SEARCHES.iter().any(|search| are(tokens, at + 3, &[".", search, "("])));
    searches_literal || searches_display
}

/// Returns whether `action()` is compared, matched or bound to a variable here.
///
/// Printing it is allowed.
fn is_decision(tokens: &[Token], at: usize) -> bool {
    if !are(tokens, at, &["action", "(", ")"]) {
        return false;
    }
    let is_end = |token: &&Token| [";", "{", "}", ","].iter().any(|sign| token.is(sign));
    let decides = |token: &Token| DECISIONS.iter().any(|word| token.is(word));
    let before = tokens[..at].iter().rev().take_while(|token| !is_end(token));
    let after = tokens.get(at + 3);
    before.into_iter().any(decides)
        || after.is_some_and(|token| ["==", "!=", "."].iter().any(|sign| token.is(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    #[test]
    fn errors_are_distinguished_without_text() {
        assert_none(&text_decisions(repository()));
    }

    #[test]
    fn match_on_the_text_of_an_error_is_reported() {
        for code in [
            "e.to_string().ends_with(SUFFIX)",
            "e.to_string() == TEXT",
            "message.contains(\"lock\")",
            "e.action() == \"open vault\"",
            "\"open vault\" != e.action()",
            "match e.action() { _ => 1 }",
            "matches!(e.action(), \"open vault\")",
            "let action = e.action();",
            "e.action().len()",
        ] {
            for path in ["cli/src/exit.rs", "cli/src/hint.rs", "cli/src/hint/more.rs"] {
                let tree = planted(path, &format!("fn f(e: &Error) {{ {code} }}"));
                assert_one(&added(text_decisions, &tree), path, "ask its kind()");
            }
        }
    }

    #[test]
    fn action_may_be_shown() {
        let text = "fn f(e: &Error) { show(json!({ \"action\": e.action(), \"b\": 1 })); }";
        assert_none(&added(text_decisions, &planted("cli/src/exit.rs", text)));
    }

    #[test]
    fn tests_may_look_at_the_text() {
        let text = "fn f(text: &str) { text.contains(\"lock\"); }";
        assert_none(&added(text_decisions, &planted("cli/src/hint/tests.rs", text)));
    }
}
