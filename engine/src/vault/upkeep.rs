//! Upkeep in the background: what `expire` and `gc` do by call, done every so often by a thread of the
//! vault's own. Between two runs it keeps no vault open; one that has begun keeps it open until it ends, but
//! for a host that closes it.

use std::sync::Arc;
use std::time::Duration;

use strongroom_backends::{ErrorKind, Result};

use super::handle::{Vault, VaultInner};
use crate::artifacts::ExpireArtifactsOptions;
use crate::chunks::GcOptions;

impl Vault {
    /// Begins upkeep, if the vault was opened with it.
    pub(super) fn begin_upkeep(self) -> Self {
        if let Some(every) = self.inner().upkeep_every {
            self.inner().schedule_upkeep(every);
        }
        self
    }
}

impl VaultInner {
    fn schedule_upkeep(self: &Arc<Self>, every: Duration) {
        let vault = Arc::downgrade(self);
        let run = move || {
            // Whoever has the vault may drop it meanwhile.
            let Some(inner) = vault.upgrade() else { return };
            match upkeep(&Vault::from_inner(Arc::clone(&inner))) {
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => tracing::warn!(error = %error.kind(), "upkeep put off"),
                Ok(()) => {}
            }
            inner.schedule_upkeep(every);
        };
        if let Err(error) = self.upkeep.spawn(every, run) {
            tracing::warn!(error = %error.kind(), "no upkeep from now on");
        }
    }
}

fn upkeep(vault: &Vault) -> Result<()> {
    let expired = vault.artifacts().expire(&ExpireArtifactsOptions::default())?;
    let freed = vault.gc(&GcOptions::default())?;
    tracing::info!(
        expired = expired.versions,
        locked = expired.locked,
        chunks = freed.chunks,
        bytes = freed.bytes,
        "upkeep done"
    );
    Ok(())
}
