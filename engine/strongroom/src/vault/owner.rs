//! The content owner of a vault on a store.
//!
//! The lock of a vault's folder keeps other processes from the state, and from content in that
//! folder. A store that hosts share has no such lock. There, a ref names the *session* that owns
//! the content. Its ownership token is drawn at every open, written by compare-and-set, and marked
//! as closed at the end.
//!
//! The state remembers the token that it found, and all tokens written since, of which an earlier
//! one may still take effect late. If the ref has none of them, the content was used with another
//! state, perhaps a copy of this one. Content that this state releases may then be in use by the
//! other state. So the vault can be opened only by a take-over.
//!
//! A session that lost its ownership detects it before the next deletes and the next change of
//! keys, and within a minute of a commit. From then on it writes and deletes nothing. Its close
//! returns the loss if it has committed. A store cannot refuse a delete that is already on its way.
//! So a session that has taken over deletes nothing for a day.

mod end;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_backends::Backend;
use strongroom_base::component::{Clock, Entropy, ProcessIdentity};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::custody::draw_id;
use super::lock::{Holder, LockRefused};
use super::options::VaultOptions;
use super::report::TakenOver;
use strongroom_crypto::KeySet;
use strongroom_format::{Claim, META_OWNER, OwnerRefRow, OwnerRow};
use strongroom_store::refs::Refs;
use strongroom_store::state::{StateWrite, Store, Table};

/// Name of the owner ref.
const OWNER: &str = "owner";
const ACQUIRE: &str = "acquire content";

/// Age of the last confirmation at which a commit starts another.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(60);
/// Time after a take-over in which nothing is deleted, in milliseconds: a day.
const DELETES_WAIT_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// Most tokens that a state remembers: that of the ref, and later ones that may take effect late.
const KNOWN_TOKENS_MAX: usize = 16;
/// Longest host name or purpose in the ref, in characters.
const TEXT_CHARS_MAX: usize = 64;

/// Sessions of this process that own content. A live process id does not show which of them live.
static SESSIONS: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

/// Guard that keeps a session in [`SESSIONS`].
struct LiveSession(Uuid);

impl LiveSession {
    fn begin(session: Uuid) -> Self {
        SESSIONS.lock().insert(session);
        Self(session)
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        SESSIONS.lock().remove(&self.0);
    }
}

/// Ownership of the content by an open vault.
pub(super) struct Owner {
    refs: Refs,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    token: Claim,
    /// Row of the state about the owner ref.
    row: OwnerRow,
    /// The new owner, after the ownership is lost. Nothing is written or deleted from then on.
    lost_to: Mutex<Option<Holder>>,
    /// Set by the first commit of the host.
    has_committed: AtomicBool,
    /// Time at which the ref last had this session's token.
    confirmed_at: Mutex<ClockReading>,
    /// Set while a task reads the ref.
    is_confirming: AtomicBool,
    /// Taken when the session ends.
    live: Mutex<Option<LiveSession>>,
    /// Token of the ended session, which the store may have by now.
    closing: Mutex<Option<Claim>>,
}

/// A time by both clocks.
///
/// The wall clock may be set, and the monotonic clock may stop while the machine is suspended.
#[derive(Clone, Copy)]
struct ClockReading {
    monotonic: Duration,
    unix_millis: u64,
}

impl ClockReading {
    fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix_millis: clock.unix_millis() }
    }

    /// Returns how long ago this time was, at least.
    fn passed(self, clock: &dyn Clock) -> Duration {
        let now = Self::now(clock);
        let by_wall = Duration::from_millis(now.unix_millis.saturating_sub(self.unix_millis));
        now.monotonic.saturating_sub(self.monotonic).max(by_wall)
    }
}

/// Result of acquiring the content.
pub(super) struct AcquiredContent {
    pub(super) owner: Owner,
    pub(super) taken_over: Option<TakenOver>,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("session", &self.token.session).finish_non_exhaustive()
    }
}

/// Returns the refs of the vault of `keys` on `backend`.
fn refs_of(options: &VaultOptions, backend: &Arc<dyn Backend>, keys: &KeySet) -> Refs {
    let (clock, entropy) = (&options.components.clock, &options.components.entropy);
    let (vault, id_key) = (keys.header().vault, keys.id_key());
    Refs::new(Arc::clone(backend), vault, id_key, Arc::clone(clock), Arc::clone(entropy))
}

