//! The content store of one vault: pipeline and index joined, and its hook.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use strongroom_base::pool::Pool;
use strongroom_base::{LongCall, Result};
use strongroom_crypto::SecretKey;
use strongroom_format::{Child, ChunkId, ChunkKind};
use strongroom_store::commit::{CommitInfo, Core, Hook, Tx, View};
use strongroom_store::state::{StateRead, StateWrite, Table};

use crate::index::{
    self, Effects, HELD_BYTES_KEPT, LocalIndex, LocalUpload, RebuildOptions, RebuildReport, Roots,
    UploadRegistry, adopted, stored_total, write_stored,
};
use crate::pipeline::{
    Codecs, GC, GcOptions, GcReport, IdKeys, PACK, Pinned, Pipeline, Upload, empty_packs,
    free_released, listed,
};

/// Threads of upkeep, which run one task after another.
const UPKEEP_THREADS: usize = 1;
/// Most waiting upkeep tasks; further ones are refused.
const UPKEEP_QUEUE_MAX: usize = 10_000;

/// Released bytes after which `gc` runs in the background.
///
/// Each content counts in full, although contents may share chunks.
const RELEASED_BYTES_MAX: u64 = 256 << 20;

/// The content store of one vault. Cheap to clone.
#[derive(Clone)]
pub struct Content {
    index: Arc<LocalIndex>,
    shared: Arc<Shared>,
}

/// The store's parts without its core, for use in hooks.
///
/// A hook must not own the core.
struct Shared {
    pipeline: Arc<Pipeline>,
    /// The unfinished uploads.
    uploads: Arc<UploadRegistry>,
    /// Set when packing of chunks in the state is due.
    packing: AtomicBool,
    /// Bytes that the last packing left in the state.
    kept_in_state: AtomicU64,
    /// Bytes of contents released since the last `gc` in the background.
    released: AtomicU64,
    /// Set when a `gc` in the background is due.
    collecting: AtomicBool,
    /// Packs, expires and frees in the background.
    upkeep: Pool,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}

impl Content {
    /// Makes a vault's content store and hook, with keys from `id_key`.
    pub fn new(core: &Arc<Core>, id_key: &SecretKey) -> (Self, Arc<dyn Hook>) {
        let clock = core.clock();
        let shared = Arc::new(Shared {
            pipeline: Arc::new(Pipeline::new(core.objects(), id_key, clock)),
            uploads: Arc::new(UploadRegistry::new(core.read_epochs().newest(), clock)),
            packing: AtomicBool::new(false),
            kept_in_state: AtomicU64::new(0),
            released: AtomicU64::new(0),
            collecting: AtomicBool::new(false),
            upkeep: Pool::new(
                "strongroom-upkeep",
                UPKEEP_THREADS,
                UPKEEP_QUEUE_MAX,
                Arc::clone(clock),
            ),
        });
        let hook: Arc<dyn Hook> = Arc::<Shared>::clone(&shared);
        (Self::of(core, shared), hook)
    }

    fn of(core: &Arc<Core>, shared: Arc<Shared>) -> Self {
        Self { index: Arc::new(LocalIndex::new(core, &shared.uploads)), shared }
    }

    /// Returns the core of its index.
    pub fn core(&self) -> &Arc<Core> {
        self.index.core()
    }

    /// Returns the keys of chunk ids.
    pub fn id_keys(&self) -> &Arc<IdKeys> {
        self.shared.pipeline.id_keys()
    }

    /// Returns the codecs.
    pub fn codecs(&self) -> &Arc<Codecs> {
        self.shared.pipeline.codecs()
    }

    /// Returns the threads of upkeep, which run one task after another.
    pub fn upkeep(&self) -> &Pool {
        &self.shared.upkeep
    }

    /// Begins to store a stream in a store of `limit` bytes.
    ///
    /// `size` is the stream's length in bytes, if known.
    ///
    /// `Full` if they do not fit.
    pub fn upload(&self, limit: Option<u64>, size: Option<u64>) -> Result<Upload<LocalUpload>> {
        Upload::new(&self.shared.pipeline, LocalUpload::begin(&self.index, limit, size)?)
    }

