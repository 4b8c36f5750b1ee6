//! What can go wrong between a vault and its store, each through a proxy that does it: a clear error of the
//! right kind within a bound, and nothing acknowledged lost.

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
use crate::scene::{noise, options, put, whole};
use crate::server::Place;
use crate::support::process::{Worker, say};

/// Long enough for the one thing, and short enough for a test of the other.
const HANG: Duration = Duration::from_secs(3_600);

/// A place on the server behind a proxy.
struct Scene {
    place: Place,
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
        let place = Place::new(test)?;
        let proxy = Proxy::start(place.address());
        let store = place.through(&format!("http://{}", proxy.addr())).open_with(options);
        proxy.take_log();
        Some(Self { place, proxy, store })
    }

    fn get(&self) -> strongroom::Result<bytes::Bytes> {
        self.store.get(&key()).map(|object| object.body)
    }

    /// How many requests were struck.
    fn struck(&self) -> usize {
        self.proxy.log().iter().filter(|seen| seen.fault.is_some()).count()
    }
}

fn key() -> Key {
    Key::new("content/a").unwrap()
}

/// That an error is of the kind, tells what is needed to mend it, and no secret.
#[track_caller]
fn told<T: std::fmt::Debug>(outcome: strongroom::Result<T>, kind: ErrorKind, hint: &str) -> Error {
    let error = outcome.expect_err("it fails");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(hint), "{text:?} tells nothing of {hint:?}");
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap_or_default();
    assert!(secret.is_empty() || !format!("{error:?}").contains(&secret), "it shows a secret");
    error
}

#[test]
fn a_server_that_is_not_there_is_told_from_one_that_is_not_known_and_one_without_tls() {
    let plain = answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let hints = [
        (format!("http://{}", nobody()), "no server answers at the endpoint"),
        ("https://no-such-host.invalid".into(), "name is not known"),
        (format!("https://{plain}"), "no TLS with the endpoint"),
    ];
    // Side by side, since each is tried for some seconds.
    let workers = hints.map(|(endpoint, hint)| {
        let url = format!("s3://bucket?region=r&endpoint={endpoint}");
        (Worker::start_with("open", Path::new(&url), &s3_credentials()), hint)
    });
    for (worker, hint) in workers {
        let said = worker.line().unwrap();
        assert!(said.starts_with("unavailable|") && said.contains(hint), "{said}");
    }
}

/// Of nobody, so that nobody is asked for any.
fn s3_credentials() -> Vec<(&'static str, String)> {
    vec![("AWS_ACCESS_KEY_ID", "a".into()), ("AWS_SECRET_ACCESS_KEY", "b".into())]
}

#[test]
fn whoever_is_asked_for_credentials_and_gives_none_is_told_from_the_store() {
    let refusing = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    let url = format!("gs://bucket/a?endpoint=http://{}", nobody());
    // Google's own host of metadata is asked through a proxy, which refuses.
    let proxy = format!("http://{refusing}");
    let variables =
        [("http_proxy", proxy.clone()), ("HTTP_PROXY", proxy), ("NO_PROXY", String::new())];
    let said = Worker::start_with("open", Path::new(&url), &variables).line().unwrap();
    assert!(said.starts_with("denied|") && said.contains("no credentials"), "{said}");
}

/// A server that gives one answer, whatever it is asked.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4_096]).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// An address where nobody listens: of a port that was free a moment ago.
fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// What another process finds that has other credentials.
pub(crate) fn open_and_tell(at: &Path) {
    match open_url(at.to_str().unwrap()) {
        Ok(_) => say("opened"),
        Err(e) => say(&format!("{}|{e}", e.kind())),
    }
}

