//! What befalls a request, and which ones.

use std::time::Duration;

use super::http::Head;
use crate::support::random::Random;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is reset before the request is read.
    Refuse,
    /// It is read, and not answered for so long or until [`Proxy::clear`]; then it is closed.
    Hang(Duration),
    /// It is forwarded after so long, or at [`Proxy::clear`].
    Delay(Duration),
    /// It is answered so, and not forwarded.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// It is forwarded and answered by the server; then the connection is closed instead.
    LoseAnswer,
    /// It is forwarded and answered by the server; the client is answered so instead.
    AnswerAfter { status: u16, body: Vec<u8> },
    /// The connection is closed at once, and the request forwarded after so long, or at
    /// [`Proxy::deliver_late`].
    LateEffect(Duration),
    /// The connection is closed after so many bytes of the answer's body, at most all but one.
    CutBody(usize),
    /// A bit in the middle of the answer's body, if it has one, is another.
    CorruptBody,
    /// The answer has this header in the place of those of its name.
    ReplaceHeader { name: &'static str, value: String },
    /// It is answered as the same request was before ([`Proxy::remember`]), and not forwarded;
    /// if it was not, the connection is closed.
    Replay,
}

impl Fault {
    /// An answer of S3 that names an error.
    pub(crate) fn s3_error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
             <Message>injected</Message><RequestId>0</RequestId></Error>"
        );
        let headers = vec![("Content-Type", "application/xml".to_owned())];
        Self::Answer { status, headers, body: body.into_bytes() }
    }
}

/// How often chance has which fault strike: percents of the requests that a rule matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chaos {
    pub(crate) seed: u64,
    pub(crate) lose_answer_percent: u64,
    /// Answered by 503 (`SlowDown`), and not forwarded.
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

/// Which requests a fault strikes: all, but once only, unless it is told otherwise.
pub(crate) struct Rule {
    matches: Vec<Predicate>,
    draw: Box<dyn FnMut() -> Option<Fault> + Send>,
    /// How many matching requests it still strikes.
    pub(super) left: u64,
}

impl Rule {
    pub(crate) fn new(fault: Fault) -> Self {
        Self::drawing(move || Some(fault.clone()), 1)
    }

    /// Strikes as its seed says, for ever: the same for the same order of requests.
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

    /// Only requests with this in their path and query, as they are encoded.
    pub(crate) fn target(self, part: impl Into<String>) -> Self {
        let part = part.into();
        self.when(move |head| head.target().contains(&part))
    }

    /// Only requests of which this is true besides. It is asked under the proxy's lock.
    pub(crate) fn when(mut self, is: impl Fn(&Head) -> bool + Send + 'static) -> Self {
        self.matches.push(Box::new(is));
        self
    }

    pub(crate) fn times(mut self, times: u64) -> Self {
        self.left = times;
        self
    }

    /// Until [`Proxy::clear`].
    pub(crate) fn always(self) -> Self {
        self.times(u64::MAX)
    }

    pub(super) fn strike(&mut self, head: &Head) -> Option<Fault> {
        if self.left == 0 || !self.matches.iter().all(|is| is(head)) {
            return None;
        }
        let fault = (self.draw)()?;
        self.left -= 1;
        Some(fault)
    }
}
