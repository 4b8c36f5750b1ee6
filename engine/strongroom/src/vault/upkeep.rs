//! Periodic upkeep: calls `expire` and `gc` on a thread of the vault.
//!
//! Between two runs it does not keep the vault open. A run keeps the vault open until it ends,
//! unless the host closes the vault.

use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{ErrorKind, Result};
use strongroom_content::GcOptions;

use super::handle::{Vault, VaultParts};
use crate::artifacts::ExpireArtifactsOptions;

/// Starts upkeep, with a pause of `every` before each run.
pub(super) fn schedule(vault: &Vault, every: Duration) {
    schedule_next(vault.parts(), every);
}

fn schedule_next(inner: &Arc<VaultParts>, every: Duration) {
    let weak = Arc::downgrade(inner);
    let run = move || {
        // The vault's last handle may have been dropped meanwhile.
        let Some(inner) = weak.upgrade() else { return };
        match upkeep(&Vault::from_inner(Arc::clone(&inner))) {
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => tracing::warn!(error = %error.kind(), "upkeep postponed"),
            Ok(()) => {}
        }
        schedule_next(&inner, every);
    };
    if let Err(error) = inner.content.upkeep().spawn(every, run) {
        tracing::warn!(error = %error.kind(), "upkeep stopped");
    }
}

fn upkeep(vault: &Vault) -> Result<()> {
    let expired = vault.artifacts().expire(&ExpireArtifactsOptions::new())?;
    let freed = vault.gc(&GcOptions::new())?;
    tracing::info!(
        expired = expired.versions,
        locked = expired.locked,
        chunks = freed.chunks,
        bytes = freed.bytes,
        "upkeep done"
    );
    Ok(())
}
