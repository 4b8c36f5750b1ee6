//! Who has a vault's content where others can reach it: the owner ref.
//!
//! The lock of a vault's folder keeps other processes from its state, and so from content that lies beside
//! it. A store that hosts share has no such lock. There a ref says which *session* has the content: drawn at
//! every open, put there by compare-and-set, marked as closed at the end. The state remembers the claim
//! that it found and those that it has put since, of which an earlier one may land late: if the ref has none
//! of them, the content was used with another state, perhaps a copy of this one, and what this state lets go
//! of may be what that one needs. Then nothing is opened but by a take-over.
//!
//! Whoever was taken over finds out before the next deletes, the next change of keys, and within a minute
//! of a commit; from then on it writes and deletes nothing. A store cannot refuse a delete that is on its
//! way meanwhile: so who has taken over deletes nothing for a day.

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

/// What the ref is called.
const OWNER: &str = "owner";
const CLAIM: &str = "claim content";

/// So long after the ref was read last, a commit has it read again.
const HEARD_FOR: Duration = Duration::from_secs(60);
/// So long after a take-over nothing is deleted, in milliseconds: a day.
const DELETES_WAIT_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// How many claims a state remembers: the one that the ref had, and those that were put there since and may land yet.
const KNOWN_MAX: usize = 16;
/// What of a host's name and a purpose the ref tells, in characters.
const TOLD_CHARS_MAX: usize = 64;

/// The sessions of this process that have content: those of a process that lives tell nothing by its id.
static SESSIONS: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

/// That a session of this process lives.
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

/// The claim of an open vault to its content.
pub(super) struct Owner {
    refs: Refs,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    claim: Claim,
    /// What the state knows.
    row: OwnerRow,
    /// Who has the content now, once that is somebody else.
    lost: Mutex<Option<Error>>,
    /// When the ref was read last, and whether it is being read.
    heard: Mutex<Moment>,
    asking: AtomicBool,
    /// Until it is given up.
    live: Mutex<Option<LiveSession>>,
}

/// A moment by both clocks: one may be set, the other stand still while a machine is suspended.
#[derive(Clone, Copy)]
struct Moment {
    monotonic: Duration,
    unix_millis: u64,
}

impl Moment {
    fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix_millis: clock.unix_millis() }
    }

    /// How long ago it was, at least.
    fn passed(self, clock: &dyn Clock) -> Duration {
        let now = Self::now(clock);
        let by_wall = Duration::from_millis(now.unix_millis.saturating_sub(self.unix_millis));
        now.monotonic.saturating_sub(self.monotonic).max(by_wall)
    }
}

/// A session that has ended, of which the store is still to be told.
pub(super) struct Ending {
    owner: Arc<Owner>,
    closing: Claim,
    _live: LiveSession,
}

/// What came of claiming content.
pub(super) struct Claimed {
    pub(super) owner: Owner,
    pub(super) taken_over: Option<TakenOver>,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("session", &self.claim.session).finish_non_exhaustive()
    }
}

/// The refs of the vault of `keys` on `backend`.
fn refs_of(options: &VaultOptions, backend: &Arc<dyn Backend>, keys: &KeySet) -> Refs {
    let (clock, entropy) = (&options.components.clock, &options.components.entropy);
    let (vault, id_key) = (keys.header().vault, keys.id_key());
    Refs::new(Arc::clone(backend), vault, id_key, Arc::clone(clock), Arc::clone(entropy))
}

/// Makes the owner ref of a new vault, which nobody has open yet; what its state is to know of it. Made
/// before the state: a crash in between leaves a ref that nobody looks for.
pub(super) fn create_owner_ref(
    options: &VaultOptions,
    backend: &Arc<dyn Backend>,
    keys: &KeySet,
) -> Result<OwnerRow> {
    let entropy = &*options.components.entropy;
    let claim = Claim { lineage: draw_id(entropy)?, session: draw_id(entropy)? };
    let row = ref_row(options, keys.header().vault, claim, true, "");
    refs_of(options, backend, keys).update(OWNER, |found| match found {
        None => Ok((row.encode(), ())),
        Some(_) => {
            Err(Error::new(ErrorKind::AlreadyExists, "create vault")
                .with_reason(Reason::VaultExists))
        }
    })?;
    Ok(OwnerRow::V0 { known: vec![claim], closing: None, taken_over_unix_millis: None })
}

/// Who has the content, or had it last, and whether they have closed it; `None` if the store does not tell.
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

