//! `stats`: the counts of a vault's operations.

use serde_json::{Value as Json, json};
use strongroom::operations::Checkpoint;

use crate::Cli;
use crate::documents::interrupt;
use crate::host::{FAILURE, begin, commit, days_ago, every_state, import, lane, tried_once};

#[test]
fn stats_counts_operations_lanes_and_checkpoints() {
    let cli = Cli::new();
    days_ago(&cli, 9, |vault| drop(begin(vault, import("oldest"))));
    days_ago(&cli, 1, every_state);
    days_ago(&cli, 0, |vault| {
        let one = begin(vault, tried_once("one").checkpoints_kept(2));
        let a = lane(&one, "a");
        for mark in ["a longer mark", "mark", "mark"] {
            commit(&a, Checkpoint::new(mark));
        }
        one.fail(FAILURE).expect("fails");
    });
    let json = cli.json(&["stats", "v", "--json"]);
    let states = json!({
        "initialized": 1, "running": 2, "recovering": 1, "paused": 1,
        "completed": 1, "failed": 4, "cancelled": 1,
    });
    assert_eq!(json["operations"], states);
    let counts = ["unreadable_operations", "lanes", "checkpoints", "checkpoint_bytes"];
    // Twice "mark", and "half" of `running`.
    assert_eq!(counts.map(|count| json[count].as_u64()), [0, 22, 3, 12].map(Some), "{json}");
    assert_eq!(json["oldest_unfinished"]["id"], "oldest");
    let age = json["oldest_unfinished"]["age_millis"].as_u64();
    assert!(age >= Some(9 * 24 * 60 * 60 * 1_000), "{json}");
    assert_eq!(json["last_failure"]["id"], "one");
    assert_eq!(json["last_failure"]["error"], FAILURE);

    let text = cli.text(&["stats", "v"]);
    for line in [
        "initialized   1",
        "running       2",
        "failed        4",
        "unreadable    0 operations, 0 checkpoints",
        "lanes         22",
        "checkpoints   3 kept, 12 bytes of data",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let oldest = text.lines().find(|line| line.starts_with("oldest        oldest, begun 2"));
    assert!(oldest.is_some_and(|line| line.contains(" UTC, 9d ")), "{text}");
    let failed = text.lines().find(|line| line.starts_with("last failure  one, 2")).expect("told");
    let escaped = " UTC: no answer:\\x0a\\x1b[31m timeout \\xc2\\x9b2J\\x7f\\x5c";
    assert!(failed.ends_with(escaped), "{failed}");
}

#[test]
fn vault_without_operations_counts_zero() {
    let cli = Cli::new();
    let json = cli.json(&["stats", "v", "--json"]);
    assert!(json["operations"].as_object().unwrap().values().all(|count| *count == 0), "{json}");
    let fields = (&json["lanes"], &json["oldest_unfinished"], &json["last_failure"]);
    assert_eq!(fields, (&json!(0), &Json::Null, &Json::Null));
    let text = cli.text(&["stats", "v"]);
    assert!(text.contains("oldest        none unfinished\nlast failure  none\n"), "{text}");
}

#[test]
fn engine_operations_are_not_counted_or_changed() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let counted = cli.json(&["stats", "v", "--json"]);
    interrupt(&cli, "ada", "[1]");
    assert_eq!(cli.json(&["stats", "v", "--json"]), counted);
    let id = "strongroom.space.update";
    let shown = cli.text(&["ops", "show", "v", id]);
    assert!(shown.contains("resumable   no: the engine owns this operation\n"), "{shown}");
    assert_eq!(cli.json(&["ops", "show", "v", id, "--json"])["resumable"], Json::Null);
    for command in ["pause", "abandon"] {
        cli.refused(&["ops", command, "v", id], 2, "are the engine's own");
    }
    cli.ok(&["ops", "expire", "v", "--older-than", "0s", "--exhausted"]);
    assert_eq!(cli.text(&["ops", "list", "v", "--unfinished"]), "");
    assert!(cli.text(&["ops", "list", "v"]).starts_with("strongroom.space.update\trunning\t"));
    assert_eq!(cli.json(&["info", "v", "--json"])["operations_unfinished"], 0);
    assert!(cli.text(&["space", "discard", "v"]).is_empty());
}
