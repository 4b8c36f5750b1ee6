//! A reverse proxy on loopback between an HTTP/1.1 client and a server, which does to a request
//! what a network and a service can do: refuse it, lose its answer, let it happen late.
//!
//! Requests reach the server with the bytes that the client has sent, `Host` included, so that
//! signatures hold; each on a connection of its own, so that a fault touches no other. Messages
//! are held whole. What befalls a request is said by the first [`Rule`] that strikes it. Every
//! request is in the log from when its head is known, with what was answered before the client
//! can read that. The proxy knows nothing of S3 but how its errors look and what signs a query.
//!
//! Every wait is one on a socket with [`IO_TIMEOUT`], or on the state with a bound; both end when
//! the proxy is dropped, which ends its threads.

mod http;
mod rule;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use self::http::Head;
use self::http::{Message, Waiting};
pub(crate) use self::rule::{Chaos, Fault, Rule};

/// How long a socket may be silent or full; an idle connection is closed then.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a test waits for what is to come.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the threads of a dropped proxy may take to end.
const END_MAX: Duration = Duration::from_secs(10);
/// What the kernel refuses for the moment, as a port that is still taken, is tried so often again.
const RETRIES_MAX: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A request that has reached the proxy, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counts the requests from 0, over the proxy's life.
    pub(crate) number: u64,
    pub(crate) method: String,
    /// Path and query, as they are encoded.
    pub(crate) target: String,
    /// 0 until the body is read; a refused one is not.
    pub(crate) body_bytes: u64,
    pub(crate) fault: Option<Fault>,
    /// What the server has answered; `None` if it was not asked, or has not yet.
    pub(crate) upstream_status: Option<u16>,
    /// What the client was answered, if it still listened.
    pub(crate) status: Option<u16>,
}

#[derive(Default)]
struct State {
    listening: bool,
    stopping: bool,
    rules: Vec<Rule>,
    log: Vec<Seen>,
    /// How many requests there were.
    count: u64,
    remember: Vec<String>,
    answers: HashMap<String, Message>,
    clients: Vec<Weak<TcpStream>>,
    upstreams: Vec<Weak<TcpStream>>,
    /// Connections that a thread serves.
    threads: usize,
    /// Late requests that have not ended.
    late: usize,
    /// How often it was cleared, and how often late requests were delivered.
    clears: u64,
    deliveries: u64,
}

/// What befalls a request.
struct Picked {
    number: u64,
    /// How often the proxy was cleared until then.
    clears: u64,
    fault: Option<Fault>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// A predicate that panics is its test's failure, which the state outlives.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }

