//! Bugs that tests plant to prove that they detect them.
//!
//! Production code asks [`is_planted`] at the place of a bug. Without feature `testing` the result
//! is a constant `false`, so a build contains nothing of a bug. With it, `plant` breaks the code
//! for the calling thread until its result is dropped, so tests of one process do not disturb each
//! other. A thread that works for another one inherits its bugs by [`carry`].
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use strongroom_base::bug::{self, Bug};
//!
//! let planted = bug::plant(Bug::NoFence);
//! assert!(bug::is_planted(Bug::NoFence));
//! drop(planted);
//! assert!(!bug::is_planted(Bug::NoFence));
//! # }
//! ```

#[cfg(feature = "testing")]
pub use planted::{At, Planted, at, carry, is_planted, plant, reached};
#[cfg(not(feature = "testing"))]
pub use sound::{carry, is_planted, reached};

/// A bug, named after the safety argument that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Bug {
    /// redb's page 0 has one copy, which a power cut can tear.
    ///
    /// It is rewritten in place.
    SingleSuperHeader,
    /// Torn blocks are errors even during redb's repair, which expects them.
    NoLeniency,
    /// Blocks have four pages, so writing one page rewrites live neighbours.
    LargerBlocks,
    /// A refused move of a ref counts as lost, without a check.
    NoAttemptIds,
    /// A read begins in redb before its read epoch is registered.
    ///
    /// A clean-up may happen in between.
    ReadBeforeEpoch,
    /// Any state of an operation may follow any other.
    AnyStep,
    /// Resuming an operation counts no try.
    UncountedTries,
    /// An ended operation stays listed as unfinished.
    KeepsListed,
    /// A fenced or ended handle is not refused.
    NoFence,
    /// An upload registers its read epoch late, when it commits.
    ///
    /// All of its look-ups come before that.
    LateEpoch,
    /// An upload counts on a released chunk.
    FindsReleased,
    /// The model's driver omits a removal that follows an insert.
    DriverSkipsRemoval,
    /// The model's driver omits the data of a checkpoint by batch.
    DriverSkipsBatchData,
}

/// The functions of a build without bugs.
#[cfg(not(feature = "testing"))]
mod sound {
    use super::Bug;

    /// Returns `false`, because only feature `testing` can plant a bug.
    #[inline]
    pub const fn is_planted(_: Bug) -> bool {
        false
    }

    /// Does nothing, because only feature `testing` can step in.
    #[inline]
    pub const fn reached(_: Bug) {}

    /// Returns `work` unchanged, because there are no bugs to inherit.
    #[inline]
    pub fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
        work
    }
}

#[cfg(feature = "testing")]
mod planted {
    use std::cell::RefCell;
    use std::fmt;
    use std::marker::PhantomData;
    use std::rc::Rc;

    use super::Bug;

    type Step = Rc<dyn Fn()>;

    thread_local! {
        /// The bugs of this thread. A bug is listed as often as it was planted.
        static PLANTED: RefCell<Vec<Bug>> = const { RefCell::new(Vec::new()) };
        /// Steps of this thread, each with the bug that triggers it.
        static STEPS: RefCell<Vec<(Bug, Step)>> = const { RefCell::new(Vec::new()) };
    }

    /// Returns whether `bug` is planted in this thread.
    pub fn is_planted(bug: Bug) -> bool {
        // An ending thread may lose its list before its last handle is dropped.
        PLANTED.try_with(|planted| planted.borrow().contains(&bug)).unwrap_or(false)
    }

    /// Plants `bug` in this thread until the result is dropped.
    #[must_use = "dropped at once, the bug is gone again"]
    pub fn plant(bug: Bug) -> Planted {
        PLANTED.with(|planted| planted.borrow_mut().push(bug));
        Planted { bugs: vec![bug], of_thread: PhantomData }
    }

    /// Bugs that are planted in a thread until this is dropped.
    #[derive(Debug)]
    pub struct Planted {
        bugs: Vec<Bug>,
        /// Keeps the value on its thread.
        of_thread: PhantomData<*const ()>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            let remove = |planted: &RefCell<Vec<Bug>>| {
                let mut planted = planted.borrow_mut();
                for bug in &self.bugs {
                    if let Some(at) = planted.iter().rposition(|found| found == bug) {
                        planted.remove(at);
                    }
                }
            };
            PLANTED.try_with(remove).ok();
        }
    }

    /// Gives `work` the bugs of this thread, for another thread to run.
    pub fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
        let bugs = PLANTED.try_with(|planted| planted.borrow().clone()).unwrap_or_default();
        move || {
            PLANTED.with(|planted| planted.borrow_mut().extend(&bugs));
            let _planted = Planted { bugs, of_thread: PhantomData };
            work()
        }
    }

    /// Runs `step` whenever this thread reaches `bug`, planted or not.
    ///
    /// The place of a bug that swaps two steps is between them. A step that reaches the place
    /// itself does not run again.
    #[must_use = "dropped at once, the step never runs"]
    pub fn at(bug: Bug, step: impl Fn() + 'static) -> At {
        let step: Step = Rc::new(step);
        STEPS.with(|steps| steps.borrow_mut().push((bug, Rc::clone(&step))));
        At { step }
    }

    /// A step that runs at a bug's location, until dropped.
    pub struct At {
        step: Step,
    }

    impl fmt::Debug for At {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("At").finish_non_exhaustive()
        }
    }

    impl Drop for At {
        fn drop(&mut self) {
            let remove = |steps: &RefCell<Vec<(Bug, Step)>>| {
                steps.borrow_mut().retain(|(_, step)| !Rc::ptr_eq(step, &self.step));
            };
            STEPS.try_with(remove).ok();
        }
    }

    /// Runs the steps that a test registered for the place of `bug`.
    pub fn reached(bug: Bug) {
        // Taken out meanwhile, because a step may reach this place itself.
        let steps = STEPS.try_with(RefCell::take).unwrap_or_default();
        if steps.is_empty() {
            return;
        }
        for (_, step) in steps.iter().filter(|(at, _)| *at == bug) {
            step();
        }
        STEPS.try_with(|now| now.borrow_mut().extend(steps)).ok();
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const BUG: Bug = Bug::NoFence;

    #[test]
    fn nested_plants_of_one_bug_end_with_the_outermost() {
        let outer = plant(BUG);
        let inner = plant(BUG);
        drop(outer);
        assert!(is_planted(BUG) && !is_planted(Bug::AnyStep));
        drop(inner);
        assert!(!is_planted(BUG));
    }

    #[test]
    fn panic_removes_a_planted_bug() {
        let panicked = std::panic::catch_unwind(|| {
            let _bug = plant(BUG);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.is_err() && !is_planted(BUG));
    }

    #[test]
    fn carried_bugs_act_in_another_thread() {
        let _bug = plant(BUG);
        let carried = carry(|| is_planted(BUG));
        let seen = std::thread::scope(|scope| {
            let after = || (is_planted(BUG), carried(), is_planted(BUG));
            scope.spawn(after).join().unwrap()
        });
        assert_eq!(seen, (false, true, false));
    }

    #[test]
    fn step_runs_at_its_point_but_not_recursively() {
        let count = Rc::new(Cell::new(0));
        let own = Rc::clone(&count);
        let step = at(BUG, move || {
            own.set(own.get() + 1);
            reached(BUG);
        });
        reached(Bug::AnyStep);
        reached(BUG);
        reached(BUG);
        assert_eq!(count.get(), 2);
        drop(step);
        reached(BUG);
        assert_eq!(count.get(), 2);
    }
}
