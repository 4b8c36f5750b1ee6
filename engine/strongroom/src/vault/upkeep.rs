//! Upkeep in the background: what `expire` and `gc` do by call, done every so often by a thread of
//! the vault's own. Between two runs it keeps no vault open; a run keeps it open until it ends,
//! unless the host closes it.

use std::sync::Arc;
use std::time::Duration;

use strongroom_base::{ErrorKind, Result};
use strongroom_content::GcOptions;

use super::handle::{Rooms, Vault};
use crate::artifacts::ExpireArtifactsOptions;

/// Begins upkeep, with a pause of `every` before each run.
pub(super) fn schedule(vault: &Vault, every: Duration) {
    schedule_next(vault.rooms(), every);
}

fn schedule_next(rooms: &Arc<Rooms>, every: Duration) {
    let weak = Arc::downgrade(rooms);
    let run = move || {
        // The last handle of the vault may be dropped meanwhile.
        let Some(rooms) = weak.upgrade() else { return };
        match upkeep(&Vault::of_rooms(Arc::clone(&rooms))) {
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => tracing::warn!(error = %error.kind(), "upkeep put off"),
            Ok(()) => {}
        }
        schedule_next(&rooms, every);
    };
    if let Err(error) = rooms.content.upkeep().spawn(every, run) {
        tracing::warn!(error = %error.kind(), "no upkeep from now on");
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
