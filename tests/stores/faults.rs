//! Faults between a vault and its store, which a proxy injects.
//!
//! Each fault returns a clear error of the right kind within a time limit. No acknowledged data is
//! lost.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom::backends::component::{Clock, OsEntropy, SystemClock};
use strongroom::backends::{Backend, Condition, Key, StoreOptions, StoreRetryPolicy, open_url};
use strongroom::check::CheckOptions;
use strongroom::documents::SpaceOptions;
use strongroom::keys::NewKey;
use strongroom::storage::MemoryState;
use strongroom::{Error, ErrorKind, SecretKey, SecretPassword};
use strongroom_testkit::{SeededEntropy, TestRefs};

use crate::proxy::{Chaos, Fault, Head, Proxy, Rule};
use crate::scene::{assert_all_data, noise, options, put};
use crate::server::Location;
use crate::support::process::{Worker, print_line};

/// Time of a hang or a delay, longer than any test.
const HANG: Duration = Duration::from_secs(3_600);

/// A location on the server behind a proxy.
struct Scene {
    location: Location,
    proxy: Proxy,
    store: Arc<dyn Backend>,
}

fn quick() -> StoreRetryPolicy {
    StoreRetryPolicy { first_pause: Duration::from_millis(5), ..StoreRetryPolicy::default() }
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        Self::with(test, &StoreOptions::new().retry(quick()))
    }

    fn with(test: &str, options: &StoreOptions) -> Option<Self> {
        let location = Location::new(test)?;
        let proxy = Proxy::start(location.address());
        let store = location.through(&format!("http://{}", proxy.addr())).open_with(options);
        proxy.take_log();
        Some(Self { location, proxy, store })
    }

    fn get(&self) -> strongroom::Result<bytes::Bytes> {
        self.store.get(&key()).map(|object| object.body)
    }

    /// Returns the number of requests with an injected fault.
    fn faulted_requests(&self) -> usize {
        self.proxy.log().iter().filter(|request| request.fault.is_some()).count()
    }
}

fn key() -> Key {
    Key::new("content/a").unwrap()
}

/// Asserts that an error has this kind and hint, and no secret.
#[track_caller]
fn assert_hint<T: std::fmt::Debug>(
    outcome: strongroom::Result<T>,
    kind: ErrorKind,
    hint: &str,
) -> Error {
    let error = outcome.expect_err("the call fails");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(hint), "{text:?} lacks {hint:?}");
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap_or_default();
    assert!(
        secret.is_empty() || !format!("{error:?}").contains(&secret),
        "the error shows a secret"
    );
    error
}

#[test]
fn errors_distinguish_no_listener_unknown_host_and_no_tls() {
    let plain = server_answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let hints = [
        (format!("http://{}", unused_address()), "no server answers at the endpoint"),
        ("https://no-such-host.invalid".into(), "name cannot be resolved"),
        (format!("https://{plain}"), "TLS with the endpoint failed"),
    ];
    // In parallel, because each retries for some seconds.
    let workers = hints.map(|(endpoint, hint)| {
        let url = format!("s3://bucket?region=r&endpoint={endpoint}");
        (Worker::start_with("open", Path::new(&url), &s3_credentials()), hint)
    });
    for (worker, hint) in workers {
        let said = worker.line().unwrap();
        assert!(said.starts_with("unavailable|") && said.contains(hint), "{said}");
    }
}

/// Returns invalid credentials.
///
/// With them, the client does not ask another source for credentials.
pub(crate) fn s3_credentials() -> Vec<(&'static str, String)> {
    vec![("AWS_ACCESS_KEY_ID", "a".into()), ("AWS_SECRET_ACCESS_KEY", "b".into())]
}

#[test]
fn credential_source_without_credentials_is_denied() {
    let refusing = server_answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    let url = format!("gs://bucket/a?endpoint=http://{}", unused_address());
    // The client asks Google's metadata host for credentials, through a proxy that refuses.
    let proxy = format!("http://{refusing}");
    let variables =
        [("http_proxy", proxy.clone()), ("HTTP_PROXY", proxy), ("NO_PROXY", String::new())];
    let said = Worker::start_with("open", Path::new(&url), &variables).line().unwrap();
    assert!(said.starts_with("denied|") && said.contains("no credentials"), "{said}");
}

