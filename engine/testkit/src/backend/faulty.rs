//! Backends that fail on demand, and one that acknowledges too early.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_backends::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::{Error, ErrorKind, Key, Result};

/// The moment of a failure: before or after the effect of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendTiming {
    /// The call does not reach the store.
    Before,
    /// The store performs the call, and its answer is lost.
    After,
}

/// The failure of a call of a [`FaultyBackend`].
///
/// By the contract only `Uncertain` may come with an effect. So model a lost answer as `After` with
/// `Uncertain`, and a refusal as `Before` with any other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendFault {
    /// The moment of the failure.
    pub timing: BackendTiming,
    /// Kind of the returned error.
    pub kind: ErrorKind,
}

impl BackendFault {
    /// Makes a fault without effect.
    pub fn before(kind: ErrorKind) -> Self {
        Self { timing: BackendTiming::Before, kind }
    }

    /// Makes a fault after the full effect.
    pub fn after(kind: ErrorKind) -> Self {
        Self { timing: BackendTiming::After, kind }
    }
}

/// A wrapper of a backend that counts calls and makes them fail.
///
/// It counts `get`, `get_range`, `put`, `delete` and `list`.
///
/// ```
/// use std::sync::Arc;
/// use strongroom_testkit::{BackendFault, FaultyBackend};
/// use strongroom::backends::{Backend, Condition, ErrorKind, Key, Memory};
///
/// # fn main() -> strongroom::backends::Result<()> {
/// let faulty = FaultyBackend::new(Arc::new(Memory::new()));
/// faulty.fail_at(1, BackendFault::after(ErrorKind::Uncertain));
///
/// let key = Key::new("ref")?;
/// let error = faulty.put(&key, "body".into(), &Condition::Absent).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Uncertain);
/// assert_eq!(faulty.get(&key)?.body, "body");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    once: BTreeMap<u64, BackendFault>,
    from: Option<(u64, BackendFault)>,
}

impl Plan {
    fn next(&mut self) -> Option<BackendFault> {
        self.calls += 1;
        let lasting = self.from.filter(|(first, _)| self.calls >= *first);
        self.once.remove(&self.calls).or(lasting.map(|(_, fault)| fault))
    }

    /// Returns the number of the `nth` call from now on; 0 means the next one too.
    fn number(&self, nth: u64) -> u64 {
        self.calls.saturating_add(nth.max(1))
    }
}

impl FaultyBackend {
    /// Wraps `inner`, without faults.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Returns the number of calls so far, including failed ones.
    pub fn calls(&self) -> u64 {
        self.plan.lock().calls
    }

    /// Makes one call fail: the `nth` from now on, where 1 is the next.
    ///
    /// Faults of different calls do not affect each other.
    pub fn fail_at(&self, nth: u64, fault: BackendFault) {
        let mut plan = self.plan.lock();
        let call = plan.number(nth);
        plan.once.insert(call, fault);
    }

    /// Makes every call fail from the `nth` from now on.
    ///
    /// The next call is 1. It lasts until [`clear`](Self::clear).
    pub fn fail_from(&self, nth: u64, fault: BackendFault) {
        let mut plan = self.plan.lock();
        plan.from = Some((plan.number(nth), fault));
    }

    /// Removes all future faults. The count of calls continues.
    pub fn clear(&self) {
        let mut plan = self.plan.lock();
        plan.once.clear();
        plan.from = None;
    }

    /// Passes a call on, or fails it as planned.
    fn call<T>(
        &self,
        operation: &'static str,
        perform: impl FnOnce(&dyn Backend) -> Result<T>,
    ) -> Result<T> {
        let fault = self.plan.lock().next();
        let Some(BackendFault { timing, kind }) = fault else {
            return perform(&*self.inner);
        };
        if timing == BackendTiming::After {
            // The answer is lost, whatever it was.
            let _ = perform(&*self.inner);
        }
        Err(Error::new(kind, operation).with_detail("injected fault"))
    }
}

impl super::Layer for FaultyBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn get(&self, key: &Key) -> Result<Object> {
        self.call("get object", |inner| inner.get(key)).map_err(|e| e.with_subject(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.call("get range of object", |inner| inner.get_range(key, range))
            .map_err(|e| e.with_subject(key))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.call("put object", |inner| inner.put(key, body, condition))
            .map_err(|e| e.with_subject(key))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.call("delete object", |inner| inner.delete(key)).map_err(|e| e.with_subject(key))
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.call("delete objects", |inner| inner.delete_all(keys))
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.call("list objects", |inner| inner.list(prefix, after, limit))
    }

    fn available_bytes(&self) -> Result<u64> {
        self.call("read free space", |inner| inner.available_bytes())
    }
}

crate::impl_backend!(FaultyBackend);

/// A backend for canaries that performs acknowledged puts later.
///
/// It performs a put after a number of further calls, or on [`settle`](Self::settle). Until then it
/// answers from memory as if the put had happened. Pending puts are lost with the last handle, as
/// in a power cut.
///
/// An engine on top of it commits rows before their objects exist. A crash harness that does not
/// detect this is broken.
///
/// Conditions are checked at the acknowledgement. The returned versions derive from the content, so
/// the backend below must derive them in the same way, as disk and memory do.
#[derive(Debug)]
pub struct DeferredBackend {
    inner: Arc<dyn Backend>,
    delay: u64,
    state: Mutex<Deferred>,
}

#[derive(Debug, Default)]
struct Deferred {
    calls: u64,
    /// In the order of acknowledgement, which is also the time order.
    puts: VecDeque<DeferredPut>,
}

#[derive(Debug)]
struct DeferredPut {
    due: u64,
    key: Key,
    body: Bytes,
}

impl DeferredBackend {
    /// Wraps `inner`: each put waits for `delay` further calls, and is performed before the next
    /// one.
    ///
    /// With `u64::MAX` only [`settle`](Self::settle) performs it.
    pub fn new(inner: Arc<dyn Backend>, delay: u64) -> Self {
        Self { inner, delay, state: Mutex::default() }
    }