/// Creates the owner ref of a new vault, marked as closed; returns the state's row about it.
///
/// The ref is created before the state. A crash in between leaves a ref that no state refers to.
pub(super) fn create_owner_ref(
    options: &VaultOptions,
    backend: &Arc<dyn Backend>,
    keys: &KeySet,
) -> Result<OwnerRow> {
    let entropy = &*options.components.entropy;
    let token = Claim { lineage: draw_id(entropy)?, session: draw_id(entropy)? };
    let row = ref_row(options, keys.header().vault, token, true, "");
    refs_of(options, backend, keys).update(OWNER, |found| match found {
        None => Ok((row.encode(), ())),
        Some(_) => {
            Err(Error::new(ErrorKind::AlreadyExists, "create vault")
                .with_reason(Reason::VaultExists))
        }
    })?;
    Ok(OwnerRow::V0 { known: vec![token], closing: None, taken_over_unix_millis: None })
}

/// Returns the last known content owner, and whether it has closed.
///
/// `None` if the store has no owner ref.
pub(super) fn read_owner(
    options: &VaultOptions,
    backend: &Arc<dyn Backend>,
    keys: &KeySet,
) -> Result<Option<(Holder, bool)>> {
    let found = refs_of(options, backend, keys).read(OWNER)?;
    let found = found.as_deref().map(OwnerRefRow::decode).transpose()?;
    Ok(found.map(|row| {
        let OwnerRefRow::V0 { closed, .. } = row;
        (holder_of(&row), closed)
    }))
}

/// Returns the ref's row for a session of this process.
fn ref_row(
    options: &VaultOptions,
    vault: Uuid,
    token: Claim,
    closed: bool,
    lock_identity: &str,
) -> OwnerRefRow {
    let process = &options.components.process;
    OwnerRefRow::V0 {
        vault,
        claim: token,
        closed,
        host: truncate(&process.host),
        boot_id: process.boot_id.clone(),
        pid_namespace: process.pid_namespace.clone(),
        pid: process.pid,
        process_start: process.started,
        place: lock_identity.to_owned(),
        operation: truncate(options.purpose.as_deref().unwrap_or("open vault")),
        since_unix_millis: options.components.clock.unix_millis(),
    }
}

/// Returns the prefix of a text that the ref can hold.
fn truncate(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

fn holder_of(row: &OwnerRefRow) -> Holder {
    let OwnerRefRow::V0 {
        host,
        boot_id,
        pid_namespace,
        pid,
        process_start,
        operation,
        since_unix_millis,
        ..
    } = row.clone();
    let process = ProcessIdentity { host, boot_id, pid, started: process_start, pid_namespace };
    Holder { process, operation, since_unix_millis }
}

/// Acquires the content for `session`.
///
/// Waits for another owner as the lock policy allows.
///
/// `lock_identity` identifies the lock file of the state. `Locked` if another session owns the
/// content. `Denied` if the content was used with another state since. `NotFound` if the store has
/// no owner ref.
pub(super) fn acquire_content(
    options: &VaultOptions,
    store: &Store,
    backend: &Arc<dyn Backend>,
    keys: &KeySet,
    session: Uuid,
    lock_identity: &str,
) -> Result<AcquiredContent> {
    let refs = refs_of(options, backend, keys);
    let acquisition =
        Acquisition { options, store, refs, vault: keys.header().vault, session, lock_identity };
    let components = &options.components;
    let live = LiveSession::begin(session);
    let mut pauses = options.lock.pauses(&*components.clock, &*components.entropy)?;
    loop {
        let (holder, is_known) = match acquisition.acquire()? {
            AcquireOutcome::Acquired { token, row, taken_over } => {
                let owner = Owner {
                    refs: acquisition.refs,
                    token,
                    row,
                    lost_to: Mutex::default(),
                    has_committed: AtomicBool::new(false),
                    confirmed_at: Mutex::new(ClockReading::now(&*components.clock)),
                    is_confirming: AtomicBool::new(false),
                    clock: Arc::clone(&components.clock),
                    entropy: Arc::clone(&components.entropy),
                    live: Mutex::new(Some(live)),
                    closing: Mutex::default(),
                };
                return Ok(AcquiredContent { owner, taken_over });
            }
            AcquireOutcome::HeldByOther { holder, is_known } => (holder, is_known),
        };
        // There is no wait for an owner that this state does not know: even after its end, the
        // content belongs to another state.
        if !is_known || !pauses.sleep()? {
            let (attempts, elapsed) = (pauses.attempts(), pauses.elapsed());
            let refused = LockRefused { holder: Some(holder), attempts, elapsed };
            return Err(Error::new(ErrorKind::Locked, ACQUIRE)
                .with_reason(Reason::OwnedByOtherSession)
                .with_source(refused));
        }
    }
}

/// Parameters of acquiring the content.
struct Acquisition<'a> {
    options: &'a VaultOptions,
    store: &'a Store,
    refs: Refs,
    vault: Uuid,
    session: Uuid,
    lock_identity: &'a str,
}

