//! The key ring: the keys sealed under the root key, and the labels of the slots.
//!
//! Its length is constant, so it reveals neither the number of rotations nor the labels.

use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

use super::seal::{Cipher, NONCE_BYTES, SealKey, TAG_BYTES};
use super::secret::SecretKey;
use super::slot::KEY_LABEL_BYTES_MAX;
use strongroom_format::{RING_BYTES, RING_PLAIN_BYTES, SLOTS_MAX};

/// Most epochs whose content a vault has at the same time.
pub(crate) const EPOCHS_MAX: usize = 32;

const EPOCH_BYTES: usize = 4 + SecretKey::BYTES;
const LABEL_BYTES: usize = 4 + 1 + KEY_LABEL_BYTES_MAX;
const EPOCHS_AT: usize = 2 * SecretKey::BYTES + 8;
const LABELS_AT: usize = EPOCHS_AT + EPOCHS_MAX * EPOCH_BYTES;
const _: () = assert!(LABELS_AT + SLOTS_MAX * LABEL_BYTES <= RING_PLAIN_BYTES);

/// The plaintext that is sealed under the root key.
pub(super) struct KeyRing {
    /// Key of the blocks of the state file.
    pub(super) state: SecretKey,
    /// Key for names and ids of content. Changing it would require encrypting all content again.
    pub(super) id: SecretKey,
    /// Keys of content objects; the last one seals new objects. Never empty.
    pub(super) epochs: Vec<(u32, SecretKey)>,
    /// Id of the next slot.
    pub(super) next_slot: u32,
    /// Labels by slot id.
    pub(super) labels: Vec<(u32, String)>,
}

impl KeyRing {
    /// Draws the ring of a new vault.
    pub(super) fn draw(entropy: &dyn Entropy) -> Result<Self> {
        Ok(Self {
            state: SecretKey::draw(entropy)?,
            id: SecretKey::draw(entropy)?,
            epochs: vec![(1, SecretKey::draw(entropy)?)],
            next_slot: 1,
            labels: Vec::new(),
        })
    }

    /// Copies the keys into memory of their own.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            state: self.state.duplicate(),
            id: self.id.duplicate(),
            epochs: self.epochs.iter().map(|(n, key)| (*n, key.duplicate())).collect(),
            next_slot: self.next_slot,
            labels: self.labels.clone(),
        }
    }

    /// Layout: state key 32, id key 32, next slot u32, number of epochs u16, number of labels u16,
    /// epochs (u32, key 32), labels (slot u32, length u8, text 48), zeros. Numbers LE.
    pub(super) fn seal(&self, root: &SecretKey, entropy: &dyn Entropy) -> Result<[u8; RING_BYTES]> {
        let mut plain = Zeroizing::new([0; RING_PLAIN_BYTES]);
        plain[..32].copy_from_slice(self.state.expose());
        plain[32..64].copy_from_slice(self.id.expose());
        plain[64..68].copy_from_slice(&self.next_slot.to_le_bytes());
        let count = |len: usize| u16::try_from(len).expect("a handful").to_le_bytes();
        plain[68..70].copy_from_slice(&count(self.epochs.len()));
        plain[70..72].copy_from_slice(&count(self.labels.len()));
        let places = plain[EPOCHS_AT..LABELS_AT].chunks_exact_mut(EPOCH_BYTES);
        for ((number, key), place) in self.epochs.iter().zip(places) {
            place[..4].copy_from_slice(&number.to_le_bytes());
            place[4..].copy_from_slice(key.expose());
        }
        let places = plain[LABELS_AT..].chunks_exact_mut(LABEL_BYTES);
        for ((slot, label), place) in self.labels.iter().zip(places) {
            place[..4].copy_from_slice(&slot.to_le_bytes());
            place[4] = u8::try_from(label.len()).expect("checked where it is set");
            place[5..5 + label.len()].copy_from_slice(label.as_bytes());
        }
        let mut sealed = [0; RING_BYTES];
        let nonce: [u8; NONCE_BYTES] = entropy.draw()?;
        let tag = ring_key(root).seal(&nonce, &[], &mut plain[..]);
        sealed[..NONCE_BYTES].copy_from_slice(&nonce);
        sealed[NONCE_BYTES..NONCE_BYTES + RING_PLAIN_BYTES].copy_from_slice(&plain[..]);
        sealed[NONCE_BYTES + RING_PLAIN_BYTES..].copy_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens a ring; `Corrupt` if `root` did not seal it.
    pub(super) fn open(sealed: &[u8; RING_BYTES], root: &SecretKey) -> Result<Self> {
        let corrupt = || {
            Error::new(ErrorKind::Corrupt, "open vault")
                .with_reason(Reason::HeaderDamaged)
                .with_detail("the key set is damaged")
        };
        let (nonce, rest) = sealed.split_at(NONCE_BYTES);
        let (message, tag) = rest.split_at(RING_PLAIN_BYTES);
        let nonce: &[u8; NONCE_BYTES] = nonce.try_into().expect("as long");
        let tag: &[u8; TAG_BYTES] = tag.try_into().expect("as long");
        let mut plain = Zeroizing::new([0; RING_PLAIN_BYTES]);
        ring_key(root).open(nonce, &[], message, tag, &mut plain[..]).map_err(|_| corrupt())?;
        let key = |at: &[u8]| -> SecretKey {
            let mut key = SecretKey::new([0; SecretKey::BYTES]);
            key.expose_mut().copy_from_slice(&at[..SecretKey::BYTES]);
            key
        };
        let number = |at: &[u8]| u32::from_le_bytes(at[..4].try_into().expect("four bytes"));
        let count = |at: usize| usize::from(u16::from_le_bytes([plain[at], plain[at + 1]]));
        let (epochs, labels) = (count(68), count(70));
        if epochs == 0 || epochs > EPOCHS_MAX || labels > SLOTS_MAX {
            return Err(corrupt());
        }
        let epochs = plain[EPOCHS_AT..LABELS_AT]
            .chunks_exact(EPOCH_BYTES)
            .take(epochs)
            .map(|epoch| (number(epoch), key(&epoch[4..])))
            .collect();
        let labels = plain[LABELS_AT..]
            .chunks_exact(LABEL_BYTES)
            .take(labels)
            .map(|label| {
                let text = &label[5..][..usize::from(label[4]).min(KEY_LABEL_BYTES_MAX)];
                (number(label), String::from_utf8_lossy(text).into_owned())
            })
            .collect();
        let (state, id, next_slot) = (key(&plain[..]), key(&plain[32..]), number(&plain[64..]));
        Ok(Self { state, id, epochs, next_slot, labels })
    }
}

/// One root key seals many rings, each under its own nonce.
fn ring_key(root: &SecretKey) -> SealKey {
    SealKey::derive(Cipher::XChaCha20Poly1305, root, "strongroom 2026 key ring")
}
