//! Spans of keys, made from a host's bounds or prefix.

use std::ops::{Bound, RangeBounds};

/// A span of keys, owned.
pub(crate) struct Span {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl Span {
    /// Makes the span of the keys in `keys`.
    pub(crate) fn of_range<K: AsRef<[u8]>>(keys: &impl RangeBounds<K>) -> Self {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        Self { lower: owned(keys.start_bound()), upper: owned(keys.end_bound()) }
    }

    /// Makes the span of the keys that begin with `prefix`.
    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        Self { lower: Bound::Included(prefix.to_vec()), upper: after(prefix) }
    }

    /// Returns whether no key is in it: the bounds are reversed, or meet with one excluded.
    ///
    /// redb would panic on some of these.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
            _ => false,
        }
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.lower.as_ref().map(Vec::as_slice), self.upper.as_ref().map(Vec::as_slice))
    }
}

/// Returns the end of all keys that begin with `prefix`.
fn after(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(last) = prefix.iter().rposition(|&byte| byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ends_where_the_next_one_begins() {
        assert_eq!(after(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(after(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(after(b"\xff\xff"), Bound::Unbounded);
    }

    #[test]
    fn reversed_bounds_are_empty() {
        assert!(Span::of_range(&(b"b".as_slice()..b"a".as_slice())).is_empty());
        assert!(Span::of_range(&(b"a".as_slice()..b"a".as_slice())).is_empty());
        assert!(!Span::of_range(&(b"a".as_slice()..=b"a".as_slice())).is_empty());
    }
}
