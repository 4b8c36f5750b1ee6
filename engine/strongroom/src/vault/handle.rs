//! The handle of an open vault: it puts the rooms together, and hands each out.

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

/// An open vault. Cheap to clone, and usable from any thread. Closed by [`close`](Self::close),
/// or when the last of its handles is dropped: clones, snapshots, records being read, values that
/// were staged and their readers, stagings, operations, lanes, and batches with a
/// checkpoint. A [`gc`](Self::gc) of its own that is under way then keeps it open until its end, and so do
/// deletes on a store that hosts share.
#[derive(Clone)]
pub struct Vault {
    rooms: Arc<Rooms>,
}

/// The rooms of a vault. Each was given what it may use, and nothing else.
pub(super) struct Rooms {
    pub(super) core: Arc<Core>,
    pub(super) content: Content,
    pub(super) keys: Keys,
    pub(super) operations: Operations,
    pub(super) artifacts: Artifacts,
    pub(super) documents: Documents,
    pub(super) recovery: Recovery,
}

impl Rooms {
    /// Puts the rooms together over a core, and registers their parts in every commit.
    pub(super) fn new(
        core: Arc<Core>,
        custody: Arc<Custody>,
        handlers: Arc<dyn KnownWork>,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let (content, of_content) = custody.with_id_key(|id_key| Content::new(&core, id_key));
        let (operations, of_operations) = Operations::new(content.clone(), handlers, recorder);
        let of_records: Arc<dyn Hook> = Arc::<DroppedNamespaces>::default();
        core.register(vec![of_records, of_content, of_operations]);
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
        f.debug_struct("Vault").field("id", &self.rooms.core.id()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Options with which to create or open a vault, its keys from `keys`.
    pub fn options(keys: impl KeySource + 'static) -> VaultOptions {
        VaultOptions::new(Arc::new(keys))
    }

    pub(super) fn new(rooms: Rooms) -> Self {
        Self { rooms: Arc::new(rooms) }
    }

    pub(super) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    pub(super) fn of_rooms(rooms: Arc<Rooms>) -> Self {
        Self { rooms }
    }

    /// Returns its core, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.rooms.core
    }

    /// Runs `change` in a transaction over everything in the vault: records, checkpoints,
    /// staged content.
    ///
    /// Commits when it returns `Ok`, and returns once the commit is durable: it survives the
    /// loss of power. Leaves nothing when it returns `Err` or panics; the panic goes on. Waits
    /// for other writes of this process, at most the write timeout.
    ///
    /// Errors of the commit itself: `Full`, `Denied`, `Unavailable`: it did not happen.
    /// `Uncertain`: it may have; read again once the vault has recovered. After a failure of
    /// the storage the vault reopens its state by itself; until then calls are `Unavailable`.
    ///
    /// Calling `write`, `apply` or `stage` of the same vault from within is `Invalid`.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.rooms.core.write_owned("write", |tx| {
            let mut tx = WriteTx::new(tx, self.rooms.content.clone());
            let value = change(&mut tx)?;
            Ok((value, tx.into_inner()))
        })
    }

    /// Commits a prepared batch, together with those of other threads that wait at this moment:
    /// they share one transaction and one sync. Returns once it is durable.
    ///
    /// A batch is checked whole before its first row is written; if it is refused (`Invalid`,
    /// `Conflict`), the others are not touched. If the commit fails, all in it get the error, as
    /// told at [`write`](Self::write).
    pub fn apply(&self, batch: Batch) -> Result<()> {
        let _span = tracing::debug_span!("apply", changes = batch.len()).entered();
        self.rooms.core.submit("apply batch", Box::new(batch))
    }

    /// A consistent snapshot. It waits for no writer; only while the state is checked, or opened
    /// again after a failure, does it wait for that. `Unavailable` after an `Uncertain` commit
    /// until the state was opened again and its outcome is known.
    pub fn read(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.rooms.core.read()?, self.rooms.content.clone()))
    }

    /// Stores a value of any length, in bounded memory, for a transaction to
    /// [`insert`](WriteTx::insert). Reads `source` to its end.
    ///
    /// What the content store has already, of artifacts or other values, is not stored again. A long value
    /// is on the backend on return, and durable; a short one, up to 256 KiB as it is stored, goes with its
    /// transaction. Nothing refers to it yet: if the [`Staged`] is dropped, or the process dies, it is freed
    /// later. `Full` if the content store may not take it: see
    /// [`set_quota`](crate::artifacts::Artifacts::set_quota).
    pub fn stage(&self, source: impl Read) -> Result<Staged> {
        self.stage_with(source, LongCall::new())
    }

    /// As [`stage`](Self::stage). Progress is the bytes staged so far.
    pub fn stage_with(&self, mut source: impl Read, call: LongCall<'_>) -> Result<Staged> {
        let _span = tracing::debug_span!("stage").entered();
        let Rooms { core, content, artifacts, .. } = &*self.rooms;
        core.refuse_nested_write("stage value")?;
        // A value that is a row touches nothing else that would tell.
        drop(core.objects().enter("stage value")?);
        let limit = || Ok(artifacts.quota()?.map(|quota| quota.bytes));
        stage(content, limit, &mut source, call)
    }

    /// Its operations: long work that survives the death of its process.
    pub fn operations(&self) -> Operations {
        self.rooms.operations.clone()
    }

    /// Its artifacts.
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
        self.rooms.artifacts.clone()
    }

    /// Its documents: the share space.
    pub fn documents(&self) -> Documents {
        self.rooms.documents.clone()
    }

    /// Its keys: who may open it.
    pub fn keys(&self) -> Keys {
        self.rooms.keys.clone()
    }

    /// Frees content that nothing refers to, beside readers and writers, in commits of bounded size; then
    /// moves chunks out of packs that are more than half waste, and out of state if they are many there.
    /// Deletes objects that are due, and the last rows of deleted namespaces.
    ///
    /// [`without_repacking`](GcOptions::without_repacking) moves nothing: chunks that share a pack with
    /// others stay in it. That takes little time, before the backend's size is looked at for example.
    ///
    /// It runs by itself, on a thread of the vault's own, once contents of 256 MiB were released, and
    /// as often as [`upkeep`](crate::VaultOptions::upkeep) says.
    ///
    /// One at a time: `Locked` if another, the vault's own included, or a rebuild of the index, takes
    /// longer than the write timeout.
    pub fn gc(&self, options: &GcOptions<'_>) -> Result<GcReport> {
        self.rooms.content.gc(options)
    }

    /// Makes the index of chunks again from the packs on the backend, in one commit: which chunks
    /// there are, where they are, and how often each is referred to. Chunks of packs that are gone,
    /// and nodes that cannot be read, are known to be lost then: a put of the same bytes stores them
    /// again, for all that had them. Of a pack whose list is damaged counts what rows say. Damaged
    /// chunks of data stay where they are; `check` with all data read names them. Takes memory for
    /// each chunk, some hundred bytes.
    ///
    /// `Locked` while something is being stored.
    pub fn rebuild_index(&self, options: &RebuildOptions<'_>) -> Result<RebuildReport> {
        let roots: [&dyn Roots; 2] = [&ArtifactRoots, &RecordRoots];
        self.rooms.content.rebuild_index(options, &roots)
    }

    /// Gives space of the state file that nothing uses back to the file system. Reads and writes
    /// wait meanwhile; `Locked` if reads under way take longer than the write timeout.
    pub fn compact(&self) -> Result<CompactReport> {
        const COMPACT: &str = "compact state";
        let _span = tracing::debug_span!("compact").entered();
        let (core, keys) = (&self.rooms.core, &self.rooms.keys);
        let turn = core.turn(COMPACT)?;
        core.reopen_if_failed(&turn)?;
        keys.refuse_if_behind(COMPACT)?;
        let bytes_before = core.store().bytes();
        core.store().compact(core.write_timeout())?;
        Ok(CompactReport { bytes_before, bytes_after: core.store().bytes() })
    }

    /// What opening the vault found, and recovered.
    pub fn recovery(&self) -> &Recovery {
        &self.rooms.recovery
    }

    /// What the vault is.
    pub fn info(&self) -> Result<VaultInfo> {
        let snapshot = self.read()?;
        let row = super::lifecycle::read_vault_row(snapshot.state())?;
        let VaultRow::V0 { id, created_unix_millis, .. } = row;
        let (header, cipher) = self.rooms.keys.header();
        Ok(VaultInfo {
            id,
            created_unix_millis,
            backend: header.backend.clone(),
            cipher,
            key_generation: header.generation,
            state_bytes: self.rooms.core.store().bytes(),
            records: snapshot.namespaces()?.iter().map(|namespace| namespace.records).sum(),
            operations: snapshot.operation_count()?,
        })
    }

    /// Closes the vault for all its handles, and lets other processes in. Waits for a write, for
    /// calls of the backend that are under way, and for a shared store to be told, each at most the
    /// write timeout; if they take longer it is `Locked`, and the vault is still open.
    ///
    /// Whatever is asked of a snapshot, value, lane or handle that still lives is `Closed` from
    /// then on. Dropping the last handle closes as well, without telling an error.
    pub fn close(self) -> Result<()> {
        self.rooms.core.close()
    }
}

/// What a [compaction](Vault::compact) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Size of the state before, in bytes.
    pub bytes_before: u64,
    /// Its size now.
    pub bytes_after: u64,
}
