//! Changes between a look-up and its commit.
//!
//! Other writers delete, free, clean up, pack and put the same content.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use strongroom::artifacts::{ArtifactSpec, Artifacts};
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::{Bug, SeededEntropy, TestKey, memory_vault, plant};

use crate::scene::{ActingSource, collect, name, noise, put, whole};

/// Upper bound for every wait in these tests.
const LONG: Duration = Duration::from_secs(60);

/// Creates a vault with short packs, so that a content fills many.
fn vault() -> Vault {
    Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

fn put_with_action(artifacts: &Artifacts, bytes: &[u8], every: usize, act: impl FnMut(usize)) {
    let source = ActingSource { bytes, every, read: 0, act };
    let uri = artifacts.put(ArtifactSpec::new(name("new")), source).unwrap();
    assert!(artifacts.read(&uri).unwrap() == bytes);
}

#[test]
fn chunk_found_then_freed_before_commit_is_saved() {
    for packs_are_short in [false, true] {
        let vault = if packs_are_short { vault() } else { memory_vault().unwrap() };
        let artifacts = vault.artifacts();
        let bytes = noise(6_000_000, 3);
        let old = put(&artifacts, "old", &bytes);
        // The put finds all its chunks in "old", which is deleted while the last bytes are read.
        put_with_action(&artifacts, &bytes, 5_900_000, |_| {
            artifacts.delete(&old).unwrap();
            collect(&vault);
        });
        whole(&vault);
        collect(&vault);
        assert!(artifacts.read(&name("new").newest()).unwrap() == bytes);
        artifacts.delete(&name("new").newest()).unwrap();
        collect(&vault);
        assert_eq!(whole(&vault).object_bytes, 0, "no object is left");
    }
}

#[test]
fn upload_survives_deletes_and_gc_of_shared_chunks() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let (shared, own) = (noise(3_000_000, 5), noise(1_000_000, 6));
    let bytes = [&shared[..], &own, &shared, &own[..500_000], &shared[1_000_000..]].concat();
    let mut round = 0;
    put_with_action(&artifacts, &bytes, 300_000, |_| {
        // During the upload, the shared chunks are put, deleted and freed repeatedly.
        put(&artifacts, "other", &shared);
        artifacts.delete(&name("other").newest()).unwrap();
        collect(&vault);
        round += 1;
    });
    assert!(round > 10);
    assert!(artifacts.read(&name("new").newest()).unwrap() == bytes);
    whole(&vault);
    artifacts.delete(&name("new").newest()).unwrap();
    collect(&vault);
    let report = whole(&vault);
    assert_eq!((report.object_bytes, report.chunks), (0, 0));
}

#[test]
fn short_and_long_content_share_chunks_in_either_order() {
    for short_first in [true, false] {
        let vault = vault();
        let artifacts = vault.artifacts();
        // Two chunks of zeros, the shortest content that compresses. The long one starts with them.
        let short = vec![0; 600_000];
        let long = [&short[..], &noise(900_000, 9)].concat();
        let order: [(&str, &[u8]); 2] = if short_first {
            [("short", &short), ("long", &long)]
        } else {
            [("long", &long), ("short", &short)]
        };
        for (task, bytes) in order {
            put(&artifacts, task, bytes);
        }
        let chunks = whole(&vault).chunks;
        let alone: u64 = order
            .map(|(task, bytes)| {
                let vault = self::vault();
                put(&vault.artifacts(), task, bytes);
                whole(&vault).chunks
            })
            .iter()
            .sum();
        assert!(chunks < alone, "{chunks} chunks together, {alone} apart: none is shared");
        for (task, bytes) in order {
            let uri = name(task).newest();
            assert!(artifacts.read(&uri).unwrap() == bytes);
            artifacts.delete(&uri).unwrap();
            collect(&vault);
            whole(&vault);
        }
        assert_eq!(whole(&vault).chunks, 0);
    }
}

#[test]
fn equal_puts_deletes_and_gc_on_threads_leave_nothing() {
    let vault = vault();
    let bytes = noise(2_000_000, 11);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (vault, bytes) = (vault.clone(), &bytes);
            scope.spawn(move || {
                let artifacts = vault.artifacts();
                let task = format!("{thread}");
                for round in 0..6 {
                    let uri = put(&artifacts, &task, &bytes[round * 1_000..]);
                    assert!(artifacts.read(&uri).unwrap() == bytes[round * 1_000..]);
                    artifacts.delete(&uri).unwrap();
                    vault.gc(&strongroom::content::GcOptions::new()).unwrap();
                }
            });
        }
    });
    collect(&vault);
    let report = whole(&vault);
    assert_eq!((report.object_bytes, report.chunks, report.artifacts), (0, 0, 0));
}

#[test]
fn upload_keeps_its_own_chunks_until_its_commit() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(6_000_000, 3);
    let mut rounds = 0;
    put_with_action(&artifacts, &bytes, 2_500_000, |_| {
        // Another artifact refers to chunks that this upload has indexed, and releases them.
        put(&artifacts, "other", &bytes[..1_500_000]);
        artifacts.delete(&name("other").newest()).unwrap();
        collect(&vault);
        rounds += 1;
    });
    assert_eq!(rounds, 2);
    whole(&vault);
}

