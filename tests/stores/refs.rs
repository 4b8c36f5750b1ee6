//! Refs under delays, lost answers and late effects: the calls are linearizable.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom::backends::component::{Clock, OsEntropy, SystemClock};
use strongroom::backends::{
    Backend, Condition, Key, Memory, Object, RetryingBackend, StoreOptions, StoreRetryPolicy,
    Version,
};
use strongroom::{Error, ErrorKind, Result};
use strongroom_testkit::{Bug, Layer, TestRefs, bug, impl_backend, plant};

use crate::linearizable::{History, Input, Output, UNKNOWN_MAX, Verdict};
use crate::proxy::{Chaos, Proxy, Rule};
use crate::server::Location;
use crate::setting;
use crate::support::random::Random;

const CLIENTS: u32 = 8;
const REFS: u64 = 20;
const TIMEOUT: Duration = Duration::from_secs(120);

/// A layer over a store in memory that injects network faults.
///
/// Calls are delayed, fail, lose their answers, or take effect later.
#[derive(Debug)]
struct Network {
    store: Arc<Memory>,
    random: Mutex<Random>,
    late: Mutex<Vec<(Key, Bytes, Condition)>>,
}

impl Network {
    fn new(store: &Arc<Memory>, seed: u64) -> Self {
        let random = Mutex::new(Random::new(seed));
        Self { store: Arc::clone(store), random, late: Mutex::default() }
    }

    fn percent(&self) -> u64 {
        self.random.lock().below(100)
    }

    /// Injects a random fault between a call and its effect.
    fn pass(&self) -> Result<()> {
        let drawn = self.percent();
        if drawn < 30 {
            thread::yield_now();
        }
        if drawn < 5 {
            SystemClock::new().sleep(Duration::from_micros(drawn * 200));
        }
        if self.percent() < 20
            && let Some((key, body, condition)) = self.late.lock().pop()
        {
            // The caller got `Uncertain` long ago.
            let _ = self.store.put(&key, body, &condition);
        }
        if self.percent() < 3 {
            return Err(Error::new(ErrorKind::Unavailable, "pass network"));
        }
        Ok(())
    }
}

impl Layer for Network {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    fn get(&self, key: &Key) -> Result<Object> {
        self.pass()?;
        self.store.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.pass()?;
        self.store.get_range(key, range)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.pass()?;
        let lost = || Error::new(ErrorKind::Uncertain, "pass network");
        match self.percent() {
            0..4 => Err(lost()),
            4..8 => {
                self.late.lock().push((key.clone(), body, condition.clone()));
                Err(lost())
            }
            8..16 => {
                let _ = self.store.put(key, body, condition);
                Err(lost())
            }
            _ => self.store.put(key, body, condition),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl_backend!(Network);

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.try_into().expect("eight bytes")))
}

/// Makes one call on a ref and returns its output.
fn call(refs: &TestRefs, name: &str, input: Input) -> Output {
    let output_of = |result: Result<Output>| match result {
        Ok(output) => output,
        Err(e) if e.kind() == ErrorKind::Uncertain => Output::Unknown,
        Err(e) => {
            let is_known = matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Conflict);
            assert!(is_known, "unexpected error of the network: {e}");
            Output::Failed
        }
    };
    let bytes = |value: u64| value.to_le_bytes().to_vec();
    output_of(match input {
        Input::Read => refs.read(name).map(|value| Output::Value(number(value.as_deref()))),
        Input::Add(by) => refs.update(name, |value| {
            let sum = number(value) + by;
            Ok((bytes(sum), Output::Value(sum)))
        }),
        Input::CompareAndSet { expected, new } => refs.update(name, |value| {
            let value = number(value);
            let fits = value == expected;
            Ok((bytes(if fits { new } else { value }), Output::Swapped(fits)))
        }),
    })
}

