//! Partitions: opened by their keys, and lost if no `--keep` names them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::documents::content;
use crate::{Cli, KEY, Said};

impl Cli {
    /// Creates a vault with a space for small documents.
    pub(crate) fn with_space() -> Self {
        let cli = Self::new();
        cli.ok(&["space", "create", "v", "--capacity", "1K"]);
        cli
    }

    /// Adds a partition with the password `NAME!`.
    ///
    /// The password is in `NAME.pw`, the key in `NAME.key`.
    pub(crate) fn add(&self, name: &str, keep: &[&str]) -> Said {
        self.secret(&format!("{name}.pw"), format!("{name}!\n"));
        let file = format!("{name}.pw");
        let mut args = vec!["partition", "add", "v", "--partition-password-file", &file];
        let keep: Vec<_> = keep.iter().map(|name| format!("@{name}.key")).collect();
        for key in &keep {
            args.extend(["--keep", key]);
        }
        let said = self.run(&args);
        if said.code == 0 {
            self.secret(&format!("{name}.key"), &said.stdout);
        }
        said
    }

    /// Runs `strongroom FAMILY COMMAND v …` on the partition that [`add`](Self::add) created.
    pub(crate) fn on(&self, command: [&str; 2], name: &str, rest: &[&str], stdin: &[u8]) -> Said {
        let (key, password) = (format!("@{name}.key"), format!("{name}.pw"));
        let place = ["v", "--key", &key, "--partition-password-file", &password];
        self.run_with(&[&command, &place[..], rest].concat(), stdin)
    }

    pub(crate) fn partition(&self, command: &str, name: &str, rest: &[&str]) -> Said {
        self.on(["partition", command], name, rest, b"")
    }

    pub(crate) fn key_of(&self, name: &str) -> String {
        let key = fs::read_to_string(self.path(&format!("{name}.key"))).expect("it was added");
        key.trim_end().to_owned()
    }
}

/// A key that opens no partition.
pub(crate) const UNKNOWN: &str =
    "srp1_3d5912380f87de83805a025c8030e6bb145b9ae2b31b1ef0d6153e300332637526ead4fe";

#[test]
fn add_prints_only_the_key() {
    let cli = Cli::with_space();
    let said = cli.add("ada", &[]);
    assert_eq!(said.stderr, "", "nothing to note of the first one");
    let text = String::from_utf8(said.ok()).unwrap();
    let key = text.strip_suffix('\n').unwrap();
    let digits = key.strip_prefix("srp1_").unwrap();
    assert_eq!(digits.len(), 72);
    assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    let variables = [("STRONGROOM_PARTITION_PASSWORD", "bob!")];
    let args = ["partition", "add", "v", "--key-file", "key", "--keep", "@ada.key", "--json"];
    let said = cli.run_keyless(&args, &variables, b"");
    assert!(said.stderr.starts_with("note: adding may destroy each partition"), "{}", said.stderr);
    assert!(!said.stderr.contains("srp1_"));
    let document = said.json();
    assert_eq!(document.as_object().unwrap().len(), 1);
    assert_eq!(document["key"].as_str().map(str::len), Some(77));
}

#[test]
fn add_without_keep_needs_force() {
    let cli = Cli::new();
    cli.ok(&["space", "create", "v"]);
    cli.add("ada", &[]).ok();
    let before = content(&cli);
    // The check happens before the password prompt.
    let args = ["partition", "add", "v", "--key-file", "key"];
    let refused = cli.run_keyless(&args, &[], b"").refused(2, "with a probability of 99.98 %");
    assert!(refused.stderr.contains("--keep") && refused.stderr.contains("--force"));
    assert!(content(&cli) == before);

    let cli = Cli::new();
    // If every share counts, the loss of an unnamed partition is certain to show.
    cli.ok(&["space", "create", "v", "--threshold", "9"]);
    cli.add("ada", &[]).ok();
    cli.doc("read", "ada", &[]).ok();
    cli.secret("bob.pw", "bob!");
    let args = ["partition", "add", "v", "--force", "--partition-password-file", "bob.pw"];
    let forced = cli.run(&args);
    assert!(
        forced.stderr.contains("warning: adding may destroy each partition"),
        "{}",
        forced.stderr
    );
    assert!(forced.stderr.contains("100.00 %"), "{}", forced.stderr);
    cli.secret("bob.key", forced.ok());
    assert_eq!(cli.doc("read", "bob", &[]).ok(), b"null");
    let lost = cli.doc("read", "ada", &[]).refused(9, "open document: corrupt");
    assert!(lost.stderr.contains("backup"), "{}", lost.stderr);
}

