//! Staging: storing a long value before the transaction that refers to it.
//!
//! It cannot be stored inside the host's transaction, which holds redb's only write transaction and ought to
//! be short. So it is stored beforehand, as any content is; the transaction that inserts it writes the
//! last of its rows.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_base::{Error, Result};
use strongroom_content::{Content, StoredContent};
use strongroom_store::commit::Core;

use strongroom_base::LongCall;
use strongroom_format::ROW_BYTES_MAX;

/// A value on its way into the vault: stored, and waiting for a transaction to
/// [insert](crate::WriteTx::insert) it.
///
/// Dropped without that, what was stored for it alone is freed by the next
/// [`gc`](crate::Vault::gc); so it is when the transaction fails, or, a day later, when the process dies. While
/// it lives, chunks that are let go of wait, so do not keep it for longer than it is needed.
pub struct Staged {
    parts: StagedParts,
    content: Content,
}

/// What a transaction needs of a staging.
pub(crate) enum StagedParts {
    /// Short enough for a row.
    Inline(Bytes),
    Content(Arc<StoredContent>),
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Staged {
    /// Length of the value in bytes.
    pub fn len(&self) -> u64 {
        match &self.parts {
            StagedParts::Inline(value) => value.len() as u64,
            StagedParts::Content(stored) => stored.content().len,
        }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory it takes, in bytes: short contents are not on the backend.
    pub(super) fn bytes_in_memory(&self) -> u64 {
        match &self.parts {
            StagedParts::Inline(value) => value.len() as u64,
            StagedParts::Content(stored) => stored.bytes_in_memory(),
        }
    }

    /// Whether it is of that vault, in this session: it is of use in no other.
    pub(super) fn is_of(&self, core: &Arc<Core>) -> bool {
        self.content.is_of(core)
    }

    pub(super) fn parts(&self) -> &StagedParts {
        &self.parts
    }
}

/// Stages all of `source`, in a store that may take `limit` bytes. What is a row asks for no limit.
pub(crate) fn stage(
    content: &Content,
    limit: impl FnOnce() -> Result<Option<u64>>,
    source: &mut dyn Read,
    call: LongCall<'_>,
) -> Result<Staged> {
    let mut head = Vec::new();
    source
        .take(ROW_BYTES_MAX as u64 + 1)
        .read_to_end(&mut head)
        .map_err(|e| Error::io("read source of value", e))?;
    if head.len() <= ROW_BYTES_MAX {
        call.report(head.len() as u64, None);
        return Ok(Staged { parts: StagedParts::Inline(head.into()), content: content.clone() });
    }
    let upload = content.upload(limit()?, None)?;
    let stored = upload.store(&mut head[..].chain(source), None, call)?;
    Ok(Staged { parts: StagedParts::Content(Arc::new(stored)), content: content.clone() })
}
