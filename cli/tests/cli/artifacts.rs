//! Artifacts: put, get, search, tag and delete.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value as Json, json};

use crate::{Cli, Said, noise, said};

/// Arguments of a put of spec `s`, this task and type.
fn put_args<'a>(task: &'a str, kind: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["put", "v", "--spec", "s", "--task", task, "--type", kind], more].concat()
}

/// Puts standard input. Returns the URI of the new version.
fn put(cli: &Cli, task: &str, kind: &str, bytes: &[u8], more: &[&str]) -> String {
    let said = cli.run_with(&put_args(task, kind, more), bytes);
    let expected = String::from_utf8(said.ok()).expect("text");
    expected.strip_suffix('\n').expect("one line").to_owned()
}

/// Returns the URIs in a list.
fn uris(list: &Json) -> Vec<&str> {
    let artifacts = list["artifacts"].as_array().expect("a list");
    artifacts.iter().map(|artifact| artifact["uri"].as_str().expect("text")).collect()
}

/// Returns the names in the folder that contains the vault.
fn names(cli: &Cli) -> Vec<String> {
    let entries = fs::read_dir(cli.folder.path()).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

#[test]
fn artifacts_of_every_size_round_trip() {
    let cli = Cli::new();
    for len in [0, 1, 40_000, 300_000, 9_000_001] {
        let bytes = noise(len);
        let kind = len.to_string();
        fs::write(cli.path("in"), &bytes).unwrap();
        let of_file = cli.text(&put_args("files", &kind, &["in"]));
        let of_pipe = put(&cli, "pipes", &kind, &bytes, &["-"]);
        assert_eq!(of_pipe, format!("strongroom:///artifact/s/pipes/{len}@1"));
        for uri in [of_file.trim_end(), &of_pipe] {
            assert!(cli.ok(&["get", "v", uri]) == bytes, "{uri}");
            assert!(cli.ok(&["get", "v", uri, "-"]) == bytes, "{uri}");
            assert_eq!(cli.text(&["get", "v", uri, "out"]), "");
            assert!(fs::read(cli.path("out")).unwrap() == bytes, "{uri}");
            let mode = fs::metadata(cli.path("out")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::remove_file(cli.path("out")).unwrap();
        }
    }
    assert_eq!(names(&cli), ["in", "key", "v"], "no other file is left");
    let usage = cli.json(&["usage", "v", "--json"]);
    let stored = usage["stored_bytes"].as_u64().unwrap();
    assert!(stored < 10_000_000, "each content is stored once: {usage}");
}

#[test]
fn put_metadata_is_printed_with_the_version() {
    let cli = Cli::new();
    let expected = ["--tag", "b", "--tag", "a, b", "--mime", "text/plain", "--meta", "branch=a=b"];
    let put =
        cli.run_with(&put_args("1.1/ü", "log", &[&expected[..], &["--json"]].concat()), b"hi\n");
    let put = put.json();
    let uri = "strongroom:///artifact/s/1.1%2F%C3%BC/log@1";
    for (field, expected) in [
        ("uri", json!(uri)),
        ("spec", json!("s")),
        ("task", json!("1.1/ü")),
        ("type", json!("log")),
        ("version", json!(1)),
        ("len", json!(3)),
        ("mime", json!("text/plain")),
        ("tags", json!(["a, b", "b"])),
        ("metadata", json!({ "branch": "a=b" })),
    ] {
        assert_eq!(put[field], expected, "{field}");
    }
    assert_eq!(put["checksum"].as_str().map(str::len), Some(64));
    let mut got = cli.json(&["get", "v", uri, "--json"]);
    assert_eq!(got["content"].take(), "hi\n");
    got.as_object_mut().unwrap().remove("content");
    assert_eq!(got, put);
    assert_eq!(cli.json(&["ls", "v", "--json"])["artifacts"], json!([put]));
    let line = cli.text(&["ls", "v"]);
    assert!(line.starts_with(&format!("{uri}\t3\t2")), "{line}");
    assert!(line.ends_with(" UTC\ta, b, b\n"), "{line}");
    let into = cli.json(&["get", "v", uri, "out", "--json"]);
    assert_eq!((&into["file"], &into["len"]), (&json!("out"), &json!(3)));
    let long = cli.text(&put_args("long", "bin", &["key"]));
    assert!(long.ends_with("/long/bin@1\n"));
    let binary = self::put(&cli, "t", "bin", &[0, 0xff], &[]);
    assert_eq!(cli.json(&["get", "v", &binary, "--json"])["content_hex"], "00ff");
    let large = self::put(&cli, "t", "large", &vec![b'a'; (16 << 20) + 1], &[]);
    cli.refused(&["get", "v", &large, "--json"], 2, "16777217 bytes, the limit of --json");
}

#[test]
fn put_obeys_on_existing() {
    let cli = Cli::new();
    put(&cli, "t", "log", b"one", &[]);
    let two = put(&cli, "t", "log", b"two", &["--on-existing", "add"]);
    assert_eq!(two, "strongroom:///artifact/s/t/log@2");
    let refused = cli.run_with(&put_args("t", "log", &["--on-existing", "refuse"]), b"no");
    let refused = refused.refused(4, "already exists: strongroom:///artifact/s/t/log");
    assert!(refused.stderr.contains("hint: add another version"), "{}", refused.stderr);
    let newest = "strongroom:///artifact/s/t/log";
    let listed = cli.json(&["versions", "v", &two, "--json"]);
    assert_eq!(uris(&listed), [&two[..], "strongroom:///artifact/s/t/log@1"]);
    assert_eq!(cli.ok(&["get", "v", newest]), b"two");
    put(&cli, "t", "log", b"three", &["--on-existing", "replace"]);
    let listed = cli.json(&["versions", "v", newest, "--json"]);
    assert_eq!(uris(&listed), ["strongroom:///artifact/s/t/log@3"]);
    assert_eq!(cli.ok(&["get", "v", newest]), b"three");
}

#[test]
fn existing_file_is_not_overwritten() {
    let cli = Cli::new();
    let uri = put(&cli, "t", "log", b"new", &[]);
    fs::write(cli.path("out"), "old").unwrap();
    cli.refused(&["get", "v", &uri, "out"], 4, "already exists: out");
    cli.refused(&["export", "v", "--spec", "s", "out"], 4, "already exists: out");
    assert_eq!(fs::read(cli.path("out")).unwrap(), b"old");
    cli.refused(&["get", "v", &uri, "no/such/folder"], 3, "not found");
    assert_eq!(names(&cli), ["key", "out", "v"]);
}

#[test]
fn invalid_or_missing_uri_is_reported() {
    let cli = Cli::new();
    put(&cli, "t", "log", b"x", &[]);
    let bad = ["", "t/log", "strongroom:///artifact/s/t", "strongroom:///artifact/s/t/log@0"];
    let unknown = ["strongroom:///artifact/s/t/lag", "strongroom:///artifact/s/t/log@2"];
    for command in ["get", "versions", "tag", "rm", "verify"] {
        let args = |uri| {
            let more: &[&str] = if command == "tag" { &["--add", "a"] } else { &[] };
            cli.run(&[&[command, "v", uri], more].concat())
        };
        for uri in bad {
            let Said { code, stdout, stderr } = args(uri);
            assert_eq!((code, stdout.len()), (2, 0), "{command} {uri}: {stderr}");
        }
        for uri in unknown {
            // `versions` ignores the version in a URI.
            if (command, uri) != ("versions", unknown[1]) {
                args(uri).refused(3, "not found");
            }
        }
    }
    cli.refused(&["ls", "v", "--spec", "z"], 3, "no artifact has that spec");
    cli.refused(&["ls", "v", "--spec", "s", "--task", "z"], 3, "no artifact has that spec or task");
    cli.refused(&["rm", "v", "--spec", "z"], 3, "no artifact has that spec");
    cli.refused(&["export", "v", "--spec", "z", "zip"], 3, "not found: z");
    for command in [&["ls", "v", "--task", "t"][..], &["rm", "v"], &["rm", "v", "--task", "t"]] {
        assert_eq!(cli.run(command).code, 2, "{command:?}");
    }
    assert_eq!(cli.json(&["usage", "v", "--json"])["versions"], 1, "nothing was changed");
}

#[test]
fn unreadable_source_stores_nothing() {
    let cli = Cli::new();
    cli.refused(&put_args("t", "log", &["."]), 2, "the path is a folder: .");
    cli.refused(&put_args("t", "log", &["nowhere"]), 3, "): nowhere");
    let both = put_args("t", "log", &["--password-file", "-"]);
    let said = cli.run_keyless(&both, &[], b"x");
    said.refused(2, "the artifact cannot both come from standard input");
    assert_eq!(cli.text(&["ls", "v"]), "");
}

#[cfg(target_os = "linux")]
#[test]
fn file_of_unknown_length_is_read_to_its_end() {
    let cli = Cli::new();
    let uri = cli.text(&put_args("t", "log", &["/proc/version"]));
    let version = fs::read("/proc/version").unwrap();
    assert_eq!(fs::metadata("/proc/version").unwrap().len(), 0);
    assert_eq!(cli.ok(&["get", "v", uri.trim_end()]), version);
}

#[test]
fn bound_errors_contain_numbers() {
    let cli = Cli::new();
    let tags: Vec<_> = (0..65).map(|n| format!("--tag={n}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let (long_tag, long_meta) = ("a".repeat(129), format!("k={}", "v".repeat(16_384)));
    let cases: [(&[&str], &str); 5] = [
        (&tags, "65 tags, the limit is 64"),
        (&["--tag", &long_tag], "129 bytes, the limit is 128"),
        (&["--meta", &long_meta], "16385 bytes, the limit is 16384"),
        (&["--meta", "k=1", "--meta", "k=2"], "same key twice"),
        (&["--mime", ""], "empty"),
    ];
    for (more, expected) in cases {
        cli.run_with(&put_args("t", "log", more), b"x").refused(2, expected);
    }
    let name = put_args(&long_tag, "log", &[]);
    cli.run_with(&name, b"x").refused(2, "129 bytes, the limit is 128");
    for meta in ["k", "=v", ""] {
        assert_eq!(cli.run(&put_args("t", "log", &["--meta", meta])).code, 2, "{meta}");
    }
    assert_eq!(cli.text(&["ls", "v"]), "", "nothing was put");
    put(&cli, "t", "log", b"x", &tags[1..]);
}

#[test]
fn tags_are_added_removed_and_set() {
    let cli = Cli::new();
    let uri = put(&cli, "t", "log", b"x", &["--tag", "a", "--tag", "b"]);
    put(&cli, "t", "log", b"y", &[]);
    let tag = |more: &[&str]| {
        let args = [&["tag", "v", &uri], more, &["--json"]].concat();
        let expected = cli.json(&args);
        assert_eq!(expected["uri"], uri[..], "that version and no other");
        expected["tags"].clone()
    };
    assert_eq!(tag(&["--add", "c"]), json!(["a", "b", "c"]));
    assert_eq!(tag(&["--remove", "a", "--remove", "z"]), json!(["b", "c"]));
    assert_eq!(tag(&["--add", "d", "--add", "e", "--remove", "b"]), json!(["c", "d", "e"]));
    assert_eq!(tag(&["--set", "x", "y"]), json!(["x", "y"]));
    let found = cli.json(&["search", "v", "--tag", "x", "--tag", "y", "--json"]);
    assert_eq!(uris(&found), [&uri[..]]);
    assert_eq!(tag(&["--set"]), json!([]));
    assert_eq!(cli.text(&["search", "v", "--tag", "x"]), "");
    cli.refused(&["tag", "v", &uri, "--add", "a", "--remove", "a"], 2, "is added and removed");
    for more in [&[][..], &["--add", "a", "--set", "b"]] {
        assert_eq!(cli.run(&[&["tag", "v", &uri], more].concat()).code, 2, "{more:?}");
    }
}

#[test]
fn search_filters_and_pages() {
    let cli = Cli::new();
    let mut all = Vec::new();
    for (n, task) in ["1", "2", "1", "2", "1"].into_iter().enumerate() {
        let kind = if n % 2 == 0 { "log" } else { "diff" };
        let tags: &[&str] = if n == 4 { &["--tag", "last"] } else { &[] };
        all.insert(0, put(&cli, task, kind, &[u8::try_from(n).unwrap()], tags));
    }
    let search = |more: &[&str]| cli.json(&[&["search", "v", "--json"], more].concat());
    assert_eq!(uris(&search(&[])), all, "the newest first");
    assert_eq!(uris(&search(&["--task", "1", "--type", "log"])).len(), 3);
    assert_eq!(uris(&search(&["--task", "2", "--type", "log"])).len(), 0);
    assert_eq!(uris(&search(&["--spec", "s", "--tag", "last"])), all[..1]);
    assert_eq!(uris(&search(&["--since", "1h ago"])), all);
    assert_eq!(uris(&search(&["--until", "1h ago"])).len(), 0);
    assert_eq!(uris(&search(&["--since", "2020-01-01", "--until", "2999-01-01T00:00:00Z"])), all);
    assert_eq!(uris(&search(&["--since", "2999-01-01"])).len(), 0);

    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["search", "v", "--limit", "2"];
        if let Some(after) = &after {
            args.extend(["--after", after]);
        }
        let text = cli.text(&args);
        after = None;
        for line in text.lines() {
            match line.split_once('\t').expect("a row") {
                ("next", cursor) => after = Some(cursor.to_owned()),
                (uri, _) => found.push(uri.to_owned()),
            }
        }
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, all, "each once");
    let page = search(&["--limit", "2"]);
    assert!(page["next"].is_string(), "{page}");
    assert_eq!(search(&["--limit", "5"])["next"], Json::Null);

    for limit in ["0", "10001"] {
        cli.refused(&["search", "v", "--limit", limit], 2, "use 1 to 10000");
    }
    let backwards = ["search", "v", "--since", "1h ago", "--until", "2h ago"];
    cli.refused(&backwards, 2, "--since is not before --until");
    for wrong in [["--since", "yesterday"], ["--until", "2026-02-29"], ["--after", "x"]] {
        assert_eq!(cli.run(&[&["search", "v"], &wrong[..]].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn versions_are_deleted_by_uri_keep_and_spec() {
    let cli = Cli::new();
    for task in ["1", "2"] {
        for n in 0..5 {
            put(&cli, task, "log", &[n], &[]);
        }
    }
    put(&cli, "2", "diff", b"x", &[]);
    let rm = |more: &[&str]| cli.json(&[&["rm", "v", "--json"], more].concat())["versions"].clone();
    assert_eq!(rm(&["strongroom:///artifact/s/1/log@2"]), 1);
    assert_eq!(rm(&["strongroom:///artifact/s/1/log", "--keep", "3"]), 1);
    let listed = cli.json(&["ls", "v", "--spec", "s", "--task", "1", "--json"]);
    assert_eq!(uris(&listed), [3, 4, 5].map(|n| format!("strongroom:///artifact/s/1/log@{n}")));
    assert_eq!(rm(&["--spec", "s", "--keep", "2"]), 4);
    assert_eq!(cli.text(&["rm", "v", "--spec", "s", "--task", "1"]), "2 versions deleted\n");
    let listed = cli.json(&["ls", "v", "--json"]);
    assert_eq!(uris(&listed).len(), 3, "those of the other task: {listed}");
    let of_version = ["rm", "v", "strongroom:///artifact/s/2/log@5", "--keep", "1"];
    cli.refused(&of_version, 2, "needs a URI without a version");
    assert_eq!(cli.run(&["rm", "v", "--spec", "s", "--keep", "0"]).code, 2);
    assert_eq!(rm(&["strongroom:///artifact/s/2/log"]), 2);
    assert_eq!(rm(&["--spec", "s"]), 1);
    assert_eq!(cli.text(&["ls", "v"]), "");
    assert_eq!(cli.json(&["check", "v", "--read-data", "--json"])["ok"], true);
    assert_eq!(put(&cli, "1", "log", b"x", &[]), "strongroom:///artifact/s/1/log@6");
}

#[test]
fn long_list_is_complete() {
    let cli = Cli::new();
    let key = strongroom::SecretKey::new(crate::KEY);
    let vault = strongroom::Vault::options(key).open(cli.path("v")).expect("opens");
    for n in 0..600_u32 {
        let task = format!("{:03}", n % 300);
        let name = strongroom::artifacts::ArtifactName::new("s", task, "log").unwrap();
        vault.artifacts().put(strongroom::artifacts::ArtifactSpec::new(name), &b"x"[..]).unwrap();
    }
    vault.close().expect("closes");
    let listed = cli.json(&["ls", "v", "--json"]);
    let mut sorted = uris(&listed);
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((sorted.len(), uris(&listed)), (600, sorted), "each once, in order");
    assert_eq!(cli.json(&["rm", "v", "--spec", "s", "--keep", "1", "--json"])["versions"], 300);
}

#[test]
fn closed_reader_ends_program_quietly() {
    let cli = Cli::new();
    let uri = put(&cli, "t", "log", &noise(9_000_000), &[]);
    for args in [&["get", "v", &uri][..], &["export", "v", "--spec", "s"]] {
        let mut child = cli.spawn(&[&["-q"], args].concat());
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let said = said(child);
        assert_eq!((said.code, &*said.stderr), (141, ""), "{args:?}");
    }
    let info = cli.run(&["info", "v"]);
    assert!(!info.stderr.contains("note:"), "closed: {}", info.stderr);
}
