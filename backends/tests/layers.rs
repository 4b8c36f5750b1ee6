//! The layers over a backend: which calls are retried, and which are counted.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use std::sync::Arc;
use std::time::Duration;

use strongroom_backends::component::{Clock, ManualClock, SeededEntropy};
use strongroom_backends::{
    Backend, Condition, CountingBackend, Error, ErrorKind, Key, Memory, RequestCounts, RetryAfter,
    RetryingBackend, StoreRetryPolicy,
};
use strongroom_testkit::{
    BackendFault, BackendTiming, FaultyBackend, Layer, conformance, impl_backend,
};

const UNAVAILABLE: BackendFault =
    BackendFault { timing: BackendTiming::Before, kind: ErrorKind::Unavailable };

struct Scene {
    memory: Arc<Memory>,
    faulty: Arc<FaultyBackend>,
    clock: ManualClock,
    store: RetryingBackend<Arc<FaultyBackend>>,
}

fn scene() -> Scene {
    let memory = Arc::new(Memory::new());
    let faulty = Arc::new(FaultyBackend::new(memory.clone()));
    let clock = ManualClock::new();
    let entropy = Arc::new(SeededEntropy::new(1));
    let policy = StoreRetryPolicy::default();
    let store = RetryingBackend::new(faulty.clone(), policy, Arc::new(clock.clone()), entropy);
    Scene { memory, faulty, clock, store }
}

fn key() -> Key {
    Key::new("a/b").unwrap()
}

fn lost(after: bool) -> BackendFault {
    let timing = if after { BackendTiming::After } else { BackendTiming::Before };
    BackendFault { timing, kind: ErrorKind::Uncertain }
}

#[test]
fn retrying_and_counting_backend_conforms() {
    let counts = Arc::new(RequestCounts::default());
    conformance::run(&|| {
        let counted = CountingBackend::new(Memory::new(), Arc::clone(&counts));
        let (clock, entropy) = (Arc::new(ManualClock::new()), Arc::new(SeededEntropy::new(1)));
        Arc::new(RetryingBackend::new(counted, StoreRetryPolicy::default(), clock, entropy))
    });
    assert!(counts.read().total() > 100);
}

#[test]
fn unavailable_call_is_tried_six_times_with_growing_pauses() {
    let scene = scene();
    scene.memory.put(&key(), "body".into(), &Condition::Any).unwrap();
    for failures in 1..6 {
        for nth in 1..=failures {
            scene.faulty.fail_at(nth, UNAVAILABLE);
        }
        assert_eq!(scene.store.get(&key()).unwrap().body, "body");
        let ranged = scene.store.get_range(&key(), 0..2).unwrap();
        assert_eq!(ranged, "bo");
    }
    let (calls, began) = (scene.faulty.calls(), scene.clock.monotonic());
    scene.faulty.fail_from(1, UNAVAILABLE);
    let error = scene.store.get(&key()).unwrap_err();
    assert_eq!((error.kind(), scene.faulty.calls() - calls), (ErrorKind::Unavailable, 6));
    // 0.1, 0.3, 0.9, 2.7 and 8.1 s, each randomised between half of it and all.
    let waited = scene.clock.monotonic().saturating_sub(began);
    assert!(
        (Duration::from_secs(6)..=Duration::from_millis(12_100)).contains(&waited),
        "{waited:?}"
    );
}

#[test]
fn permanent_failure_is_not_retried() {
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Denied,
        ErrorKind::Full,
        ErrorKind::Invalid,
        ErrorKind::Corrupt,
        ErrorKind::Closed,
    ] {
        let scene = scene();
        scene.faulty.fail_at(1, BackendFault::before(kind));
        assert_eq!(scene.store.get(&key()).unwrap_err().kind(), kind);
        assert_eq!(scene.faulty.calls(), 1, "{kind}");
    }
}

#[test]
fn lost_answer_of_conditional_put_is_resolved() {
    // The first answer is lost after an effect or before, with or without writes of others in
    // between.
    for after in [true, false] {
        let scene = scene();
        scene.faulty.fail_at(1, lost(after));
        let first = scene.store.put(&key(), "first".into(), &Condition::Absent).unwrap();
        assert_eq!(scene.memory.get(&key()).unwrap().version, first);
        scene.faulty.fail_at(1, lost(after));
        let matches = Condition::Matches(first);
        let second = scene.store.put(&key(), "second".into(), &matches).unwrap();
        assert_eq!(scene.memory.get(&key()).unwrap().version, second);
        // A certain refusal: no effect was lost.
        let refused = scene.store.put(&key(), "second".into(), &matches).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let refused = scene.store.put(&key(), "second".into(), &Condition::Absent).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "even if it is the same body");
        // Refused after a lost answer, with another body there: it may have happened before that
        // body.
        for condition in [&matches, &Condition::Absent] {
            scene.faulty.fail_at(1, lost(false));
            let unsure = scene.store.put(&key(), "third".into(), condition).unwrap_err();
            assert_eq!(unsure.kind(), ErrorKind::Uncertain);
        }
        assert_eq!(scene.memory.get(&key()).unwrap().body, "second");
    }
}

