//! The artifact store: damage, quota, retention, gc and archives.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value as Json, json};
use strongroom::artifacts::{ArtifactName, ArtifactSpec};

use crate::host::days_ago;
use crate::{Cli, finish, noise, tree};

/// Puts `bytes` as the newest version of type `kind`.
///
/// The spec is `s`, the task `t`. Returns its URI.
fn put(cli: &Cli, kind: &str, bytes: &[u8]) -> String {
    let args = ["put", "v", "--spec", "s", "--task", "t", "--type", kind];
    let text = String::from_utf8(cli.run_with(&args, bytes).ok()).expect("text");
    text.trim_end().to_owned()
}

/// Returns the pack objects of the vault.
fn packs(cli: &Cli) -> BTreeSet<PathBuf> {
    let objects = tree(&cli.path("v/content/objects")).into_iter().map(|(path, _)| path);
    let objects = objects.filter(|path| path.extension().is_some_and(|e| e == "object"));
    objects.filter(|path| !path.parent().is_some_and(|folder| folder.ends_with("keys"))).collect()
}

/// Puts two artifacts, the second in a pack of its own. Returns their URIs and that pack.
fn two(cli: &Cli) -> (String, String, PathBuf) {
    let bytes = noise(4_000_000);
    let whole = put(cli, "whole", &bytes[..2_000_000]);
    let before = packs(cli);
    let harmed = put(cli, "harmed", &bytes[2_000_000..]);
    let after = packs(cli);
    let new: Vec<_> = after.difference(&before).collect();
    assert_eq!(new.len(), 1, "{after:?}");
    (whole, harmed, new[0].clone())
}

#[test]
fn damaged_pack_affects_only_its_artifact() {
    let cli = Cli::new();
    let (whole, harmed, pack) = two(&cli);
    let sound = cli.json(&["verify", "v", "--json"]);
    assert_eq!(
        sound,
        json!({ "ok": true, "whole": 2, "bytes": 4_000_000, "damaged": 0, "problems": [] })
    );
    let bytes = fs::read(&pack).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (case, harm) in
        [("flipped", Some(&flipped[..])), ("cut", Some(&bytes[..99])), ("gone", None)]
    {
        match harm {
            Some(harm) => fs::write(&pack, harm).unwrap(),
            None => fs::remove_file(&pack).unwrap(),
        }
        let verified = cli.run(&["verify", "v"]);
        let text = String::from_utf8(verified.stdout).unwrap();
        assert_eq!(verified.code, 1, "{case}: {text}{}", verified.stderr);
        assert!(text.contains(&format!("damaged: {harmed}: ")), "{case}: {text}");
        assert!(text.ends_with("1 versions of 2000000 bytes whole, 1 damaged\n"), "{case}: {text}");
        let one = cli.run(&["verify", "v", &harmed, "--json"]);
        let report: Json = serde_json::from_slice(&one.stdout).unwrap();
        assert_eq!((one.code, &report["problems"][0]["uri"]), (1, &json!(harmed)), "{case}");
        cli.ok(&["verify", "v", &whole]);

        assert!(cli.ok(&["get", "v", &whole]) == noise(2_000_000), "{case}");
        let get = cli.refused(&["get", "v", &harmed, "out"], 9, &harmed);
        assert!(get.stderr.contains("hint: `strongroom verify v` lists"), "{}", get.stderr);
        let export = ["export", "v", "--spec", "s", "out"];
        cli.refused(&export, 9, &harmed);
        let entries = fs::read_dir(cli.folder.path()).unwrap();
        assert_eq!(entries.count(), 2, "{case}: the key, the vault, and no part of a file");

        let check = cli.run(&["check", "v", "--read-data", "--json"]);
        let report: Json = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!((check.code, &report["ok"]), (1, &json!(false)), "{case}");
        assert_eq!(report["affected"], json!([harmed]), "{case}: {report}");
    }
    fs::write(&pack, &bytes).unwrap();
    cli.ok(&["verify", "v"]);
    let check = cli.json(&["check", "v", "--read-data", "--json"]);
    assert_eq!(check["artifacts"], 2);
    assert!(check["chunks"].as_u64() > Some(20), "{check}");
    let text = cli.text(&["check", "v"]);
    assert!(text.contains(" 2 versions of artifacts, "), "{text}");
}