#[test]
fn each_cloud_is_asked_at_the_endpoint_that_is_named() {
    let free = nobody();
    let account =
        r#"{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true}"#;
    let asked = [
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
    let workers = asked.map(|(url, variables)| {
        let worker = Worker::start_with("open", Path::new(&url), &variables);
        (url, worker)
    });
    for (url, worker) in workers {
        let said = worker.line().unwrap();
        let is_told = said.starts_with("unavailable|") && said.contains("nothing answers");
        assert!(is_told, "{url}: {said}");
    }
}

#[test]
fn wrong_credentials_are_denied_and_a_bucket_that_is_not_there_is_invalid() {
    let Some(place) = Place::new("wrong_credentials_are_denied") else { return };
    let open = |variables: &[(&str, String)]| {
        let worker = Worker::start_with("open", Path::new(place.url()), variables);
        worker.line().unwrap()
    };
    let wrong = "a-secret-that-is-wrong";
    let said = open(&[("AWS_SECRET_ACCESS_KEY", wrong.into())]);
    assert!(said.starts_with("denied|") && said.contains("credentials"), "{said}");
    assert!(!said.contains(wrong), "{said}");
    let said = open(&[("AWS_ACCESS_KEY_ID", "nobody".into())]);
    assert!(said.starts_with("denied|"), "{said}");
    assert_eq!(open(&[]), "opened");
    // Where the store is the URL says, and nothing else.
    for variable in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
        assert_eq!(open(&[(variable, "http://127.0.0.1:1".into())]), "opened", "{variable}");
    }

    let other = place.url().replace("strongroom-test", "no-such-bucket");
    told(open_url(&other), ErrorKind::Invalid, "there is no such bucket");
}

#[test]
fn refusals_are_told_by_what_the_store_says_of_them() {
    let Some(scene) = Scene::new("refusals_are_told_by_what_the_store_says_of_them") else {
        return;
    };
    scene.store.put(&key(), "body".into(), &Condition::Absent).unwrap();
    for (status, code, kind, hint) in [
        (403, "RequestTimeTooSkewed", ErrorKind::Denied, "clock is off"),
        (403, "SignatureDoesNotMatch", ErrorKind::Denied, "credentials"),
        (403, "AccessDenied", ErrorKind::Denied, "policy"),
        (400, "ExpiredToken", ErrorKind::Denied, "expired"),
        (403, "QuotaExceeded", ErrorKind::Full, "takes no more"),
        (404, "NoSuchBucket", ErrorKind::Unavailable, "no such bucket"),
        (503, "SlowDown", ErrorKind::Unavailable, "patience"),
        (500, "InternalError", ErrorKind::Unavailable, "failed for the moment"),
    ] {
        scene.proxy.inject(Rule::new(Fault::s3_error(status, code)).always());
        told(scene.get(), kind, hint);
        // What may have been done for all that the answer says is not called undone.
        let put = scene.store.put(&key(), "other".into(), &Condition::Any);
        let may_be = matches!(status, 500 | 503);
        told(put, if may_be { ErrorKind::Uncertain } else { kind }, hint);
        scene.proxy.clear();
        assert_eq!(scene.get().unwrap(), "body", "{code} changes nothing");
    }
    // A key that is not there is not a bucket that is not there.
    let absent = scene.store.get(&Key::new("content/b").unwrap());
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_store_that_asks_for_a_pause_is_given_it() {
    let Some(scene) = Scene::new("a_store_that_asks_for_a_pause_is_given_it") else { return };
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
        assert!(passed >= Duration::from_secs(1), "it came back after {passed:?}");
    }
}

#[test]
fn what_passes_is_tried_again_and_what_is_read_is_whole() {
    let Some(scene) = Scene::new("what_passes_is_tried_again") else { return };
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
    // A server that is gone for a while.
    scene.proxy.stop_listening();
    let gone = scene.get();
    told(gone, ErrorKind::Unavailable, "nothing answers");
    scene.proxy.resume();
    assert!(scene.get().unwrap() == body);
}

