//! Exports: one ZIP archive of a spec or a task.
//!
//! An archive shows one moment, and its names are safe to unpack. A failed export leaves no
//! readable archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::path::{Component, Path};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use strongroom::artifacts::{ArtifactName, ArtifactScope, ArtifactSpec, ArtifactUri, Artifacts};
use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, ErrorKind, LongCall, Vault};
use strongroom_testkit::{TestKey, memory_vault};
use zip::ZipArchive;

use crate::scene::{collect, noise};

type Files = Vec<(String, Vec<u8>)>;

/// Returns the files of an archive in order, and its JSON listing.
fn unpack(archive: &[u8]) -> (Files, Vec<Value>) {
    let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files: Files = (0..archive.len())
        .map(|at| {
            let mut file = archive.by_index(at).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect();
    let (name, listing) = files.pop().unwrap();
    assert_eq!(name, "metadata.json", "the listing is the last file");
    let listing: Value = serde_json::from_slice(&listing).unwrap();
    (files, listing["artifacts"].as_array().unwrap().clone())
}

fn export(artifacts: &Artifacts, spec: &str, task: Option<&str>) -> Vec<u8> {
    let mut archive = Vec::new();
    artifacts.export(&ArtifactScope::spec(spec).task(task), &mut archive, LongCall::new()).unwrap();
    archive
}

fn put(artifacts: &Artifacts, name: [&str; 3], bytes: &[u8]) -> ArtifactUri {
    let [spec, task, kind] = name;
    let name = ArtifactName::new(spec, task, kind).unwrap();
    artifacts.put(ArtifactSpec::new(name), bytes).unwrap()
}

#[test]
fn archive_has_all_versions_of_spec_or_task_and_metadata() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let long = [noise(3_000_000, 5), vec![b'x'; 500_000]].concat();
    put(&artifacts, ["s", "1", "log"], b"first");
    put(&artifacts, ["s", "1", "log"], b"");
    put(&artifacts, ["s", "2", "diff"], &long);
    put(&artifacts, ["s", "10", "log"], b"of another task");
    put(&artifacts, ["s2", "1", "log"], b"of another spec");
    let name = ArtifactName::new("s", "1", "test").unwrap();
    let spec = ArtifactSpec::new(name.clone())
        .mime("text/plain")
        .tag("nightly")
        .tag("a \"tag\"")
        .metadata("by", "ada");
    let tagged = artifacts.put(spec, &b"tags"[..]).unwrap();

    let reports = Mutex::new(Vec::new());
    let progress = |done: u64, total: Option<u64>| reports.lock().push((done, total));
    let mut archive = Vec::new();
    let report = artifacts
        .export(&ArtifactScope::spec("s"), &mut archive, LongCall::new().progress(&progress))
        .unwrap();
    let all = 24 + long.len() as u64;
    assert_eq!((report.versions, report.bytes), (5, all));
    let reports = reports.into_inner();
    assert_eq!(reports.last(), Some(&(all, Some(all))));
    assert!(reports.len() > 5 && reports.is_sorted());
    let (files, listing) = unpack(&archive);
    let expected: [(&str, &[u8]); 5] = [
        ("1/log@1", b"first"),
        ("1/log@2", b""),
        ("1/test@1", b"tags"),
        ("10/log@1", b"of another task"),
        ("2/diff@1", &long),
    ];
    let unpacked: Vec<_> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
    assert!(unpacked == expected, "{:?}", files.iter().map(|(path, _)| path).collect::<Vec<_>>());
    assert_eq!(listing.len(), 5);
    for listed in &listing {
        let uri: ArtifactUri = listed["uri"].as_str().unwrap().parse().unwrap();
        let info = artifacts.info(&uri).unwrap();
        assert_eq!(listed["length"], info.len());
        assert_eq!(listed["created_unix_millis"], info.created_unix_millis());
        let hex = info.checksum().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(listed["checksum"], hex);
        let (_, bytes) = files.iter().find(|(path, _)| listed["path"] == **path).unwrap();
        assert!(artifacts.read(&uri).unwrap() == bytes[..], "{uri}");
    }
    assert_eq!(listing[2]["uri"], tagged.to_string());
    assert_eq!(listing[2]["mime"], "text/plain");
    assert_eq!(listing[2]["tags"], serde_json::json!(["a \"tag\"", "nightly"]));
    assert_eq!(listing[2]["metadata"], serde_json::json!({"by": "ada"}));
    assert_eq!(listing[0]["mime"], Value::Null);

    let (files, listing) = unpack(&export(&artifacts, "s", Some("1")));
    let paths: Vec<_> = files.iter().map(|(path, _)| &**path).collect();
    assert_eq!(paths, ["1/log@1", "1/log@2", "1/test@1"]);
    assert_eq!(listing.len(), 3);
}

#[test]
fn hostile_names_stay_in_their_folder_and_stay_distinct() {
    const HOSTILE: [&str; 27] = [
        "..",
        ".",
        "...",
        "../../etc/passwd",
        "/etc/passwd",
        "..\\x",
        "C:",
        "c:\\x",
        "a/b",
        "a%2Fb",
        "a%2fb",
        "con",
        "CON",
        "Con.txt",
        "nul",
        "COM1",
        "lpt9.x",
        "x.",
        "x",
        "X",
        "x ",
        "~",
        "x~1",
        "metadata.json",
        "é",
        "É",
        "*?<>|\"",
    ];
    let long = ["é".repeat(64), format!("{}è", "é".repeat(63)), "A".repeat(128), "a".repeat(128)];
    let names: Vec<&str> = HOSTILE.into_iter().chain(long.iter().map(|name| &**name)).collect();
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let mut put_bytes = BTreeMap::new();
    for name in &names {
        for pair in [[name, "log"], ["1", name], [name, name]] {
            let uri = put(&artifacts, ["../s", pair[0], pair[1]], format!("{pair:?}").as_bytes());
            put_bytes.insert(uri.to_string(), format!("{pair:?}"));
        }
    }
    let (files, listing) = unpack(&export(&artifacts, "../s", None));
    let mut seen = BTreeSet::new();
    for (path, _) in &files {
        let parts: Vec<_> = Path::new(path).components().collect();
        assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{path}");
        let parts: Vec<_> = path.split('/').collect();
        let is_safe = |part: &&str| {
            let stem = part.split('.').next().unwrap().to_lowercase();
            (1..=255).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._%~@".contains(&b))
                && !part.ends_with(['.', ' '])
                && !["con", "nul", "com1", "lpt9"].contains(&&*stem)
        };
        assert!(parts.len() == 2 && parts.iter().all(is_safe), "{path}");
        assert_ne!(parts[0].to_lowercase(), "metadata.json");
        assert!(seen.insert(path.to_lowercase()), "{path} occurs twice");
    }
    assert_eq!(files.len(), put_bytes.len());
    let files: BTreeMap<_, _> = files.into_iter().collect();
    for listed in listing {
        let bytes = put_bytes.remove(listed["uri"].as_str().unwrap()).unwrap();
        assert_eq!(files[listed["path"].as_str().unwrap()], bytes.as_bytes());
    }
    assert!(put_bytes.is_empty(), "not listed: {put_bytes:?}");
}

/// A writer that runs an action at its first byte.
struct ActingWriter<'a, F: FnOnce()> {
    act: Option<F>,
    to: &'a mut Vec<u8>,
}