    /// Waits until this is true of the state; whether it is within `time`.
    fn wait(&self, time: Duration, mut is: impl FnMut(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !is(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn pause(&self, time: Duration, over: impl Fn(&State) -> bool) {
        self.wait(time, |state| state.stopping || over(state));
    }

    fn note(&self, number: u64, note: impl FnOnce(&mut Seen)) {
        self.change(|state| {
            // It is gone if the log was taken meanwhile.
            if let Some(seen) = state.log.iter_mut().rfind(|seen| seen.number == number) {
                note(seen);
            }
        });
    }

    /// Logs a request, and says what befalls it.
    fn pick(&self, head: &Head) -> Picked {
        self.change(|state| {
            let fault = state.rules.iter_mut().find_map(|rule| rule.strike(head));
            let number = state.count;
            state.count += 1;
            state.log.push(Seen {
                number,
                method: head.method().to_owned(),
                target: head.target().to_owned(),
                body_bytes: 0,
                fault: fault.clone(),
                upstream_status: None,
                status: None,
            });
            Picked { number, clears: state.clears, fault }
        })
    }

    /// Has the server answer.
    fn forward(&self, number: u64, request: &Message) -> io::Result<Message> {
        let upstream = Arc::new(TcpStream::connect_timeout(&self.upstream, IO_TIMEOUT)?);
        prepare(&upstream)?;
        let stopping = self.change(|state| {
            enlist(&mut state.upstreams, &upstream);
            state.stopping
        });
        if stopping {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let sent = (&*upstream).write_all(&request.encode(None));
        // A server may answer and close before it has read everything: its answer counts.
        let answer = Message::read_answer(&upstream, request.head.method());
        let answer = answer.map_err(|error| sent.err().unwrap_or(error))?;
        let (head, status) = (&request.head, answer.head.status());
        self.change(|state| {
            let wanted = state.remember.iter().any(|part| head.target().contains(part));
            if wanted && head.method() == "GET" && status.is_some_and(|s| s / 100 == 2) {
                state.answers.insert(unsigned(head.target()), answer.clone());
            }
        });
        self.note(number, |seen| seen.upstream_status = status);
        Ok(answer)
    }

    fn forward_late(&self, number: u64, request: &Message, time: Duration, deliveries: u64) {
        self.pause(time, |state| state.deliveries > deliveries);
        // Nobody is left to be told of an error; the log says whether the server has answered.
        let _ = self.forward(number, request);
        self.change(|state| state.late -= 1);
    }

    /// What the client is answered; if nothing, the connection is closed.
    fn answer(&self, picked: Picked, request: Message) -> io::Result<Option<Message>> {
        let Picked { number, clears, fault } = picked;
        let method = request.head.method().to_owned();
        match &fault {
            Some(Fault::Hang(time)) => {
                self.pause(*time, |state| state.clears > clears);
                return Ok(None);
            }
            Some(Fault::Delay(time)) => self.pause(*time, |state| state.clears > clears),
            Some(Fault::Answer { status, headers, body }) => {
                return Ok(Some(Message::answer(&method, *status, headers, body)));
            }
            Some(Fault::Replay) => {
                let answered = |state: &mut State| {
                    let same = unsigned(request.head.target());
                    state.answers.get(&same).filter(|_| method == "GET").cloned()
                };
                return Ok(self.change(answered));
            }
            _ => {}
        }
        let mut answer = self.forward(number, &request)?;
        match fault {
            Some(Fault::LoseAnswer) => return Ok(None),
            Some(Fault::AnswerAfter { status, body }) => {
                answer = Message::answer(&method, status, &[], &body);
            }
            Some(Fault::CorruptBody) => {
                let middle = answer.body.len() / 2;
                if let Some(byte) = answer.body.get_mut(middle) {
                    *byte ^= 1;
                }
            }
            Some(Fault::ReplaceHeader { name, value }) => answer.head.replace(name, &value),
            _ => {}
        }
        Ok(Some(answer))
    }

    /// Serves a connection until it ends.
    fn serve(&self, client: Arc<TcpStream>) -> io::Result<()> {
        prepare(&client)?;
        while let Some(waiting) = Waiting::next(&client)? {
            let picked = self.pick(&waiting.head);
            let number = picked.number;
            if picked.fault == Some(Fault::Refuse) {
                return Ok(());
            }
            let request = waiting.finish(&client)?;
            self.note(number, |seen| seen.body_bytes = request.body.len() as u64);
            if let Some(Fault::LateEffect(time)) = picked.fault {
                let deliveries = self.change(|state| {
                    state.late += 1;
                    state.deliveries
                });
                drop(client);
                self.forward_late(number, &request, time, deliveries);
                return Ok(());
            }
            let cut = match picked.fault {
                Some(Fault::CutBody(bytes)) => Some(bytes),
                _ => None,
            };
            let ends = cut.is_some() || request.ends_connection();
            let Some(answer) = self.answer(picked, request)? else { return Ok(()) };
            self.note(number, |seen| seen.status = answer.head.status());
            (&*client).write_all(&answer.encode(cut))?;
            if ends || answer.ends_connection() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let client = listener.accept().map(|(client, _)| Arc::new(client));
            let listening = self.change(|state| {
                if let (true, Ok(client)) = (state.listening, &client) {
                    enlist(&mut state.clients, client);
                    state.threads += 1;
                }
                state.listening
            });
            if !listening {
                return;
            }
            let Ok(client) = client else {
                // Out of descriptors, perhaps.
                self.pause(RETRY_PAUSE, |state| !state.listening);
                continue;
            };
            let shared = Arc::clone(self);
            thread::spawn(move || {
                let _served = Served(&shared);
                // An error is a connection that has broken, as some are meant to.
                let _ = shared.serve(client);
            });
        }
    }
}

/// Counts a thread until it ends, even by a panic.
struct Served<'a>(&'a Shared);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.threads -= 1);
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)
}

