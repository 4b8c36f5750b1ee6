//! The vault: the handle that hosts hold, and its life from creation to close.
//!
//! - `options.rs`: the builder; every component can be replaced there.
//! - `folder.rs`: the vault's folder. `lock.rs`: one process at a time.
//! - `lifecycle.rs`: create, open, recover, close. `report.rs`: what open found.
//! - `handle.rs`: the handle, which puts the rooms together. `custody.rs`: its keys, and whether
//!   its state is the one that counts.
//! - `keys.rs`: who may open it, and the new file under new keys. `key_copy.rs`: its copy on the
//!   backend, which witnesses the state's age.
//! - `owner.rs`: who has its content, on a store that hosts share.
//! - `check/`: is everything there; `survey.rs`: what is there when the state is lost.

mod check;
mod custody;
mod folder;
mod handle;
mod key_copy;
mod keys;
mod lifecycle;
mod lock;
mod options;
mod owner;
mod report;
mod survey;
mod upkeep;

pub use check::{CheckOptions, CheckReport, Problem, ReadData};
pub use handle::{CleanReport, CompactReport, Vault};
pub use keys::{Keys, NewKey};
pub use lock::{Holder, LockPolicy, LockRefused};
pub use options::VaultOptions;
pub use report::{Recovery, TakenOver, VaultInfo};
pub use survey::StoreReport;