impl<F: FnOnce()> Write for ActingWriter<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(act) = self.act.take() {
            act();
        }
        self.to.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn archive_shows_one_moment_despite_writes_and_gc() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let long = noise(2_000_000, 9);
    put(&artifacts, ["s", "1", "log"], b"short");
    put(&artifacts, ["s", "2", "log"], &long);
    let mut archive = Vec::new();
    let act = || {
        artifacts.delete_all(&ArtifactScope::spec("s"), LongCall::new()).unwrap();
        put(&artifacts, ["s", "3", "log"], b"too late");
        collect(&vault);
    };
    let to = ActingWriter { act: Some(act), to: &mut archive };
    let report = artifacts.export(&ArtifactScope::spec("s"), to, LongCall::new()).unwrap();
    assert_eq!(report.versions, 2);
    let (files, listing) = unpack(&archive);
    assert!(files == [("1/log@1".into(), b"short".to_vec()), ("2/log@1".into(), long)]);
    assert_eq!(listing.len(), 2);
    let (files, _) = unpack(&export(&artifacts, "s", None));
    assert_eq!(files, [("3/log@1".into(), b"too late".to_vec())]);
}

#[test]
fn export_of_damaged_content_is_corrupt_without_archive() {
    let memory = Memory::new();
    let state = MemoryState::new();
    let vault = Vault::options(TestKey).create_on(state, memory.clone()).unwrap();
    let artifacts = vault.artifacts();
    put(&artifacts, ["s", "1", "log"], b"whole");
    let before: Vec<Key> = keys(&memory);
    let damaged = put(&artifacts, ["s", "2", "log"], &noise(2_000_000, 9));
    for key in keys(&memory).into_iter().filter(|key| !before.contains(key)) {
        let mut body = memory.get(&key).unwrap().body.to_vec();
        let middle = body.len() / 2;
        body[middle] ^= 1;
        memory.put(&key, Bytes::from(body), &Condition::Any).unwrap();
    }
    let mut archive = Vec::new();
    let error = artifacts.export(&ArtifactScope::spec("s"), &mut archive, LongCall::new());
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.subject(), Some(&*damaged.to_string()), "{error}");
    assert!(!archive.is_empty(), "the first file is written");
    assert!(ZipArchive::new(Cursor::new(archive)).is_err(), "the incomplete archive opens");
    let (files, _) = unpack(&export(&artifacts, "s", Some("1")));
    assert_eq!(files, [("1/log@1".into(), b"whole".to_vec())]);
}

