//! Ownership of content: one state at a time owns a vault's content on a store.

mod acquisition;
mod lost_state;
mod processes;
mod take_over;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use strongroom::backends::Backend;
use strongroom::vault::LockPolicy;
use strongroom::{Error, ErrorKind, Result, Vault, VaultOptions};
use tempfile::TempDir;

pub(crate) use processes::hold;

use crate::scene::{copy_folder, memory_store, options};
use crate::support::clock::SharedClock;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store with a closed vault, whose folder is `a`.
struct Scene {
    home: TempDir,
    client: Arc<InMemory>,
    clock: SharedClock,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let scene = Self { home, client: Arc::new(InMemory::new()), clock: SharedClock::default() };
        scene.options().create(scene.folder("a")).unwrap().close().unwrap();
        scene
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn store(&self) -> Arc<dyn Backend> {
        memory_store(&self.client)
    }

    fn options(&self) -> VaultOptions {
        self.options_on(&self.store())
    }

    /// Returns options for one try on the given handle of the store.
    fn options_on(&self, store: &Arc<dyn Backend>) -> VaultOptions {
        let once = LockPolicy { timeout: Duration::ZERO, ..LockPolicy::default() };
        options(store).clock(self.clock.clone()).lock_policy(once)
    }

    fn open(&self, name: &str) -> Result<Vault> {
        self.options().open(self.folder(name))
    }

    fn copy(&self, from: &str, to: &str) {
        copy_folder(&self.folder(from), &self.folder(to));
    }

    /// Returns the number of content objects.
    fn objects(&self) -> usize {
        self.store().list("content/", None, 1_000).unwrap().len()
    }
}

#[track_caller]
fn assert_refused(opened: Result<Vault>, kind: ErrorKind) -> Error {
    let error = opened.expect_err("the open is refused");
    assert_eq!((error.kind(), error.action()), (kind, "acquire content"), "{error}");
    error
}

fn insert(vault: &Vault, key: &str) -> Result<()> {
    vault.write(|tx| tx.insert("records", key, "value"))
}
