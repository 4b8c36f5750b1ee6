//! The commit: one writer, one transaction, and what goes along with each.
//!
//! [`Core`] joins state, objects and read read epochs, and knows no feature. A feature takes part in commits
//! by a [`Hook`], which the vault registers when it opens: rows that go along with every commit, and
//! effects once it has happened. What belongs to one transaction alone is a typed value in
//! [`Tx::parts`], or a closure given to [`Tx::on_commit`].
//!
//! - `core.rs`: [`Core`], its reads and writes. `close.rs`: how it ends.
//! - `tx.rs`: [`Tx`], all changes of one commit. `view.rs`: [`View`], a consistent read.
//! - `writer.rs`: the one writer at a time; its [`Turn`] is the proof that a function asks for.
//! - `group.rs`: prepared work of many threads in one commit.
//! - `hook.rs`: [`Hook`], and [`Fence`], which says whether this state may still write and delete.
//! - `reclaim.rs`: deleting objects that nothing refers to.

mod close;
mod core;
mod group;
mod hook;
mod reclaim;
mod tx;
mod view;
mod writer;

pub use self::core::{Components, Core, CoreParts};
pub use group::Work;
pub use hook::{Ending, Fence, Hook};
pub use tx::{CommitInfo, Parts, Tx};
pub use view::View;
pub use writer::Turn;
