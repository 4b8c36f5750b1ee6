//! What a host hands in to unlock a vault.

use std::fmt;

use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

/// Hands out what unlocks a vault. The host implements it; it may ask a person, a file or a key
/// service, and is asked once for each call that needs it.
///
/// [`SecretPassword`] and [`SecretKey`] are sources themselves, for hosts that hold them anyway.
pub trait KeySource: Send + Sync {
    /// What unlocks the vault. Its error ends the call and is passed on as it is.
    fn unlock(&self) -> Result<Unlock>;
}

/// What unlocks a vault.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unlock {
    /// A password: Argon2id makes a key of it, which takes a while on purpose.
    Password(SecretPassword),
    /// A key: 32 random bytes, from a key service or a key file.
    Key(SecretKey),
}

/// A password. Zeroised when dropped; its `Debug` shows nothing.
///
/// Its exact bytes count: no blank is trimmed and no Unicode normalised.
pub struct SecretPassword {
    text: Zeroizing<String>,
}

impl SecretPassword {
    /// Longest password in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// The password `text`; it should not be kept elsewhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: Zeroizing::new(text.into()) }
    }

    /// Its bytes; `Invalid` if there are none, or more than [`BYTES_MAX`](Self::BYTES_MAX).
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

/// A key of 32 bytes. Zeroised when dropped; its `Debug` shows nothing.
pub struct SecretKey {
    /// Boxed, so that moving it leaves no copy on the stack.
    bytes: Box<Zeroizing<[u8; Self::BYTES]>>,
}

impl SecretKey {
    /// Length of a key in bytes.
    pub const BYTES: usize = 32;

    /// The key `bytes`, which must come from a good source of entropy: no password, no hash of
    /// one. They should not be kept elsewhere.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::from_slice(&bytes)
    }

    fn from_slice(bytes: &[u8; Self::BYTES]) -> Self {
        let mut key = Self { bytes: Box::new(Zeroizing::new([0; Self::BYTES])) };
        key.bytes.copy_from_slice(bytes);
        key
    }

    /// A key from `entropy`.
    pub fn draw(entropy: &dyn strongroom_base::component::Entropy) -> Result<Self> {
        let mut key = Self { bytes: Box::new(Zeroizing::new([0; Self::BYTES])) };
        entropy.fill(&mut key.bytes[..])?;
        Ok(key)
    }

    /// The subkey for the use that `context` names, by BLAKE3's key derivation.
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

    /// The same key, in a place of its own: secrets have no `Clone`, so that each copy is meant.
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
