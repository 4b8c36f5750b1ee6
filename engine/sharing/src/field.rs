//! Elements of GF(p), p = 2^521 - 1, and their arithmetic, in constant time.
//!
//! p is a Mersenne prime: 2^521 = 1, so bits above bit 520 are added at bit 0. An [`Element`] is
//! always below p. A [`Sum`] is an integer of a fixed number of limbs. It adds sums and products
//! without regard to p, and is reduced once, at the end. The caller of a sum ensures that it does
//! not overflow, from the bounds of its terms and never from their values.
//!
//! Limbs have 64 bits, the lowest first. Nine of them have 576 bits, 55 more than p. Carries are
//! `bool`s from `overflowing_add`, which become add-with-carry, or the high halves of products.

use std::fmt;

use zeroize::DefaultIsZeroes;

/// Length of an element in bytes, little-endian. The upper seven bits of the last are zero.
pub const ELEMENT_BYTES: usize = 66;
/// Length of a secret in bytes: the longest whole number of words below p.
pub const SECRET_BYTES: usize = 64;

/// Number of limbs of an element.
pub(super) const LIMBS: usize = 9;
/// Number of limbs of a product of two elements: 1042 bits of 1088.
const PRODUCT_LIMBS: usize = 17;
/// Index of the highest limb of an element.
const TOP: usize = LIMBS - 1;
/// Number of bits of an element in the highest limb: 521 = 8 * 64 + 9.
const TOP_BITS: u32 = 9;
const TOP_MASK: u64 = (1 << TOP_BITS) - 1;

/// An element of GF(2^521 - 1), always canonical: below p. Its `Debug` shows nothing.
///
/// It is `Copy` because arithmetic needs that. Callers zeroise secret elements that they keep.
#[derive(Clone, Copy, Default)]
pub struct Element {
    limbs: [u64; LIMBS],
}

impl DefaultIsZeroes for Element {}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Element(..)")
    }
}

impl Element {
    pub const ZERO: Self = Self { limbs: [0; LIMBS] };

    /// Makes an element of a secret, little-endian: below 2^512, and so below p.
    #[inline]
    pub fn of_secret(bytes: &[u8; SECRET_BYTES]) -> Self {
        let mut limbs = [0; LIMBS];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        Self { limbs }
    }

    /// Returns the lower 512 bits: all of a secret.
    ///
    /// The bits do not reveal whether shares were joined that do not belong together.
    #[inline]
    pub fn to_secret(self) -> [u8; SECRET_BYTES] {
        let mut bytes = [0; SECRET_BYTES];
        for (bytes, limb) in bytes.as_chunks_mut().0.iter_mut().zip(self.limbs) {
            *bytes = limb.to_le_bytes();
        }
        bytes
    }

    /// Returns the bytes, little-endian.
    #[inline]
    pub fn to_bytes(self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        let (whole, rest) = bytes.as_chunks_mut();
        for (bytes, limb) in whole.iter_mut().zip(self.limbs) {
            *bytes = limb.to_le_bytes();
        }
        let [first, second, ..] = self.limbs[TOP].to_le_bytes();
        rest.copy_from_slice(&[first, second]);
        bytes
    }

    /// Makes an element of the lower 521 bits of any `bytes`; zero for p.
    #[inline]
    pub fn of_bytes(bytes: &[u8; ELEMENT_BYTES]) -> Self {
        Sum::of_bytes(bytes).reduce()
    }

    /// Makes a uniform element of uniform `bytes`.
    ///
    /// Returns `None`, with a probability of 2^-521, if the lower 521 bits are p, which would be a
    /// second zero.
    #[inline]
    pub fn sample(bytes: &[u8; ELEMENT_BYTES]) -> Option<Self> {
        let Sum { limbs } = Sum::of_bytes(bytes);
        // The one branch on drawn bytes. For the bytes that are used it reveals only that they are
        // not p.
        let is_p = limbs[0] & ones_above(&limbs) == u64::MAX;
        (!is_p).then_some(Self { limbs })
    }

    #[cfg(test)]
    pub(super) fn add(self, other: Self) -> Self {
        let mut sum = Sum::<LIMBS>::of(self);
        sum.add(&Sum::of(other));
        sum.reduce()
    }

    #[cfg(test)]
    pub(super) fn sub(self, other: Self) -> Self {
        let mut sum = Sum::<LIMBS>::of(self);
        sum.add(&Sum::of_negative(other));
        sum.reduce()
    }

    #[inline]
    pub(super) fn neg(self) -> Self {
        Sum::<LIMBS>::of_negative(self).reduce()
    }

    #[inline]
    pub(super) fn mul(self, other: Self) -> Self {
        let mut limbs = [0; PRODUCT_LIMBS];
        for (i, &factor) in other.limbs.iter().enumerate() {
            let mut carry = 0;
            for (limb, &own) in limbs[i..].iter_mut().zip(&self.limbs) {
                (*limb, carry) = mul_add(own, factor, *limb, carry);
            }
            // The last row's carry is zero: both top limbs have 9 bits, their product 18.
            if i < TOP {
                limbs[i + LIMBS] = carry;
            }
        }
        Sum { limbs }.reduce()
    }

