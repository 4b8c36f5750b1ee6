//! The end of a core: by call, or with its last holder.

use std::sync::Arc;

use strongroom_base::{Reason, Result};

use super::core::Core;
use crate::state::StateWrite;

impl Core {
    /// Closes the vault for all holders, and lets other processes open it.
    ///
    /// `Locked` if a write, or calls of the backend, take longer than the write timeout. Then the
    /// vault is still open. `Conflict` if commits are lost, because another session took the
    /// content over. Then the vault is closed. Any other error has the reason `CloseIncomplete`:
    /// the vault is closed, every commit is durable, and the next open recovers.
    pub fn close(self: &Arc<Self>) -> Result<()> {
        let turn = self.turn("close vault")?;
        if let Err(error) = self.clean_before_close(&turn) {
            // The next open deletes the rest.
            tracing::warn!(error = %error.kind(), "clean-up postponed");
        }
        self.objects().shut(self.write_timeout())?;
        let ending = self.fence().end(self.store());
        let closed = self.store().close().map_err(|e| {
            e.with_reason(Reason::CloseIncomplete)
                .with_detail("every commit is durable, and the next open recovers the vault")
        });
        let kept = ending.map_or(Ok(()), |ending| ending(self.write_timeout()));
        *self.guard().lock() = None;
        kept.and(closed)
    }

    /// Writes the last rows of features. The caller has the write turn, or no other holder is left.
    fn write_last_rows(&self) {
        let hooks = self.hooks();
        if !hooks.iter().any(|hook| hook.has_last_rows())
            || self.store().failed()
            || self.fence().seems_superseded()
        {
            return;
        }
        let write =
            |mut state: StateWrite<'_>| hooks.iter().try_for_each(|hook| hook.closing(&mut state));
        if let Err(error) = self.store().write("close vault", write, |_| ()) {
            tracing::debug!(error = %error.kind(), "last rows not written");
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if !self.is_home() {
            self.leak();
            return;
        }
        // No other thread can have the write turn. No caller is left to get an error: the next open
        // recovers after a failed close.
        self.write_last_rows();
        let ending = self.fence().end(self.store());
        if let Err(error) = self.store().close() {
            tracing::warn!(error = %error.kind(), "vault not closed cleanly");
        }
        if let Some(ending) = ending {
            // The log has the loss of commits, which the error is about.
            let _ = ending(self.write_timeout());
        }
    }
}