    /// Keeps everything that `view` reaches, for a longer-lived reader.
    pub fn pinned(&self, view: &View) -> Pinned {
        Pinned::new(
            &self.shared.pipeline,
            Arc::<LocalIndex>::clone(&self.index),
            view.enter_epoch(),
        )
    }

    /// Keeps everything that the newest commit can reach.
    pub fn pinned_now(&self) -> Pinned {
        let read_epoch = self.core().enter_epoch();
        Pinned::new(&self.shared.pipeline, Arc::<LocalIndex>::clone(&self.index), &read_epoch)
    }

    /// Returns whether the store belongs to `core`.
    pub fn is_of(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(self.core(), core)
    }
}

/// Garbage collection.
impl Content {
    /// Frees unreferenced content in commits of bounded size.
    ///
    /// Readers and writers continue meanwhile.
    ///
    /// Then it moves chunks out of packs that are more than half unused, and out of the state if
    /// there are many. Last it deletes due objects.
    ///
    /// A thread of the vault runs it after every 256 MiB of released contents, and at the interval
    /// of `VaultOptions::upkeep`.
    ///
    /// One run at a time: `Locked` if another run, or a rebuild of the index, takes longer than the
    /// write timeout.
    pub fn gc(&self, options: &GcOptions<'_>) -> Result<GcReport> {
        self.core().refuse_nested_write(GC)?;
        let _turn = self.index.uploads().upkeep_turn(GC, self.core().write_timeout())?;
        let mut report = GcReport::default();
        if !options.dry_run {
            // The last rows of dropped namespaces release values.
            self.core().settle_rows(options.call)?;
        }
        self.free(options, &mut report)?;
        if options.dry_run {
            self.index.report_kept(options, &mut report)?;
            return Ok(report);
        }
        if !options.without_repacking {
            empty_packs(&self.shared.pipeline, &self.index, options.call, &mut report)?;
            report.moved += self.pack_held(options.call)?;
        }
        self.index.report_kept(options, &mut report)?;
        // Last, because nothing depends on it.
        report.objects = self.core().delete_due(options.call)?;
        report.waiting += self.core().read()?.state().len(Table::Doomed)?;
        Ok(report)
    }

    fn free(&self, options: &GcOptions<'_>, report: &mut GcReport) -> Result<()> {
        self.index.give_up_uploads(options, report)?;
        free_released(&self.shared.pipeline, &*self.index, options, report)
    }

    /// Packs chunks in the state, if there are many. The caller holds the maintenance lock.
    fn pack_held(&self, call: LongCall<'_>) -> Result<u64> {
        let (moved, left) = self.index.pack_held(&self.shared.pipeline, call)?;
        if let Some(left) = left {
            self.shared.kept_in_state.store(left, Ordering::Release);
        }
        Ok(moved)
    }

    /// Rebuilds the chunk index from the packs, in one commit.
    ///
    /// The packs show which chunks exist, where they are, and how often each is referred to. Chunks
    /// of missing packs, and unreadable nodes, are recorded as lost; a put of the same bytes stores
    /// them again, for all contents that had them. If a pack's list is damaged, its rows are used.
    /// Damaged chunks of data keep their location; `check` with all data read reports them. The
    /// rebuild needs some hundred bytes of memory for each chunk.
    ///
    /// `Locked` while an upload is running.
    pub fn rebuild_index(
        &self,
        options: &RebuildOptions<'_>,
        roots: &[&dyn Roots],
    ) -> Result<RebuildReport> {
        self.index.rebuild(&self.shared.pipeline, options, roots)
    }
}

/// Returns the bytes of a chunk, found in a state read.
pub fn fetch(
    content: &Content,
    state: &StateRead,
    kind: ChunkKind,
    id: &ChunkId,
) -> Result<Vec<u8>> {
    content.shared.pipeline.open(kind, id, index::find(state, id)?)
}

/// Returns the children of a node, found in a state read.
pub fn children(content: &Content, state: &StateRead, id: &ChunkId) -> Result<Vec<Child>> {
    listed(&fetch(content, state, ChunkKind::Node, id)?)
}

