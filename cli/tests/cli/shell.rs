//! Completion scripts and manual pages.

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::Cli;

/// Runs a command without a key, which these commands refuse.
fn run(cli: &Cli, args: &[&str]) -> String {
    String::from_utf8(cli.run_keyless(args, &[], b"").ok()).expect("text")
}

#[test]
fn every_shell_has_a_completion_script() {
    let cli = Cli::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&cli, &["completions", shell]);
        for word in ["records", "keys", "rotate", "password-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let document: Json =
            serde_json::from_str(&run(&cli, &["completions", shell, "--json"])).expect("JSON");
        assert_eq!(document["shell"], json!(shell));
        assert_eq!(document["script"].as_str().map(str::trim_end), Some(script.trim_end()));
    }
    cli.refused(&["completions", "bash", "--key-file", "key"], 2, "takes no key");
    assert_eq!(cli.run(&["completions", "csh"]).code, 2);
}

#[test]
fn bash_completes_commands_and_options() {
    let cli = Cli::empty();
    cli.secret("completions", run(&cli, &["completions", "bash"]));
    for (words, expected) in [
        ("strongroom rec", "records"),
        ("strongroom records de", "delete"),
        ("strongroom keys rotate v --drop", "--drop-others"),
    ] {
        let script = format!(
            "source ./completions; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _strongroom strongroom \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]);
        let reply = crate::finish(cli.prepare(bash).spawn().expect("bash starts"), b"").ok();
        assert_eq!(String::from_utf8(reply).expect("text").trim_end(), expected, "{words}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let cli = Cli::empty();
    assert_eq!(run(&cli, &["man", "man1"]).split(' ').nth(1), Some("manual"));
    let pages = fs::read_dir(cli.path("man1")).expect("a folder").count();
    let document: Json =
        serde_json::from_str(&run(&cli, &["man", "man1", "--json"])).expect("JSON");
    assert_eq!(document, json!({ "folder": "man1", "pages": pages }));
    for (page, command) in [
        ("strongroom", &[][..]),
        ("strongroom-put", &["put"]),
        ("strongroom-keys-rotate", &["keys", "rotate"]),
        ("strongroom-partition-add", &["partition", "add"]),
    ] {
        let text = fs::read_to_string(cli.path(&format!("man1/{page}.1"))).expect("a page");
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
        let plain = text.replace("\\-", "-");
        let help = run(&cli, &[command, &["--help"]].concat());
        let options = help.lines().filter_map(|line| line.trim_start().split(' ').next());
        for option in options.filter(|word| word.starts_with("--") && word.len() > 2) {
            assert!(plain.contains(option), "{page}: {option}");
        }
    }
    cli.secret("file", "");
    cli.run_keyless(&["man", "file"], &[], b"").refused(4, "write manual pages");
}
