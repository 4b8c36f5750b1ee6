//! Disks that break their promises.
//!
//! A crash test that passes proves something only if it would have failed on a program that
//! syncs too little. A defect makes the disk behave as under such a program, without a second,
//! broken copy of the program: it changes what survives, never what a running program sees.

/// What the disk does not do although it says so. See [`World::with_defect`](super::World::with_defect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// Neither a sync of a file nor one of a folder makes anything durable: a disk that lies
    /// about its cache, or a program that never syncs.
    LyingSync,
    /// The sync of a folder makes no name durable: a program that leaves it out.
    NoDirSync,
    /// A sync of a file before its first move, by a rename or a hard link, makes nothing
    /// durable: a program that moves a new file into place first and syncs it afterwards, or
    /// never. Syncs after the move count, files that never move sync as they should, and so do
    /// those of the base, which were in place already.
    ///
    /// Whether a file moves later is read from the whole journal, also past the power cut.
    LateSync,
}
