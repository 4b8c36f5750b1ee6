//! The probe under faults of single requests.

use std::num::NonZeroUsize;
use std::ops::Range;

use parking_lot::Mutex;
use strongroom_base::component::OsEntropy;

use super::*;
use crate::backend::ListEntry;
use crate::memory::Memory;

/// Requests of a probe without faults: four puts, a get and a delete.
const REQUESTS: usize = 6;
/// Most tries of a request.
const TRIES: usize = 6;

/// The fate of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// The store refuses it, as under throttling.
    Throttled,
    /// It takes effect, and its answer is lost.
    AnswerLost,
    /// The network duplicates it, and the second answer arrives.
    Twice,
    /// It has no effect, and no answer.
    Lost,
    /// The store answers that there is no bucket.
    NoBucket,
}

/// A store in memory, which decides the fate of each request by its number.
struct Flaky<F> {
    inner: Memory,
    fate: F,
    requests: Mutex<usize>,
    ignores_conditions: bool,
}

impl<F> std::fmt::Debug for Flaky<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flaky")
    }
}

impl<F: Fn(usize) -> Fate + Send + Sync> Flaky<F> {
    fn new(fate: F) -> Self {
        let inner = Memory::new();
        Self { inner, fate, requests: Mutex::new(0), ignores_conditions: false }
    }

    fn request<T>(&self, call: impl Fn() -> Result<T>) -> Result<T> {
        let number = {
            let mut requests = self.requests.lock();
            *requests += 1;
            *requests - 1
        };
        let failed = |kind| Err(Error::new(kind, "request"));
        match (self.fate)(number) {
            Fate::Answered => call(),
            Fate::Throttled => failed(ErrorKind::Unavailable),
            Fate::Lost => failed(ErrorKind::Uncertain),
            Fate::AnswerLost => {
                let _ = call();
                failed(ErrorKind::Uncertain)
            }
            Fate::Twice => call().and_then(|_| call()),
            Fate::NoBucket => {
                Err(Error::new(ErrorKind::Unavailable, "request")
                    .with_reason(Reason::BucketMissing))
            }
        }
    }

    /// Probes this store; returns the result and the number of requests.
    fn probe(&self) -> (Result<()>, usize) {
        let begin = || -> Tries<'_> {
            let mut tries = 1;
            Box::new(move |_| {
                tries += 1;
                tries <= TRIES
            })
        };
        let probed = expect_conditions(self, &OsEntropy, || {}, &begin);
        assert_eq!(self.inner.list("", None, 9).unwrap(), [], "the scratch object is deleted");
        (probed, *self.requests.lock())
    }
}

impl<F: Fn(usize) -> Fate + Send + Sync> Backend for Flaky<F> {
    fn get(&self, key: &Key) -> Result<Object> {
        self.request(|| self.inner.get(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.request(|| self.inner.get_range(key, range.clone()))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        let condition = if self.ignores_conditions { &Condition::Any } else { condition };
        self.request(|| self.inner.put(key, body.clone(), condition))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.request(|| self.inner.delete(key))
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.request(|| self.inner.delete_all(keys))
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.request(|| self.inner.list(prefix, after, limit))
    }

    fn name(&self) -> &'static str {
        "flaky"
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.inner.concurrency()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn available_bytes(&self) -> Result<u64> {
        self.inner.available_bytes()
    }
}

#[test]
fn sound_store_passes_with_six_requests() {
    let (probed, requests) = Flaky::new(|_| Fate::Answered).probe();
    probed.unwrap();
    assert_eq!(requests, REQUESTS);
}

#[test]
fn lost_answer_or_duplicate_is_no_foreign_put() {
    for fate in [Fate::AnswerLost, Fate::Lost, Fate::Twice] {
        // One more get may decide whether the put happened.
        for lost in 0..=REQUESTS {
            let store = Flaky::new(|number| if number == lost { fate } else { Fate::Answered });
            let (probed, requests) = store.probe();
            assert!(probed.is_ok(), "{fate:?} of request {lost}: {probed:?}");
            assert!(requests <= REQUESTS + 2, "{fate:?} of request {lost}: {requests} requests");
        }
    }
}

#[test]
fn each_request_has_its_own_tries() {
    // Of six tries of each request, the last one is answered.
    let is_throttled = |number: usize| !(number + 1).is_multiple_of(TRIES);
    let fate = |number| if is_throttled(number) { Fate::Throttled } else { Fate::Answered };
    let (probed, requests) = Flaky::new(fate).probe();
    probed.unwrap();
    assert_eq!(requests, REQUESTS * TRIES);
}

#[test]
fn missing_bucket_fails_at_the_first_request() {
    let (probed, requests) = Flaky::new(|_| Fate::NoBucket).probe();
    let error = probed.unwrap_err();
    assert_eq!((error.reason(), requests), (Some(Reason::BucketMissing), 1), "{error}");
}

#[test]
fn bucket_that_vanishes_fails_without_retries() {
    let fate = |number| if number == 1 { Fate::NoBucket } else { Fate::Answered };
    let (probed, requests) = Flaky::new(fate).probe();
    assert_eq!(probed.unwrap_err().reason(), Some(Reason::BucketMissing));
    assert_eq!(requests, 3, "two puts and a delete");
}

#[test]
fn throttling_for_ever_ends_with_the_tries() {
    let (probed, requests) = Flaky::new(|_| Fate::Throttled).probe();
    assert_eq!((probed.unwrap_err().kind(), requests), (ErrorKind::Unavailable, TRIES));
}

/// Each put of a store that ignores conditions succeeds, and so the second one shows the defect.
#[test]
fn lost_answers_hide_no_missing_condition() {
    for lost in 0..3 {
        let fate = move |number| if number == lost { Fate::AnswerLost } else { Fate::Answered };
        let store = Flaky { ignores_conditions: true, ..Flaky::new(fate) };
        let error = store.probe().0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "lost answer of {lost}: {error}");
        assert!(error.to_string().contains("create an object twice"), "{error}");
    }
}

#[test]
fn unanswered_condition_is_no_enforced_condition() {
    // The second put is never answered.
    let fate = |number| if (1..=TRIES).contains(&number) { Fate::Lost } else { Fate::Answered };
    let error = Flaky::new(fate).probe().0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
}
