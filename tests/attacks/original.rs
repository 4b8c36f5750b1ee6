//! Documents in the layout of the original, and with its first changes.
//!
//! A document is cut into chunks of 64 bytes, the first byte the highest. Each chunk is shared 3 of
//! 9. One choice of slots serves all chunks: a share's x is the number of its slot. Every slot has
//! a value for every chunk, and the values of slots that were not chosen are random.

use std::fmt::Write;

use strongroom::backends::component::Entropy;

use crate::numbers::Number;
use crate::support::random::Random;

pub(crate) const THRESHOLD: usize = 3;
pub(crate) const SHARES: usize = 9;

/// Changes of the layout so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// A share's x is its number, with slots in random order.
    ///
    /// The numbers are 1 to 9.
    NumberedShares,
    /// As `NumberedShares`, and each chunk has its own choice of slots.
    ScatteredChunks,
}

/// The values of all slots, and the attacker's unknowns.
pub(crate) struct Original {
    /// For each chunk the values of all slots. Slot 1 is at index 0.
    pub(crate) values: Vec<Vec<Number>>,
    /// The slots of each chunk, counted from 1.
    ///
    /// They are in the order of x where x is not the slot.
    pub(crate) chosen: Vec<Vec<usize>>,
    pub(crate) text: Vec<u8>,
}

impl Original {
    /// Creates a document of `chunks` chunks among `slots` slots.
    pub(crate) fn new(change: Change, slots: usize, chunks: usize, entropy: &dyn Entropy) -> Self {
        let text = json(chunks * 64);
        let mut chosen: Vec<Vec<usize>> = vec![choose(slots, entropy)];
        let mut values = Vec::new();
        for (chunk, secret) in text.chunks(64).enumerate() {
            if chunk > 0 {
                let again = change == Change::ScatteredChunks;
                chosen.push(if again { choose(slots, entropy) } else { chosen[0].clone() });
            }
            let mut bytes = [0; 66];
            bytes[..64].copy_from_slice(secret);
            bytes[..64].reverse();
            let (c0, c1, c2) = (Number::of_bytes(&bytes), draw(entropy), draw(entropy));
            let mut row: Vec<Number> = (0..slots).map(|_| draw(entropy)).collect();
            for (number, &slot) in (1..).zip(&chosen[chunk]) {
                let x = Number::small(if change == Change::None { slot as u64 } else { number });
                row[slot - 1] = c2.times(&x).plus(&c1).times(&x).plus(&c0);
            }
            values.push(row);
        }
        Self { values, chosen, text }
    }

    /// Returns the first chunk's slots in ascending order, from 0.
    pub(crate) fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = self.chosen[0].iter().map(|slot| slot - 1).collect();
        slots.sort_unstable();
        slots
    }
}

fn draw(entropy: &dyn Entropy) -> Number {
    let mut bytes = [0; 66];
    entropy.fill(&mut bytes).unwrap();
    Number::of_bytes(&bytes)
}

fn choose(slots: usize, entropy: &dyn Entropy) -> Vec<usize> {
    let mut random = Random::new(u64::from_le_bytes(entropy.draw().unwrap()));
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < SHARES {
        let slot = 1 + usize::try_from(random.below(slots as u64)).unwrap();
        if !chosen.contains(&slot) {
            chosen.push(slot);
        }
    }
    chosen
}

/// Returns JSON of exactly `len` bytes.
pub(crate) fn json(len: usize) -> Vec<u8> {
    let mut text = String::from("{\"people\":[");
    for number in 0.. {
        if text.len() + 80 > len {
            break;
        }
        write!(text, "{{\"name\":\"Ada {number}\",\"born\":{}}},", 1815 + number % 200).unwrap();
    }
    text += "0]}";
    assert!(text.len() <= len);
    text += &" ".repeat(len - text.len());
    text.into_bytes()
}

/// Returns whether 64 bytes look like a piece of text.
///
/// The piece may be from either end of a text. Zeros may follow the text.
pub(crate) fn looks_like_text(bytes: &[u8; 64]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | 0);
    bytes.iter().all(printable) && bytes.iter().any(|&byte| byte != 0)
}