fn keys(memory: &Memory) -> Vec<Key> {
    memory.list("", None, 1_000).unwrap().into_iter().map(|entry| entry.key).collect()
}

/// A writer with room for the given number of bytes.
struct LimitedWriter<'a>(&'a mut Vec<u8>, usize);

impl Write for LimitedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > self.1 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn failed_or_cancelled_export_leaves_no_archive() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    put(&artifacts, ["s", "1", "log"], &noise(700_000, 3));
    put(&artifacts, ["s", "2", "log"], b"more");
    let whole = export(&artifacts, "s", None).len();
    for room in [0, 10, 300_000, whole - 1] {
        let mut archive = Vec::new();
        let to = LimitedWriter(&mut archive, room);
        let error = artifacts.export(&ArtifactScope::spec("s"), to, LongCall::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(ZipArchive::new(Cursor::new(archive)).is_err(), "{room}");
    }
    let mut archive = Vec::new();
    export_to(&artifacts, LimitedWriter(&mut archive, whole));
    unpack(&archive);

    let cancel = CancelToken::new();
    let progress = |done: u64, _: Option<u64>| {
        if done > 200_000 {
            cancel.cancel();
        }
    };
    let mut archive = Vec::new();
    let error = artifacts
        .export(
            &ArtifactScope::spec("s"),
            &mut archive,
            LongCall::new().progress(&progress).cancel(&cancel),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!archive.is_empty() && ZipArchive::new(Cursor::new(archive)).is_err());
}

fn export_to(artifacts: &Artifacts, to: impl Write) {
    artifacts.export(&ArtifactScope::spec("s"), to, LongCall::new()).unwrap();
}

#[test]
fn export_of_nothing_is_not_found_and_writes_nothing() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let uri = put(&artifacts, ["s", "1", "log"], b"x");
    artifacts.delete(&uri).unwrap();
    put(&artifacts, ["s", "2", "log"], b"y");
    for (spec, task, kind) in [
        ("t", None, ErrorKind::NotFound),
        ("s", Some("1"), ErrorKind::NotFound),
        ("", None, ErrorKind::Invalid),
        ("s", Some("a\nb"), ErrorKind::Invalid),
    ] {
        let mut archive = Vec::new();
        let refused =
            artifacts.export(&ArtifactScope::spec(spec).task(task), &mut archive, LongCall::new());
        assert_eq!(refused.unwrap_err().kind(), kind, "{spec}");
        assert!(archive.is_empty());
    }
}
