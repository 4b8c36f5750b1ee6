//! Operations that are paused, cancelled and removed.

use serde_json::{Value as Json, json};
use strongroom::Batch;
use strongroom::operations::Checkpoint;

use crate::host::{begin, days_ago, import, lane, tried_once, with_every_state};
use crate::{Cli, tree};

/// Returns the list of all operations.
fn all(cli: &Cli) -> Json {
    cli.json(&["ops", "list", "v", "--json"])
}

fn show(cli: &Cli, id: &str) -> Json {
    cli.json(&["ops", "show", "v", id, "--json"])
}

/// Returns the ids that remain.
fn left(cli: &Cli) -> Vec<String> {
    let all = cli.text(&["ops", "list", "v"]);
    all.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn paused_operation_resumes_by_id_at_its_checkpoint() {
    let cli = with_every_state(0);
    assert_eq!(cli.text(&["ops", "pause", "v", "running"]), "operation running paused\n");
    for id in ["initialized", "recovering", "failed", "running"] {
        let paused = cli.json(&["ops", "pause", "v", id, "--json"]);
        assert_eq!(paused, json!({ "id": id, "paused": true }), "also twice");
        let shown = show(&cli, id);
        assert_eq!((&shown["state"], &shown["held"]), (&json!("paused"), &json!(true)));
        let resumable = &shown["resumable"];
        assert_eq!((&resumable["by_id"], &resumable["with_all"]), (&json!(true), &json!(false)));
    }
    days_ago(&cli, 0, |vault| {
        let running = vault.operations().resume("running").expect("by its id");
        assert_eq!(lane(&running, "b").status().expect("is read").data, b"half");
    });
}

#[test]
fn abandoned_operation_keeps_its_records() {
    let cli = Cli::new();
    days_ago(&cli, 0, |vault| {
        let one = begin(vault, import("one"));
        let mut batch = Batch::new();
        batch.insert("imported", "k", "v");
        lane(&one, "a").commit(batch, Checkpoint::new("mark")).expect("commits");
        drop(begin(vault, import("two")));
    });
    let abandoned = cli.json(&["ops", "abandon", "v", "one", "--json"]);
    assert_eq!(abandoned, json!({ "id": "one", "abandoned": true }));
    assert_eq!(cli.text(&["ops", "abandon", "v", "two"]), "operation two cancelled\n");
    let shown = show(&cli, "one");
    assert_eq!((&shown["state"], &shown["held"]), (&json!("cancelled"), &json!(false)));
    assert_eq!(shown["resumable"]["text"], "the operation was cancelled");
    assert_eq!(shown["lanes"][0]["checkpoints"], 1);
    assert_eq!(cli.text(&["ops", "list", "v", "--unfinished"]), "");
    assert_eq!(cli.ok(&["records", "get", "v", "imported", "k"]), b"v");
    days_ago(&cli, 0, |vault| assert!(vault.operations().resume("one").is_err()));
}

#[test]
fn finished_operation_cannot_be_paused_or_abandoned() {
    let cli = with_every_state(0);
    let before = all(&cli);
    let long = "n".repeat(129);
    for (command, next) in [("pause", "paused"), ("abandon", "cancelled")] {
        let refused = |id: &str, code, expected: &str| {
            cli.refused(&["ops", command, "v", id], code, expected)
        };
        let unknown = refused("import-9", 3, "there is no such operation: import-9");
        assert!(unknown.stderr.contains("`strongroom ops list v` lists"), "{}", unknown.stderr);
        for ended in ["completed", "cancelled"] {
            refused(ended, 2, &format!("the operation is {ended} and cannot become {next}"));
        }
        let own = refused("strongroom.space.update", 2, "are the engine's own");
        assert!(own.stderr.contains("`strongroom space discard v`"), "{}", own.stderr);
        refused("", 2, "operation id is empty");
        refused("a\u{1b}b", 2, "operation id has a control character");
        refused(&long, 2, "129 bytes, the limit is 128");
    }
    cli.refused(&["ops", "show", "v", "strongroom.space.update"], 3, "no such operation");
    assert_eq!(all(&cli), before);
}

#[test]
fn expire_removes_only_old_ended_operations() {
    let cli = with_every_state(40);
    days_ago(&cli, 0, |vault| {
        begin(vault, import("new")).complete().expect("completes");
        begin(vault, tried_once("new-exhausted")).fail("once").expect("fails");
    });
    let before = all(&cli);
    let dry = cli.json(&["ops", "expire", "v", "--dry-run", "--json"]);
    let ids = json!(["cancelled", "completed"]);
    assert_eq!(dry, json!({ "dry_run": true, "operations": 2, "kept": 9, "ids": ids }));
    let dry = cli.text(&["ops", "expire", "v", "--dry-run", "--exhausted"]);
    let expected = "would remove: cancelled\nwould remove: completed\nwould remove: exhausted\n\
                3 operations would be removed, 8 kept\n";
    assert_eq!(dry, expected);
    assert_eq!(all(&cli), before, "nothing was");

    let none = cli.json(&["ops", "expire", "v", "--older-than", "41d", "--json"]);
    assert_eq!((&none["operations"], &none["kept"]), (&json!(0), &json!(11)));
    let expected = "removed: cancelled\nremoved: completed\n2 operations removed, 9 kept\n";
    assert_eq!(cli.text(&["ops", "expire", "v"]), expected);
    let rest = ["failed", "initialized", "new", "new-exhausted", "paused", "recovering", "running"];
    let rest = [&["exhausted"], &rest[..], &["waiting"]].concat();
    assert_eq!(left(&cli), rest);
    let by_force = cli.json(&["ops", "expire", "v", "--exhausted", "--json"]);
    assert_eq!(by_force["ids"], json!(["exhausted"]));
    let at_once = ["ops", "expire", "v", "--older-than", "0s", "--exhausted", "--json"];
    assert_eq!(cli.json(&at_once)["ids"], json!(["new", "new-exhausted"]));
    assert_eq!(left(&cli), ["failed", "initialized", "paused", "recovering", "running", "waiting"]);
    cli.refused(&["ops", "show", "v", "completed"], 3, "no such operation");
    cli.ok(&["check", "v"]);
    days_ago(&cli, 0, |vault| drop(begin(vault, import("completed"))));
}

#[test]
fn duration_without_unit_is_refused_before_opening() {
    let cli = with_every_state(40);
    let before = tree(&cli.path("v"));
    for bad in ["30", "0", "-1d", "1w", "30 days", "", "99999999999999999999d"] {
        let said = cli.run(&["ops", "expire", "v", "--older-than", bad]);
        assert_eq!((said.code, said.stdout.len()), (2, 0), "{bad}");
        let expected = ["not a duration such as 30d", "the duration is too long"];
        assert!(
            expected.iter().any(|expected| said.stderr.contains(expected)),
            "{bad}: {}",
            said.stderr
        );
    }
    assert!(tree(&cli.path("v")) == before);
}
