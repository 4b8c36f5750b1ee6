//! Numbers modulo p = 2^521 - 1, as an attacker computes them.
//!
//! The arithmetic does not run in constant time. It shares no code with the engine's field, so a
//! mistake in one shows in the other.
//!
//! Searches first compare the upper 64 of a number's 521 bits. In a sum with small integer weights
//! the upper bits are off by at most the sum of the weights. So they still give 54 to 60 bits of
//! certainty. Sums that pass are computed exactly.

pub(crate) const LIMBS: usize = 9;
const TOP_BITS: u32 = 9;
const TOP_MASK: u64 = (1 << TOP_BITS) - 1;

/// An integer below p; limbs of 64 bits, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) [u64; LIMBS]);

impl Number {
    pub(crate) const ZERO: Self = Self([0; LIMBS]);

    pub(crate) fn small(number: u64) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[0] = number;
        Self(limbs)
    }

    /// Returns the lower 521 bits of 66 bytes, the lowest byte first.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let mut limbs = [0; LIMBS];
        for (at, byte) in bytes[..66].iter().enumerate() {
            limbs[at / 8] |= u64::from(*byte) << (at % 8 * 8);
        }
        limbs[LIMBS - 1] &= TOP_MASK;
        Self::folded(limbs, 0)
    }

    /// Returns the lower 512 bits as bytes, lowest first.
    ///
    /// Returns `None` if the upper bits are not zero.
    pub(crate) fn secret(&self) -> Option<[u8; 64]> {
        let bytes = std::array::from_fn(|at| self.0[at / 8].to_le_bytes()[at % 8]);
        (self.0[LIMBS - 1] == 0).then_some(bytes)
    }

    /// Returns the upper 64 of the number's 521 bits.
    pub(crate) fn upper(&self) -> u64 {
        self.0[LIMBS - 1] << (64 - TOP_BITS) | self.0[LIMBS - 2] >> TOP_BITS
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Returns `limbs` plus `over` times 2^576, modulo p. `over` is small.
    fn folded(mut limbs: [u64; LIMBS], over: u64) -> Self {
        let mut above = over << (64 - TOP_BITS) | limbs[LIMBS - 1] >> TOP_BITS;
        limbs[LIMBS - 1] &= TOP_MASK;
        while above > 0 {
            let mut carry = above;
            for limb in &mut limbs {
                let (sum, overflows) = limb.overflowing_add(carry);
                *limb = sum;
                carry = u64::from(overflows);
            }
            above = limbs[LIMBS - 1] >> TOP_BITS;
            limbs[LIMBS - 1] &= TOP_MASK;
        }
        let is_p =
            limbs[LIMBS - 1] == TOP_MASK && limbs[..LIMBS - 1].iter().all(|&l| l == u64::MAX);
        if is_p { Self::ZERO } else { Self(limbs) }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut limbs = self.0;
        let mut carry = false;
        for (limb, &more) in limbs.iter_mut().zip(&other.0) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first | second);
        }
        Self::folded(limbs, 0)
    }

    pub(crate) fn negative(&self) -> Self {
        let mut limbs = self.0.map(|limb| !limb);
        limbs[LIMBS - 1] &= TOP_MASK;
        Self::folded(limbs, 0)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negative())
    }

    /// Returns the number times `weight`, whose absolute value is below 2^55.
    pub(crate) fn scaled(&self, weight: i64) -> Self {
        let mut limbs = self.0;
        let mut carry = 0;
        for limb in &mut limbs {
            (*limb, carry) = multiply_add(*limb, weight.unsigned_abs(), carry, 0);
        }
        let scaled = Self::folded(limbs, carry);
        if weight < 0 { scaled.negative() } else { scaled }
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut product = [0; 2 * LIMBS];
        for (i, &factor) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, &own) in other.0.iter().enumerate() {
                (product[i + j], carry) = multiply_add(own, factor, product[i + j], carry);
            }
            product[i + LIMBS] = carry;
        }
        let mut low = [0; LIMBS];
        low.copy_from_slice(&product[..LIMBS]);
        low[LIMBS - 1] &= TOP_MASK;
        let above = |at: usize| product[at] >> TOP_BITS | product[at + 1] << (64 - TOP_BITS);
        let high = std::array::from_fn(|at| above(LIMBS - 1 + at));
        Self(low).plus(&Self(high))
    }

    /// Returns the power p - 2, which is 2^521 - 3: 519 ones, then 01.
    pub(crate) fn inverse(&self) -> Self {
        let mut power = *self;
        for _ in 1..519 {
            power = power.times(&power).times(self);
        }
        power = power.times(&power);
        power.times(&power).times(self)
    }
}

/// Returns the halves of `a b + c + d`, the lower first.
fn multiply_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let wide = u128::from(a) * u128::from(b) + u128::from(c) + u128::from(d);
    #[allow(clippy::cast_possible_truncation)] // Splits the halves.
    (wide as u64, (wide >> 64) as u64)
}

/// Returns a sum of numbers with small weights.
pub(crate) fn weighted<const N: usize>(numbers: [&Number; N], weights: [i64; N]) -> Number {
    let mut sum = Number::ZERO;
    for (number, weight) in numbers.into_iter().zip(weights) {
        sum = sum.plus(&number.scaled(weight));
    }
    sum
}

/// Returns the same sum of their upper bits, modulo 2^64.
pub(crate) fn weighted_upper<const N: usize>(upper: [u64; N], weights: [i64; N]) -> u64 {
    let mut sum = 0_u64;
    for (upper, weight) in upper.into_iter().zip(weights) {
        sum = sum.wrapping_add(upper.wrapping_mul(weight.cast_unsigned()));
    }
    sum
}

#[test]
fn attacker_arithmetic_obeys_the_field_laws() {
    let entropy = crate::entropy(1);
    let draw = || {
        use strongroom::backends::component::Entropy;
        let mut bytes = [0; 66];
        entropy.fill(&mut bytes).unwrap();
        Number::of_bytes(&bytes)
    };
    let one = Number::small(1);
    let largest = one.negative();
    assert_eq!(Number::of_bytes(&[255; 66]), Number::ZERO, "p is not zero");
    assert_eq!(largest.times(&largest), one);
    for _ in 0..200 {
        let (a, b, c) = (draw(), draw(), draw());
        assert_eq!(a.times(&a.inverse()), one);
        assert_eq!(a.plus(&b).times(&c), a.times(&c).plus(&b.times(&c)));
        assert_eq!(a.minus(&b).plus(&b), a);
        assert_eq!(a.plus(&largest).plus(&one), a);
        assert_eq!(
            weighted([&a, &b], [7, -5]),
            a.times(&Number::small(7)).minus(&b.times(&Number::small(5)))
        );
        let upper = weighted_upper([a.upper(), b.upper()], [7, -5]);
        let exact = weighted([&a, &b], [7, -5]).upper();
        assert!(upper.wrapping_sub(exact).wrapping_add(13) <= 26);
    }
}
