//! Bugs to plant: in the beginning of a read, to prove that its two steps are in the right order;
//! and in the machine of operations and in the content store, to prove that their tests find them.

#[cfg(feature = "testing")]
use std::fmt;
#[cfg(feature = "testing")]
use std::sync::Arc;

/// Runs something between the two steps with which a read begins, its pin and its redb read, in
/// the right order or in the wrong one.
#[cfg(feature = "testing")]
#[derive(Clone)]
pub struct ReadPlant {
    between: Arc<dyn Fn() + Send + Sync>,
    wrong_order: bool,
}

#[cfg(feature = "testing")]
impl ReadPlant {
    /// Runs `between` after the pin and before the redb read.
    pub fn new(between: impl Fn() + Send + Sync + 'static) -> Self {
        Self { between: Arc::new(between), wrong_order: false }
    }

    /// The planted bug: begins the redb read first, and pins after `between`.
    pub fn in_wrong_order(mut self) -> Self {
        self.wrong_order = true;
        self
    }

    pub(super) fn begin<P, S, E>(
        &self,
        pin: impl FnOnce() -> P,
        read: impl FnOnce() -> Result<S, E>,
    ) -> Result<(P, S), E> {
        if self.wrong_order {
            let state = read()?;
            (self.between)();
            Ok((pin(), state))
        } else {
            let pin = pin();
            (self.between)();
            Ok((pin, read()?))
        }
    }
}

#[cfg(feature = "testing")]
impl fmt::Debug for ReadPlant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPlant").field("wrong_order", &self.wrong_order).finish_non_exhaustive()
    }
}

/// A bug in the machine of operations. Without feature `testing` nobody can plant one.
#[allow(unreachable_pub)] // By feature `testing` it is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachinePlant {
    /// None.
    #[default]
    None,
    /// Any state may follow any other.
    AnyStep,
    /// Resuming counts no try.
    UncountedTries,
    /// What has ended is listed as unfinished.
    KeepsListed,
    /// A handle that was fenced or has ended is not refused.
    NoFence,
}

/// A bug in the content store. Without feature `testing` nobody can plant one.
#[allow(unreachable_pub)] // By feature `testing` it is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentPlant {
    /// None.
    #[default]
    None,
    /// An upload takes its pin when it commits, after all of its look-ups.
    LatePin,
    /// An upload takes a chunk that was let go of for one that stays.
    FindsReleased,
}
