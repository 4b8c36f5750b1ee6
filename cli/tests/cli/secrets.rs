//! Keys from a file, the environment or standard input. They never appear in any output.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::{Cli, KEY, Said, noise, tree};

const PASSWORD: &str = "correct horse";

/// Creates a folder with a vault that [`PASSWORD`] opens. The file `pw` holds the password.
fn with_password() -> Cli {
    let cli = Cli::empty();
    cli.secret("pw", PASSWORD);
    keyless(&cli, &["init", "v", "--password-file", "pw"]).ok();
    cli
}

fn keyless(cli: &Cli, args: &[&str]) -> Said {
    cli.run_keyless(args, &[], b"")
}

fn with_env(cli: &Cli, args: &[&str], password: &str) -> Said {
    cli.run_keyless(args, &[("STRONGROOM_PASSWORD", password)], b"")
}

fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).expect("below 16"))
}

#[test]
fn password_file_is_one_line_with_any_end() {
    let cli = with_password();
    for end in ["", "\n", "\r\n"] {
        cli.secret("file", format!("{PASSWORD}{end}"));
        keyless(&cli, &["info", "v", "--password-file", "file"]).ok();
    }
    for (wrong, code, message) in [
        (" correct horse", 7, "denied"),
        ("correct horse\n\n", 2, "more than one line"),
        ("correct horse\nsecond\n", 2, "more than one line"),
        ("", 2, "empty"),
        ("\n", 2, "empty"),
        (&"p".repeat(1025), 2, "longer than 1024 bytes"),
        (&"p".repeat(9999), 2, "longer than 1024 bytes"),
    ] {
        cli.secret("file", wrong);
        keyless(&cli, &["info", "v", "--password-file", "file"]).refused(code, message);
    }
    cli.secret("file", b"\xff");
    keyless(&cli, &["info", "v", "--password-file", "file"]).refused(2, "not UTF-8");
    keyless(&cli, &["info", "v", "--password-file", "none"]).refused(3, "not found");
    keyless(&cli, &["info", "v", "--password-file", "v"]).refused(2, "directory");
}

#[test]
fn key_file_holds_bytes_or_hex() {
    let cli = Cli::new();
    let digits: String = KEY.iter().flat_map(|byte| hex(*byte)).collect();
    for good in [digits.clone(), digits.to_uppercase(), format!("{digits}\n")] {
        cli.secret("digits", &good);
        keyless(&cli, &["info", "v", "--key-file", "digits"]).ok();
    }
    for (case, wrong) in [
        ("empty", Vec::new()),
        ("short", KEY[1..].to_vec()),
        ("with a line end", [&KEY[..], b"\n"].concat()),
        ("long", noise(5000)),
        ("63 digits", digits.as_bytes()[1..].to_vec()),
        ("no digit", format!("g{}", &digits[1..]).into_bytes()),
    ] {
        cli.secret("wrong", wrong);
        let said = keyless(&cli, &["info", "v", "--key-file", "wrong"]);
        assert_eq!(said.code, 2, "{case}: {}", said.stderr);
        said.refused(2, "neither 32 bytes nor 64 hex digits");
    }
}

#[test]
fn generated_key_file_is_private_and_opens_vault() {
    let cli = Cli::empty();
    let made = keyless(&cli, &["keys", "generate", "one", "--json"]).json();
    assert_eq!(made, json!({ "file": "one" }));
    keyless(&cli, &["keys", "generate", "two"]).ok();
    let (one, two) = (fs::read(cli.path("one")).unwrap(), fs::read(cli.path("two")).unwrap());
    assert_eq!((one.len(), two.len()), (32, 32));
    assert_ne!(one, two);
    assert_eq!(fs::metadata(cli.path("one")).unwrap().permissions().mode() & 0o777, 0o600);
    keyless(&cli, &["keys", "generate", "one"]).refused(4, "exists");
    assert_eq!(fs::read(cli.path("one")).unwrap(), one, "left alone");
    cli.refused(&["keys", "generate", "three"], 2, "takes no key");
    keyless(&cli, &["init", "v", "--key-file", "one"]).ok();
    keyless(&cli, &["info", "v", "--key-file", "one"]).ok();
    keyless(&cli, &["info", "v", "--key-file", "two"]).refused(7, "denied");
}

#[test]
fn environment_password_is_used_exactly() {
    let cli = with_password();
    with_env(&cli, &["info", "v"], PASSWORD).ok();
    with_env(&cli, &["info", "v"], &format!("{PASSWORD}\n")).refused(7, "denied");
    with_env(&cli, &["info", "v"], "").refused(2, "set and empty");
    with_env(&cli, &["info", "v"], &"p".repeat(1025)).refused(2, "the limit is 1024");
}