impl Hook for Shared {
    /// Stamps rows of dead uploads, and writes the changed total.
    fn before_commit(&self, tx: &mut Tx<'_>) -> Result<()> {
        let stamps = self.uploads.stamps();
        if !stamps.is_empty() {
            UploadRegistry::stamp(&mut tx.state, &stamps)?;
            tx.parts.get_mut::<Effects>().stamps = stamps.len();
        }
        if !adopted(tx).is_empty() {
            tx.parts.get_mut::<Effects>().state_bytes = stored_total(tx)?.0;
        }
        write_stored(tx)
    }

    fn committed(self: Arc<Self>, core: &Arc<Core>, info: &mut CommitInfo) {
        self.uploads.publish(info.number);
        let Some(effects) = info.parts.take::<Effects>() else { return };
        self.uploads.forget_stamps(effects.stamps);
        effects.adopted.iter().for_each(|stored| stored.settle());
        self.pack_if_much(core, effects.state_bytes);
        self.gc_if_much(core, effects.released_bytes);
    }

    fn has_more(&self) -> bool {
        !self.uploads.stamps().is_empty()
    }

    fn opened(&self, state: &StateRead) -> Result<()> {
        self.uploads.note_uploads_ahead(state)
    }

    fn has_last_rows(&self) -> bool {
        !self.uploads.stamps().is_empty()
    }

    fn closing(&self, state: &mut StateWrite<'_>) -> Result<()> {
        UploadRegistry::stamp(state, &self.uploads.stamps())
    }
}

impl Shared {
    /// Starts background packing if chunks in the state take much space.
    fn pack_if_much(self: &Arc<Self>, core: &Arc<Core>, state_bytes: u64) {
        let kept = self.kept_in_state.load(Ordering::Acquire).saturating_add(HELD_BYTES_KEPT);
        if state_bytes < kept || self.packing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (core, shared) = (Arc::downgrade(core), Arc::downgrade(self));
        let run = move || {
            let (Some(core), Some(shared)) = (core.upgrade(), shared.upgrade()) else { return };
            // Reset first, so that a commit during the work can start it again.
            shared.packing.store(false, Ordering::Release);
            let content = Content::of(&core, shared);
            let packed = content
                .index
                .uploads()
                .upkeep_turn(PACK, core.write_timeout())
                .and_then(|_turn| content.pack_held(LongCall::new()));
            if let Err(error) = packed {
                tracing::warn!(error = %error.kind(), "chunks not packed yet");
            }
        };
        if let Err(error) = self.upkeep.spawn(Duration::ZERO, run) {
            self.packing.store(false, Ordering::Release);
            tracing::debug!(error = %error.kind(), "chunks not packed yet");
        }
    }

    /// Starts a background `gc` if released contents take much space.
    fn gc_if_much(self: &Arc<Self>, core: &Arc<Core>, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let before = self.released.fetch_add(bytes, Ordering::AcqRel);
        let is_much = before.saturating_add(bytes) >= RELEASED_BYTES_MAX;
        if !is_much || self.collecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (core, shared) = (Arc::downgrade(core), Arc::downgrade(self));
        let run = move || {
            let (Some(core), Some(shared)) = (core.upgrade(), shared.upgrade()) else { return };
            // Reset first, so that a release during the work counts for the next run.
            shared.released.store(0, Ordering::Release);
            shared.collecting.store(false, Ordering::Release);
            let content = Content::of(&core, shared);
            if let Err(error) = content.gc(&GcOptions::new()) {
                tracing::warn!(error = %error.kind(), "released contents are not freed yet");
                // The next commit that releases a content starts it again.
                content.shared.released.fetch_add(RELEASED_BYTES_MAX, Ordering::AcqRel);
            }
        };
        if let Err(error) = self.upkeep.spawn(Duration::ZERO, run) {
            self.collecting.store(false, Ordering::Release);
            tracing::debug!(error = %error.kind(), "released contents are not freed yet");
        }
    }
}
