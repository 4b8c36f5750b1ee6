//! An opened partition, which reads and writes its document. `draft.rs` draws the contents.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

use super::background::BackgroundWrite;
use super::draft::Draft;
use super::envelope::Envelope;
use super::generation::Generation;
use super::opening::{Damage, DocumentCredential, OpenedDocument, ShareCheck, find};
use super::plan::Plan;
use super::room::DocumentsInner;
use super::secret::{DocumentKey, SecretPartitionKey, UPDATE_ID_BYTES};
use super::space::{Space, read_row};
use super::text::{self, PackedText};
use super::update::{UpdateBase, generation_of};
use crate::records::Snapshot;
use strongroom_base::{LongCall, long_call_options};
use strongroom_crypto::SecretPassword;
use strongroom_format::{CELL_OBJECTS, UpdateRow};
use strongroom_store::state::StateRead;

/// The update that wrote a document: 16 random bytes, shown as hex digits. Compare it only for
/// equality.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentVersion([u8; UPDATE_ID_BYTES]);

impl fmt::Display for DocumentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DocumentVersion {
    /// The envelope has the version.
    ///
    /// So only the holder of the key may see it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentVersion(..)")
    }
}

impl std::str::FromStr for DocumentVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        digits.map(|number| Self(number.to_be_bytes())).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "read version")
                .with_detail("the version is not 32 hex digits")
        })
    }
}

/// A document as it was read. Its text is zeroised when dropped.
pub struct Document {
    text: Zeroizing<Vec<u8>>,
    version: DocumentVersion,
    damage: Damage,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("damage", &self.damage).finish_non_exhaustive()
    }
}

impl Document {
    fn of(opened: &OpenedDocument) -> Result<Self> {
        let text = text::unpack(&opened.padded)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(Error::new(ErrorKind::Corrupt, "read document")
                .with_reason(Reason::DocumentDamaged)
                .with_detail("the document is not UTF-8, so no write of this engine made it"));
        }
        Ok(Self { text, version: DocumentVersion(opened.envelope.update), damage: opened.damage })
    }

    /// Returns its exact bytes: JSON in UTF-8.
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Returns its exact text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).expect("checked when it was read")
    }

    /// Decodes the text as `T`. `Invalid`, with line and column, if it does not match.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        // The parser's message may quote the document.
        serde_json::from_slice(&self.text).map_err(|e| {
            Error::new(ErrorKind::Invalid, "decode document")
                .with_reason(Reason::TypeMismatch)
                .with_detail(format!(
                    "the document does not match the type at line {} column {}",
                    e.line(),
                    e.column()
                ))
        })
    }

    /// Returns the version, for [`WriteOptions::expected`].
    pub fn version(&self) -> DocumentVersion {
        self.version
    }

    /// Returns the damage in its storage. The text is right in any case.
    pub fn damage(&self) -> Damage {
        self.damage
    }
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The new version of the document.
    pub version: DocumentVersion,
    /// Damage that was found before.
    ///
    /// The document's own damage is repaired. Unreadable blocks are random bytes in the new
    /// generation, so the shares of *other* documents in them are permanently lost; only the tags
    /// of their shares show that.
    pub damage: Damage,
}

/// Options of a write.
///
/// Progress is the objects written so far, of all. A write can be cancelled until it is published;
/// the old document then stays.
#[derive(Clone, Copy, Default)]
pub struct WriteOptions<'a> {
    expected: Option<DocumentVersion>,
    resume: bool,
    call: LongCall<'a>,
}

long_call_options!(WriteOptions);

impl WriteOptions<'_> {
    /// Makes the default options: write over any version.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes only over this version; otherwise `Conflict`, and nothing changes. `None` writes over
    /// any version.
    #[must_use]
    pub fn expected(mut self, version: impl Into<Option<DocumentVersion>>) -> Self {
        self.expected = version.into();
        self
    }

    /// Only resumes an interrupted write of this exact text.
    ///
    /// `NotFound` if there is none, `Conflict` if it had another text. Without this option an
    /// interrupted write is resumed if it matches, and discarded if it does not. On a shared store,
    /// a write that began before a key rotation is not resumed.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions").field("resume", &self.resume).finish_non_exhaustive()
    }
}

