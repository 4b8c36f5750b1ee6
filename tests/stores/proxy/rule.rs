//! Faults of requests, and rules that select the requests.

use std::time::Duration;

use super::http::Head;
use crate::support::random::Random;

/// A fault that the proxy injects into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is reset after the request's head was read.
    Refuse,
    /// The proxy reads the request, and closes the connection without an answer.
    ///
    /// The close comes after this time, or at [`Proxy::clear`].
    Hang(Duration),
    /// The proxy forwards the request after this time, or at [`Proxy::clear`].
    Delay(Duration),
    /// The proxy sends this answer and does not forward the request.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// The server answers the request, and the proxy closes the connection.
    LoseAnswer,
    /// The proxy forwards the request twice, and sends the second answer.
    Duplicate,
    /// The server answers the request, and the proxy sends this answer instead.
    AnswerAfter { status: u16, body: Vec<u8> },
    /// The proxy closes the connection at once, and forwards the request later.
    ///
    /// It forwards after this time, or at [`Proxy::deliver_late`].
    LateEffect(Duration),
    /// The proxy closes the connection within the answer's body.
    ///
    /// It sends at most this number of bytes, and never the last byte.
    CutBody(usize),
    /// The proxy flips a bit in the middle of the answer's body.
    CorruptBody,
    /// The proxy replaces all headers of this name in the answer.
    ReplaceHeader { name: &'static str, value: String },
    /// The proxy sends the answer of an earlier equal request ([`Proxy::remember`]).
    ///
    /// It does not forward the request. Without an earlier answer it closes the connection.
    Replay,
}

impl Fault {
    /// Returns an error answer in the form of S3.
    pub(crate) fn s3_error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
             <Message>injected</Message><RequestId>0</RequestId></Error>"
        );
        let headers = vec![("Content-Type", "application/xml".to_owned())];
        Self::Answer { status, headers, body: body.into_bytes() }
    }
}

/// Settings of random faults.
///
/// Probabilities are in percent of the requests that the rule matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chaos {
    pub(crate) seed: u64,
    pub(crate) lose_answer_percent: u64,
    /// Percentage of requests that are answered with 503 (`SlowDown`) and not forwarded.
    pub(crate) unavailable_percent: u64,
    pub(crate) delay_percent: u64,
    pub(crate) delay_max: Duration,
}

impl Chaos {
    fn draw(self, random: &mut Random) -> Option<Fault> {
        let lost = self.lose_answer_percent;
        let unavailable = lost + self.unavailable_percent;
        match random.below(100) {
            drawn if drawn < lost => Some(Fault::LoseAnswer),
            drawn if drawn < unavailable => Some(Fault::s3_error(503, "SlowDown")),
            drawn if drawn < unavailable + self.delay_percent => {
                let micros_max = u64::try_from(self.delay_max.as_micros()).unwrap_or(u64::MAX);
                Some(Fault::Delay(Duration::from_micros(random.below(micros_max))))
            }
            _ => None,
        }
    }
}

type Predicate = Box<dyn Fn(&Head) -> bool + Send>;

/// A rule that injects a fault into matching requests.
///
/// By default it matches any request, and injects its fault once.
pub(crate) struct Rule {
    matches: Vec<Predicate>,
    draw: Box<dyn FnMut() -> Option<Fault> + Send>,
    /// Number of faults that the rule may still inject.
    pub(super) left: u64,
}

impl Rule {
    pub(crate) fn new(fault: Fault) -> Self {
        Self::drawing(move || Some(fault.clone()), 1)
    }

    /// Returns a rule that injects random faults without limit.
    ///
    /// The seed and the order of the requests determine the faults.
    pub(crate) fn chaos(chaos: Chaos) -> Self {
        let mut random = Random::new(chaos.seed);
        Self::drawing(move || chaos.draw(&mut random), u64::MAX)
    }

    fn drawing(draw: impl FnMut() -> Option<Fault> + Send + 'static, left: u64) -> Self {
        Self { matches: Vec::new(), draw: Box::new(draw), left }
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        self.when(move |head| head.method() == method)
    }

    /// Matches only requests whose encoded path and query contain `part`.
    pub(crate) fn target(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.when(move |head| head.target().contains(&part))
    }

    /// Adds a condition, which runs under the proxy's lock.
    pub(crate) fn when(mut self, is: impl Fn(&Head) -> bool + Send + 'static) -> Self {
        self.matches.push(Box::new(is));
        self
    }

    pub(crate) fn times(mut self, times: u64) -> Self {
        self.left = times;
        self
    }

    /// Injects the fault until [`Proxy::clear`].
    pub(crate) fn always(self) -> Self {
        self.times(u64::MAX)
    }

    pub(super) fn apply(&mut self, head: &Head) -> Option<Fault> {
        if self.left == 0 || !self.matches.iter().all(|is| is(head)) {
            return None;
        }
        let fault = (self.draw)()?;
        self.left -= 1;
        Some(fault)
    }
}
