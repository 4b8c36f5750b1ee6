//! A core over memory, for the example feature.

use std::sync::Arc;
use std::time::Duration;

use strongroom_backends::{Backend, Memory};
use strongroom_base::Result;
use strongroom_base::component::{Clock, Entropy, ManualClock, SeededEntropy};
use strongroom_crypto::{Cipher, KeySet, NewSlot, PasswordPolicy, SecretKey, Unlock, Wrapping};
use strongroom_format::{META_VAULT, VaultRow};
use strongroom_store::commit::{Components, Core, CoreParts, Ending, Fence};
use strongroom_store::objects::{OBJECT_BYTES_MAX, Objects};
use strongroom_store::state::{MemoryState, OpenedStore, Sealing, Store, Table};
use uuid::Uuid;

const CACHE_BYTES: usize = 1 << 20;

/// A state in memory, with its keys.
pub(crate) struct Scene {
    state: MemoryState,
    keys: KeySet,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let (id, policy) = (Uuid::from_u128(7), PasswordPolicy::default());
        let unlock = Unlock::Key(SecretKey::new([7; SecretKey::BYTES]));
        let with = Wrapping {
            vault: id,
            entropy: &*entropy,
            now_unix_millis: 0,
            costs: policy.costs,
            bounds: policy.bounds,
        };
        let first = NewSlot { unlock: &unlock, label: "" };
        let keys = KeySet::create("memory", Cipher::for_this_machine(), &first, &with)?;
        let scene = Self { state: MemoryState::new(), keys, clock, entropy };
        let row = VaultRow::V0 { id, created_unix_millis: 0, next_namespace: 1 };
        Store::create(&scene.state, scene.keys.header(), scene.sealing(), |write| {
            write.put(Table::Meta, META_VAULT, &row.encode())
        })?;
        Ok(scene)
    }

    /// Opens the state. The caller registers the hooks.
    pub(crate) fn open(&self) -> Result<Arc<Core>> {
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        let OpenedStore { store, .. } =
            Store::open(Arc::new(self.state.clone()), clock, CACHE_BYTES, self.sealing())?;
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let id = self.keys.header().vault;
        let objects = Objects::new(
            backend,
            Arc::clone(&entropy),
            OBJECT_BYTES_MAX,
            id,
            self.keys.content_keys(),
            Arc::clone(&self.clock),
        );
        Ok(Core::new(CoreParts {
            id,
            session: Uuid::from_bytes(entropy.draw()?),
            components: Components { clock: Arc::clone(&self.clock), entropy },
            store,
            objects,
            fence: Arc::new(NoFence),
            newest_commit: 0,
            write_timeout: Duration::from_secs(30),
            guard: None,
        }))
    }

    fn sealing(&self) -> Sealing {
        let (key, file) = (Arc::new(self.keys.state_key()), self.keys.header().file);
        Sealing { key, file, entropy: Arc::clone(&self.entropy) }
    }
}

/// A fence for a state that nothing can supersede.
#[derive(Debug)]
struct NoFence;

impl Fence for NoFence {
    fn admit_commit(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn admit_delete(&self) -> Result<()> {
        Ok(())
    }

    fn admit_delete_again(&self) -> Result<()> {
        Ok(())
    }

    fn seems_superseded(&self) -> bool {
        false
    }

    fn may_be_superseded(&self, _: &Core) -> bool {
        false
    }

    fn deletes_wait(&self) -> bool {
        false
    }

    fn committed(&self, _: &Core, _: bool) {}

    fn reopened(&self, _: &Core) {}

    fn end(&self, _: &Store) -> Option<Ending> {
        None
    }
}