/// An opened partition, with the right to its document. Cheap to clone.
///
/// It holds the partition key and the document key in memory, zeroised with its last clone. After
/// another handle changed the password it is `Denied`.
#[derive(Clone)]
pub struct Partition {
    space: Space,
    inner: Arc<PartitionInner>,
}

struct PartitionInner {
    key: SecretPartitionKey,
    document: DocumentKey,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").finish_non_exhaustive()
    }
}

impl Partition {
    pub(super) fn open(
        space: &Space,
        key: &SecretPartitionKey,
        password: &SecretPassword,
    ) -> Result<Self> {
        password.bytes()?;
        let snapshot = space.core().read()?;
        let row = read_row(snapshot.state())?;
        let generation = space.generation(row.generation())?;
        let by = DocumentCredential::Password(password);
        let opened = space.open(generation, key, by, ShareCheck::WhereNeeded)?;
        let document = opened.key.expect("it was opened by a password");
        let inner = PartitionInner { key: key.duplicate(), document };
        Ok(Self { space: space.clone(), inner: Arc::new(inner) })
    }

    pub(super) fn room(&self) -> Arc<DocumentsInner> {
        Arc::clone(&self.space.room)
    }

    /// Reads the present document: the whole old or the whole new one during a write.
    ///
    /// It never waits for a writer. Errors as for [`Space::partition`].
    pub fn read(&self) -> Result<Document> {
        self.read_in(self.space.core().read()?.state())
    }

    /// Reads the document at the time of `snapshot`.
    ///
    /// Its generation stays on the backend as long as the snapshot lives. `Invalid` for a snapshot
    /// of another vault. `Denied` for one from before the password was changed.
    pub fn read_at(&self, snapshot: &Snapshot) -> Result<Document> {
        if !snapshot.is_of(self.space.core()) {
            return Err(Error::new(ErrorKind::Invalid, "read document")
                .with_detail("the snapshot belongs to another vault"));
        }
        self.read_in(snapshot.state())
    }

    fn read_in(&self, state: &StateRead) -> Result<Document> {
        let row = read_row(state)?;
        let generation = self.space.generation(row.generation())?;
        Document::of(&self.opened(generation, ShareCheck::WhereNeeded)?)
    }

    /// Reads the document, and checks the tag of every share.
    ///
    /// It does so even if the text is whole.
    ///
    /// Returns the damage. `Corrupt` if the text is lost.
    pub fn verify(&self) -> Result<Damage> {
        let snapshot = self.space.core().read()?;
        let row = read_row(snapshot.state())?;
        Ok(self.opened(self.space.generation(row.generation())?, ShareCheck::AtAll)?.damage)
    }

    /// Replaces the document. See [`write_with`](Self::write_with).
    pub fn write(&self, text: impl AsRef<[u8]>) -> Result<Written> {
        self.write_with(text, &WriteOptions::new())
    }

    /// Replaces the document by `value` as JSON.
    pub fn write_json<T: Serialize>(&self, value: &T) -> Result<Written> {
        self.write(&*text::of(value)?)
    }

    /// Replaces the document by `text`, which is JSON in UTF-8.
    ///
    /// Its exact bytes are kept.
    ///
    /// The present document is opened first. On return the new one is durable. It was read back and
    /// compared before it was published. Readers keep the old one until they end.
    ///
    /// The whole space is rewritten, which needs as much space again, and the time for it. If an
    /// error or a crash interrupts a write, the old document stays, and the same call resumes the
    /// write.
    ///
    /// `Invalid` if `text` is not JSON, with line and column. `Full` if it exceeds the capacity, or
    /// without enough room. `Conflict` according to [`WriteOptions`]. `Locked` if another update in
    /// this process takes longer than 10 s. `Denied` as for reading. `Corrupt` as for reading, and
    /// if so much of the space is unreadable that a copy would destroy other documents.
    /// `Unavailable` if the backend does not answer. `Uncertain` if the write may have happened;
    /// [`read`](Self::read) or the same call shows the result.
    pub fn write_with(
        &self,
        text: impl AsRef<[u8]>,
        options: &WriteOptions<'_>,
    ) -> Result<Written> {
        self.write_packed(text::pack(text.as_ref(), &self.space.geometry)?, options)
    }

