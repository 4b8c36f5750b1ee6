//! The content store of one vault: what its parts share, and its part in every commit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use strongroom_base::pool::Pool;
use strongroom_base::{LongCall, Result};
use strongroom_crypto::SecretKey;
use strongroom_store::commit::{CommitInfo, Core, Hook, Tx, View};
use strongroom_store::state::StateWrite;

use super::body::{Codecs, IdKeys};
use super::cutter::Cutter;
use super::index::stored_total;
use super::packing::{PACK, STATE_BYTES_KEPT};
use super::prepare::pool as preparing_pool;
use super::reader::Pinned;
use super::release::GcOptions;
use super::stored::StoredContent;
use super::uploads::Uploads;

/// Threads of upkeep: one run after another.
const UPKEEP_THREADS: usize = 1;
/// How many runs may wait; one more is refused.
const UPKEEP_QUEUE_MAX: usize = 10_000;

/// Contents of this many released bytes are freed in the background: counted in full, whatever of
/// them is stored once.
const RELEASED_BYTES_MAX: u64 = 256 << 20;

/// The content store of one vault. Cheap to clone.
#[derive(Clone)]
pub struct Content {
    core: Arc<Core>,
    shared: Arc<Shared>,
}

/// What the store holds beside its core.
struct Shared {
    /// The uploads under way.
    uploads: Uploads,
    /// Where streams are cut.
    cutter: Cutter,
    /// What chunks are called.
    id_keys: Arc<IdKeys>,
    codecs: Arc<Codecs>,
    /// Chunks in state are about to be packed.
    packing: AtomicBool,
    /// Bytes of those that the last packing has left.
    kept_in_state: AtomicU64,
    /// Lengths of contents released since the last `gc` in the background; whether one is due.
    released: AtomicU64,
    collecting: AtomicBool,
    /// Packs, expires and frees in the background.
    upkeep: Pool,
    /// Prepares the chunks of long uploads, beside their own threads.
    preparing: Pool,
}

/// What a transaction does to the content store.
#[derive(Default)]
pub(crate) struct Effects {
    /// Contents that it refers to first.
    pub(crate) adopted: Vec<Arc<StoredContent>>,
    /// If it adopted any: how much of the store lies in state, in bytes.
    state_bytes: u64,
    /// Lengths of contents that it releases, in bytes together.
    pub(crate) let_go: u64,
    /// Uploads whose rows say from this commit on that they were given up.
    given_up: usize,
}

/// Returns the contents that a transaction refers to first.
pub fn adopted<'t>(tx: &'t Tx<'_>) -> &'t [Arc<StoredContent>] {
    tx.parts.get::<Effects>().map_or(&[], |effects| &effects.adopted)
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}

impl Content {
    /// Makes the content store of a vault whose ids come from `id_key`, and its part in commits.
    pub fn new(core: &Arc<Core>, id_key: &SecretKey) -> (Self, Arc<dyn Hook>) {
        let clock = core.clock();
        let shared = Arc::new(Shared {
            uploads: Uploads::new(core.pins().newest()),
            cutter: Cutter::new(id_key),
            id_keys: Arc::new(IdKeys::new(id_key)),
            codecs: Arc::default(),
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
            preparing: preparing_pool(Arc::clone(clock)),
        });
        let hook: Arc<dyn Hook> = Arc::<Shared>::clone(&shared);
        (Self { core: Arc::clone(core), shared }, hook)
    }

