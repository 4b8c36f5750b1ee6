//! Reasons: each failure that has a hint, as `--json` reports it to a program.
//!
//! The unit tests of `hint.rs` cover the reasons that only a shared store can cause, except for
//! refused credentials. They also cover a damaged row, which cannot be forged under the seal of its
//! block.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::documents::{content, interrupt};
use crate::host::with_every_state;
use crate::partitions::UNKNOWN;
use crate::{Cli, Said, noise, said, tree};

/// Kind, reason and exit code of a failure.
type Expected = (&'static str, &'static str, i32);

impl Said {
    /// Asserts this failure with one object that has a hint. Returns the object.
    fn failed(self, (kind, reason, code): Expected) -> Json {
        assert_eq!(self.code, code, "{}", self.stderr);
        let last = self.stderr.lines().last().unwrap_or_default();
        let mut document: Json = serde_json::from_str(last).expect("one JSON object");
        let error = document["error"].take();
        let found = (&error["kind"], &error["reason"], &error["exit_code"]);
        assert_eq!(found, (&json!(kind), &json!(reason), &json!(code)), "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
        let action = error["action"].as_str().expect("text");
        assert!(error["message"].as_str().is_some_and(|m| m.starts_with(action)), "{error}");
        error
    }
}

/// Runs the command with `--json`, which must fail in this way.
fn fails(cli: &Cli, args: &[&str], expected: Expected) -> Json {
    cli.run(&[args, &["--json"]].concat()).failed(expected)
}

const PUT: [&str; 9] = ["put", "v", "--spec", "s", "--task", "t", "--type", "log", "--json"];

/// Returns the vault's content objects, without key set copies.
fn objects(cli: &Cli) -> Vec<PathBuf> {
    let files = tree(&cli.path("v/content/objects")).into_iter().map(|(path, _)| path);
    let objects = files.filter(|path| path.extension().is_some_and(|e| e == "object"));
    objects.filter(|path| !path.parent().is_some_and(|folder| folder.ends_with("keys"))).collect()
}

/// Flips a bit of the file.
fn damage(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).expect("it is there");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("it is written");
}

#[test]
fn text_and_json_errors_agree() {
    let cli = Cli::empty();
    let error = fails(&cli, &["info", "v"], ("not-found", "vault-missing", 3));
    let text = cli.run(&["info", "v"]);
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert_eq!(text.stderr, format!("strongroom: {message}\nhint: {hint}\n"));
    assert_eq!((text.code, &error["subject"]), (3, &json!("v")));
}

#[test]
fn error_without_reason_or_hint_has_nulls() {
    let cli = Cli::new();
    let said = cli.run(&["keys", "generate", "key", "--backend", "s3://b", "--json"]);
    let error: Json = serde_json::from_str(&said.stderr).expect("one JSON object");
    let error = &error["error"];
    assert_eq!((said.code, &error["kind"]), (2, &json!("invalid")));
    for field in ["reason", "hint", "subject"] {
        assert_eq!(error[field], Json::Null, "{error}");
    }
}

#[test]
fn reasons_of_creating_and_finding_a_vault() {
    let cli = Cli::empty();
    fails(&cli, &["info", "v"], ("not-found", "vault-missing", 3));
    fails(&cli, &["init", "no/parent"], ("not-found", "parent-folder-missing", 3));
    cli.ok(&["init", "v"]);
    fails(&cli, &["init", "v"], ("already-exists", "vault-exists", 4));
    fs::create_dir(cli.path("full")).unwrap();
    fs::write(cli.path("full/letter"), "dear").unwrap();
    fails(&cli, &["init", "full"], ("invalid", "folder-not-empty", 2));
    fails(&cli, &["info", "full/letter"], ("invalid", "not-a-folder", 2));
    fails(&cli, &["check", "--store"], ("invalid", "store-not-named", 2));
}

#[test]
fn reason_of_a_vault_in_use_is_vault_locked() {
    let cli = Cli::new();
    let mut holder = cli.spawn(&["records", "put", "v", "n", "k"]);
    // More than a pipe holds, so the vault is open when the write returns.
    holder.stdin.as_mut().expect("piped").write_all(&noise(1 << 20)).expect("it reads");
    let error = fails(&cli, &["info", "v", "--wait", "0"], ("locked", "vault-locked", 5));
    let end = format!("end process {}", holder.id());
    assert!(error["hint"].as_str().unwrap().contains(&end), "{error}");
    assert_eq!(said(holder).code, 0);
}

#[test]
fn reasons_of_a_damaged_state() {
    let cli = Cli::new();
    cli.put("n", "k", &noise(9_000));
    let state = cli.path("v/state.redb");
    let sound = fs::read(&state).unwrap();
    fs::write(&state, &sound[..sound.len() - 4_096]).unwrap();
    fails(&cli, &["info", "v"], ("corrupt", "state-damaged", 9));
    fs::write(&state, &sound).unwrap();
    for at in [100, 4_196] {
        damage(&state, at);
    }
    let error = fails(&cli, &["info", "v"], ("corrupt", "header-damaged", 9));
    assert!(error["hint"].as_str().unwrap().contains("--restore-key-set"), "{error}");
}

