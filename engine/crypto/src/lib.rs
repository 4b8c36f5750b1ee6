//! Keys: who may open a vault, and the keys that seal its bytes.
//!
//! ```text
//! password --Argon2id--.
//!                       >- slot key --wraps--> root key --wraps--> state key   (the state file)
//! 32-byte key ---------'   (up to 8 slots)                   |---> id key      (names, chunk ids)
//!                                                            '---> epoch keys  (content)
//! ```
//!
//! Secrets of the host and rows of the header are separate types. A [`KeySource`] returns an
//! [`Unlock`], a slot turns it into the root key, and a [`KeySet`] is all that this opens. This
//! crate accesses no file; `vault/keys.rs` writes the bytes that [`KeySet`] encodes.
//!
//! No primitive is our own: Argon2id (RFC 9106), BLAKE3 `derive_key` with a separate context for
//! each use, XChaCha20-Poly1305 and AES-256-GCM-SIV (RFC 8452), all from their crates. Secrets have
//! no `Clone`, print as nothing, and are zeroised when dropped.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

mod password;
mod policy;
mod ring;
mod seal;
mod secret;
mod set;
mod slot;

pub use password::PasswordCosts;
#[cfg(feature = "testing")]
pub use password::passwords_hashed;
pub use password::{CostBounds, MEMORY_KIB_MAX, hash as hash_password};
pub use policy::PasswordPolicy;
pub use seal::Cipher;
pub use seal::{NONCE_BYTES, SealKey, TAG_BYTES};
pub use secret::{KeySource, SecretKey, SecretPassword, Unlock};
pub use set::{ContentKeys, KeySet, NewSlot, find};
pub use slot::Wrapping;
pub use slot::{KEY_LABEL_BYTES_MAX, KEYS_MAX, KeyId, KeyInfo, KeyKind};