    /// Returns the core that it stands on.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.shared.uploads
    }

    pub(crate) fn cutter(&self) -> &Cutter {
        &self.shared.cutter
    }

    /// Returns the names of chunks.
    pub fn id_keys(&self) -> &Arc<IdKeys> {
        &self.shared.id_keys
    }

    /// Returns the codecs.
    pub fn codecs(&self) -> &Arc<Codecs> {
        &self.shared.codecs
    }

    pub(crate) fn preparing(&self) -> &Pool {
        &self.shared.preparing
    }

    /// Returns the threads of upkeep, which run one task after another.
    pub fn upkeep(&self) -> &Pool {
        &self.shared.upkeep
    }

    /// Keeps what `view` can reach for a reader that outlives it.
    pub fn pinned(&self, view: &View) -> Pinned {
        Pinned::new(self, view.pin())
    }

    /// Keeps what the newest commit can reach.
    pub fn pinned_now(&self) -> Pinned {
        Pinned::new(self, &self.core.pin())
    }

    /// Returns whether it is of that core.
    pub fn is_of(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(&self.core, core)
    }

    pub(crate) fn keep_in_state(&self, bytes: u64) {
        self.shared.kept_in_state.store(bytes, Ordering::Release);
    }
}

impl Hook for Shared {
    /// Marks the rows of uploads that ended without their commit.
    fn before_commit(&self, tx: &mut Tx<'_>) -> Result<()> {
        let given_up = self.uploads.given_up();
        if !given_up.is_empty() {
            Uploads::mark(&mut tx.state, &given_up)?;
            tx.parts.get_mut::<Effects>().given_up = given_up.len();
        }
        if !adopted(tx).is_empty() {
            tx.parts.get_mut::<Effects>().state_bytes = stored_total(tx)?.0;
        }
        Ok(())
    }

    fn committed(self: Arc<Self>, core: &Arc<Core>, info: &mut CommitInfo) {
        self.uploads.publish(info.number);
        let Some(effects) = info.parts.take::<Effects>() else { return };
        self.uploads.forget_given_up(effects.given_up);
        effects.adopted.iter().for_each(|stored| stored.settle());
        self.pack_if_much(core, effects.state_bytes);
        self.gc_if_much(core, effects.let_go);
    }

    fn has_last_rows(&self) -> bool {
        !self.uploads.given_up().is_empty()
    }

    fn closing(&self, state: &mut StateWrite<'_>) -> Result<()> {
        Uploads::mark(state, &self.uploads.given_up())
    }
}

impl Shared {
    /// Packs chunks in state in the background, if they take much.
    fn pack_if_much(self: &Arc<Self>, core: &Arc<Core>, state_bytes: u64) {
        let kept = self.kept_in_state.load(Ordering::Acquire).saturating_add(STATE_BYTES_KEPT);
        if state_bytes < kept || self.packing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (core, shared) = (Arc::downgrade(core), Arc::downgrade(self));
        let run = move || {
            let (Some(core), Some(shared)) = (core.upgrade(), shared.upgrade()) else { return };
            // Before it looks: what comes in while it works asks again.
            shared.packing.store(false, Ordering::Release);
            let content = Content { core, shared };
            let packed = content
                .uploads()
                .upkeep_turn(PACK, content.core.write_timeout())
                .and_then(|_turn| content.pack_state(LongCall::new()));
            if let Err(error) = packed {
                tracing::warn!(error = %error.kind(), "chunks not packed yet");
            }
        };
        if let Err(error) = self.upkeep.spawn(Duration::ZERO, run) {
            self.packing.store(false, Ordering::Release);
            tracing::debug!(error = %error.kind(), "chunks not packed yet");
        }
    }

    /// Frees released contents in the background, if they are much with these bytes.
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
            // Before it looks: what comes in while it works counts for the next one.
            shared.released.store(0, Ordering::Release);
            shared.collecting.store(false, Ordering::Release);
            let content = Content { core, shared };
            if let Err(error) = content.gc(&GcOptions::new()) {
                tracing::warn!(error = %error.kind(), "released contents are not freed yet");
                // The next commit that releases a content asks again.
                content.shared.released.fetch_add(RELEASED_BYTES_MAX, Ordering::AcqRel);
            }
        };
        if let Err(error) = self.upkeep.spawn(Duration::ZERO, run) {
            self.collecting.store(false, Ordering::Release);
            tracing::debug!(error = %error.kind(), "released contents are not freed yet");
        }
    }
}
