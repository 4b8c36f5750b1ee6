//! The share space: created once, with the same output whatever it holds.

use serde_json::json;

use crate::Cli;
use crate::documents::{content, interrupt};

#[test]
fn new_space_reports_its_properties() {
    let cli = Cli::new();
    let made = cli.json(&["space", "create", "v", "--json"]);
    let info = cli.json(&["space", "info", "v", "--json"]);
    assert_eq!(made, info);
    for (field, expected) in [
        ("capacity_bytes", json!(65_536)),
        ("threshold", json!(3)),
        ("shares", json!(9)),
        ("room_for", json!(3)),
        ("memory_kib", json!(65_536)),
        ("passes", json!(3)),
        ("lanes", json!(4)),
        ("updated_unix_millis", json!(null)),
        ("unfinished", json!(null)),
    ] {
        assert_eq!(info[field], expected, "{field}");
    }
    let text = cli.text(&["space", "info", "v"]);
    for part in [info["id"].as_str().unwrap(), "3 of 9", "64 MiB, 3 passes", "never", "none"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let check = cli.json(&["check", "v", "--read-data", "--json"]);
    assert_eq!((&check["ok"], &check["object_bytes"]), (&json!(true), &info["bytes"]));
}

#[test]
fn space_has_the_given_numbers() {
    let cli = Cli::new();
    let numbers = ["--capacity", "2K", "--threshold", "2", "--shares", "5", "--room-for", "12"];
    let costs = ["--memory-mib", "80", "--passes", "4", "--lanes", "2", "--json"];
    let made = cli.json(&[&["space", "create", "v"], &numbers[..], &costs].concat());
    let expected = [("capacity_bytes", 2_048), ("threshold", 2), ("shares", 5), ("room_for", 12)];
    for (field, expected) in expected.into_iter().chain([("memory_kib", 80 << 10), ("lanes", 2)]) {
        assert_eq!(made[field], expected, "{field}");
    }
    // Memory above the limit is not used without the option.
    let cli = Cli::new();
    let dear = ["space", "create", "v", "--memory-mib", "1025"];
    cli.refused(&dear, 2, "1049600 KiB; use 19456 to 1048576");
}

#[test]
fn invalid_space_numbers_change_nothing() {
    let cli = Cli::new();
    let before = content(&cli);
    let engine: [(&[&str], &str); 10] = [
        (&["--capacity", "1023"], "use 1024 to 4194304"),
        (&["--capacity", "4097K"], "use 1024 to 4194304"),
        (&["--threshold", "1"], "one share would be the secret"),
        (&["--threshold", "10"], "10 of 9 shares"),
        (&["--shares", "33"], "at most 32"),
        (&["--shares", "2"], "3 of 2 shares"),
        (&["--room-for", "2"], "2 partitions; use 3 to 12"),
        (&["--room-for", "13"], "13 partitions; use 3 to 12"),
        (&["--capacity", "4M", "--shares", "32", "--room-for", "12"], "the limit is 2147483648"),
        (&["--memory-mib", "63"], "use at least 65536"),
    ];
    for (numbers, text) in engine {
        cli.refused(&[&["space", "create", "v"], numbers].concat(), 2, text);
    }
    for numbers in [
        ["--capacity", "4G"],
        ["--capacity", "64KiB"],
        ["--capacity", "-1"],
        ["--capacity", ""],
        ["--capacity", "4096M"],
        ["--shares", "256"],
        ["--room-for", "x"],
    ] {
        let said = cli.run(&[&["space", "create", "v"], &numbers[..]].concat());
        assert_eq!(said.code, 2, "{numbers:?}: {}", said.stderr);
    }
    assert!(content(&cli) == before);
}

#[test]
fn vault_has_at_most_one_space() {
    let cli = Cli::new();
    for args in
        [["space", "info", "v"].as_slice(), &["space", "discard", "v"], &["partition", "add", "v"]]
    {
        // The check happens before the password prompt.
        let said = cli.refused(args, 3, "the vault has no share space");
        assert!(said.stderr.contains("hint: create a space with"), "{}", said.stderr);
    }
    cli.ok(&["space", "create", "v", "--capacity", "1K"]);
    let before = content(&cli);
    let said = cli.refused(&["space", "create", "v"], 4, "the vault already has a share space");
    assert!(said.stderr.contains("space info v"), "{}", said.stderr);
    assert!(content(&cli) == before);
    cli.refused(&["space", "create", "nowhere"], 3, "the folder does not exist");
}

#[test]
fn interrupted_update_is_reported_and_discarded() {
    let cli = Cli::new();
    cli.ok(&["space", "create", "v", "--capacity", "1K"]);
    cli.refused(&["space", "discard", "v"], 3, "the space has no interrupted update");
    cli.add("ada", &[]);
    interrupt(&cli, "ada", "[1]");
    let info = cli.json(&["space", "info", "v", "--json"]);
    let unfinished = &info["unfinished"];
    assert_eq!((&unfinished["objects_done"], &unfinished["objects"]), (&json!(5), &json!(18)));
    assert!(unfinished["since_unix_millis"].as_u64() >= info["updated_unix_millis"].as_u64());
    let text = cli.text(&["space", "info", "v"]);
    assert!(text.contains("5 of 18 objects, since 2"), "{text}");
    let operations = cli.text(&["ops", "list", "v"]);
    assert!(operations.starts_with("strongroom.space.update\trunning"), "{operations}");
    let discarded = cli.json(&["space", "discard", "v", "--json"]);
    assert_eq!(discarded, json!({ "discarded": true }));
    assert!(cli.text(&["space", "info", "v"]).contains("unfinished  none"));
    cli.refused(&["space", "discard", "v"], 3, "no interrupted update");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"null");
}