#[test]
fn damaged_artifact_can_be_put_again_after_gc() {
    let cli = Cli::new();
    let (_, harmed, pack) = two(&cli);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    cli.ok(&["rm", "v", &harmed]);
    cli.ok(&["gc", "v"]);
    let anew = put(&cli, "harmed", &noise(4_000_000)[2_000_000..]);
    assert!(cli.ok(&["get", "v", &anew]) == noise(4_000_000)[2_000_000..]);
    cli.ok(&["verify", "v"]);
    cli.ok(&["check", "v", "--read-data"]);
}

#[test]
fn lost_pack_is_stored_again_after_index_rebuild() {
    let cli = Cli::new();
    let (_, lost, pack) = two(&cli);
    fs::remove_file(&pack).unwrap();
    let bytes = noise(4_000_000);
    let check = cli.run(&["check", "v"]);
    assert_eq!(check.code, 1);
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(text.contains(&format!("affected: {lost}\n")), "{text}");
    // Before the rebuild, a put finds the chunks of the missing pack in the index.
    let rebuilt = cli.run(&["check", "v", "--rebuild-index", "--json"]);
    assert_eq!(rebuilt.code, 1, "what is lost is not back");
    put(&cli, "anew", &bytes[2_000_000..]);
    assert!(cli.ok(&["get", "v", &lost]) == bytes[2_000_000..], "by the same bytes it is");
    cli.ok(&["gc", "v"]);
    cli.ok(&["check", "v", "--read-data"]);
    for part in ["0/2", "3/2", "1", "x/2"] {
        assert_eq!(cli.run(&["check", "v", "--read-data-part", part]).code, 2, "{part}");
    }
    cli.ok(&["check", "v", "--read-data-part", "2/2"]);
}

#[test]
fn put_beyond_quota_is_refused_with_numbers() {
    let cli = Cli::new();
    assert_eq!(cli.text(&["quota", "v"]), "quota none; 0 bytes are stored\n");
    let set = cli.json(&["quota", "v", "--set", "1M", "--warn", "50", "--json"]);
    assert_eq!(set["quota"], json!({ "bytes": 1_048_576, "warn_percent": 50 }));
    fs::write(cli.path("in"), noise(2_000_000)).unwrap();
    let args = ["put", "v", "--spec", "s", "--task", "t", "--type", "bin"];
    let of_file = cli.refused(&[&args[..], &["in"]].concat(), 8, "of 1048576 are stored");
    assert!(of_file.stderr.contains("quota v --set BYTES"), "{}", of_file.stderr);
    assert!(of_file.stderr.contains(" 2000000 bytes do not fit"), "{}", of_file.stderr);
    cli.run_with(&args, &noise(2_000_000)).refused(8, "of 1048576 are stored");
    assert_eq!(cli.text(&["ls", "v"]), "");
    cli.ok(&["gc", "v"]);
    assert_eq!(cli.json(&["quota", "v", "--json"])["stored_bytes"], 0);

    let warned = cli.run_with(&args, &noise(700_000));
    assert_eq!(warned.code, 0);
    assert!(warned.stderr.contains("warning: the store takes 70"), "{}", warned.stderr);
    let usage = cli.json(&["usage", "v", "--json"]);
    let one = |what: &str, name: &str| json!([{ what: name, "versions": 1, "bytes": 700_000 }]);
    assert_eq!((&usage["specs"], &usage["types"]), (&one("spec", "s"), &one("type", "bin")));
    assert!(cli.text(&["usage", "v"]).contains("quota     1048576 bytes, warning at 50 %\n"));
    for percent in ["0", "101"] {
        let args = ["quota", "v", "--set", "1M", "--warn", percent];
        cli.refused(&args, 2, "use 1 to 100");
    }
    assert_eq!(cli.run(&["quota", "v", "--warn", "50"]).code, 2);
    assert_eq!(cli.json(&["quota", "v", "--none", "--json"])["quota"], Json::Null);
    put(&cli, "bin", &noise(2_000_000));
}

