//! Spans of keys: from a host's bounds to the bounds of the table of all records.

use std::ops::{Bound, RangeBounds};

use crate::format::record_prefix;

/// A span of table keys, owned.
pub(crate) struct Span {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl Span {
    /// The records of `namespace` whose keys lie in `keys`.
    pub(crate) fn of_range<K: AsRef<[u8]>>(namespace: u32, keys: &impl RangeBounds<K>) -> Self {
        let prefix = record_prefix(namespace);
        let joined = |key: &K| [&prefix, key.as_ref()].concat();
        let lower = match keys.start_bound() {
            Bound::Included(key) => Bound::Included(joined(key)),
            Bound::Excluded(key) => Bound::Excluded(joined(key)),
            Bound::Unbounded => Bound::Included(prefix.to_vec()),
        };
        let upper = match keys.end_bound() {
            Bound::Included(key) => Bound::Included(joined(key)),
            Bound::Excluded(key) => Bound::Excluded(joined(key)),
            Bound::Unbounded => after(&prefix),
        };
        Self { lower, upper }
    }

    /// The records of `namespace` whose keys begin with `prefix`.
    pub(crate) fn of_prefix(namespace: u32, prefix: &[u8]) -> Self {
        let lower = [&record_prefix(namespace)[..], prefix].concat();
        let upper = after(&lower);
        Self {
            lower: Bound::Included(lower),
            upper,
        }
    }

    /// No row lies in it: the bounds are reversed, or meet with one excluded. redb would panic
    /// on some of these.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
            _ => false,
        }
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.lower.as_ref().map(Vec::as_slice),
            self.upper.as_ref().map(Vec::as_slice),
        )
    }
}

/// The end of all keys that begin with `prefix`.
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
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(after(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(after(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(after(b"\xff\xff"), Bound::Unbounded);
    }

    #[test]
    fn the_last_namespace_has_no_end() {
        let span = Span::of_range::<&[u8]>(u32::MAX, &..);
        assert_eq!(span.bounds().1, Bound::Unbounded);
    }

    #[test]
    fn reversed_bounds_hold_nothing() {
        assert!(Span::of_range(1, &(b"b".as_slice()..b"a".as_slice())).is_empty());
        assert!(Span::of_range(1, &(b"a".as_slice()..b"a".as_slice())).is_empty());
        assert!(!Span::of_range(1, &(b"a".as_slice()..=b"a".as_slice())).is_empty());
    }
}
