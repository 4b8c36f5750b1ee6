//! What is compared: one trait, and a file for each that implements it.

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

// As tables and plot name them.
pub(crate) const REDB: &str = "plain redb";
/// AES-256-GCM-SIV: what a vault gets by default where the processor has instructions for AES.
pub(crate) const STRONGROOM: &str = "strongroom";
/// The other cipher.
pub(crate) const XCHACHA: &str = "strongroom-xchacha";
pub(crate) const SQLITE: &str = "SQLite";
pub(crate) const SQLCIPHER: &str = "SQLCipher";
pub(crate) const JSON_FILE: &str = "redb + JSON file";
pub(crate) const APPEND: &str = "4 KiB append + fdatasync";

/// Memory for pages, the same for each peer, in bytes.
pub(crate) const CACHE_BYTES: usize = 64 << 20;

/// The operation that checkpoints are of.
const OPERATION: &str = "import-7";

/// What opens an encrypted store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unlock {
    /// 32 bytes: no key is derived, or hardly.
    Key,
    /// A password, with each one's own key derivation at its default costs.
    Password,
}

/// A password that opens the stores of one workload.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A kind of store. Where it lies, in an empty folder, is all that tells two of a kind apart.
pub(crate) trait Peer: Sync {
    /// As the table names it.
    fn label(&self) -> &'static str;

    /// A new store that caches at most `cache_bytes` of pages.
    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>>;

    /// The store that lies in `dir`.
    fn open(&self, _dir: &Path, _cache_bytes: usize) -> Result<Box<dyn Store>> {
        bail!("{} is never opened again", self.label())
    }
}

/// A store, open.
pub(crate) trait Store {
    /// What one thread works with; the writers have one each.
    fn session(&self) -> Result<Box<dyn Session>>;

    /// Whether the open found that the store had not been closed.
    fn recovered(&self) -> bool {
        false
    }

    /// Closes it cleanly; its sessions are gone.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One thread's way to a store. Every commit is durable on return.
pub(crate) trait Session: Send {
    /// Inserts `rows` in one commit.
    fn commit(&mut self, rows: &[Row]) -> Result<()>;

    /// As `commit`, in the way that suits many writers best.
    fn commit_shared(&mut self, rows: &[Row]) -> Result<()> {
        self.commit(rows)
    }

    /// Inserts `rows` and notes `checkpoint`. At most one session of a store does this.
    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()>;

    /// Reads the values of `keys`, all of which are there, in one snapshot; their bytes' sum.
    fn get(&mut self, keys: &[Key]) -> Result<u64>;

    /// Reads `count` rows from each of `starts` on, in one snapshot; the sum of the bytes of
    /// keys and values.
    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64>;
}

static PLAIN_REDB: Redb = Redb;
static SEALED: Strongroom =
    Strongroom { label: STRONGROOM, cipher: Cipher::Aes256GcmSiv, unlock: Unlock::Key };
static SEALED_XCHACHA: Strongroom =
    Strongroom { label: XCHACHA, cipher: Cipher::XChaCha20Poly1305, unlock: Unlock::Key };
static SEALED_PASSWORD: Strongroom =
    Strongroom { label: STRONGROOM, cipher: Cipher::Aes256GcmSiv, unlock: Unlock::Password };
static PLAIN_SQLITE: Sqlite = Sqlite { label: SQLITE, unlock: None };
static SQLCIPHER_KEY: Sqlite = Sqlite { label: SQLCIPHER, unlock: Some(Unlock::Key) };
static SQLCIPHER_PASSWORD: Sqlite = Sqlite { label: SQLCIPHER, unlock: Some(Unlock::Password) };

/// The stores that every workload compares; `SQLCipher` only in a build that has it.
pub(crate) fn stores() -> Vec<&'static dyn Peer> {
    let mut stores: Vec<&'static dyn Peer> =
        vec![&PLAIN_REDB, &SEALED, &SEALED_XCHACHA, &PLAIN_SQLITE];
    if cipher_version().is_some() {
        stores.push(&SQLCIPHER_KEY);
    }
    stores
}

/// The stores that a password opens.
pub(crate) fn stores_with_password() -> Vec<&'static dyn Peer> {
    let mut stores: Vec<&'static dyn Peer> = vec![&SEALED_PASSWORD];
    if cipher_version().is_some() {
        stores.push(&SQLCIPHER_PASSWORD);
    }
    stores
}

/// Strongroom, where it is compared with itself.
pub(crate) fn strongroom() -> &'static dyn Peer {
    &SEALED
}

/// What a host without Strongroom notes its progress in.
pub(crate) fn sqlite() -> &'static dyn Peer {
    &PLAIN_SQLITE
}

/// Checkpoints as files beside plain redb.
pub(crate) fn json_file() -> &'static dyn Peer {
    &JsonFile
}

/// No store at all.
pub(crate) fn append() -> &'static dyn Peer {
    &Append
}
