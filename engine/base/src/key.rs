//! The name of an object on a backend.
//!
//! The grammar is what every store takes without escaping, and what stays distinct on file systems
//! that fold case. Keys contain no user text, so the grammar costs nothing.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::reason::Reason;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 200;

/// The name of an object on a backend.
///
/// One or more segments of lower-case ASCII letters, digits, `-` and `_`, joined by `/`; at most
/// [`KEY_BYTES_MAX`] bytes. Ordered bytewise, as listings are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks `key` against the grammar; `Invalid` if it does not match.
    pub fn new(key: impl AsRef<str>) -> Result<Self> {
        let key = key.as_ref();
        let refuse = |detail: String| {
            Err(Error::new(ErrorKind::Invalid, "name object")
                .with_reason(Reason::NameInvalid)
                .with_detail(detail)
                .with_subject(key.escape_debug()))
        };
        if key.len() > KEY_BYTES_MAX {
            return refuse(format!("key has {} bytes, the limit is {KEY_BYTES_MAX}", key.len()));
        }
        if key.split('/').any(str::is_empty) {
            return refuse("key has an empty segment".into());
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_/".contains(&b);
        if !key.bytes().all(fits) {
            return refuse("key has a character other than a-z, 0-9, '-', '_' and '/'".into());
        }
        Ok(Self(key.into()))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_of_the_grammar_are_keys() {
        for good in ["a", "content/00ff", "a-b/c_d/9", &"k".repeat(KEY_BYTES_MAX)] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "A", "a b", "a.b", "ä", "a\0", &long] {
            let error = Key::new(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