    #[cfg(test)]
    pub(super) fn mul_small(self, factor: u32) -> Self {
        let mut product = Sum::<LIMBS>::of(self);
        product.scale(u64::from(factor));
        product.reduce()
    }

    /// Returns the multiplicative inverse, and zero for zero: the power p - 2, by Fermat's little
    /// theorem.
    ///
    /// 520 squarings and 13 products: p - 2 = 2^521 - 3 is 519 ones in binary, then 01.
    pub(super) fn inverse(self) -> Self {
        const ONES: u32 = 519;
        let squared = |element: Self, times| (0..times).fold(element, |power, _| power.mul(power));
        // `ones` is the length of the exponent, all ones in binary. It follows the upper bits of
        // 519.
        let (mut power, mut ones) = (self, 1);
        for bit in (0..ONES.ilog2()).rev() {
            power = squared(power, ones).mul(power);
            ones *= 2;
            if ONES >> bit & 1 == 1 {
                power = squared(power, 1).mul(self);
                ones += 1;
            }
        }
        squared(power, 2).mul(self)
    }
}

impl From<u128> for Element {
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    fn from(number: u128) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[..2].copy_from_slice(&[number as u64, (number >> u64::BITS) as u64]);
        Self { limbs }
    }
}

/// An unreduced sum of elements and their multiples: any integer below 2^(64 `N`).
#[derive(Clone, Copy)]
pub(super) struct Sum<const N: usize> {
    limbs: [u64; N],
}

impl<const N: usize> Sum<N> {
    pub(super) const ZERO: Self = Self { limbs: [0; N] };

    #[inline]
    pub(super) fn of(element: Element) -> Self {
        let mut limbs = [0; N];
        limbs[..LIMBS].copy_from_slice(&element.limbs);
        Self { limbs }
    }

    /// Returns p less `element`: all 521 bits flipped, at most p.
    #[inline]
    pub(super) fn of_negative(element: Element) -> Self {
        let mut limbs = [0; N];
        for (limb, positive) in limbs.iter_mut().zip(element.limbs) {
            *limb = !positive;
        }
        limbs[TOP] &= TOP_MASK;
        Self { limbs }
    }

    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, &other) in self.limbs.iter_mut().zip(&other.limbs) {
            (*limb, carry) = add(*limb, other, carry);
        }
        debug_assert!(!carry, "the caller's bound holds");
    }

    /// Adds `factor` times `other`.
    #[inline]
    pub(super) fn add_product(&mut self, other: &Self, factor: u64) {
        let mut carry = 0;
        for (limb, &other) in self.limbs.iter_mut().zip(&other.limbs) {
            (*limb, carry) = mul_add(other, factor, *limb, carry);
        }
        debug_assert!(carry == 0, "the caller's bound holds");
    }

    #[inline]
    pub(super) fn scale(&mut self, factor: u64) {
        let mut carry = 0;
        for limb in &mut self.limbs {
            (*limb, carry) = mul_add(*limb, factor, 0, carry);
        }
        debug_assert!(carry == 0, "the caller's bound holds");
    }

    /// Returns the sum modulo p, for any value.
    #[inline]
    pub(super) fn reduce(&self) -> Element {
        const { assert!(LIMBS <= N && N <= PRODUCT_LIMBS) }
        let mut limbs = [0; LIMBS];
        limbs.copy_from_slice(&self.limbs[..LIMBS]);
        if N > LIMBS {
            // Folds once, into nine limbs. The bits below bit 521, and those above it, of which 17
            // limbs have 567, add up to less than 2^568.
            limbs[TOP] &= TOP_MASK;
            let limb_at = |at: usize| self.limbs.get(at).copied().unwrap_or(0);
            let mut carry = false;
            for (at, limb) in limbs.iter_mut().enumerate() {
                let (low, high) = (limb_at(TOP + at), limb_at(TOP + at + 1));
                let above = low >> TOP_BITS | high << (u64::BITS - TOP_BITS);
                (*limb, carry) = add(*limb, above, carry);
            }
            debug_assert!(!carry, "568 bits fit in nine limbs");
        }
        // Folds again. The bits below bit 521 are at most p, and `above` is below 2^55, so their
        // sum is below 2 p. If the sum reaches p, adding one at bit 0 and clearing bit 521
        // subtracts p, because p + 1 = 2^521. The top limb keeps `above` until the mask at the end,
        // because no carry leaves it.
        let above = limbs[TOP] >> TOP_BITS;
        // The sum reaches p if the sum plus one carries into bit 521. That happens if it carries
        // out of the lowest limb, beyond which `above` does not reach, and all bits above are ones.
        // `above + 1` does not overflow; all ones and a carry do, as the bits themselves would.
        let (_, low_carries) = limbs[0].overflowing_add(above + 1);
        let (_, reaches_p) = ones_above(&limbs).overflowing_add(u64::from(low_carries));
        let mut carry;
        (limbs[0], carry) = add(limbs[0], above, reaches_p);
        for limb in &mut limbs[1..] {
            (*limb, carry) = add(*limb, 0, carry);
        }
        limbs[TOP] &= TOP_MASK;
        Element { limbs }
    }
}

