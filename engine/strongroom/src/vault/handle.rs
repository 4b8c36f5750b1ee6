//! The handle of an open vault: assembles the parts of the vault, and returns their handles.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use strongroom_base::{Error, LongCall, Result};
use strongroom_content::{Content, GcOptions, GcReport, RebuildOptions, RebuildReport, Roots};
use strongroom_crypto::KeySource;
use strongroom_format::VaultRow;
use strongroom_store::commit::{Core, Hook};

use super::custody::Custody;
use super::keys::Keys;
use super::options::VaultOptions;
use super::report::{Recovery, VaultInfo};
use crate::artifacts::{ArtifactRoots, Artifacts};
use crate::documents::Documents;
use crate::operations::{KnownWork, Operations, Recorder};
use crate::records::{Batch, DroppedNamespaces, RecordRoots, Snapshot, Staged, WriteTx, stage};

/// An open vault. Cheap to clone, and usable from any thread.
///
/// [`close`](Self::close), or dropping the last handle, closes the vault. Handles are clones,
/// snapshots, staged values, record readers, stagings, operations, lanes, and batches with a
/// checkpoint. Running garbage collection of the vault keeps it open until its end, and so do
/// deletes on a shared store.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<VaultParts>,
}

/// The parts of an open vault. Each was given only what it may use.
pub(super) struct VaultParts {
    pub(super) core: Arc<Core>,
    pub(super) content: Content,
    pub(super) keys: Keys,
    pub(super) operations: Operations,
    pub(super) artifacts: Artifacts,
    pub(super) documents: Documents,
    pub(super) recovery: Recovery,
}

impl VaultParts {
    /// Assembles the parts over a core, and registers their commit hooks.
    pub(super) fn new(
        core: Arc<Core>,
        custody: Arc<Custody>,
        handlers: Arc<dyn KnownWork>,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let (content, content_hook) = custody.with_id_key(|id_key| Content::new(&core, id_key));
        let (operations, operations_hook) = Operations::new(content.clone(), handlers, recorder);
        let records_hook: Arc<dyn Hook> = Arc::<DroppedNamespaces>::default();
        core.register(vec![records_hook, content_hook, operations_hook]);
        Self {
            artifacts: Artifacts::new(content.clone()),
            documents: Documents::new(operations.clone(), custody.password()),
            keys: Keys::new(Arc::clone(&core), custody),
            operations,
            content,
            core,
            recovery: Recovery::default(),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("id", &self.inner.core.id()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Returns options for creating or opening a vault that `keys` opens.
    pub fn options(keys: impl KeySource + 'static) -> VaultOptions {
        VaultOptions::new(Arc::new(keys))
    }

    pub(super) fn new(inner: VaultParts) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn parts(&self) -> &Arc<VaultParts> {
        &self.inner
    }

    pub(super) fn from_inner(inner: Arc<VaultParts>) -> Self {
        Self { inner }
    }

    /// Returns the core, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Runs `change` in a transaction over records, checkpoints and staged content.
    ///
    /// If `change` returns `Ok`, the transaction commits, and the call returns once the commit is
    /// durable: it survives the loss of power. If `change` returns `Err` or panics, nothing
    /// changes; a panic continues. The call waits for other writes of this process, at most the
    /// write timeout (then `Locked`).
    ///
    /// Errors of the commit itself: `Full`, `Denied` and `Unavailable` mean that it did not happen.
    /// `Uncertain` means that it may have happened: read again once the vault has recovered. After
    /// a failure of the storage, the vault reopens its state by itself. Until then calls fail with
    /// `Unavailable`.
    ///
    /// A call of `write`, `apply` or `stage` of the same vault inside `change` fails with
    /// `Invalid`.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.core.write_owned("write", |tx| {
            let mut tx = WriteTx::new(tx, self.inner.content.clone());
            let value = change(&mut tx)?;
            Ok((value, tx.into_inner()))
        })
    }

    /// Commits a prepared batch. Durable on return.
    ///
    /// Batches of threads that wait at the same time share one transaction and one sync.
    ///
    /// A batch is checked whole before its first row is written. If it is refused (`Invalid`,
    /// `Conflict`), the other batches are not affected. If the commit fails, all of its batches get
    /// the error, as described for [`write`](Self::write).
    pub fn apply(&self, batch: Batch) -> Result<()> {
        let _span = tracing::debug_span!("apply", changes = batch.len()).entered();
        self.inner.core.submit("apply batch", Box::new(batch))
    }

