//! One process at a time: who has the vault is told, and what the dead leave is cleaned up.

use std::io::Write;
use std::process::Child;

use crate::host::with_every_state;
use crate::{Cli, noise, said};

/// A `records put` that has the vault open and waits for the rest of its value.
fn holder(cli: &Cli, key: &str, begun: &[u8]) -> Child {
    let mut child = cli.spawn(&["records", "put", "v", "n", key]);
    // Far more than a pipe holds: once it is written, it was read, and so the vault is open.
    let stdin = child.stdin.as_mut().expect("piped");
    stdin.write_all(begun).expect("it reads");
    child
}

#[test]
fn a_second_process_is_told_who_has_the_vault() {
    let cli = Cli::new();
    let value = noise(1 << 20);
    let holder = holder(&cli, "k", &value);
    let held = format!("held by pid {} on ", holder.id());
    let said_locked = cli.refused(&["info", "v", "--wait", "0"], 5, &held);
    assert!(said_locked.stderr.contains("records put"), "the purpose: {}", said_locked.stderr);
    assert!(said_locked.stderr.contains("hint: wait longer"));
    let done = said(holder);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(cli.ok(&["records", "get", "v", "n", "k"]) == value);
}

#[test]
fn a_process_that_may_wait_gets_the_vault_when_it_is_free() {
    let cli = Cli::new();
    let holder = holder(&cli, "k", &noise(1 << 20));
    let in_vain = cli.refused(&["info", "v", "--wait", "1"], 5, "tries in ");
    assert!(!in_vain.stderr.contains(", 1 try"), "it waited");
    let waiting = cli.spawn(&["records", "list", "v", "n", "--wait", "600"]);
    assert_eq!(said(holder).code, 0);
    let waited = said(waiting);
    assert_eq!(waited.code, 0, "{}", waited.stderr);
}

#[test]
fn what_a_killed_process_left_is_removed_and_told() {
    let cli = Cli::new();
    let mut holder = holder(&cli, "k", &noise(10 << 20));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let pid = format!("pid {}", holder.id());
    let next = cli.run(&["check", "v", "--read-data"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert!(next.stderr.contains("note: the last process died"));
    assert!(next.stderr.contains(&pid), "{}", next.stderr);
    assert!(next.stderr.contains("note: recovered: "), "{}", next.stderr);
    let after = cli.json(&["check", "v", "--json", "--read-data"]);
    assert_eq!((&after["objects"], &after["due"]), (&0.into(), &0.into()));
    assert_eq!(after["unknown"], serde_json::json!([]));
    assert!(!cli.run(&["info", "v"]).stderr.contains("note:"), "told once");
}

#[test]
fn after_a_death_it_is_told_how_much_is_unfinished_and_only_then() {
    let cli = with_every_state(0);
    assert_eq!(cli.run(&["records", "list", "v"]).stderr, "", "it was closed");
    let mut holder = holder(&cli, "k", &noise(1 << 20));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let next = cli.run(&["records", "list", "v"]);
    let note = "note: operations: 7 unfinished (6 can be resumed, 1 cannot); see ";
    assert!(next.stderr.contains(note), "{}", next.stderr);
    assert_eq!(cli.run(&["records", "list", "v"]).stderr, "", "told once");
}
