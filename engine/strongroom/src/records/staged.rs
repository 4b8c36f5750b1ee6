//! Staging: storing a long value before the transaction that refers to it.
//!
//! A long value cannot be stored inside the host's transaction, which is redb's only write
//! transaction and should be short. It is stored before, like any content. The transaction that
//! inserts it writes the last of its rows.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_base::{Error, Result};
use strongroom_content::{Content, StoredContent};
use strongroom_store::commit::Core;

use strongroom_base::LongCall;
use strongroom_format::ROW_BYTES_MAX;

/// A stored value that waits for a transaction to [insert](crate::WriteTx::insert) it.
///
/// If it is dropped first, or the transaction fails, the next [`gc`](crate::Vault::gc) frees what
/// was stored for it alone. If the process dies, that happens a day later. While it lives, released
/// chunks cannot be freed, so drop it early.
pub struct Staged {
    parts: StagedParts,
    content: Content,
}

/// The parts of a staging for a transaction.
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
    /// Returns the length of the value in bytes.
    pub fn len(&self) -> u64 {
        match &self.parts {
            StagedParts::Inline(value) => value.len() as u64,
            StagedParts::Content(stored) => stored.content().len,
        }
    }

    /// Returns whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory that it uses, in bytes. Short contents are not on the backend yet.
    pub(super) fn bytes_in_memory(&self) -> u64 {
        match &self.parts {
            StagedParts::Inline(value) => value.len() as u64,
            StagedParts::Content(stored) => stored.bytes_in_memory(),
        }
    }

    /// Returns whether it belongs to that vault in this session. It can be used in no other.
    pub(super) fn is_of(&self, core: &Arc<Core>) -> bool {
        self.content.is_of(core)
    }

    pub(super) fn parts(&self) -> &StagedParts {
        &self.parts
    }
}

/// Stages all of `source`, in a store that may use `limit` bytes.
///
/// A value that fits a row needs no limit.
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