#[test]
fn keep_refuses_foreign_and_repeated_keys() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let before = content(&cli);
    let ada = cli.key_of("ada");
    cli.secret("unknown.key", UNKNOWN);
    let misspelt = format!("{}0", &ada[..76]);
    let misspelt = if misspelt == ada { format!("{}1", &ada[..76]) } else { misspelt };
    for (keep, code, message) in [
        ([ada.as_str(), misspelt.as_str()], 2, "the text is not a partition key, or is misspelt"),
        ([&ada, "srp1_"], 2, "the text is not a partition key, or is misspelt"),
        ([&ada, ""], 2, "the text is not a partition key, or is misspelt"),
        ([&ada, "@none.key"], 3, "not found"),
        ([&ada, "@ada.key"], 2, "the same key twice"),
        ([&ada, "@unknown.key"], 7, "key 2 of the keys to keep opens no partition"),
        ([UNKNOWN, &ada], 7, "key 1 of the keys to keep opens no partition"),
    ] {
        let keep = ["--keep", keep[0], "--keep", keep[1], "--force"];
        let args = ["partition", "add", "v", "--partition-password-file", "ada.pw"];
        let said = cli.refused(&[&args, &keep[..]].concat(), code, message);
        assert!(!said.stderr.contains(&ada[..20]) && !said.stderr.contains(&UNKNOWN[..20]));
    }
    assert!(content(&cli) == before);
    cli.add("bob", &["ada"]).ok();
    cli.add("eve", &["ada", "bob"]).ok();
    let full = cli.add("dan", &["eve", "ada", "bob"]).refused(8, "slots are free");
    assert!(full.stderr.contains("hint: destroy a partition"), "{}", full.stderr);
    for name in ["ada", "bob", "eve"] {
        assert_eq!(cli.doc("read", name, &[]).ok(), b"null", "{name}");
    }
}

#[test]
fn partition_key_comes_from_every_source() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let key = cli.key_of("ada");
    let read = ["doc", "read", "v", "--key-file", "key", "--partition-password-file", "ada.pw"];
    let run = |key: &[&str], variable: Option<&str>, stdin: &str| {
        let variables: Vec<_> =
            variable.map(|key| ("STRONGROOM_PARTITION_KEY", key)).into_iter().collect();
        cli.run_keyless(&[&read, key].concat(), &variables, stdin.as_bytes())
    };
    cli.secret("crlf.key", format!("{key}\r\n"));
    assert_eq!(run(&["--key", &key], Some("srp1_wrong"), "").ok(), b"null", "before the variable");
    assert_eq!(run(&["--key", "@crlf.key"], None, "").ok(), b"null");
    assert_eq!(run(&["--key", "@-"], None, &key).ok(), b"null");
    assert_eq!(run(&[], Some(&key), "").ok(), b"null");

    let misspelt = key.replace("srp1_", "srp2_");
    cli.secret("two.key", format!("{key}\n{key}\n"));
    cli.secret("long.key", "0".repeat(1_000));
    cli.secret("binary.key", [0xff; 77]);
    cli.secret("empty.key", "");
    let at_key = format!("@{key}");
    for (argument, variable, message) in [
        (Some(misspelt.as_str()), None, "the text is not a partition key"),
        (Some(&key[..76]), None, "the text is not a partition key"),
        (Some(""), None, "the text is not a partition key"),
        (Some("ada.key"), None, "the text is not a partition key"),
        (Some(&at_key), None, "the text is not a partition key"),
        (Some("@two.key"), None, "more than one line: two.key"),
        (Some("@long.key"), None, "the key is longer than"),
        (Some("@binary.key"), None, "the key is not UTF-8"),
        (Some("@empty.key"), None, "the file is empty"),
        (Some("@ada.pw"), None, "the text is not a partition key, or is misspelt: ada.pw"),
        (None, Some(""), "set and empty"),
        (None, Some(&misspelt), "misspelt: STRONGROOM_PARTITION_KEY"),
        (None, None, "no key is given"),
    ] {
        let argument = argument.map(|key| ["--key", key]).into_iter().flatten();
        let said = run(&argument.collect::<Vec<_>>(), variable, "").refused(2, message);
        assert!(!said.stderr.contains(&key[10..20]), "{}", said.stderr);
    }
    let without = run(&[], None, "");
    assert!(without.stderr.contains("hint: give --key KEY"), "{}", without.stderr);
    run(&["--key", "@none.key"], None, "").refused(3, ": none.key");

    fs::set_permissions(cli.path("crlf.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let destroy = ["partition", "destroy", "v", "--key", "@crlf.key"];
    let said = cli.run(&destroy);
    assert_eq!(said.code, 0);
    let warned = "warning: other users may read or change crlf.key: its mode is 644\n";
    assert!(said.stderr.starts_with(warned), "{}", said.stderr);
}

#[test]
fn misplaced_key_is_not_shown() {
    let cli = Cli::with_space();
    for args in [
        ["partition", "verify", "v", UNKNOWN].as_slice(),
        &["partition", "destroy", "v", "--keys", UNKNOWN],
        &["doc", "read", "v", UNKNOWN],
        &["doc", "write", "v", UNKNOWN],
        &["doc", "write", "v", "--expect", UNKNOWN],
        &["doc", "plan", "v", "file", UNKNOWN],
    ] {
        let said = cli.run(args);
        assert_eq!(said.code, 2, "{args:?}: {}", said.stderr);
        assert!(!said.stderr.contains(&UNKNOWN[..10]), "{args:?}: {}", said.stderr);
    }
    assert!(!cli.path(UNKNOWN).exists());
}

#[test]
fn destroyed_partition_leaves_others_whole() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    cli.add("bob", &["ada"]).ok();
    cli.doc_write("ada", b"[\"ada\"]");
    cli.doc_write("bob", b"[\"bob\"]");
    let before = content(&cli);
    let unknown = ["partition", "destroy", "v", "--key", UNKNOWN];
    let refused = cli.refused(&unknown, 7, "the key opens no partition of this space");
    assert!(
        refused.stderr.contains("hint: the key is misspelt or of another vault"),
        "{}",
        refused.stderr
    );
    assert!(content(&cli) == before);
    // The partition's password is not needed.
    let destroy = ["partition", "destroy", "v", "--key", "@bob.key", "--json"];
    let said = cli.run(&destroy);
    assert!(said.stderr.contains("copies of the vault's files"), "{}", said.stderr);
    assert_eq!(said.json(), json!({ "destroyed": true }));
    cli.doc("read", "bob", &[]).refused(7, "denied");
    cli.refused(&destroy, 7, "denied");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[\"ada\"]");
    assert_eq!(cli.json(&["check", "v", "--read-data", "--json"])["ok"], true);
}