#[test]
fn standard_input_serves_one_purpose() {
    let cli = with_password();
    let from_stdin = ["records", "put", "v", "n", "k", "value", "--password-file", "-"];
    cli.run_keyless(&from_stdin, &[], b"correct horse\n").ok();
    let key = ["info", "v", "--key-file", "-"];
    cli.run_keyless(&key, &[], &KEY).refused(7, "denied");
    for both in [
        vec!["records", "put", "v", "n", "k", "--password-file", "-"],
        vec!["records", "put", "v", "n", "k", "-", "--key-file", "-"],
        vec!["keys", "add", "v", "--password-file", "-", "--new-password-file", "-"],
    ] {
        cli.run_keyless(&both, &[], b"correct horse\n").refused(2, "both come from standard input");
    }
}

#[test]
fn option_precedes_environment() {
    let cli = with_password();
    with_env(&cli, &["info", "v", "--password-file", "pw"], "wrong").ok();
    with_env(&cli, &["info", "v", "--key-file", "key"], PASSWORD).refused(7, "denied");
    for args in [
        ["info", "v", "--password-file", "pw", "--key-file", "key"],
        ["--key-file", "key", "info", "v", "--password-file", "pw"],
    ] {
        with_env(&cli, &args, PASSWORD).refused(2, "give only one");
    }
    let two = ["keys", "add", "v", "--new-password-file", "pw", "--new-key-file", "key"];
    with_env(&cli, &two, PASSWORD).refused(2, "give only one");
}

#[test]
fn missing_key_error_names_the_options() {
    let cli = with_password();
    for args in [["info", "v"].as_slice(), &["init", "new"], &["keys", "list", "v"]] {
        let said = keyless(&cli, args).refused(2, "no terminal");
        assert!(said.stderr.contains("--password-file FILE"), "{}", said.stderr);
        assert!(said.stderr.contains("STRONGROOM_PASSWORD"), "{}", said.stderr);
    }
    assert!(!cli.path("new").exists());
    keyless(&cli, &["info", "nowhere"]).refused(3, "the folder does not exist");
}

#[test]
fn wrong_password_is_denied_and_changes_nothing() {
    let cli = with_password();
    let before = tree(&cli.path("v"));
    for args in [
        ["info", "v"].as_slice(),
        &["check", "v"],
        &["records", "put", "v", "n", "k", "x"],
        &["compact", "v"],
        &["keys", "list", "v"],
        &["keys", "remove", "v", "1"],
        &["keys", "rotate", "v"],
    ] {
        let said = with_env(&cli, args, "wrong horse").refused(7, "denied");
        assert!(said.stderr.contains("hint: "), "{}", said.stderr);
        assert!(!said.stderr.contains("wrong horse"), "{}", said.stderr);
    }
    assert!(tree(&cli.path("v")) == before);
}

#[test]
fn readable_secret_file_is_warned_of() {
    let cli = with_password();
    fs::set_permissions(cli.path("pw"), fs::Permissions::from_mode(0o640)).unwrap();
    let args = ["info", "v", "--password-file", "pw"];
    let said = keyless(&cli, &args);
    assert_eq!(said.code, 0);
    assert_eq!(said.stderr, "warning: other users may read or change pw: its mode is 640\n");
    assert_eq!(keyless(&cli, &[&args[..], &["-q"]].concat()).stderr, "");
    fs::set_permissions(cli.path("pw"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(keyless(&cli, &args).stderr, "");
}

/// Inspects the running program as another user could.
///
/// It also searches all output.
#[cfg(target_os = "linux")]
#[test]
fn secrets_are_not_in_arguments_output_or_log() {
    let cli = with_password();
    let args = ["records", "put", "v", "n", "k", "--password-file", "pw"];
    let mut child = cli.keyless(&args).env("STRONGROOM_LOG", "trace").spawn().unwrap();
    // More than a pipe holds. When the write returns, the program reads the value, so the vault is
    // open.
    child.stdin.as_mut().unwrap().write_all(&noise(1 << 20)).unwrap();
    for of in [child.id().to_string(), descendant(child.id())] {
        for file in ["cmdline", "environ"] {
            let seen = fs::read(format!("/proc/{of}/{file}")).unwrap();
            assert!(!seen.is_empty(), "{file}");
            let message = String::from_utf8_lossy(&seen).contains(PASSWORD);
            assert!(!message, "{file}");
        }
    }
    drop(child.stdin.take());
    let mut heard = String::new();
    child.stderr.take().unwrap().read_to_string(&mut heard).unwrap();
    assert!(child.wait().unwrap().success(), "{heard}");
    assert!(heard.contains("strongroom"), "it logs");
    for said in [
        keyless(&cli, &["keys", "list", "v", "--password-file", "pw", "--json"]),
        with_env(&cli, &["keys", "add", "v", "--new-password-file", "pw"], PASSWORD),
        with_env(&cli, &["keys", "replace", "v", "--new-password-file", "pw"], PASSWORD),
    ] {
        heard += &String::from_utf8(said.stdout).unwrap();
        heard += &said.stderr;
    }
    assert!(!heard.contains(PASSWORD) && !heard.contains("horse"), "{heard}");
}

/// Returns the process that `setsid` started, if it forked.
#[cfg(target_os = "linux")]
fn descendant(pid: u32) -> String {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
    let child = children.split_whitespace().next();
    child.map_or_else(|| pid.to_string(), str::to_owned)
}