/// Outcome of one pass of acquiring the content.
enum AcquireOutcome {
    Acquired {
        token: Claim,
        row: OwnerRow,
        taken_over: Option<TakenOver>,
    },
    /// Owned by a session that lives or may live. `is_known`: this state has its token.
    HeldByOther {
        holder: Holder,
        is_known: bool,
    },
}

impl Acquisition<'_> {
    fn acquire(&self) -> Result<AcquireOutcome> {
        let take_over = self.options.take_over;
        let found = match self.refs.read(OWNER) {
            Err(e) if e.kind() == ErrorKind::Corrupt && take_over => {
                tracing::warn!("damaged owner ref discarded");
                self.refs.discard(OWNER)?;
                None
            }
            found => found?,
        };
        let found = found.as_deref().map(OwnerRefRow::decode).transpose()?;
        let OwnerRow::V0 { known, closing, taken_over_unix_millis } = self.known_row()?;
        let state_is_closed = closing.is_some();
        let known: Vec<Claim> = known.into_iter().chain(closing).collect();
        let Some(OwnerRefRow::V0 { claim: found_token, closed, .. }) = &found else {
            if take_over {
                return self.take_over(None, &known);
            }
            let detail = "the store has no owner ref of this vault: the store was emptied, or is another vault's";
            return Err(Error::new(ErrorKind::NotFound, ACQUIRE)
                .with_reason(Reason::OwnerRefMissing)
                .with_detail(detail));
        };
        let row = found.as_ref().expect("matched above");
        let holder = holder_of(row);
        let position = known.iter().position(|token| token == found_token);
        let is_known = position.is_some();
        let has_ended =
            *closed || is_known && state_is_closed || self.process_has_ended(row, &holder);
        match position {
            Some(position) if has_ended => {
                // Earlier tokens cannot take effect any more. Later ones may, until the ref is
                // moved.
                self.write_token(
                    found.as_ref(),
                    found_token.lineage,
                    &known[position..],
                    taken_over_unix_millis,
                    None,
                )
            }
            _ if take_over => self.take_over(found.as_ref(), &known),
            _ if !has_ended => Ok(AcquireOutcome::HeldByOther { holder, is_known }),
            _ => Err(Error::new(ErrorKind::Denied, ACQUIRE)
                .with_reason(Reason::StateSuperseded)
                .with_detail(format!(
                    "the content was used with another state of the vault since, by {holder}"
                ))),
        }
    }

    /// Returns the state's row about the owner ref; empty if there is none.
    fn known_row(&self) -> Result<OwnerRow> {
        let state = self.store.read()?;
        let row = state.get(Table::Meta, META_OWNER)?;
        let row = row.map(|row| OwnerRow::decode(row.as_slice())).transpose()?;
        let nothing =
            OwnerRow::V0 { known: Vec::new(), closing: None, taken_over_unix_millis: None };
        Ok(row.unwrap_or(nothing))
    }

    /// Returns whether an unclosed session has ended, with this state.
    ///
    /// Its process is gone, and its lock file was the one that this session holds. A copy of the
    /// folder has another lock file.
    fn process_has_ended(&self, row: &OwnerRefRow, holder: &Holder) -> bool {
        let OwnerRefRow::V0 { claim, place, .. } = row;
        let own = &self.options.components.process;
        let is_gone = if holder.process == *own {
            !SESSIONS.lock().contains(&claim.session)
        } else {
            holder.process.is_dead_to(own)
        };
        is_gone && place == self.lock_identity
    }

    /// Takes over: replaces the ref's token by one of a new lineage.
    ///
    /// The replaced token is not added to the state's known ones. If this call fails, the ref's
    /// owner is as unknown as before.
    fn take_over(&self, found: Option<&OwnerRefRow>, known: &[Claim]) -> Result<AcquireOutcome> {
        let from = found.map(holder_of);
        tracing::warn!(from = from.as_ref().map(tracing::field::display), "content taken over");
        let now = self.options.components.clock.unix_millis();
        let deletes_from_unix_millis = now.saturating_add(DELETES_WAIT_MILLIS);
        let lineage = draw_id(&*self.options.components.entropy)?;
        let taken_over = TakenOver { from, deletes_from_unix_millis };
        self.write_token(found, lineage, known, Some(now), Some(taken_over))
    }

    /// Writes the new token to the state's row, then to the ref.
    fn write_token(
        &self,
        found: Option<&OwnerRefRow>,
        lineage: Uuid,
        known: &[Claim],
        taken_over_unix_millis: Option<u64>,
        taken_over: Option<TakenOver>,
    ) -> Result<AcquireOutcome> {
        let token = Claim { lineage, session: self.session };
        // The first known token is that of the ref, unless this is a take-over.
        let pending = known.len().saturating_sub(KNOWN_TOKENS_MAX - 2).max(1).min(known.len());
        let known = known.iter().take(1).chain(&known[pending..]).chain([&token]);
        let known = known.copied().collect();
        let row = OwnerRow::V0 { known, closing: None, taken_over_unix_millis };
        write_row(self.store, &row)?;
        let mut faster = None;
        let moved = self.refs.update(OWNER, |now| {
            let now = now.map(OwnerRefRow::decode).transpose()?;
            if now.as_ref() != found {
                // Another session was faster, or an earlier token of this state took effect.
                // Nothing is changed; the caller inspects the new owner.
                faster = now.as_ref().map(holder_of);
                return Err(
                    Error::new(ErrorKind::Conflict, ACQUIRE).with_reason(Reason::RefContended)
                );
            }
            let row = ref_row(self.options, self.vault, token, false, self.lock_identity);
            Ok((row.encode(), ()))
        });
        match (moved, faster) {
            (Err(e), Some(holder)) if e.kind() == ErrorKind::Conflict => {
                Ok(AcquireOutcome::HeldByOther { holder, is_known: true })
            }
            (moved, _) => moved.map(|()| AcquireOutcome::Acquired { token, row, taken_over }),
        }
    }
}

