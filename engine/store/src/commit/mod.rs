//! Commits: one writer, one transaction, and the parts of features in it.
//!
//! [`Core`] joins state, objects and read epochs, and knows no feature. A feature takes part in
//! commits by a [`Hook`], which the vault registers when it opens. A hook adds rows to every
//! commit, and has effects after it. Data of one transaction is a typed value in [`Tx::parts`], or
//! a closure passed to [`Tx::on_commit`].
//!
//! - `core.rs`: [`Core`], its reads and writes. `close.rs`: its end.
//! - `tx.rs`: [`Tx`], all changes of one commit. `view.rs`: [`View`], a consistent read.
//! - `writer.rs`: one writer at a time. A [`Turn`] proves the right to write.
//! - `group.rs`: prepared work of many threads in one commit.
//! - `hook.rs`: [`Hook`], and [`Fence`], the check whether this state may still write and delete.
//! - `reclaim.rs`: deletion of unreferenced objects.

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