/// What the ref says while this process has the content, or has closed it.
fn ref_row(
    options: &VaultOptions,
    vault: Uuid,
    claim: Claim,
    closed: bool,
    place: &str,
) -> OwnerRefRow {
    let process = &options.components.process;
    OwnerRefRow::V0 {
        vault,
        claim,
        closed,
        host: told(&process.host),
        boot_id: process.boot_id.clone(),
        pid_namespace: process.pid_namespace.clone(),
        pid: process.pid,
        process_start: process.started,
        place: place.to_owned(),
        operation: told(options.purpose.as_deref().unwrap_or("open vault")),
        since_unix_millis: options.components.clock.unix_millis(),
    }
}

/// The beginning of a text.
fn told(text: &str) -> String {
    text.chars().take(TOLD_CHARS_MAX).collect()
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

/// Claims the content for `session` of a state whose lock is the file `place`, waiting for who has it as the
/// policy of locks says.
///
/// `Locked` if another session has it; `Denied` if it was used with another state since; `NotFound` if
/// the store has no owner ref.
pub(super) fn claim_content(
    options: &VaultOptions,
    store: &Store,
    backend: &Arc<dyn Backend>,
    keys: &KeySet,
    session: Uuid,
    place: &str,
) -> Result<Claimed> {
    let refs = refs_of(options, backend, keys);
    let claiming = Claiming { options, store, refs, vault: keys.header().vault, session, place };
    let components = &options.components;
    let live = LiveSession::begin(session);
    let mut pauses = options.lock.pauses(&*components.clock, &*components.entropy)?;
    loop {
        let (holder, is_known) = match claiming.claim()? {
            Attempt::Claimed { claim, row, taken_over } => {
                let owner = Owner {
                    refs: claiming.refs,
                    claim,
                    row,
                    lost: Mutex::default(),
                    heard: Mutex::new(Moment::now(&*components.clock)),
                    asking: AtomicBool::new(false),
                    clock: Arc::clone(&components.clock),
                    entropy: Arc::clone(&components.entropy),
                    live: Mutex::new(Some(live)),
                };
                return Ok(Claimed { owner, taken_over });
            }
            Attempt::Held { holder, is_known } => (holder, is_known),
        };
        // One that this state does not know will not be waited for: once it has closed, it is another's still.
        if !is_known || !pauses.sleep()? {
            let (attempts, elapsed) = (pauses.attempts(), pauses.elapsed());
            let refused = LockRefused { holder: Some(holder), attempts, elapsed };
            return Err(Error::new(ErrorKind::Locked, CLAIM)
                .with_reason(Reason::OwnedByOtherSession)
                .with_source(refused));
        }
    }
}

struct Claiming<'a> {
    options: &'a VaultOptions,
    store: &'a Store,
    refs: Refs,
    vault: Uuid,
    session: Uuid,
    place: &'a str,
}

enum Attempt {
    Claimed {
        claim: Claim,
        row: OwnerRow,
        taken_over: Option<TakenOver>,
    },
    /// By a session that lives, or may; whether this state knows it.
    Held {
        holder: Holder,
        is_known: bool,
    },
}