/// Records `calls` calls of eight clients, each with its own handle.
fn record(calls: u64, seed: u64, refs_of: impl Fn(u32) -> TestRefs + Sync) -> History {
    let history = History::new();
    // Clients stop using a ref with too many unknown calls: each doubles the search.
    let unknown: Vec<AtomicU64> = (0..REFS * 50).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (history, unknown, refs_of) = (&history, &unknown, &refs_of);
            scope.spawn(bug::carry(move || {
                let refs = refs_of(client);
                let mut random = Random::new(seed ^ (u64::from(client) << 32));
                let mut known = 0;
                for _ in 0..calls / u64::from(CLIENTS) {
                    let first = random.below(REFS);
                    let at = (first..unknown.len() as u64)
                        .step_by(usize::try_from(REFS).unwrap())
                        .find(|at| {
                            let unknown = &unknown[usize::try_from(*at).unwrap()];
                            unknown.load(Ordering::Relaxed) < UNKNOWN_MAX as u64 / 2
                        })
                        .expect("a ref with few unknown calls");
                    let name = format!("ref {at}");
                    let input = match random.below(4) {
                        0 => Input::Read,
                        1 => Input::CompareAndSet { expected: known, new: random.below(1_000) },
                        _ => Input::Add(1),
                    };
                    let id = history.begin(client, &name, input);
                    let output = call(&refs, &name, input);
                    history.end(id, output);
                    match output {
                        Output::Value(value) => known = value,
                        Output::Unknown => {
                            let at = usize::try_from(at).unwrap();
                            unknown[at].fetch_add(1, Ordering::Relaxed);
                        }
                        Output::Swapped(_) | Output::Failed => {}
                    }
                }
            }));
        }
    });
    history
}

/// Adds quick retries, since this network is simulated.
fn retrying(inner: Network) -> Arc<dyn Backend> {
    let policy = StoreRetryPolicy {
        first_pause: Duration::from_micros(50),
        pause_max: Duration::from_millis(1),
        ..StoreRetryPolicy::default()
    };
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(OsEntropy));
    Arc::new(RetryingBackend::new(inner, policy, clock, entropy))
}

fn through_networks(calls: u64, seed: u64, with_retries: bool) -> History {
    let store = Arc::new(Memory::new());
    record(calls, seed, |client| {
        let network = Network::new(&store, seed + u64::from(client));
        let backend = if with_retries { retrying(network) } else { Arc::new(network) };
        TestRefs::new(backend, Arc::new(SystemClock::new()), Arc::new(OsEntropy))
    })
}

fn calls() -> u64 {
    setting("STRONGROOM_REF_CALLS", 10_000)
}

#[test]
fn moves_under_delays_and_lost_answers_are_linearizable() {
    for (seed, with_retries) in [(1, false), (2, true)] {
        let history = through_networks(calls(), seed, with_retries);
        assert_eq!(history.check(TIMEOUT), Verdict::Linearizable, "seed {seed}");
        println!("{} calls, retries {with_retries}: linearizable", calls());
    }
}

/// Canary: a move that does not look for its own attempt id applies a change twice.
#[test]
fn moves_without_attempt_ids_are_not_linearizable() {
    let _bug = plant(Bug::NoAttemptIds);
    let history = through_networks(calls(), 3, false);
    let verdict = history.check(TIMEOUT);
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
    println!("{} calls without attempt ids: {verdict:?}", calls());
}

#[test]
fn moves_on_a_server_under_faults_are_linearizable() {
    let test = "moves_on_a_server_under_faults_are_linearizable";
    let Some(location) = Location::new(test) else { return };
    let proxy = Proxy::start(location.address());
    let through = location.through(&format!("http://{}", proxy.addr()));
    let policy =
        StoreRetryPolicy { first_pause: Duration::from_millis(2), ..StoreRetryPolicy::default() };
    let options = StoreOptions::new().retry(policy);
    let backend = through.open_with(&options);
    proxy.inject(Rule::chaos(Chaos {
        seed: 1,
        lose_answer_percent: 5,
        unavailable_percent: 5,
        delay_percent: 20,
        delay_max: Duration::from_millis(20),
    }));
    let calls = setting("STRONGROOM_STORE_CALLS", 400);
    let history = record(calls, 4, |_| {
        let clock = Arc::new(SystemClock::new());
        TestRefs::new(Arc::clone(&backend), clock, Arc::new(OsEntropy))
    });
    assert_eq!(history.check(TIMEOUT), Verdict::Linearizable);
    let faulted = proxy.log().iter().filter(|request| request.fault.is_some()).count();
    assert!(faulted > 0, "no fault was injected");
    println!("{calls} calls on a server, {faulted} faulted requests: linearizable");
}
