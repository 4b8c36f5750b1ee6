//! Argon2id (RFC 9106, version 0x13), which makes a key of a password.

use argon2::{Algorithm, Argon2, Params, Version};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::secret::{SecretKey, SecretPassword};

/// The cost of one attempt at a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCosts {
    /// Memory in total, not per lane, in KiB.
    pub memory_kib: u32,
    /// Number of passes over the memory.
    pub passes: u32,
    /// Number of independent parts.
    pub lanes: u32,
}

impl PasswordCosts {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
    ///
    /// New passwords need at least this memory and these passes.
    pub const RFC9106_SECOND: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// Negligible costs, for tests only.
    #[cfg(feature = "testing")]
    pub const FOR_TESTS: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };
}

impl Default for PasswordCosts {
    fn default() -> Self {
        Self::RFC9106_SECOND
    }
}

/// Most memory that a host may allow a foreign header to request: 4 GiB.
pub const MEMORY_KIB_MAX: u32 = 4 << 20;

/// Bounds for the costs that a header or the host requests.
///
/// They are checked before hashing begins.
#[derive(Clone, Copy, Debug)]
pub struct CostBounds {
    pub memory_kib_min: u32,
    pub memory_kib_max: u32,
}

const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;

impl CostBounds {
    /// Bounds of 19 MiB to 1 GiB.
    pub const DEFAULT: Self = Self { memory_kib_min: 19 << 10, memory_kib_max: 1 << 20 };

    /// Returns `Invalid` for costs out of bounds.
    pub fn check(self, costs: PasswordCosts, operation: &'static str) -> Result<()> {
        let within = |reason, what: &str, value: u32, min: u32, max: u32| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Invalid, operation).with_reason(reason).with_detail(format!(
                "the password's costs are {value} {what}; use {min} to {max}"
            )))
        };
        within(
            Reason::PasswordMemoryOutOfBounds,
            "KiB",
            costs.memory_kib,
            self.memory_kib_min,
            self.memory_kib_max,
        )?;
        within(Reason::PasswordCostsOutOfBounds, "passes", costs.passes, 1, PASSES_MAX)?;
        within(Reason::PasswordCostsOutOfBounds, "lanes", costs.lanes, 1, LANES_MAX)
    }
}

#[cfg(feature = "testing")]
thread_local! {
    static HASHED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Returns the number of passwords that this thread has hashed.
#[cfg(feature = "testing")]
pub fn passwords_hashed() -> u64 {
    HASHED.get()
}

/// Derives the key of `password` under `salt` and `costs`.
///
/// Argon2id binds the salt and the costs into the key.
pub fn hash(password: &SecretPassword, salt: &[u8], costs: PasswordCosts) -> Result<SecretKey> {
    let failed = |e: argon2::Error| {
        Error::new(ErrorKind::Unavailable, "hash password").with_detail(e.to_string())
    };
    #[cfg(feature = "testing")]
    HASHED.set(HASHED.get() + 1);
    let PasswordCosts { memory_kib, passes, lanes } = costs;
    let params = Params::new(memory_kib, passes, lanes, Some(SecretKey::BYTES)).map_err(failed)?;
    let mut key = SecretKey::new([0; SecretKey::BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.bytes()?, salt, key.expose_mut())
        .map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_out_of_bounds_are_refused_before_hashing() {
        let good = PasswordCosts::RFC9106_SECOND;
        CostBounds::DEFAULT.check(good, "test").unwrap();
        for bad in [
            PasswordCosts { memory_kib: (19 << 10) - 1, ..good },
            PasswordCosts { memory_kib: (1 << 20) + 1, ..good },
            PasswordCosts { passes: 0, ..good },
            PasswordCosts { passes: 65, ..good },
            PasswordCosts { lanes: 0, ..good },
            PasswordCosts { lanes: 17, ..good },
        ] {
            let error = CostBounds::DEFAULT.check(bad, "test").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }

    /// The reference implementation in C computed the expected bytes.
    #[test]
    fn recommended_option_matches_the_reference() {
        let password = SecretPassword::new("password");
        let key = hash(&password, b"somesaltsomesalt", PasswordCosts::RFC9106_SECOND).unwrap();
        let hex = blake3::Hash::from_bytes(*key.expose()).to_hex();
        assert_eq!(
            hex.as_str(),
            "81db97a7e67a891784a2599bc879f957cb3512d273984bd97d8a18fc59ff01e2"
        );
    }
}
