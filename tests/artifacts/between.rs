//! What comes between a look-up and its commit: others that delete, free, clean, pack and put the same.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use strongroom::artifacts::{ArtifactSpec, Artifacts};
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, Vault};
use strongroom_testkit::{Bug, SeededEntropy, TestKey, memory_vault, plant};

use crate::scene::{Meddling, collect, name, noise, put, whole};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A vault whose packs are short, so that a content has many.
fn vault() -> Vault {
    Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .create_on(MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap()
}

fn put_meddled(artifacts: &Artifacts, bytes: &[u8], every: usize, act: impl FnMut(usize)) {
    let source = Meddling { bytes, every, read: 0, act };
    let uri = artifacts.put(ArtifactSpec::new(name("new")), source).unwrap();
    assert!(artifacts.read(&uri).unwrap() == bytes);
}

#[test]
fn what_was_found_and_is_freed_before_the_commit_is_saved() {
    for packs_are_short in [false, true] {
        let vault = if packs_are_short { vault() } else { memory_vault().unwrap() };
        let artifacts = vault.artifacts();
        let bytes = noise(6_000_000, 3);
        let old = put(&artifacts, "old", &bytes);
        // All of it is found in what "old" has, which goes while the last bytes are read.
        put_meddled(&artifacts, &bytes, 5_900_000, |_| {
            artifacts.delete(&old).unwrap();
            collect(&vault);
        });
        whole(&vault);
        collect(&vault);
        assert!(artifacts.read(&name("new").newest()).unwrap() == bytes);
        artifacts.delete(&name("new").newest()).unwrap();
        collect(&vault);
        assert_eq!(whole(&vault).object_bytes, 0, "nothing stays");
    }
}

#[test]
fn an_upload_outlives_everything_that_is_done_to_what_it_shares() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let (shared, own) = (noise(3_000_000, 5), noise(1_000_000, 6));
    let bytes = [&shared[..], &own, &shared, &own[..500_000], &shared[1_000_000..]].concat();
    let mut round = 0;
    put_meddled(&artifacts, &bytes, 300_000, |_| {
        // Put, deleted and freed again and again, beside it.
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
fn a_short_content_shares_with_a_long_one_in_either_order() {
    for short_first in [true, false] {
        let vault = vault();
        let artifacts = vault.artifacts();
        // Two chunks of zeros, the shortest that compress: the long one begins with them too.
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
        assert!(chunks < alone, "{chunks} of {alone} chunks: nothing is shared");
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
fn threads_put_the_same_and_delete_it_and_free_it() {
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
fn what_an_upload_has_stored_itself_is_not_freed_before_its_commit() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(6_000_000, 3);
    let mut rounds = 0;
    put_meddled(&artifacts, &bytes, 2_500_000, |_| {
        // Others refer to what this upload has indexed by now, and let go of it.
        put(&artifacts, "other", &bytes[..1_500_000]);
        artifacts.delete(&name("other").newest()).unwrap();
        collect(&vault);
        rounds += 1;
    });
    assert_eq!(rounds, 2);
    whole(&vault);
}

/// Puts `bytes`, doing something when nearly all of them have been read; whether that loses anything.
fn loses(vault: &Vault, bytes: &[u8], mut act: impl FnMut()) -> bool {
    let artifacts = vault.artifacts();
    let source = Meddling { bytes, every: bytes.len() - 1_000, read: 0, act: |_| act() };
    let Ok(uri) = artifacts.put(ArtifactSpec::new(name("new")), source) else { return true };
    !artifacts.read(&uri).is_ok_and(|read| read == bytes)
        || !vault.check(&CheckOptions::new()).unwrap().is_ok()
}

#[test]
fn a_pin_that_comes_after_the_look_up_is_noticed() {
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

/// A source without bytes, that ends when it is told to.
struct Held {
    begun: Option<mpsc::Sender<()>>,
    end: mpsc::Receiver<()>,
}

impl Read for Held {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        if let Some(begun) = self.begun.take() {
            begun.send(()).map_err(std::io::Error::other)?;
            self.end.recv_timeout(LONG).map_err(std::io::Error::other)?;
        }
        Ok(0)
    }
}

#[test]
fn a_look_up_that_finds_what_was_let_go_of_is_noticed() {
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
                let source = Held { begun: Some(begun), end: ends };
                vault.artifacts().put(ArtifactSpec::new(name("other")), source).unwrap();
            });
            has_begun.recv_timeout(LONG).unwrap();
            // The node goes; what it listed is let go of, and stays because of the other upload.
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
fn a_node_that_was_found_keeps_what_is_under_it() {
    let vault = vault();
    let artifacts = vault.artifacts();
    // Long enough for nodes of its own, which are found whole.
    let shared = noise(40_000_000, 5);
    let old = put(&artifacts, "old", &shared);
    let bytes = [&shared[..], &noise(6_000_000, 101)].concat();
    put_meddled(&artifacts, &bytes, 40_000_000, |_| {
        artifacts.delete(&old).unwrap();
        collect(&vault);
    });
    whole(&vault);
}

#[test]
fn chunks_that_are_moved_are_read_and_found_as_before() {
    let vault = vault();
    let artifacts = vault.artifacts();
    let bytes = noise(2_000_000, 13);
    let reader = artifacts.open(&put(&artifacts, "old", &bytes)).unwrap();
    // Its first half is shared; the other half goes, and leaves packs that are mostly waste.
    let half = put(&artifacts, "half", &bytes[..1_000_000]);
    artifacts.delete(&name("old").newest()).unwrap();
    let before = whole(&vault).object_bytes;
    put_meddled(&artifacts, &bytes[..900_000], 300_000, |_| collect(&vault));
    let report = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!(report.damaged, 0);
    assert!(artifacts.read(&half).unwrap() == bytes[..1_000_000]);
    // Whoever had it open reads the places where it lay.
    let mut old = Vec::new();
    { reader }.read_to_end(&mut old).unwrap();
    assert!(old == bytes);
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let after = whole(&vault).object_bytes;
    assert!(after < before && after < 1_400_000, "{before} bytes before, {after} after");
}

#[test]
fn an_artifact_that_was_put_in_between_is_refused_or_followed() {
    let vault = vault();
    // Under leases nobody comes in between.
    let artifacts = vault.artifacts().without_leases();
    let bytes = noise(400_000, 2);
    let act = |_| drop(put(&artifacts, "new", b"first"));
    let source = Meddling { bytes: &bytes, every: 300_000, read: 0, act };
    let spec =
        ArtifactSpec::new(name("new")).on_existing(strongroom::artifacts::OnExisting::Refuse);
    let refused = artifacts.put(spec, source);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(artifacts.read(&name("new").newest()).unwrap(), "first");
    collect(&vault);
    assert_eq!(whole(&vault).object_bytes, 0);
}
