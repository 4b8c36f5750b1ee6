//! The contract of [`Backend`] as a program, for every implementation.
//!
//! [`run`] tests all of it, with short races; [`race`] and similar functions make them longer.
//! [`overwriters_race`] and [`deleters_race`] test more than the contract. All use only the trait,
//! so they run on any store. A violation panics with a message that names the behaviour.
//!
//! ```
//! use std::sync::Arc;
//! use strongroom::backends::{Backend, Memory};
//! use strongroom_testkit::conformance;
//!
//! // Each call makes a store that is empty. For a bucket: a fresh prefix in it.
//! let make = || Arc::new(Memory::new()) as Arc<dyn Backend>;
//! conformance::run(&make);
//! conformance::race(&make, 4, 25);
//! ```

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_backends::{Backend, Condition, Version};
use strongroom_base::{ErrorKind, KEY_BYTES_MAX, Key, Result};

mod listing;
mod race;

pub use listing::{
    empty_store_lists_nothing, key_and_keys_below_it_coexist,
    listing_continues_strictly_after_a_key, listing_follows_puts_and_deletes,
    listing_is_in_bytewise_order, pages_join_to_the_whole_listing, prefix_may_end_within_a_segment,
};
pub use race::{
    counter_value, creators_race, deleters_race, increment, overwriters_race, race, race_between,
    readers_never_see_part_of_a_body, start_counter,
};

/// One behaviour, tested on an empty store.
type Behaviour = fn(&dyn Backend);

/// Tests every behaviour, each on its own empty store from `make`.
pub fn run(make: &dyn Fn() -> Arc<dyn Backend>) {
    const BEHAVIOURS: &[Behaviour] = &[
        name_and_concurrency_are_usable,
        store_reports_available_bytes,
        bodies_of_every_length_round_trip,
        longest_keys_are_stored,
        missing_key_is_not_found,
        ranges_return_exactly_their_bytes,
        ranges_outside_the_body_are_invalid,
        put_any_creates_and_replaces,
        put_absent_creates_once,
        put_matches_replaces_only_the_named_version,
        put_matches_on_missing_key_is_a_conflict,
        different_bodies_have_different_versions,
        delete_is_idempotent,
        many_keys_are_deleted_at_once,
        deleted_key_can_be_created_again,
        empty_store_lists_nothing,
        listing_is_in_bytewise_order,
        key_and_keys_below_it_coexist,
        prefix_may_end_within_a_segment,
        listing_continues_strictly_after_a_key,
        pages_join_to_the_whole_listing,
        listing_follows_puts_and_deletes,
        readers_never_see_part_of_a_body,
    ];
    for behaviour in BEHAVIOURS {
        behaviour(&*make());
    }
    race(make, 4, 8);
    creators_race(make, 4, 8);
}

fn key(text: &str) -> Key {
    Key::new(text).expect("the keys of the suite fit the grammar")
}

/// Makes a body of `len` bytes in which all parts differ.
fn body(len: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect()
}

#[track_caller]
fn put(store: &dyn Backend, name: &str, body: impl Into<Bytes>, condition: &Condition) -> Version {
    match store.put(&key(name), body.into(), condition) {
        Ok(version) => version,
        Err(e) => panic!("put of {name} under {condition:?} succeeds: {e}"),
    }
}

#[track_caller]
fn assert_body(store: &dyn Backend, name: &str, expected: impl AsRef<[u8]>) {
    match store.get(&key(name)) {
        Ok(object) => {
            assert!(object.body == expected.as_ref(), "{name} has the body that was put last");
        }
        Err(e) => panic!("{name} is there: {e}"),
    }
}

#[track_caller]
fn assert_refused<T: Debug>(result: Result<T>, kind: ErrorKind, what: &str) {
    match result {
        Ok(answer) => panic!("{what} is refused, but gave {answer:?}"),
        Err(e) => assert_eq!(e.kind(), kind, "{what}: {e}"),
    }
}

#[track_caller]
fn page(store: &dyn Backend, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    match store.list(prefix, after.map(key).as_ref(), limit) {
        Ok(page) => page.into_iter().map(|entry| entry.key.to_string()).collect(),
        Err(e) => panic!("list of {prefix:?} after {after:?} succeeds: {e}"),
    }
}

#[track_caller]
fn assert_lists(store: &dyn Backend, prefix: &str, after: Option<&str>, expected: &[&str]) {
    let listed = page(store, prefix, after, usize::MAX);
    assert_eq!(listed, expected, "keys with prefix {prefix:?} after {after:?}");
}

fn put_all(store: &dyn Backend, names: &[&str]) {
    for name in names {
        put(store, name, name.to_string(), &Condition::Any);
    }
}

