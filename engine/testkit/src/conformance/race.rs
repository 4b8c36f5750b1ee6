//! The behaviours that need several callers: lost updates, two creators, torn reads.
//!
//! The counter represents every compare-and-set loop in the project: read, change, put under the
//! version that was read, and start over on a conflict. Its bodies are unique, as the contract
//! requires: they contain the count, the writer and its attempt, and the same of earlier moves. A
//! caller that does not know whether its put happened finds out, however often others have moved
//! the counter since.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use bytes::Bytes;
use strongroom_backends::{Backend, Condition};
use strongroom_base::ErrorKind;
use strongroom_base::Key;

use super::{assert_refused, key, put};

/// Attempts of one increment after which the store fails the test.
const ATTEMPTS_MAX: u32 = 10_000;

/// Attempts in the counter's body: more than the moves between a put and its check.
const REMEMBERED: usize = 64;

/// `threads` threads increment one counter `moves` times each; no increment is lost or doubled.
pub fn race(make: &dyn Fn() -> Arc<dyn Backend>, threads: usize, moves: u64) {
    race_between(&vec![make(); threads], moves);
}

/// Runs [`race`] with one thread for each of `handles`.
///
/// All handles lead to one store.
pub fn race_between(handles: &[Arc<dyn Backend>], moves: u64) {
    let Some(first) = handles.first() else {
        return;
    };
    start_counter(&**first);
    thread::scope(|scope| {
        for (number, handle) in handles.iter().enumerate() {
            scope.spawn(move || increment(&**handle, &format!("thread-{number}"), moves));
        }
    });
    let expected = handles.len() as u64 * moves;
    assert_eq!(counter_value(&**first), expected, "every increment counts once");
}

fn counter_key() -> Key {
    key("race/counter")
}

/// Creates the counter of the race at 0. For races between processes; within one, [`race`].
pub fn start_counter(store: &dyn Backend) {
    put(store, counter_key().as_str(), "0 start", &Condition::Absent);
}

/// Returns the counter's value.
pub fn counter_value(store: &dyn Backend) -> u64 {
    let object = store.get(&counter_key()).expect("the counter is there");
    count_of(&object.body)
}

/// Increments the counter `moves` times as `contender`, a unique name without blanks. Lost answers
/// are resolved.
pub fn increment(store: &dyn Backend, contender: &str, moves: u64) {
    for turn in 0..moves {
        let done = (0..ATTEMPTS_MAX).any(|attempt| {
            let current = store.get(&counter_key()).expect("the counter is there");
            let text = std::str::from_utf8(&current.body).expect("the counter's body is text");
            let own = format!("{contender}:{turn}.{attempt}");
            let before = text.split(' ').skip(1).take(REMEMBERED - 1).collect::<Vec<_>>().join(" ");
            let body = format!("{} {own} {before}", count_of(&current.body) + 1);
            match store.put(&counter_key(), body.into(), &Condition::Matches(current.version)) {
                Ok(_) => true,
                Err(e) if e.kind() == ErrorKind::Conflict => false,
                Err(e) if e.kind() == ErrorKind::Uncertain => {
                    let now = store.get(&counter_key()).expect("the counter is there").body;
                    assert!(count_of(&now) > count_of(&current.body), "it is known what happened");
                    let now = std::str::from_utf8(&now).expect("the counter's body is text");
                    now.split(' ').any(|attempt| attempt == own)
                }
                Err(e) => panic!("a lost race is a conflict: {e}"),
            }
        });
        assert!(done, "an increment gets through within {ATTEMPTS_MAX} attempts");
    }
}

fn count_of(body: &Bytes) -> u64 {
    let text = std::str::from_utf8(body).expect("the counter's body is text");
    let count = text.split(' ').next().and_then(|count| count.parse().ok());
    count.expect("the counter's body begins with its count")
}

/// `threads` creators of one key at once, `rounds` times: exactly one wins, and its body stays.
pub fn creators_race(make: &dyn Fn() -> Arc<dyn Backend>, threads: usize, rounds: usize) {
    let store = make();
    for round in 0..rounds {
        let key = key(&format!("race/created-{round}"));
        let start = Barrier::new(threads);
        let create = |number: usize| {
            start.wait();
            store.put(&key, format!("by {number}").into(), &Condition::Absent)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let creators: Vec<_> =
                (0..threads).map(|number| scope.spawn(move || create(number))).collect();
            creators.into_iter().map(|creator| creator.join().expect("a creator ends")).collect()
        });
        let winners: Vec<usize> = (0..threads).filter(|number| results[*number].is_ok()).collect();
        let [winner] = winners[..] else {
            panic!("exactly one creator wins, not {winners:?}");
        };
        for result in results.into_iter().filter(Result::is_err) {
            assert_refused(result, ErrorKind::AlreadyExists, "creating second");
        }
        let kept = store.get(&key).expect("the winner's object is there").body;
        assert_eq!(kept, format!("by {winner}"), "the winner's body stays");
    }
}

