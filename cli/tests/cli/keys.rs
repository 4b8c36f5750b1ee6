//! Keys of a vault: listed, added, removed, replaced, rewrapped.

use serde_json::{Value as Json, json};

use crate::{Cli, Said, tree};

/// Creates a vault with a key file and a password.
///
/// The password is `one` (file `pw`), key 2, labelled `laptop`.
fn with_two() -> Cli {
    let cli = Cli::new();
    cli.secret("pw", "one");
    cli.ok(&["keys", "add", "v", "--new-password-file", "pw", "--label", "laptop"]);
    cli
}

fn by_password(cli: &Cli, password: &str, args: &[&str]) -> Said {
    cli.run_keyless(args, &[("STRONGROOM_PASSWORD", password)], b"")
}

/// Returns number, kind, label and use of each key.
fn listed(said: Said) -> Vec<(u64, String, String, bool)> {
    let list = said.json();
    let text = |key: &Json, field: &str| key[field].as_str().expect("text").to_owned();
    let keys = list["keys"].as_array().expect("a list").iter().map(|key| {
        let id = key["id"].as_u64().expect("a number");
        (id, text(key, "kind"), text(key, "label"), key["in_use"].as_bool().expect("a truth"))
    });
    keys.collect()
}

#[test]
fn keys_list_marks_the_key_in_use() {
    let cli = with_two();
    let key = |is_in_use| (1, "key".to_owned(), String::new(), is_in_use);
    let password = |is_in_use| (2, "password".to_owned(), "laptop".to_owned(), is_in_use);
    let args = ["keys", "list", "v", "--json"];
    assert_eq!(listed(cli.run(&args)), [key(true), password(false)]);
    assert_eq!(listed(by_password(&cli, "one", &args)), [key(false), password(true)]);
    let password = &cli.json(&args)["keys"][1];
    let costs = ["memory_kib", "passes", "lanes"].map(|field| password[field].clone());
    assert_eq!(costs, [json!(65_536), json!(3), json!(4)]);
    let text = cli.text(&["keys", "list", "v"]);
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((lines[0][1], lines[0][3], lines[0][4]), ("key", "in use", ""));
    let second = (lines[1][0], lines[1][1], lines[1][3], lines[1][4]);
    assert_eq!(second, ("2", "password, 64 MiB, 3 passes, 4 lanes", "-", "laptop"));
}

#[test]
fn added_key_opens_and_removed_key_does_not() {
    let cli = with_two();
    by_password(&cli, "one", &["info", "v"]).ok();
    let removed = cli.run(&["keys", "remove", "v", "2", "--json"]);
    assert!(removed.stderr.contains("note: "), "of older copies: {}", removed.stderr);
    assert_eq!(removed.json(), json!({ "id": 2, "removed": true }));
    by_password(&cli, "one", &["info", "v"]).refused(7, "denied");
    let variables = [("STRONGROOM_NEW_PASSWORD", "two")];
    let args = ["keys", "add", "v", "--key-file", "key", "--json"];
    let added = cli.run_keyless(&args, &variables, b"").json();
    assert_eq!((&added["id"], &added["kind"]), (&json!(3), &json!("password")), "no id again");
    by_password(&cli, "two", &["info", "v"]).ok();
    cli.refused(&["keys", "remove", "v", "2"], 3, "no such key: 2");
}

#[test]
fn last_key_and_key_in_use_are_not_removed() {
    let cli = Cli::new();
    let before = cli.text(&["keys", "list", "v"]);
    cli.refused(&["keys", "remove", "v", "1"], 2, "this is the last key");
    assert_eq!(cli.text(&["keys", "list", "v"]), before);
    let cli = with_two();
    cli.refused(&["keys", "remove", "v", "1"], 2, "the key is in use");
    by_password(&cli, "one", &["keys", "remove", "v", "2"]).refused(2, "the key is in use");
    by_password(&cli, "one", &["keys", "remove", "v", "1"]).ok();
    cli.refused(&["info", "v"], 7, "denied");
    by_password(&cli, "one", &["keys", "remove", "v", "2"]).refused(2, "this is the last key");
}

#[test]
fn keys_are_unique_and_limited() {
    let cli = with_two();
    let again = ["keys", "add", "v", "--new-password-file", "pw"];
    cli.refused(&again, 4, "this secret already opens the vault, as key: 2");
    for number in 3..=8 {
        cli.secret("more", [number; 32]);
        cli.ok(&["keys", "add", "v", "--new-key-file", "more"]);
    }
    cli.secret("more", [9; 32]);
    let full = cli.refused(&["keys", "add", "v", "--new-key-file", "more"], 8, "8 keys");
    assert!(full.stderr.contains("hint: remove a key"), "{}", full.stderr);
    let label = "x".repeat(49);
    cli.ok(&["keys", "remove", "v", "8"]);
    let args = ["keys", "add", "v", "--new-key-file", "more", "--label"];
    cli.refused(&[&args[..], &[&label]].concat(), 2, "49 bytes, the limit is 48");
    cli.refused(&[&args[..], &["a\nb"]].concat(), 2, "control characters");
    cli.ok(&[&args[..], &[&label[1..]]].concat());
}

