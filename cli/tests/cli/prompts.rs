//! Prompts on a terminal without echo. script(1) of util-linux provides the terminal.

use std::io::{Read, Write};
use std::process::{Child, Command};

use crate::Cli;

/// The program on its own terminal, and all output seen there.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    /// Runs `strongroom ARGS`, and then prints the terminal's settings.
    fn start(cli: &Cli, args: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_strongroom");
        let line = format!("'{program}' {args}; code=$?; stty -a; exit $code");
        let mut command = Command::new("timeout");
        command.args(["60", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
        let child = cli.prepare(command).spawn().expect("script, of util-linux, starts");
        Self { child, seen: String::new() }
    }

    /// Waits for `question`, and types the answer.
    fn answer(&mut self, question: &str, typed: &str) {
        let stdout = self.child.stdout.as_mut().expect("piped");
        let mut byte = [0];
        let mut heard = Vec::new();
        while !heard.ends_with(question.as_bytes()) {
            let read = stdout.read(&mut byte).expect("it is read");
            let said = String::from_utf8_lossy(&heard);
            assert_eq!(read, 1, "no {question:?} after {}{said}", self.seen);
            heard.push(byte[0]);
        }
        self.seen += &String::from_utf8(heard).expect("text");
        self.child.stdin.as_mut().expect("piped").write_all(typed.as_bytes()).expect("typed");
    }

    /// Returns the exit code and all output. Asserts that the terminal echoes again.
    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.child.stdout.as_mut().expect("piped").read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        self.seen += &rest;
        for setting in ["echo", "isig", "icanon", "-echonl"] {
            let is_set = self.seen.split_whitespace().any(|word| word == setting);
            assert!(is_set, "{setting}: {}", self.seen);
        }
        (status.code().unwrap_or(-1), self.seen)
    }
}

#[test]
fn new_password_is_asked_twice_without_echo() {
    let cli = Cli::empty();
    let mut terminal = Terminal::start(&cli, "init v");
    terminal.answer("New password for v: ", "grün er\n");
    terminal.answer("Repeat the password: ", "grün er\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("created in v") && !seen.contains("grün"), "{seen}");
    let mut terminal = Terminal::start(&cli, "keys list v < /dev/null | cat");
    terminal.answer("Password for v: ", "grün er\n");
    let (code, seen) = terminal.end();
    assert!(code == 0 && seen.contains("in use"), "{seen}");
    assert!(!seen.contains("grün"), "{seen}");
    let environment = [("STRONGROOM_PASSWORD", "grün er")];
    cli.run_keyless(&["info", "v"], &environment, b"").ok();
}

#[test]
fn mistyped_password_creates_no_vault() {
    let cases = [
        (["one\n", "two\n"].as_slice(), 2, "the two passwords differ"),
        (&["\n"], 2, "the password is empty"),
        (&["a\x1b[Db\n"], 2, "control characters"),
        (&["abc\x03"], 11, "no password was typed"),
        (&["\x04"], 11, "no password was typed"),
    ];
    for (typed, expected, text) in cases {
        let cli = Cli::empty();
        let mut terminal = Terminal::start(&cli, "init v");
        let questions = ["New password for v: ", "Repeat the password: "];
        for (question, typed) in questions.iter().zip(typed) {
            terminal.answer(question, typed);
        }
        let (code, seen) = terminal.end();
        assert_eq!(code, expected, "{seen}");
        assert!(seen.contains(text), "{seen}");
        assert!(!cli.path("v").exists(), "{text}");
    }
}

#[test]
fn password_change_on_terminal() {
    let cli = Cli::empty();
    cli.secret("pw", "old\n");
    cli.run_keyless(&["init", "v", "--password-file", "pw"], &[], b"").ok();
    let mut terminal = Terminal::start(&cli, "keys replace v");
    terminal.answer("Password for v: ", "old\n");
    // Both answers at once, as a password manager pastes them.
    terminal.answer("New password for v: ", "new\nnew\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    cli.run_keyless(&["info", "v", "--password-file", "pw"], &[], b"").refused(7, "denied");
    cli.run_keyless(&["info", "v"], &[("STRONGROOM_PASSWORD", "new")], b"").ok();
}

#[test]
fn wrong_password_is_denied_before_new_prompt() {
    let cli = Cli::new();
    let mut terminal = Terminal::start(&cli, "keys add v");
    terminal.answer("Password for v: ", "guess\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 7, "{seen}");
    assert!(!seen.contains("New password"), "{seen}");
}

#[test]
fn terminal_stdin_is_not_a_secret_file() {
    let cli = Cli::new();
    let terminal = Terminal::start(&cli, "info v --password-file -");
    let (code, seen) = terminal.end();
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("standard input is a terminal"), "{seen}");
}

#[test]
fn partition_password_has_its_own_prompt() {
    let cli = Cli::with_space();
    let cases = [
        (["one\n", "two\n"].as_slice(), 2, "the two passwords differ"),
        (&["\n"], 2, "the password is empty"),
        (&["abc\x03"], 11, "no password was typed"),
    ];
    for (typed, expected, text) in cases {
        let mut terminal = Terminal::start(&cli, "partition add v --key-file key");
        let questions = ["New partition password for v: ", "Repeat the password: "];
        for (question, typed) in questions.iter().zip(typed) {
            terminal.answer(question, typed);
        }
        let (code, seen) = terminal.end();
        assert_eq!(code, expected, "{seen}");
        assert!(seen.contains(text) && !seen.contains("srp1_"), "{seen}");
    }
    assert!(cli.text(&["space", "info", "v"]).contains("never"), "none was added");
    let mut terminal = Terminal::start(&cli, "partition add v --key-file key > ada.key");
    terminal.answer("New partition password for v: ", "gr\u{fc}n\ngr\u{fc}n\n");
    let (code, seen) = terminal.end();
    assert!(code == 0 && !seen.contains("srp1_") && !seen.contains("gr\u{fc}n"), "{seen}");

    let key = cli.key_of("ada");
    let place = format!("v --key-file key --key {key}");
    let mut terminal = Terminal::start(&cli, &format!("doc write {place} < /dev/null"));
    terminal.answer("Partition password for v: ", "gr\u{fc}n\n");
    let (code, seen) = terminal.end();
    assert!(code == 2 && seen.contains("EOF while parsing"), "{seen}");
    let mut terminal = Terminal::start(&cli, &format!("partition password {place}"));
    terminal.answer("Partition password for v: ", "gr\u{fc}n\n");
    terminal.answer("New partition password for v: ", "blau\nblau\n");
    assert_eq!(terminal.end().0, 0);
    let variables = [("STRONGROOM_PARTITION_PASSWORD", "blau"), ("STRONGROOM_PARTITION_KEY", &key)];
    let read = ["doc", "read", "v", "--key-file", "key"];
    assert_eq!(cli.run_keyless(&read, &variables, b"").ok(), b"null");
}

#[test]
fn typed_document_shows_progress_bar() {
    let cli = Cli::with_space();
    cli.add("ada", &[]).ok();
    let place = "v --key-file key --key @ada.key --partition-password-file ada.pw";
    let mut terminal = Terminal::start(&cli, &format!("doc write {place}"));
    terminal.answer("end it with Ctrl-D", "[7]\n\x04");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("/18 objects"), "{seen}");
    assert_eq!(cli.doc("read", "ada", &[]).ok(), b"[7]\n");
}
