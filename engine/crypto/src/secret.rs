//! The secrets that a host passes to unlock a vault.

use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

/// A provider of secrets that unlock a vault.
///
/// The host implements it, and may ask a person, a file or a key service. It is called once for
/// each call that needs a secret.
///
/// [`SecretPassword`] and [`SecretKey`] are sources themselves, for hosts that have them in memory.
pub trait KeySource: Send + Sync {
    /// Returns the secret. An error ends the call and is passed on unchanged.
    fn unlock(&self) -> Result<Unlock>;
}

/// A secret that unlocks a vault.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unlock {
    /// A password. Argon2id makes a key of it, which is slow on purpose.
    Password(SecretPassword),
    /// A key: 32 random bytes, from a key service or a key file.
    Key(SecretKey),
}

/// A password. It is zeroised when dropped, and its `Debug` shows nothing.
///
/// Its exact bytes count: blanks are not trimmed, and Unicode is not normalised.
pub struct SecretPassword {
    text: Zeroizing<String>,
}

impl SecretPassword {
    /// Longest password in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Makes a password of `text`. Keep no other copy of it.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: Zeroizing::new(text.into()) }
    }

    /// Returns the bytes; `Invalid` if there are none, or more than [`BYTES_MAX`](Self::BYTES_MAX).
    pub fn bytes(&self) -> Result<&[u8]> {
        let invalid = |detail: String| {
            Err(Error::new(ErrorKind::Invalid, "read password")
                .with_reason(Reason::PasswordLengthInvalid)
                .with_detail(detail))
        };
        match self.text.len() {
            0 => invalid("the password is empty".into()),
            len if len > Self::BYTES_MAX => {
                invalid(format!("the password has {len} bytes, the limit is {}", Self::BYTES_MAX))
            }
            _ => Ok(self.text.as_bytes()),
        }
    }
}

impl fmt::Debug for SecretPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretPassword(..)")
    }
}

impl KeySource for SecretPassword {
    fn unlock(&self) -> Result<Unlock> {
        Ok(Unlock::Password(Self { text: self.text.clone() }))
    }
}

/// A key of 32 bytes. It is zeroised when dropped, and its `Debug` shows nothing.
pub struct SecretKey {
    /// Boxed, so that a move leaves no copy on the stack.
    bytes: Box<Zeroizing<[u8; Self::BYTES]>>,
}

impl SecretKey {
    /// Length of a key in bytes.
    pub const BYTES: usize = 32;

    /// Makes a key of `bytes`, which must be random.
    ///
    /// A password, or a hash of one, is not such a source. Keep no other copy of the bytes.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::from_slice(&bytes)
    }

    fn from_slice(bytes: &[u8; Self::BYTES]) -> Self {
        let mut key = Self { bytes: Box::new(Zeroizing::new([0; Self::BYTES])) };
        key.bytes.copy_from_slice(bytes);
        key
    }

    /// Draws a key from `entropy`.
    pub fn draw(entropy: &dyn strongroom_base::component::Entropy) -> Result<Self> {
        let mut key = Self { bytes: Box::new(Zeroizing::new([0; Self::BYTES])) };
        entropy.fill(&mut key.bytes[..])?;
        Ok(key)
    }

    /// Derives the subkey for the use in `context`, by BLAKE3.
    pub fn derive(&self, context: &str, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.bytes[..]);
        hasher.update(salt);
        let mut key = Self { bytes: Box::new(Zeroizing::new([0; Self::BYTES])) };
        hasher.finalize_xof().fill(&mut key.bytes[..]);
        zeroize::Zeroize::zeroize(&mut hasher);
        key
    }

    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }

    pub fn expose_mut(&mut self) -> &mut [u8; Self::BYTES] {
        &mut self.bytes
    }

    /// Copies the key. Secrets have no `Clone`, so that each copy is deliberate.
    pub fn duplicate(&self) -> Self {
        Self::from_slice(&self.bytes)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl KeySource for SecretKey {
    fn unlock(&self) -> Result<Unlock> {
        Ok(Unlock::Key(self.duplicate()))
    }
}
