//! A person at a terminal: asked without echo. The terminal is that of script(1), of util-linux.

use std::io::{Read, Write};
use std::process::{Child, Command};

use crate::Cli;

/// The program at a terminal of its own, and all that was seen there.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    /// Runs `strongroom ARGS`, and then shows the terminal's settings.
    fn start(cli: &Cli, args: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_strongroom");
        let line = format!("'{program}' {args}; code=$?; stty -a; exit $code");
        let mut command = Command::new("timeout");
        command.args(["60", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
        let child = cli.prepare(command).spawn().expect("script, of util-linux, starts");
        Self { child, seen: String::new() }
    }

    /// Waits for `question`, which must come, and types.
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

    /// Its exit code, and all that was seen; the terminal shows again what is typed.
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
fn a_new_password_is_asked_for_twice_and_shown_never() {
    let cli = Cli::empty();
    let mut terminal = Terminal::start(&cli, "init v");
    terminal.answer("New password for v: ", "grün er\n");
    terminal.answer("The same again: ", "grün er\n");
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
fn a_slip_of_the_fingers_makes_no_vault() {
    let cases = [
        (["one\n", "two\n"].as_slice(), 2, "the two passwords differ"),
        (&["\n"], 2, "the password is empty"),
        (&["a\x1b[Db\n"], 2, "control characters"),
        (&["abc\x03"], 11, "none was typed"),
        (&["\x04"], 11, "none was typed"),
    ];
    for (typed, expected, told) in cases {
        let cli = Cli::empty();
        let mut terminal = Terminal::start(&cli, "init v");
        let questions = ["New password for v: ", "The same again: "];
        for (question, typed) in questions.iter().zip(typed) {
            terminal.answer(question, typed);
        }
        let (code, seen) = terminal.end();
        assert_eq!(code, expected, "{seen}");
        assert!(seen.contains(told), "{seen}");
        assert!(!cli.path("v").exists(), "{told}");
    }
}

#[test]
fn a_password_is_changed_at_the_terminal() {
    let cli = Cli::empty();
    cli.secret("pw", "old\n");
    cli.run_keyless(&["init", "v", "--password-file", "pw"], &[], b"").ok();
    let mut terminal = Terminal::start(&cli, "keys replace v");
    terminal.answer("Password for v: ", "old\n");
    // Both at once, as from a password manager.
    terminal.answer("New password for v: ", "new\nnew\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    cli.run_keyless(&["info", "v", "--password-file", "pw"], &[], b"").refused(7, "denied");
    cli.run_keyless(&["info", "v"], &[("STRONGROOM_PASSWORD", "new")], b"").ok();
}

#[test]
fn a_wrong_password_is_denied_before_the_new_one_is_asked_for() {
    let cli = Cli::new();
    let mut terminal = Terminal::start(&cli, "keys add v");
    terminal.answer("Password for v: ", "guess\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 7, "{seen}");
    assert!(!seen.contains("New password"), "{seen}");
}

#[test]
fn standard_input_at_a_terminal_is_not_taken_for_a_file() {
    let cli = Cli::new();
    let terminal = Terminal::start(&cli, "info v --password-file -");
    let (code, seen) = terminal.end();
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("standard input is a terminal"), "{seen}");
}

#[test]
fn a_partition_s_password_is_asked_for_by_its_own_name() {
    let cli = Cli::with_space();
    let cases = [
        (["one\n", "two\n"].as_slice(), 2, "the two passwords differ"),
        (&["\n"], 2, "the password is empty"),
        (&["abc\x03"], 11, "none was typed"),
    ];
    for (typed, expected, told) in cases {
        let mut terminal = Terminal::start(&cli, "partition add v --key-file key");
        let questions = ["New partition password for v: ", "The same again: "];
        for (question, typed) in questions.iter().zip(typed) {
            terminal.answer(question, typed);
        }
        let (code, seen) = terminal.end();
        assert_eq!(code, expected, "{seen}");
        assert!(seen.contains(told) && !seen.contains("srp1_"), "{seen}");
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
fn a_document_is_typed_and_its_write_is_shown_as_a_bar() {
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