/// A name exists and is constant, and the concurrency is plausible.
pub fn name_and_concurrency_are_usable(store: &dyn Backend) {
    let name = store.name().to_owned();
    assert!(!name.is_empty(), "the store has a name");
    put(store, "a", "a", &Condition::Any);
    assert_eq!(store.name(), name, "the name is stable");
    assert!(store.concurrency().get() <= 4096, "the concurrency is a sensible number");
}

/// Existing and missing keys, in any folders; and none.
pub fn many_keys_are_deleted_at_once(store: &dyn Backend) {
    put_all(store, &["a", "a/b", "ab", "c/d/e", "c/d/f"]);
    let keys: Vec<Key> = ["a", "a/b", "x/y", "c/d/e", "c/z"].map(key).into();
    for _ in 0..2 {
        store.delete_all(&keys).expect("deleting many is fine, also again");
        assert_eq!(page(store, "", None, 10), ["ab", "c/d/f"], "the others are there");
    }
    store.delete_all(&[]).expect("deleting none is fine");
    assert_eq!(page(store, "", None, 10), ["ab", "c/d/f"], "the others are there");
}

/// Room for the objects of the suite itself.
pub fn store_reports_available_bytes(store: &dyn Backend) {
    let room = store.available_bytes().expect("a working store reports its free space");
    assert!(room >= 1 << 20, "there is room for a body of a megabyte, not for {room} bytes");
}

/// Lengths around a block and a megabyte, put, read and listed.
pub fn bodies_of_every_length_round_trip(store: &dyn Backend) {
    for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
        let name = format!("bodies/of-{len}");
        put(store, &name, body(len), &Condition::Absent);
        assert_body(store, &name, body(len));
        let listed = store.list(&name, None, 1).expect("list succeeds");
        let size = listed.first().map(|entry| entry.size);
        assert_eq!(size, Some(len as u64), "the listing has the length of {name}");
    }
}

/// Keys at the limit: one segment, and as many segments as fit.
pub fn longest_keys_are_stored(store: &dyn Backend) {
    let wide = "k".repeat(KEY_BYTES_MAX);
    let deep = format!("{}ab", "a/".repeat(KEY_BYTES_MAX / 2 - 1));
    for name in [&wide, &deep] {
        assert_eq!(name.len(), KEY_BYTES_MAX);
        put(store, name, "long", &Condition::Absent);
        assert_body(store, name, "long");
    }
    assert_lists(store, "", None, &[&deep, &wide]);
}

/// `NotFound` for missing keys, also next to and below existing ones.
pub fn missing_key_is_not_found(store: &dyn Backend) {
    put_all(store, &["a/b/c", "d"]);
    for name in ["missing", "a", "a/b", "a/b/c/d", "a/b/cc", "d/e"] {
        assert_refused(store.get(&key(name)), ErrorKind::NotFound, "get of a missing key");
        let range = store.get_range(&key(name), 0..0);
        assert_refused(range, ErrorKind::NotFound, "get_range of a missing key");
    }
}

/// First, middle, last, all and no bytes.
///
/// The empty range at the end is included.
pub fn ranges_return_exactly_their_bytes(store: &dyn Backend) {
    let whole = body(10_000);
    put(store, "a", whole.clone(), &Condition::Any);
    for Range { start, end } in
        [0..1, 0..4096, 1..2, 4095..4097, 9_999..10_000, 0..10_000, 0..0, 77..77, 10_000..10_000]
    {
        let part = store.get_range(&key("a"), start as u64..end as u64);
        let part = part.unwrap_or_else(|e| panic!("range {start}..{end} is read: {e}"));
        assert!(part == whole[start..end], "range {start}..{end} has its bytes");
    }
    put(store, "empty", Bytes::new(), &Condition::Any);
    let nothing = store.get_range(&key("empty"), 0..0);
    assert!(nothing.is_ok_and(|part| part.is_empty()), "an empty body has an empty range");
}

/// `Invalid`, and never fewer bytes than requested.
pub fn ranges_outside_the_body_are_invalid(store: &dyn Backend) {
    put(store, "a", body(100), &Condition::Any);
    for (start, end) in
        [(0, 101), (99, 101), (100, 101), (101, 101), (0, u64::MAX), (u64::MAX, u64::MAX)]
    {
        let part = store.get_range(&key("a"), start..end);
        assert_refused(part, ErrorKind::Invalid, "a range past the end");
    }
    for (start, end) in [(1, 0), (50, 49), (100, 0), (200, 150), (u64::MAX, 0)] {
        let part = store.get_range(&key("a"), start..end);
        assert_refused(part, ErrorKind::Invalid, "a reversed range");
    }
}