#[test]
fn expired_versions_free_their_space() {
    let cli = Cli::new();
    days_ago(&cli, 10, |vault| {
        for kind in ["log", "diff", "other"] {
            let name = ArtifactName::new("s", "old", kind).unwrap();
            let bytes = noise(1_000_000 + kind.len());
            vault.artifacts().put(ArtifactSpec::new(name), &bytes[..]).unwrap();
        }
    });
    put(&cli, "log", b"new");
    let old = |kind| format!("strongroom:///artifact/s/old/{kind}@1");
    let dry = cli.json(&["expire", "v", "--dry-run", "--json"]);
    assert_eq!(dry["uris"], json!([old("log")]), "logs are kept for 7 days, diffs for 30");
    let set = cli.json(&["retention", "v", "--type", "other", "--days", "9", "--json"]);
    let other = json!({ "type": "other", "kept_millis": 9 * 24 * 60 * 60 * 1_000 });
    assert!(set["retention"].as_array().unwrap().contains(&other), "{set}");
    let text = cli.text(&["expire", "v", "--dry-run"]);
    for kind in ["log", "other"] {
        assert!(text.contains(&format!("would delete: {}\n", old(kind))), "{text}");
    }
    assert!(text.ends_with("2 versions of 2000008 bytes would be deleted\n"), "{text}");
    assert_eq!(cli.json(&["usage", "v", "--json"])["versions"], 4, "nothing was deleted");
    assert_eq!(cli.text(&["expire", "v"]), "2 versions of 2000008 bytes deleted\n");
    assert_eq!(cli.json(&["expire", "v", "--json"])["versions"], 0);
    let kept = cli.text(&["retention", "v", "--type", "diff", "--forever"]);
    assert_eq!(kept, "diff\tforever\nlog\t7d 0h\nother\t9d 0h\ntest\t14d 0h\n");
    for wrong in [&["--type", "log"][..], &["--days", "1"], &["--forever"]] {
        assert_eq!(cli.run(&[&["retention", "v"], wrong].concat()).code, 2, "{wrong:?}");
    }

    cli.ok(&["rm", "v", "--spec", "s", "--task", "old"]);
    assert!(!packs(&cli).is_empty());
    let dry = cli.json(&["gc", "v", "--dry-run", "--json"]);
    assert!(dry["chunks"].as_u64() > Some(0), "{dry}");
    assert!(!packs(&cli).is_empty(), "nothing was freed");
    let freed = cli.json(&["gc", "v", "--json"]);
    assert!(freed["bytes"].as_u64() > Some(900_000), "{freed}");
    assert!(packs(&cli).is_empty(), "{:?}", packs(&cli));
    assert_eq!(cli.text(&["gc", "v"]), "0 chunks of 0 bytes freed, 0 packs\n");
    assert_eq!(cli.ok(&["get", "v", "strongroom:///artifact/s/t/log"]), b"new");
}

#[test]
fn gc_reports_what_a_killed_put_keeps() {
    let cli = Cli::new();
    let bytes = noise(96 << 20);
    let mut killed = cli.spawn(&["put", "v", "--spec", "s", "--task", "t", "--type", "log"]);
    killed.stdin.as_mut().expect("piped").write_all(&bytes).expect("it reads");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let kept = cli.json(&["gc", "v", "--json"]);
    let [upload] = &kept["kept"].as_array().unwrap()[..] else { panic!("{kept}") };
    assert_eq!(upload["bytes"], kept["kept_bytes"]);
    assert!(upload["bytes"].as_u64() > Some(0), "{kept}");
    let since = upload["since_unix_millis"].as_u64().unwrap();
    assert_eq!(upload["until_unix_millis"].as_u64(), Some(since + 24 * 60 * 60 * 1_000));
    let text = cli.text(&["gc", "v"]);
    let line = format!("{} bytes kept until ", kept["kept_bytes"]);
    assert!(text.lines().nth(1).is_some_and(|second| second.starts_with(&line)), "{text}");
    // The same put needs all of its chunks, and ends it.
    let uri = put(&cli, "log", &bytes);
    cli.ok(&["rm", "v", &uri]);
    assert_eq!(cli.json(&["gc", "v", "--json"])["kept"], json!([]));
    assert!(packs(&cli).is_empty(), "{:?}", packs(&cli));
}

