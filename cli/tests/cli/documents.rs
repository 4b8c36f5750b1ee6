//! Documents: written and read byte for byte with a key and a password.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use serde_json::{Value as Json, json};
use strongroom::documents::{SecretPartitionKey, WriteOptions};
use strongroom::{SecretKey, SecretPassword, Vault};

use crate::{Cli, KEY, Said, noise, tree};

/// JSON that no parser reproduces exactly: key order, duplicate keys, numbers, spaces, escapes.
const EXACT: &str = "{ \"b\":1.0e2,\"a\" : [ ],\t\"a\":\"na\\u00efve \u{1f511}\\n\" }\r\n\r\n";

/// A size between an object of cells and one of slots.
///
/// The space has the default size.
const CELLS_BYTES: usize = 140_000;

impl Cli {
    /// Runs `strongroom doc COMMAND v …` on the partition that [`add`](Self::add) created.
    pub(crate) fn doc(&self, command: &str, name: &str, rest: &[&str]) -> Said {
        self.on(["doc", command], name, rest, b"")
    }

    /// Writes a document, and returns its version.
    pub(crate) fn doc_write(&self, name: &str, text: &[u8]) -> String {
        let printed = self.on(["doc", "write"], name, &[], text).ok();
        let printed = String::from_utf8(printed).expect("text");
        let version = printed.strip_suffix('\n').expect("a line");
        assert!(version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
        version.to_owned()
    }
}

/// Creates a vault with the partition `ada`, which holds `[1]`.
fn with_document() -> Cli {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    cli.doc_write("ada", b"[1]");
    cli
}

/// Interrupts a write of `text` after five objects, as a crash would.
pub(crate) fn interrupt(cli: &Cli, name: &str, text: &str) {
    let vault = Vault::options(SecretKey::new(KEY)).open(cli.path("v")).expect("opens");
    let key = SecretPartitionKey::parse(&cli.key_of(name)).expect("a key");
    let password = SecretPassword::new(format!("{name}!"));
    let partition = vault.documents().space().and_then(|space| space.partition(&key, &password));
    let partition = partition.expect("opens");
    let text = text.to_owned();
    let write = thread::spawn(move || {
        let progress = |done, _| {
            if done == 5 {
                panic::resume_unwind(Box::new("a crash"));
            }
        };
        let options = WriteOptions::new().progress(&progress);
        partition.write_with(text, &options).expect("it dies before");
    });
    assert!(write.join().is_err());
    vault.close().expect("closes");
}

/// Returns all objects on the vault's backend.
///
/// Every update of a space rewrites all of them. The state file is excluded, because every open
/// changes it.
pub(crate) fn content(cli: &Cli) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    tree(&cli.path("v/content"))
}

/// Returns the objects of the share space, in no order.
fn objects(cli: &Cli) -> Vec<PathBuf> {
    let files = content(cli).into_iter().map(|(path, _)| path);
    files
        .filter(|path| path.extension().is_some_and(|e| e == "object"))
        .filter(|path| path.parent().is_some_and(|folder| !folder.ends_with("keys")))
        .collect()
}

#[test]
fn two_documents_share_a_space() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"null");
    cli.doc_write("ada", EXACT.as_bytes());
    cli.add("bob", &["ada"]).ok();
    cli.secret("bob.json", "\"bob\"");
    let written = cli.doc("write", "bob", &["bob.json", "--json"]).json();
    assert_eq!(written["len"], 5);
    assert_eq!(cli.doc("read", "ada", &[]).ok(), EXACT.as_bytes());
    let read = cli.doc("read", "bob", &["--json"]).json();
    let damage = json!({ "copies": 0, "shares": null, "blocks": 0, "corrected": false });
    let expected = json!({
        "version": written["version"], "len": 5, "text": "\"bob\"", "damage": damage
    });
    assert_eq!(read, expected);
    let second = cli.doc_write("ada", b" {} ");
    assert_ne!(second, cli.doc_write("ada", b" {} "), "a version of its own");
    assert_eq!(cli.doc("read", "ada", &["-"]).ok(), b" {} ");
    assert_eq!(cli.doc("read", "bob", &[]).ok(), b"\"bob\"");
    let exact = cli.on(["doc", "write"], "ada", &["-"], EXACT.as_bytes());
    exact.ok();
    assert_eq!(cli.doc("read", "ada", &["--json"]).json()["text"], EXACT);
    assert_eq!(cli.json(&["check", "v", "--read-data", "--json"])["ok"], true);
    for (path, bytes) in tree(&cli.path("v")) {
        let bytes = bytes.unwrap_or_default();
        assert!(!bytes.windows(5).any(|part| part == b"\"bob\""), "{}", path.display());
    }
}