#[test]
fn replaced_key_keeps_number_and_label() {
    let cli = with_two();
    cli.secret("new", "two\n");
    let replace = ["keys", "replace", "v", "--new-password-file", "new", "--json"];
    let replaced = by_password(&cli, "one", &replace).json();
    assert_eq!((&replaced["id"], &replaced["label"]), (&json!(2), &json!("laptop")));
    by_password(&cli, "one", &["info", "v"]).refused(7, "denied");
    by_password(&cli, "two", &["info", "v"]).ok();
    // Replaces a key that is not in use with a secret of the other kind.
    cli.secret("file", [7; 32]);
    let other = ["keys", "replace", "v", "2", "--new-key-file", "file", "--json"];
    assert_eq!(cli.json(&other)["kind"], "key");
    by_password(&cli, "two", &["info", "v"]).refused(7, "denied");
    let by_file = ["--key-file", "file", "info", "v"];
    cli.run_keyless(&by_file, &[], b"").ok();
    cli.refused(
        &["keys", "replace", "v", "5", "--new-key-file", "file"],
        3,
        "no key of that number: 5",
    );
    cli.refused(&["keys", "replace", "v", "1", "--new-key-file", "file"], 4, "as key: 2");
}

#[test]
fn costs_fall_only_on_request() {
    let cli = with_two();
    let rewrap = |costs: &[&str]| {
        by_password(&cli, "one", &[&["keys", "rewrap", "v", "--json"], costs].concat())
    };
    let raised = rewrap(&["--memory-mib", "80", "--passes", "4", "--lanes", "2"]).json();
    let costs = ["memory_kib", "passes", "lanes"].map(|field| raised[field].clone());
    assert_eq!(costs, [json!(81_920), json!(4), json!(2)]);
    assert_eq!((&raised["id"], &raised["label"]), (&json!(2), &json!("laptop")));
    let dear = "key 2 costs 80 MiB, 4 passes";
    rewrap(&[]).refused(2, dear);
    rewrap(&["--memory-mib", "80"]).refused(2, dear);
    for command in [&["keys", "replace", "v"][..], &["keys", "rotate", "v", "--drop-others"]] {
        let args = [command, &["--new-password-file", "pw"]].concat();
        by_password(&cli, "one", &args).refused(2, dear);
    }
    let cheaper = rewrap(&["--memory-mib", "64", "--passes", "3"]).json();
    assert_eq!((&cheaper["memory_kib"], &cheaper["passes"]), (&json!(65_536), &json!(3)));
}

#[test]
fn costs_out_of_bounds_change_nothing() {
    let cli = with_two();
    let before = tree(&cli.path("v"));
    let cases: [(&[&str], &str); 8] = [
        (&["--memory-mib", "63"], "use at least 65536"),
        (&["--memory-mib", "0"], "use at least 65536"),
        (&["--memory-mib", "1025"], "use 19456 to 1048576"),
        (&["--memory-mib", "4294967295"], "use 19456 to 1048576"),
        (&["--passes", "2"], "use at least 65536 and 3"),
        (&["--passes", "65"], "use 1 to 64"),
        (&["--lanes", "0"], "use 1 to 16"),
        (&["--lanes", "17"], "use 1 to 16"),
    ];
    for (costs, expected) in cases {
        let args = [&["keys", "rewrap", "v"], costs].concat();
        by_password(&cli, "one", &args).refused(2, expected);
        let args = [&["init", "new"], costs].concat();
        by_password(&cli, "one", &args).refused(2, expected);
    }
    let max = ["info", "v", "--password-memory-max-mib", "4097"];
    cli.refused(&max, 2, "the limit is 4194304");
    cli.refused(
        &["keys", "rewrap", "v", "--passes", "4"],
        2,
        "apply to passwords, not to key files",
    );
    cli.refused(&["init", "new", "--passes", "4"], 2, "apply to passwords, not to key files");
    assert!(tree(&cli.path("v")) == before);
    assert!(!cli.path("new").exists());
}

#[test]
fn high_memory_password_needs_option() {
    let cli = with_two();
    let more = ["--memory-mib", "1025", "--password-memory-max-mib", "1100"];
    by_password(&cli, "one", &[&["keys", "rewrap", "v"][..], &more].concat()).ok();
    let refused = by_password(&cli, "one", &["info", "v"]).refused(2, "1049600 KiB");
    assert!(refused.stderr.contains("--password-memory-max-mib"), "{}", refused.stderr);
    by_password(&cli, "one", &["info", "v", "--password-memory-max-mib", "1025"]).ok();
    cli.ok(&["info", "v"]);
}
