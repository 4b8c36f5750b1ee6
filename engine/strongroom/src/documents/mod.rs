//! Documents: several JSON texts in one share space, each with a partition key and a password.
//!
//! [`Documents`] creates and opens the [`Space`]. A [`Partition`] is a set of slots that its
//! [`SecretPartitionKey`] finds. A [`Document`] is the text in it: compressed, padded to the full
//! capacity, sealed and cut into chunks. The shares of each chunk are in slots whose order derives
//! from the password.
//!
//! A slot reveals nothing about its owner, and nothing reveals the number of partitions. A space
//! without partitions looks the same, except that it was never updated.

// - `creation.rs`: creates the space. `space.rs`: reads its properties, adds and destroys
//   partitions; [`Space`]. `partition.rs`: reads, writes, heals and verifies a document, changes
//   its password; [`Partition`]. `background.rs`: a write on a thread of the vault. `plan.rs`: the
//   effects of a write, before it is made.
// - `draft.rs`: the new contents of a partition. `update.rs`: copies the space into a new
//   generation. `opening.rs`: from a generation to a text, or the one error. `generation.rs`: reads
//   cells and slots.
// - `envelope.rs`, `map.rs`, `shares.rs`, `text.rs`: the layers, from the key to the text.
//   `secret.rs`, `stream.rs`: the keys, and the values drawn from them. `geometry.rs`: all sizes.
//
// This room knows the field only through `engine/sharing/`, and objects only as redundant data.
// `SECURITY.md` states the purpose of each layer. No log, count, event, span, error or row of the
// state depends on a partition.

mod background;
mod creation;
mod draft;
mod envelope;
mod generation;
mod geometry;
mod map;
mod opening;
mod partition;
mod plan;
mod room;
mod secret;
#[cfg(feature = "testing")]
pub(crate) mod share_testing;
#[cfg(feature = "testing")]
pub(crate) mod share_testing_bench;
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
