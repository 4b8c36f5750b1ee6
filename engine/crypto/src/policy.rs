//! What an attempt at a password shall cost, and may.

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::password::{CostBounds, MEMORY_KIB_MAX, PasswordCosts};

/// What passwords cost: those that are added, and those that a header asks for.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// Those that are added.
    pub costs: PasswordCosts,
    /// The least of the above.
    pub(crate) floor: PasswordCosts,
    /// Those that a header may ask for.
    pub bounds: CostBounds,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            costs: PasswordCosts::RFC9106_SECOND,
            floor: PasswordCosts::RFC9106_SECOND,
            bounds: CostBounds::DEFAULT,
        }
    }
}

impl PasswordPolicy {
    /// Passwords that cost next to nothing.
    #[cfg(feature = "testing")]
    pub fn for_tests() -> Self {
        let costs = PasswordCosts::FOR_TESTS;
        let bounds = CostBounds { memory_kib_min: costs.memory_kib, ..CostBounds::DEFAULT };
        Self { costs, floor: costs, bounds }
    }

    /// With other costs, if they are told.
    pub fn with(self, costs: Option<PasswordCosts>) -> Self {
        Self { costs: costs.unwrap_or(self.costs), ..self }
    }

    /// The costs of passwords that are added, if they are within what the policy allows.
    pub fn checked(self) -> Result<PasswordCosts> {
        const CONFIGURE: &str = "configure vault";
        if self.bounds.memory_kib_max > MEMORY_KIB_MAX {
            return Err(Error::new(ErrorKind::Invalid, CONFIGURE)
                .with_reason(Reason::PasswordCostsOutOfBounds)
                .with_detail(format!(
                    "password hashing with up to {} KiB, the limit is {MEMORY_KIB_MAX}",
                    self.bounds.memory_kib_max
                )));
        }
        let PasswordPolicy { costs, floor, .. } = self;
        if costs.memory_kib < floor.memory_kib || costs.passes < floor.passes {
            return Err(Error::new(ErrorKind::Invalid, CONFIGURE)
                .with_reason(Reason::PasswordCostsOutOfBounds)
                .with_detail(format!(
                    "password hashing with {} KiB and {} passes, not at least {} and {}",
                    costs.memory_kib, costs.passes, floor.memory_kib, floor.passes
                )));
        }
        self.bounds.check(costs, CONFIGURE).map(|()| costs)
    }
}
