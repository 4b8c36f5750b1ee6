//! Runs the examples of `docs/guides/command-line.md`.

use std::process::Command;

use strongroom::operations::Checkpoint;
use strongroom::{SecretPassword, Vault};

use crate::host::{at, begin, commit, import, lane, tried_once};
use crate::{Cli, noise};

const DOCUMENT: &str = include_str!("../../../docs/guides/command-line.md");

/// Password of the example vaults.
const PASSWORD: &str = "a password";

/// Returns the commands of a document, each with its documented output lines.
fn shown(document: &str) -> Vec<(&str, Vec<&str>)> {
    let mut shown: Vec<(_, Vec<_>)> = Vec::new();
    let mut is_console = false;
    for line in document.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            shown.push((command, Vec::new()));
        } else if is_console && !is_question(line) {
            shown.last_mut().expect("a command is first").1.push(line);
        }
    }
    shown
}

/// Returns whether a line is a prompt. In the test, the environment answers it.
fn is_question(line: &str) -> bool {
    let asked = ["New password for ", "New partition password for ", "Repeat the password:"];
    asked.iter().any(|question| line.starts_with(question))
}

/// Creates the vault `imports.vault` that the document describes.
fn imports(cli: &Cli) {
    let key = || SecretPassword::new(PASSWORD);
    let made = Vault::options(key()).create(cli.path("imports.vault")).expect("is made");
    made.close().expect("closes");
    at(cli, "imports.vault", key(), 45, |vault| {
        begin(vault, import("import-1")).complete().expect("completes");
    });
    at(cli, "imports.vault", key(), 0, |vault| {
        begin(vault, tried_once("import-2")).fail("no such host").expect("fails");
        let third = begin(vault, import("import-3").metadata("source", "/srv/in"));
        commit(&lane(&third, "a"), Checkpoint::new("done").complete());
        for row in ["row 100", "row 200"] {
            commit(&lane(&third, "b"), Checkpoint::new(row).progress(0.5));
        }
    });
}

#[test]
fn document_commands_print_documented_output() {
    let cli = Cli::empty();
    cli.secret("plan.pdf", noise(482_113));
    imports(&cli);
    let run = expect_as_shown(&cli, DOCUMENT);
    assert!(run > 24, "{run} commands");
}

/// Runs the commands of a document and compares their output. Returns their number.
pub(crate) fn expect_as_shown(cli: &Cli, document: &str) -> usize {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_strongroom"));
    let folder = program.parent().expect("it is in a folder").to_str().expect("text");
    let path = format!("{folder}:{}", std::env::var("PATH").expect("there is one"));
    let mut run = 0;
    for (line, expected) in shown(document) {
        if line.starts_with("cargo ") {
            continue;
        }
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let mut command = cli.prepare(command);
        command.env("PATH", &path).env("STRONGROOM_PASSWORD", PASSWORD);
        command.env("STRONGROOM_PARTITION_PASSWORD", "another one");
        let printed = crate::finish(command.spawn().expect("sh starts"), b"").ok();
        let printed = String::from_utf8(printed).expect("text");
        // An id or time before an ellipsis varies, so only its beginning is compared.
        let varies = |c: char| c.is_alphanumeric() || c == '-';
        let is_same = |(said, expected): (&str, &&str)| match expected.split_once('…') {
            Some((begins, _)) => said.starts_with(begins.trim_end_matches(varies)),
            None => said == *expected,
        };
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{line}: {printed}");
        assert!(
            lines.into_iter().zip(&expected).all(|(s, t)| is_same((s, t))),
            "{line}: {printed}"
        );
        run += 1;
    }
    run
}

#[test]
fn help_options_are_in_the_document() {
    let cli = Cli::empty();
    let families = ["", "init", "info", "check", "compact", "stats", "records put", "records list"];
    let operations = ["list", "show", "pause", "abandon", "expire"];
    let operations = operations.map(|command| format!("ops {command}"));
    let keys = ["add", "remove", "replace", "rewrap", "rotate", "generate", "list"];
    let keys = keys.map(|command| format!("keys {command}"));
    let documents = [
        "space create",
        "space info",
        "space discard",
        "partition add",
        "partition destroy",
        "partition password",
        "partition verify",
        "doc read",
        "doc write",
        "doc plan",
        "doc heal",
    ];
    let built = keys.iter().chain(&operations).map(String::as_str);
    for command in families.into_iter().chain(built).chain(documents) {
        let args: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let help = cli.text(&args);
        let options = help.split(|c: char| !c.is_ascii_lowercase() && c != '-');
        let options = options.filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.filter(|option| !["--release", "--version"].contains(option)) {
            assert!(DOCUMENT.contains(option), "{command}: {option}");
        }
    }
}