/// `Any` has no condition.
///
/// It replaces a longer body by a shorter one completely.
pub fn put_any_creates_and_replaces(store: &dyn Backend) {
    for len in [10, 10_000, 3, 0, 5_000] {
        put(store, "a", body(len), &Condition::Any);
        assert_body(store, "a", body(len));
    }
}

/// The second creator gets `AlreadyExists` and changes nothing.
///
/// The same body makes no difference.
pub fn put_absent_creates_once(store: &dyn Backend) {
    let version = put(store, "a", "first", &Condition::Absent);
    for again in ["second", "first"] {
        let refused = store.put(&key("a"), again.into(), &Condition::Absent);
        assert_refused(refused, ErrorKind::AlreadyExists, "creating a key that exists");
    }
    assert_body(store, "a", "first");
    put(store, "a", "third", &Condition::Matches(version));
    let refused = store.put(&key("a"), "fourth".into(), &Condition::Absent);
    assert_refused(refused, ErrorKind::AlreadyExists, "creating a key that was replaced");
    assert_body(store, "a", "third");
}

/// The versions of put and get name the same state; older ones are `Conflict`.
pub fn put_matches_replaces_only_the_named_version(store: &dyn Backend) {
    let first = put(store, "a", "generation 1", &Condition::Absent);
    let second = put(store, "a", "generation 2", &Condition::Matches(first.clone()));
    for stale in [&first, &Version::new("no version of any store")] {
        let condition = Condition::Matches(stale.clone());
        let refused = store.put(&key("a"), "lost".into(), &condition);
        assert_refused(refused, ErrorKind::Conflict, "replacing another version");
        assert_body(store, "a", "generation 2");
    }
    let read = store.get(&key("a")).expect("the object is there").version;
    assert_eq!(read, second, "get answers the version that put answered");
    put(store, "a", "generation 3", &Condition::Matches(read));
    put(store, "a", "generation 4", &Condition::Any);
    let refused = store.put(&key("a"), "lost".into(), &Condition::Matches(second));
    assert_refused(refused, ErrorKind::Conflict, "replacing what was replaced twice");
    assert_body(store, "a", "generation 4");
}

/// `Conflict`, not `NotFound`, and nothing is created.
pub fn put_matches_on_missing_key_is_a_conflict(store: &dyn Backend) {
    let version = put(store, "other", "body", &Condition::Any);
    for missing in ["a", "a/b/c", "other/b"] {
        let condition = Condition::Matches(version.clone());
        let refused = store.put(&key(missing), "body".into(), &condition);
        assert_refused(refused, ErrorKind::Conflict, "replacing a missing key");
        assert_refused(store.get(&key(missing)), ErrorKind::NotFound, "what was refused");
    }
    assert_lists(store, "", None, &["other"]);
}

/// Different bodies have different versions, and reading does not change a version.
pub fn different_bodies_have_different_versions(store: &dyn Backend) {
    let mut seen: Vec<Version> = Vec::new();
    for len in [0, 1, 2, 4096, 4097] {
        let version = put(store, "a", body(len), &Condition::Any);
        assert!(!seen.contains(&version), "the version changes with the body");
        for _ in 0..2 {
            let read = store.get(&key("a")).expect("the object is there").version;
            assert_eq!(read, version, "reading does not change the version");
        }
        seen.push(version);
    }
}

/// Deleting a missing key succeeds, and touches no other key.
pub fn delete_is_idempotent(store: &dyn Backend) {
    put_all(store, &["a", "a/b", "ab"]);
    for missing in ["b", "a/c", "c/d/e"] {
        store.delete(&key(missing)).expect("deleting a missing key is fine");
    }
    for _ in 0..2 {
        store.delete(&key("a")).expect("deleting is fine, also again");
        assert_refused(store.get(&key("a")), ErrorKind::NotFound, "what was deleted");
    }
    assert_lists(store, "", None, &["a/b", "ab"]);
}

/// `Matches` with the old version is a conflict, `Absent` succeeds.
pub fn deleted_key_can_be_created_again(store: &dyn Backend) {
    for round in 0..3 {
        let body = format!("life {round}");
        let version = put(store, "a/b", body.clone(), &Condition::Absent);
        store.delete(&key("a/b")).expect("delete succeeds");
        let revived = store.put(&key("a/b"), "lost".into(), &Condition::Matches(version));
        assert_refused(revived, ErrorKind::Conflict, "replacing what was deleted");
        put(store, "a/b", body.clone(), &Condition::Absent);
        assert_body(store, "a/b", body);
        store.delete(&key("a/b")).expect("delete succeeds");
    }
}
