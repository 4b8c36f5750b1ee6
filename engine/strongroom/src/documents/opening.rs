//! Opening a document: from a generation, a key and a password to its padded text.
//!
//! **One error.** A wrong key, a wrong password and a missing partition cause the same storage
//! calls, one Argon2id, the same passes over the same number of slots, and the same `Denied`.
//! Without an envelope, a substitute of the same size is drawn from the key, and all later steps
//! run on it. `Corrupt` is returned only if a share proved that the password is right, or if too
//! much is missing to read any document.

use std::fmt;
use std::hint::black_box;

use strongroom_base::{Error, ErrorKind, Reason, Result};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::envelope::{Envelope, cells_of};
use super::generation::{Cells, Generation};
use super::geometry::{COPIES, Geometry};
use super::map::scatter;
use super::secret::{DocumentKey, SecretPartitionKey, UpdateKey};
use super::shares::{Layout, Slots};
use super::text;
use strongroom_crypto::{PasswordCosts, SecretPassword};
use strongroom_sharing::Scheme;

const OPEN: &str = "open document";

/// Damage in the storage of a document.
///
/// Reading corrects it as far as the redundancy allows. [`heal`](super::Partition::heal) repairs
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Copies of the envelope, of eight, that do not open.
    pub copies: usize,
    /// Shares that are wrong or unreadable, according to their tags.
    ///
    /// `None` if the text was whole without checking the tags. [`verify`](super::Partition::verify)
    /// always checks them.
    pub shares: Option<usize>,
    /// Unreadable blocks in the whole space, whichever partition they belong to.
    pub blocks: usize,
    /// The text was joined from other shares than the first ones.
    pub corrected: bool,
}

impl Damage {
    /// Returns whether any damage was found.
    pub fn any(&self) -> bool {
        self.copies > 0 || self.shares.is_some_and(|shares| shares > 0) || self.blocks > 0
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of 8 envelope copies", self.copies)?;
        if let Some(shares) = self.shares {
            write!(f, ", {shares} shares")?;
        }
        write!(f, ", {} blocks of the space", self.blocks)
    }
}

/// The secret that opens a document together with the partition key.
#[derive(Clone, Copy)]
pub(super) enum DocumentCredential<'a> {
    Password(&'a SecretPassword),
    /// The document key of a handle that hashed the password before.
    Key(&'a DocumentKey),
}

/// The extent of the tag check: all shares, or only if the text is not whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ShareCheck {
    WhereNeeded,
    AtAll,
}

/// An opened document.
pub(super) struct OpenedDocument {
    pub(super) envelope: Envelope,
    /// `None` if it was opened with a document key.
    pub(super) key: Option<DocumentKey>,
    pub(super) padded: Zeroizing<Vec<u8>>,
    pub(super) damage: Damage,
}

/// The parameters of the space for opening.
#[derive(Clone, Copy)]
pub(super) struct OpeningRules<'a> {
    pub(super) space: Uuid,
    pub(super) geometry: &'a Geometry,
    pub(super) scheme: &'a Scheme,
    pub(super) costs: PasswordCosts,
}

/// The envelope of `key`, and its number of unreadable copies.
pub(super) struct FoundEnvelope {
    pub(super) envelope: Option<Envelope>,
    /// The substitute for an absent envelope.
    absent: Envelope,
    copies_damaged: usize,
    copies_lost: usize,
}

/// Tries all cells of `key`, even after one opens.
///
/// If none opens, a substitute envelope of the same size is opened, so an absent partition takes as
/// long as an existing one.
pub(super) fn find(
    cells: &Cells<'_>,
    key: &SecretPartitionKey,
    rules: OpeningRules<'_>,
) -> Result<FoundEnvelope> {
    let OpeningRules { space, geometry, .. } = rules;
    let absent = Envelope::absent(key, geometry);
    let (cell, substitute) = absent.seal_substitute(key, space, geometry);
    let mut found = FoundEnvelope { envelope: None, absent, copies_damaged: 0, copies_lost: 0 };
    for number in cells_of(key) {
        let opened = if let Some(cell) = cells.get(number) {
            Envelope::open(cell, number, key, space, geometry)?
        } else {
            found.copies_lost += 1;
            None
        };
        if opened.is_some() {
            found.envelope = opened;
        } else {
            found.copies_damaged += 1;
            black_box(Envelope::open(&substitute, cell, key, space, geometry)?);
        }
    }
    Ok(found)
}

