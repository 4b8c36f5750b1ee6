//! Secret sharing: what any `t` of `n` shares give back, and of which fewer tell nothing.
//!
//! Adi Shamir, "How to share a secret", 1979. A secret of 64 bytes is a number below 2^512, and
//! so an element of GF(p), p = 2^521 - 1. A polynomial of degree `t - 1` has it at zero and drawn
//! coefficients beside it; its values at 1, 2, .. `n` are the shares:
//!
//! ```text
//! f(x) = secret + a1 x + .. + a(t-1) x^(t-1)      share i = f(i)
//! ```
//!
//! `field.rs` is the element, and the sums which it is reduced from; `scheme.rs` splits and joins.
//! Nothing here draws a random number, allocates for an element or knows where a share is kept:
//! the caller draws the coefficients ([`Element::sample`]) and wipes what it holds. Shares are
//! not authenticated: a wrong one gives a wrong secret.
//!
//! No branch and no address depends on an element, neither here nor in what rustc 1.95 makes of
//! it for x86-64 ([`Element::sample`] tells of its one exception). What passes through registers
//! and the stack is not wiped.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod field;
mod scheme;
#[cfg(test)]
mod tests;

pub use field::{ELEMENT_BYTES, Element, SECRET_BYTES};
pub use scheme::{Joiner, SHARES_MAX, Scheme};
