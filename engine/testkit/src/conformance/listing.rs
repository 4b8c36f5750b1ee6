//! The behaviours of `list`: order, prefixes, pages.

use strongroom_backends::{Backend, Condition, Version};

use super::{assert_body, assert_lists, body, key, page, put, put_all};

/// An empty list without error, under any prefix and after any key.
pub fn empty_store_lists_nothing(store: &dyn Backend) {
    for prefix in ["", "a", "a/", "a/b"] {
        assert_lists(store, prefix, None, &[]);
        assert_lists(store, prefix, Some("a/a"), &[]);
    }
}

/// Keys with a distinctive bytewise order.
///
/// It differs from the order by segments, by folders first, and by length.
const ORDERED: &[&str] = &[
    "-",
    "-/a",
    "0",
    "0/9",
    "00",
    "1",
    "10",
    "2",
    "_",
    "_/_",
    "a",
    "a-",
    "a-/a",
    "a-b",
    "a/-",
    "a/0",
    "a/a",
    "a/a-a",
    "a/a/a",
    "a/a0",
    "a/b/c/d",
    "a/b0",
    "a0",
    "a0/a",
    "a_",
    "a_/a",
    "aa",
    "aa/a",
    "b/a",
    "con",
    "con/0",
    "content/0",
    "content/00",
    "content/1/a",
    "contents",
    "control/x",
];

/// `-` sorts before `/`, which sorts before digits, `_` and letters.
pub fn listing_is_in_bytewise_order(store: &dyn Backend) {
    assert!(ORDERED.is_sorted(), "the suite's own table is in order");
    let mut shuffled = ORDERED.to_vec();
    shuffled.sort_by_key(|name| Version::of_content(name.as_bytes()).as_str().to_owned());
    put_all(store, &shuffled);
    assert_lists(store, "", None, ORDERED);
}

/// `a` is not a folder of `a/b`: both are objects, deleted separately.
pub fn key_and_keys_below_it_coexist(store: &dyn Backend) {
    for order in [["a", "a/b", "a/b/c"], ["a/b/c", "a/b", "a"]] {
        put_all(store, &order);
        assert_lists(store, "", None, &["a", "a/b", "a/b/c"]);
        for name in order {
            assert_body(store, name, name);
        }
        for (deleted, left) in [("a/b", &["a", "a/b/c"][..]), ("a", &["a/b/c"]), ("a/b/c", &[])] {
            store.delete(&key(deleted)).expect("delete succeeds");
            assert_lists(store, "", None, left);
        }
    }
}

/// A prefix is a string: it may end within a segment, and one outside the grammar matches nothing.
pub fn prefix_may_end_within_a_segment(store: &dyn Backend) {
    put_all(store, ORDERED);
    let in_grammar =
        ["", "a", "a/", "a-", "a/a", "a/b", "a/b/c/d", "co", "con", "con/", "content/0"];
    let outside =
        ["content//", "/", "//", "A", "Con", "a.", "a/../", "../", "a/b/c/d/", "zz", "a b"];
    for prefix in in_grammar.into_iter().chain(outside) {
        let expected: Vec<&str> =
            ORDERED.iter().copied().filter(|name| name.starts_with(prefix)).collect();
        assert_lists(store, prefix, None, &expected);
    }
}

/// `after` need not exist or match the prefix, and is never listed.
pub fn listing_continues_strictly_after_a_key(store: &dyn Backend) {
    put_all(store, ORDERED);
    let between = ["a/a-", "a/b", "a/b/c", "a/z", "c", "content", "content/01", "zzz"];
    for after in ORDERED.iter().copied().chain(between) {
        for prefix in ["", "a/", "con", "content/"] {
            let listed = |name: &&str| name.starts_with(prefix) && *name > after;
            let expected: Vec<&str> = ORDERED.iter().copied().filter(listed).collect();
            assert_lists(store, prefix, Some(after), &expected);
        }
    }
}

/// Pages of any size together have every key once.
///
/// Each page continues after the last key of the page before. A limit of 0 gives an empty page.
pub fn pages_join_to_the_whole_listing(store: &dyn Backend) {
    put_all(store, ORDERED);
    assert!(page(store, "", None, 0).is_empty(), "a limit of 0 gives an empty page");
    for limit in [1, 2, 3, 7, ORDERED.len() - 1, ORDERED.len(), ORDERED.len() + 1] {
        let mut joined: Vec<String> = Vec::new();
        loop {
            let next = page(store, "", joined.last().map(String::as_str), limit);
            assert!(next.len() <= limit, "a page has at most {limit} entries");
            let is_last = next.len() < limit;
            joined.extend(next);
            if is_last {
                break;
            }
        }
        assert_eq!(joined, ORDERED, "pages of {limit} join up");
    }
}

/// A put object is listed with its length, a deleted one not.
pub fn listing_follows_puts_and_deletes(store: &dyn Backend) {
    let mut expected: Vec<(String, u64)> = Vec::new();
    let assert_follows = |expected: &[(String, u64)]| {
        let listed = store.list("", None, usize::MAX).expect("list succeeds");
        let listed: Vec<(String, u64)> =
            listed.into_iter().map(|entry| (entry.key.to_string(), entry.size)).collect();
        assert_eq!(listed, expected, "the listing follows");
    };
    for number in 0..5 {
        let name = format!("n/{number}");
        put(store, &name, body(number), &Condition::Absent);
        expected.push((name, number as u64));
        assert_follows(&expected);
    }
    put(store, "n/2", body(99), &Condition::Any);
    expected[2].1 = 99;
    assert_follows(&expected);
    while !expected.is_empty() {
        let (name, _) = expected.remove(expected.len() / 2);
        store.delete(&key(&name)).expect("delete succeeds");
        assert_follows(&expected);
    }
}
