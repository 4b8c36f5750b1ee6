//! The life of a vault, from opening to close.
//!
//! [`VaultOptions`](crate::VaultOptions) takes a [`LockPolicy`]; a vault that is in use is refused
//! with [`LockRefused`], which names the [`Holder`]. [`Recovery`] reports what opening found, with
//! [`TakenOver`] where content changed hands. [`VaultInfo`] and [`CompactReport`] describe an open
//! vault.

// - `options.rs`: the builder; every component can be replaced there.
// - `folder.rs`: the vault's folder. `lock.rs`: one process at a time.
// - `lifecycle.rs`: create, open, recover, close. `report.rs`: what open found.
// - `handle.rs`: the handle, which puts the rooms together. `custody.rs`: its keys, and whether
//   its state is the one that counts.
// - `keys.rs`: who may open it, and the new file under new keys. `key_copy.rs`: its copy on the
//   backend, which witnesses the state's age.
// - `owner.rs`: who has its content, on a store that hosts share.
// - `check/`: is everything there; `survey.rs`: what is there when the state is lost.

pub(crate) mod check;
mod custody;
mod folder;
pub(crate) mod handle;
mod key_copy;
pub(crate) mod keys;
mod lifecycle;
mod lock;
pub(crate) mod options;
mod owner;
mod report;
pub(crate) mod survey;
mod upkeep;

pub use handle::CompactReport;
pub use lock::{Holder, LockPolicy, LockRefused};
pub use report::{Recovery, TakenOver, VaultInfo};