/// Returns whether the put of `bytes` loses content.
///
/// Runs `act` when all but the last 1,000 bytes have been read.
fn loses(vault: &Vault, bytes: &[u8], mut act: impl FnMut()) -> bool {
    let artifacts = vault.artifacts();
    let source = ActingSource { bytes, every: bytes.len() - 1_000, read: 0, act: |_| act() };
    let Ok(uri) = artifacts.put(ArtifactSpec::new(name("new")), source) else { return true };
    !artifacts.read(&uri).is_ok_and(|read| read == bytes)
        || !vault.check(&CheckOptions::new()).unwrap().is_ok()
}

#[test]
fn late_read_epoch_loses_content() {
    for bug in [None, Some(Bug::LateEpoch)] {
        let _bug = bug.map(plant);
        let vault = vault();
        let bytes = noise(6_000_000, 3);
        let old = put(&vault.artifacts(), "old", &bytes);
        let lost = loses(&vault, &bytes, || {
            vault.artifacts().delete(&old).unwrap();
            vault.gc(&GcOptions::new()).unwrap();
        });
        assert_eq!(lost, bug.is_some());
    }
}

/// An empty source that ends when the test sends a signal.
struct BlockedSource {
    begun: Option<mpsc::Sender<()>>,
    end: mpsc::Receiver<()>,
}

impl Read for BlockedSource {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        if let Some(begun) = self.begun.take() {
            begun.send(()).map_err(std::io::Error::other)?;
            self.end.recv_timeout(LONG).map_err(std::io::Error::other)?;
        }
        Ok(0)
    }
}

#[test]
fn found_released_chunk_loses_content() {
    for bug in [None, Some(Bug::FindsReleased)] {
        let _bug = bug.map(plant);
        let vault = vault();
        let bytes = noise(6_000_000, 3);
        let old = put(&vault.artifacts(), "old", &bytes);
        vault.artifacts().delete(&old).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let lost = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let source = BlockedSource { begun: Some(begun), end: ends };
                vault.artifacts().put(ArtifactSpec::new(name("other")), source).unwrap();
            });
            has_begun.recv_timeout(LONG).unwrap();
            // `gc` frees the node. The chunks under it are released but stay because of the other
            // upload.
            let report = vault.gc(&GcOptions::new()).unwrap();
            assert!(report.chunks > 0 && report.waiting > 0, "{report:?}");
            let mut other = Some(other);
            loses(&vault, &bytes, || {
                end.send(()).unwrap();
                other.take().unwrap().join().unwrap();
                vault.gc(&GcOptions::new()).unwrap();
            })
        });
        assert_eq!(lost, bug.is_some());
    }
}

#[test]
fn found_node_keeps_chunks_under_it() {
    let vault = vault();
    let artifacts = vault.artifacts();
    // Long enough for several nodes, which the put finds with all chunks under them.
    let shared = noise(40_000_000, 5);
    let old = put(&artifacts, "old", &shared);
    let bytes = [&shared[..], &noise(6_000_000, 101)].concat();
    put_with_action(&artifacts, &bytes, 40_000_000, |_| {
        artifacts.delete(&old).unwrap();
        collect(&vault);
    });
    whole(&vault);
}

#[test]
fn repacked_chunks_are_read_and_found() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(2_000_000, 13);
    let reader = artifacts.open(&put(&artifacts, "old", &bytes)).unwrap();
    // The first half is shared. The other half is deleted and leaves packs that are mostly unused.
    let half = put(&artifacts, "half", &bytes[..1_000_000]);
    artifacts.delete(&name("old").newest()).unwrap();
    let before = whole(&vault).object_bytes;
    put_with_action(&artifacts, &bytes[..900_000], 300_000, |_| collect(&vault));
    let report = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!(report.damaged, 0);
    assert!(artifacts.read(&half).unwrap() == bytes[..1_000_000]);
    // The open reader still reads from the old locations.
    let mut old = Vec::new();
    { reader }.read_to_end(&mut old).unwrap();
    assert!(old == bytes);
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let after = whole(&vault).object_bytes;
    assert!(after < before && after < 1_400_000, "{before} bytes before, {after} after");
}

#[test]
fn artifact_put_during_upload_is_refused() {
    let vault = vault();
    // Leases would keep the second writer out.
    let artifacts = vault.artifacts().without_leases();
    let bytes = noise(400_000, 2);
    let act = |_| drop(put(&artifacts, "new", b"first"));
    let source = ActingSource { bytes: &bytes, every: 300_000, read: 0, act };
    let spec =
        ArtifactSpec::new(name("new")).on_existing(strongroom::artifacts::OnExisting::Refuse);
    let refused = artifacts.put(spec, source);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(artifacts.read(&name("new").newest()).unwrap(), "first");
    collect(&vault);
    assert_eq!(whole(&vault).object_bytes, 0);
}