#[test]
fn wrong_key_and_password_give_one_error() {
    let cli = with_document();
    cli.add("bob", &["ada"]).ok();
    let before = content(&cli);
    cli.secret("eve.pw", "eve!");
    let eve = SecretPartitionKey::parse(crate::partitions::UNKNOWN).expect("a key");
    cli.secret("eve.key", eve.to_text().as_bytes());
    let mut said = Vec::new();
    for (key, password) in [("ada", "bob"), ("bob", "ada"), ("eve", "ada"), ("eve", "eve")] {
        let (key, password) = (format!("@{key}.key"), format!("{password}.pw"));
        let place = ["v", "--key", &key, "--partition-password-file", &password];
        let read = cli.refused(&[&["doc", "read"], &place[..]].concat(), 7, "denied");
        assert!(read.stderr.contains("hint: a wrong key, a wrong password"), "{}", read.stderr);
        said.push(read.stderr);
    }
    said.push(cli.on(["doc", "write"], "eve", &[], b"[2]").refused(7, "denied").stderr);
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(content(&cli) == before);
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[1]");
}

#[test]
fn invalid_document_is_refused_and_not_shown() {
    let cli = with_document();
    let before = content(&cli);
    let long = format!("\"{}\"", hex(&noise(3_000)));
    for (text, code, message) in [
        (b"".as_slice(), 2, "EOF while parsing a value at line 1 column 0"),
        (b"[1,\n cat]", 2, "line 2 column 2"),
        (b"{\"cat\": 1} 2", 2, "line 1 column 12"),
        (b"[\"cat\xff\"]", 2, "not UTF-8 at line 1 column 6"),
        (long.as_bytes(), 8, "a partition of this space holds 1024"),
    ] {
        let said = cli.on(["doc", "write"], "ada", &[], text).refused(code, message);
        assert!(!said.stderr.contains("cat"), "{}", said.stderr);
    }
    cli.on(["doc", "plan"], "ada", &[], long.as_bytes()).refused(8, "holds 1024");
    // The file is checked before the vault is opened, so no password is needed.
    let write = |file| ["doc", "write", "v", file, "--key", "@ada.key"];
    cli.refused(&write("none.json"), 3, ": none.json");
    cli.refused(&write("v"), 2, "directory");
    let huge = fs::File::create(cli.path("huge.json")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    cli.refused(&write("huge.json"), 2, "the text has more than 67108864 bytes");
    assert!(content(&cli) == before);
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).expect("below 16")).collect()
}

