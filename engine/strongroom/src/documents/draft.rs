//! The new contents of a partition: its envelope's copies and its slots, drawn from one update key.

use strongroom_base::{Error, ErrorKind, LongCall, Result};
use zeroize::Zeroizing;

use super::envelope::Envelope;
use super::map::{SlotMap, scatter};
use super::opening::{Damage, DocumentCredential, ShareCheck};
use super::secret::{DocumentKey, SALT_BYTES, SecretPartitionKey, UPDATE_ID_BYTES};
use super::shares::{Layout, Slots};
use super::space::Space;
use super::text;
use super::update::{Repaint, UPDATE, UpdateBase, UpdateLock};
use strongroom_format::UpdateRow;

/// The intended contents of a partition.
pub(super) struct Draft<'a> {
    pub(super) map: SlotMap,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) document: &'a DocumentKey,
    pub(super) padded: Zeroizing<Vec<u8>>,
}

impl Draft<'_> {
    /// Returns whether an update that began with this envelope had this content.
    pub(super) fn is_of(&self, begun: &Envelope) -> bool {
        begun.salt == self.salt
            && begun.map == self.map
            && self.document.text_hash(&begun.update, &self.padded) == begun.text_hash
    }

    /// Draws the contents, under a new or a resumed update's id.
    pub(super) fn write(
        self,
        turn: &UpdateLock<'_>,
        base: &UpdateBase,
        key: &SecretPartitionKey,
        resumed: Option<(UpdateRow, [u8; UPDATE_ID_BYTES])>,
        call: LongCall<'_>,
    ) -> Result<[u8; UPDATE_ID_BYTES]> {
        let space = turn.space();
        let (resumed, id) = match resumed {
            Some((row, id)) => (Some(row), id),
            None => (None, space.core().entropy().draw()?),
        };
        let repaint = self.paint(space, key, id);
        let Self { document, padded, .. } = self;
        turn.run(base, repaint, resumed, call, |made| {
            let opened =
                space.open(made, key, DocumentCredential::Key(document), ShareCheck::AtAll)?;
            let same = *opened.padded == *padded && opened.envelope.update == id;
            if same && opened.damage == (Damage { shares: Some(0), ..Damage::default() }) {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Corrupt, UPDATE)
                .with_detail("the written data does not read back correctly"))
        })?;
        Ok(id)
    }

    fn paint(&self, space: &Space, key: &SecretPartitionKey, id: [u8; UPDATE_ID_BYTES]) -> Repaint {
        let Space { geometry, scheme, id: space_id, .. } = space;
        let text_hash = *self.document.text_hash(&id, &self.padded).as_bytes();
        let update = self.document.update_key(&id, &text_hash);
        let envelope = Envelope { salt: self.salt, update: id, text_hash, map: self.map.clone() };
        let cells = envelope.seal(key, &update, *space_id, geometry);
        let order = Zeroizing::new(scatter(geometry.partition, &mut self.document.order()));
        let mut slots = Slots::new(geometry);
        let layout = Layout { geometry, scheme, order: &order };
        layout.split(&text::seal(&self.padded, &update), &update, &mut slots);
        Repaint { cells, map: envelope.map, slots }
    }
}
