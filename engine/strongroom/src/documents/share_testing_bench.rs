//! The sharing of a buffer for measurements: the field alone, and all layers.

use strongroom_base::Result;
use strongroom_base::component::Entropy;
use zeroize::Zeroizing;

use super::geometry::{Geometry, PARTITIONS_MIN, TEXT_TAG_BYTES};
use super::map::scatter;
use super::secret::{SALT_BYTES, SecretPartitionKey, UPDATE_ID_BYTES, UpdateKey};
use super::shares::{Layout, Slots, sample};
use super::space::Space;
use crate::records::Snapshot;
use strongroom_crypto::{PasswordCosts, SecretPassword};
use strongroom_sharing::{Element, SECRET_BYTES, Scheme};
use strongroom_store::objects::Cut;

/// A buffer with everything that sharing it needs.
///
/// These are prepared keys, the order of slots and memory.
#[expect(missing_debug_implementations, reason = "it is of secrets")]
pub struct ShareBench {
    geometry: Geometry,
    scheme: Scheme,
    order: Vec<u32>,
    update: UpdateKey,
    /// Whole chunks.
    secret: Vec<u8>,
    /// One coefficient for each chunk and power above zero.
    coefficients: Vec<Element>,
    /// One share for each chunk and point.
    shares: Vec<Element>,
    slots: Slots,
}

impl ShareBench {
    /// Draws a random buffer for a partition of `capacity` bytes.
    ///
    /// `Invalid` for impossible numbers.
    pub fn new(
        capacity: u32,
        (threshold, shares): (u8, u8),
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let geometry = Geometry::new(capacity, threshold, shares, PARTITIONS_MIN)?;
        let mut secret = vec![0; geometry.padded_bytes() + TEXT_TAG_BYTES];
        entropy.fill(&mut secret)?;
        let key = SecretPartitionKey::draw(entropy)?;
        let password = SecretPassword::new("measured");
        let salt = [0; SALT_BYTES];
        let document = key.document_key(&password, &salt, PasswordCosts::FOR_TESTS)?;
        let update = document.update_key(&[0; UPDATE_ID_BYTES], &[0; 32]);
        let mut drawn = update.coefficients();
        let per_chunk = geometry.threshold - 1;
        Ok(Self {
            geometry,
            scheme: Scheme::new(geometry.threshold, geometry.shares),
            order: scatter(geometry.partition, &mut document.order()),
            coefficients: (0..geometry.chunks * per_chunk).map(|_| sample(&mut drawn)).collect(),
            update,
            secret,
            shares: vec![Element::ZERO; geometry.used()],
            slots: Slots::new(&geometry),
        })
    }

    /// Returns the buffer.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Splits every chunk with coefficients drawn before: the field alone.
    pub fn split_bare(&mut self) {
        let Geometry { threshold, shares, .. } = self.geometry;
        let secrets = self.secret.as_chunks::<SECRET_BYTES>().0;
        for (chunk, (secret, shares)) in
            secrets.iter().zip(self.shares.chunks_mut(shares)).enumerate()
        {
            let coefficients = &self.coefficients[chunk * (threshold - 1)..][..threshold - 1];
            self.scheme.split(Element::of_secret(secret), coefficients, shares);
        }
    }

    /// Joins the first shares that [`split_bare`](Self::split_bare) made.
    pub fn join_bare(&self) -> Zeroizing<Vec<u8>> {
        let Geometry { threshold, shares, .. } = self.geometry;
        let mut joined = Zeroizing::new(vec![0; self.secret.len()]);
        let secrets = joined.as_chunks_mut::<SECRET_BYTES>().0;
        for (secret, shares) in secrets.iter_mut().zip(self.shares.chunks(shares)) {
            *secret = self.scheme.join_first(&shares[..threshold]).to_secret();
        }
        joined
    }

    /// Replaces the buffer by `secret`, which has the same length.
    #[must_use]
    pub fn with_secret(mut self, secret: &[u8]) -> Self {
        self.secret.copy_from_slice(secret);
        self
    }

    fn layout(&self) -> Layout<'_> {
        Layout { geometry: &self.geometry, scheme: &self.scheme, order: &self.order }
    }

    /// Splits as a write does: coefficients, tags, masks, scattered over a partition, with unused
    /// slots filled.
    pub fn split(&mut self) {
        let Self { geometry, scheme, order, .. } = self;
        Layout { geometry, scheme, order }.split(&self.secret, &self.update, &mut self.slots);
    }

    /// Joins as a read does, from the result of [`split`](Self::split): gathered, unmasked,
    /// untagged.
    pub fn join(&self) -> Zeroizing<Vec<u8>> {
        self.layout().join(&self.update, &self.slots)
    }

    /// Checks every share's tag, as a write's verification does; returns the number of wrong ones.
    pub fn verify(&self) -> usize {
        self.layout().verify(&self.update, &self.slots).damaged
    }
}

impl Space {
    /// Opens and seals every object of the generation in `snapshot`, in memory.
    ///
    /// An update cannot do less. Returns the number of sealed bytes.
    pub fn reseal(&self, snapshot: &Snapshot) -> Result<u64> {
        let row = super::space::read_row(snapshot.state())?;
        let generation = self.generation(row.generation())?;
        let mut sealed = 0;
        for (place, object) in row.generation().objects.iter().enumerate() {
            let found = generation.object(place)?;
            sealed +=
                self.core().objects().seal(object.name, Cut::of_space(place), &found.body)?.len();
        }
        Ok(sealed as u64)
    }
}
