//! Packs that are missing, cut short, or have one byte changed: what they held is told, and nothing else is
//! touched by it.

use std::sync::Arc;

use strongroom::artifacts::{ArtifactScope, ArtifactUri};
use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, ErrorKind, LongCall, Vault};
use strongroom_testkit::{SeededEntropy, TestKey};

use crate::scene::{collect, name, noise, put, whole};

/// A vault with an artifact to be damaged, others, and the objects of the one.
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

    /// That what is damaged is told as that, by name, and the rest is read.
    #[track_caller]
    fn tells(&self, read_data: ReadData) {
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
fn a_pack_that_is_missing_costs_what_it_held_and_nothing_else() {
    let scene = scene();
    scene.bad_objects.iter().for_each(|key| scene.backend.delete(key).unwrap());
    scene.tells(ReadData::No);
}

#[test]
fn a_pack_that_is_cut_short_is_noticed_without_reading_it() {
    let scene = scene();
    scene.replace(|body| body.truncate(body.len() - 5_000));
    let report = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(!report.is_ok());
    scene.replace(|body| body.truncate(1_000));
    scene.tells(ReadData::No);
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is_and_never_served() {
    let scene = scene();
    let len = scene.backend.get(&scene.bad_objects[0]).unwrap().body.len();
    for at in [16, 40, len / 2] {
        scene.replace(|body| body[at] ^= 1);
        scene.tells(ReadData::All);
        scene.replace(|body| body[at] ^= 1);
    }
    // The list behind the chunks is needed for no read.
    scene.replace(|body| body[len - 30] ^= 1);
    assert!(scene.vault.artifacts().read(&scene.bad).is_ok());
    let options = CheckOptions::new().read_data(ReadData::All);
    assert!(!scene.vault.check(&options).unwrap().is_ok());
    // Without it what lies in the pack is told by the rows.
    scene.vault.artifacts().delete(&scene.bad).unwrap();
    collect(&scene.vault);
    whole(&scene.vault);
}

#[test]
fn every_part_of_the_data_is_read_by_one_of_as_many_checks() {
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
fn garbage_is_freed_past_a_pack_that_is_lost() {
    let scene = scene();
    scene.bad_objects.iter().for_each(|key| scene.backend.delete(key).unwrap());
    scene.vault.artifacts().delete_all(&ArtifactScope::spec("spec"), LongCall::new()).unwrap();
    let first = scene.vault.gc(&GcOptions::new()).unwrap();
    assert!(first.damaged > 0 && first.chunks > 100, "{first:?}");
    let again = scene.vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((again.chunks, again.damaged), (0, first.damaged));
    // What the lost node lists stays, counted and told of; that is all.
    let left = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(left.chunks < 10, "{left:?}");
    assert!(!scene.vault.artifacts().exists(&name("bad").newest()).unwrap());
}