#[test]
fn long_document_is_written_to_private_file() {
    let cli = Cli::new();
    cli.ok(&["space", "create", "v", "--capacity", "512K"]);
    cli.add("ada", &[]).ok();
    let text = format!("{{\"noise\": \"{}\"}}\n", hex(&noise(300_000)));
    cli.doc_write("ada", text.as_bytes());
    let read = cli.doc("read", "ada", &["copy.json", "--json"]).json();
    assert_eq!((&read["len"], &read["file"]), (&json!(text.len()), &json!("copy.json")));
    assert_eq!(read.get("text"), None);
    assert!(fs::read(cli.path("copy.json")).unwrap() == text.as_bytes());
    let mode = fs::metadata(cli.path("copy.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    cli.secret("copy.json", "mine");
    cli.doc("read", "ada", &["copy.json"]).refused(4, ": copy.json");
    assert_eq!(fs::read(cli.path("copy.json")).unwrap(), b"mine", "left alone");
    cli.doc("read", "ada", &["no/such.json"]).refused(3, ": no/such.json");
}

#[test]
fn write_checks_expected_version() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let first = cli.doc_write("ada", b"[1]");
    let write = |version: &str| cli.on(["doc", "write"], "ada", &["--expect", version], b"[2]");
    write(&first).ok();
    let before = content(&cli);
    let refused = write(&first).refused(6, "another version than expected");
    assert!(
        refused.stderr.contains("hint: another write changed the document"),
        "{}",
        refused.stderr
    );
    for wrong in ["", "0", &first[1..], &first.replace(|_| true, "g")] {
        assert_eq!(write(wrong).code, 2, "{wrong}");
    }
    assert!(content(&cli) == before);
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[2]");
}

#[test]
fn interrupted_write_resumes_only_with_same_text() {
    let cli = with_document();
    let resume = |text| cli.on(["doc", "write"], "ada", &["--resume"], text);
    let none = resume(b"[2]").refused(3, "no write of this document was interrupted");
    assert!(none.stderr.contains("hint: omit --resume"), "{}", none.stderr);
    interrupt(&cli, "ada", "[2]");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[1]", "the old one");
    resume(b"[3]").refused(6, "the interrupted write had another text");
    assert!(cli.text(&["space", "info", "v"]).contains("5 of 18"), "progress kept");
    resume(b"[2]").ok();
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[2]");
    interrupt(&cli, "ada", "[4]");
    cli.doc_write("ada", b"[5]");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[5]");
    assert!(cli.text(&["space", "info", "v"]).contains("unfinished  none"));
}

#[test]
fn plan_reports_the_write_and_changes_nothing() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let version = cli.doc_write("ada", b"[1,2,3,4,5]");
    let before = content(&cli);
    let plan = |text: &[u8], rest: &[&str]| cli.on(["doc", "plan"], "ada", rest, text);
    let small = plan(b"[1,2,3,4]", &[]);
    assert_eq!(small.stderr, "");
    let small = String::from_utf8(small.ok()).unwrap();
    let lines: Vec<_> = small.lines().collect();
    assert_eq!(
        lines[..3],
        ["now: 11 bytes, 1 chunks", "then: 9 bytes, 1 chunks", "change: -2 bytes (-18.2 %)",]
    );
    assert_eq!(lines[3], "capacity: 0.9 %");
    assert!(lines[4].starts_with("time: about ") && lines[4].ends_with(" s"), "{small}");
    assert_eq!(lines[5..], [format!("version: {version}")]);
    let text = format!("\"{}\"", hex(&noise(200)));
    let large = plan(text.as_bytes(), &["--json"]);
    let warned = "warning: the length of the document would change by +3554.5 %";
    assert!(large.stderr.contains(warned), "{}", large.stderr);
    let mut large = large.json();
    assert!(large["estimated_secs"].take().as_f64() > Some(0.0));
    assert_eq!(large["change_percent"].take().as_f64().map(f64::round), Some(3_555.0));
    let stored = large["stored_bytes"].take().as_u64().unwrap();
    assert!((200..402).contains(&stored), "{stored}");
    let capacity = large["capacity_percent"].take().as_f64().unwrap();
    assert!((capacity - stored as f64 / 10.24).abs() < 1e-6, "{capacity}");
    let chunks = large["chunks_then"].take().as_u64().unwrap();
    assert_eq!(chunks, (stored + 24).div_ceil(64));
    let expected = json!({
        "version": version, "bytes_now": 11, "bytes_then": 402, "chunks_now": 1,
        "chunks_then": null, "change_bytes": 391, "change_percent": null, "large_change": true,
        "stored_bytes": null, "capacity_bytes": 1_024, "capacity_percent": null,
        "estimated_secs": null,
    });
    assert_eq!(large, expected);
    assert!(content(&cli) == before);
}