#[test]
fn password_change_keeps_document() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    cli.doc_write("ada", b"[1]");
    let before = content(&cli);
    cli.secret("new.pw", "countess\n");
    cli.secret("wrong.pw", "lovelace");
    let change = ["partition", "password", "v", "--key", "@ada.key", "--key-file", "key"];
    let with = |old: &str, new: &[&str], variables: &[(&str, &str)]| {
        let old = ["--partition-password-file", old];
        cli.run_keyless(&[&change, &old[..], new].concat(), variables, b"")
    };
    let new = ["--new-partition-password-file", "new.pw"];
    with("wrong.pw", &new, &[]).refused(7, "denied");
    with("new.pw", &new, &[]).refused(7, "denied");
    with("ada.pw", &["--new-partition-password-file", "none"], &[]).refused(3, "not found");
    let asked = with("ada.pw", &[], &[]).refused(2, "no terminal to ask on");
    assert!(asked.stderr.contains("STRONGROOM_NEW_PARTITION_PASSWORD"), "{}", asked.stderr);
    with("ada.pw", &[], &[("STRONGROOM_NEW_PARTITION_PASSWORD", "")]).refused(2, "set and empty");
    assert!(content(&cli) == before);
    let said = with("ada.pw", &[], &[("STRONGROOM_NEW_PARTITION_PASSWORD", "countess")]);
    assert!(said.stderr.contains("note: the password is changed"), "{}", said.stderr);
    assert_eq!(said.ok(), b"");
    cli.doc("read", "ada", &[]).refused(7, "denied");
    cli.secret("ada.pw", "countess");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[1]");
}

#[test]
fn standard_input_serves_one_partition_secret() {
    let cli = Cli::with_space();
    for args in [
        ["partition", "add", "v", "--keep", "@-", "--partition-password-file", "-"].as_slice(),
        &["partition", "add", "v", "--keep", "@-", "--keep", "@-"],
        &["partition", "add", "v", "--password-file", "-", "--partition-password-file", "-"],
        &["partition", "destroy", "v", "--password-file", "-", "--key", "@-"],
        &["partition", "verify", "v", "--key", "@-", "--partition-password-file", "-"],
        &["partition", "password", "v", "--key", "@-", "--new-partition-password-file", "-"],
        &["doc", "read", "v", "--key-file", "-", "--key", "@-"],
        &["doc", "write", "v", "--key", "@-"],
        &["doc", "write", "v", "-", "--key", "@-"],
        &["doc", "write", "v", "--partition-password-file", "-"],
        &["doc", "plan", "v", "-", "--password-file", "-"],
    ] {
        cli.run_keyless(args, &[], &KEY).refused(2, "cannot both come from standard input");
    }
}

#[test]
fn help_explains_why_partitions_are_not_listed() {
    let cli = Cli::with_space();
    assert_eq!(cli.run(&["partition", "list", "v"]).code, 2);
    let help = cli.text(&["partition", "--help"]);
    assert!(help.contains("the vault does not know how many there are"), "{help}");
    // Only the time differs before and after.
    let mut before = cli.json(&["space", "info", "v", "--json"]);
    cli.add("ada", &[]).ok();
    let after = cli.json(&["space", "info", "v", "--json"]);
    before["updated_unix_millis"] = after["updated_unix_millis"].clone();
    assert_eq!(before, after);
}
