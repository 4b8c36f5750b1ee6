//! Operations as a host leaves them, shown.

use serde_json::json;
use strongroom::{Batch, Checkpoint, SecretKey, Vault};

use crate::{Cli, KEY};

/// A vault with a completed operation `done`, one of binary data `half`, and `many` others.
fn with_operations(many: usize) -> Cli {
    let cli = Cli::new();
    let vault = Vault::options(SecretKey::new(KEY)).open(cli.path("v")).expect("opens");
    let begin = |id: &str, lanes: &[&str]| vault.begin(id, lanes.iter().copied()).expect("begins");
    let commit = |lane: strongroom::Lane, checkpoint| {
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
fn operations_are_listed_whole_however_many_they_are() {
    let cli = with_operations(250);
    let text = cli.text(&["ops", "list", "v"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 252);
    assert!(lines[0].starts_with("done\tcompleted\t100.0 %\t1/1 lanes\t2"));
    assert!(lines[1].starts_with("half\trunning\t25.0 %\t0/2 lanes\t2"));
    let json = cli.json(&["ops", "list", "v", "--json"]);
    let operations = json["operations"].as_array().unwrap();
    let same = operations.iter().map(|o| o["id"].as_str().unwrap());
    assert!(same.eq(lines.iter().map(|line| line.split('\t').next().unwrap())));
    let info = cli.text(&["info", "v"]);
    assert!(info.contains("252, 251 unfinished"), "{info}");
}

#[test]
fn a_vault_without_operations_lists_none() {
    let cli = Cli::new();
    assert_eq!(cli.text(&["ops", "list", "v"]), "");
    let none = json!({ "operations": [] });
    assert_eq!(cli.json(&["ops", "list", "v", "--json"]), none);
}

#[test]
fn an_operation_is_shown_with_its_lanes_and_data_only_on_demand() {
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