/// Deletes compete with a caller that keeps replacing under `Matches`, `rounds` times.
///
/// After the delete has returned the key is absent, because a replacement never restores a deleted
/// key. Local stores satisfy this; Ceph may refuse such a delete as often as it is tried.
pub fn deleters_race(make: &dyn Fn() -> Arc<dyn Backend>, rounds: usize) {
    let store = make();
    for round in 0..rounds {
        let key = key(&format!("race/deleted-{round}"));
        disturb_replacements(&*store, &key, round, || {
            store.delete(&key).expect("delete succeeds");
        });
        assert_refused(store.get(&key), ErrorKind::NotFound, "what was deleted in a race");
    }
}

/// Puts under `Any` compete with replacements under `Matches`.
///
/// The latter happen `rounds` times.
///
/// Only a caller that has read the new body may replace it. Local stores satisfy this; the contract
/// does not require it.
pub fn overwriters_race(make: &dyn Fn() -> Arc<dyn Backend>, rounds: usize) {
    let store = make();
    for round in 0..rounds {
        let key = key(&format!("race/overwritten-{round}"));
        disturb_replacements(&*store, &key, round, || {
            put(&*store, key.as_str(), generation("new", 0), &Condition::Any);
        });
        let body = store.get(&key).expect("the object is there").body;
        assert!(body.starts_with(b"new "), "a put under Any is not lost to an older version");
    }
}

/// Bytes of a body whose comparison takes some time.
const SLOW_BODY_BYTES: usize = 256 << 10;

/// Makes a body that names its line of descent.
fn generation(line: &str, number: u64) -> Bytes {
    let mut body = format!("{line} {number} ").into_bytes();
    body.resize(SLOW_BODY_BYTES, b'.');
    body.into()
}

/// Moments of a replacement at which a race strikes, in turn: from half of its time to a little
/// after it, because a store compares shortly before it replaces.
const PHASES: usize = 16;

/// Runs `disturb` while another thread replaces `key`'s generations in order.
///
/// The duration of a replacement is measured in reads; `round` selects the moment within the next
/// one.
fn disturb_replacements(store: &dyn Backend, key: &Key, round: usize, disturb: impl FnOnce()) {
    put(store, key.as_str(), generation("old", 0), &Condition::Absent);
    let replacing = AtomicBool::new(true);
    thread::scope(|scope| {
        let replacer = scope.spawn(|| {
            while replacing.load(Ordering::Acquire) {
                if !replace(store, key) {
                    break;
                }
            }
        });
        // Ends the thread also if `disturb` panics.
        let _end = EndOnDrop(&replacing);
        let read = || store.get(key).expect("it is not deleted yet").version;
        let reads_of_one = || {
            let (current, mut reads) = (read(), 1);
            // A replacer that panicked replaces nothing more; the scope propagates its panic.
            while !replacer.is_finished() && read() == current {
                reads += 1;
            }
            reads
        };
        reads_of_one();
        let reads = reads_of_one();
        for _ in 0..reads / 2 + reads * 3 * (round % PHASES) / (4 * PHASES) {
            read();
        }
        disturb();
    });
}

/// Replaces `key` by its next generation, or tries to; returns `false` if it is absent.
fn replace(store: &dyn Backend, key: &Key) -> bool {
    let current = match store.get(key) {
        Ok(current) => current,
        Err(e) if e.kind() == ErrorKind::NotFound => return false,
        Err(e) => panic!("get succeeds: {e}"),
    };
    let mut words = current.body.split(|byte| *byte == b' ').map(String::from_utf8_lossy);
    let line = words.next().expect("a body names its line");
    let number: u64 = words.next().and_then(|n| n.parse().ok()).expect("and its number");
    let next = generation(&line, number + 1);
    match store.put(key, next, &Condition::Matches(current.version)) {
        Ok(_) => true,
        Err(e) => {
            let is_lost = matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Uncertain);
            assert!(is_lost, "a lost race is a conflict, or the answer of the put was lost: {e}");
            true
        }
    }
}

/// Replacements during which a reader must read.
const REPLACEMENTS: u8 = 60;

/// Reads return a whole body while another caller replaces it.
///
/// The bodies have different lengths. Each `get` and `get_range` returns one of them whole, and
/// each listing has the key once.
pub fn readers_never_see_part_of_a_body(store: &dyn Backend) {
    put(store, "race/replaced", uniform(0), &Condition::Absent);
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while writing.load(Ordering::Acquire) {
                    assert_whole(store, &key("race/replaced"));
                }
            });
        }
        // Ends the readers also if a put panics.
        let _end = EndOnDrop(&writing);
        for number in 1..=REPLACEMENTS {
            put(store, "race/replaced", uniform(number), &Condition::Any);
        }
    });
    assert_whole(store, &key("race/replaced"));
}

fn assert_whole(store: &dyn Backend, key: &Key) {
    let body = store.get(key).expect("the key exists all the time").body;
    let number = body.first().copied().expect("no body is empty");
    assert!(body == uniform(number), "a body is read whole, not {} bytes of one", body.len());
    let part = store.get_range(key, 1..4096).expect("all bodies have this range");
    assert!(part.iter().all(|byte| *byte == part[0]), "a range is read from one body");
    let listed = store.list("race/replaced", None, 10).expect("list succeeds");
    assert_eq!(listed.len(), 1, "a key that exists all the time is listed, once");
}

/// Makes a body that reveals a mixture of two: one byte repeated, with its own length.
fn uniform(number: u8) -> Bytes {
    vec![number; 4096 + 1000 * usize::from(number % 50)].into()
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
