//! The vault as a whole: created once, opened only if it is a vault, checked.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use strongroom::{SecretKey, Vault};

use crate::{Cli, KEY, noise, said, tree};

#[test]
fn new_vault_reports_its_properties() {
    let cli = Cli::empty();
    let made = cli.json(&["init", "v", "--json"]);
    let info = cli.json(&["info", "v", "--json"]);
    assert_eq!(made["id"], info["id"]);
    for field in ["namespaces", "records", "operations"] {
        assert_eq!(info[field], 0, "{field}");
    }
    for field in ["format", "keys", "key_generation"] {
        assert_eq!(info[field], 1, "{field}");
    }
    assert_eq!(info["recovery"]["was_clean"], true);
    let quiet = cli.run(&["info", "v"]);
    assert_eq!(quiet.stderr, "", "nothing to note");
    let text = String::from_utf8(quiet.stdout).unwrap();
    assert!(text.contains(made["id"].as_str().unwrap()), "{text}");
}

#[test]
fn vault_uses_the_given_cipher() {
    for cipher in ["aes-256-gcm-siv", "xchacha20-poly1305"] {
        let cli = Cli::empty();
        let made = cli.json(&["init", "v", "--cipher", cipher, "--json"]);
        cli.put("n", "k", b"a value only the owner may read");
        let info = cli.json(&["info", "v", "--json"]);
        assert_eq!((&made["cipher"], &info["cipher"]), (&json!(cipher), &json!(cipher)));
        for (path, bytes) in tree(&cli.path("v")) {
            let bytes = bytes.unwrap_or_default();
            let readable = bytes.windows(13).any(|part| part == b"only the owne");
            assert!(!readable, "{}", path.display());
        }
    }
    let cli = Cli::empty();
    let wrong = cli.run(&["init", "v", "--cipher", "rot13"]);
    assert_eq!(wrong.code, 2);
    assert!(!cli.path("v").exists());
}

#[test]
fn compact_shrinks_state_and_keeps_records() {
    let cli = Cli::new();
    let vault = Vault::options(SecretKey::new(KEY)).open(cli.path("v")).expect("opens");
    vault.write(|tx| (0..200_u8).try_for_each(|i| tx.insert("n", [i], noise(60_000)))).unwrap();
    vault.write(|tx| (0..199_u8).try_for_each(|i| tx.delete("n", [i]).map(drop))).unwrap();
    vault.close().expect("closes");
    let report = cli.json(&["compact", "v", "--json"]);
    let bytes = |field: &str| report[field].as_u64().expect("a number");
    assert!(bytes("bytes_after") < bytes("bytes_before"), "{report}");
    assert_eq!(cli.json(&["info", "v", "--json"])["state_bytes"], report["bytes_after"]);
    assert!(cli.ok(&["records", "get", "v", "n", "--hex-key", "c7"]) == noise(60_000));
    assert!(cli.text(&["compact", "v"]).contains(" before"));
}

#[test]
fn second_init_changes_nothing() {
    let cli = Cli::new();
    let before = tree(&cli.path("v"));
    let said = cli.refused(&["init", "v"], 4, "already exists");
    assert!(said.stderr.contains("hint:"), "{}", said.stderr);
    assert!(tree(&cli.path("v")) == before);
}

#[test]
fn init_accepts_only_new_or_empty_folder() {
    let cli = Cli::empty();
    fs::create_dir(cli.path("v")).unwrap();
    fs::create_dir(cli.path("full")).unwrap();
    fs::write(cli.path("full/letter.txt"), "dear").unwrap();
    cli.ok(&["init", "v"]);
    let before = tree(&cli.path("full"));
    cli.refused(&["init", "full"], 2, "neither empty nor a vault");
    cli.refused(&["init", "full/letter.txt"], 2, "this is a file");
    cli.refused(&["init", "no/such/parent"], 3, "not found");
    assert!(tree(&cli.path("full")) == before);
}

#[test]
fn one_of_two_concurrent_inits_succeeds() {
    for _ in 0..5 {
        let cli = Cli::empty();
        let children = [(); 4].map(|()| cli.spawn(&["init", "v"]));
        let mut codes = children.map(|child| said(child).code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 4, 4, 4]);
        cli.ok(&["check", "v"]);
    }
}