impl Sum<LIMBS> {
    /// Returns the lower 521 bits of `bytes`: at most p.
    #[inline]
    fn of_bytes(bytes: &[u8; ELEMENT_BYTES]) -> Self {
        let mut limbs = [0; LIMBS];
        let (whole, rest) = bytes.as_chunks();
        for (limb, bytes) in limbs.iter_mut().zip(whole) {
            *limb = u64::from_le_bytes(*bytes);
        }
        limbs[TOP] = (u64::from(rest[0]) | u64::from(rest[1]) << 8) & TOP_MASK;
        Self { limbs }
    }
}

/// Returns all ones if bits 64 to 520 are ones.
///
/// Otherwise it returns a smaller value.
#[inline]
fn ones_above(limbs: &[u64; LIMBS]) -> u64 {
    limbs[1..TOP].iter().fold(limbs[TOP] | !TOP_MASK, |ones, limb| ones & limb)
}

/// Returns `a + b + carry` and its carry: at most one of the two additions overflows.
#[inline]
fn add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// Returns the halves of `a b + c + d`, the lower first.
///
/// The value is at most (2^64 - 1)^2 + 2 (2^64 - 1), which is 2^128 - 1.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
fn mul_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let wide = u128::from(a) * u128::from(b) + u128::from(c) + u128::from(d);
    (wide as u64, (wide >> u64::BITS) as u64)
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::super::tests::{limb, modulus, number};
    use super::*;

    fn value<const N: usize>(sum: &Sum<N>) -> BigUint {
        BigUint::from_bytes_le(sum.limbs.map(u64::to_le_bytes).as_flattened())
    }

    fn reduces<const N: usize>(limbs: [u64; N]) {
        let sum = Sum { limbs };
        let element = sum.reduce();
        assert_eq!(number(element), value(&sum) % modulus(), "{limbs:x?}");
    }

    /// Calls `check` with each combination of `limbs`.
    fn combinations<const N: usize>(limbs: &[u64], mut check: impl FnMut([u64; N])) {
        for mut choice in 0..limbs.len().pow(u32::try_from(N).unwrap()) {
            check(std::array::from_fn(|_| {
                let limb = limbs[choice % limbs.len()];
                choice /= limbs.len();
                limb
            }));
        }
    }

    #[test]
    fn sums_of_extreme_limbs_reduce() {
        combinations::<LIMBS>(&[0, 1, u64::MAX], reduces);
        combinations::<11>(&[0, u64::MAX], reduces);
        combinations::<PRODUCT_LIMBS>(&[0, u64::MAX], reduces);
    }

    #[test]
    fn sums_around_multiples_of_p_reduce() {
        for multiple in [0, 1, 2, 3, 4, 511, 512, 513, 1 << 32, (1 << 55) - 2, (1 << 55) - 1] {
            let mut sum = Sum::<LIMBS>::ZERO;
            sum.add_product(&Sum { limbs: number_limbs(&modulus()) }, multiple);
            for offset in 0..4u8 {
                let (above, below) =
                    (value(&sum) + offset, value(&sum).max(offset.into()) - offset);
                reduces::<LIMBS>(number_limbs(&above));
                reduces::<LIMBS>(number_limbs(&below));
                let above_all = above << (64 * (PRODUCT_LIMBS - LIMBS));
                reduces::<PRODUCT_LIMBS>(number_limbs(&above_all));
            }
        }
    }

    fn number_limbs<const N: usize>(number: &BigUint) -> [u64; N] {
        let mut limbs = [0; N];
        limbs[..number.iter_u64_digits().len()].copy_from_slice(&number.to_u64_digits());
        limbs
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn sums_reduce(limbs in prop::collection::vec(limb(), PRODUCT_LIMBS)) {
            reduces::<LIMBS>(limbs[..LIMBS].try_into().unwrap());
            reduces::<11>(limbs[..11].try_into().unwrap());
            reduces::<PRODUCT_LIMBS>(limbs[..].try_into().unwrap());
        }

        #[test]
        fn sums_match_big_integers(limbs in prop::array::uniform16(limb()), factor in limb()) {
            // Eight limbs each, so that the ninth receives their carry.
            let [a, b] = [0, 8].map(|from| {
                let mut sum = Sum::<LIMBS>::ZERO;
                sum.limbs[..8].copy_from_slice(&limbs[from..][..8]);
                sum
            });
            let mut sum = a;
            sum.add(&b);
            assert_eq!(value(&sum), value(&a) + value(&b));
            let (mut product, mut scaled) = (a, a);
            product.add_product(&b, factor);
            assert_eq!(value(&product), value(&a) + value(&b) * factor);
            scaled.scale(factor);
            assert_eq!(value(&scaled), value(&a) * factor);
        }
    }
}
