//! Documents: several JSON texts in one share space, each behind its partition key and password.
//!
//! [`Documents`] makes and opens the [`Space`]. A [`Partition`] is a set of slots that its
//! [`SecretPartitionKey`] finds. A [`Document`] is the text in it: compressed, padded to the full
//! capacity, sealed, cut into chunks, and each chunk shared into slots that its password orders.
//!
//! A slot tells nothing of its owner, and nothing tells how many partitions there are. A space
//! without any looks the same, except that it never was updated.

// - `creation.rs`: make the space. `space.rs`: look at it, add and destroy partitions; [`Space`].
//   `partition.rs`: read, write, heal, verify, change the password; [`Partition`].
//   `background.rs`: a write on a thread of its own. `plan.rs`: what a write would do.
// - `draft.rs`: what a partition shall hold, painted. `update.rs`: the space copied into a new
//   generation. `opening.rs`: from a generation to a text, or the one error. `generation.rs`:
//   reading cells and slots.
// - `envelope.rs`, `map.rs`, `shares.rs`, `text.rs`: the layers, from the key to the text.
//   `secret.rs`, `stream.rs`: the keys, and what is drawn from them. `geometry.rs`: all sizes.
//
// This room knows the field only through `sharing/`, and objects only as what bears losses. What
// the layers are for, and against whom, stands in `SECURITY.md`. Nothing here logs, counts or
// names a partition, in an event, a span, an error or a row of state.

mod background;
mod creation;
mod draft;
mod envelope;
mod generation;
mod geometry;
#[cfg(feature = "testing")]
pub(crate) mod lab;
#[cfg(feature = "testing")]
pub(crate) mod lab_bench;
mod map;
mod opening;
mod partition;
mod plan;
mod room;
mod secret;
mod shares;
mod space;
mod stream;
mod text;
mod update;

pub use background::BackgroundWrite;
pub use creation::SpaceOptions;
pub use geometry::{CAPACITY_BYTES_MAX, CAPACITY_BYTES_MIN, PARTITIONS_OF_SPACE_MAX};
pub use opening::Damage;
pub use partition::{Document, DocumentVersion, Partition, WriteOptions, Written};
pub use plan::Plan;
pub use room::Documents;
pub use secret::SecretPartitionKey;
pub use space::{Space, SpaceInfo, UnfinishedUpdate};
pub use text::DOCUMENT_BYTES_MAX;
pub(crate) use update::{remove_unfinished, unfinished};
