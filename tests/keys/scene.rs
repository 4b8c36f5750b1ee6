//! A vault on a simulated disk, its secrets, and its data.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom::backends::fs::FileSystem;
use strongroom::keys::{KeyId, KeySource, NewKey, Unlock};
use strongroom::operations::Checkpoint;
use strongroom::{Batch, Result, SecretKey, SecretPassword, Vault, VaultOptions};
use strongroom_testkit::{ManualClock, SeededEntropy, World};

use crate::support::records::{all, assert_whole, get, long, put, put_long};

pub(crate) const STATE: &str = "/vault/state.redb";
pub(crate) const NEW_STATE: &str = "/vault/state.redb.new";
/// Path prefix of key copies on the disk backend.
const KEY_COPIES: &str = "/vault/content/objects/keys/";
/// Path of content on the disk backend.
const CONTENT: &str = "/vault/content/objects/content";

/// Length of the long value in a filled vault, in bytes: it fills several objects.
const LONG: usize = 70_000;

/// A secret that may open a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    Key(u8),
    Password(&'static str),
}

impl KeySource for Secret {
    fn unlock(&self) -> Result<Unlock> {
        Ok(match *self {
            Self::Key(number) => Unlock::Key(SecretKey::new([number; SecretKey::BYTES])),
            Self::Password(text) => Unlock::Password(SecretPassword::new(text)),
        })
    }
}

/// The secret with which most vaults here are created.
pub(crate) const FIRST: Secret = Secret::Key(1);

/// A simulated disk for one vault.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) world: World,
    seeds: Cell<u64>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::on(World::new())
    }

    pub(crate) fn on(world: World) -> Self {
        Self { world, seeds: Cell::new(0) }
    }

    /// Creates, fills and closes a vault that each of `secrets` opens.
    pub(crate) fn with_vault(secrets: &[Secret]) -> Self {
        let scene = Self::new();
        let vault = scene.create(secrets[0]);
        fill(&vault);
        for secret in &secrets[1..] {
            vault.keys().add(&NewKey::new(secret)).unwrap();
        }
        vault.close().unwrap();
        scene
    }

    /// Returns a copy of the current disk in a separate world.
    pub(crate) fn duplicate(&self) -> Self {
        Self { world: self.world.same_as_now(), seeds: Cell::new(self.seeds.get() + 1_000) }
    }

    pub(crate) fn options(&self, secret: impl KeySource + 'static) -> VaultOptions {
        self.seeds.set(self.seeds.get() + 1);
        Vault::options(secret)
            .cheap_passwords()
            .file_system(self.world.clone())
            .clock(ManualClock::new())
            .entropy(SeededEntropy::new(self.seeds.get()))
            .object_bytes(32 << 10)
            .cache_bytes(1 << 20)
    }

    pub(crate) fn create(&self, secret: Secret) -> Vault {
        self.options(secret).create("/vault").unwrap()
    }

    pub(crate) fn open(&self, secret: Secret) -> Result<Vault> {
        self.options(secret).open("/vault")
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        self.world.read_file(STATE).unwrap()
    }

    pub(crate) fn set_state(&self, bytes: impl AsRef<[u8]>) {
        self.world.write_file(STATE, bytes).unwrap();
    }

    /// Returns the path of the key copy, if there is one.
    pub(crate) fn key_copy_path(&self) -> Option<PathBuf> {
        let is_copy = |path: &PathBuf| path.to_str().unwrap().starts_with(KEY_COPIES);
        let mut found = self.world.tree().into_iter().filter(|(_, len)| len.is_some());
        found.find(|(path, _)| is_copy(path)).map(|(path, _)| path)
    }

    pub(crate) fn key_copy(&self) -> Vec<u8> {
        self.world.read_file(self.key_copy_path().unwrap()).unwrap()
    }

    pub(crate) fn set_key_copy(&self, bytes: impl AsRef<[u8]>) {
        self.world.write_file(self.key_copy_path().unwrap(), bytes).unwrap();
    }

    pub(crate) fn remove_key_copy(&self) {
        self.world.remove_file(&self.key_copy_path().unwrap()).unwrap();
    }

    /// Returns the paths of the content objects.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let files = self.world.tree().into_iter().filter(|(_, len)| len.is_some());
        files.map(|(path, _)| path).filter(|path| path.starts_with(CONTENT)).collect()
    }

    /// Returns every file and folder except the lock's files.
    ///
    /// A refused open may create the lock's files.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let read = |path: &PathBuf| self.world.read_file(path).unwrap();
        self.world
            .tree()
            .into_iter()
            .filter(|(path, _)| !path.ends_with("lock") && !path.ends_with("holder"))
            .map(|(path, len)| (path.clone(), len.map(|_| read(&path))))
            .collect()
    }

    /// Runs `act` and asserts that no file changes.
    #[track_caller]
    pub(crate) fn unchanged<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.files();
        let outcome = act();
        let after = self.files();
        let changed: Vec<_> = after
            .iter()
            .filter(|(path, bytes)| before.get(*path) != Some(bytes))
            .map(|(path, _)| path)
            .chain(before.keys().filter(|path| !after.contains_key(*path)))
            .collect();
        assert!(changed.is_empty(), "changed: {changed:?}");
        outcome
    }

    /// Returns those of `secrets` that open the vault.
    ///
    /// Asserts that the others are `Denied`.
    #[track_caller]
    pub(crate) fn openers(&self, secrets: &[Secret]) -> Vec<Secret> {
        let opens = |secret: &Secret| match self.open(*secret) {
            Ok(_) => true,
            Err(e) => {
                assert_eq!(e.kind(), strongroom::ErrorKind::Denied, "{secret:?}: {e}");
                false
            }
        };
        secrets.iter().copied().filter(opens).collect()
    }
}

/// Writes rows, a long value and a checkpoint.
pub(crate) fn fill(vault: &Vault) {
    for i in 0..20 {
        put(vault, &format!("k{i:02}"), long(i, 300));
    }
    put_long(vault, "long", &long(77, LONG));
    let operation = vault.operations().begin("import", ["a", "b"]).unwrap();
    operation.lane("a").unwrap().commit(Batch::new(), Checkpoint::new("half")).unwrap();
}

/// Asserts that all data of [`fill`] is readable and undamaged.
#[track_caller]
pub(crate) fn assert_filled(vault: &Vault) {
    assert_readable(vault);
    assert_whole(vault);
}

/// Asserts that all data of [`fill`] is readable.
#[track_caller]
pub(crate) fn assert_readable(vault: &Vault) {
    for i in 0..20 {
        assert_eq!(get(vault, &format!("k{i:02}")).unwrap(), long(i, 300));
    }
    assert!(get(vault, "long").unwrap() == long(77, LONG));
    assert!(all(vault).unwrap().len() >= 21);
    let status = vault.read().unwrap().lane("import", "a").unwrap().unwrap();
    assert_eq!((status.checkpoints, &status.data[..]), (1, &b"half"[..]));
}

/// Returns the ids of the vault's keys.
pub(crate) fn ids(vault: &Vault) -> Vec<u32> {
    vault.keys().list().iter().map(|key| key.id.0).collect()
}

pub(crate) fn add(vault: &Vault, secret: Secret) -> KeyId {
    vault.keys().add(&NewKey::new(&secret)).unwrap()
}

pub(crate) fn generation(vault: &Vault) -> u64 {
    vault.info().unwrap().key_generation
}
