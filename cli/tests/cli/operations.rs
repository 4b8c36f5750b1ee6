//! Output of `ops list` and `ops show`.

use std::io::Read;

use serde_json::{Value as Json, json};
use strongroom::operations::{Checkpoint, OperationState};
use strongroom::vault::Recovery;
use strongroom::{Batch, SecretKey, Vault};

use crate::host::{FAILURE, begin, commit, days_ago, import, lane, with_every_state};
use crate::{Cli, KEY, said};

/// Creates a vault with many operations.
///
/// `done` is completed, `half` has binary data, and there are `many` others.
fn with_operations(many: usize) -> Cli {
    let cli = Cli::new();
    let vault = Vault::options(SecretKey::new(KEY)).open(cli.path("v")).expect("opens");
    let begin = |id: &str, lanes: &[&str]| {
        vault.operations().begin(id, lanes.iter().copied()).expect("begins")
    };
    let commit = |lane: strongroom::operations::Lane, checkpoint| {
        lane.commit(Batch::new(), checkpoint).expect("commits");
    };
    let done = begin("done", &["a"]);
    let lane = done.lane("a").expect("opens");
    commit(lane, Checkpoint::new("at the end").complete());
    let half = begin("half", &["a", "b"]);
    let lane = half.lane("b").expect("opens");
    commit(lane, Checkpoint::new([0, 0xff]).progress(0.5));
    for i in 0..many {
        begin(&format!("other-{i:04}"), &["a"]);
    }
    drop((done, half));
    vault.close().expect("closes");
    cli
}

