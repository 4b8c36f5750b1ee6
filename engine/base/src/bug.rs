//! Bugs that tests plant, to prove that the tests notice them.
//!
//! Production code asks [`is_planted`] at the place that a bug is about. Without feature `testing`
//! the answer is a constant `false`, so nothing of a bug is compiled in. With it `plant` breaks
//! the code for the calling thread, as long as its answer lives: tests of one process do not
//! disturb each other. A thread that works for another inherits its bugs by [`carry`].
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

/// A bug, named after the line of thought that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Bug {
    /// redb's page 0 has one copy, rewritten in place: a power cut may tear it.
    SingleSuperHeader,
    /// A torn block is an error even inside redb's repair, which expects such blocks.
    NoLeniency,
    /// Blocks of four pages: a write of one page rewrites its live neighbours.
    LargerBlocks,
    /// A refused attempt to move a ref counts as lost, without a look at who has won.
    NoAttemptIds,
    /// A read begins in redb before it takes its read epoch: a clean-up may come between.
    ReadBeforeEpoch,
    /// Any state of an operation may follow any other.
    AnyStep,
    /// Resuming an operation counts no try.
    UncountedTries,
    /// An operation that has ended stays listed as unfinished.
    KeepsListed,
    /// A handle that was fenced, or has ended, is not refused.
    NoFence,
    /// An upload takes its read epoch when it commits, after all of its look-ups.
    LateEpoch,
    /// An upload counts on a chunk that nothing refers to any more.
    FindsReleased,
    /// The model test's driver leaves out a removal that follows an insert.
    DriverSkipsRemoval,
    /// The model test's driver leaves out the data of a checkpoint by batch.
    DriverSkipsBatchData,
}

/// The answers of a build without bugs.
#[cfg(not(feature = "testing"))]
mod sound {
    use super::Bug;

    /// Returns `false`: only feature `testing` can plant a bug.
    #[inline]
    pub const fn is_planted(_: Bug) -> bool {
        false
    }

    /// Does nothing: only feature `testing` can step in.
    #[inline]
    pub const fn reached(_: Bug) {}

    /// Returns `work` as it is: there are no bugs to inherit.
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
        /// The bugs of this thread, one as often as it was planted.
        static PLANTED: RefCell<Vec<Bug>> = const { RefCell::new(Vec::new()) };
        /// Steps of this thread, each with the bug at whose place it runs.
        static STEPS: RefCell<Vec<(Bug, Step)>> = const { RefCell::new(Vec::new()) };
    }

    /// Tells whether `bug` is planted in this thread.
    pub fn is_planted(bug: Bug) -> bool {
        // A thread that ends may have lost its set before its last handle.
        PLANTED.try_with(|planted| planted.borrow().contains(&bug)).unwrap_or(false)
    }

    /// Plants `bug` in this thread until the answer is dropped.
    #[must_use = "dropped at once, the bug is gone again"]
    pub fn plant(bug: Bug) -> Planted {
        PLANTED.with(|planted| planted.borrow_mut().push(bug));
        Planted { bugs: vec![bug], of_thread: PhantomData }
    }

    /// Bugs that are planted in a thread; dropped, they are gone.
    #[derive(Debug)]
    pub struct Planted {
        bugs: Vec<Bug>,
        /// It stays on its thread.
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

    /// Runs `step` wherever this thread comes to the place of `bug`, planted or not.
    ///
    /// For a bug that swaps two steps that place is between them. A step that comes there itself
    /// does not run again within.
    #[must_use = "dropped at once, the step never runs"]
    pub fn at(bug: Bug, step: impl Fn() + 'static) -> At {
        let step: Step = Rc::new(step);
        STEPS.with(|steps| steps.borrow_mut().push((bug, Rc::clone(&step))));
        At { step }
    }

    /// A step that runs at the place of a bug; dropped, it runs no more.
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

    /// Runs what a test has this thread do at the place of `bug`.
    pub fn reached(bug: Bug) {
        // Taken out meanwhile, so that a step may come by here itself.
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
    fn nested_plants_of_one_bug_end_with_the_last() {
        let outer = plant(BUG);
        let inner = plant(BUG);
        drop(outer);
        assert!(is_planted(BUG) && !is_planted(Bug::AnyStep));
        drop(inner);
        assert!(!is_planted(BUG));
    }

    #[test]
    fn a_bug_is_gone_after_a_panic() {
        let panicked = std::panic::catch_unwind(|| {
            let _bug = plant(BUG);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.is_err() && !is_planted(BUG));
    }

    #[test]
    fn another_thread_has_the_bugs_that_are_carried_to_it() {
        let _bug = plant(BUG);
        let carried = carry(|| is_planted(BUG));
        let seen = std::thread::scope(|scope| {
            let after = || (is_planted(BUG), carried(), is_planted(BUG));
            scope.spawn(after).join().unwrap()
        });
        assert_eq!(seen, (false, true, false));
    }

    #[test]
    fn a_step_runs_at_its_place_and_not_within_itself() {
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