    /// Takes a consistent snapshot of the vault.
    ///
    /// It does not wait for writers. It waits only while the state is being checked, or is being
    /// reopened after a failure. After an `Uncertain` commit it fails with `Unavailable`, until the
    /// state is reopened and the outcome is known.
    pub fn read(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.inner.core.read()?, self.inner.content.clone()))
    }

    /// Stores a value of any length, for a transaction to [`insert`](WriteTx::insert).
    ///
    /// Reads `source` to its end, in bounded memory. Chunks that the content store has already are
    /// not stored again.
    ///
    /// A long value is durable on the backend on return. A short value, up to 256 KiB as stored, is
    /// written by its transaction. Nothing refers to the value yet: if the [`Staged`] is dropped or
    /// the process crashes, the value is freed later.
    ///
    /// `Full` if the quota is exceeded: see [`set_quota`](crate::artifacts::Artifacts::set_quota).
    /// `Invalid` inside a write of this vault.
    pub fn stage(&self, source: impl Read) -> Result<Staged> {
        self.stage_with(source, LongCall::new())
    }

    /// Stages a value as [`stage`](Self::stage) does. Progress counts the bytes staged so far.
    pub fn stage_with(&self, mut source: impl Read, call: LongCall<'_>) -> Result<Staged> {
        let _span = tracing::debug_span!("stage").entered();
        let VaultParts { core, content, artifacts, .. } = &*self.inner;
        core.refuse_nested_write("stage value")?;
        // A value that becomes a row touches nothing else that would report a closed vault.
        drop(core.objects().enter("stage value")?);
        let limit = || Ok(artifacts.quota()?.map(|quota| quota.bytes));
        stage(content, limit, &mut source, call)
    }

    /// Returns the operations: long work that survives a crash of its process.
    pub fn operations(&self) -> Operations {
        self.inner.operations.clone()
    }

    /// Returns the artifacts.
    ///
    /// ```
    /// # use strongroom::artifacts::{ArtifactName, ArtifactSpec};
    /// # use strongroom::{SecretPassword, Vault};
    /// # fn main() -> strongroom::Result<()> {
    /// # let folder = tempfile::tempdir().expect("a temporary folder");
    /// # let path = folder.path().join("vault");
    /// # let vault = Vault::options(SecretPassword::new("correct horse battery")).create(&path)?;
    /// let artifacts = vault.artifacts();
    /// let name = ArtifactName::new("my-spec", "1.1", "log")?;
    /// let uri = artifacts.put(ArtifactSpec::new(name).tag("nightly"), &b"all 12 passed"[..])?;
    /// assert_eq!(uri.to_string(), "strongroom:///artifact/my-spec/1.1/log@1");
    /// assert_eq!(artifacts.read(&uri)?, "all 12 passed");
    /// # Ok(())
    /// # }
    /// ```
    pub fn artifacts(&self) -> Artifacts {
        self.inner.artifacts.clone()
    }

    /// Returns the documents of the share space.
    pub fn documents(&self) -> Documents {
        self.inner.documents.clone()
    }

    /// Returns the keys: the passwords and keys that open the vault.
    pub fn keys(&self) -> Keys {
        self.inner.keys.clone()
    }

    /// Collects garbage: frees released content, and deletes objects that are due.
    ///
    /// It works in commits of bounded size, while readers and writers continue. Then it repacks: it
    /// moves chunks out of packs that are more than half unused, and out of the state if there are
    /// many. It also deletes the last rows of deleted namespaces.
    ///
    /// [`without_repacking`](GcOptions::without_repacking) moves no chunk, so freed chunks that
    /// share a pack with live ones stay in it. That takes little time, for example before measuring
    /// the backend's size.
    ///
    /// An upload whose process died is kept for a day, so that the same put stores only the rest.
    /// The report says how many bytes such uploads keep, and until when. Once the same content was
    /// put completely, its earlier uploads end at once.
    ///
    /// Garbage collection also runs by itself on a thread of the vault, once 256 MiB of contents
    /// are released, and as often as [`upkeep`](crate::VaultOptions::upkeep) says.
    ///
    /// Only one runs at a time. `Locked` if another one, or a rebuild of the index, takes longer
    /// than the write timeout.
    pub fn gc(&self, options: &GcOptions<'_>) -> Result<GcReport> {
        self.inner.content.gc(options)
    }

    /// Rebuilds the index of chunks from the packs, in one commit.
    ///
    /// The index records which chunks exist, where they are, and how many references each has.
    /// Chunks of missing packs, and nodes that cannot be read, are recorded as lost. Storing the
    /// same bytes again restores them for all contents that have them. If the list of a pack is
    /// damaged, the pack's rows are used. Damaged data chunks are not detected: `check` with all
    /// data read names them.
    ///
    /// A pack that no row names is indexed too. It may belong to a newer state of the vault, if
    /// this state file is an older one. So [`gc`](Self::gc) frees nothing in such packs, until
    /// [`discard_unknown`](GcOptions::discard_unknown) allows it. Both reports count them.
    ///
    /// Takes some hundred bytes of memory for each chunk. `Locked` while content is being stored.
    pub fn rebuild_index(&self, options: &RebuildOptions<'_>) -> Result<RebuildReport> {
        let roots: [&dyn Roots; 2] = [&ArtifactRoots, &RecordRoots];
        self.inner.content.rebuild_index(options, &roots)
    }

    /// Compacts the state file: returns its unused space to the file system.
    ///
    /// Reads and writes wait meanwhile. `Locked` if running reads take longer than the write
    /// timeout.
    pub fn compact(&self) -> Result<CompactReport> {
        const COMPACT: &str = "compact state";
        let _span = tracing::debug_span!("compact").entered();
        let (core, keys) = (&self.inner.core, &self.inner.keys);
        let turn = core.turn(COMPACT)?;
        core.reopen_if_failed(&turn)?;
        keys.refuse_if_behind(COMPACT)?;
        let bytes_before = core.store().bytes();
        core.store().compact(core.write_timeout())?;
        Ok(CompactReport { bytes_before, bytes_after: core.store().bytes() })
    }

    /// Returns what opening the vault found and recovered.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Returns a description of the vault.
    pub fn info(&self) -> Result<VaultInfo> {
        let snapshot = self.read()?;
        let row = super::lifecycle::read_vault_row(snapshot.state())?;
        let VaultRow::V0 { id, created_unix_millis, .. } = row;
        let (header, cipher) = self.inner.keys.header();
        Ok(VaultInfo {
            id,
            created_unix_millis,
            backend: header.backend.clone(),
            cipher,
            key_generation: header.generation,
            state_bytes: self.inner.core.store().bytes(),
            records: snapshot.namespaces()?.iter().map(|namespace| namespace.records).sum(),
            operations: snapshot.operation_count()?,
        })
    }

    /// Closes the vault for all of its handles.
    ///
    /// Other processes can then open it.
    ///
    /// Waits for a running write, for running calls of the backend, and for the notification of a
    /// shared store. Each wait is at most the write timeout. If one takes longer, the call fails
    /// with `Locked`, and the vault stays open.
    ///
    /// `Conflict` with [`CommitsSuperseded`](strongroom_base::Reason::CommitsSuperseded) if another
    /// session took the content over, and this one has committed. The vault is closed then, and its
    /// commits are only in a state that was superseded.
    ///
    /// Afterwards calls of all remaining handles fail with `Closed`. Dropping the last handle
    /// closes the vault too, but reports no error.
    ///
    /// [`Reason::CloseIncomplete`](crate::Reason::CloseIncomplete) means that the vault is closed
    /// and every commit is durable, but the state file was not left in order. The next open
    /// recovers it.
    ///
    /// In a process that was forked after the vault was opened, every call fails with `Closed`, and
    /// dropping a handle changes nothing.
    pub fn close(self) -> Result<()> {
        self.inner.core.close()
    }
}

/// Report of a [compaction](Vault::compact).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Size of the state before, in bytes.
    pub bytes_before: u64,
    /// Size of the state afterwards, in bytes.
    pub bytes_after: u64,
}
