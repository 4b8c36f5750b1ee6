//! A reverse proxy on loopback that injects network and service faults.
//!
//! It sits between an HTTP/1.1 client and a server. It can refuse a request, lose its answer, or
//! delay its effect.
//!
//! The proxy forwards the exact bytes of the client, including `Host`, so signatures stay valid.
//! It opens a separate connection to the server for each request, so a fault affects no other
//! request. It buffers whole messages. The first [`Rule`] that matches a request determines its
//! fault. The log contains each request as soon as its head is read, and each answer before the
//! client can read it. The proxy knows only two things of S3: the form of its errors, and the
//! query parameters of a signature.
//!
//! Every wait has a limit: [`IO_TIMEOUT`] for a socket, or a bound for the state. Dropping the
//! proxy ends all waits and all its threads.

mod bucket;
mod http;
mod rule;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use self::bucket::start_bucket;
pub(crate) use self::http::Head;
use self::http::{Message, PendingRequest};
pub(crate) use self::rule::{Chaos, Fault, Rule};

/// Timeout of each read and write on a socket; an idle connection is closed then.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a test's wait for the proxy.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Time limit for the threads of a dropped proxy to end.
const END_MAX: Duration = Duration::from_secs(10);
/// Number of tries to bind a port that is temporarily in use.
const RETRIES_MAX: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A request in the proxy's log, with its answers.
#[derive(Clone, Debug)]
pub(crate) struct LoggedRequest {
    /// Number of the request in the proxy's life, from 0.
    pub(crate) number: u64,
    pub(crate) method: String,
    /// Encoded path and query.
    pub(crate) target: String,
    /// Length of the body in bytes; 0 until the body is read, and for a refused request.
    pub(crate) body_bytes: u64,
    pub(crate) fault: Option<Fault>,
    /// Status of the server's answer; `None` before the answer, or without forwarding.
    pub(crate) upstream_status: Option<u16>,
    /// Status of the answer to the client.
    ///
    /// The proxy records the status before it sends the answer.
    pub(crate) status: Option<u16>,
}

#[derive(Default)]
struct State {
    is_listening: bool,
    is_stopping: bool,
    rules: Vec<Rule>,
    log: Vec<LoggedRequest>,
    /// Number of requests so far.
    count: u64,
    remember: Vec<String>,
    answers: HashMap<String, Message>,
    clients: Vec<Weak<TcpStream>>,
    upstreams: Vec<Weak<TcpStream>>,
    /// Number of connections that a thread serves.
    threads: usize,
    /// Number of late requests that have not ended.
    late: usize,
    /// Number of calls of [`Proxy::clear`].
    clears: u64,
    /// Number of calls of [`Proxy::deliver_late`].
    deliveries: u64,
}

/// The fault of a request, if any.
struct PickedFault {
    number: u64,
    /// Number of clears before this request.
    clears: u64,
    fault: Option<Fault>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Locks the state, also after a panic.
    ///
    /// A condition of a rule that panics fails its test, but leaves the state consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }

    /// Waits at most `time` for a condition of the state; returns whether it holds.
    fn wait(&self, time: Duration, mut is: impl FnMut(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !is(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn pause(&self, time: Duration, over: impl Fn(&State) -> bool) {
        self.wait(time, |state| state.is_stopping || over(state));
    }

    fn note(&self, number: u64, note: impl FnOnce(&mut LoggedRequest)) {
        self.change(|state| {
            // A test may have taken the log since the request began.
            if let Some(request) = state.log.iter_mut().rfind(|request| request.number == number) {
                note(request);
            }
        });
    }

    /// Logs a request and picks its fault.
    fn pick(&self, head: &Head) -> PickedFault {
        self.change(|state| {
            let fault = state.rules.iter_mut().find_map(|rule| rule.apply(head));
            let number = state.count;
            state.count += 1;
            state.log.push(LoggedRequest {
                number,
                method: head.method().to_owned(),
                target: head.target().to_owned(),
                body_bytes: 0,
                fault: fault.clone(),
                upstream_status: None,
                status: None,
            });
            PickedFault { number, clears: state.clears, fault }
        })
    }

    /// Forwards a request to the server and returns the answer.
    fn forward(&self, number: u64, request: &Message) -> io::Result<Message> {
        let upstream = Arc::new(TcpStream::connect_timeout(&self.upstream, IO_TIMEOUT)?);
        prepare(&upstream)?;
        let is_stopping = self.change(|state| {
            enlist(&mut state.upstreams, &upstream);
            state.is_stopping
        });
        if is_stopping {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let sent = (&*upstream).write_all(&request.encode(None));
        // A server may answer and close before it has read the whole request. The answer counts.
        let answer = Message::read_answer(&upstream, request.head.method());
        let answer = answer.map_err(|error| sent.err().unwrap_or(error))?;
        let (head, status) = (&request.head, answer.head.status());
        self.change(|state| {
            let wanted = state.remember.iter().any(|part| head.target().contains(part));
            if wanted && head.method() == "GET" && status.is_some_and(|s| s / 100 == 2) {
                state.answers.insert(unsigned(head.target()), answer.clone());
            }
        });
        self.note(number, |request| request.upstream_status = status);
        Ok(answer)
    }

    fn forward_late(&self, number: u64, request: &Message, time: Duration, deliveries: u64) {
        self.pause(time, |state| state.deliveries > deliveries);
        // The client is gone, so no error can be reported. The log shows the server's answer.
        let _ = self.forward(number, request);
        self.change(|state| state.late -= 1);
    }

    /// Returns the answer to the client; `None` closes the connection.
    fn answer(&self, picked: PickedFault, request: Message) -> io::Result<Option<Message>> {
        let PickedFault { number, clears, fault } = picked;
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
            Some(Fault::Duplicate) => answer = self.forward(number, &request)?,
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
        while let Some(pending) = PendingRequest::next(&client)? {
            let picked = self.pick(&pending.head);
            let number = picked.number;
            if picked.fault == Some(Fault::Refuse) {
                return Ok(());
            }
            let request = pending.finish(&client)?;
            self.note(number, |logged| logged.body_bytes = request.body.len() as u64);
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
            self.note(number, |logged| logged.status = answer.head.status());
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
            let is_listening = self.change(|state| {
                if let (true, Ok(client)) = (state.is_listening, &client) {
                    enlist(&mut state.clients, client);
                    state.threads += 1;
                }
                state.is_listening
            });
            if !is_listening {
                return;
            }
            let Ok(client) = client else {
                // The process may be out of descriptors.
                self.pause(RETRY_PAUSE, |state| !state.is_listening);
                continue;
            };
            let shared = Arc::clone(self);
            thread::spawn(move || {
                let _count = ThreadCount(&shared);
                // An error means a broken connection, which some faults cause.
                let _ = shared.serve(client);
            });
        }
    }
}

/// Counts a thread until its end, even by a panic.
struct ThreadCount<'a>(&'a Shared);

impl Drop for ThreadCount<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.threads -= 1);
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)
}

