//! Locations of chunks, and the rebuild of the index.
//!
//! A few short chunks stay in state. Many are packed. The index is rebuilt from the packs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use strongroom::artifacts::{ArtifactScope, ArtifactSpec};
use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::check::CheckOptions;
use strongroom::content::{GcOptions, RebuildOptions};
use strongroom::keys::NewKey;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, LongCall, Result, Vault};
use strongroom_testkit::{Layer, SeededEntropy, TestKey, forget_packs, impl_backend, memory_vault};

use crate::scene::{ActingSource, collect, name, noise, put, whole};

fn keys(backend: &Memory) -> Vec<Key> {
    let page = backend.list("", None, 10_000).unwrap();
    page.into_iter().map(|entry| entry.key).collect()
}

/// A backend that records the longest range of a read.
#[derive(Debug, Default)]
struct RangeRecorder {
    memory: Memory,
    longest_read: AtomicU64,
}

impl Layer for RangeRecorder {
    fn inner(&self) -> &dyn Backend {
        &self.memory
    }

    fn get_range(&self, key: &Key, range: std::ops::Range<u64>) -> Result<bytes::Bytes> {
        let len = range.end - range.start;
        self.longest_read.fetch_max(len, Ordering::SeqCst);
        self.memory.get_range(key, range)
    }
}

impl_backend!(RangeRecorder);

fn recorded_vault() -> (Arc<RangeRecorder>, Vault) {
    let backend = Arc::new(RangeRecorder::default());
    let vault = Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .write_timeout(Duration::from_millis(50))
        .create_on(MemoryState::new(), Arc::clone(&backend))
        .unwrap();
    (backend, vault)
}

#[test]
fn short_contents_stay_in_state_until_there_are_many() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let content = |n: u64| noise(20_000, 1_000 + n);
    for n in 0..100 {
        put(&artifacts, &n.to_string(), &content(n));
    }
    let report = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((report.moved, whole(&vault).objects), (0, 0));
    for n in 100..300 {
        put(&artifacts, &n.to_string(), &content(n));
    }
    // The vault's own thread packs them too, at a later time.
    vault.gc(&GcOptions::new()).unwrap();
    let packed = whole(&vault);
    assert!(packed.objects > 0 && packed.chunks >= 300, "{packed:?}");
    assert!(packed.object_bytes > 4_000_000, "{packed:?}");
    for n in 0..300 {
        assert!(artifacts.read(&name(&n.to_string()).newest()).unwrap() == content(n));
    }
    artifacts.delete_all(&ArtifactScope::spec("spec"), LongCall::new()).unwrap();
    collect(&vault);
    let report = whole(&vault);
    assert_eq!((report.chunks, report.object_bytes), (0, 0));
    assert_eq!(artifacts.usage().unwrap().stored_bytes, 0);
}

fn vault() -> Vault {
    Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .create_on(MemoryState::new(), Memory::new())
        .unwrap()
}

#[test]
fn lost_index_is_rebuilt_from_packs() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let (long, other) = (noise(20_000_000, 5), noise(1_000_000, 7));
    put(&artifacts, "long", &long);
    put(&artifacts, "short", b"a few bytes");
    put(&artifacts, "other", &[&other[..], &long[..3_000_000]].concat());
    put(&artifacts, "gone", &noise(2_000_000, 9));
    artifacts.delete(&name("gone").newest()).unwrap();
    let before = whole(&vault);
    let usage = artifacts.usage().unwrap();

    forget_packs(&vault).unwrap();
    assert_eq!(artifacts.read(&name("long").newest()).unwrap_err().kind(), ErrorKind::Corrupt);
    let lost = vault.check(&CheckOptions::new()).unwrap();
    assert!(!lost.is_ok() && !lost.unknown.is_empty());

    let report = vault.rebuild_index(&RebuildOptions::new()).unwrap();
    assert_eq!((report.missing, report.damaged), (0, 0));
    assert!(report.unreferenced > 0, "no deleted chunk is found: {report:?}");
    assert_eq!(whole(&vault), before);
    assert_eq!(artifacts.usage().unwrap(), usage);
    assert!(artifacts.read(&name("long").newest()).unwrap() == long);
    assert_eq!(artifacts.read(&name("short").newest()).unwrap(), "a few bytes");
    // No row names the packs, so nothing in them is freed before that is requested.
    collect(&vault);
    assert_eq!(whole(&vault), before);
    vault.gc(&GcOptions::new().discard_unknown(true)).unwrap();
    collect(&vault);
    assert!(whole(&vault).chunks < before.chunks);
    artifacts.delete_all(&ArtifactScope::spec("spec"), LongCall::new()).unwrap();
    collect(&vault);
    let report = whole(&vault);
    assert_eq!((report.chunks, report.object_bytes), (0, 0));
}

