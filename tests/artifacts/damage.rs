//! Packs that are missing, truncated, or have one byte changed.
//!
//! Only the content in the damaged pack is reported as damaged.

use std::sync::Arc;

use strongroom::artifacts::{ArtifactScope, ArtifactUri};
use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, ErrorKind, LongCall, Vault};
use strongroom_testkit::{SeededEntropy, TestKey};

use crate::scene::{collect, name, noise, put, whole};

/// A vault with one artifact to damage, its objects, and intact artifacts.
struct Scene {
    backend: Arc<Memory>,
    vault: Vault,
    bad: ArtifactUri,
    bad_objects: Vec<Key>,
    good: Vec<(ArtifactUri, Vec<u8>)>,
}

fn keys(backend: &Memory) -> Vec<Key> {
    let page = backend.list("", None, 10_000).unwrap();
    page.into_iter().map(|entry| entry.key).collect()
}

fn scene() -> Scene {
    let backend = Arc::new(Memory::new());
    let vault = Vault::options(TestKey)
        .entropy(SeededEntropy::new(1))
        .object_bytes(256 << 10)
        .create_on(MemoryState::new(), Arc::clone(&backend))
        .unwrap();
    let artifacts = vault.artifacts();
    let before = keys(&backend);
    let bad = put(&artifacts, "bad", &noise(300_000, 3));
    let bad_objects: Vec<_> =
        keys(&backend).into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(bad_objects.len(), 1);
    let good = (0..3_u64)
        .map(|n| {
            let bytes = noise(3_000_000, 101 + 10 * n);
            (put(&artifacts, &n.to_string(), &bytes), bytes)
        })
        .collect();
    Scene { backend, vault, bad, bad_objects, good }
}

impl Scene {
    fn replace(&self, change: impl Fn(&mut Vec<u8>)) {
        for key in &self.bad_objects {
            let body = self.backend.get(key).unwrap().body;
            let mut body = body.to_vec();
            change(&mut body);
            self.backend.put(key, body.into(), &Condition::Any).unwrap();
        }
    }

    /// Asserts that exactly the bad artifact is reported as corrupt.
    ///
    /// The error names its URI. All other artifacts are read.
    #[track_caller]
    fn assert_bad_is_reported(&self, read_data: ReadData) {
        let artifacts = self.vault.artifacts();
        let error = artifacts.read(&self.bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&self.bad.to_string()), "{error}");
        for (uri, bytes) in &self.good {
            assert!(artifacts.read(uri).unwrap() == *bytes);
        }
        let cancel = CancelToken::new();
        assert_eq!(
            artifacts.verify_with(&self.bad, LongCall::new().cancel(&cancel)).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let all =
            artifacts.verify_all(&ArtifactScope::all(), LongCall::new().cancel(&cancel)).unwrap();
        assert_eq!((all.whole, all.damaged, all.is_ok()), (3, 1, false));
        assert_eq!(all.named[0].0, self.bad);
        let options = CheckOptions::new().read_data(read_data);
        let report = self.vault.check(&options).unwrap();
        assert!(!report.is_ok());
        assert_eq!((&report.affected[..], report.artifacts_affected), (&[self.bad.clone()][..], 1));
    }
}

#[test]
fn missing_pack_damages_only_its_own_content() {
    let scene = scene();
    scene.bad_objects.iter().for_each(|key| scene.backend.delete(key).unwrap());
    scene.assert_bad_is_reported(ReadData::No);
}

#[test]
fn truncated_pack_is_found_without_reading_data() {
    let scene = scene();
    scene.replace(|body| body.truncate(body.len() - 5_000));
    let report = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(!report.is_ok());
    scene.replace(|body| body.truncate(1_000));
    scene.assert_bad_is_reported(ReadData::No);
}

#[test]
fn changed_byte_is_found_anywhere_and_never_read() {
    let scene = scene();
    let len = scene.backend.get(&scene.bad_objects[0]).unwrap().body.len();
    for at in [16, 40, len / 2] {
        scene.replace(|body| body[at] ^= 1);
        scene.assert_bad_is_reported(ReadData::All);
        scene.replace(|body| body[at] ^= 1);
    }
    // No read needs the list at the end of the pack.
    scene.replace(|body| body[len - 30] ^= 1);
    assert!(scene.vault.artifacts().read(&scene.bad).is_ok());
    let options = CheckOptions::new().read_data(ReadData::All);
    assert!(!scene.vault.check(&options).unwrap().is_ok());
    // Without the list, gc takes the chunks of the pack from the rows.
    scene.vault.artifacts().delete(&scene.bad).unwrap();
    collect(&scene.vault);
    whole(&scene.vault);
}

#[test]
fn checks_of_all_parts_read_all_data_once() {
    let scene = scene();
    scene.replace(|body| body[100] ^= 1);
    let noticed = (1..=4).filter(|&part| {
        let read_data = ReadData::Part { part, of: 4 };
        let options = CheckOptions::new().read_data(read_data);
        !scene.vault.check(&options).unwrap().is_ok()
    });
    assert_eq!(noticed.count(), 1);
    let none = CheckOptions::new().read_data(ReadData::Part { part: 5, of: 4 });
    assert_eq!(scene.vault.check(&none).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn gc_frees_garbage_despite_a_lost_pack() {
    let scene = scene();
    scene.bad_objects.iter().for_each(|key| scene.backend.delete(key).unwrap());
    scene.vault.artifacts().delete_all(&ArtifactScope::spec("spec"), LongCall::new()).unwrap();
    let first = scene.vault.gc(&GcOptions::new()).unwrap();
    assert!(first.damaged > 0 && first.chunks > 100, "{first:?}");
    let again = scene.vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((again.chunks, again.damaged), (0, first.damaged));
    // The chunks that the lost node lists stay. The check counts and reports only them.
    let left = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(left.chunks < 10, "{left:?}");
    assert!(!scene.vault.artifacts().exists(&name("bad").newest()).unwrap());
}