#[test]
fn a_server_that_hangs_is_waited_for_no_longer_than_is_told() {
    let options = StoreOptions::new()
        .timeout(Duration::from_millis(500))
        .retry(StoreRetryPolicy { tries: 2, ..quick() });
    let test = "a_server_that_hangs_is_waited_for_no_longer_than_is_told";
    let Some(scene) = Scene::with(test, &options) else { return };
    scene.proxy.inject(Rule::new(Fault::Hang(HANG)).always());
    let range = scene.store.get_range(&key(), 0..4);
    told(range, ErrorKind::Unavailable, "no answer within");
    let put = scene.store.put(&key(), "body".into(), &Condition::Absent);
    told(put, ErrorKind::Uncertain, "no answer within");
    assert_eq!(scene.struck(), 4, "each was tried twice");
}

#[test]
fn a_vault_whose_store_hangs_is_closed_or_dropped_and_opened_again() {
    let test = "a_vault_whose_store_hangs_is_closed_or_dropped_and_opened_again";
    let Some(scene) = Scene::new(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("vault");
    let options = || options(&scene.store).write_timeout(Duration::from_secs(1));
    // From a seed, so that the content is cut in the same places each time.
    let vault = options().entropy(SeededEntropy::new(1)).create(&folder).unwrap();
    let uri = put(&vault, "1", &noise(4_000_000, 1));
    vault.close().unwrap();
    for is_closed in [false, true] {
        let vault = options().open(&folder).unwrap();
        scene.proxy.take_log();
        let mut reader = vault.artifacts().open(&uri).unwrap();
        reader.read_exact(&mut [0; 1]).unwrap();
        // One chunk more comes; what is asked for ahead of the reader then does not.
        let before = scene.proxy.log().len();
        let asked = AtomicU64::new(0);
        let is_ahead = move |_: &Head| asked.fetch_add(1, Ordering::Relaxed) >= 1;
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
        // Both the lock and the session are free, though nobody has answered.
        scene.proxy.clear();
    }
    let vault = options().open(&folder).unwrap();
    assert!(vault.artifacts().read(&uri).is_ok());
}

#[test]
fn a_policy_that_forbids_deletes_is_told_as_what_it_is() {
    let test = "a_policy_that_forbids_deletes_is_told_as_what_it_is";
    let Some(scene) = Scene::new(test) else { return };
    let keys: Vec<Key> = (0..3).map(|n| Key::new(format!("content/{n}")).unwrap()).collect();
    for key in &keys {
        scene.store.put(key, "body".into(), &Condition::Absent).unwrap();
    }
    let refused = format!(
        "<?xml version=\"1.0\"?><DeleteResult><Error><Key>{}/{}</Key><Code>AccessDenied</Code>\
         <Message>Access Denied</Message></Error></DeleteResult>",
        scene.place.prefix(),
        keys[0]
    );
    let answer = Fault::Answer {
        status: 200,
        headers: vec![("Content-Type", "application/xml".to_owned())],
        body: refused.into(),
    };
    scene.proxy.inject(Rule::new(answer).method("POST").target("?delete").always());
    told(scene.store.delete_all(&keys), ErrorKind::Denied, "policy");
    told(scene.store.delete(&keys[0]), ErrorKind::Denied, "policy");
    assert_eq!(scene.struck(), 2, "what is forbidden is not tried again");
}

#[test]
fn a_put_whose_answer_is_lost_is_known_to_have_happened() {
    let Some(scene) = Scene::new("a_put_whose_answer_is_lost_is_known_to_have_happened") else {
        return;
    };
    let faults = [
        Fault::LoseAnswer,
        Fault::AnswerAfter { status: 500, body: Vec::new() },
        Fault::AnswerAfter { status: 503, body: Vec::new() },
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = Key::new(format!("content/{number}")).unwrap();
        let strike = || scene.proxy.inject(Rule::new(fault.clone()).method("PUT"));
        strike();
        let first = scene.store.put(&name, "first".into(), &Condition::Absent).unwrap();
        strike();
        let matches = Condition::Matches(first);
        let second = scene.store.put(&name, "second".into(), &matches).unwrap();
        assert_eq!(scene.store.get(&name).unwrap().version, second);
        // One that is refused for another's sake is still refused.
        strike();
        let stale = scene.store.put(&name, "third".into(), &matches).unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Uncertain, "{stale}");
        assert_eq!(scene.proxy.rules_left(), 0, "{fault:?} struck");
        assert_eq!(scene.store.get(&name).unwrap().body, "second");
    }
    // An effect that comes later than another's: refused, for what it was to replace is gone.
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
fn a_version_that_is_told_wrong_loses_no_move() {
    let Some(scene) = Scene::new("a_version_that_is_told_wrong_loses_no_move") else { return };
    let wrong = || Fault::ReplaceHeader {
        name: "ETag",
        value: "\"00000000000000000000000000000000\"".into(),
    };
    scene.proxy.inject(Rule::new(wrong()).method("PUT"));
    let version = scene.store.put(&key(), "first".into(), &Condition::Absent).unwrap();
    let put = scene.store.put(&key(), "second".into(), &Condition::Matches(version));
    told(put, ErrorKind::Conflict, "");
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
fn a_listing_that_is_older_than_what_it_lists_makes_no_damage_of_it() {
    let test = "a_listing_that_is_older_than_what_it_lists_makes_no_damage_of_it";
    let Some(scene) = Scene::new(test) else { return };
    let vault =
        options(&scene.store).create_on(MemoryState::new(), Arc::clone(&scene.store)).unwrap();
    scene.proxy.remember("list-type=2");
    let before = whole(&vault).objects;
    let uri = put(&vault, "1", &noise(1_000_000, 1));
    scene.proxy.inject(Rule::new(Fault::Replay).target("list-type=2").always());
    let after = whole(&vault);
    assert!(after.objects > before && scene.struck() > 0, "{after:?}");
    assert!(vault.artifacts().read(&uri).is_ok());
}

#[test]
fn a_pack_that_comes_changed_or_is_gone_is_told_as_damage_and_others_are_read() {
    let test = "a_pack_that_comes_changed_or_is_gone_is_told_as_damage_and_others_are_read";
    let Some(scene) = Scene::new(test) else { return };
    let vault =
        options(&scene.store).create_on(MemoryState::new(), Arc::clone(&scene.store)).unwrap();
    let uri = put(&vault, "1", &noise(1_000_000, 1));
    scene.proxy.inject(Rule::new(Fault::CorruptBody).method("GET").target("content/").always());
    told(vault.artifacts().read(&uri), ErrorKind::Corrupt, "damaged");
    scene.proxy.clear();
    assert!(vault.artifacts().read(&uri).is_ok(), "it was the way that did it");
    // A bucket that is gone is no damage of what it holds.
    scene.proxy.inject(Rule::new(Fault::s3_error(404, "NoSuchBucket")).always());
    told(vault.artifacts().read(&uri), ErrorKind::Unavailable, "no such bucket");
    scene.proxy.clear();

    let direct = scene.place.open();
    for entry in direct.list("content/", None, 1_000).unwrap() {
        direct.delete(&entry.key).unwrap();
    }
    told(vault.artifacts().read(&uri), ErrorKind::Corrupt, "missing");
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.is_ok(), &report.affected[..]), (false, &[uri][..]));
    let kept = put(&vault, "2", &noise(1_000_000, 2));
    assert!(vault.artifacts().read(&kept).is_ok());
}

#[test]
fn a_vault_at_work_through_a_bad_network_loses_nothing_that_it_acknowledged() {
    let test = "a_vault_at_work_through_a_bad_network_loses_nothing_that_it_acknowledged";
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
    let struck = scene.struck();
    scene.proxy.clear();

    let direct = scene.place.open();
    let vault = options(&direct).open_on(state, Arc::clone(&direct)).unwrap();
    let report = whole(&vault);
    assert!(report.unknown.is_empty(), "{report:?}");
    for (uri, bytes) in kept {
        assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    }
    let space = vault.documents().space().unwrap();
    let document = space.partition(&partition_key, &password).unwrap().read().unwrap();
    assert_eq!(document.text(), r#"{"round": 11}"#);
    println!("a vault at work with {struck} requests disturbed: nothing lost");
}