impl FoundEnvelope {
    /// Returns `Corrupt` if none of the key's cells can be read.
    ///
    /// This does not reveal whether the partition exists.
    pub(super) fn refuse_if_lost(&self) -> Result<()> {
        if self.copies_lost == COPIES {
            return Err(lost("the cells of this key cannot be read"));
        }
        Ok(())
    }
}

/// Opens the document of `key`.
pub(super) fn open(
    generation: Generation<'_>,
    key: &SecretPartitionKey,
    by: DocumentCredential<'_>,
    look: ShareCheck,
    rules: OpeningRules<'_>,
) -> Result<OpenedDocument> {
    let OpeningRules { geometry, scheme, .. } = rules;
    let cells = generation.cells()?;
    let found = find(&cells, key, rules)?;
    drop(cells);
    found.refuse_if_lost()?;
    let copies = found.copies_damaged;
    let envelope = found.envelope.unwrap_or(found.absent);
    let hashed = match by {
        DocumentCredential::Password(password) => {
            Some(key.document_key(password, &envelope.salt, rules.costs)?)
        }
        DocumentCredential::Key(_) => None,
    };
    let document = match by {
        DocumentCredential::Key(key) => key,
        DocumentCredential::Password(_) => hashed.as_ref().expect("hashed above"),
    };
    let gathered = generation.gather(&envelope.map)?;
    let mut damage = Damage { copies, blocks: gathered.blocks_lost, ..Damage::default() };
    let order = Zeroizing::new(scatter(geometry.partition, &mut document.order()));
    let update = document.update_key(&envelope.update, &envelope.text_hash);
    let layout = Layout { geometry, scheme, order: &order };
    let (slots, attempt) =
        (&gathered.slots, TextKeys { document, update: &update, envelope: &envelope });
    let mut padded = attempt.open(&layout.join(&update, slots));
    if padded.is_none() || look == ShareCheck::AtAll {
        let hopeless = geometry.is_hopeless(gathered.blocks_lost);
        let (recovered, shares) =
            attempt.recover(&layout, slots, padded.is_none()).map_err(|e| match e.kind() {
                ErrorKind::Denied if hopeless => {
                    lost("too many segments are missing or damaged to read any document")
                }
                _ => e,
            })?;
        damage.shares = Some(shares);
        damage.corrected = recovered.is_some();
        padded = recovered.or(padded);
    }
    let padded = padded.expect("joined, or recovered, or an error");
    Ok(OpenedDocument { envelope, key: hashed, padded, damage })
}

/// The keys with which a text is tried.
struct TextKeys<'a> {
    document: &'a DocumentKey,
    update: &'a UpdateKey,
    envelope: &'a Envelope,
}

impl TextKeys<'_> {
    /// Opens `sealed`; returns the padded text.
    fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let padded = text::open(sealed, self.update)?;
        let hash = self.document.text_hash(&self.envelope.update, &padded);
        bool::from(hash.as_bytes().ct_eq(&self.envelope.text_hash)).then_some(padded)
    }

    /// Checks all tags.
    ///
    /// If the text is `wanted`, it is joined from authentic shares.
    ///
    /// Returns the number of damaged shares.
    fn recover(
        &self,
        layout: &Layout<'_>,
        slots: &Slots,
        wanted: bool,
    ) -> Result<(Option<Zeroizing<Vec<u8>>>, usize)> {
        let verdict = layout.verify(self.update, slots);
        if !wanted {
            return Ok((None, verdict.damaged));
        }
        if !verdict.any() {
            return Err(denied());
        }
        let padded = layout
            .recover(self.update, slots, &verdict)
            .and_then(|sealed| self.open(&sealed))
            .ok_or_else(|| {
                lost(format!(
                    "{} of the document's {} shares are damaged, more than its redundancy can correct",
                    verdict.damaged,
                    layout.geometry.used()
                ))
            })?;
        Ok((Some(padded), verdict.damaged))
    }
}

/// Returns the one error for wrong keys, passwords and missing partitions.
fn denied() -> Error {
    Error::new(ErrorKind::Denied, OPEN)
        .with_reason(Reason::WrongDocumentCredentials)
        .with_detail("no document opens with this key and password")
}

fn lost(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, OPEN).with_reason(Reason::DocumentDamaged).with_detail(detail)
}
