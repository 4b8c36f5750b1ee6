//! The foundation of all crates of Strongroom. It knows no vault, no key and no redb.
//!
//! - [`Error`]: the error of the whole project, with a small [`ErrorKind`] for the caller's next
//!   step, and a [`Reason`], a stable code of the fact.
//! - [`backoff`]: pauses between tries, the only code that makes them grow.
//! - [`component`]: clock and entropy, the only code that reads the time or draws random numbers.
//! - [`fs`]: the seam for all file access, so that a simulated file system can replace it.
//! - [`bug`]: the bugs that tests plant, in one enum.
//! - [`pool`]: the bounded thread pool, the only code that starts threads.
//! - [`Key`]: the name of an object on a backend.
//! - [`RetentionClock`]: a clock that never runs backwards, for what is kept for some time.
//! - [`LongCall`], with [`Progress`] and [`CancelToken`]: the one convention for long calls.

pub mod backoff;
pub mod bug;
pub mod component;
mod error;
pub mod fs;
mod key;
pub mod pool;
mod progress;
mod reason;
mod retention_clock;

pub use error::{Error, ErrorKind, Result};
pub use key::{KEY_BYTES_MAX, Key};
pub use progress::{CancelToken, LongCall, Progress};
pub use reason::Reason;
pub use retention_clock::RetentionClock;
