//! Strongroom: an embedded storage engine that a host service links as a library.
//!
//! One [`Vault`] holds the host's [records](Vault::write), in ordered namespaces, and long
//! [operations](Vault::operations) whose checkpoints commit together with the data they describe.
//! State lives in redb, in one file; what is too large for it lies as immutable objects on a
//! [`Backend`](backends::Backend).
//!
//! When a commit returns, its rows and its checkpoint survive the loss of power.
//!
//! ```
//! use strongroom::{Batch, Checkpoint, Vault};
//! # use strongroom::SecretPassword;
//!
//! # fn main() -> strongroom::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let folder = folder.path().join("vault");
//! let vault = Vault::options(SecretPassword::new("correct horse battery staple")).create(&folder)?;
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
//! (`tokio::task::spawn_blocking`); handles are cheap to clone, `Send` and `Sync`.
//!
//! Everything at rest is encrypted and authenticated, names and keys of records included; what
//! opens the vault is told by a [`KeySource`].

/// The README's example is a test.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So are those of its manual.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/operations.md")]
struct OperationsManual;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../../docs/artifacts.md")]
struct ArtifactsManual;

#[cfg(all(doctest, feature = "testing", feature = "s3"))]
#[doc = include_str!("../../../docs/object-stores.md")]
struct ObjectStoresManual;

mod artifacts;
mod background;
mod documents;
mod operations;
mod records;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod vault;

pub use artifacts::{
    ARTIFACT_METADATA_BYTES_MAX, ArtifactCursor, ArtifactInfo, ArtifactLease, ArtifactName,
    ArtifactPage, ArtifactQuery, ArtifactReader, ArtifactSpec, ArtifactTotal, ArtifactUri,
    ArtifactUsage, Artifacts, ExpireArtifactsOptions, ExpiredArtifacts, ExportReport, LeaseHolder,
    LeasePolicy, LeaseRefused, OnExisting, Quota, SEARCH_PAGE_MAX, TAGS_MAX, TagChange,
    VerifiedArtifacts,
};
pub use background::{BoxError, Handler, Handlers, Job, JobHandle, Resumed, Runner, RunnerOptions};
pub use documents::{
    BackgroundWrite, CAPACITY_BYTES_MAX, CAPACITY_BYTES_MIN, DOCUMENT_BYTES_MAX, Damage, Document,
    DocumentVersion, Documents, PARTITIONS_OF_SPACE_MAX, Partition, Plan, SecretPartitionKey,
    Space, SpaceInfo, SpaceOptions, UnfinishedUpdate, WriteOptions, Written,
};
pub use operations::{
    CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT_MAX, Checkpoint, CheckpointPolicy, EVENTS_KEPT_MAX,
    Event, EventKind, ExpireOperations, ExpiredOperations, FAILURE_BYTES_MAX, Failure, KnownWork,
    LANES_MAX, Lane, LaneStatus, Latencies, METADATA_BYTES_MAX, NoRecorder, ONLY_LANE, Operation,
    OperationSpec, OperationState, OperationStatus, Operations, Paced, Recorder, Resumable,
    RetryPolicy, Statistics, Subscription, UnfinishedOperation,
};
pub use records::{
    Batch, NAME_BYTES_MAX, Namespace, Payload, Record, Records, Snapshot, Staged, TypedNamespace,
    TypedRecord, Value, ValueReader, WriteTx,
};
pub use strongroom_backends as backends;
pub use strongroom_base::{CancelToken, Error, ErrorKind, NoProgress, Progress, Reason, Result};
pub use strongroom_content::{GcOptions, GcReport, RebuildOptions, RebuildReport};
pub use strongroom_crypto::{
    Cipher, KEY_LABEL_BYTES_MAX, KEYS_MAX, KeyId, KeyInfo, KeyKind, KeySource, PasswordCosts,
    SecretKey, SecretPassword, Unlock,
};
pub use strongroom_format::{RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX};
pub use strongroom_store::state::{FileState, MemoryState, StateStorage, StorageBackend};
pub use vault::{
    CheckOptions, CheckReport, CleanReport, CompactReport, Holder, Keys, LockPolicy, LockRefused,
    NewKey, Problem, ReadData, Recovery, StoreReport, TakenOver, Vault, VaultInfo, VaultOptions,
};
