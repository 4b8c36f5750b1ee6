//! The life of a vault, from opening to close.
//!
//! [`VaultOptions`](crate::VaultOptions) takes a [`LockPolicy`]. A vault that is in use is refused
//! with [`LockRefused`], which names the [`Holder`]. [`Recovery`] reports what opening a vault
//! found and repaired, with [`TakenOver`] after a take-over of content. [`VaultInfo`] and
//! [`CompactReport`] describe an open vault.

// - `options.rs`: the builder; every component can be replaced there.
// - `folder.rs`: the vault's folder. `lock.rs`: the lock that admits one process at a time.
// - `lifecycle.rs`: create, open, recover, close. `report.rs`: reports of opening and of the vault.
//   `upkeep.rs`: periodic upkeep.
// - `handle.rs`: the handle, which assembles the parts of the vault. `custody.rs`: its keys, and
//   whether this session may still write.
// - `keys.rs`: changes of the key set, and rotation. `key_copy.rs`: the key copy on the backend,
//   which shows when the state file is too old.
// - `owner.rs`: the content owner of a vault on a store.
// - `check/`: checks all rows and objects. `survey.rs`: lists a store's content when the state is
//   lost.

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
