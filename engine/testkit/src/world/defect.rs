//! Disks that break their promises.
//!
//! A passing crash test proves something only if it would fail for a program that syncs too little.
//! A defect makes the disk behave as it would under such a program, without a second, broken copy
//! of the program. It changes what survives, never what a running program sees.

/// A promise that the disk breaks. See [`World::with_defect`](super::World::with_defect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// No sync of a file or folder makes anything durable: a disk that ignores syncs, or a program
    /// that never syncs.
    SyncWithoutEffect,
    /// The sync of a folder makes no name durable: a program that omits it.
    NoDirSync,
    /// A sync before a file's first rename or link has no effect: a program that moves a new file
    /// into place first and syncs it later, or never.
    ///
    /// Later syncs work, syncs of files that never move work, and so do those of files that were in
    /// place at the beginning. The whole journal decides whether a file moves later, also past the
    /// power cut.
    LateSync,
}
