//! Reading a ref, and moving it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_backends::{Backend, Condition, Version};
use strongroom_base::backoff::{Backoff, Jitter, Pauses};
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::{Clock, Entropy};
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::sealed::RefKeys;
use strongroom_crypto::SecretKey;
use strongroom_format::{AttemptId, REF_ATTEMPTS_MAX, RefName, RefRow};

const MOVE: &str = "move ref";

/// Most lost rounds before a move is given up.
const ROUNDS_MAX: u32 = 100;
/// Most puts of an attempt whose outcome is unknown.
const PUTS_MAX: u32 = 4;
/// Time after which no put begins.
const MOVE_TIMEOUT: Duration = Duration::from_secs(180);
/// The pauses after lost rounds, each randomised from half to all.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), 2.0, Duration::from_millis(500));

/// The refs of one vault.
#[derive(Debug)]
pub struct Refs {
    backend: Arc<dyn Backend>,
    vault: Uuid,
    keys: RefKeys,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A ref, as it was read.
struct FoundRef {
    generation: u64,
    attempts: Vec<AttemptId>,
    value: Vec<u8>,
    version: Version,
}

/// The outcome of an attempt.
enum Outcome {
    Won,
    /// Others have moved the ref; its present value.
    Lost(Option<FoundRef>),
}

/// One attempt: a body, and the version that it may replace.
struct Attempt<'a> {
    name: RefName,
    id: AttemptId,
    generation: u64,
    body: Bytes,
    before: Option<&'a FoundRef>,
}

impl Refs {
    pub fn new(
        backend: Arc<dyn Backend>,
        vault: Uuid,
        id_key: &SecretKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let keys = RefKeys::new(id_key);
        Self { backend, vault, keys, clock, entropy }
    }

    /// Returns the value of the ref `name`; `None` if it is missing.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.find(self.keys.name(name))?.map(|found| found.value))
    }

    /// Deletes the ref `name` without reading it, for a damaged one.
    pub fn discard(&self, name: &str) -> Result<()> {
        self.backend.delete(&self.keys.name(name).key())
    }

    fn find(&self, name: RefName) -> Result<Option<FoundRef>> {
        let object = match self.backend.get(&name.key()) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            got => got?,
        };
        let RefRow::V0 { generation, attempts, value } =
            self.keys.open(self.vault, name, &object.body)?;
        Ok(Some(FoundRef { generation, attempts, value, version: object.version }))
    }

    /// Moves the ref `name` to the value that `change` computes.
    ///
    /// `change` gets the present value, `None` if the ref is missing. It is called again whenever
    /// others were faster. Its error ends the move, and nothing has changed.
    ///
    /// `Conflict` if others are always faster. `Uncertain` if the move may have happened, or may
    /// still happen. It takes at most three minutes, plus one put and two gets of the backend.
    pub fn update<T>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<&[u8]>) -> Result<(Vec<u8>, T)>,
    ) -> Result<T> {
        let name = self.keys.name(name);
        let mut found = self.find(name)?;
        let mut pauses = Pauses::new(BACKOFF, &*self.clock)
            .jittered(Jitter::HALF_OR_MORE, &*self.entropy)
            .tries(ROUNDS_MAX)
            .no_try_from(MOVE_TIMEOUT);
        loop {
            let (value, answer) = change(found.as_ref().map(|found| &found.value[..]))?;
            let id = AttemptId(self.entropy.draw()?);
            let (generation, before) =
                found.as_ref().map_or((0, &[][..]), |found| (found.generation, &found.attempts));
            let attempts = std::iter::once(&id).chain(before).take(REF_ATTEMPTS_MAX);
            let row = RefRow::V0 {
                generation: generation + 1,
                attempts: attempts.copied().collect(),
                value,
            };
            let body = self.keys.seal(self.vault, name, &row, &*self.entropy)?;
            let before = found.as_ref();
            let attempt = Attempt { name, id, generation: generation + 1, body, before };
            match self.attempt(&attempt, &|| pauses.is_late())? {
                Outcome::Won => return Ok(answer),
                Outcome::Lost(newer) => found = newer,
            }
            if !pauses.sleep()? {
                break;
            }
        }
        Err(Error::new(ErrorKind::Conflict, MOVE)
            .with_reason(Reason::RefContended)
            .with_detail("other calls moved the ref first each time")
            .with_subject(name.key()))
    }

    fn attempt(&self, attempt: &Attempt<'_>, is_late: &dyn Fn() -> bool) -> Result<Outcome> {
        let condition = match attempt.before {
            Some(found) => Condition::Matches(found.version.clone()),
            None => Condition::Absent,
        };
        let (key, mut puts) = (attempt.name.key(), 1);
        loop {
            let put = self.backend.put(&key, attempt.body.clone(), &condition);
            let Err(error) = put else { return Ok(Outcome::Won) };
            let is_refused = match error.kind() {
                ErrorKind::Conflict | ErrorKind::AlreadyExists => true,
                ErrorKind::Uncertain => false,
                _ if puts == 1 => return Err(error),
                // This put did not happen. An earlier one may have happened, or may still happen.
                _ => false,
            };
            let uncertain = |why: &str| {
                Error::new(ErrorKind::Uncertain, MOVE)
                    .with_detail(format!("{why}: {error}"))
                    .with_subject(&key)
                    .with_source(error.clone())
            };
            let now = self
                .find(attempt.name)
                .map_err(|e| uncertain(&format!("the ref could not be read again: {e}")))?;
            if bug::is_planted(Bug::NoAttemptIds) {
                return Ok(Outcome::Lost(now));
            }
            let made = now.as_ref().map_or(0, |found| found.generation);
            if now.as_ref().is_some_and(|found| found.attempts.contains(&attempt.id)) {
                return Ok(Outcome::Won);
            }
            if made >= attempt.generation {
                // The attempt that made our generation is remembered, unless too many followed.
                if made - attempt.generation < REF_ATTEMPTS_MAX as u64 {
                    return Ok(Outcome::Lost(now));
                }
                return Err(uncertain("the ref moved too often since then; read it again"));
            }
            if is_refused && puts == 1 {
                // The ref did not move, so the value that we read had already been replaced.
                return Ok(Outcome::Lost(now));
            }
            // One of the puts may still take effect, until the ref moves. Repeating it is harmless.
            if puts == PUTS_MAX || is_late() {
                return Err(uncertain("the answer of the put was lost"));
            }
            puts += 1;
        }
    }
}
