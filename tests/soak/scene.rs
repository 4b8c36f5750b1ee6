//! Contents that share chunks, an adjustable clock, and the two vaults.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use strongroom::artifacts::ArtifactName;
use strongroom::backends::component::{Clock, SystemClock};
use strongroom::storage::MemoryState;
use strongroom::{Vault, VaultOptions};
use strongroom_testkit::TestKey;

use crate::support::random::Random;
use crate::support::records::long;

/// The bytes that contents are cut from: noise, and text that compresses.
static POOL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let noise = (1..=4).map(|seed| long(seed, POOL_BYTES));
    let text = (1..=2).map(|seed| format!("line {seed} of a log\n").into_bytes());
    let text = text.map(|line| line.into_iter().cycle().take(POOL_BYTES).collect());
    noise.chain(text).collect()
});

const POOL_BYTES: usize = 700_000;
/// Bytes of an object. A pack has twice as many, so that a content has several packs.
const OBJECT_BYTES: usize = 64 << 10;

/// Reproducible bytes: a part of the pool, whose first bytes a random mark may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pool: usize,
    from: usize,
    len: usize,
    mark: u64,
}

impl Content {
    /// Draws a content.
    ///
    /// There are short contents, contents near the largest size for state, and long ones. The long
    /// ones share most chunks with contents of other threads.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut below = |end: usize| usize::try_from(random.below(end as u64)).unwrap();
        let pool = below(POOL.len());
        let (from, len) = match below(10) {
            0 => (0, below(2)),
            1..=4 => (below(POOL_BYTES / 2), below(3_000)),
            5..=6 => (0, 28_000 + below(8_000)),
            7..=8 => (below(4) * 50_000, 60_000 + below(300_000)),
            _ => (0, 400_000 + below(300_000)),
        };
        let is_marked = below(3) > 0;
        Self { pool, from, len, mark: if is_marked { random.draw() } else { 0 } }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = POOL[self.pool][self.from..self.from + self.len].to_vec();
        for (byte, mark) in bytes.iter_mut().zip(self.mark.to_le_bytes()) {
            *byte ^= mark;
        }
        bytes
    }

    pub(crate) fn len(self) -> u64 {
        self.len as u64
    }
}

/// A source that fails after these bytes.
pub(crate) struct FailingSource<'a>(pub(crate) &'a [u8]);

impl Read for FailingSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the source failed")),
            read => Ok(read),
        }
    }
}

/// The system's time, advanced on request. It never goes back, so later puts are newer.
#[derive(Clone, Debug)]
pub(crate) struct ShiftedClock {
    system: Arc<SystemClock>,
    start_unix_millis: u64,
    shift_millis: Arc<AtomicU64>,
}

impl ShiftedClock {
    pub(crate) fn new() -> Self {
        let system = Arc::new(SystemClock::new());
        let start_unix_millis = system.unix_millis();
        Self { system, start_unix_millis, shift_millis: Arc::default() }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.shift_millis.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn unix_millis(&self) -> u64 {
        let elapsed = u64::try_from(self.system.monotonic().as_millis()).unwrap();
        self.start_unix_millis + elapsed + self.shift_millis.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.system.sleep(duration);
    }
}

fn options(clock: &ShiftedClock) -> VaultOptions {
    Vault::options(TestKey).clock(clock.clone()).object_bytes(OBJECT_BYTES)
}

pub(crate) fn on_disk(path: &Path, clock: &ShiftedClock) -> Vault {
    options(clock).create(path).unwrap()
}

pub(crate) fn in_memory(clock: &ShiftedClock) -> Vault {
    options(clock).create_on(MemoryState::new(), strongroom::backends::Memory::new()).unwrap()
}

pub(crate) fn name(spec: &str, task: &str, kind: &str) -> ArtifactName {
    ArtifactName::new(spec, task, kind).unwrap()
}
