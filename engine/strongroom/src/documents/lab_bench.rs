//! The sharing of a buffer for those who measure it: bare, and with everything that goes with it.

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

/// A buffer, with what it takes to share it prepared: keys, order of slots, room.
#[expect(missing_debug_implementations, reason = "it is of secrets")]
pub struct ShareBench {
    geometry: Geometry,
    scheme: Scheme,
    order: Vec<u32>,
    update: UpdateKey,
    /// Whole chunks.
    secret: Vec<u8>,
    /// For each chunk, one per power above zero.
    coefficients: Vec<Element>,
    /// For each chunk, one per place.
    shares: Vec<Element>,
    slots: Slots,
}

impl ShareBench {
    /// A buffer of as many random bytes as the chunks of a partition of `capacity` bytes hold.
    /// `Invalid` for numbers that make no space.
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

    /// What is shared.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Splits every chunk with coefficients that were drawn beforehand: the field alone.
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

    /// With `secret`, which is as long, in the place of its own.
    #[must_use]
    pub fn with_secret(mut self, secret: &[u8]) -> Self {
        self.secret.copy_from_slice(secret);
        self
    }

    fn layout(&self) -> Layout<'_> {
        Layout { geometry: &self.geometry, scheme: &self.scheme, order: &self.order }
    }

    /// Splits as a write does: coefficients, tags, masks, scattered over a partition, of which the
    /// slots that are not in use are filled.
    pub fn split(&mut self) {
        let Self { geometry, scheme, order, .. } = self;
        Layout { geometry, scheme, order }.split(&self.secret, &self.update, &mut self.slots);
    }

    /// Joins as a read does what [`split`](Self::split) made: gathered, unmasked, untagged.
    pub fn join(&self) -> Zeroizing<Vec<u8>> {
        self.layout().join(&self.update, &self.slots)
    }

    /// Looks at the tag of every share, as a write does when it reads back; how many are wrong.
    pub fn verify(&self) -> usize {
        self.layout().verify(&self.update, &self.slots).damaged
    }
}

impl Space {
    /// Opens every object of the generation in `snapshot` and seals it again, in memory: what an
    /// update cannot do without. How many bytes it sealed.
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
