//! An open file of the simulated world.
//!
//! It is a number and a right to write; the world has the bytes. It works after its name is gone.
//! Dropping it is not a call, so no fault affects the release of a lock.

use std::fmt;
use std::io;

use strongroom_base::fs::File;

use super::World;
use super::fault::torn_len;
use super::state::{Opened, State};

/// `EBADF`, the kernel's error for a write to a read-only handle.
const BAD_DESCRIPTOR: i32 = 9;

pub(super) struct WorldFile {
    world: World,
    opened: Opened,
}

impl WorldFile {
    pub(super) fn new(world: World, opened: Opened) -> Self {
        Self { world, opened }
    }

    fn require_writable(&self) -> io::Result<()> {
        if self.opened.writable {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(BAD_DESCRIPTOR))
    }
}

impl File for WorldFile {
    fn len(&self) -> io::Result<u64> {
        self.world.call(|state| Ok(state.tree().content(self.opened.file).len()))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.world.call(|state| state.tree().content(self.opened.file).read(buffer, offset))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = |state: &mut State, bytes: &[u8]| {
            self.require_writable()?;
            state.write(self.opened.file, bytes, offset)
        };
        let torn = &bytes[..torn_len(offset, bytes.len())];
        let tear = |state: &mut State| {
            if torn.is_empty() { Ok(()) } else { write(state, torn) }
        };
        self.world.call_or_tear(|state| write(state, bytes), tear)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.call(|state| {
            self.require_writable()?;
            state.set_len(self.opened.file, len)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.world.call(|state| {
            state.sync(self.opened.file);
            Ok(())
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.world.call(|state| Ok(state.try_lock(self.opened.file, self.opened.handle)))
    }

    fn unlock(&self) -> io::Result<()> {
        self.world.call(|state| {
            state.unlock(self.opened.file, self.opened.handle);
            Ok(())
        })
    }

    /// Not a call of the disk: it is no event, and cannot fail.
    fn identity(&self) -> io::Result<String> {
        Ok(format!("{:?}", self.opened.file))
    }
}

impl Drop for WorldFile {
    fn drop(&mut self) {
        self.world.state.lock().close(self.opened.file, self.opened.handle);
    }
}

impl fmt::Debug for WorldFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorldFile").field(&self.opened).finish()
    }
}
