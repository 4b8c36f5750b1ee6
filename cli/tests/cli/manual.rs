//! Runs the examples of `docs/guides/artifacts.md`, and checks that it documents every option.

use crate::docs::expect_as_shown;
use crate::{Cli, noise};

const DOCUMENT: &str = include_str!("../../../docs/guides/artifacts.md");

#[test]
fn guide_commands_print_documented_output() {
    let cli = Cli::empty();
    cli.secret("build.log", "compiling\n".repeat(2_000));
    cli.secret("app.img", noise(1_500_000));
    let run = expect_as_shown(&cli, DOCUMENT);
    assert!(run > 15, "{run} commands");
}

#[test]
fn artifact_commands_and_options_are_documented() {
    let cli = Cli::empty();
    let commands = [
        "put",
        "get",
        "ls",
        "search",
        "tag",
        "versions",
        "rm",
        "usage",
        "quota",
        "retention",
        "expire",
        "export",
        "verify",
        "gc",
    ];
    for command in commands {
        assert!(DOCUMENT.contains(&format!("`{command} VAULT")), "{command}");
        let help = cli.text(&[command, "--help"]);
        let own = help.split("Opening the vault:").next().expect("there is a first part");
        let options = own.split(|c: char| !c.is_ascii_lowercase() && c != '-');
        let options = options.filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.filter(|option| !["--help", "--quiet", "--wait"].contains(option)) {
            assert!(DOCUMENT.contains(option), "{command}: {option}");
        }
    }
}