/// Starts a server that gives the same answer to every request.
fn server_answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4_096]).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// Returns an address without a listener: its port was free a moment ago.
fn unused_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Opens a store in a child process and prints the outcome.
pub(crate) fn open_and_report(at: &Path) {
    match open_url(at.to_str().unwrap()) {
        Ok(_) => print_line("opened"),
        Err(e) => print_line(&format!("{}|{e}", e.kind())),
    }
}

#[test]
fn each_cloud_uses_the_endpoint_of_its_url() {
    let free = unused_address();
    let account =
        r#"{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true}"#;
    let cases = [
        (format!("s3://bucket/a?region=r&endpoint=http://{free}"), s3_credentials()),
        (
            format!("gs://bucket/a?endpoint=http://{free}"),
            vec![("GOOGLE_SERVICE_ACCOUNT_KEY", account.to_owned())],
        ),
        (
            format!("az://container/a?account=a&endpoint=http://{free}"),
            vec![("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0".into())],
        ),
    ];
    let workers = cases.map(|(url, variables)| {
        let worker = Worker::start_with("open", Path::new(&url), &variables);
        (url, worker)
    });
    for (url, worker) in workers {
        let said = worker.line().unwrap();
        let is_expected = said.starts_with("unavailable|") && said.contains("no server answers");
        assert!(is_expected, "{url}: {said}");
    }
}

#[test]
fn wrong_credentials_are_denied_and_missing_bucket_is_invalid() {
    let Some(location) =
        Location::new("wrong_credentials_are_denied_and_missing_bucket_is_invalid")
    else {
        return;
    };
    let open = |variables: &[(&str, String)]| {
        let worker = Worker::start_with("open", Path::new(location.url()), variables);
        worker.line().unwrap()
    };
    let wrong = "a-secret-that-is-wrong";
    let said = open(&[("AWS_SECRET_ACCESS_KEY", wrong.into())]);
    assert!(said.starts_with("denied|") && said.contains("credentials"), "{said}");
    assert!(!said.contains(wrong), "{said}");
    let said = open(&[("AWS_ACCESS_KEY_ID", "unknown".into())]);
    assert!(said.starts_with("denied|"), "{said}");
    assert_eq!(open(&[]), "opened");
    // Only the URL determines the endpoint.
    for variable in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
        assert_eq!(open(&[(variable, "http://127.0.0.1:1".into())]), "opened", "{variable}");
    }

    let other = location.url().replace("strongroom-test", "no-such-bucket");
    assert_hint(open_url(&other), ErrorKind::Invalid, "bucket does not exist");
}