#[test]
fn folder_without_vault_is_not_opened() {
    let cli = Cli::empty();
    fs::create_dir(cli.path("folder")).unwrap();
    fs::write(cli.path("file"), "dear").unwrap();
    let before = tree(cli.folder.path());
    for args in [["info"].as_slice(), &["check"], &["records", "list"]] {
        let with = |path| [args, &[path]].concat();
        let said = cli.refused(&with("nowhere"), 3, "the folder does not exist");
        assert!(said.stderr.contains("strongroom init nowhere"));
        cli.refused(&with("folder"), 3, "the folder has no vault");
        cli.refused(&with("file"), 2, "this is a file");
    }
    assert!(tree(cli.folder.path()) == before, "nothing was made");
}

#[test]
fn truncated_state_file_is_refused_unchanged() {
    let cli = Cli::new();
    cli.put("n", "k", b"x");
    let state = cli.path("v/state.redb");
    let whole = fs::read(&state).unwrap();
    let cases = [
        ("empty", Vec::new(), 9, "corrupt"),
        ("cut in the header", whole[..100].to_vec(), 9, "corrupt"),
        ("cut in the pages", whole[..9_000].to_vec(), 9, "corrupt"),
        ("foreign", noise(200_000), 2, "not a Strongroom vault"),
    ];
    for (case, bytes, code, text) in cases {
        fs::write(&state, bytes).unwrap();
        let before = tree(&cli.path("v"));
        cli.refused(&["info", "v"], code, text);
        assert!(tree(&cli.path("v")) == before, "{case}");
    }
    fs::write(&state, whole).unwrap();
    assert_eq!(cli.ok(&["records", "get", "v", "n", "k"]), b"x");
}

/// Returns the only content object of the vault.
fn object(cli: &Cli) -> PathBuf {
    let mut objects: Vec<_> = tree(&cli.path("v/content/objects"))
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|e| e == "object"))
        .filter(|path| path.parent().is_some_and(|folder| !folder.ends_with("keys")))
        .collect();
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0)
}

#[test]
fn check_finds_missing_cut_or_altered_content() {
    let cli = Cli::new();
    cli.put("n", "k", &noise(400_000));
    let sound = cli.json(&["check", "v", "--read-data", "--json"]);
    assert_eq!(
        (&sound["ok"], &sound["objects"], &sound["object_bytes"]),
        (&json!(true), &json!(1), &json!(fs::metadata(object(&cli)).unwrap().len()))
    );
    let path = object(&cli);
    let whole = fs::read(&path).unwrap();
    let mut altered = whole.clone();
    // In the first chunk. No byte of a damaged chunk is printed.
    altered[1_000] ^= 1;

    fs::write(&path, &altered).unwrap();
    cli.ok(&["check", "v"]);
    let read = cli.run(&["check", "v", "--read-data"]);
    let text = String::from_utf8(read.stdout).unwrap();
    assert_eq!(read.code, 1, "{text}");
    assert!(text.contains("problem: object damaged"), "{text}");
    let get = cli.run(&["records", "get", "v", "n", "k"]);
    assert_eq!((get.code, get.stdout.len()), (9, 0), "{}", get.stderr);

    fs::write(&path, &whole[1..]).unwrap();
    let cut = cli.run(&["check", "v", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!((cut.code, &report["ok"]), (1, &json!(false)));
    assert_eq!(report["problems"][0]["kind"], "damaged");

    fs::remove_file(&path).unwrap();
    let gone = cli.run(&["check", "v", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&gone.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let is_missing = problems.iter().any(|problem| problem["kind"] == "missing");
    assert_eq!((gone.code, is_missing, &report["records_affected"]), (1, true, &json!(1)));

    fs::write(&path, &whole).unwrap();
    assert_eq!(cli.run(&["check", "v", "--read-data"]).code, 0);
}

#[cfg(unix)]
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let cli = Cli::new();
    cli.put("n", "k", &noise(400_000));
    for (path, bytes) in tree(&cli.path("v")) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = if bytes.is_some() { 0o600 } else { 0o700 };
        assert_eq!(mode, expected, "{}: {mode:o}", path.display());
    }
}

#[test]
fn usage_error_points_to_help() {
    let cli = Cli::empty();
    assert_eq!(cli.run(&["frobnicate"]).code, 2);
    assert_eq!(cli.run(&[]).code, 2);
    let help = cli.text(&["--help"]);
    for text in ["Examples:", "Exit codes:", "strongroom init"] {
        assert!(help.contains(text), "{text}");
    }
    assert!(cli.text(&["records", "--help"]).contains("Examples:"));
}
