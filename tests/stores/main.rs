//! Vaults and refs on object stores: on a real server where one is named, and under faults of the network.
//!
//! A server is named by `STRONGROOM_S3_URL`, the URL of a bucket and a prefix in it, with its credentials in
//! the environment; `tests/servers/ceph` starts one and prints them. Without it the tests on a server say
//! that they are skipped. The full runs:
//!
//! - `STRONGROOM_STORE_MOVES=1000`: so many moves of each of eight processes, in the place of 50.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

mod conformance;
mod faults;
mod kills;
mod linearizable;
mod owner;
mod proxy;
mod refs;
mod requests;
mod scene;
mod server;
#[path = "../support/mod.rs"]
mod support;

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    let Some((role, at)) = support::process::role() else {
        return;
    };
    match role.as_str() {
        "increment" => conformance::increment(&at),
        "hold" => owner::hold(&at),
        "upload" => kills::upload(&at),
        "open" => faults::open_and_tell(&at),
        other => panic!("no such role: {other}"),
    }
}

/// A number in the environment, for the full runs.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
