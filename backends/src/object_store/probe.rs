//! The test for conditional puts. A store that ignores conditions lets two writers succeed.

use bytes::Bytes;

use crate::backend::{Backend, Condition, Version};
use strongroom_base::Key;
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};

const PROBE: &str = "probe object store";

/// Returns `Invalid` unless the store enforces exactly the conditions of the contract.
///
/// It uses an object that nothing else names. If the store refuses the version that it returned,
/// `take_bare_etags` is called before one more try.
pub(super) fn expect_conditions(
    store: &dyn Backend,
    entropy: &dyn Entropy,
    take_bare_etags: impl Fn(),
) -> Result<()> {
    let name: [u8; 16] = entropy.draw()?;
    let key = Key::new(format!("probe/{:032x}", u128::from_be_bytes(name)))?;
    let probed = probe(store, &key, take_bare_etags);
    let deleted = store.delete(&key);
    probed.and(deleted)
}

fn probe(store: &dyn Backend, key: &Key, take_bare_etags: impl Fn()) -> Result<()> {
    let put = |body: &'static [u8], condition: &Condition| {
        store.put(key, Bytes::from_static(body), condition)
    };
    let first = put(b"first", &Condition::Absent)?;
    expect("create an object twice", put(b"again", &Condition::Absent), ErrorKind::AlreadyExists)?;
    let matches_first = Condition::Matches(first);
    let second = match put(b"second", &matches_first) {
        // Ceph compares the version that it returned without its quotes.
        Err(e) if e.kind() == ErrorKind::Conflict => {
            take_bare_etags();
            put(b"second", &matches_first).map_err(|e| match e.kind() {
                ErrorKind::Conflict => {
                    unfit("does not accept the version that it returned").with_source(e)
                }
                _ => e,
            })?
        }
        put => put?,
    };
    let stale = put(b"stale", &matches_first);
    expect("replace an object at an older version", stale, ErrorKind::Conflict)?;
    if store.get(key)?.version == second {
        return Ok(());
    }
    Err(unfit("returns another version for a get than for the put"))
}

fn expect(what: &str, outcome: Result<Version>, refusal: ErrorKind) -> Result<()> {
    match outcome {
        Ok(_) => Err(unfit(&format!("lets a caller {what}"))),
        Err(error) if error.kind() == refusal => Ok(()),
        Err(error) => Err(error),
    }
}

fn unfit(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, PROBE)
        .with_reason(Reason::StoreUnfit)
        .with_detail(format!("the store {what}: two writers would both succeed"))
}
