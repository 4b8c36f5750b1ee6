//! Records: read byte for byte and in order.

use std::io::Read;

use serde_json::json;

use crate::{Cli, noise, said};

/// Largest value in bytes that a row holds. Longer values go to the backend.
const ROW_BYTES_MAX: usize = 65_280;

#[test]
fn argument_value_has_no_line_end() {
    let cli = Cli::new();
    cli.ok(&["records", "put", "v", "people", "ada", "1815"]);
    assert_eq!(cli.ok(&["records", "get", "v", "people", "ada"]), b"1815");
    cli.ok(&["records", "put", "v", "temps", "oslo", "-5"]);
    assert_eq!(cli.ok(&["records", "get", "v", "temps", "oslo"]), b"-5");
}

#[test]
fn values_of_every_size_round_trip() {
    let cli = Cli::new();
    for len in [1, ROW_BYTES_MAX, ROW_BYTES_MAX + 1, 20 << 20] {
        let value = noise(len);
        cli.put("files", "f", &value);
        let back = cli.ok(&["records", "get", "v", "files", "f"]);
        assert!(back == value, "{len} bytes");
    }
    let value = noise(300);
    let put = ["records", "put", "v", "files", "dash", "-", "--json"];
    let said = cli.run_with(&put, &value);
    let message: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let expected = json!({ "namespace": "files", "key": "dash", "len": 300, "replaced": false });
    assert_eq!(message, expected);
    assert!(cli.ok(&["records", "get", "v", "files", "dash"]) == value);
}

#[test]
fn binary_key_is_given_as_hex_and_shown_escaped() {
    let cli = Cli::new();
    cli.ok(&["records", "put", "v", "n", "--hex-key", "00ff5c", "x"]);
    assert_eq!(cli.ok(&["records", "get", "v", "n", "--hex-key", "00FF5C"]), b"x");
    assert_eq!(cli.text(&["records", "list", "v", "n"]), "\\x00\\xff\\x5c\t1\n");
    let listed = cli.json(&["records", "list", "v", "n", "--json"]);
    assert_eq!(listed["records"], json!([{ "key": { "hex": "00ff5c" }, "len": 1 }]));
    for bad in ["0", "zz"] {
        let args = ["records", "get", "v", "n", "--hex-key", bad];
        cli.refused(&args, 2, "hex digits");
    }
}

#[cfg(unix)]
#[test]
fn arguments_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let cli = Cli::new();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["-q", "--key-file", "key", "records", "put", "v", "n"])
        .args([b"\xfe", b"\xff"].map(|bytes| std::ffi::OsStr::from_bytes(bytes)))
        .current_dir(cli.folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let got = cli.json(&["records", "get", "v", "n", "--hex-key", "fe", "--json"]);
    assert_eq!(
        got,
        json!({ "namespace": "n", "key": { "hex": "fe" }, "len": 1, "value_hex": "ff" })
    );
}

#[test]
fn json_refuses_value_above_limit() {
    let cli = Cli::new();
    cli.put("n", "text", "naïve\n".as_bytes());
    let got = cli.json(&["records", "get", "v", "n", "text", "--json"]);
    assert_eq!(got, json!({ "namespace": "n", "key": "text", "len": 7, "value": "naïve\n" }));
    cli.put("n", "most", &vec![b'a'; 16 << 20]);
    let got = cli.json(&["records", "get", "v", "n", "most", "--json"]);
    assert_eq!(got["value"].as_str().map(str::len), Some(16 << 20));
    cli.put("n", "more", &vec![b'a'; (16 << 20) + 1]);
    let args = ["records", "get", "v", "n", "more", "--json"];
    cli.refused(&args, 2, "16777217 bytes, the limit of --json is 16777216");
}

/// Returns the keys that `records list v n` prints with `options`.
fn listed(cli: &Cli, options: &[&str]) -> Vec<String> {
    let args = [&["records", "list", "v", "n"], options].concat();
    let text = cli.text(&args);
    let keys: Vec<_> =
        text.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned())).collect();
    let json = cli.json(&[&args[..], &["--json"]].concat());
    let records = json["records"].as_array().expect("a list");
    let same = records.iter().map(|record| record["key"].as_str());
    assert!(same.eq(keys.iter().map(|key| Some(&**key))), "{options:?}: {json}");
    keys
}