#[test]
fn long_operation_list_is_complete() {
    let cli = with_operations(250);
    let text = cli.text(&["ops", "list", "v"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 252);
    assert!(lines[0].starts_with("done\tcompleted\t100.0 %\t1/1 lanes\t2"));
    assert!(lines[0].ends_with(" UTC\tdone"), "its name: {}", lines[0]);
    assert!(lines[1].starts_with("half\trunning\t25.0 %\t0/2 lanes\t2"));
    let json = cli.json(&["ops", "list", "v", "--json"]);
    let operations = json["operations"].as_array().unwrap();
    let same = operations.iter().map(|o| o["id"].as_str().unwrap());
    assert!(same.eq(lines.iter().map(|line| line.split('\t').next().unwrap())));
    assert_eq!(json["more"], false);
}

#[test]
fn vault_without_operations_lists_none() {
    let cli = Cli::new();
    assert_eq!(cli.text(&["ops", "list", "v"]), "");
    let none = json!({ "operations": [], "more": false });
    assert_eq!(cli.json(&["ops", "list", "v", "--json"]), none);
    assert_eq!(cli.text(&["ops", "list", "v", "--unfinished"]), "");
    assert_eq!(cli.json(&["ops", "list", "v", "--unfinished", "--json"]), none);
}

#[test]
fn show_prints_data_only_on_demand() {
    let cli = with_operations(0);
    let half = cli.json(&["ops", "show", "v", "half", "--json", "--data"]);
    assert_eq!(half["latest_lane"], "b");
    assert_eq!(half["lanes"][1]["data_hex"], "00ff");
    assert_eq!(half["lanes"][1]["checkpoints"], 1);
    assert_eq!(half["progress"], 0.25);
    let done = cli.json(&["ops", "show", "v", "done", "--json", "--data"]);
    assert_eq!(done["lanes"][0]["data"], "at the end");
    let lane = &cli.json(&["ops", "show", "v", "done", "--json"])["lanes"][0];
    assert_eq!(lane["data_len"], 10);
    assert!(lane.get("data").is_none());
    let text = cli.text(&["ops", "show", "v", "done"]);
    assert!(text.contains("10 bytes of data") && !text.contains("at the end"));
    let text = cli.text(&["ops", "show", "v", "half", "--data"]);
    assert!(text.contains("hex 00ff"), "{text}");
    cli.refused(&["ops", "show", "v", "halt"], 3, "no such operation");
}

/// Returns the ids of a list, in its order.
fn ids(list: &Json) -> Vec<&str> {
    let operations = list["operations"].as_array().expect("a list");
    operations.iter().map(|operation| operation["id"].as_str().expect("text")).collect()
}

#[test]
fn unfinished_list_shows_resumability_and_reason() {
    let cli = with_every_state(2);
    let text = cli.text(&["ops", "list", "v", "--unfinished"]);
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let expected = [
        ("exhausted", "failed", "0.0 %", "1 attempts", "no", "1 tries without a checkpoint, and"),
        ("failed", "failed", "0.0 %", "1 attempts", "yes", "ready"),
        ("initialized", "initialized", "0.0 %", "0 attempts", "yes", "ready"),
        ("paused", "paused", "0.0 %", "0 attempts", "by id", "paused"),
        ("recovering", "recovering", "0.0 %", "2 attempts", "yes", "ready"),
        ("running", "running", "25.0 %", "0 attempts", "yes", "ready"),
        ("waiting", "failed", "0.0 %", "1 attempts", "yes", "ready; next try in 8"),
    ];
    assert_eq!(rows.len(), expected.len(), "{text}");
    for (row, (id, state, progress, attempts, can, why)) in rows.iter().zip(expected) {
        assert_eq!(row[..4], [id, state, progress, "0/2 lanes"]);
        assert!(row[4].starts_with("2d "), "its age: {row:?}");
        assert_eq!([row[5], row[6], row[8]], [attempts, can, "import"]);
        assert!(row[7].starts_with(why) && row.len() == 9, "{row:?}");
    }
    let json = cli.json(&["ops", "list", "v", "--unfinished", "--json"]);
    assert_eq!(ids(&json), expected.map(|row| row.0));
    let resumable = |at: usize, field: &str| json["operations"][at]["resumable"][field].clone();
    assert_eq!(resumable(0, "status"), "attempts_exhausted");
    assert_eq!((resumable(0, "by_id"), resumable(0, "with_all")), (json!(false), json!(false)));
    assert_eq!((resumable(3, "by_id"), resumable(3, "with_all")), (json!(true), json!(false)));
    assert_eq!(resumable(3, "text"), "paused");
    assert_eq!((resumable(5, "status"), resumable(5, "wait_millis")), (json!("ready"), Json::Null));
    assert_eq!(resumable(6, "status"), "backing_off");
    assert!(resumable(6, "wait_millis").as_u64() > Some(900 * 24 * 60 * 60 * 1_000), "{json}");
    let running = &json["operations"][5];
    assert_eq!((&running["progress"], &running["lanes_total"]), (&json!(0.25), &json!(2)));
    assert!(running["age_millis"].as_u64() >= Some(2 * 24 * 60 * 60 * 1_000), "{running}");
}

#[test]
fn list_filters_by_state_and_pages_by_id() {
    let cli = with_every_state(0);
    for state in OperationState::ALL {
        let json = cli.json(&["ops", "list", "v", "--json", "--state", &state.to_string()]);
        let operations = json["operations"].as_array().unwrap();
        assert!(!operations.is_empty(), "{state}");
        assert!(operations.iter().all(|o| o["state"] == state.to_string()), "{json}");
    }
    let list = |args: &[&str]| cli.json(&[&["ops", "list", "v", "--json"], args].concat());
    let failed = ["exhausted", "failed", "waiting"];
    assert_eq!(ids(&list(&["--state", "failed"])), failed);
    let two = ["--state", "paused", "--state", "failed"];
    assert_eq!(ids(&list(&two)), ["exhausted", "failed", "paused", "waiting"]);
    let of_unfinished = [&two[..], &["--unfinished", "--after", "failed"]].concat();
    assert_eq!(ids(&list(&of_unfinished)), ["paused", "waiting"]);
    let page = list(&["--state", "failed", "--limit", "2"]);
    assert_eq!((ids(&page), &page["more"]), (failed[..2].to_vec(), &json!(true)));
    let page = list(&["--state", "failed", "--limit", "2", "--after", "failed"]);
    assert_eq!((ids(&page), &page["more"]), (vec!["waiting"], &json!(false)));
    assert_eq!(ids(&list(&["--after", "z"])), Vec::<&str>::new());
    let none = list(&["--unfinished", "--limit", "0"]);
    assert_eq!(none, json!({ "operations": [], "more": true }));
    let text = cli.text(&["ops", "list", "v", "--limit", "1", "--after", "paused"]);
    assert!(text.starts_with("recovering\t") && text.lines().count() == 1, "{text}");
}

#[test]
fn unknown_state_error_lists_states() {
    let cli = Cli::new();
    let said = cli.run(&["ops", "list", "v", "--state", "done"]);
    assert_eq!((said.code, said.stdout.len()), (2, 0));
    assert!(said.stderr.contains("running, recovering, paused, completed"), "{}", said.stderr);
    let args = ["ops", "list", "v", "--unfinished", "--state", "cancelled"];
    cli.refused(&args, 2, "in the state cancelled");
}

#[test]
fn host_text_is_shown_escaped() {
    let cli = Cli::new();
    days_ago(&cli, 0, |vault| {
        let spec =
            import("one").version(7).metadata("so\turce", "/srv/\u{1b}[2J").metadata("a", "b");
        let one = begin(vault, spec);
        commit(&lane(&one, "a"), Checkpoint::new("mark").complete());
        one.fail(FAILURE).expect("fails");
        vault.operations().pause("one").expect("is paused");
    });
    let text = cli.text(&["ops", "show", "v", "one"]);
    for line in [
        "name        import",
        "version     7",
        "state       paused, held",
        "resumable   by id: paused",
        "progress    50.0 %",
        "attempts    0 since the last checkpoint, at most 10; waits 1s to 300s",
        "metadata    a: b",
        "metadata    so\\x09urce: /srv/\\x1b[2J",
        "retains     10 checkpoints of each lane",
        "latest lane a",
        "lanes       2, 1 complete",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let escaped = "UTC: no answer:\\x0a\\x1b[31m timeout \\xc2\\x9b2J\\x7f\\x5c";
    let failed = text.lines().find(|line| line.starts_with("failed      2")).expect("a line");
    assert!(failed.ends_with(escaped), "{failed}");
    assert!(!text.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{text}");

    let json = cli.json(&["ops", "show", "v", "one", "--json"]);
    assert_eq!(json["metadata"], json!({ "a": "b", "so\turce": "/srv/\u{1b}[2J" }));
    assert_eq!(json["failure"]["error"], FAILURE);
    assert!(json["failure"]["unix_millis"].as_u64() >= json["created_unix_millis"].as_u64());
    assert_eq!((&json["held"], &json["version"]), (&json!(true), &json!(7)));
    assert_eq!(json["resumable"]["status"], "held");
    let retry =
        json!({ "attempts_max": 10, "backoff_first_millis": 1_000, "backoff_max_millis": 300_000 });
    assert_eq!((&json["retry"], &json["attempts"]), (&retry, &json!(0)));
    assert_eq!(json["checkpoints_kept"], 10);
    assert!(json["lanes"][0].get("history").is_none(), "{json}");
}

#[test]
fn history_is_shown_latest_first() {
    let cli = Cli::new();
    days_ago(&cli, 0, |vault| {
        let one = begin(vault, import("one").checkpoints_kept(3));
        let b = lane(&one, "b");
        for mark in ["first", "second", "third", "fourth", "fifth"] {
            commit(&b, Checkpoint::new(mark));
        }
    });
    let json = cli.json(&["ops", "show", "v", "one", "--history", "--data", "--json"]);
    let lanes = json["lanes"].as_array().unwrap();
    assert_eq!((&lanes[0]["name"], &lanes[0]["history"]), (&json!("a"), &json!([])));
    let history = lanes[1]["history"].as_array().unwrap();
    let kept: Vec<_> = history.iter().map(|c| (&c["checkpoints"], &c["data"])).collect();
    let expected = [(5, "fifth"), (4, "fourth"), (3, "third")].map(|(n, d)| (json!(n), json!(d)));
    assert!(kept.into_iter().eq(expected.iter().map(|(n, d)| (n, d))), "{json}");
    let without = cli.text(&["ops", "show", "v", "one", "--history"]);
    let numbers: Vec<_> =
        without.lines().filter_map(|line| line.strip_prefix("    checkpoint ")).collect();
    assert_eq!(numbers.len(), 3, "{without}");
    assert!(numbers.iter().zip(["5\t", "4\t", "3\t"]).all(|(n, begin)| n.starts_with(begin)));
    assert!(!without.contains("fourth"), "only with --data: {without}");
    let with = cli.text(&["ops", "show", "v", "one", "--history", "--data"]);
    let data: Vec<_> = with.lines().map(str::trim).filter(|line| line.ends_with("th")).collect();
    assert_eq!(data, ["fifth", "fourth"], "each once: {with}");
    let latest = cli.text(&["ops", "show", "v", "one", "--data"]);
    assert!(latest.contains("fifth") && !latest.contains("fourth"), "{latest}");
}

#[test]
fn unfinished_counts_exceed_the_recovery_limit() {
    let cli = with_every_state(0);
    let info = cli.text(&["info", "v"]);
    assert!(info.contains("operations  9, 7 unfinished (6 can be resumed, 1 cannot)"), "{info}");
    days_ago(&cli, 0, |vault| {
        for i in 0..Recovery::OPERATIONS_LISTED_MAX {
            vault.operations().prepare(import(&format!("z-{i:04}"))).expect("is made known");
        }
    });
    let info = cli.json(&["info", "v", "--json"]);
    assert_eq!(info["operations"], 1_009);
    assert_eq!(info["operations_unfinished"], 1_007);
    assert_eq!(info["operations_resumable"], 1_006);
}

#[test]
fn closed_reader_ends_list_and_closes_vault() {
    let cli = with_operations(500);
    let mut list = cli.spawn(&["ops", "list", "v", "--json"]);
    // The output is much larger than a pipe's buffer.
    let mut stdout = list.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let said = said(list);
    assert_eq!((said.code, &*said.stderr), (141, ""));
    assert_eq!(cli.run(&["info", "v"]).stderr, "");
}
