//! Vaults and refs on object stores: on a real server, and under network faults.
//!
//! `STRONGROOM_S3_URL` names the server: the URL of a bucket and a prefix in it. The credentials
//! are in the environment. `tests/servers/ceph` starts a server and prints both. Without the
//! variable, the tests on a server print that they are skipped. The full runs:
//!
//! - `STRONGROOM_STORE_MOVES=1000`: moves of a ref by each of eight processes, by default 50.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

mod conformance;
mod faults;
mod kills;
mod linearizable;
mod opens;
mod owner;
mod proxy;
mod refs;
mod requests;
mod scene;
mod server;
#[path = "../support/mod.rs"]
mod support;

/// Runs the role of a child process; passes at once in the test program itself.
#[test]
fn worker() {
    let Some((role, at)) = support::process::role() else {
        return;
    };
    match role.as_str() {
        "increment" => conformance::increment(&at),
        "hold" => owner::hold(&at),
        "upload" => kills::upload(&at),
        "open" => faults::open_and_report(&at),
        other => panic!("no such role: {other}"),
    }
}

/// Returns a number from the environment, which the full runs set.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
