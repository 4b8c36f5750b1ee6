//! The allowed and the chosen costs of passwords.

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::password::{CostBounds, MEMORY_KIB_MAX, PasswordCosts};

/// Costs of new passwords, and bounds of costs in a header.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// Costs of new passwords.
    pub costs: PasswordCosts,
    /// Lower bound of the costs of new passwords.
    pub(crate) floor: PasswordCosts,
    /// Bounds for the costs that a header requests.
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
    /// Makes a policy with negligible costs.
    #[cfg(feature = "testing")]
    pub fn for_tests() -> Self {
        let costs = PasswordCosts::FOR_TESTS;
        let bounds = CostBounds { memory_kib_min: costs.memory_kib, ..CostBounds::DEFAULT };
        Self { costs, floor: costs, bounds }
    }

    /// Replaces the costs, if others are given.
    pub fn with(self, costs: Option<PasswordCosts>) -> Self {
        Self { costs: costs.unwrap_or(self.costs), ..self }
    }

    /// Returns the costs of new passwords, if the policy allows them.
    pub fn checked(self) -> Result<PasswordCosts> {
        const CONFIGURE: &str = "configure vault";
        if self.bounds.memory_kib_max > MEMORY_KIB_MAX {
            return Err(Error::new(ErrorKind::Invalid, CONFIGURE)
                .with_reason(Reason::PasswordCostsOutOfBounds)
                .with_detail(format!(
                    "the bound for password hashing is {} KiB, the limit is {MEMORY_KIB_MAX}",
                    self.bounds.memory_kib_max
                )));
        }
        let PasswordPolicy { costs, floor, .. } = self;
        if costs.memory_kib < floor.memory_kib || costs.passes < floor.passes {
            return Err(Error::new(ErrorKind::Invalid, CONFIGURE)
                .with_reason(Reason::PasswordCostsOutOfBounds)
                .with_detail(format!(
                    "the password's costs are {} KiB and {} passes; use at least {} and {}",
                    costs.memory_kib, costs.passes, floor.memory_kib, floor.passes
                )));
        }
        self.bounds.check(costs, CONFIGURE).map(|()| costs)
    }
}