    /// Returns the number of acknowledged puts that have not been performed.
    pub fn pending(&self) -> usize {
        self.state.lock().puts.len()
    }

    /// Performs all pending puts, in order.
    ///
    /// The first error ends it; that put and later ones stay pending.
    pub fn settle(&self) -> Result<()> {
        let mut state = self.state.lock();
        while let Some(put) = state.puts.front() {
            self.perform(put)?;
            state.puts.pop_front();
        }
        Ok(())
    }

    fn perform(&self, put: &DeferredPut) -> Result<()> {
        self.inner.put(&put.key, put.body.clone(), &Condition::Any).map(drop)
    }

    /// Counts a call and runs it, after the due puts.
    fn call<T>(&self, run: impl FnOnce(&mut Deferred) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        state.calls += 1;
        while state.puts.front().is_some_and(|put| put.due < state.calls) {
            // A failed put is not reported either: it is lost.
            let _ = state.puts.pop_front().map(|put| self.perform(&put));
        }
        run(&mut state)
    }

    fn view(&self, state: &Deferred, key: &Key) -> Result<Object> {
        match state.puts.iter().rev().find(|put| put.key == *key) {
            Some(put) => {
                Ok(Object { body: put.body.clone(), version: Version::of_content(&put.body) })
            }
            None => self.inner.get(key),
        }
    }
}

impl super::Layer for DeferredBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn get(&self, key: &Key) -> Result<Object> {
        self.call(|state| self.view(state, key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.call(|state| self.view(state, key)?.range(range)).map_err(|e| e.with_subject(key))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.call(|state| {
            let current = match self.view(state, key) {
                Ok(object) => Some(object.version),
                Err(e) if e.kind() == ErrorKind::NotFound => None,
                Err(e) => return Err(e),
            };
            condition.check(current.as_ref())?;
            let version = Version::of_content(&body);
            let due = state.calls.saturating_add(self.delay);
            state.puts.push_back(DeferredPut { due, key: key.clone(), body });
            Ok(version)
        })
        .map_err(|e| e.with_subject(key))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.call(|state| {
            self.inner.delete(key)?;
            state.puts.retain(|put| put.key != *key);
            Ok(())
        })
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.call(|state| {
            self.inner.delete_all(keys)?;
            state.puts.retain(|put| !keys.contains(&put.key));
            Ok(())
        })
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.call(|state| {
            let page = self.inner.list(prefix, after, limit)?;
            let mut sizes: BTreeMap<Key, u64> =
                page.into_iter().map(|entry| (entry.key, entry.size)).collect();
            for put in &state.puts {
                let listed = put.key.as_str().starts_with(prefix)
                    && after.is_none_or(|after| put.key > *after);
                if listed {
                    sizes.insert(put.key.clone(), put.body.len() as u64);
                }
            }
            let entries = sizes.into_iter().map(|(key, size)| ListEntry { key, size });
            Ok(entries.take(limit).collect())
        })
    }
}

crate::impl_backend!(DeferredBackend);

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_backends::Memory;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn put(store: &dyn Backend, text: &str) -> Result<Version> {
        store.put(&key(text), text.to_owned().into(), &Condition::Any)
    }

    #[test]
    fn faults_hit_the_calls_they_were_planned_for() {
        let memory = Arc::new(Memory::new());
        let faulty = FaultyBackend::new(memory.clone());
        let refused = BackendFault::before(ErrorKind::Full);
        faulty.fail_at(2, refused);
        faulty.fail_at(3, BackendFault::after(ErrorKind::Uncertain));

        put(&faulty, "a").unwrap();
        assert_eq!(put(&faulty, "b").unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(memory.get(&key("b")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(put(&faulty, "c").unwrap_err().kind(), ErrorKind::Uncertain);
        assert_eq!(memory.get(&key("c")).unwrap().body, "c");
        put(&faulty, "d").unwrap();
        assert_eq!(faulty.calls(), 4);

        faulty.fail_from(2, refused);
        put(&faulty, "e").unwrap();
        assert!(put(&faulty, "f").is_err() && faulty.get(&key("a")).is_err());
        faulty.clear();
        put(&faulty, "f").unwrap();
    }

    #[test]
    fn deferred_put_is_visible_at_once_and_performed_later() {
        let memory = Arc::new(Memory::new());
        let deferred = DeferredBackend::new(memory.clone(), 2);
        put(&deferred, "a").unwrap();
        for _ in 0..2 {
            assert_eq!(deferred.get(&key("a")).unwrap().body, "a");
            assert_eq!(memory.get(&key("a")).unwrap_err().kind(), ErrorKind::NotFound);
        }
        deferred.get(&key("a")).unwrap();
        assert_eq!(memory.get(&key("a")).unwrap().body, "a");
    }

    #[test]
    fn deferred_puts_settle_or_are_lost() {
        let memory = Arc::new(Memory::new());
        let deferred = DeferredBackend::new(memory.clone(), u64::MAX);
        put(&deferred, "a").unwrap();
        assert_eq!(deferred.pending(), 1);
        deferred.settle().unwrap();
        assert_eq!(deferred.pending(), 0);
        put(&deferred, "b").unwrap();
        drop(deferred);
        assert!(memory.get(&key("a")).is_ok());
        assert!(memory.get(&key("b")).is_err());
    }
}
