//! How long reads of an artifact take beside a put to it that holds its lease, and without.
//!
//! The put stands still in the middle of its stream until the reads have come back: were they to wait for
//! it, it would give up, and the test would fail. The times are printed, and nothing is asserted of them.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use strongroom::Vault;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri, Artifacts};
use strongroom::backends::component::{Clock, SystemClock};

use crate::scene::{ShiftedClock, in_memory, name, on_disk};
use crate::setting;
use crate::support::records::long;

/// How long anybody is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const BYTES: usize = 64 << 10;
/// So much of the put's stream is read when it stands still: several packs.
const PUT_BYTES: usize = 1 << 20;
/// How often the put comes and goes while reads are timed.
const TURNS: u64 = 10;

/// A stream that stands still once it has been read half.
struct Stuck<'a> {
    before: &'a [u8],
    behind: &'a [u8],
    stands: Sender<()>,
    go: &'a Receiver<()>,
}

impl Read for Stuck<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.before.is_empty() && !self.behind.is_empty() {
            self.stands.send(()).map_err(std::io::Error::other)?;
            self.go.recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
            self.before = std::mem::take(&mut self.behind);
        }
        self.before.read(buffer)
    }
}

/// Times reads of a version, and asserts that each of them is what was put.
fn time_reads(artifacts: &Artifacts, uri: &ArtifactUri, bytes: &[u8], reads: u64) -> Vec<Duration> {
    let clock = SystemClock::new();
    let time_one = |_| {
        let began = clock.monotonic();
        let read = artifacts.read(uri).unwrap();
        let took = clock.monotonic().saturating_sub(began);
        assert!(read == bytes);
        took
    };
    (0..reads).map(time_one).collect()
}

/// Runs `act` while a put to the artifact stands still.
fn beside_a_put<T>(
    artifacts: &Artifacts,
    name: &ArtifactName,
    seed: u64,
    act: impl FnOnce() -> T,
) -> T {
    let bytes = long(seed, 2 * PUT_BYTES);
    let (before, behind) = bytes.split_at(PUT_BYTES);
    let ((stands, does_stand), (let_go, go)) = (channel(), channel());
    std::thread::scope(|scope| {
        let put = scope.spawn(move || {
            let source = Stuck { before, behind, stands, go: &go };
            artifacts.put(ArtifactSpec::new(name.clone()), source)
        });
        does_stand.recv_timeout(PATIENCE).unwrap();
        assert!(artifacts.is_locked(name));
        let outcome = act();
        assert!(!put.is_finished() && artifacts.is_locked(name));
        let_go.send(()).unwrap();
        put.join().unwrap().expect("the reads came back while it stood still");
        outcome
    })
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!(
        "{what}: {} reads of {BYTES} bytes, p50 {:.1} us, p99 {:.1} us, max {:.1} us",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn reads_come_back(what: &str, vault: &Vault) {
    let (artifacts, name) = (vault.artifacts(), name("spec", "read", "log"));
    let bytes = long(1, BYTES);
    let uri = artifacts.put(ArtifactSpec::new(name.clone()), &bytes[..]).unwrap();
    let reads = setting("STRONGROOM_SOAK_READS", 1_000) / TURNS;
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    // In turns, so that both are measured on the same machine.
    for turn in 1..=TURNS {
        without.extend(time_reads(&artifacts, &uri, &bytes, reads));
        beside.extend(beside_a_put(&artifacts, &name, turn + 1, || {
            let newest = artifacts.info(&name.newest()).unwrap();
            assert_eq!(newest.uri().version(), Some(turn), "there is no more of it yet");
            time_reads(&artifacts, &uri, &bytes, reads)
        }));
    }
    told(&format!("{what}, without a put"), without);
    told(&format!("{what}, beside a put that holds the lease"), beside);
}

#[test]
fn reads_on_disk_come_back_while_a_put_stands_still() {
    let home = tempfile::tempdir().unwrap();
    reads_come_back("on disk", &on_disk(&home.path().join("vault"), &ShiftedClock::new()));
}

#[test]
fn reads_in_memory_come_back_while_a_put_stands_still() {
    reads_come_back("in memory", &in_memory(&ShiftedClock::new()));
}
