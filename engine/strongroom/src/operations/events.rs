//! Events of operations, sent to subscribers.
//!
//! An event is sent after its commit is durable. Refused commits, and commits of unknown outcome,
//! send none. Sending never waits: a subscriber has a bounded channel, and events that do not fit
//! are counted as missed. The engine's internal operations send no events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::room::Operations;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use super::machine::OperationState;
use super::operation::cut;

/// Most unread events that a subscription can keep.
pub const EVENTS_KEPT_MAX: usize = 1 << 16;

/// One event of an operation.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Id of the operation.
    pub id: String,
    /// Kind of work: the operation's name, or its id if it has none.
    pub name: String,
    /// Time of the event, in milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// Kind of the event.
    pub kind: EventKind,
}

/// Kind of an event.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The operation was begun, or was resumed after a pause.
    Started,
    /// A lane had a checkpoint.
    Progress {
        /// Name of the lane.
        lane: String,
        /// Fraction of the lane that is done, from 0 to 1.
        progress: f64,
    },
    /// The operation was paused.
    Paused,
    /// The operation is completed.
    Completed,
    /// A try ended with an error.
    Failed {
        /// Text of the host's error or of the panic.
        error: String,
    },
    /// The operation was resumed after a crash, a failure or a take-over.
    Recovered,
    /// The operation was cancelled.
    Cancelled,
    /// A warning that does not end the operation.
    ///
    /// Its [`Job`](crate::runner::Job) or the runner sends it.
    Warning {
        /// Text of the warning.
        text: String,
    },
}

impl Event {
    pub(crate) fn new(id: &str, name: Option<&str>, unix_millis: u64, kind: EventKind) -> Self {
        Self { id: id.to_owned(), name: name.unwrap_or(id).to_owned(), unix_millis, kind }
    }
}

impl fmt::Debug for Event {
    /// Omits id and name, which are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl EventKind {
    /// Creates a warning, cut to the length of a failure's text.
    pub(crate) fn warning(text: impl AsRef<str>) -> Self {
        Self::Warning { text: cut(text.as_ref()).to_owned() }
    }
}

impl fmt::Debug for EventKind {
    /// Omits lanes and texts, which are the host's.
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

/// Events and measurements of a transaction, sent after its commit.
#[derive(Debug, Default)]
pub(crate) struct CommitEffects {
    /// Set if a subscriber existed when the transaction began.
    ///
    /// Progress is collected only then. The other events are rare and always collected, so a
    /// subscription made in between receives them.
    wanted: bool,
    events: Vec<Event>,
    pub(crate) transitions: Vec<(Option<OperationState>, OperationState)>,
    /// Lengths of the checkpoints' data, in bytes.
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

    /// Sends the events of a commit.
    pub(crate) fn send(&self, effects: CommitEffects) {
        if !effects.events.is_empty() {
            self.send_all(effects.events);
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

    /// Sends an event that belongs to no commit.
    pub(crate) fn warn(&self, event: impl FnOnce() -> Event) {
        if self.is_wanted() {
            self.send_all(vec![event()]);
        }
    }

    /// Returns the number of events that did not fit a subscription.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// A subscription to a vault's events, oldest first. Dropping it ends it.
///
/// It keeps a bounded number of unread events. Events that arrive while it is full are dropped, and
/// counted as [missed](Self::missed). As an iterator it waits for the next event, and ends when the
/// vault is closed.
#[derive(Debug)]
pub struct Subscription {
    receiver: Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl Subscription {
    /// Returns the next event, if one is ready.
    pub fn next_now(&self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }

    /// Waits at most `wait` for the next event; `None` if none arrives or the vault is closed.
    pub fn next_within(&self, wait: Duration) -> Option<Event> {
        self.receiver.recv_timeout(wait).ok()
    }

    /// Returns the number of events that did not fit this subscription.
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
    /// Subscribes to the events of the host's operations from now on.
    ///
    /// Each event is sent once its commit is durable. There is one for each [`EventKind`], but none
    /// for deletions and migrations, nor for pausing a paused operation.
    ///
    /// Keeps at most `kept` unread events: 1 to [`EVENTS_KEPT_MAX`], and 1,024 suit most hosts.
    /// Values outside are moved to the nearer limit. A slow subscriber never delays commits.
    pub fn subscribe(&self, kept: usize) -> Subscription {
        self.shared.observer.bus.subscribe(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(n: usize) -> Event {
        Event::new("a", None, n as u64, EventKind::Warning { text: n.to_string() })
    }

    #[test]
    fn full_subscription_misses_newest_events_and_counts() {
        let bus = Bus::default();
        let (short, long) = (bus.subscribe(2), bus.subscribe(100));
        for n in 0..5 {
            bus.warn(|| warning(n));
        }
        let received = |from: &Subscription| {
            std::iter::from_fn(|| from.next_now()).map(|e| e.unix_millis).collect::<Vec<_>>()
        };
        assert_eq!((received(&short), short.missed()), (vec![0, 1], 3));
        assert_eq!((received(&long), long.missed()), (vec![0, 1, 2, 3, 4], 0));
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
    fn dropped_subscription_is_removed_on_next_send() {
        let bus = Bus::default();
        drop(bus.subscribe(2));
        bus.warn(|| warning(0));
        assert!(!bus.is_wanted());
        bus.warn(|| unreachable!("no subscriber is left"));
    }
}
