//! Where the vault's keys come from.
//!
//! `create` and `open` ask a [`KeySource`]. There is no unencrypted mode: the only way around a
//! key is the development format of the test kit, and it exists only under feature `testing`.

use std::fmt;

use strongroom_backends::Result;

/// Hands out what unlocks a vault. The host implements it; it may ask a person, a file or a key
/// service, and is asked once for each `create` and `open`.
pub trait KeySource: Send + Sync {
    /// What unlocks the vault. Its error ends the call and is passed on as it is.
    fn unlock(&self) -> Result<Unlock>;
}

/// What unlocks a vault.
#[non_exhaustive]
pub enum Unlock {
    /// Nothing: format 0, unsealed, for development only.
    #[cfg(feature = "testing")]
    Unsealed,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlock")
    }
}

/// The key source of format 0, which has no keys. Only under feature `testing`.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsealed;

#[cfg(feature = "testing")]
impl KeySource for Unsealed {
    fn unlock(&self) -> Result<Unlock> {
        Ok(Unlock::Unsealed)
    }
}