#[test]
fn rebuild_refuses_put_and_gc_meanwhile() {
    let (_, vault) = recorded_vault();
    let artifacts = vault.artifacts();
    put(&artifacts, "before", &noise(1_000_000, 3));
    let before = whole(&vault);
    let refusals = AtomicUsize::new(0);
    let progress = |_: u64, _: Option<u64>| {
        let put = artifacts.put(ArtifactSpec::new(name("meanwhile")), &b"a few bytes"[..]);
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Locked);
        let gc = vault.gc(&GcOptions::new());
        assert_eq!(gc.unwrap_err().kind(), ErrorKind::Locked);
        refusals.fetch_add(1, Ordering::SeqCst);
    };
    vault.rebuild_index(&RebuildOptions::new().progress(&progress)).unwrap();
    assert!(refusals.into_inner() > 0);
    assert_eq!(whole(&vault), before);
    put(&artifacts, "after", b"a few bytes");
}

#[test]
fn content_of_lost_pack_is_readable_once_put_again() {
    for len in [20_000, 300_000] {
        let (backend, vault) = recorded_vault();
        let artifacts = vault.artifacts();
        let filler = noise(600_000, 7);
        let bytes = [&filler[..], &noise(len, 3)].concat();
        let before = keys(&backend.memory);
        put(&artifacts, "bad", &bytes);
        for key in keys(&backend.memory).into_iter().filter(|key| !before.contains(key)) {
            backend.memory.delete(&key).unwrap();
        }
        let report = vault.rebuild_index(&RebuildOptions::new()).unwrap();
        assert!(report.missing > 0, "{report:?}");
        put(&artifacts, "again", &bytes);
        assert!(artifacts.read(&name("again").newest()).unwrap() == bytes, "acknowledged");
        assert!(artifacts.read(&name("bad").newest()).unwrap() == bytes);
        whole(&vault);
    }
}

#[test]
fn lost_index_is_rebuilt_after_key_rotations() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(2_000_000, 5);
    put(&artifacts, "1", &bytes);
    forget_packs(&vault).unwrap();
    // The rotations run before the host has noticed the loss.
    for _ in 0..2 {
        vault.keys().rotate(&[NewKey::new(&TestKey)]).unwrap();
    }
    vault.rebuild_index(&RebuildOptions::new()).unwrap();
    assert!(artifacts.read(&name("1").newest()).unwrap() == bytes);
}

#[test]
fn repacked_chunks_are_not_repacked_again() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let zeros = vec![0; 256 << 10];
    put(&artifacts, "waste", &[&noise(1_000_000, 3)[..], &vec![0; 2 << 20]].concat());
    put(&artifacts, "kept", &zeros);
    artifacts.delete(&name("waste").newest()).unwrap();
    collect(&vault);
    collect(&vault);
    let again = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((again.moved, again.packs), (0, 0), "{again:?}");
}

#[test]
fn forged_pack_is_not_read_whole() {
    let (backend, vault) = recorded_vault();
    put(&vault.artifacts(), "1", &noise(300_000, 5));
    let mut body = b"STRNGPAK".to_vec();
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.extend_from_slice(&1_u32.to_le_bytes());
    body.resize(200 << 20, 0);
    let len = u32::try_from(body.len() - 20).unwrap();
    body.extend_from_slice(&len.to_le_bytes());
    let key = Key::new(format!("content/{}", "ab".repeat(16))).unwrap();
    backend.memory.put(&key, body.into(), &Condition::Absent).unwrap();
    let report = vault.rebuild_index(&RebuildOptions::new()).unwrap();
    assert_eq!((report.packs, report.damaged), (1, 0));
    let longest = backend.longest_read.load(Ordering::SeqCst);
    assert!(longest <= 40 << 20, "one read of {longest} bytes");
}

