//! The source of random bytes: the operating system in production, a seed in tests.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// A source of random bytes.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `bytes` with random bytes. `Unavailable` if the source fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

impl dyn Entropy + '_ {
    /// Draws `N` random bytes.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// The operating system's entropy, the only source outside tests.
#[derive(Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(clippy::disallowed_methods)] // The ban in clippy.toml names this component.
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes).map_err(|e| {
            Error::new(ErrorKind::Unavailable, "draw entropy").with_detail(e.to_string())
        })
    }
}

/// `ChaCha8` from a seed. The same seed draws the same bytes.
#[cfg(feature = "testing")]
pub struct SeededEntropy {
    stream: parking_lot::Mutex<rand_chacha::ChaCha8Rng>,
}

#[cfg(feature = "testing")]
impl SeededEntropy {
    /// Makes the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        use rand_chacha::rand_core::SeedableRng;
        Self { stream: parking_lot::Mutex::new(rand_chacha::ChaCha8Rng::seed_from_u64(seed)) }
    }
}

#[cfg(feature = "testing")]
impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededEntropy").finish_non_exhaustive()
    }
}

#[cfg(feature = "testing")]
impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        use rand_chacha::rand_core::Rng;
        self.stream.lock().fill_bytes(bytes);
        Ok(())
    }
}
