//! The bytes on disk: every record type of the state file, and their encoding.
//!
//! Only this crate derives serde for stored types and names bincode. Its types are separate from
//! the types of the public interface, so that either can change alone. Rules:
//!
//! - A row is an enum with one variant per version, append only, never reordered. The variant's
//!   number is the first byte on disk.
//! - Golden bytes (at the end of each file) pin every row.
//! - Decoding checks bounds, takes the whole input or nothing, and never panics.
//!
//! `docs/spec/format.md` documents the same byte by byte.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod artifact;
mod chunk;
mod codec;
mod content;
mod header;
mod layout;
mod meta;
mod note;
mod operation;
mod record;
mod refs;
mod space;
mod total;

pub use artifact::{
    Arrival, ArtifactRow, FoundBy, VersionRow, artifact_key, artifacts_prefix, split_key,
    version_key,
};
pub use chunk::{
    Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, ContentRef, NodeBody, PackRow, PackTrailer,
    PackedChunk, ReleasedRow, UploadId, UploadRow,
};
pub use content::{DoomedKey, ObjectName, ObjectRef, ObjectsRow, PendingRow, StageId};
pub use header::{
    BACKEND_NAME_BYTES_MAX, CipherCode, HEADER_BYTES, HEADER_COPIES, Header, KEY_SETS_PREFIX,
    RING_BYTES, RING_PLAIN_BYTES, SLOTS_MAX, SlotKind, SlotRow, key_set_key,
};
pub use layout::{
    BLOCK_BYTES, Closed, PAGE_BYTES, SUPER_BYTES, SUPER_COPIES, SUPER_PAGE_BYTES,
    SUPER_PLAIN_BYTES, SuperHeader, block_at, file_bytes, header_at, state_bytes, super_at,
};
pub use meta::{
    KeyCopyRow, META_KEY_COPY, META_SCHEMA, META_VAULT, SCHEMA_VERSION, SchemaRow, VaultRow,
};
pub use note::{HolderNote, NOTE_BYTES_MAX};
pub use operation::{
    CheckpointRow, FailureRow, OWN_OPERATION_PREFIX, OperationFields, OperationState, RetryRow,
    checkpoint_key, history_key, lanes_span,
};
pub use record::{NamespaceRow, RecordRow, dropping_key, dropping_number};
pub use record::{RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX};
pub use refs::{
    AttemptId, Claim, META_OWNER, OwnerRefRow, OwnerRow, REF_ATTEMPTS_MAX, REF_PLAIN_STEP_BYTES,
    RefName, RefRow,
};
pub use space::{
    CELL_OBJECTS, CostsRow, GenerationRow, SLOT_BYTES, SPACE, SPACE_UPDATE, SpaceRow, UpdateRow,
};
pub use total::{
    ARTIFACT_SETTINGS, ArtifactSettingsRow, CatalogueRow, QuotaFields, StoredTotal, TotalKey,
    TotalRow,
};
