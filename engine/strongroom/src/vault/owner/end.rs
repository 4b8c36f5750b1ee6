//! The end of a session that owns content, and the loss of its commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_base::pool::Pool;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::{ACQUIRE, LiveSession, OWNER, Owner, write_row};
use crate::vault::custody::draw_id;
use strongroom_format::{Claim, OwnerRefRow, OwnerRow};
use strongroom_store::state::Store;

/// An ended session, whose end the store does not know yet.
pub(in crate::vault) struct OwnerRelease {
    owner: Arc<Owner>,
    /// Token to write; `None` if the store need not be notified.
    closing: Option<Claim>,
    _live: LiveSession,
}

impl Owner {
    /// Records that this session has committed a change of the host.
    pub(in crate::vault) fn note_commit(&self) {
        self.has_committed.store(true, Ordering::Release);
    }

    /// Fails with `Conflict` if this session has committed, and its ownership is known to be lost.
    ///
    /// A superseded state opens only by another take-over, which drops the new owner's changes.
    /// So these commits are lost, although each of them is durable.
    pub(in crate::vault) fn refuse_lost_commits(&self) -> Result<()> {
        match &*self.lost_to.lock() {
            Some(new_owner) if self.has_committed.load(Ordering::Acquire) => {
                Err(Error::new(ErrorKind::Conflict, "close vault")
                    .with_reason(Reason::CommitsSuperseded)
                    .with_detail(format!(
                        "the content was taken over by {new_owner}, and the commits of this \
                         session are in a superseded state; repeat them in the state in use"
                    )))
            }
            _ => Ok(()),
        }
    }

    /// Ends the session: writes the closing token to the state.
    ///
    /// A copy of the state that was made while the session was open does not have that token.
    /// `None` if the session has ended before.
    pub(in crate::vault) fn end(self: &Arc<Self>, store: &Store) -> Option<OwnerRelease> {
        let live = self.live.lock().take()?;
        let closing = self.record_end(store).unwrap_or_else(|error| {
            tracing::warn!(error = %error.kind(), "content ownership not released");
            None
        });
        *self.closing.lock() = closing;
        Some(OwnerRelease { owner: Arc::clone(self), closing, _live: live })
    }

    /// Writes the closing token to the state; `None` if the ownership is lost.
    fn record_end(&self, store: &Store) -> Result<Option<Claim>> {
        if self.lost_to.lock().is_some() {
            return Ok(None);
        }
        let closing = Claim { session: draw_id(&*self.entropy)?, ..self.token };
        let OwnerRow::V0 { known, taken_over_unix_millis, .. } = self.row.clone();
        let row = OwnerRow::V0 { known, closing: Some(closing), taken_over_unix_millis };
        write_row(store, &row).map(|()| Some(closing))
    }

    /// Marks the ref as closed, under the closing token.
    ///
    /// A state that has this token can acquire the content.
    fn close_with(&self, closing: Claim) -> Result<()> {
        self.refs.update(OWNER, |now| {
            let Some(mut row) = now.map(OwnerRefRow::decode).transpose()? else {
                return Err(
                    Error::new(ErrorKind::NotFound, ACQUIRE).with_reason(Reason::OwnerRefMissing)
                );
            };
            let OwnerRefRow::V0 { claim, closed, .. } = &mut row;
            if *claim != self.token {
                return Err(self.note_loss(&row));
            }
            (*claim, *closed) = (closing, true);
            Ok((row.encode(), ()))
        })
    }
}

impl OwnerRelease {
    /// Notifies the store of the session's end, on a thread; waits at most `timeout`.
    ///
    /// A failure does no harm to this state, which has the closing token. If another session has
    /// taken the content over, that is recorded.
    pub(in crate::vault) fn notify_store(self, timeout: Duration) {
        let Some(closing) = self.closing else { return };
        let (sender, done) = std::sync::mpsc::sync_channel(1);
        let owner = Arc::clone(&self.owner);
        let notify = move || {
            let _ = sender.send(owner.close_with(closing));
        };
        // A separate pool is never busy with other requests. It is dropped after the wait, and
        // stops waiting.
        let pool = Pool::new("strongroom-owner", 1, 1, Arc::clone(&self.owner.clock));
        let outcome = match pool.spawn(Duration::ZERO, notify) {
            Ok(()) => done.recv_timeout(timeout).unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, ACQUIRE)
                    .with_reason(Reason::StoreUnreachable)
                    .with_detail("the store did not answer in time"))
            }),
            Err(e) => Err(e),
        };
        if let Err(error) = outcome {
            tracing::warn!(error = %error.kind(), "store not notified of released ownership");
        }
    }
}
