//! What happens to operations, told to whoever subscribes.
//!
//! Events come out of commits: one is sent once what it tells is durable, and none for what was
//! refused or whose outcome is unknown. Sending never waits: a subscriber has a bounded channel,
//! and what does not fit is counted as missed. Nothing tells of the engine's own operations.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::room::Operations;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use super::machine::OperationState;
use super::operation::cut;

/// Most events that a subscription can be asked to keep.
pub const EVENTS_KEPT_MAX: usize = 1 << 16;

/// Something that happened to an operation.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The operation's id.
    pub id: String,
    /// What kind of work it is.
    pub name: String,
    /// When; milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was begun, or goes on after a pause.
    Started,
    /// A lane had a checkpoint.
    Progress {
        /// The lane's name.
        lane: String,
        /// How much of the lane is done, 0 to 1.
        progress: f64,
    },
    /// It was laid aside.
    Paused,
    /// All of it is done.
    Completed,
    /// Its work ended with an error.
    Failed {
        /// What the host, or the panic, said of it.
        error: String,
    },
    /// It goes on after a crash, a failure or a take-over.
    Recovered,
    /// It was given up.
    Cancelled,
    /// Something that does not end it: told by its [`Job`](crate::runner::Job), or by the runner.
    Warning {
        /// What.
        text: String,
    },
}

impl Event {
    pub(crate) fn new(id: &str, name: Option<&str>, unix_millis: u64, kind: EventKind) -> Self {
        Self { id: id.to_owned(), name: name.unwrap_or(id).to_owned(), unix_millis, kind }
    }
}

impl fmt::Debug for Event {
    /// Neither id nor name: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl EventKind {
    /// A warning, cut as the texts of failures are.
    pub(crate) fn warning(text: impl AsRef<str>) -> Self {
        Self::Warning { text: cut(text.as_ref()).to_owned() }
    }
}

impl fmt::Debug for EventKind {
    /// Neither lanes nor texts: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::Progress { progress, .. } => {
                return f
                    .debug_struct("Progress")
                    .field("progress", progress)
                    .finish_non_exhaustive();
            }
            Self::Paused => "Paused",
            Self::Completed => "Completed",
            Self::Failed { .. } => "Failed { .. }",
            Self::Recovered => "Recovered",
            Self::Cancelled => "Cancelled",
            Self::Warning { .. } => "Warning { .. }",
        })
    }
}

/// What a transaction did that is to be heard of once it has committed.
#[derive(Debug, Default)]
pub(crate) struct CommitEffects {
    /// There was a subscriber when it began: only then is progress collected. Rare events are,
    /// always: a subscription that came in between hears of them.
    wanted: bool,
    events: Vec<Event>,
    pub(crate) transitions: Vec<(Option<OperationState>, OperationState)>,
    /// Lengths of the checkpoints' data.
    pub(crate) checkpoints: Vec<usize>,
}

impl CommitEffects {
    pub(super) fn want_progress(&mut self) {
        self.wanted = true;
    }

    pub(super) fn progress(&mut self, event: impl FnOnce() -> Event) {
        if self.wanted {
            self.events.push(event());
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// All subscriptions of a vault.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    subscribers: Mutex<Vec<Subscriber>>,
    wanted: AtomicBool,
    missed: AtomicU64,
}

#[derive(Debug)]
struct Subscriber {
    sender: Sender<Event>,
    missed: Arc<AtomicU64>,
}

impl Bus {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    fn subscribe(&self, kept: usize) -> Subscription {
        let (sender, receiver) = crossbeam_channel::bounded(kept.clamp(1, EVENTS_KEPT_MAX));
        let missed = Arc::<AtomicU64>::default();
        let mut subscribers = self.subscribers.lock();
        subscribers.push(Subscriber { sender, missed: Arc::clone(&missed) });
        self.wanted.store(true, Ordering::Release);
        Subscription { receiver, missed }
    }

    /// Sends what a commit did.
    pub(crate) fn send(&self, heard: CommitEffects) {
        if !heard.events.is_empty() {
            self.send_all(heard.events);
        }
    }

    fn send_all(&self, events: Vec<Event>) {
        if !self.is_wanted() {
            return;
        }
        let mut subscribers = self.subscribers.lock();
        for event in events {
            subscribers.retain(|subscriber| match subscriber.sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    subscriber.missed.fetch_add(1, Ordering::Relaxed);
                    self.missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            });
        }
        self.wanted.store(!subscribers.is_empty(), Ordering::Release);
    }

    /// Sends an event that is not of a commit.
    pub(crate) fn warn(&self, event: impl FnOnce() -> Event) {
        if self.is_wanted() {
            self.send_all(vec![event()]);
        }
    }

    /// Events that some subscription had no room for.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// The receiving end of a vault's events, oldest first. Ends when it is dropped.
///
/// It keeps as many events as it was asked to; what comes while it is full is [missed](Self::missed),
/// never waited for. As an iterator it waits for the next event, and ends with the vault.
#[derive(Debug)]
pub struct Subscription {
    receiver: Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl Subscription {
    /// The next event, if one is there.
    pub fn next_now(&self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }

    /// The next event; `None` if none comes in that time, or the vault is gone.
    pub fn next_within(&self, wait: Duration) -> Option<Event> {
        self.receiver.recv_timeout(wait).ok()
    }

    /// How many events it had no room for.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Subscription {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

/// Events.
impl Operations {
    /// Hears of what happens to the host's operations from now on, once it is durable: each
    /// [`EventKind`]. Not of removals, migrations, and what was already paused.
    /// Keeps at most `kept` events that have not been fetched (1 to [`EVENTS_KEPT_MAX`]; 1,024
    /// suit most); it never holds up who works.
    pub fn subscribe(&self, kept: usize) -> Subscription {
        self.room.hearing.bus.subscribe(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(n: usize) -> Event {
        Event::new("a", None, n as u64, EventKind::Warning { text: n.to_string() })
    }

    #[test]
    fn a_full_subscription_misses_the_newest_and_counts_them() {
        let bus = Bus::default();
        let (short, long) = (bus.subscribe(2), bus.subscribe(100));
        for n in 0..5 {
            bus.warn(|| warning(n));
        }
        let told = |from: &Subscription| {
            std::iter::from_fn(|| from.next_now()).map(|e| e.unix_millis).collect::<Vec<_>>()
        };
        assert_eq!((told(&short), short.missed()), (vec![0, 1], 3));
        assert_eq!((told(&long), long.missed()), (vec![0, 1, 2, 3, 4], 0));
        assert_eq!(bus.missed(), 3);
    }

    #[test]
    fn subscription_as_iterator_ends_with_the_vault() {
        let bus = Bus::default();
        let events = bus.subscribe(4);
        (0..3).for_each(|n| bus.warn(|| warning(n)));
        drop(bus);
        assert_eq!(events.map(|e| e.unix_millis).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_dropped_subscription_costs_nothing_any_more() {
        let bus = Bus::default();
        drop(bus.subscribe(2));
        bus.warn(|| warning(0));
        assert!(!bus.is_wanted());
        bus.warn(|| unreachable!("nobody listens"));
    }
}
