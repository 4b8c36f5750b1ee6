//! The refs of a vault, without the vault.

use std::sync::Arc;

use strongroom::SecretKey;
use strongroom_backends::Backend;
use strongroom_base::Result;
use strongroom_base::component::{Clock, Entropy};
use strongroom_store::refs::Refs;
use uuid::Uuid;

/// The refs of one vault on a backend. Handles with the same backend share them.
#[derive(Debug)]
pub struct TestRefs(Refs);

impl TestRefs {
    /// Makes refs on `backend`, under a fixed key.
    pub fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let key = SecretKey::new([7; SecretKey::BYTES]);
        Self(Refs::new(backend, Uuid::from_u128(7), &key, clock, entropy))
    }

    /// Returns the value of the ref `name`; `None` if it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.read(name)
    }

    /// Moves the ref `name` to the value that `change` computes; see docs/internals.md, "Moving a
    /// ref".
    pub fn update<T>(
        &self,
        name: &str,
        change: impl FnMut(Option<&[u8]>) -> Result<(Vec<u8>, T)>,
    ) -> Result<T> {
        self.0.update(name, change)
    }
}
