//! Content objects and key copies that are flipped, truncated, exchanged or missing.

use bytes::Bytes;
use strongroom::backends::Key;
use strongroom::keys::Cipher;

use crate::flips::all_bytes;
use crate::image::{Damage, Image, bit};
use crate::judge::{DamageBytes, Tally, judge_all, judge_each};
use crate::scene::{LeftVault, vaults};

/// Distance in bytes between flipped bytes, in the short run.
const EVERY: usize = 101;
/// Key prefix of content objects.
const CONTENT: &str = "content/";
const KEY_SETS: &str = "keys/";
/// Bytes of an object's header and nonce. Each of these bytes is flipped.
const OBJECT_HEAD_BYTES: usize = 16 + 24;
const TAG_BYTES: usize = 16;

fn below(image: &Image, prefix: &str) -> Vec<(Key, Bytes)> {
    let objects = image.objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
    let found: Vec<_> = objects.map(|(key, body)| (key.clone(), body.clone())).collect();
    assert!(!found.is_empty(), "objects below {prefix}");
    found
}

fn changed(body: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut body = body.to_vec();
    change(&mut body);
    body.into()
}

fn flip(left: &LeftVault, prefix: &str, bytes: DamageBytes) -> Tally {
    let mut flips = Vec::new();
    for (key, body) in below(&left.image, prefix) {
        let ends = OBJECT_HEAD_BYTES.min(body.len())..body.len().saturating_sub(TAG_BYTES);
        let sampled = |at: &usize| all_bytes() || !ends.contains(at) || at.is_multiple_of(EVERY);
        flips.extend((0..body.len()).filter(sampled).map(|at| (key.clone(), at)));
    }
    let image = left.image.clone();
    judge_all(left, bytes, flips.len(), move |n| {
        let (key, at) = &flips[n];
        let body = changed(&image.objects[key], |body| body[*at] ^= bit(*at));
        Damage::new(format!("byte {at} of {key}")).object(key, Some(body))
    })
}

#[test]
fn flipped_bit_of_content_is_detected() {
    for cipher in [Cipher::XChaCha20Poly1305, Cipher::Aes256GcmSiv] {
        let left = vaults(cipher, 4).closed;
        let tally = flip(&left, CONTENT, DamageBytes::Content)
            .expect_none_wrong(&format!("content, {cipher}"));
        assert_eq!(tally.detected(), tally.cases, "{tally}");
    }
}

#[test]
fn flipped_bit_of_the_key_copy_refuses_writes_until_adopted() {
    let vaults = vaults(Cipher::Aes256GcmSiv, 4);
    for left in [&vaults.closed, &vaults.crashed] {
        let tally = flip(left, KEY_SETS, DamageBytes::KeyCopy);
        let tally = tally.expect_none_wrong(&format!("{}: copy of the key set", left.name));
        assert_eq!(tally.harmless, tally.cases, "{tally}");
    }
}

#[test]
fn exchanged_truncated_or_removed_content_is_detected() {
    let vaults = vaults(Cipher::Aes256GcmSiv, 4);
    let left = &vaults.closed;
    // The same workload with the same key in another vault, which draws other names and keys.
    let others = below(&crate::scene::vaults(Cipher::Aes256GcmSiv, 5).closed.image, CONTENT);
    let objects = below(&left.image, CONTENT);
    let mut cases = Vec::new();
    for (n, (key, body)) in objects.iter().enumerate() {
        cases.push(Damage::new(format!("object {n}, removed")).object(key, None));
        let mut case = |label: &str, body: Bytes| {
            cases.push(Damage::new(format!("object {n}, {label}")).object(key, Some(body)));
        };
        case("emptied", Bytes::new());
        case("zeros", changed(body, |body| body.fill(0)));
        for len in [1, 15, 16, 40, body.len() / 2, body.len() - 16, body.len() - 1] {
            case(&format!("cut to {len}"), body.slice(..len));
        }
        for more in [1, 16, 40, 4096] {
            case(&format!("{more} more"), changed(body, |body| body.resize(body.len() + more, 0)));
        }
        case("twice", changed(body, |bytes| bytes.extend_from_slice(body)));
        case("epoch", changed(body, |body| body[12] += 1));
        for (m, (_, other)) in others.iter().enumerate() {
            case(&format!("object {m} of another vault"), other.clone());
        }
        for (m, (other, its)) in objects.iter().enumerate().filter(|(m, _)| *m != n) {
            let label = format!("object {n}, exchanged with {m}");
            let swapped = Damage::new(label).object(key, Some(its.clone()));
            cases.push(swapped.object(other, Some(body.clone())));
        }
    }
    let tally = judge_each(left, DamageBytes::Content, cases);
    let tally = tally.expect_none_wrong("content exchanged");
    assert_eq!(tally.detected(), tally.cases, "{tally}");
}

#[test]
fn exchanged_key_copy_refuses_writes_until_adopted() {
    let vaults = vaults(Cipher::Aes256GcmSiv, 4);
    let other = crate::scene::vaults(Cipher::Aes256GcmSiv, 5).closed;
    let (_, others) = below(&other.image, KEY_SETS).remove(0);
    for left in [&vaults.closed, &vaults.crashed] {
        let (key, body) = below(&left.image, KEY_SETS).remove(0);
        let case = |label: &str, body: Option<Bytes>| Damage::new(label).object(&key, body);
        let cases = vec![
            case("removed", None),
            case("emptied", Some(Bytes::new())),
            case("of another vault", Some(others.clone())),
            case("cut", Some(body.slice(..body.len() - 1))),
            case("zeros", Some(changed(&body, |body| body.fill(0)))),
        ];
        let tally = judge_each(left, DamageBytes::KeyCopy, cases);
        let tally = tally.expect_none_wrong(&format!("{}: copy exchanged", left.name));
        assert_eq!(tally.harmless, tally.cases, "{tally}");
    }
}