#[test]
fn rebuild_during_upload_is_locked() {
    let vault = vault();
    let bytes = noise(1_000_000, 5);
    let act = |_| {
        let refused = vault.rebuild_index(&RebuildOptions::new()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
    };
    let source = ActingSource { bytes: &bytes, every: 900_000, read: 0, act };
    vault.artifacts().put(ArtifactSpec::new(name("1")), source).unwrap();
    whole(&vault);
}

#[test]
fn rebuild_keeps_content_despite_damaged_list_or_node() {
    // A pack ends with its list. Its last chunk is a node of the content, or a part of one.
    for damage in ["list", "node"] {
        let (backend, vault) = recorded_vault();
        let artifacts = vault.artifacts();
        let bytes = noise(400_000, 5);
        put(&artifacts, "harmed", &bytes);
        let [key] = &keys(&backend.memory)
            .into_iter()
            .filter(|key| key.as_str().starts_with("content/"))
            .collect::<Vec<_>>()[..]
        else {
            panic!("one pack")
        };
        let mut body = backend.memory.get(key).unwrap().body.to_vec();
        let len = body.len();
        let list_len = u32::from_le_bytes(*body.last_chunk().unwrap()) as usize;
        let at = if damage == "list" { len - 30 } else { len - list_len - 50 };
        body[at] ^= 1;
        backend.memory.put(key, body.into(), &Condition::Any).unwrap();

        let report = vault.rebuild_index(&RebuildOptions::new()).unwrap();
        assert_eq!(report.damaged, 1, "{damage}: {report:?}");
        if damage == "node" {
            let error = artifacts.read(&name("harmed").newest()).unwrap_err();
            assert_eq!((error.kind(), report.missing), (ErrorKind::Corrupt, 1));
            // A put of the same bytes restores the node.
            put(&artifacts, "again", &bytes);
        }
        assert!(artifacts.read(&name("harmed").newest()).unwrap() == bytes, "{damage}");
        let checked = vault.check(&CheckOptions::new()).unwrap();
        assert!(checked.is_ok(), "{damage}: {checked:?}");
    }
}

/// Makes a vault with a pack that only its newer state names, in the older state.
///
/// Returns the folder, the newer state file, and the bytes of that pack's content.
fn older_state() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = Vault::options(TestKey).create(&path).unwrap();
    vault.artifacts().put(ArtifactSpec::new(name("older")), &noise(900_000, 1)[..]).unwrap();
    vault.close().unwrap();
    let state = path.join("state.redb");
    let older = std::fs::read(&state).unwrap();
    let vault = Vault::options(TestKey).open(&path).unwrap();
    let bytes = noise(900_000, 2);
    vault.artifacts().put(ArtifactSpec::new(name("newer")), &bytes[..]).unwrap();
    vault.close().unwrap();
    let newer = std::fs::read(&state).unwrap();
    std::fs::write(&state, older).unwrap();
    (home, newer, bytes)
}

#[test]
fn gc_after_rebuild_keeps_packs_of_a_newer_state() {
    let (home, newer, bytes) = older_state();
    let path = home.path().join("vault");
    let vault = Vault::options(TestKey).open(&path).unwrap();
    for _ in 0..2 {
        let report = vault.rebuild_index(&RebuildOptions::new()).unwrap();
        assert_eq!((report.unknown_packs, report.missing), (1, 0), "{report:?}");
        assert!(report.unknown_bytes > 900_000, "{report:?}");
        let freed = vault.gc(&GcOptions::new()).unwrap();
        assert_eq!((freed.chunks, freed.packs, freed.unknown_packs), (0, 0, 1), "{freed:?}");
        assert_eq!((freed.unknown_bytes, freed.kept_bytes), (report.unknown_bytes, 0));
        whole(&vault);
    }
    // A put of this state uses the chunks, and its deletion frees none of them.
    let uri = vault.artifacts().put(ArtifactSpec::new(name("again")), &bytes[..]).unwrap();
    assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    vault.artifacts().delete(&uri).unwrap();
    vault.gc(&GcOptions::new()).unwrap();
    vault.gc(&GcOptions::new()).unwrap();
    whole(&vault);
    vault.close().unwrap();

    std::fs::write(path.join("state.redb"), newer).unwrap();
    let vault = Vault::options(TestKey).open(&path).unwrap();
    assert!(vault.artifacts().read(&name("newer").newest()).unwrap() == bytes);
    whole(&vault);
}

#[test]
fn gc_frees_unknown_packs_only_on_request() {
    let (home, _, _) = older_state();
    let vault = Vault::options(TestKey).open(home.path().join("vault")).unwrap();
    vault.rebuild_index(&RebuildOptions::new()).unwrap();
    let planned = vault.gc(&GcOptions::new().discard_unknown(true).dry_run(true)).unwrap();
    assert_eq!(planned.unknown_packs, 0);
    assert_eq!(vault.gc(&GcOptions::new()).unwrap().unknown_packs, 1, "nothing was discarded");
    let freed = vault.gc(&GcOptions::new().discard_unknown(true)).unwrap();
    assert_eq!((freed.packs, freed.unknown_packs), (1, 0), "{freed:?}");
    assert!(freed.bytes > 900_000, "{freed:?}");
    let report = whole(&vault);
    assert_eq!((report.objects, report.artifacts), (1, 1), "{report:?}");
    // The packs of this state are known from now on.
    assert_eq!(vault.rebuild_index(&RebuildOptions::new()).unwrap().unknown_packs, 0);
}
