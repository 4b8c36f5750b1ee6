//! Slots for attacks in tests: the layers' output for a text, masked and unmasked.

use strongroom_base::Result;
use strongroom_base::component::Entropy;

use super::creation::SpaceOptions;
use super::geometry::Geometry;
use super::map::{SlotMap, scatter};
use super::secret::SecretPartitionKey;
use super::shares::{Layout, Slots};
use super::stream::Stream;
use super::text;
use strongroom_crypto::{PasswordCosts, SecretKey, SecretPassword};
use strongroom_format::SLOT_BYTES;
use strongroom_sharing::{SECRET_BYTES, Scheme};

/// A small space with one document, made by production code.
#[derive(Clone, Debug)]
pub struct ShareTester {
    /// All slots, as they would be stored.
    pub masked: Vec<[u8; SLOT_BYTES]>,
    /// The same slots, with the masks of the document's shares removed.
    ///
    /// A share's slot is the element, 66 bytes LE, and its tag. All other slots are random elements
    /// below 2^521, with 14 random bytes.
    pub bare: Vec<[u8; SLOT_BYTES]>,
    /// The chunk and x (from 1) of each slot with a share.
    pub shares: Vec<Option<(usize, u8)>>,
}

impl ShareTester {
    /// Makes a space of `slots` slots with `text`.
    ///
    /// The text is padded with zeros to whole chunks.
    ///
    /// The text is sealed before it is cut if `sealed`, as in a real space.
    pub fn new(
        text: &[u8],
        sealed: bool,
        (threshold, shares): (usize, usize),
        slots: usize,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let tag = if sealed { super::geometry::TEXT_TAG_BYTES } else { 0 };
        let chunks = (text.len() + tag).div_ceil(SECRET_BYTES);
        let mut padded = text.to_vec();
        padded.resize(chunks * SECRET_BYTES - tag, 0);
        let partition = chunks * shares;
        let geometry = Geometry {
            capacity: padded.len(),
            threshold,
            shares,
            chunks,
            partition,
            slots,
            cell_bytes: 0,
            segments: 1,
            segment_slots: slots,
        };
        let key = SecretPartitionKey::draw(entropy)?;
        let costs = PasswordCosts::FOR_TESTS;
        let password = SecretPassword::new("attacked");
        let document = key.document_key(&password, &entropy.draw()?, costs)?;
        let id = entropy.draw()?;
        let hash = document.text_hash(&id, &padded);
        let update = document.update_key(&id, hash.as_bytes());
        let text = if sealed { text::seal(&padded, &update).to_vec() } else { padded };

        let order = scatter(partition, &mut document.order());
        let mut own = Slots::new(&geometry);
        let scheme = Scheme::new(threshold, shares);
        Layout { geometry: &geometry, scheme: &scheme, order: &order }
            .split(&text, &update, &mut own);
        let mut random = Stream::new(&SecretKey::draw(entropy)?, &[]);
        let map = SlotMap::choose(&SlotMap::empty(slots), partition, &mut random)
            .expect("the space is larger than its document");
        let places: Vec<usize> = map.within(0, slots).collect();

        let mut lab = Self {
            masked: (0..slots).map(|_| *random.array()).collect(),
            bare: (0..slots).map(|_| *random.array()).collect(),
            shares: vec![None; slots],
        };
        // 521 bits.
        lab.bare.iter_mut().for_each(|bare| bare[65] &= 1);
        for x in 0..shares {
            let place = u8::try_from(x + 1).expect("few shares");
            let mut mask = update.mask(place);
            for chunk in 0..chunks {
                let rank = order[x * chunks + chunk] as usize;
                let (slot, mask) = (own.slots()[rank], mask.array::<SLOT_BYTES>());
                lab.masked[places[rank]] = slot;
                lab.bare[places[rank]] = std::array::from_fn(|at| slot[at] ^ mask[at]);
                lab.shares[places[rank]] = Some((chunk, place));
            }
        }
        Ok(lab)
    }
}

/// The positions of a document's shares, as for a new partition.
#[derive(Clone, Debug)]
pub struct ShareSlots {
    /// Slots of the space.
    pub slots: usize,
    /// Number of segments, and slots of each; the last one has fewer.
    pub segments: usize,
    /// Slots of a segment.
    pub segment_slots: usize,
    /// Shares of a chunk.
    pub shares: usize,
    /// Shares that restore a chunk.
    pub threshold: usize,
    /// The slots of the partition, in order, including unused ones.
    pub partition: Vec<usize>,
    /// The slot of each share; the shares of one chunk are adjacent.
    pub places: Vec<usize>,
}

impl ShareSlots {
    /// Draws a partition of a new space that names no other.
    ///
    /// The space has these `options`.
    pub fn new(options: &SpaceOptions, entropy: &dyn Entropy) -> Result<Self> {
        let Geometry { threshold, shares, chunks, partition, slots, .. } = options.geometry()?;
        let Geometry { segments, segment_slots, .. } = options.geometry()?;
        let mut random = Stream::new(&SecretKey::draw(entropy)?, &[]);
        let map = SlotMap::choose(&SlotMap::empty(slots), partition, &mut random)
            .expect("a space is larger than a partition");
        let partition: Vec<usize> = map.within(0, slots).collect();
        let order = scatter(partition.len(), &mut random);
        let place =
            |share: usize| partition[order[share % shares * chunks + share / shares] as usize];
        let places = (0..chunks * shares).map(place).collect();
        Ok(Self { slots, segments, segment_slots, shares, threshold, partition, places })
    }
}