impl Claiming<'_> {
    fn claim(&self) -> Result<Attempt> {
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
        let OwnerRow::V0 { known, closing, taken_over_unix_millis } = self.known()?;
        let has_ended = closing.is_some();
        let known: Vec<Claim> = known.into_iter().chain(closing).collect();
        let Some(OwnerRefRow::V0 { claim: before, closed, .. }) = &found else {
            if take_over {
                return self.take_over(None, &known);
            }
            let detail =
                "the store has no owner ref of this vault: it was emptied, or is not the vault's";
            return Err(Error::new(ErrorKind::NotFound, CLAIM)
                .with_reason(Reason::OwnerRefMissing)
                .with_detail(detail));
        };
        let row = found.as_ref().expect("matched above");
        let holder = holder_of(row);
        let place = known.iter().position(|claim| claim == before);
        let is_known = place.is_some();
        let is_over = *closed || is_known && has_ended || self.is_over(row, &holder);
        match place {
            Some(place) if is_over => {
                // Those before it cannot come back; those behind it may land until the ref is moved.
                self.put(
                    found.as_ref(),
                    before.lineage,
                    &known[place..],
                    taken_over_unix_millis,
                    None,
                )
            }
            _ if take_over => self.take_over(found.as_ref(), &known),
            _ if !is_over => Ok(Attempt::Held { holder, is_known }),
            _ => Err(Error::new(ErrorKind::Denied, CLAIM)
                .with_reason(Reason::StateSuperseded)
                .with_detail(format!(
                    "it was used with another state of the vault since, by {holder}"
                ))),
        }
    }

    /// What the state knows.
    fn known(&self) -> Result<OwnerRow> {
        let state = self.store.read()?;
        let row = state.get(Table::Meta, META_OWNER)?;
        let row = row.map(|row| OwnerRow::decode(row.as_slice())).transpose()?;
        let nothing =
            OwnerRow::V0 { known: Vec::new(), closing: None, taken_over_unix_millis: None };
        Ok(row.unwrap_or(nothing))
    }

    /// Whether a session that did not close has ended all the same, and with this state: its process is gone, and
    /// the lock that it had is the one that we have. A copy of its folder has another lock.
    fn is_over(&self, row: &OwnerRefRow, holder: &Holder) -> bool {
        let OwnerRefRow::V0 { claim, place, .. } = row;
        let own = &self.options.components.process;
        let is_gone = if holder.process == *own {
            !SESSIONS.lock().contains(&claim.session)
        } else {
            holder.process.is_dead_to(own)
        };
        is_gone && place == self.place
    }

    /// Puts a claim of a new lineage in the place of whatever is there. What is there becomes none that this
    /// state knows: should this fail, it is as unknown as before.
    fn take_over(&self, found: Option<&OwnerRefRow>, known: &[Claim]) -> Result<Attempt> {
        let from = found.map(holder_of);
        tracing::warn!(from = from.as_ref().map(tracing::field::display), "content is taken over");
        let now = self.options.components.clock.unix_millis();
        let deletes_from_unix_millis = now.saturating_add(DELETES_WAIT_MILLIS);
        let lineage = draw_id(&*self.options.components.entropy)?;
        let taken_over = TakenOver { from, deletes_from_unix_millis };
        self.put(found, lineage, known, Some(now), Some(taken_over))
    }

    /// Has the state know what is to be there, then puts it there.
    fn put(
        &self,
        found: Option<&OwnerRefRow>,
        lineage: Uuid,
        known: &[Claim],
        taken_over_unix_millis: Option<u64>,
        taken_over: Option<TakenOver>,
    ) -> Result<Attempt> {
        let claim = Claim { lineage, session: self.session };
        // The first is the one that the ref has, unless that is another's.
        let pending = known.len().saturating_sub(KNOWN_MAX - 2).max(1).min(known.len());
        let known = known.iter().take(1).chain(&known[pending..]).chain([&claim]);
        let known = known.copied().collect();
        let row = OwnerRow::V0 { known, closing: None, taken_over_unix_millis };
        write_row(self.store, &row)?;
        let mut faster = None;
        let moved = self.refs.update(OWNER, |now| {
            let now = now.map(OwnerRefRow::decode).transpose()?;
            if now.as_ref() != found {
                // Another was faster, or an earlier claim of ours has landed. Nothing is changed, and who it
                // was is looked at.
                faster = now.as_ref().map(holder_of);
                return Err(
                    Error::new(ErrorKind::Conflict, CLAIM).with_reason(Reason::RefContended)
                );
            }
            let row = ref_row(self.options, self.vault, claim, false, self.place);
            Ok((row.encode(), ()))
        });
        match (moved, faster) {
            (Err(e), Some(holder)) if e.kind() == ErrorKind::Conflict => {
                Ok(Attempt::Held { holder, is_known: true })
            }
            (moved, _) => moved.map(|()| Attempt::Claimed { claim, row, taken_over }),
        }
    }
}