#[test]
fn damage_is_reported_and_healed_up_to_threshold() {
    let cli = Cli::new();
    cli.ok(&["space", "create", "v"]);
    cli.add("ada", &[]).ok();
    let none = json!({ "copies": 0, "shares": 0, "blocks": 0, "corrected": false });
    let sound = cli.partition("verify", "ada", &["--json"]).json();
    assert_eq!(sound, json!({ "ok": true, "damage": none }));
    let mut altered = 0;
    for object in objects(&cli) {
        let mut bytes = fs::read(&object).unwrap();
        // Skips the two objects of cells, whose blocks may all be unused.
        if bytes.len() > CELLS_BYTES && altered < 4 {
            bytes[100] ^= 1;
            fs::write(object, bytes).unwrap();
            altered += 1;
        }
    }
    let verified = cli.partition("verify", "ada", &["--json"]);
    assert_eq!(verified.code, 1);
    assert!(verified.stderr.contains("hint: `strongroom doc heal v`"), "{}", verified.stderr);
    let verified: Json = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["ok"], &verified["damage"]["blocks"]), (&json!(false), &json!(altered)));
    let read = cli.doc("read", "ada", &[]);
    assert!(read.stderr.contains("warning: the document is whole, but"), "{}", read.stderr);
    assert_eq!(read.ok(), b"null");
    assert_eq!(cli.doc("read", "ada", &["-q"]).stderr, "");
    assert_eq!(cli.doc("heal", "ada", &["--json"]).json()["damage"], verified["damage"]);
    assert_eq!(cli.partition("verify", "ada", &[]).ok(), b"ok\n");
    assert_eq!(cli.doc("heal", "ada", &[]).ok(), b"nothing was damaged\n");

    for object in &objects(&cli)[..15] {
        fs::remove_file(object).unwrap();
    }
    for command in [["doc", "read"], ["doc", "heal"], ["partition", "verify"]] {
        let said = cli.on(command, "ada", &[], b"").refused(9, "corrupt");
        assert!(said.stderr.contains("hint: nothing was changed"), "{}", said.stderr);
    }
}

#[test]
fn pipe_from_read_to_write_does_not_block() {
    let cli = with_document();
    let program = env!("CARGO_BIN_EXE_strongroom");
    let place = "v --key-file key --key @ada.key --partition-password-file ada.pw";
    let line = format!("'{program}' doc read {place} | sed s/1/2/ | '{program}' doc write {place}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let said = crate::finish(cli.prepare(command).spawn().expect("sh starts"), b"");
    assert_eq!(said.ok().len(), 33);
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[2]");
}

#[test]
fn secrets_and_text_are_not_logged() {
    let cli = Cli::with_space();
    cli.secret("text", "\"the cat\"");
    let environment = |key: &'static str| {
        [
            ("STRONGROOM_LOG", "trace"),
            ("STRONGROOM_PARTITION_PASSWORD", "correct horse"),
            ("STRONGROOM_PARTITION_KEY", key),
        ]
    };
    let run = |args: &[&str], key| {
        let args = [args, &["--key-file", "key"]].concat();
        cli.run_keyless(&args, &environment(key), b"")
    };
    let added = run(&["partition", "add", "v"], "");
    let mut heard = added.stderr.clone();
    let key = String::from_utf8(added.ok()).unwrap().trim_end().to_owned();
    let key: &'static str = key.leak();
    let written = run(&["doc", "write", "v", "text"], key);
    let version = String::from_utf8(written.stdout).unwrap();
    heard += &written.stderr;
    for args in [
        ["doc", "plan", "v", "text"].as_slice(),
        &["doc", "heal", "v"],
        &["doc", "read", "v"],
        &["partition", "destroy", "v"],
        &["doc", "read", "v"],
    ] {
        heard += &run(args, key).stderr;
    }
    assert!(heard.contains("strongroom") && heard.contains("denied"), "{heard}");
    for secret in [&key[5..15], "horse", "cat", version.trim_end()] {
        assert!(!heard.contains(secret), "{secret}: {heard}");
    }
}
