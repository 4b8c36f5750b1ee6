//! Content on an object store: which commands need its URL, and their errors without it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::{Cli, noise};

/// Returns a folder, and a prefix on the named server.
///
/// An environment variable names the server.
///
/// Without a server, returns `None` and prints that.
fn on_a_server(test: &str) -> Option<(Cli, String)> {
    static PLACES: AtomicU64 = AtomicU64::new(0);
    let Ok(url) = std::env::var("STRONGROOM_S3_URL") else {
        println!("\nSKIPPED: {test}: no server is named by STRONGROOM_S3_URL");
        return None;
    };
    println!("\nON A SERVER: {test}");
    #[allow(clippy::disallowed_methods)]
    // No vault is involved: a prefix that no earlier run has used.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis();
    let place = format!("cli-{now}-{}", PLACES.fetch_add(1, Ordering::Relaxed));
    let (store, parameters) = url.split_once('?').unwrap_or((&url, ""));
    Some((Cli::empty(), format!("{store}/{place}?{parameters}")))
}

fn copy(cli: &Cli, from: &str, to: &str) {
    fs::create_dir(cli.path(to)).expect("it is made");
    for entry in fs::read_dir(cli.path(from)).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), cli.path(to).join(entry.file_name())).expect("it is copied");
    }
}

#[test]
fn vault_on_a_store_needs_its_url() {
    let test = "vault_on_a_store_needs_its_url";
    let Some((cli, url)) = on_a_server(test) else { return };
    let bytes = noise(900_000);
    cli.ok(&["init", "v", "--backend", &url]);
    let put = ["put", "v", "--spec", "s", "--task", "t", "--type", "log", "--backend", &url];
    let uri = String::from_utf8(cli.run_with(&put, &bytes).ok()).expect("text");
    let uri = uri.trim_end();
    assert_eq!(cli.ok(&["get", "v", uri, "--backend", &url]), bytes);
    assert_eq!(cli.json(&["info", "v", "--backend", &url, "--json"])["backend"], json!("s3"));
    cli.ok(&["check", "v", "--read-data", "--backend", &url]);
    let forgotten = cli.refused(&["info", "v"], 2, "the vault's content is on \"s3\"");
    assert!(forgotten.stderr.contains("hint: name the store with --backend"), "{forgotten:?}");
    // The URL comes from the environment.
    let key = ["--key-file", "key", "info", "v"];
    let said = cli.run_keyless(&key, &[("STRONGROOM_BACKEND", &url)], b"");
    assert_eq!(said.code, 0, "{}", said.stderr);

    let elsewhere = url.replace('?', "/elsewhere?");
    let other = cli.refused(&["info", "v", "--backend", &elsewhere], 3, "no owner ref");
    assert!(other.stderr.contains("hint: check --backend"), "{other:?}");
    let bucket = url.replace("strongroom-test", "no-such-bucket");
    cli.refused(&["info", "v", "--backend", &bucket], 2, "the bucket does not exist");
    let unknown = format!("{url}&regoin=x");
    cli.refused(&["info", "v", "--backend", &unknown], 2, "does not know: regoin");
    cli.refused(&["init", "w", "--backend", "ftp://bucket"], 2, "s3://BUCKET");
    cli.refused(&["init", "w", "--backend", "s3://key:secret@bucket"], 2, "environment");
    cli.refused(&["init", "w", "--take-over", "--backend", &url], 2, "--take-over");
    cli.refused(&["info", "v", "--take-over"], 2, "--backend");
}

#[test]
fn older_copy_needs_take_over_and_store_is_inspected() {
    let test = "an_older_copy_is_kept_out_until_it_takes_over";
    let Some((cli, url)) = on_a_server(test) else { return };
    cli.ok(&["init", "v", "--backend", &url]);
    copy(&cli, "v", "copy");
    let put = ["put", "v", "--spec", "s", "--task", "t", "--type", "log", "--backend", &url];
    cli.run_with(&put, &noise(900_000)).ok();
    let denied = cli.refused(&["info", "copy", "--backend", &url], 7, "with another state");
    assert!(denied.stderr.contains("--take-over"), "{denied:?}");
    let taken = cli.run(&["info", "copy", "--take-over", "--backend", &url]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stderr.contains("warning: the content was taken over from pid"), "{taken:?}");
    cli.refused(&["info", "v", "--backend", &url], 7, "with another state");
    let again = ["check", "v", "--take-over", "--backend", &url, "--json"];
    assert_eq!(cli.json(&again)["ok"], json!(true), "nothing of it was deleted");

    fs::remove_dir_all(cli.path("v")).expect("it is lost");
    let store = cli.json(&["check", "--store", "--read-data", "--backend", &url, "--json"]);
    assert_eq!((&store["ok"], &store["closed"]), (&json!(true), &json!(true)), "{store}");
    assert_eq!(store["contents"], json!([900_000]), "{store}");
    let shown = cli.text(&["check", "--store", "--backend", &url]);
    assert!(shown.contains("closed by pid") && shown.ends_with("ok\n"), "{shown}");
    cli.refused(&["check", "--store"], 2, "content of a vault on disk");
    cli.secret("other", [7; 32]);
    let other = ["--key-file", "other", "check", "--store", "--backend", &url];
    assert_eq!(cli.run_keyless(&other, &[], b"").code, 7);
}
