//! Recovery reports, and the options that allow a recovery.

use std::fs;

use serde_json::{Value as Json, json};

use crate::{Cli, tree};

/// Offsets of the header's copies, in bytes.
const HEADERS: [usize; 2] = [0, 4_096];

/// Flips a bit in the given copies of the header.
fn damage(cli: &Cli, headers: &[usize]) {
    let path = cli.path("v/state.redb");
    let mut state = fs::read(&path).expect("it is there");
    for at in headers {
        state[at + 100] ^= 1;
    }
    fs::write(path, state).expect("it is written");
}

/// Returns the recovery that `info` reports, in JSON and on standard error.
fn opened(cli: &Cli, options: &[&str]) -> (Json, String) {
    let said = cli.run(&[&["info", "v", "--json"], options].concat());
    let stderr = said.stderr.clone();
    (said.json()["recovery"].take(), stderr)
}

#[test]
fn damaged_header_copy_is_rewritten() {
    let cli = Cli::new();
    damage(&cli, &HEADERS[1..]);
    let (recovery, text) = opened(&cli, &[]);
    let fields = (&recovery["was_clean"], &recovery["header_repaired"]);
    assert_eq!(fields, (&json!(false), &json!(true)));
    assert_eq!(text, "note: recovered: damaged copy of the header rewritten\n");
    assert_eq!(opened(&cli, &[]).1, "", "once");
}

#[test]
fn damaged_header_is_restored_only_with_option() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    damage(&cli, &HEADERS);
    let before = tree(&cli.path("v"));
    let refused = cli.refused(&["info", "v"], 9, "both copies of the header are damaged");
    assert!(refused.stderr.contains("--restore-key-set"), "{}", refused.stderr);
    assert!(tree(&cli.path("v")) == before);
    let (recovery, text) = opened(&cli, &["--restore-key-set"]);
    assert_eq!(recovery["key_set_restored"], true);
    assert!(text.contains("warning: the key set was restored"), "{text}");
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"x");
    assert_eq!(opened(&cli, &[]).1, "");
}

#[test]
fn lost_key_copy_needs_adopt() {
    let cli = Cli::new();
    cli.put("n", "k", b"old");
    fs::remove_dir_all(cli.path("v/content/objects/keys")).unwrap();
    let (recovery, text) = opened(&cli, &[]);
    assert_eq!(recovery["key_copy_unverified"], true);
    assert!(text.contains("this state may be an older one"), "{text}");
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"old");
    let put = ["records", "put", "v", "n", "k", "new"];
    let refused = cli.refused(&put, 6, "missing, damaged or not of this key set");
    assert!(refused.stderr.contains("with --adopt"), "{}", refused.stderr);
    cli.ok(&[&put[..], &["--adopt"]].concat());
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"new");
    assert_eq!(opened(&cli, &[]).1, "");
}

#[test]
fn overwritten_beginning_needs_restore_option() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    let state = cli.path("v/state.redb");
    let mut bytes = fs::read(&state).unwrap();
    bytes[..8192].fill(0);
    fs::write(&state, bytes).unwrap();
    let refused = cli.refused(&["info", "v"], 2, "not a Strongroom vault's");
    assert!(refused.stderr.contains("--restore-key-set"), "{}", refused.stderr);
    assert_eq!(opened(&cli, &["--restore-key-set"]).0["key_set_restored"], true);
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"x");
}

#[test]
fn older_state_needs_adopt() {
    let cli = Cli::new();
    cli.put("n", "k", b"old");
    let state = cli.path("v/state.redb");
    let older = fs::read(&state).unwrap();
    cli.secret("more", [2; 32]);
    cli.ok(&["keys", "add", "v", "--new-key-file", "more"]);
    fs::write(&state, older).unwrap();
    let (recovery, text) = opened(&cli, &[]);
    assert_eq!(recovery["key_copy_ahead"], 2);
    assert!(text.contains("warning: an older state file was put back"), "{text}");
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"old");
    let put = ["records", "put", "v", "n", "k", "new"];
    for args in [&put[..], &["keys", "rotate", "v"], &["compact", "v"]] {
        let refused = cli.refused(args, 6, "older state");
        assert!(refused.stderr.contains("with --adopt"), "{}", refused.stderr);
    }
    cli.ok(&[&put[..], &["--adopt"]].concat());
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"new");
    assert_eq!(opened(&cli, &[]).1, "");
    let lost = ["info", "v", "--key-file", "more"];
    cli.run_keyless(&lost, &[], b"").refused(7, "denied");
}

#[test]
fn new_vault_has_nothing_to_recover() {
    let cli = Cli::empty();
    for option in ["--adopt", "--restore-key-set"] {
        cli.refused(&["init", "v", option], 2, "need an existing vault");
    }
    assert!(!cli.path("v").exists());
}
