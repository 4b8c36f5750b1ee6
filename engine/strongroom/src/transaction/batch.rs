//! A prepared list of changes with conditions, for commits that many writers share.

use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::group::Work;
use super::write::WriteTx;
use crate::operations::{Checkpoint, Lane, LaneWriter};
use crate::records::{Payload, check_name, check_record};

/// Changes that happen together or not at all.
///
/// Unlike a closure, a batch is checked as a whole before its first row is written. That is why
/// batches of many threads can share one commit, and one sync, without touching each other:
/// see [`Vault::apply`](crate::Vault::apply).
///
/// Changes take effect in the order in which they were added; conditions are checked against
/// the vault as it is before the first of them.
#[derive(Default)]
pub struct Batch {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    checkpoints: Vec<(LaneWriter, Checkpoint)>,
}

enum Change {
    Insert { namespace: String, key: Vec<u8>, value: Option<Payload<'static>> },
    Remove { namespace: String, key: Vec<u8> },
}

struct Condition {
    namespace: String,
    key: Vec<u8>,
    expected: Expected,
}

enum Expected {
    Absent,
    Present,
    Equal(Vec<u8>),
}

impl fmt::Debug for Batch {
    /// Never names, keys or values: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("changes", &self.changes.len())
            .field("conditions", &self.conditions.len())
            .field("checkpoints", &self.checkpoints.len())
            .finish()
    }
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: make `value` the value of `key`.
    pub fn insert<'p>(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Payload<'p>>,
    ) -> &mut Self {
        let value = Some(value.into().into_owned());
        self.changes.push(Change::Insert { namespace: namespace.into(), key: key.into(), value });
        self
    }

    /// Adds: remove the record of `key`, if there is one.
    pub fn remove(&mut self, namespace: impl Into<String>, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change::Remove { namespace: namespace.into(), key: key.into() });
        self
    }

    /// Adds: where `lane` stands once these changes are in.
    pub fn checkpoint(&mut self, lane: &Lane, checkpoint: Checkpoint) -> &mut Self {
        self.checkpoints.push((lane.writer(), checkpoint));
        self
    }

    /// Only if there is no record of `key`; else `Conflict`.
    pub fn require_absent(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.require(namespace.into(), key.into(), Expected::Absent)
    }

    /// Only if there is a record of `key`; else `Conflict`.
    pub fn require_present(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.require(namespace.into(), key.into(), Expected::Present)
    }

    /// Only if the value of `key` is exactly `value`; else `Conflict`. A value that was
    /// too long for a row is never equal: compare something shorter.
    pub fn require_equal(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.require(namespace.into(), key.into(), Expected::Equal(value.into()))
    }

    fn require(&mut self, namespace: String, key: Vec<u8>, expected: Expected) -> &mut Self {
        self.conditions.push(Condition { namespace, key, expected });
        self
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it holds no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Condition {
    fn check(&self, tx: &WriteTx<'_>) -> Result<()> {
        let value = tx.get(&self.namespace, &self.key)?;
        let told = match (&self.expected, &value) {
            (Expected::Absent, Some(_)) => "a record is there that must be absent",
            (Expected::Present | Expected::Equal(_), None) => {
                "a record is absent that must be there"
            }
            (Expected::Equal(bytes), Some(value)) if value.as_inline() != Some(bytes) => {
                "a record has another value"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Conflict, "apply batch")
            .with_reason(Reason::ConditionFailed)
            .with_detail(told)
            .with_subject(&self.namespace))
    }
}

impl Work for Batch {
    fn check(&self, tx: &WriteTx<'_>) -> Result<()> {
        for change in &self.changes {
            let (Change::Insert { namespace, .. } | Change::Remove { namespace, .. }) = change;
            check_name("apply batch", "namespace", namespace)?;
            if let Change::Insert { key, value: Some(value), .. } = change {
                check_record("apply batch", key, value)?;
                tx.check_staged(value)?;
            }
        }
        self.conditions.iter().try_for_each(|condition| condition.check(tx))?;
        for (i, (lane, checkpoint)) in self.checkpoints.iter().enumerate() {
            if self.checkpoints[..i].iter().any(|(earlier, _)| earlier.is_same(lane)) {
                return Err(Error::new(ErrorKind::Invalid, "apply batch")
                    .with_detail("two checkpoints of one lane"));
            }
            lane.check(tx, checkpoint)?;
        }
        Ok(())
    }

    fn apply(&mut self, tx: &mut WriteTx<'_>) -> Result<()> {
        for change in &mut self.changes {
            match change {
                Change::Insert { namespace, key, value } => {
                    let value = value.take().expect("applied once");
                    tx.insert_checked(namespace, key, &value)?;
                }
                Change::Remove { namespace, key } => {
                    tx.remove(namespace, key)?;
                }
            }
        }
        self.checkpoints.drain(..).try_for_each(|(lane, checkpoint)| lane.write(tx, checkpoint))
    }
}