/// Damages each block in turn.
///
/// A command reads only some of them.
#[test]
fn reason_of_a_damaged_block_is_block_damaged() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    let state = cli.path("v/state.redb");
    let sound = fs::read(&state).unwrap();
    let get = ["records", "get", "v", "n", "k", "--json"];
    let found = (8_192..sound.len()).step_by(4_096).any(|at| {
        fs::write(&state, &sound).unwrap();
        damage(&state, at + 100);
        let said = cli.run(&get);
        let is_block = said.stderr.contains("block-damaged");
        if is_block {
            said.failed(("corrupt", "block-damaged", 9));
        }
        is_block
    });
    assert!(found);
}

#[test]
fn reasons_of_damaged_content() {
    let cli = Cli::new();
    cli.put("n", "k", &noise(900_000));
    let get = ["records", "get", "v", "n", "k"];
    for object in objects(&cli) {
        damage(&object, 1_000);
    }
    fails(&cli, &get, ("corrupt", "content-damaged", 9));
    for object in objects(&cli) {
        fs::remove_file(object).unwrap();
    }
    fails(&cli, &get, ("corrupt", "object-missing", 9));
}

#[test]
fn reason_of_an_older_state_is_state_older_than_key_copy() {
    let cli = Cli::new();
    let state = cli.path("v/state.redb");
    let older = fs::read(&state).unwrap();
    cli.secret("more", [2; 32]);
    cli.ok(&["keys", "add", "v", "--new-key-file", "more"]);
    fs::write(&state, older).unwrap();
    let expected = ("conflict", "state-older-than-key-copy", 6);
    fails(&cli, &["records", "put", "v", "n", "k", "x"], expected);
}

#[cfg(target_os = "linux")]
#[test]
fn reason_of_a_full_device_is_storage_full() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut command =
        cli.keyless(&["records", "get", "v", "n", "k", "--json", "--key-file", "key"]);
    let child = command.stdout(Stdio::from(full)).spawn().expect("setsid starts");
    said(child).failed(("full", "storage-full", 8));
}

#[test]
fn reasons_of_keys_and_passwords() {
    let cli = Cli::new();
    let expected = ("invalid", "no-password-given", 2);
    cli.run_keyless(&["info", "v", "--json"], &[], b"").failed(expected);
    cli.secret("other", [9; 32]);
    let other = ["info", "v", "--key-file", "other", "--json"];
    cli.run_keyless(&other, &[], b"").failed(("denied", "wrong-credentials", 7));
    fails(&cli, &["keys", "remove", "v", "7"], ("not-found", "key-missing", 3));
    let add = ["keys", "add", "v", "--new-key-file", "more"];
    for number in 2..=8 {
        cli.secret("more", [number; 32]);
        cli.ok(&add);
    }
    cli.secret("more", [9; 32]);
    fails(&cli, &add, ("full", "key-slots-full", 8));
    cli.secret("pw", "correct horse");
    let costly = ["init", "w", "--password-file", "pw", "--memory-mib", "1025", "--json"];
    let expected = ("invalid", "password-memory-out-of-bounds", 2);
    cli.run_keyless(&costly, &[], b"").failed(expected);
}

#[test]
fn reasons_of_records() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    fails(&cli, &["records", "list", "v", "m"], ("not-found", "namespace-missing", 3));
    fails(&cli, &["records", "get", "v", "n", "l"], ("not-found", "record-missing", 3));
    fails(&cli, &["records", "delete", "v", "n", "l"], ("not-found", "record-missing", 3));
}

#[test]
fn reasons_of_operations() {
    let cli = with_every_state(0);
    for command in ["show", "pause", "abandon"] {
        let args = ["ops", command, "v", "none"];
        fails(&cli, &args, ("not-found", "operation-missing", 3));
    }
    let own = ["ops", "pause", "v", "strongroom.space.update"];
    fails(&cli, &own, ("invalid", "engine-own-operation", 2));
}

#[test]
fn reasons_of_artifacts() {
    let cli = Cli::new();
    let none = "strongroom:///artifact/s/t/none";
    for args in [
        ["get", "v", none].as_slice(),
        &["rm", "v", none],
        &["versions", "v", none],
        &["tag", "v", none, "--add", "a"],
        &["ls", "v", "--spec", "none"],
        &["export", "v", "--spec", "none", "out"],
    ] {
        fails(&cli, args, ("not-found", "artifact-missing", 3));
    }
    cli.run_with(&PUT, b"one").ok();
    let uri = "strongroom:///artifact/s/t/log";
    let again = [&PUT[..], &["--on-existing", "refuse"]].concat();
    cli.run_with(&again, b"two").failed(("already-exists", "artifact-exists", 4));
    cli.secret("out", "mine");
    fails(&cli, &["get", "v", uri, "out"], ("already-exists", "file-exists", 4));
    let generate = ["keys", "generate", "out", "--json"];
    cli.run_keyless(&generate, &[], b"").failed(("already-exists", "file-exists", 4));
    cli.ok(&["quota", "v", "--set", "1M"]);
    cli.run_with(&PUT, &noise(2_000_000)).failed(("full", "quota-exceeded", 8));
}

