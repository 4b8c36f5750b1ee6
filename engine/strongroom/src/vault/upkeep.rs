//! Upkeep in the background: what `expire` and `gc` do by call, done every so often by a thread of the
//! vault's own; and `gc` also without that, once much was let go of. Between two runs it keeps no vault open; one that has begun keeps it open until it ends, but
//! for a host that closes it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_base::{ErrorKind, Result};

use super::handle::{Vault, VaultInner};
use crate::artifacts::ExpireArtifactsOptions;
use crate::chunks::GcOptions;

/// So much is let go of until a thread of the vault's own frees it: in bytes, of all contents in full,
/// whatever of them is stored once.
const LET_GO_BYTES: u64 = 256 << 20;

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

impl VaultInner {
    /// Has what was let go of freed in the background, if that is much with these bytes.
    pub(crate) fn gc_if_much(self: &Arc<Self>, let_go: u64) {
        if let_go == 0 {
            return;
        }
        let before = self.let_go.fetch_add(let_go, Ordering::AcqRel);
        let is_much = before.saturating_add(let_go) >= LET_GO_BYTES;
        if !is_much || self.collecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let vault = Arc::downgrade(self);
        let run = move || {
            let Some(inner) = vault.upgrade() else { return };
            // Before it looks: what comes in while it works counts for the next one.
            inner.let_go.store(0, Ordering::Release);
            inner.collecting.store(false, Ordering::Release);
            let freed = Vault::from_inner(Arc::clone(&inner)).gc(&GcOptions::default());
            if let Err(error) = freed {
                tracing::warn!(error = %error.kind(), "what was let go of is not freed yet");
                // The next commit that lets go of something asks again.
                inner.let_go.fetch_add(LET_GO_BYTES, Ordering::AcqRel);
            }
        };
        if let Err(error) = self.upkeep.spawn(Duration::ZERO, run) {
            self.collecting.store(false, Ordering::Release);
            tracing::debug!(error = %error.kind(), "what was let go of is not freed yet");
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
