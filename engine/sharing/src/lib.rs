//! Secret sharing: any `t` of `n` shares restore a secret, and fewer reveal nothing.
//!
//! Adi Shamir, "How to share a secret", 1979. A secret of 64 bytes is a number below 2^512, and so
//! an element of GF(p), p = 2^521 - 1. A polynomial of degree `t - 1` has the secret as its value
//! at zero, and random coefficients. Its values at 1, 2, .. `n` are the shares:
//!
//! ```text
//! f(x) = secret + a1 x + .. + a(t-1) x^(t-1)      share i = f(i)
//! ```
//!
//! `field.rs` has the elements and the sums from which they are reduced; `scheme.rs` splits and
//! joins. This crate draws no random number, allocates nothing for an element, and does not know
//! where a share is stored. The caller draws the coefficients ([`Element::sample`]) and wipes its
//! values. Shares are not authenticated: a wrong one gives a wrong secret.
//!
//! No branch and no address depends on an element, neither in this source nor in the code that
//! rustc 1.95 generates for x86-64. [`Element::sample`] documents the one exception. Registers and
//! stack memory are not wiped.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod field;
mod scheme;
#[cfg(test)]
mod tests;

pub use field::{ELEMENT_BYTES, Element, SECRET_BYTES};
pub use scheme::{Joiner, SHARES_MAX, Scheme};