#[test]
fn reason_of_a_damaged_pack_is_artifact_damaged() {
    let cli = Cli::new();
    cli.run_with(&PUT, &noise(900_000)).ok();
    for object in objects(&cli) {
        damage(&object, 1_000);
    }
    let uri = "strongroom:///artifact/s/t/log";
    fails(&cli, &["get", "v", uri, "out"], ("corrupt", "artifact-damaged", 9));
    fails(&cli, &["export", "v", "--spec", "s", "out"], ("corrupt", "artifact-damaged", 9));
}

#[test]
fn reasons_of_spaces_and_partitions() {
    let cli = Cli::new();
    fails(&cli, &["space", "info", "v"], ("not-found", "space-missing", 3));
    cli.ok(&["space", "create", "v", "--capacity", "1K"]);
    fails(&cli, &["space", "create", "v"], ("already-exists", "space-exists", 4));
    for (name, kept) in [("ada", &[][..]), ("bob", &["ada"]), ("eve", &["ada", "bob"])] {
        cli.add(name, kept).ok();
    }
    cli.secret("dan.pw", "dan!");
    let add = ["partition", "add", "v", "--partition-password-file", "dan.pw"];
    fails(&cli, &add, ("invalid", "partitions-not-named", 2));
    let keep = ["--keep", "@ada.key", "--keep", "@bob.key", "--keep", "@eve.key"];
    fails(&cli, &[&add[..], &keep[..]].concat(), ("full", "space-full", 8));
    let unknown = ["partition", "destroy", "v", "--key", UNKNOWN];
    fails(&cli, &unknown, ("denied", "partition-missing", 7));
    let unknown = [&add[..], &["--keep", UNKNOWN]].concat();
    fails(&cli, &unknown, ("denied", "partition-missing", 7));
    let misspelt = ["doc", "read", "v", "--key", "srp1_00"];
    fails(&cli, &misspelt, ("invalid", "partition-key-invalid", 2));
    fails(&cli, &["doc", "read", "v"], ("invalid", "no-partition-key-given", 2));
    let without = ["--key-file", "key", "doc", "read", "v", "--key", "@ada.key", "--json"];
    let expected = ("invalid", "no-partition-password-given", 2);
    cli.run_keyless(&without, &[], b"").failed(expected);
}

#[test]
fn reasons_of_documents() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let write = |rest: &[&str], text: &[u8]| {
        cli.on(["doc", "write"], "ada", &[rest, &["--json"]].concat(), text)
    };
    let letters = noise(4_000).into_iter().map(|byte| char::from(b'a' + byte % 26));
    let text = format!("\"{}\"", letters.collect::<String>());
    write(&[], text.as_bytes()).failed(("full", "capacity-exceeded", 8));
    let first = cli.doc_write("ada", b"[1]");
    cli.doc_write("ada", b"[2]");
    write(&["--expect", &first], b"[3]").failed(("conflict", "document-changed", 6));
    write(&["--resume"], b"[3]").failed(("not-found", "no-interrupted-write", 3));
    interrupt(&cli, "ada", "[3]");
    write(&["--resume"], b"[4]").failed(("conflict", "interrupted-write-differs", 6));
    cli.secret("ada.pw", "wrong");
    let read = || cli.doc("read", "ada", &["--json"]);
    read().failed(("denied", "wrong-document-credentials", 7));
    cli.secret("ada.pw", "ada!");
    for (path, _) in content(&cli) {
        let is_key_copy = path.parent().is_some_and(|folder| folder.ends_with("keys"));
        if !is_key_copy && path.extension().is_some_and(|e| e == "object") {
            fs::remove_file(path).unwrap();
        }
    }
    read().failed(("corrupt", "document-damaged", 9));
}

/// Starts a server that refuses every request.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.read(&mut [0; 4_096]).and_then(|_| stream.write_all(answer));
        }
    });
    address
}

#[test]
fn reason_of_refused_credentials_is_store_credentials_refused() {
    let cli = Cli::new();
    let url = format!("s3://bucket/v?endpoint=http://{}", refusing());
    let args = ["--key-file", "key", "info", "v", "--backend", &url, "--json"];
    let variables = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let said = cli.run_keyless(&args, &variables, b"");
    said.failed(("denied", "store-credentials-refused", 7));
}