/// Adds a socket to those that can be cut, in the place of what is closed.
fn enlist(streams: &mut Vec<Weak<TcpStream>>, stream: &Arc<TcpStream>) {
    streams.retain(|stream| stream.strong_count() > 0);
    streams.push(Arc::downgrade(stream));
}

fn cut(streams: &[Weak<TcpStream>]) {
    for stream in streams.iter().filter_map(Weak::upgrade) {
        // One that its peer has closed is cut already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A path and query without what signs it.
fn unsigned(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    format!("{path}?{}", rest.join("&"))
}

/// A proxy that listens on a port of loopback until it is dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    addr: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared =
            Shared { upstream, state: Mutex::new(State::default()), changed: Condvar::new() };
        let addr = listener.local_addr().unwrap();
        let proxy = Self { shared: Arc::new(shared), addr, accepting: Mutex::new(None) };
        proxy.listen(listener);
        proxy
    }

    fn listen(&self, listener: TcpListener) {
        self.shared.change(|state| state.listening = true);
        let shared = Arc::clone(&self.shared);
        let accepting = thread::spawn(move || shared.accept(&listener));
        *self.accepting.lock().unwrap() = Some(accepting);
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the port and all clients' connections; requests underway still reach the server.
    pub(crate) fn stop_listening(&self) {
        self.shared.change(|state| {
            state.listening = false;
            cut(&state.clients);
        });
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            // Wakes the thread that accepts.
            let _ = TcpStream::connect_timeout(&self.addr, IO_TIMEOUT);
            accepting.join().unwrap();
        }
    }

    /// Listens again, on the same port.
    pub(crate) fn resume(&self) {
        let bind = || {
            let bound = TcpListener::bind(self.addr).ok();
            if bound.is_none() {
                self.shared.pause(RETRY_PAUSE, |_| false);
            }
            bound
        };
        self.listen((0..RETRIES_MAX).find_map(|_| bind()).expect("the port is free again"));
    }

    /// Adds a rule; those before it come first.
    pub(crate) fn inject(&self, rule: Rule) {
        self.shared.change(|state| state.rules.push(rule));
    }

    /// Rules that have strikes left. A test of a fault ends with none, or it has tested nothing.
    pub(crate) fn rules_left(&self) -> usize {
        self.shared.lock().rules.iter().filter(|rule| rule.left > 0).count()
    }

    /// Takes back all rules, and ends what hangs or is delayed.
    pub(crate) fn clear(&self) {
        self.shared.change(|state| {
            state.rules.clear();
            state.clears += 1;
        });
    }

    /// From now on the last answer (2xx) to each GET with this in its path and query is kept for
    /// [`Fault::Replay`].
    pub(crate) fn remember(&self, part: impl Into<String>) {
        self.shared.change(|state| state.remember.push(part.into()));
    }

    /// Forwards what [`Fault::LateEffect`] holds back, and waits until the server has answered.
    #[track_caller]
    pub(crate) fn deliver_late(&self) {
        self.shared.change(|state| state.deliveries += 1);
        assert!(self.shared.wait(WAIT_MAX, |state| state.late == 0), "late requests end");
    }

    /// All requests since the start, or since [`Self::take_log`].
    pub(crate) fn log(&self) -> Vec<Seen> {
        self.shared.lock().log.clone()
    }

    pub(crate) fn take_log(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.lock().log)
    }

    /// Waits until this is true of the log.
    #[track_caller]
    pub(crate) fn wait_for(&self, is: impl Fn(&[Seen]) -> bool) {
        assert!(self.shared.wait(WAIT_MAX, |state| is(&state.log)), "the log never shows it");
    }
}

impl Drop for Proxy {
    /// Late requests that are still held back never reach the server.
    fn drop(&mut self) {
        self.shared.change(|state| state.stopping = true);
        self.stop_listening();
        self.shared.change(|state| cut(&state.upstreams));
        let ended = self.shared.wait(END_MAX, |state| state.threads == 0);
        assert!(ended || thread::panicking(), "the threads of a proxy end");
    }
}