#[test]
fn put_with_one_uncertain_try_is_uncertain() {
    for condition in [Condition::Absent, Condition::Any] {
        for last in [ErrorKind::Unavailable, ErrorKind::Denied] {
            let scene = scene();
            scene.faulty.fail_from(2, BackendFault::before(last));
            scene.faulty.fail_at(1, lost(true));
            let error = scene.store.put(&key(), "body".into(), &condition).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Uncertain, "{last}");
        }
    }
}

#[test]
fn deletes_and_listings_are_retried() {
    let scene = scene();
    scene.memory.put(&key(), "body".into(), &Condition::Any).unwrap();
    scene.faulty.fail_at(1, UNAVAILABLE);
    assert_eq!(scene.store.list("", None, 10).unwrap().len(), 1);
    scene.faulty.fail_at(1, lost(true));
    scene.store.delete(&key()).unwrap();
    scene.store.delete_all(&[key()]).unwrap();
    assert_eq!(scene.memory.list("", None, 10).unwrap(), []);
}

/// Requests a pause, once.
#[derive(Debug)]
struct Busy {
    inner: Memory,
    asks: parking_lot::Mutex<Option<Duration>>,
}

impl Busy {
    fn pass(&self) -> Result<(), Error> {
        match self.asks.lock().take() {
            Some(pause) => {
                Err(Error::new(ErrorKind::Unavailable, "get object").with_source(RetryAfter(pause)))
            }
            None => Ok(()),
        }
    }
}

impl Layer for Busy {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn get(&self, key: &Key) -> Result<strongroom_backends::Object, Error> {
        self.pass()?;
        self.inner.get(key)
    }
}

impl_backend!(Busy);

#[test]
fn requested_pause_is_kept_unless_too_long() {
    let minute = StoreRetryPolicy::RETRY_AFTER_MAX;
    for (asked, waited) in [
        (Duration::from_secs(7), Some(Duration::from_secs(7))),
        (Duration::from_secs(3_600), Some(minute)),
        (Duration::ZERO, None),
    ] {
        let clock = ManualClock::new();
        let busy = Busy { inner: Memory::new(), asks: parking_lot::Mutex::new(Some(asked)) };
        busy.inner.put(&key(), "body".into(), &Condition::Any).unwrap();
        let (entropy, policy) = (Arc::new(SeededEntropy::new(1)), StoreRetryPolicy::default());
        let store = RetryingBackend::new(busy, policy, Arc::new(clock.clone()), entropy);
        assert_eq!(store.get(&key()).unwrap().body, "body");
        match waited {
            Some(waited) => assert_eq!(clock.monotonic(), waited),
            None => assert!(clock.monotonic() <= policy.first_pause),
        }
    }
    // A policy with less time than the requested pause gives up at once.
    let clock = ManualClock::new();
    let busy = Busy { inner: Memory::new(), asks: parking_lot::Mutex::new(Some(minute)) };
    let policy =
        StoreRetryPolicy { timeout: Duration::from_secs(5), ..StoreRetryPolicy::default() };
    let entropy = Arc::new(SeededEntropy::new(1));
    let store = RetryingBackend::new(busy, policy, Arc::new(clock.clone()), entropy);
    assert_eq!(store.get(&key()).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(clock.monotonic(), Duration::ZERO);
}

#[test]
fn calls_are_counted_with_their_bytes() {
    let counts = Arc::new(RequestCounts::default());
    let store = CountingBackend::new(Memory::new(), Arc::clone(&counts));
    let version = store.put(&key(), "first".into(), &Condition::Absent).unwrap();
    store.put(&key(), "other".into(), &Condition::Absent).unwrap_err();
    let before = counts.read();
    store.put(&key(), "second".into(), &Condition::Matches(version)).unwrap();
    store.put(&key(), "third".into(), &Condition::Any).unwrap();
    store.get(&key()).unwrap();
    store.get_range(&key(), 1..3).unwrap();
    store.list("", None, 10).unwrap();
    store.delete(&key()).unwrap();
    store.delete_all(&[key()]).unwrap();
    let since = counts.read().since(&before);
    assert_eq!((before.conditional_puts, before.bytes_written), (2, 10));
    assert_eq!((since.conditional_puts, since.puts, since.bytes_written), (1, 1, 11));
    assert_eq!((since.gets, since.ranges, since.bytes_read), (1, 1, 7));
    assert_eq!((since.lists, since.deletes, since.total()), (1, 2, 7));
}