#[test]
fn store_refusals_map_to_error_kinds_with_hints() {
    let Some(scene) = Scene::new("store_refusals_map_to_error_kinds_with_hints") else {
        return;
    };
    scene.store.put(&key(), "body".into(), &Condition::Absent).unwrap();
    for (status, code, kind, hint) in [
        (403, "RequestTimeTooSkewed", ErrorKind::Denied, "clock is wrong"),
        (403, "SignatureDoesNotMatch", ErrorKind::Denied, "credentials"),
        (403, "AccessDenied", ErrorKind::Denied, "policy"),
        (400, "ExpiredToken", ErrorKind::Denied, "expired"),
        (403, "QuotaExceeded", ErrorKind::Full, "quota is used up"),
        (404, "NoSuchBucket", ErrorKind::Unavailable, "bucket does not exist"),
        (503, "SlowDown", ErrorKind::Unavailable, "throttling"),
        (500, "InternalError", ErrorKind::Unavailable, "the store failed"),
    ] {
        scene.proxy.inject(Rule::new(Fault::s3_error(status, code)).always());
        assert_hint(scene.get(), kind, hint);
        // After 500 and 503 the put may have happened, so its error is `Uncertain`.
        let put = scene.store.put(&key(), "other".into(), &Condition::Any);
        let is_uncertain = matches!(status, 500 | 503);
        assert_hint(put, if is_uncertain { ErrorKind::Uncertain } else { kind }, hint);
        scene.proxy.clear();
        assert_eq!(scene.get().unwrap(), "body", "{code}: no change");
    }
    // A missing key is reported differently from a missing bucket.
    let absent = scene.store.get(&Key::new("content/b").unwrap());
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn retry_after_header_delays_the_retry() {
    let Some(scene) = Scene::new("retry_after_header_delays_the_retry") else { return };
    let clock = SystemClock::new();
    for status in [429, 503] {
        let Fault::Answer { mut headers, body, .. } = Fault::s3_error(status, "SlowDown") else {
            unreachable!("an error is an answer")
        };
        headers.push(("Retry-After", "1".into()));
        scene.proxy.inject(Rule::new(Fault::Answer { status, headers, body }).method("PUT"));
        let began = clock.monotonic();
        let name = Key::new(format!("content/{status}")).unwrap();
        scene.store.put(&name, "body".into(), &Condition::Absent).unwrap();
        let passed = clock.monotonic().saturating_sub(began);
        assert!(passed >= Duration::from_secs(1), "retried after {passed:?}");
    }
}

#[test]
fn transient_faults_are_retried_and_reads_are_complete() {
    let Some(scene) = Scene::new("transient_faults_are_retried_and_reads_are_complete") else {
        return;
    };
    let body = bytes::Bytes::from(noise(300_000, 1));
    scene.store.put(&key(), body.clone(), &Condition::Absent).unwrap();
    for fault in [
        Fault::CutBody(0),
        Fault::CutBody(150_000),
        Fault::Refuse,
        Fault::LoseAnswer,
        Fault::s3_error(503, "SlowDown"),
    ] {
        scene.proxy.inject(Rule::new(fault.clone()).method("GET"));
        assert!(scene.get().unwrap() == body, "{fault:?}");
        scene.proxy.inject(Rule::new(fault.clone()).method("GET"));
        let range = scene.store.get_range(&key(), 1_000..200_000).unwrap();
        assert!(range == body[1_000..200_000], "{fault:?}");
        assert_eq!(scene.proxy.rules_left(), 0, "{fault:?} struck");
        scene.proxy.clear();
    }
    // The server is unreachable for a while.
    scene.proxy.stop_listening();
    let unreachable = scene.get();
    assert_hint(unreachable, ErrorKind::Unavailable, "no server answers");
    scene.proxy.resume();
    assert!(scene.get().unwrap() == body);
}

#[test]
fn hanging_server_times_out() {
    let options = StoreOptions::new()
        .timeout(Duration::from_millis(500))
        .retry(StoreRetryPolicy { tries: 2, ..quick() });
    let test = "hanging_server_times_out";
    let Some(scene) = Scene::with(test, &options) else { return };
    scene.proxy.inject(Rule::new(Fault::Hang(HANG)).always());
    let range = scene.store.get_range(&key(), 0..4);
    assert_hint(range, ErrorKind::Unavailable, "no answer within");
    let put = scene.store.put(&key(), "body".into(), &Condition::Absent);
    assert_hint(put, ErrorKind::Uncertain, "no answer within");
    assert_eq!(scene.faulted_requests(), 4, "each request was tried twice");
}

#[test]
fn vault_on_a_hanging_store_can_be_closed_and_reopened() {
    let test = "vault_on_a_hanging_store_can_be_closed_and_reopened";
    let Some(scene) = Scene::new(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("vault");
    let options = || options(&scene.store).write_timeout(Duration::from_secs(1));
    // A fixed seed, so that the chunker cuts the content at the same positions in each run.
    let vault = options().entropy(SeededEntropy::new(1)).create(&folder).unwrap();
    let uri = put(&vault, "1", &noise(4_000_000, 1));
    vault.close().unwrap();
    for is_closed in [false, true] {
        let vault = options().open(&folder).unwrap();
        scene.proxy.take_log();
        let mut reader = vault.artifacts().open(&uri).unwrap();
        reader.read_exact(&mut [0; 1]).unwrap();
        // One more chunk arrives. The requests after it, which read ahead, hang.
        let before = scene.proxy.log().len();
        let requests = AtomicU64::new(0);
        let is_ahead = move |_: &Head| requests.fetch_add(1, Ordering::Relaxed) >= 1;
        let hang = Rule::new(Fault::Hang(HANG)).always();
        scene.proxy.inject(hang.method("GET").target("content/").when(is_ahead));
        while scene.proxy.log().len() == before {
            reader.read_exact(&mut [0; 1_000]).unwrap();
        }
        scene.proxy.wait_for(|log| log.len() == before + 2);
        scene.proxy.inject(Rule::new(Fault::Hang(HANG)).always());
        drop(reader);
        if is_closed {
            vault.close().unwrap();
        } else {
            drop(vault);
        }
        // Neither lock nor ownership blocks the next open, although the store never answered.
        scene.proxy.clear();
    }
    let vault = options().open(&folder).unwrap();
    assert!(vault.artifacts().read(&uri).is_ok());
}

#[test]
fn delete_forbidden_by_a_policy_is_denied() {
    let test = "delete_forbidden_by_a_policy_is_denied";
    let Some(scene) = Scene::new(test) else { return };
    let keys: Vec<Key> = (0..3).map(|n| Key::new(format!("content/{n}")).unwrap()).collect();
    for key in &keys {
        scene.store.put(key, "body".into(), &Condition::Absent).unwrap();
    }
    let refused = format!(
        "<?xml version=\"1.0\"?><DeleteResult><Error><Key>{}/{}</Key><Code>AccessDenied</Code>\
         <Message>Access Denied</Message></Error></DeleteResult>",
        scene.location.prefix(),
        keys[0]
    );
    let answer = Fault::Answer {
        status: 200,
        headers: vec![("Content-Type", "application/xml".to_owned())],
        body: refused.into(),
    };
    scene.proxy.inject(Rule::new(answer).method("POST").target("?delete").always());
    assert_hint(scene.store.delete_all(&keys), ErrorKind::Denied, "policy");
    assert_hint(scene.store.delete(&keys[0]), ErrorKind::Denied, "policy");
    assert_eq!(scene.faulted_requests(), 2, "a forbidden request is not retried");
}

#[test]
fn put_with_a_lost_answer_is_recognized_as_done() {
    let Some(scene) = Scene::new("put_with_a_lost_answer_is_recognized_as_done") else {
        return;
    };
    let faults = [
        Fault::LoseAnswer,
        Fault::AnswerAfter { status: 500, body: Vec::new() },
        Fault::AnswerAfter { status: 503, body: Vec::new() },
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = Key::new(format!("content/{number}")).unwrap();
        let inject = || scene.proxy.inject(Rule::new(fault.clone()).method("PUT"));
        inject();
        let first = scene.store.put(&name, "first".into(), &Condition::Absent).unwrap();
        inject();
        let matches = Condition::Matches(first);
        let second = scene.store.put(&name, "second".into(), &matches).unwrap();
        assert_eq!(scene.store.get(&name).unwrap().version, second);
        // A put with an outdated condition does not take effect, and its outcome is unknown.
        inject();
        let stale = scene.store.put(&name, "third".into(), &matches).unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Uncertain, "{stale}");
        assert_eq!(scene.proxy.rules_left(), 0, "{fault:?} struck");
        assert_eq!(scene.store.get(&name).unwrap().body, "second");
    }
    // A put that arrives after another one is refused: its condition no longer holds.
    let refs = || {
        let clock = Arc::new(SystemClock::new());
        TestRefs::new(Arc::clone(&scene.store), clock, Arc::new(OsEntropy))
    };
    let add = |by: u8| {
        refs().update("counter", |value| {
            let sum = value.map_or(0, |value| value[0]) + by;
            Ok((vec![sum], sum))
        })
    };
    assert_eq!(add(1).unwrap(), 1);
    scene.proxy.inject(Rule::new(Fault::LateEffect(HANG)).method("PUT"));
    assert_eq!(add(1).unwrap(), 2);
    scene.proxy.deliver_late();
    assert_eq!(add(1).unwrap(), 3);
}

#[test]
fn wrong_etag_loses_no_move_of_a_ref() {
    let Some(scene) = Scene::new("wrong_etag_loses_no_move_of_a_ref") else { return };
    let wrong = || Fault::ReplaceHeader {
        name: "ETag",
        value: "\"00000000000000000000000000000000\"".into(),
    };
    scene.proxy.inject(Rule::new(wrong()).method("PUT"));
    let version = scene.store.put(&key(), "first".into(), &Condition::Absent).unwrap();
    let put = scene.store.put(&key(), "second".into(), &Condition::Matches(version));
    assert_hint(put, ErrorKind::Conflict, "");
    let clock = Arc::new(SystemClock::new());
    let refs = TestRefs::new(Arc::clone(&scene.store), clock, Arc::new(OsEntropy));
    for method in ["PUT", "GET"] {
        scene.proxy.inject(Rule::new(wrong()).method(method).target("refs/").times(2));
        for _ in 0..3 {
            refs.update("counter", |value| Ok((vec![value.map_or(0, |value| value[0]) + 1], ())))
                .unwrap();
        }
    }
    assert_eq!(refs.read("counter").unwrap().unwrap(), [6]);
}

#[test]
fn outdated_listing_is_not_reported_as_damage() {
    let test = "outdated_listing_is_not_reported_as_damage";
    let Some(scene) = Scene::new(test) else { return };
    let vault =
        options(&scene.store).create_on(MemoryState::new(), Arc::clone(&scene.store)).unwrap();
    scene.proxy.remember("list-type=2");
    let before = assert_all_data(&vault).objects;
    let uri = put(&vault, "1", &noise(1_000_000, 1));
    scene.proxy.inject(Rule::new(Fault::Replay).target("list-type=2").always());
    let after = assert_all_data(&vault);
    assert!(after.objects > before && scene.faulted_requests() > 0, "{after:?}");
    assert!(vault.artifacts().read(&uri).is_ok());
}

#[test]
fn corrupt_or_missing_pack_is_damage_and_others_are_readable() {
    let test = "corrupt_or_missing_pack_is_damage_and_others_are_readable";
    let Some(scene) = Scene::new(test) else { return };
    let vault =
        options(&scene.store).create_on(MemoryState::new(), Arc::clone(&scene.store)).unwrap();
    let uri = put(&vault, "1", &noise(1_000_000, 1));
    scene.proxy.inject(Rule::new(Fault::CorruptBody).method("GET").target("content/").always());
    assert_hint(vault.artifacts().read(&uri), ErrorKind::Corrupt, "damaged");
    scene.proxy.clear();
    assert!(vault.artifacts().read(&uri).is_ok(), "only the transfer was damaged");
    // A missing bucket is not reported as damage.
    scene.proxy.inject(Rule::new(Fault::s3_error(404, "NoSuchBucket")).always());
    assert_hint(vault.artifacts().read(&uri), ErrorKind::Unavailable, "bucket does not exist");
    scene.proxy.clear();

    let direct = scene.location.open();
    for entry in direct.list("content/", None, 1_000).unwrap() {
        direct.delete(&entry.key).unwrap();
    }
    assert_hint(vault.artifacts().read(&uri), ErrorKind::Corrupt, "missing");
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.is_ok(), &report.affected[..]), (false, &[uri][..]));
    let kept = put(&vault, "2", &noise(1_000_000, 2));
    assert!(vault.artifacts().read(&kept).is_ok());
}

