//! The test for conditional puts. A store that ignores conditions lets two writers succeed.
//!
//! Each request is retried by itself. Every put has an attempt id as its body. So a put that is
//! refused because of its own effect is recognised, after a lost answer or a duplicated request.

use std::cell::Cell;

use bytes::Bytes;

use crate::backend::{Backend, Condition, Object, Version};
use strongroom_base::Key;
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};

const PROBE: &str = "probe object store";

/// The tries of one request: waits after an error, and returns whether to try again.
pub(super) type Tries<'a> = Box<dyn FnMut(&Error) -> bool + 'a>;

/// Returns `Invalid` unless the store enforces exactly the conditions of the contract.
///
/// It uses an object that nothing else names. If the store refuses the version that it returned,
/// `take_bare_etags` is called before one more try. `begin` begins the tries of a request.
pub(super) fn expect_conditions<'a>(
    store: &'a dyn Backend,
    entropy: &'a dyn Entropy,
    take_bare_etags: impl Fn(),
    begin: &'a dyn Fn() -> Tries<'a>,
) -> Result<()> {
    let key = Key::new(format!("probe/{:032x}", draw(entropy)?))?;
    let probe = Probe { store, key, entropy, begin, may_exist: Cell::new(false) };
    let probed = probe.run(take_bare_etags);
    if probed.is_ok() {
        return probe.retried(|| store.delete(&probe.key));
    }
    // The probe's error says more than that of this request, which is not retried.
    if probe.may_exist.get() {
        let _ = store.delete(&probe.key);
    }
    probed
}

fn draw(entropy: &dyn Entropy) -> Result<u128> {
    Ok(u128::from_be_bytes(entropy.draw()?))
}

/// The probe of one store.
struct Probe<'a> {
    store: &'a dyn Backend,
    key: Key,
    entropy: &'a dyn Entropy,
    begin: &'a dyn Fn() -> Tries<'a>,
    /// Set once a put may have taken effect.
    may_exist: Cell<bool>,
}

/// Outcome that a sound store gives a conditional put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Acceptance,
    Refusal,
}

/// Outcome of a conditional put.
enum Outcome {
    Accepted(Version),
    Refused(Error),
}

impl Probe<'_> {
    fn run(&self, take_bare_etags: impl Fn()) -> Result<()> {
        let first = match self.put(&Condition::Absent, Expected::Acceptance)? {
            Outcome::Accepted(version) => version,
            Outcome::Refused(error) => return Err(error),
        };
        self.expect_refusal(
            "create an object twice",
            &Condition::Absent,
            ErrorKind::AlreadyExists,
        )?;
        let matches_first = Condition::Matches(first);
        let second = match self.put(&matches_first, Expected::Acceptance)? {
            Outcome::Accepted(version) => version,
            Outcome::Refused(_) => {
                // Ceph compares the version that it returned without its quotes.
                take_bare_etags();
                match self.put(&matches_first, Expected::Acceptance)? {
                    Outcome::Accepted(version) => version,
                    Outcome::Refused(error) => {
                        let fault = "does not accept the version that it returned";
                        return Err(unfit(fault).with_source(error));
                    }
                }
            }
        };
        self.expect_refusal(
            "replace an object at an older version",
            &matches_first,
            ErrorKind::Conflict,
        )?;
        match self.find()? {
            Some(found) if found.version == second => Ok(()),
            _ => Err(unfit("returns another version for a get than for the put")),
        }
    }

    /// Puts a new body under a condition that does not hold.
    fn expect_refusal(&self, what: &str, condition: &Condition, refusal: ErrorKind) -> Result<()> {
        match self.put(condition, Expected::Refusal)? {
            Outcome::Accepted(_) => Err(unfit(&format!("lets a caller {what}"))),
            Outcome::Refused(error) if error.kind() == refusal => Ok(()),
            Outcome::Refused(error) => Err(error),
        }
    }

    /// Puts a new attempt id.
    ///
    /// A refusal may be the effect of an earlier try, or of a request that the network duplicated.
    /// The stored body decides. If the refusal is expected, only a lost answer is a reason to read.
    fn put(&self, condition: &Condition, expected: Expected) -> Result<Outcome> {
        let body = Bytes::from(format!("{:032x}", draw(self.entropy)?));
        let (mut tries, mut may_have_happened) = ((self.begin)(), false);
        loop {
            let error = match self.store.put(&self.key, body.clone(), condition) {
                Ok(version) => {
                    self.may_exist.set(true);
                    return Ok(Outcome::Accepted(version));
                }
                Err(error) => error,
            };
            let mut is_refused = false;
            match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::Conflict => {
                    self.may_exist.set(true);
                    if !may_have_happened && expected == Expected::Refusal {
                        return Ok(Outcome::Refused(error));
                    }
                    let found = self.find()?;
                    let holds = match (condition, &found) {
                        (_, Some(found)) if found.body == body => {
                            return Ok(Outcome::Accepted(found.version.clone()));
                        }
                        (Condition::Absent, None) => true,
                        (Condition::Matches(version), Some(found)) => found.version == *version,
                        _ => false,
                    };
                    if !holds || !may_have_happened {
                        return Ok(Outcome::Refused(error));
                    }
                    // The store may refuse the put because an earlier try is still running.
                    is_refused = true;
                }
                ErrorKind::Uncertain => {
                    self.may_exist.set(true);
                    may_have_happened = true;
                }
                ErrorKind::Unavailable => {}
                _ => return Err(error),
            }
            if is_lasting(&error) || !tries(&error) {
                if is_refused {
                    return Ok(Outcome::Refused(error));
                }
                let kind = if may_have_happened { ErrorKind::Uncertain } else { error.kind() };
                return Err(error.with_kind(kind));
            }
        }
    }

    /// Reads the object; `None` if there is none.
    fn find(&self) -> Result<Option<Object>> {
        match self.retried(|| self.store.get(&self.key)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            got => got.map(Some),
        }
    }

    /// Repeats a harmless request.
    fn retried<T>(&self, request: impl Fn() -> Result<T>) -> Result<T> {
        let mut tries = (self.begin)();
        loop {
            match request() {
                Err(e)
                    if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Uncertain)
                        && !is_lasting(&e)
                        && tries(&e) => {}
                done => return done,
            }
        }
    }
}

/// Returns whether a retry cannot help: the bucket is missing, or the store lacks a feature.
fn is_lasting(error: &Error) -> bool {
    matches!(error.reason(), Some(Reason::BucketMissing | Reason::StoreUnfit))
}

fn unfit(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, PROBE)
        .with_reason(Reason::StoreUnfit)
        .with_detail(format!("the store {what}: two writers would both succeed"))
}

#[cfg(test)]
mod tests;