#[test]
fn list_is_in_key_order_and_obeys_options() {
    let cli = Cli::new();
    for key in ["b", "ab", "c", "a", "abc", "ac"] {
        cli.ok(&["records", "put", "v", "n", key, "x"]);
    }
    let cases: [(&[&str], &[&str]); 12] = [
        (&[], &["a", "ab", "abc", "ac", "b", "c"]),
        (&["--reverse"], &["c", "b", "ac", "abc", "ab", "a"]),
        (&["--limit", "2"], &["a", "ab"]),
        (&["--limit", "0"], &[]),
        (&["--after", "ab"], &["abc", "ac", "b", "c"]),
        (&["--after", "abb"], &["abc", "ac", "b", "c"]),
        (&["--after", "b", "--reverse"], &["ac", "abc", "ab", "a"]),
        (&["--prefix", "ab"], &["ab", "abc"]),
        (&["--prefix", "a", "--after", "ab"], &["abc", "ac"]),
        (&["--prefix", "ab", "--after", "a"], &["ab", "abc"]),
        (&["--prefix", "ab", "--after", "b"], &[]),
        (&["--prefix", "a", "--after", "z", "--reverse", "--limit", "2"], &["ac", "abc"]),
    ];
    for (options, expected) in cases {
        assert_eq!(listed(&cli, options), expected, "{options:?}");
    }
    let more = |limit| {
        let args = ["records", "list", "v", "n", "--json", "--limit", limit];
        cli.json(&args)["more"].clone()
    };
    assert_eq!((more("5"), more("6")), (json!(true), json!(false)));
}

#[test]
fn prefix_of_highest_bytes_has_no_upper_bound() {
    let cli = Cli::new();
    for key in ["fe", "ff", "ffff", "ff00"] {
        cli.ok(&["records", "put", "v", "n", "--hex-key", key, "x"]);
    }
    let args = ["records", "list", "v", "n", "--hex-key", "--prefix", "ff"];
    assert_eq!(cli.text(&args), "\\xff\t1\n\\xff\\x00\t1\n\\xff\\xff\t1\n", "forward");
    let reverse = [&args[..], &["--reverse", "--after", "ffff"]].concat();
    assert_eq!(cli.text(&reverse), "\\xff\\x00\t1\n\\xff\t1\n");
}

#[test]
fn namespaces_are_listed_with_counts() {
    let cli = Cli::new();
    assert_eq!(cli.text(&["records", "list", "v"]), "");
    for (namespace, key) in [("two", "a"), ("one", "a"), ("two", "b")] {
        cli.put(namespace, key, b"x");
    }
    assert_eq!(cli.text(&["records", "list", "v"]), "one\t1\ntwo\t2\n");
    assert_eq!(
        cli.json(&["records", "list", "v", "--json"]),
        json!({ "namespaces": [{ "name": "one", "records": 1 }, { "name": "two", "records": 2 }] })
    );
    cli.refused(&["records", "list", "v", "on"], 3, "no such namespace");
}

#[test]
fn deleted_or_missing_record_is_not_found() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    let deleted = cli.json(&["records", "delete", "v", "n", "k", "--json"]);
    assert_eq!(deleted, json!({ "namespace": "n", "key": "k", "deleted": true }));
    for command in ["get", "delete"] {
        cli.refused(&["records", command, "v", "n", "k"], 3, "no record");
        cli.refused(&["records", command, "v", "other", "k"], 3, "no record");
    }
    assert_eq!(cli.text(&["records", "list", "v", "n"]), "", "still there");
}

#[test]
fn empty_value_needs_its_option() {
    let cli = Cli::new();
    cli.put("n", "k", b"old");
    let put = ["records", "put", "v", "n", "k"];
    for given in [None, Some("-"), Some("")] {
        let args: Vec<&str> = put.into_iter().chain(given).collect();
        let refused = cli.run_with(&args, b"").refused(2, "the value is empty");
        assert!(refused.stderr.contains("--empty"), "{}", refused.stderr);
        assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"old", "{given:?}");
    }
    assert_eq!(cli.run(&[&put[..], &["--empty", "x"]].concat()).code, 2);
    cli.run_with(&[&put[..], &["--empty"]].concat(), b"not read").ok();
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"");
}

#[test]
fn name_and_key_errors_contain_limits() {
    let cli = Cli::new();
    let (name, key) = ("n".repeat(129), "k".repeat(1_025));
    for command in ["put", "get", "delete"] {
        cli.refused(&["records", command, "v", "", "k"], 2, "empty");
        let args = ["records", command, "v", &name, "k"];
        cli.refused(&args, 2, "129 bytes, the limit is 128");
        let args = ["records", command, "v", "n", &key];
        cli.refused(&args, 2, "1025 bytes, the limit is 1024");
    }
    cli.refused(&["records", "list", "v", ""], 2, "empty");
    assert_eq!(cli.text(&["records", "list", "v"]), "", "nothing was made");
    cli.put(&name[1..], &key[1..], b"x");
}

#[test]
fn closed_reader_ends_program_quietly() {
    let cli = Cli::new();
    cli.put("n", "k", &noise(20 << 20));
    let mut get = cli.spawn(&["-q", "records", "get", "v", "n", "k"]);
    let mut stdout = get.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let said = said(get);
    assert_eq!((said.code, &*said.stderr), (141, ""));
    let info = cli.run(&["info", "v"]);
    assert!(!info.stderr.contains("note:"), "closed: {}", info.stderr);
}
