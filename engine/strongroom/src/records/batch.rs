//! Prepared changes with conditions, for commits that writers share.

use std::any::Any;
use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_format::RecordRow;
use strongroom_store::commit::{Tx, Work};

use super::name::check_name;
use super::payload::Payload;
use super::rows;

/// Changes that happen together or not at all.
///
/// Unlike a closure, a batch is checked as a whole before its first row is written. Batches of many
/// threads can therefore share one commit, and one sync, without affecting each other: see
/// [`Vault::apply`](crate::Vault::apply).
///
/// Changes take effect in the order in which they were added. Conditions are checked against the
/// vault before the first change.
#[derive(Default)]
pub struct Batch {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    extras: Vec<Box<dyn Extra>>,
}

/// The changes that another room adds to a batch.
pub(crate) trait Extra: Any + Send {
    /// Refuses changes that may not happen, against the transaction so far. Writes nothing.
    fn check(&self, tx: &Tx<'_>) -> Result<()>;

    /// Makes its changes, after those of records.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()>;

    /// Returns the number of its changes, for `Debug`.
    fn len(&self) -> usize;
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
    /// Names, keys and values are omitted: they are the host's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("changes", &self.changes.len())
            .field("conditions", &self.conditions.len())
            .field("extras", &self.extras.iter().map(|extra| extra.len()).sum::<usize>())
            .finish()
    }
}

impl Batch {
    /// Makes a batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the change: set the value of `key` to `value`.
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

    /// Adds the change: remove the record of `key`, if it exists.
    pub fn delete(&mut self, namespace: impl Into<String>, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change::Remove { namespace: namespace.into(), key: key.into() });
        self
    }

    /// Returns the changes that another room added; creates them if missing.
    pub(crate) fn extra<T: Extra + Default>(&mut self) -> &mut T {
        let is_it = |extra: &dyn Any| extra.is::<T>();
        let at = self.extras.iter().position(|extra| is_it(&**extra)).unwrap_or_else(|| {
            self.extras.push(Box::<T>::default());
            self.extras.len() - 1
        });
        let extra: &mut dyn Any = &mut *self.extras[at];
        extra.downcast_mut().expect("found by its type")
    }

    /// Adds the condition: no record of `key` exists; otherwise `Conflict`.
    pub fn require_absent(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.require(namespace.into(), key.into(), Expected::Absent)
    }

    /// Adds the condition: a record of `key` exists; otherwise `Conflict`.
    pub fn require_present(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.require(namespace.into(), key.into(), Expected::Present)
    }

    /// Adds the condition: the value of `key` is exactly `value`; otherwise `Conflict`.
    ///
    /// A staged value is never equal: compare a shorter one.
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

    /// Returns the number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether it has no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Condition {
    fn check(&self, tx: &Tx<'_>) -> Result<()> {
        let found = match rows::find_namespace(tx, &self.namespace)? {
            Some(table) => tx.state.get(table, &self.key, |row| self.expected.judge(row))??,
            None => self.expected.judge(None)?,
        };
        let Some(refusal) = found else { return Ok(()) };
        Err(Error::new(ErrorKind::Conflict, "apply batch")
            .with_reason(Reason::ConditionFailed)
            .with_detail(refusal)
            .with_subject(&self.namespace))
    }
}

impl Expected {
    /// Returns the reason if the present row fails the condition.
    fn judge(&self, row: Option<&[u8]>) -> Result<Option<&'static str>> {
        let inline = match row {
            Some(row) if RecordRow::is_inline(row) => Some(RecordRow::inline_value(row)),
            Some(row) => RecordRow::decode(row).map(|_| None)?,
            None => None,
        };
        Ok(match (self, row) {
            (Self::Absent, Some(_)) => Some("a record exists that must be absent"),
            (Self::Present | Self::Equal(_), None) => Some("a record is missing that must exist"),
            (Self::Equal(bytes), Some(_)) if inline != Some(bytes) => {
                Some("a record has another value")
            }
            _ => None,
        })
    }
}

impl Work for Batch {
    fn check(&self, tx: &Tx<'_>) -> Result<()> {
        for change in &self.changes {
            let (Change::Insert { namespace, .. } | Change::Remove { namespace, .. }) = change;
            check_name("apply batch", "namespace", namespace)?;
            if let Change::Insert { key, value: Some(value), .. } = change {
                rows::check_record("apply batch", key, value)?;
                rows::check_staged(tx, value)?;
            }
        }
        self.conditions.iter().try_for_each(|condition| condition.check(tx))?;
        self.extras.iter().try_for_each(|extra| extra.check(tx))
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        for change in &mut self.changes {
            match change {
                Change::Insert { namespace, key, value } => {
                    let value = value.take().expect("applied once");
                    rows::insert(tx, namespace, key, &value)?;
                }
                Change::Remove { namespace, key } => {
                    rows::remove(tx, namespace, key)?;
                }
            }
        }
        self.extras.iter_mut().try_for_each(|extra| extra.apply(tx))
    }
}
