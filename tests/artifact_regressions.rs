//! Regression tests for defects that the soak of artifacts has found.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom::artifacts::{ArtifactName, ArtifactScope, ArtifactSpec};
use strongroom::backends::Memory;
use strongroom::content::GcOptions;
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, LongCall, Vault};
use strongroom_testkit::{TestKey, memory_vault};

use support::records::{assert_whole, long};

#[test]
fn vault_is_whole_after_last_version_is_deleted() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let name = ArtifactName::new("spec", "task", "log").unwrap();
    artifacts.put(ArtifactSpec::new(name.clone()), &b"a line"[..]).unwrap();
    artifacts.delete(&name.newest()).unwrap();
    assert_whole(&vault);
    assert_eq!(artifacts.put(ArtifactSpec::new(name.clone()), &b"2"[..]).unwrap(), name.version(2));
    assert_whole(&vault);
}

/// An empty source that runs an action when it is read.
struct ActingSource<F: FnMut()>(F);

impl<F: FnMut()> Read for ActingSource<F> {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        (self.0)();
        Ok(0)
    }
}

#[test]
fn pack_emptied_by_others_during_its_upload_is_freed() {
    // Packs so short that each has one chunk.
    let options = Vault::options(TestKey).object_bytes(4 << 10);
    let vault = options.create_on(MemoryState::new(), Memory::new()).unwrap();
    let artifacts = vault.artifacts();
    let spec = |task: &str| ArtifactSpec::new(ArtifactName::new("spec", task, "log").unwrap());
    let (bytes, cancel) = (long(7, 3_000_000), CancelToken::new());
    let first_chunk = AtomicUsize::new(0);
    let progress = |done: u64, _: Option<u64>| {
        let done = usize::try_from(done).unwrap();
        first_chunk.compare_exchange(0, done, Ordering::SeqCst, Ordering::SeqCst).ok();
    };
    artifacts
        .put_with(spec("cut"), &bytes[..], LongCall::new().progress(&progress).cancel(&cancel))
        .unwrap();
    let delete_all = || {
        artifacts
            .delete_all(&ArtifactScope::spec("spec"), LongCall::new().cancel(&cancel))
            .unwrap();
        vault.gc(&GcOptions::new()).unwrap();
        let report = assert_whole(&vault);
        assert_eq!((report.chunks, report.objects), (0, 0));
        assert_eq!(artifacts.usage().unwrap().stored_bytes, 0);
    };
    delete_all();

    let chunk = &bytes[..first_chunk.into_inner()];
    // The source ends with an action. There another put finds the first chunk and releases it, and
    // a third put stores it again at a new location.
    let act = ActingSource(|| {
        let found = artifacts.put(spec("found"), chunk).unwrap();
        artifacts.delete(&found).unwrap();
        artifacts.put(spec("stored again"), chunk).unwrap();
    });
    let uri = artifacts.put(spec("under way"), bytes[..].chain(act)).unwrap();
    assert!(artifacts.read(&uri).unwrap() == bytes);
    assert_whole(&vault);
    delete_all();
}
