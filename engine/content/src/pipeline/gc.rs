//! Freeing released chunks, in steps of bounded size, each a commit.
//!
//! After an interruption the next run continues. Unreadable nodes are counted, and the run
//! continues after them.

use std::collections::{BTreeSet, VecDeque};

use strongroom_base::{LongCall, Result, long_call_options};
use strongroom_format::ChunkId;

use super::Pipeline;
use super::chunk_index::{GcIndex, ReleasedChunk, ToFree};

pub(crate) const GC: &str = "collect garbage";

/// Most chunks that one commit frees, including the children of nodes.
///
/// A single node may exceed it.
const CHUNKS_PER_COMMIT: usize = 2_048;

/// Options of `Vault::gc`.
///
/// Progress is the number of freed chunks. A cancelled call ends between two commits; freed chunks
/// stay freed.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions<'a> {
    pub(crate) dry_run: bool,
    pub(crate) without_repacking: bool,
    pub(crate) discard_unknown: bool,
    pub(crate) call: LongCall<'a>,
}

long_call_options!(GcOptions);

impl GcOptions<'_> {
    /// Makes the default options: free all due chunks, and empty wasteful packs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports what would be freed, and frees nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Moves no chunks. No pack is emptied, so this needs no space and little time.
    #[must_use]
    pub fn without_repacking(mut self, without_repacking: bool) -> Self {
        self.without_repacking = without_repacking;
        self
    }

    /// Frees what is not needed of packs that a rebuild found without rows.
    ///
    /// If the state file is older than another one, only that one may name these packs. Its
    /// contents are lost then. Choose this only if this state is the one that stays.
    #[must_use]
    pub fn discard_unknown(mut self, discard_unknown: bool) -> Self {
        self.discard_unknown = discard_unknown;
        self
    }
}

/// The outcome of a `gc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Unfinished uploads that ended: without a commit, or because others need all of their chunks.
    pub uploads_given_up: u64,
    /// Bytes of packs that the other unfinished uploads keep, for the same put to resume.
    pub kept_bytes: u64,
    /// These uploads, those of most bytes first.
    ///
    /// At most [`KEPT_LISTED_MAX`](Self::KEPT_LISTED_MAX).
    pub kept: Vec<KeptUpload>,
    /// Packs that a rebuild found without rows, and their bytes.
    ///
    /// They stay until [`discard_unknown`](GcOptions::discard_unknown).
    pub unknown_packs: u64,
    pub unknown_bytes: u64,
    /// Chunks without references. A dry run counts only those known now; others become known when
    /// the chunks that refer to them are freed.
    pub chunks: u64,
    /// Stored bytes of these chunks. Those in packs come back with the last chunk of each pack.
    pub bytes: u64,
    /// Packs that are empty. Their objects are deleted when no reader can have found them.
    pub packs: u64,
    /// Chunks moved out of mostly unused packs and the state.
    pub moved: u64,
    /// Objects deleted from the backend.
    pub objects: u64,
    /// Chunks and objects that a live reader or upload may still need; left to the next run.
    pub waiting: u64,
    /// Unreadable nodes and packs; the chunks to which they refer stay. `check` reports details.
    pub damaged: u64,
}

impl GcReport {
    /// Most uploads that a report lists.
    pub const KEPT_LISTED_MAX: usize = 100;

    /// Notes what unfinished uploads keep.
    pub(crate) fn note_kept(&mut self, kept: impl Iterator<Item = KeptUpload>) {
        self.kept = kept.collect();
        self.kept_bytes = self.kept.iter().map(|upload| upload.bytes).sum();
        self.kept.sort_by_key(|upload| std::cmp::Reverse(upload.bytes));
        self.kept.truncate(Self::KEPT_LISTED_MAX);
    }
}

/// An unfinished upload, whose content `gc` keeps.
///
/// It is running, or its process died less than a day ago.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptUpload {
    /// Random id of the upload.
    pub id: uuid::Uuid,
    /// Bytes of its packs. Other contents may need some of their chunks.
    pub bytes: u64,
    /// Time at which it began, in milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
    /// Time from which `gc` frees it; `None` while it is running.
    pub until_unix_millis: Option<u64>,
}

/// Frees due chunks. The caller excludes others from freeing and moving.
pub(crate) fn free_released(
    pipeline: &Pipeline,
    index: &dyn GcIndex,
    options: &GcOptions<'_>,
    report: &mut GcReport,
) -> Result<()> {
    let (mut after, mut listed) = (None::<ChunkId>, VecDeque::new());
    let mut freed_before = None;
    loop {
        options.call.check(GC)?;
        if listed.is_empty() {
            listed.extend(index.released(after.as_ref(), CHUNKS_PER_COMMIT)?);
        }
        let Some(last) = listed.back() else {
            // Earlier ids may have been released meanwhile, so it repeats as long as that frees
            // chunks.
            if options.dry_run || freed_before == Some(report.chunks) {
                return Ok(());
            }
            freed_before = Some(report.chunks);
            (after, report.waiting, report.damaged) = (None, 0, 0);
            continue;
        };
        after = Some(last.id);
        let batch = next_batch(pipeline, index, &mut listed, options, report)?;
        if !options.dry_run && !batch.is_empty() {
            index.free(&batch)?.add_to(report);
            options.call.report(report.chunks, None);
        }
    }
}

/// Takes due chunks off the list, as many as one commit frees.
///
/// The children of a node never change, so they are read before the commit, which checks the rest.
fn next_batch(
    pipeline: &Pipeline,
    index: &dyn GcIndex,
    listed: &mut VecDeque<ReleasedChunk>,
    options: &GcOptions<'_>,
    report: &mut GcReport,
) -> Result<Vec<ToFree>> {
    // Held until they are read, because others may empty the packs of nodes.
    let _pin = index.enter_epoch();
    let (mut batch, mut weight) = (Vec::new(), 0);
    while weight < CHUNKS_PER_COMMIT
        && let Some(ReleasedChunk { id, is_due, unreferenced }) = listed.pop_front()
    {
        if !is_due {
            report.waiting += 1;
            continue;
        }
        let Some((id, children)) =
            pipeline.to_free(index, unreferenced.map(|(kind, _)| kind), id)?
        else {
            report.damaged += 1;
            continue;
        };
        if options.dry_run
            && let Some((_, stored)) = unreferenced
        {
            report.chunks += 1;
            report.bytes += u64::from(stored);
        }
        weight += 1 + children.as_ref().map_or(0, BTreeSet::len);
        batch.push((id, children));
    }
    Ok(batch)
}
