//! Whether a store puts conditionally. One that ignores conditions lets two writers win.

use bytes::Bytes;

use super::ObjectStore;
use crate::backend::{Backend, Condition, Version};
use crate::component::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

const PROBE: &str = "probe object store";

/// `Invalid` unless the store refuses what it must, on an object that nothing else names.
pub(super) fn expect_conditions(store: &ObjectStore, entropy: &dyn Entropy) -> Result<()> {
    let name: [u8; 16] = entropy.draw()?;
    let key = Key::new(format!("probe/{:032x}", u128::from_be_bytes(name)))?;
    let probed = probe(store, &key);
    let deleted = store.delete(&key);
    probed.and(deleted)
}

fn probe(store: &ObjectStore, key: &Key) -> Result<()> {
    let put = |body: &'static [u8], condition: &Condition| {
        store.put(key, Bytes::from_static(body), condition)
    };
    let first = put(b"first", &Condition::Absent)?;
    expect("create an object twice", put(b"again", &Condition::Absent), ErrorKind::AlreadyExists)?;
    let second = put(b"second", &Condition::Matches(first.clone()))?;
    let stale = put(b"stale", &Condition::Matches(first));
    expect("replace an object at an older version", stale, ErrorKind::Conflict)?;
    if store.get(key)?.version == second {
        return Ok(());
    }
    Err(unfit("tells another version when it is asked than when it was put"))
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
        .with_detail(format!("the store {what}: two writers would both win"))
}