fn write_row(store: &Store, row: &OwnerRow) -> Result<()> {
    let row = row.encode();
    store.write(CLAIM, |mut state: StateWrite<'_>| state.put(Table::Meta, META_OWNER, &row), |_| ())
}

impl Owner {
    /// `Closed` once it is known that somebody else has the content; for good.
    pub(super) fn refuse_if_lost(&self) -> Result<()> {
        self.lost.lock().clone().map_or(Ok(()), Err)
    }

    /// Reads the ref. `Closed` if somebody else has the content, for good; another error if that cannot be told.
    pub(super) fn confirm(&self) -> Result<()> {
        self.refuse_if_lost()?;
        let found = self.refs.read(OWNER)?;
        let found = found.as_deref().map(OwnerRefRow::decode).transpose()?;
        let Some(row) = found else {
            // Nobody else has it, so far.
            return Err(Error::new(ErrorKind::NotFound, CLAIM)
                .with_reason(Reason::OwnerRefMissing)
                .with_detail("the store has no owner ref any more: it was emptied"));
        };
        let OwnerRefRow::V0 { claim, .. } = &row;
        if *claim == self.claim {
            *self.heard.lock() = Moment::now(&*self.clock);
            return Ok(());
        }
        let by = holder_of(&row);
        tracing::error!(%by, "content lost: nothing is written or deleted from now on");
        let error = Error::new(ErrorKind::Closed, CLAIM)
            .with_reason(Reason::ContentTakenOver)
            .with_detail(format!("the content was taken over by {by}"));
        *self.lost.lock() = Some(error.clone());
        Err(error)
    }

    /// Ends the session: has the state know the claim that it closes with. A copy that was made while the session
    /// was open does not know that one. `None` if there is nothing to tell the store.
    pub(super) fn end(self: &Arc<Self>, store: &Store) -> Option<Ending> {
        let live = self.live.lock().take()?;
        if self.lost.lock().is_some() {
            return None;
        }
        let noted = draw_id(&*self.entropy).and_then(|session| {
            let closing = Claim { session, ..self.claim };
            let OwnerRow::V0 { known, taken_over_unix_millis, .. } = self.row.clone();
            let row = OwnerRow::V0 { known, closing: Some(closing), taken_over_unix_millis };
            write_row(store, &row).map(|()| closing)
        });
        match noted {
            Ok(closing) => Some(Ending { owner: Arc::clone(self), closing, _live: live }),
            Err(error) => {
                tracing::warn!(error = %error.kind(), "content not given up");
                None
            }
        }
    }
}

impl Ending {
    /// Has the store told by a thread, for which it waits at most so long. A store that is not told is no harm to
    /// this state, which knows that the session has ended.
    pub(super) fn tell(self, timeout: Duration) {
        let (sender, done) = std::sync::mpsc::sync_channel(1);
        let (owner, closing) = (Arc::clone(&self.owner), self.closing);
        let tell = move || {
            let _ = sender.send(owner.close_with(closing));
        };
        // A pool of its own, never busy with another request. Dropped after the wait, it waits no longer.
        let pool = Pool::new("strongroom-owner", 1, 1, Arc::clone(&self.owner.clock));
        let outcome = match pool.spawn(Duration::ZERO, tell) {
            Ok(()) => done.recv_timeout(timeout).unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, CLAIM)
                    .with_reason(Reason::StoreUnreachable)
                    .with_detail("no answer in time"))
            }),
            Err(e) => Err(e),
        };
        if let Err(error) = outcome {
            tracing::warn!(error = %error.kind(), "store not told that the content is given up");
        }
    }
}

impl Owner {
    /// Gives the content up, for anybody to claim who knows the closing claim.
    fn close_with(&self, closing: Claim) -> Result<()> {
        self.refs.update(OWNER, |now| {
            let Some(mut row) = now.map(OwnerRefRow::decode).transpose()? else {
                return Err(
                    Error::new(ErrorKind::NotFound, CLAIM).with_reason(Reason::OwnerRefMissing)
                );
            };
            let OwnerRefRow::V0 { claim, closed, .. } = &mut row;
            if *claim != self.claim {
                return Err(
                    Error::new(ErrorKind::Closed, CLAIM).with_reason(Reason::ContentTakenOver)
                );
            }
            (*claim, *closed) = (closing, true);
            Ok((row.encode(), ()))
        })
    }
}

impl Owner {
    /// Returns whether deletes wait because the content was taken over.
    pub(super) fn deletes_wait(&self) -> bool {
        let now = self.clock.unix_millis();
        let OwnerRow::V0 { taken_over_unix_millis, .. } = self.row;
        // Not for ever, if the clock was ahead then and was set right since.
        taken_over_unix_millis.is_some_and(|at| at.abs_diff(now) < DELETES_WAIT_MILLIS)
    }

    /// After a commit: asks the store in the background, if that was long ago. No commit waits.
    pub(super) fn confirm_soon(self: &Arc<Self>, far: &Pool) {
        if !self.is_stale() || self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        // Not the vault: that may be dropped meanwhile.
        let asked = Arc::clone(self);
        let ask = move || {
            if let Err(error) = asked.confirm() {
                tracing::warn!(error = %error.kind(), "content not confirmed");
            }
            asked.asking.store(false, Ordering::Release);
        };
        if far.spawn(Duration::ZERO, ask).is_err() {
            self.asking.store(false, Ordering::Release);
        }
    }
}

impl Owner {
    /// Whether the ref was read last so long ago that it is to be read again.
    pub(super) fn is_stale(&self) -> bool {
        let heard = *self.heard.lock();
        heard.passed(&*self.clock) >= HEARD_FOR
    }
}
