//! A state in memory that reports its calls to a test: its syncs, at which commits become durable,
//! or all of them.

use std::fmt;
use std::io;
use std::sync::Arc;

use strongroom::Result;
use strongroom::storage::{MemoryState, StateFile, StateStorage};

type Hook = Arc<dyn Fn(StateCall) + Send + Sync>;

/// A call of the published state: its offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateCall {
    Read(u64, usize),
    Write(u64, usize),
    SetLength(u64),
    Sync,
}

/// Runs a hook within each call of the published state.
#[derive(Clone)]
pub(crate) struct HookedState {
    memory: MemoryState,
    hook: Hook,
}

impl HookedState {
    /// Reports syncs only.
    pub(crate) fn new(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self::of_calls(move |call| {
            if call == StateCall::Sync {
                hook();
            }
        })
    }

    pub(crate) fn of_calls(hook: impl Fn(StateCall) + Send + Sync + 'static) -> Self {
        Self { memory: MemoryState::new(), hook: Arc::new(hook) }
    }
}

impl fmt::Debug for HookedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedState").finish_non_exhaustive()
    }
}

impl StateStorage for HookedState {
    fn exists(&self) -> Result<bool> {
        self.memory.exists()
    }

    fn create(&self) -> Result<Box<dyn StateFile>> {
        self.memory.create()
    }

    fn publish(&self) -> Result<()> {
        self.memory.publish()
    }

    fn settle(&self) -> Result<()> {
        self.memory.settle()
    }

    fn discard(&self) -> Result<()> {
        self.memory.discard()
    }

    fn available_bytes(&self) -> Result<u64> {
        self.memory.available_bytes()
    }

    fn open(&self) -> Result<Box<dyn StateFile>> {
        let inner = self.memory.open()?;
        Ok(Box::new(HeardStorage { inner, hook: Arc::clone(&self.hook) }))
    }
}

struct HeardStorage {
    inner: Box<dyn StateFile>,
    hook: Hook,
}

impl fmt::Debug for HeardStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeardStorage").finish_non_exhaustive()
    }
}

impl StateFile for HeardStorage {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (self.hook)(StateCall::Read(offset, out.len()));
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        (self.hook)(StateCall::SetLength(len));
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        (self.hook)(StateCall::Sync);
        self.inner.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (self.hook)(StateCall::Write(offset, data.len()));
        self.inner.write(offset, data)
    }
}
