//! Opening a store whose requests fail: the probe for conditional puts.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::s3_credentials;
use crate::proxy::{Fault, Head, Proxy, Rule, start_bucket};
use crate::support::process::Worker;

/// Requests of an open without faults.
const REQUESTS: u64 = 6;

/// Opens the bucket behind `proxy` in another process; returns what it prints.
fn open(proxy: &Proxy) -> String {
    let url = format!("s3://bucket/a?region=r&endpoint=http://{}", proxy.addr());
    Worker::start_with("open", Path::new(&url), &s3_credentials()).line().unwrap()
}

/// Returns a condition that holds for the requests whose number, from 0, fulfils `is`.
fn numbered(is: impl Fn(u64) -> bool + Send) -> impl Fn(&Head) -> bool + Send {
    let requests = AtomicU64::new(0);
    move |_| is(requests.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn open_without_faults_takes_six_requests() {
    let proxy = Proxy::start(start_bucket());
    assert_eq!(open(&proxy), "opened");
    assert_eq!(proxy.log().len() as u64, REQUESTS);
}

#[test]
fn open_with_frequent_throttling_succeeds_each_time() {
    let proxy = Proxy::start(start_bucket());
    let throttled = Fault::s3_error(429, "TooManyRequests");
    proxy.inject(Rule::new(throttled).always().when(numbered(|number| number % 5 < 2)));
    for _ in 0..7 {
        assert_eq!(open(&proxy), "opened");
    }
    let throttled = proxy.log().iter().filter(|request| request.fault.is_some()).count();
    assert!(throttled as u64 > 7 * REQUESTS / 2, "{throttled} throttled requests");
}

#[test]
fn open_with_lost_or_duplicated_request_succeeds() {
    let failed = Fault::AnswerAfter { status: 500, body: Vec::new() };
    for fault in [Fault::LoseAnswer, failed, Fault::Duplicate] {
        for lost in 0..REQUESTS {
            let proxy = Proxy::start(start_bucket());
            proxy.inject(Rule::new(fault.clone()).when(numbered(move |number| number == lost)));
            assert_eq!(open(&proxy), "opened", "{fault:?} of request {lost}");
            assert_eq!(proxy.rules_left(), 0, "{fault:?} of request {lost} struck");
        }
    }
}

#[test]
fn missing_bucket_is_reported_at_the_first_answer() {
    let proxy = Proxy::start(start_bucket());
    proxy.inject(Rule::new(Fault::s3_error(404, "NoSuchBucket")).always());
    let said = open(&proxy);
    assert!(said.starts_with("invalid|") && said.contains("bucket does not exist"), "{said}");
    assert_eq!(proxy.log().len(), 1, "no request is repeated");
}