    pub(super) fn write_packed(
        &self,
        packed: PackedText,
        options: &WriteOptions<'_>,
    ) -> Result<Written> {
        let turn = self.space.turn()?;
        let base = turn.base()?;
        let opened = self.opened(base.generation(&self.space), ShareCheck::WhereNeeded)?;
        self.space.geometry.refuse_if_hopeless(opened.damage.blocks)?;
        if options.expected.is_some_and(|expected| expected.0 != opened.envelope.update) {
            return Err(Error::new(ErrorKind::Conflict, "write document")
                .with_reason(Reason::DocumentChanged)
                .with_detail("the document has another version than expected"));
        }
        let (resumable, damage) = (self.interrupted(&base, &opened.envelope)?, opened.damage);
        let draft = Draft {
            map: opened.envelope.map,
            salt: opened.envelope.salt,
            document: &self.inner.document,
            padded: packed.padded,
        };
        let resumed = match resumable {
            Some((row, begun)) if draft.is_of(&begun) => Some((row, begun.update)),
            Some(_) if options.resume => {
                return Err(Error::new(ErrorKind::Conflict, "resume write")
                    .with_reason(Reason::InterruptedWriteDiffers)
                    .with_detail("the interrupted write had another text"));
            }
            None if options.resume => {
                return Err(Error::new(ErrorKind::NotFound, "resume write")
                    .with_reason(Reason::NoInterruptedWrite)
                    .with_detail("no write of this document was interrupted"));
            }
            _ => None,
        };
        let id = draft.write(&turn, &base, &self.inner.key, resumed, options.call)?;
        Ok(Written { version: DocumentVersion(id), damage })
    }

    /// Starts the same write on a thread of the vault. An invalid text is refused at once.
    pub fn write_in_background(&self, text: impl AsRef<[u8]>) -> Result<BackgroundWrite> {
        self.start_write(text.as_ref(), None)
    }

    /// Starts a write over the version `expected`; over another it ends with `Conflict`.
    pub fn replace_in_background(
        &self,
        text: impl AsRef<[u8]>,
        expected: DocumentVersion,
    ) -> Result<BackgroundWrite> {
        self.start_write(text.as_ref(), Some(expected))
    }

    fn start_write(
        &self,
        text: &[u8],
        expected: Option<DocumentVersion>,
    ) -> Result<BackgroundWrite> {
        let packed = text::pack(text, &self.space.geometry)?;
        BackgroundWrite::start(self.clone(), packed, expected)
    }

    /// Returns the effects of writing `text`, without changing anything. Errors as for the write.
    pub fn plan(&self, text: impl AsRef<[u8]>) -> Result<Plan> {
        let text = text.as_ref();
        let packed = text::pack(text, &self.space.geometry)?;
        let clock = &self.space.core().clock();
        let began = clock.monotonic();
        let snapshot = self.space.core().read()?;
        let row = read_row(snapshot.state())?;
        let opened =
            self.opened(self.space.generation(row.generation())?, ShareCheck::WhereNeeded)?;
        let took = clock.monotonic().saturating_sub(began);
        let now = text::unpack(&opened.padded)?.len();
        let stored = (text::stored_bytes(&opened.padded), packed.stored_bytes);
        let version = DocumentVersion(opened.envelope.update);
        let lengths = (now, text.len());
        Ok(Plan::new(&self.space.geometry, version, opened.damage, lengths, stored, took))
    }

    /// Writes the same text again, with all shares and envelope copies; returns the repaired
    /// damage.
    pub fn heal(&self) -> Result<Damage> {
        self.heal_with(LongCall::new())
    }