fn write_row(store: &Store, row: &OwnerRow) -> Result<()> {
    let row = row.encode();
    store.write(
        ACQUIRE,
        |mut state: StateWrite<'_>| state.put(Table::Meta, META_OWNER, &row),
        |_| (),
    )
}

/// Returns the error of a session whose content has a new owner.
fn lost_to(new_owner: &Holder) -> Error {
    Error::new(ErrorKind::Closed, ACQUIRE)
        .with_reason(Reason::ContentTakenOver)
        .with_detail(format!("the content was taken over by {new_owner}"))
}

impl Owner {
    /// Fails with `Closed` once another session is known to own the content; permanently.
    pub(super) fn refuse_if_lost(&self) -> Result<()> {
        self.lost_to.lock().as_ref().map_or(Ok(()), |new_owner| Err(lost_to(new_owner)))
    }

    /// Reads the ref, and checks that this session still owns the content.
    ///
    /// `Closed`, permanently, if another session owns it. Other errors if the ref cannot be read.
    pub(super) fn confirm(&self) -> Result<()> {
        self.refuse_if_lost()?;
        let found = self.refs.read(OWNER)?;
        let found = found.as_deref().map(OwnerRefRow::decode).transpose()?;
        let Some(row) = found else {
            // No other session owns the content so far, so the loss is not permanent.
            return Err(Error::new(ErrorKind::NotFound, ACQUIRE)
                .with_reason(Reason::OwnerRefMissing)
                .with_detail("the store no longer has an owner ref: the store was emptied"));
        };
        let OwnerRefRow::V0 { claim, .. } = &row;
        if *claim == self.token || Some(*claim) == *self.closing.lock() {
            *self.confirmed_at.lock() = ClockReading::now(&*self.clock);
            return Ok(());
        }
        Err(self.note_loss(&row))
    }

    /// Records the ref's row of another session; returns the error of all later writes.
    fn note_loss(&self, row: &OwnerRefRow) -> Error {
        let new_owner = holder_of(row);
        tracing::error!(by = %new_owner, "content lost: nothing is written or deleted from now on");
        let error = lost_to(&new_owner);
        *self.lost_to.lock() = Some(new_owner);
        error
    }
}

impl Owner {
    /// Returns whether deletes wait because the content was taken over.
    pub(super) fn deletes_wait(&self) -> bool {
        let now = self.clock.unix_millis();
        let OwnerRow::V0 { taken_over_unix_millis, .. } = self.row;
        // The difference is absolute: if the clock was ahead then and was set back since, the wait
        // still ends.
        taken_over_unix_millis.is_some_and(|at| at.abs_diff(now) < DELETES_WAIT_MILLIS)
    }

    /// Confirms the ownership in the background, if it is due.
    ///
    /// No commit waits for it.
    pub(super) fn confirm_soon(self: &Arc<Self>, store_tasks: &Pool) {
        if !self.is_stale() || self.is_confirming.swap(true, Ordering::AcqRel) {
            return;
        }
        // The task holds the owner and not the vault, which may be dropped meanwhile.
        let owner = Arc::clone(self);
        let confirm = move || {
            if let Err(error) = owner.confirm() {
                tracing::warn!(error = %error.kind(), "content ownership not confirmed");
            }
            owner.is_confirming.store(false, Ordering::Release);
        };
        if store_tasks.spawn(Duration::ZERO, confirm).is_err() {
            self.is_confirming.store(false, Ordering::Release);
        }
    }
}

impl Owner {
    /// Returns whether the ownership must be confirmed again.
    pub(super) fn is_stale(&self) -> bool {
        let confirmed_at = *self.confirmed_at.lock();
        confirmed_at.passed(&*self.clock) >= CONFIRM_INTERVAL
    }
}
