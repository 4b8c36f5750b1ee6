//! The cost of one flipped bit: one block of 51 slots.
//!
//! A document loses at most its shares in this block. `verify` counts them and `heal` rewrites
//! them.

use strongroom::backends::{Backend, Condition, Memory};
use strongroom::content::GcOptions;
use strongroom::documents::{Damage, Space, SpaceOptions};
use strongroom::storage::MemoryState;
use strongroom::{SecretPassword, Vault};
use strongroom_testkit::TestKey;

use crate::entropy;
use crate::support::random::Random;

const BLOCK_SLOTS: usize = 51;
const BLOCK_BYTES: usize = BLOCK_SLOTS * 80;
/// Bytes of the header of an object on the backend. Nonce, block and tag follow, repeated.
const HEADER_BYTES: usize = 16;
const SEALED_BYTES: usize = 24 + BLOCK_BYTES + 16;

/// Number of segments of a space before the last one.
const SEGMENTS: usize = 16;

/// Flips one random bit of a slot object, and returns its offset.
fn flip(memory: &Memory, random: &mut Random) -> usize {
    let listed = memory.list("content/", None, 1_000).unwrap();
    let segments: Vec<_> = listed
        .into_iter()
        .map(|entry| (entry.key.clone(), memory.get(&entry.key).unwrap().body))
        .filter(|(_, body)| body.starts_with(b"STRNGSLT"))
        .collect();
    let draw =
        |random: &mut Random, below: usize| usize::try_from(random.below(below as u64)).unwrap();
    let (key, body) = &segments[draw(random, segments.len())];
    let at = HEADER_BYTES + draw(random, body.len() - HEADER_BYTES);
    let mut body = body.to_vec();
    body[at] ^= 1 << random.below(8);
    memory.put(key, body.into(), &Condition::Any).unwrap();
    at
}

/// Returns the blocks in which two dumps of all slots differ.
fn blocks(before: &[u8], after: &[u8]) -> Vec<usize> {
    let pairs = before.chunks(BLOCK_BYTES).zip(after.chunks(BLOCK_BYTES));
    pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(block, _)| block).collect()
}

fn slots(space: &Space) -> Vec<u8> {
    space.dump().unwrap().1
}

#[test]
fn one_flipped_bit_costs_one_block_that_heal_restores() {
    let memory = Memory::new();
    let vault = Vault::options(TestKey)
        .cheap_passwords()
        .entropy(entropy(70))
        .create_on(MemoryState::new(), memory.clone())
        .unwrap();
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let (pa, pb) = (SecretPassword::new("pa"), SecretPassword::new("pb"));
    let key_a = space.add_partition(&pa, &[]).unwrap();
    let key_b = space.add_partition(&pb, &[&key_a]).unwrap();
    let (a, b) = (space.partition(&key_a, &pa).unwrap(), space.partition(&key_b, &pb).unwrap());
    a.write(r#"{"a": 1}"#).unwrap();
    b.write(r#"{"b": 2}"#).unwrap();
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();

    let mut random = Random::new(71);
    let mut of_all = 0;
    for round in 0..12 {
        let before = slots(&space);
        let at = flip(&memory, &mut random);
        let lost = slots(&space);
        let [block] = blocks(&before, &lost)[..] else { panic!("one block") };
        let number = (at - HEADER_BYTES) / SEALED_BYTES;
        let blocks_each = before.len() / BLOCK_BYTES / (SEGMENTS + 1);
        assert_eq!(block % blocks_each, number, "another block has changed");
        assert!(lost[block * BLOCK_BYTES..][..BLOCK_BYTES].iter().all(|&byte| byte == 0));

        assert_eq!(a.read().unwrap().text(), r#"{"a": 1}"#);
        assert_eq!(b.read().unwrap().text(), r#"{"b": 2}"#);
        let (of_a, of_b) = (a.verify().unwrap(), b.verify().unwrap());
        println!("round {round}, byte {at}, block {block}: {of_a}; {of_b}");
        if block / blocks_each == SEGMENTS && !of_a.any() {
            // The last segment ends in padding, which holds no shares.
            assert!(!of_b.any());
            continue;
        }
        for damage in [of_a, of_b] {
            assert_eq!((damage.copies, damage.blocks), (0, 1));
        }
        let shares = |damage: Damage| damage.shares.unwrap();
        assert!(shares(of_a) + shares(of_b) <= BLOCK_SLOTS);
        of_all += shares(of_a) + shares(of_b);

        // The first heal rewrites the block. The other document's shares in the block stay lost.
        let (first, second) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let found = first.heal().unwrap();
        assert_eq!(found.blocks, 1);
        assert_eq!(blocks(&lost, &slots(&space)).iter().filter(|n| **n == block).count(), 1);
        let healed = first.verify().unwrap();
        assert_eq!((healed.copies, healed.shares, healed.blocks), (0, Some(0), 0));
        let left = second.verify().unwrap();
        let of_second = if round % 2 == 0 { of_b } else { of_a };
        assert_eq!((left.shares, left.blocks), (of_second.shares, 0));
        second.heal().unwrap();
        for partition in [&a, &b] {
            assert!(!partition.verify().unwrap().any());
        }
        vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    }
    // The two documents have two thirds of the slots, and ten in eleven of those hold shares: 31 in
    // a block. One block in 16 is padding.
    assert!((12 * 22..12 * 36).contains(&of_all), "{of_all} shares in 12 blocks");
}