#[test]
fn gc_after_rebuild_of_older_state_needs_a_flag() {
    let cli = Cli::new();
    put(&cli, "older", &noise(900_000));
    let state = cli.path("v/state.redb");
    let older = fs::read(&state).unwrap();
    let bytes = noise(2_000_000).split_off(1_000_000);
    let uri = put(&cli, "newer", &bytes);
    let newer = fs::read(&state).unwrap();
    fs::write(&state, &older).unwrap();
    let rebuilt = cli.run(&["check", "v", "--rebuild-index"]);
    assert!(rebuilt.stderr.contains("note: no row named 1 of these packs"), "{}", rebuilt.stderr);
    let kept = cli.run(&["gc", "v"]);
    assert!(kept.stderr.contains("only --discard-unknown frees"), "{}", kept.stderr);
    assert_eq!(cli.json(&["gc", "v", "--json"])["unknown_packs"], 1);
    fs::write(&state, newer).unwrap();
    assert!(cli.ok(&["get", "v", &uri]) == bytes, "nothing was lost");

    fs::write(&state, older).unwrap();
    cli.ok(&["check", "v", "--rebuild-index"]);
    let freed = cli.json(&["gc", "v", "--discard-unknown", "--json"]);
    assert_eq!((&freed["unknown_packs"], &freed["packs"]), (&json!(0), &json!(1)), "{freed}");
    assert_eq!(packs(&cli).len(), 1);
}

/// Reads an archive with an independent reader.
///
/// Prints each name with its length and CRC, then the listing.
const READ_ARCHIVE: &str = "
import io, json, sys, zipfile
archive = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
assert archive.testzip() is None
content = {i.filename: [i.file_size, i.CRC] for i in archive.infolist()}
print(json.dumps({'content': content, 'listing': json.loads(archive.read('metadata.json'))}))
";

fn read_archive(archive: &[u8]) -> Json {
    let mut python = Command::new("python3");
    python.args(["-c", READ_ARCHIVE]).stdin(std::process::Stdio::piped());
    python.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(python.spawn().expect("python3 starts"), archive).json()
}

#[test]
fn export_is_readable_by_another_zip_reader() {
    let cli = Cli::new();
    put(&cli, "log", b"one");
    put(&cli, "log", b"two more");
    put(&cli, "bin", &noise(3_000_000));
    let args = ["put", "v", "--spec", "s", "--task", "../../up", "--type", "/etc/passwd"];
    cli.run_with(&args, b"harmless").ok();
    let text = cli.json(&["export", "v", "--spec", "s", "all.zip", "--json"]);
    assert_eq!(text, json!({ "file": "all.zip", "versions": 4, "bytes": 3_000_019 }));
    let file = fs::read(cli.path("all.zip")).unwrap();
    let read = read_archive(&file);
    let content = read["content"].as_object().unwrap();
    assert_eq!(content.len(), 5, "{read}");
    assert_eq!(content["t/log@1"][0], 3);
    assert_eq!(content["t/log@2"][0], 8);
    assert_eq!(content["t/bin@1"][0], 3_000_000);
    for name in content.keys() {
        let leaves = name.split('/').any(|part| ["", ".", ".."].contains(&part));
        assert!(!leaves, "{name} leaves its folder");
    }
    assert!(cli.ok(&["export", "v", "--spec", "s"]) == file, "the same down a pipe");
    let of_task = read_archive(&cli.ok(&["export", "v", "--spec", "s", "--task", "t", "-"]));
    assert_eq!(of_task["content"].as_object().unwrap().len(), 4, "{of_task}");
    cli.refused(&["export", "v", "--spec", "s", "--json"], 2, "needs a FILE");
    assert_eq!(cli.run(&["export", "v"]).code, 2);
}