    /// Does the same with progress and cancellation. Progress is the objects written so far.
    pub fn heal_with(&self, call: LongCall<'_>) -> Result<Damage> {
        let turn = self.space.turn()?;
        let base = turn.base()?;
        let OpenedDocument { envelope, padded, damage, .. } =
            self.opened(base.generation(&self.space), ShareCheck::AtAll)?;
        self.space.geometry.refuse_if_hopeless(damage.blocks)?;
        let begun = self.interrupted(&base, &envelope)?;
        let (map, salt) = (envelope.map, envelope.salt);
        let draft = Draft { map, salt, document: &self.inner.document, padded };
        let begun = begun.filter(|(_, begun)| draft.is_of(begun));
        let resumed = begun.map(|(row, begun)| (row, begun.update));
        draft.write(&turn, &base, &self.inner.key, resumed, call)?;
        Ok(damage)
    }

    /// Replaces the password of this document. This handle uses the new one.
    ///
    /// Other handles are `Denied` from then on. Older copies of the vault's files still open with
    /// the old password. After `Uncertain` open the partition again with the new password or the
    /// old one; this handle keeps using the old one.
    pub fn change_password(&mut self, new: &SecretPassword) -> Result<()> {
        self.change_password_with(new, LongCall::new())
    }

    /// Does the same with progress and cancellation. Progress is the objects written so far.
    pub fn change_password_with(&mut self, new: &SecretPassword, call: LongCall<'_>) -> Result<()> {
        new.bytes()?;
        let document = self.under_password(new, call)?;
        self.inner = Arc::new(PartitionInner { key: self.inner.key.duplicate(), document });
        Ok(())
    }

    /// Writes the same text for another password; returns the new document key.
    fn under_password(&self, new: &SecretPassword, call: LongCall<'_>) -> Result<DocumentKey> {
        let turn = self.space.turn()?;
        let base = turn.base()?;
        let OpenedDocument { envelope, padded, damage, .. } =
            self.opened(base.generation(&self.space), ShareCheck::WhereNeeded)?;
        self.space.geometry.refuse_if_hopeless(damage.blocks)?;
        let (key, costs) = (&self.inner.key, self.space.costs);
        // An interrupted change drew a salt. With the same password it is resumed.
        let begun = self.interrupted(&base, &envelope)?.filter(|(_, b)| b.salt != envelope.salt);
        if let Some((row, begun)) = begun {
            let document = key.document_key(new, &begun.salt, costs)?;
            let (map, salt) = (envelope.map.clone(), begun.salt);
            let draft = Draft { map, salt, document: &document, padded: padded.clone() };
            if draft.is_of(&begun) {
                draft.write(&turn, &base, key, Some((row, begun.update)), call)?;
                return Ok(document);
            }
        }
        let salt = self.space.core().entropy().draw()?;
        let document = key.document_key(new, &salt, costs)?;
        let draft = Draft { map: envelope.map, salt, document: &document, padded };
        draft.write(&turn, &base, key, None, call)?;
        Ok(document)
    }

    fn opened(&self, generation: Generation<'_>, look: ShareCheck) -> Result<OpenedDocument> {
        let PartitionInner { key, document } = &*self.inner;
        self.space.open(generation, key, DocumentCredential::Key(document), look)
    }

    /// Returns the interrupted update of this partition, if it can be resumed.
    ///
    /// `current` is the partition's present envelope.
    fn interrupted(
        &self,
        base: &UpdateBase,
        current: &Envelope,
    ) -> Result<Option<(UpdateRow, Envelope)>> {
        let Some(row) = &base.unfinished else { return Ok(None) };
        let UpdateRow::V0 { base: from, epochs, .. } = row;
        if *from != base.row.generation().id || epochs.len() < CELL_OBJECTS {
            return Ok(None);
        }
        // A put that timed out may still take effect, sealed under the old key.
        let objects = self.space.core().objects();
        if objects.is_remote() && epochs.iter().any(|epoch| *epoch != objects.keys().current().0) {
            return Ok(None);
        }
        let begun = generation_of(row, &self.space.geometry);
        let cells = match self.space.generation_of(&begun).cells() {
            // The update then starts over.
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(None),
            cells => cells?,
        };
        let found = find(&cells, &self.inner.key, self.space.rules())?;
        // An update of another partition copies this one's envelope unchanged. Resuming it here
        // would publish a half of the other document.
        let own = found.envelope.filter(|begun| begun.update != current.update);
        Ok(own.map(|envelope| (row.clone(), envelope)))
    }
}
