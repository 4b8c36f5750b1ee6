//! Strongroom: an embedded, encrypted storage engine that a host service links as a library.
//!
//! One [`Vault`] holds the host's [records](Vault::write) in ordered namespaces, and long
//! [operations](Vault::operations) whose checkpoints commit together with the data that they
//! describe. The state is a redb database in one file. Larger data is stored as immutable objects
//! on a [`Backend`](backends::Backend).
//!
//! When a commit returns, its rows and its checkpoint survive a loss of power.
//!
//! ```
//! use strongroom::operations::Checkpoint;
//! use strongroom::{Batch, Vault};
//! # use strongroom::SecretPassword;
//!
//! # fn main() -> strongroom::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let folder = folder.path().join("vault");
//! let password = SecretPassword::new("correct horse battery staple");
//! let vault = Vault::options(password).create(&folder)?;
//! let import = vault.operations().begin_or_resume("import-7", ["lane-a", "lane-b"])?;
//! let lane = import.lane("lane-a")?;
//! let done: u32 = lane.status()?.decode()?.unwrap_or(0);
//! for item in done..100 {
//!     let mut batch = Batch::new();
//!     batch.insert("items", item.to_be_bytes(), format!("item {item}"));
//!     lane.commit(batch, Checkpoint::encode(&(item + 1))?)?; // both or neither
//! }
//! assert_eq!(vault.read()?.count("items")?, 100);
//! # Ok(())
//! # }
//! ```
//!
//! Calls are synchronous. From async code, run them where blocking is allowed
//! (`tokio::task::spawn_blocking`). Handles are cheap to clone, `Send` and `Sync`.
//!
//! All data at rest is encrypted and authenticated, including names and keys of records. A
//! [`KeySource`](keys::KeySource) provides the key that opens the vault.
//!
//! The root has the types that every host needs. Modules have the rest:
//!
//! | module | contents |
//! | --- | --- |
//! | [`records`] | namespaces and their rows, typed and untyped |
//! | [`operations`], [`runner`] | long work with checkpoints; running it in the background |
//! | [`artifacts`] | versioned results of tasks |
//! | [`documents`] | JSON texts in one share space |
//! | [`keys`] | keys and passwords of a vault |
//! | [`vault`], [`check`], [`content`] | opening, checking and cleaning up |
//! | [`backends`], [`storage`] | media for content and state |
//!
//! Each name has one public path. The interface uses these types of other crates: `bytes::Bytes`,
//! `uuid::Uuid`, the traits of serde, `zeroize::Zeroizing` for the text of a partition key, and
//! with feature `object-store` the stores of that crate.

/// Tests the README's example.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Tests the examples of the guides.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guides/operations.md")]
struct OperationsManual;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/guides/artifacts.md")]
struct ArtifactsManual;

#[cfg(all(doctest, feature = "testing", feature = "s3"))]
#[doc = include_str!("../../../docs/guides/object-stores.md")]
struct ObjectStoresManual;

pub mod artifacts;
mod background;
pub mod documents;
pub mod operations;
pub mod records;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod vault;

pub mod check {
    //! The check of a vault: complete and undamaged.
    //!
    //! [`Vault::check`](crate::Vault::check) takes [`CheckOptions`] and returns a [`CheckReport`]
    //! with a [`Problem`] for each finding. [`StoreReport`] lists the objects of a backend whose
    //! state is lost.

    pub use crate::vault::check::{CheckOptions, CheckReport, Problem, ReadData};
    pub use crate::vault::survey::StoreReport;
}

pub mod content {
    //! The content store of long values and artifacts, and its gc.
    //!
    //! [`Vault::gc`](crate::Vault::gc) takes [`GcOptions`] and returns a [`GcReport`].
    //! [`Vault::rebuild_index`](crate::Vault::rebuild_index) takes [`RebuildOptions`] and returns a
    //! [`RebuildReport`].

    pub use strongroom_content::{GcOptions, GcReport, KeptUpload, RebuildOptions, RebuildReport};
}

pub mod keys {
    //! The keys of a vault.
    //!
    //! [`Keys`] is the handle, from [`Vault::keys`](crate::Vault::keys). It adds a [`NewKey`],
    //! lists each [`KeyInfo`], deletes keys and rotates them. A [`KeySource`] returns an [`Unlock`]
    //! when a vault is opened; [`SecretPassword`](crate::SecretPassword) and
    //! [`SecretKey`](crate::SecretKey) are such sources.

    pub use crate::vault::keys::{Keys, NewKey};
    pub use strongroom_crypto::{
        Cipher, KEY_LABEL_BYTES_MAX, KEYS_MAX, KeyId, KeyInfo, KeyKind, KeySource, PasswordCosts,
        Unlock,
    };
}

pub mod runner {
    //! The runner of operations in the background.
    //!
    //! A [`Runner`] passes each operation as a [`Job`] to the [`Handler`] of its name, on a
    //! separate thread. A host registers its [`Handlers`] when it opens the vault, and waits for a
    //! submitted operation with its [`JobHandle`].

    pub use crate::background::{
        BoxError, Handler, Handlers, Job, JobHandle, Resumed, Runner, RunnerOptions,
    };
}

pub mod storage {
    //! The storage of a vault's state.
    //!
    //! [`FileState`] stores it in a file, [`MemoryState`] in memory. Other hosts implement
    //! [`StateStorage`] and its [`StateFile`].

    pub use strongroom_store::state::{FileLock, FileState, MemoryState, StateFile, StateStorage};
}

pub use records::batch::Batch;
pub use records::snapshot::Snapshot;
pub use records::staged::Staged;
pub use records::transaction::WriteTx;
pub use records::value::Value;
pub use strongroom_backends as backends;
pub use strongroom_base::{CancelToken, Error, ErrorKind, LongCall, Progress, Reason, Result};
pub use strongroom_crypto::{SecretKey, SecretPassword};
pub use vault::handle::Vault;
pub use vault::options::VaultOptions;
