//! What every crate of Strongroom stands on. It knows nothing of vaults, keys or redb.
//!
//! - [`Error`]: the error of the whole project, with a small [`ErrorKind`] that says what a
//!   caller does next, and a [`Reason`], a stable code of the fact;
//! - [`backoff`]: the pauses between two tries, the only place that makes them grow;
//! - [`component`]: the clock and the source of entropy, the only places that read the time
//!   or draw random numbers;
//! - [`fs`]: the one seam through which every file is touched, so that a simulated file system
//!   can stand under all of it;
//! - [`bug`]: the bugs that tests plant, one enum for all of them;
//! - [`pool`]: the bounded pool of threads, the only place that starts any;
//! - [`Key`]: the name of an object on a backend;
//! - [`LongCall`], with [`Progress`] and [`CancelToken`]: the one convention for calls that take long.

pub mod backoff;
pub mod bug;
pub mod component;
mod error;
pub mod fs;
mod key;
pub mod pool;
mod progress;
mod reason;

pub use error::{Error, ErrorKind, Result};
pub use key::{KEY_BYTES_MAX, Key};
pub use progress::{CancelToken, LongCall, Progress};
pub use reason::Reason;
