//! Rust source as tokens, without comments and without the text of literals.

/// A kind of token that a rule distinguishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// A sign; `::`, `==` and `!=` are one token each.
    Sign(&'static str),
    /// Any other sign.
    Other(char),
    /// A text or character literal.
    Literal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

impl Token {
    /// Returns whether this is the given word or sign.
    pub(crate) fn is(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Word(word) => word == text,
            Kind::Sign(sign) => *sign == text,
            Kind::Other(sign) => text.chars().eq([*sign]),
            Kind::Literal => false,
        }
    }

    /// Returns the identifier, if this is one.
    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Returns whether the tokens at `at` are these words and signs.
pub(crate) fn are(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    tokens
        .get(at..at + texts.len())
        .is_some_and(|tokens| tokens.iter().zip(texts).all(|(token, text)| token.is(text)))
}

/// Returns the index after the bracket that closes the one at `open`.
pub(crate) fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Other('(' | '[' | '{') => depth += 1,
            Kind::Other(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Splits a source text into tokens.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while let Some(first) = lexer.peek(0) {
        lexer.next(first);
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn sees(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.peek(n) == Some(c))
    }

    fn advance(&mut self, chars: usize) {
        for _ in 0..chars {
            self.line += usize::from(self.peek(0) == Some('\n'));
            self.at += 1;
        }
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn next(&mut self, first: char) {
        if first.is_whitespace() {
            self.advance(1);
        } else if self.sees("//") {
            while self.peek(0).is_some_and(|c| c != '\n') {
                self.advance(1);
            }
        } else if self.sees("/*") {
            self.block_comment();
        } else if let Some((prefix, hashes)) = self.raw_text() {
            self.push(Kind::Literal);
            self.advance(prefix + hashes + 1);
            let end = format!("\"{}", "#".repeat(hashes));
            while self.at < self.chars.len() && !self.sees(&end) {
                self.advance(1);
            }
            self.advance(end.len());
        } else if first == '"' || (matches!(first, 'b' | 'c') && self.peek(1) == Some('"')) {
            self.push(Kind::Literal);
            self.advance(usize::from(first != '"'));
            self.quoted('"');
        } else if first == '\'' {
            // A lifetime has no closing quote.
            if self.peek(1) == Some('\\') || self.peek(2) == Some('\'') {
                self.push(Kind::Literal);
                self.quoted('\'');
            } else {
                self.advance(2);
                self.word();
            }
        } else if first.is_alphanumeric() || first == '_' {
            self.advance(if self.sees("r#") { 2 } else { 0 });
            let word = self.word();
            self.push(Kind::Word(word));
        } else if let Some(sign) = ["::", "==", "!="].into_iter().find(|sign| self.sees(sign)) {
            self.push(Kind::Sign(sign));
            self.advance(2);
        } else {
            self.push(Kind::Other(first));
            self.advance(1);
        }
    }

    /// Returns the prefix length and number of `#` of a raw text here.
    fn raw_text(&self) -> Option<(usize, usize)> {
        let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
            self.sees(prefix) && matches!(self.peek(prefix.len()), Some('"' | '#'))
        })?;
        let hashes = self.chars[self.at + prefix.len()..].iter().take_while(|c| **c == '#').count();
        (self.peek(prefix.len() + hashes) == Some('"')).then_some((prefix.len(), hashes))
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            if self.sees("/*") {
                depth += 1;
                self.advance(2);
            } else if self.sees("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.advance(1);
            }
        }
    }

    fn quoted(&mut self, quote: char) {
        self.advance(1);
        while let Some(c) = self.peek(0) {
            self.advance(if c == '\\' { 2 } else { 1 });
            if c == quote {
                return;
            }
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.advance(1);
        }
        self.chars[start..self.at].iter().collect()
    }
}

#[test]
fn comments_and_literals_are_left_out() {
    let text = r##"//! vault
        let a = "vault \" vault"; /* vault /* vault */ vault */ let b = 'v'; // vault
        let c = r#"vault " vault"#; fn f<'vault>(x: &'vault u8) { '\''; b"vault"; }
        vault::x"##;
    let found: Vec<_> =
        tokens(text).into_iter().filter(|token| token.is("vault")).map(|t| t.line).collect();
    assert_eq!(found, [4]);
}

#[test]
fn signs_of_two_characters_are_one_token() {
    let found = tokens("a::b == c != d");
    assert!(are(&found, 0, &["a", "::", "b", "==", "c", "!=", "d"]), "{found:?}");
}
