//! The peers: one trait, and a file for each implementation.

mod append;
mod json_file;
mod redb;
mod sqlite;
mod strongroom;

use std::path::Path;

use ::strongroom::keys::Cipher;
use anyhow::{Result, bail};

use crate::data::{Key, Row};

pub(crate) use sqlite::{cipher_version, connect};

use append::Append;
use json_file::JsonFile;
use redb::Redb;
use sqlite::Sqlite;
use strongroom::Strongroom;

// Names in tables and plot.
pub(crate) const REDB: &str = "plain redb";
/// A vault sealed with AES-256-GCM-SIV, the default on processors with AES instructions.
pub(crate) const STRONGROOM: &str = "strongroom";
/// A vault sealed with XChaCha20-Poly1305, the other cipher.
pub(crate) const XCHACHA: &str = "strongroom-xchacha";
pub(crate) const SQLITE: &str = "SQLite";
pub(crate) const SQLCIPHER: &str = "SQLCipher";
pub(crate) const JSON_FILE: &str = "redb + JSON file";
pub(crate) const APPEND: &str = "4 KiB append + fdatasync";

/// Page cache of each peer, in bytes.
pub(crate) const CACHE_BYTES: usize = 64 << 20;

/// Id of the operation to which all checkpoints belong.
const OPERATION: &str = "import-7";

/// The secret that opens an encrypted store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unlock {
    /// 32 bytes, with little or no key derivation.
    Key,
    /// A password, with the peer's key derivation at its default costs.
    Password,
}

/// The password for the stores of one workload.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A kind of store. Two stores of one kind differ only in their folder.
pub(crate) trait Peer: Sync {
    /// Returns its name in the table.
    fn label(&self) -> &'static str;

    /// Creates a store. If it has a page cache, the cache holds at most `cache_bytes`.
    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>>;

    /// Opens the store in `dir`.
    fn open(&self, _dir: &Path, _cache_bytes: usize) -> Result<Box<dyn Store>> {
        bail!("{} is never opened again", self.label())
    }
}

/// A store, open.
pub(crate) trait Store {
    /// Returns a session for one thread.
    fn session(&self) -> Result<Box<dyn Session>>;

    /// Returns whether the store had not been closed before this open.
    fn recovered(&self) -> bool {
        false
    }

    /// Closes the store cleanly; its sessions have ended.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One thread's access to a store. Every commit is durable on return.
pub(crate) trait Session: Send {
    /// Inserts `rows` in one commit. The reference without a store appends instead.
    fn commit(&mut self, rows: &[Row]) -> Result<()>;

    /// Inserts `rows` in one commit, in the way that is best for many writers.
    fn commit_shared(&mut self, rows: &[Row]) -> Result<()> {
        self.commit(rows)
    }

    /// Inserts `rows` and records `checkpoint`.
    ///
    /// At most one session of a store does this.
    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()>;

    /// Reads the values of `keys`, which all exist, in one snapshot; returns the sum of their
    /// bytes.
    fn get(&mut self, keys: &[Key]) -> Result<u64>;

    /// Reads `count` rows from each of `starts`, in one snapshot; returns the sum of the bytes of
    /// keys and values.
    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64>;
}

static PLAIN_REDB: Redb = Redb;
static STRONGROOM_KEY: Strongroom =
    Strongroom { label: STRONGROOM, cipher: Cipher::Aes256GcmSiv, unlock: Unlock::Key };
static STRONGROOM_XCHACHA: Strongroom =
    Strongroom { label: XCHACHA, cipher: Cipher::XChaCha20Poly1305, unlock: Unlock::Key };
static STRONGROOM_PASSWORD: Strongroom =
    Strongroom { label: STRONGROOM, cipher: Cipher::Aes256GcmSiv, unlock: Unlock::Password };
static PLAIN_SQLITE: Sqlite = Sqlite { label: SQLITE, unlock: None };
static SQLCIPHER_KEY: Sqlite = Sqlite { label: SQLCIPHER, unlock: Some(Unlock::Key) };
static SQLCIPHER_PASSWORD: Sqlite = Sqlite { label: SQLCIPHER, unlock: Some(Unlock::Password) };

/// Lists the stores that every workload compares.
///
/// `SQLCipher` is among them only in a build that has it.
pub(crate) fn stores() -> Vec<&'static dyn Peer> {
    let mut stores: Vec<&'static dyn Peer> =
        vec![&PLAIN_REDB, &STRONGROOM_KEY, &STRONGROOM_XCHACHA, &PLAIN_SQLITE];
    if cipher_version().is_some() {
        stores.push(&SQLCIPHER_KEY);
    }
    stores
}

/// Lists the stores that a password opens.
pub(crate) fn stores_with_password() -> Vec<&'static dyn Peer> {
    let mut stores: Vec<&'static dyn Peer> = vec![&STRONGROOM_PASSWORD];
    if cipher_version().is_some() {
        stores.push(&SQLCIPHER_PASSWORD);
    }
    stores
}

/// Returns Strongroom, for comparisons with itself.
pub(crate) fn strongroom() -> &'static dyn Peer {
    &STRONGROOM_KEY
}

/// Returns plain `SQLite`, in which a host could record its progress without Strongroom.
pub(crate) fn sqlite() -> &'static dyn Peer {
    &PLAIN_SQLITE
}

/// Returns plain redb with checkpoints as files.
pub(crate) fn json_file() -> &'static dyn Peer {
    &JsonFile
}

/// Returns the append that measures the disk alone, without a store.
pub(crate) fn append() -> &'static dyn Peer {
    &Append
}
