//! `keys rotate`: new keys under everything, and the keys that open the vault afterwards.

use std::fs;

use serde_json::json;

use crate::{Cli, noise};

#[test]
fn rotate_keeps_secret_label_and_data() {
    let cli = Cli::new();
    cli.put("n", "short", b"x");
    cli.put("n", "long", &noise(100_000));
    let state = fs::read(cli.path("v/state.redb")).unwrap();
    let rotated = cli.json(&["keys", "rotate", "v", "--json", "--label", "mine"]);
    assert_eq!(rotated["dropped"], json!([]));
    assert_eq!(
        (&rotated["key"]["kind"], &rotated["key"]["label"]),
        (&json!("key"), &json!("mine"))
    );
    let info = cli.json(&["info", "v", "--json"]);
    assert_eq!(info["key_generation"], rotated["key_generation"]);
    assert_eq!(cli.ok(&["records", "get", "v", "n", "short"]), b"x");
    assert!(cli.ok(&["records", "get", "v", "n", "long"]) == noise(100_000));
    assert_eq!(cli.json(&["check", "v", "--read-data", "--json"])["ok"], true);
    let again = cli.text(&["keys", "rotate", "v"]);
    assert!(again.contains("(mine) opens the vault"), "{again}");
    let same = fs::read(cli.path("v/state.redb")).unwrap();
    assert!(state[8_192..] != same[8_192..], "resealed");
}

#[test]
fn rotate_drops_other_keys_only_with_option() {
    let cli = Cli::new();
    for (number, label) in [(2, "laptop"), (3, "")] {
        cli.secret("more", [number; 32]);
        cli.ok(&["keys", "add", "v", "--new-key-file", "more", "--label", label]);
    }
    let before = cli.text(&["keys", "list", "v"]);
    let refused = cli.refused(&["keys", "rotate", "v"], 2, "other keys would be removed");
    assert!(refused.stderr.contains("with --drop-others: 2 (laptop), 3\n"), "{}", refused.stderr);
    assert_eq!(cli.text(&["keys", "list", "v"]), before);
    let rotated = cli.json(&["keys", "rotate", "v", "--drop-others", "--json"]);
    assert_eq!(rotated["dropped"], json!([2, 3]));
    cli.ok(&["info", "v"]);
    let dropped = ["info", "v", "--key-file", "more"];
    cli.run_keyless(&dropped, &[], b"").refused(7, "denied");
    assert_eq!(cli.json(&["keys", "list", "v", "--json"])["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn rotate_sets_new_secret() {
    let cli = Cli::new();
    let by = |password: &str, args: &[&str]| {
        cli.run_keyless(args, &[("STRONGROOM_PASSWORD", password)], b"")
    };
    let variables = [("STRONGROOM_NEW_PASSWORD", "one")];
    cli.run_keyless(&["keys", "rotate", "v", "--key-file", "key"], &variables, b"").ok();
    cli.refused(&["info", "v"], 7, "denied");
    by("one", &["info", "v"]).ok();
    by("one", &["keys", "rotate", "v", "--new-key-file", "key"]).ok();
    by("one", &["info", "v"]).refused(7, "denied");
    cli.ok(&["info", "v"]);
}
