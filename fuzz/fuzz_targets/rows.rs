//! Decodes arbitrary bytes as each kind of row, and as the header.
//!
//! No input may panic or allocate without bound. A row that decodes must encode to bytes that
//! decode to the same row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_format::{
    ArtifactRow, ArtifactSettingsRow, CatalogueRow, CheckpointRow, ChunkRow, Header, NamespaceRow,
    NodeBody, OwnerRefRow, OwnerRow, PackRow, PackTrailer, PendingRow, RecordRow, RefRow,
    ReleasedRow, SchemaRow, SpaceRow, StoredTotal, TotalKey, TotalRow, UpdateRow, UploadRow,
    VaultRow, VersionRow,
};

/// Decodes `bytes` as a row, and compares its re-encoding.
macro_rules! round_trip {
    ($bytes:expr; $($row:ty),* $(,)?) => {$(
        if let Ok(row) = <$row>::decode($bytes) {
            let first = row.encode();
            let again = <$row>::decode(&first).expect("an encoded row decodes");
            assert_eq!(first, again.encode(), stringify!($row));
        }
    )*};
}

fuzz_target!(|bytes: &[u8]| {
    round_trip!(bytes;
        ArtifactRow, ArtifactSettingsRow, CatalogueRow, CheckpointRow, ChunkRow, NamespaceRow,
        NodeBody, OwnerRefRow, OwnerRow, PackRow, PackTrailer, PendingRow, RefRow,
        ReleasedRow, SchemaRow, SpaceRow, StoredTotal, TotalRow, UpdateRow, UploadRow, VaultRow,
        VersionRow,
    );
    let _ = RecordRow::decode(bytes);
    let _ = TotalKey::decode(bytes);
    let _ = Header::decode(bytes);
});
