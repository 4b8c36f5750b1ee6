//! The unfinished uploads in the rows: what each of them keeps, and until when.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{LongCall, Result};

use super::LocalIndex;
use super::gc::key_of;
use crate::pipeline::{GC, KeptUpload};
use strongroom_format::{ChunkId, ChunkPlace, ChunkRow, ObjectName, PackRow, UploadId, UploadRow};
use strongroom_store::state::{StateRead, Table};

/// Time for which a dead upload is kept.
///
/// A repeated put can resume it.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Stamp of an upload that keeps the unknown packs of a rebuild.
///
/// No clock shows that time. To a program that does not know it, the upload is never old enough.
pub(super) const KEEPS_UNKNOWN: u64 = u64::MAX;

/// Chunks between two checks for cancellation.
const CHUNKS_PER_CHECK: u64 = 4_096;

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// An unfinished upload.
pub(super) struct Unfinished {
    pub(super) id: UploadId,
    /// Its stamp: the time at which it began, or 0.
    since_unix_millis: u64,
    /// Set if it lives in this process.
    is_live: bool,
    /// Its packs, with their lengths.
    pub(super) packs: Vec<(ObjectName, u64)>,
    /// Bytes of its packs.
    pub(super) bytes: u64,
    /// Set if it has chunks that nothing else refers to, so that a repeated put would find them.
    is_resumable: bool,
}

impl Unfinished {
    /// Returns whether it keeps the unknown packs of a rebuild.
    pub(super) fn keeps_unknown(&self) -> bool {
        self.since_unix_millis == KEEPS_UNKNOWN
    }

    /// Returns whether the upload can end now: it died long ago, or nothing of it can be resumed.
    ///
    /// A put that stored the same content has referred to all of its chunks.
    pub(super) fn is_over(&self, now_unix_millis: u64, discard_unknown: bool) -> bool {
        if self.keeps_unknown() {
            return discard_unknown;
        }
        // An upload that lives in this process is not dead, whatever the clock shows.
        !self.is_live && (!self.is_resumable || self.until_unix_millis() <= now_unix_millis)
    }

    fn until_unix_millis(&self) -> u64 {
        let kept = u64::try_from(UPLOAD_KEPT.as_millis()).expect("a day");
        self.since_unix_millis.saturating_add(kept)
    }

    pub(super) fn to_kept(&self) -> KeptUpload {
        KeptUpload {
            id: uuid::Uuid::from_bytes(self.id.0),
            bytes: self.bytes,
            since_unix_millis: self.since_unix_millis,
            until_unix_millis: (!self.is_live).then(|| self.until_unix_millis()),
        }
    }
}

impl LocalIndex {
    /// Lists the unfinished uploads. Without any it reads only their table.
    pub(super) fn unfinished(&self, call: LongCall<'_>) -> Result<Vec<Unfinished>> {
        let view = self.core().read()?;
        let state = view.state();
        let mut uploads = BTreeMap::new();
        for entry in state.range(Table::Uploads, ALL)? {
            let entry = entry?;
            let id = UploadId(key_of(entry.key.as_slice())?);
            let UploadRow::V0 { since_unix_millis } = UploadRow::decode(entry.row.as_slice())?;
            let is_live = self.uploads().is_live(id);
            let (packs, bytes, is_resumable) = (Vec::new(), 0, false);
            let upload = Unfinished { id, since_unix_millis, is_live, packs, bytes, is_resumable };
            uploads.insert(id.0, upload);
        }
        if uploads.is_empty() {
            return Ok(Vec::new());
        }
        let mut owners = HashMap::new();
        for entry in state.range(Table::Packs, ALL)? {
            let entry = entry?;
            let name = ObjectName(key_of(entry.key.as_slice())?);
            let PackRow::V0 { bytes, upload, .. } = PackRow::decode(entry.row.as_slice())?;
            if let Some(upload) = upload.and_then(|id| uploads.get_mut(&id.0)) {
                upload.packs.push((name, bytes));
                upload.bytes += bytes;
                owners.insert(name, upload.id);
            }
        }
        if !owners.is_empty() {
            note_resumable(state, &owners, &mut uploads, call)?;
        }
        Ok(uploads.into_values().collect())
    }
}

/// Notes which uploads have chunks that nothing refers to, and that are not released.
///
/// Ends when all uploads are known to have some.
fn note_resumable(
    state: &StateRead,
    owners: &HashMap<ObjectName, UploadId>,
    uploads: &mut BTreeMap<[u8; 16], Unfinished>,
    call: LongCall<'_>,
) -> Result<()> {
    let mut left = uploads.values().filter(|upload| !upload.packs.is_empty()).count();
    for (number, entry) in state.range(Table::Chunks, ALL)?.enumerate() {
        if (number as u64).is_multiple_of(CHUNKS_PER_CHECK) {
            call.check(GC)?;
        }
        let entry = entry?;
        let ChunkRow::V0 { references: 0, place: ChunkPlace::Pack { pack, .. }, .. } =
            ChunkRow::decode(entry.row.as_slice())?
        else {
            continue;
        };
        let Some(upload) = owners.get(&pack).and_then(|id| uploads.get_mut(&id.0)) else {
            continue;
        };
        let id = ChunkId::of_key(entry.key.as_slice())?;
        if !upload.is_resumable && state.get(Table::Released, &id.0)?.is_none() {
            upload.is_resumable = true;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}
