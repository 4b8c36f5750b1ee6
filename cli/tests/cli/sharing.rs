//! One process at a time: the holder is reported, and leftovers of a dead process are removed.

use std::io::Write;
use std::process::Child;

use crate::host::with_every_state;
use crate::{Cli, noise, said};

/// Starts a `records put` that holds the vault and awaits input.
fn holder(cli: &Cli, key: &str, begun: &[u8]) -> Child {
    let mut child = cli.spawn(&["records", "put", "v", "n", key]);
    // More than a pipe holds. When the write returns, the program reads it, so the vault is open.
    let stdin = child.stdin.as_mut().expect("piped");
    stdin.write_all(begun).expect("it reads");
    child
}

#[test]
fn second_process_sees_the_holder() {
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
fn waiting_process_gets_the_released_vault() {
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
fn leftovers_of_killed_process_are_removed() {
    let cli = Cli::new();
    let mut holder = holder(&cli, "k", &noise(10 << 20));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let pid = format!("pid {}", holder.id());
    let next = cli.run(&["check", "v", "--read-data"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert!(next.stderr.contains("note: the last process ended without closing the vault"));
    assert!(next.stderr.contains(&pid), "{}", next.stderr);
    assert!(next.stderr.contains("note: recovered: "), "{}", next.stderr);
    let after = cli.json(&["check", "v", "--json", "--read-data"]);
    assert_eq!((&after["objects"], &after["due"]), (&0.into(), &0.into()));
    assert_eq!(after["unknown"], serde_json::json!([]));
    assert!(!cli.run(&["info", "v"]).stderr.contains("note:"), "reported once");
}

#[test]
fn unfinished_note_appears_once_after_a_crash() {
    let cli = with_every_state(0);
    assert_eq!(cli.run(&["records", "list", "v"]).stderr, "", "it was closed");
    let mut holder = holder(&cli, "k", &noise(1 << 20));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let next = cli.run(&["records", "list", "v"]);
    let note = "note: operations: 7 unfinished (6 can be resumed, 1 cannot); see ";
    assert!(next.stderr.contains(note), "{}", next.stderr);
    assert_eq!(cli.run(&["records", "list", "v"]).stderr, "", "reported once");
}