#[test]
fn vault_under_network_faults_loses_no_acknowledged_data() {
    let test = "vault_under_network_faults_loses_no_acknowledged_data";
    let Some(scene) = Scene::new(test) else { return };
    let state = MemoryState::new();
    let vault = options(&scene.store).create_on(state.clone(), Arc::clone(&scene.store)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let partition_key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&partition_key, &password).unwrap();
    scene.proxy.inject(Rule::chaos(Chaos {
        seed: 5,
        lose_answer_percent: 6,
        unavailable_percent: 6,
        delay_percent: 20,
        delay_max: Duration::from_millis(10),
    }));
    let mut kept = Vec::new();
    for round in 0..12_u64 {
        let bytes = noise(700_000, round);
        let uri = put(&vault, &round.to_string(), &bytes);
        assert!(vault.artifacts().read(&uri).unwrap() == bytes);
        if round % 3 == 0 {
            vault.artifacts().delete(&uri).unwrap();
            vault.gc(&strongroom::content::GcOptions::new()).unwrap();
        } else {
            kept.push((uri, bytes));
        }
        partition.write(format!(r#"{{"round": {round}}}"#)).unwrap();
        let added = vault.keys().add(&NewKey::new(&SecretKey::new([9; 32]))).unwrap();
        vault.keys().delete(added).unwrap();
    }
    drop((partition, space));
    vault.close().unwrap();
    let faulted = scene.faulted_requests();
    scene.proxy.clear();

    let direct = scene.location.open();
    let vault = options(&direct).open_on(state, Arc::clone(&direct)).unwrap();
    let report = assert_all_data(&vault);
    assert!(report.unknown.is_empty(), "{report:?}");
    for (uri, bytes) in kept {
        assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    }
    let space = vault.documents().space().unwrap();
    let document = space.partition(&partition_key, &password).unwrap().read().unwrap();
    assert_eq!(document.text(), r#"{"round": 11}"#);
    println!("a vault with {faulted} faulted requests: nothing lost");
}