/// Adds a socket to the list for shutdown, and removes closed ones.
fn enlist(streams: &mut Vec<Weak<TcpStream>>, stream: &Arc<TcpStream>) {
    streams.retain(|stream| stream.strong_count() > 0);
    streams.push(Arc::downgrade(stream));
}

fn cut(streams: &[Weak<TcpStream>]) {
    for stream in streams.iter().filter_map(Weak::upgrade) {
        // The shutdown fails if the peer has closed the socket, which is fine.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Returns a path and query without the parameters of a signature.
fn unsigned(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    format!("{path}?{}", rest.join("&"))
}

/// A proxy on a loopback port, stopped when dropped.
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
        self.shared.change(|state| state.is_listening = true);
        let shared = Arc::clone(&self.shared);
        let accepting = thread::spawn(move || shared.accept(&listener));
        *self.accepting.lock().unwrap() = Some(accepting);
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the port and all connections of clients.
    ///
    /// Requests in progress still reach the server.
    pub(crate) fn stop_listening(&self) {
        self.shared.change(|state| {
            state.is_listening = false;
            cut(&state.clients);
        });
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            // The connection wakes the accepting thread.
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

    /// Adds a rule after the existing rules.
    pub(crate) fn inject(&self, rule: Rule) {
        self.shared.change(|state| state.rules.push(rule));
    }

    /// Returns the number of rules that can still inject a fault.
    ///
    /// A test of a fault must end with 0: otherwise its fault did not happen.
    pub(crate) fn rules_left(&self) -> usize {
        self.shared.lock().rules.iter().filter(|rule| rule.left > 0).count()
    }

    /// Removes all rules, and ends all hangs and delays.
    pub(crate) fn clear(&self) {
        self.shared.change(|state| {
            state.rules.clear();
            state.clears += 1;
        });
    }

    /// Keeps answers from now on, for [`Fault::Replay`].
    ///
    /// Keeps the last 2xx answer to each GET whose path and query contain `part`.
    pub(crate) fn remember(&self, part: impl Into<String>) {
        self.shared.change(|state| state.remember.push(part.into()));
    }

    /// Forwards the requests that [`Fault::LateEffect`] delays, and waits for the answers.
    #[track_caller]
    pub(crate) fn deliver_late(&self) {
        self.shared.change(|state| state.deliveries += 1);
        assert!(self.shared.wait(WAIT_MAX, |state| state.late == 0), "late requests end");
    }

    /// Returns all requests since the start, or since [`Self::take_log`].
    pub(crate) fn log(&self) -> Vec<LoggedRequest> {
        self.shared.lock().log.clone()
    }

    pub(crate) fn take_log(&self) -> Vec<LoggedRequest> {
        std::mem::take(&mut self.shared.lock().log)
    }

    /// Waits until a condition of the log holds.
    #[track_caller]
    pub(crate) fn wait_for(&self, is: impl Fn(&[LoggedRequest]) -> bool) {
        assert!(
            self.shared.wait(WAIT_MAX, |state| is(&state.log)),
            "timed out pending for the log"
        );
    }
}

impl Drop for Proxy {
    /// Stops the proxy; late requests never reach the server.
    fn drop(&mut self) {
        self.shared.change(|state| state.is_stopping = true);
        self.stop_listening();
        self.shared.change(|state| cut(&state.upstreams));
        let ended = self.shared.wait(END_MAX, |state| state.threads == 0);
        assert!(ended || thread::panicking(), "the threads of a proxy end");
    }
}
