//! Durations of reads with and without a concurrent put.
//!
//! The put holds the lease of the same artifact.
//!
//! The put pauses in the middle of its stream until the reads have returned. If the reads waited
//! for the put, the put would time out and the test would fail. The durations are only printed.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use strongroom::Vault;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri, Artifacts};
use strongroom::backends::component::{Clock, SystemClock};

use crate::scene::{ShiftedClock, in_memory, name, on_disk};
use crate::setting;
use crate::support::records::long;

/// Longest wait for another thread.
const WAIT_MAX: Duration = Duration::from_secs(60);
const BYTES: usize = 64 << 10;
/// Bytes of the put's stream before the pause. They fill several packs.
const PUT_BYTES: usize = 1 << 20;
/// Rounds of timed reads, with one put each.
const ROUNDS: u64 = 10;

/// A source that pauses after half of its bytes.
struct PausedSource<'a> {
    before: &'a [u8],
    after: &'a [u8],
    paused: Sender<()>,
    go: &'a Receiver<()>,
}

impl Read for PausedSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.before.is_empty() && !self.after.is_empty() {
            self.paused.send(()).map_err(std::io::Error::other)?;
            self.go.recv_timeout(WAIT_MAX).map_err(std::io::Error::other)?;
            self.before = std::mem::take(&mut self.after);
        }
        self.before.read(buffer)
    }
}

/// Times reads of a version, and asserts the bytes of each.
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

/// Runs `act` while a put of the artifact is paused.
fn during_a_put<T>(
    artifacts: &Artifacts,
    name: &ArtifactName,
    seed: u64,
    act: impl FnOnce() -> T,
) -> T {
    let bytes = long(seed, 2 * PUT_BYTES);
    let (before, after) = bytes.split_at(PUT_BYTES);
    let ((paused, is_paused), (resume, go)) = (channel(), channel());
    std::thread::scope(|scope| {
        let put = scope.spawn(move || {
            let source = PausedSource { before, after, paused, go: &go };
            artifacts.put(ArtifactSpec::new(name.clone()), source)
        });
        is_paused.recv_timeout(WAIT_MAX).unwrap();
        assert!(artifacts.is_locked(name));
        let outcome = act();
        assert!(!put.is_finished() && artifacts.is_locked(name));
        resume.send(()).unwrap();
        put.join().unwrap().expect("the reads did not wait for the put");
        outcome
    })
}

fn print_times(what: &str, mut times: Vec<Duration>) {
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

fn assert_reads_return(what: &str, vault: &Vault) {
    let (artifacts, name) = (vault.artifacts(), name("spec", "read", "log"));
    let bytes = long(1, BYTES);
    let uri = artifacts.put(ArtifactSpec::new(name.clone()), &bytes[..]).unwrap();
    let reads = setting("STRONGROOM_SOAK_READS", 1_000) / ROUNDS;
    let (mut without, mut during) = (Vec::new(), Vec::new());
    // Reads with and without a put alternate, so that both run under the same load.
    for round in 1..=ROUNDS {
        without.extend(time_reads(&artifacts, &uri, &bytes, reads));
        during.extend(during_a_put(&artifacts, &name, round + 1, || {
            let newest = artifacts.info(&name.newest()).unwrap();
            assert_eq!(newest.uri().version(), Some(round), "the put has committed");
            time_reads(&artifacts, &uri, &bytes, reads)
        }));
    }
    print_times(&format!("{what}, without a put"), without);
    print_times(&format!("{what}, with a put that holds the lease"), during);
}

#[test]
fn reads_on_disk_do_not_wait_for_a_paused_put() {
    let home = tempfile::tempdir().unwrap();
    assert_reads_return("on disk", &on_disk(&home.path().join("vault"), &ShiftedClock::new()));
}

#[test]
fn reads_in_memory_do_not_wait_for_a_paused_put() {
    assert_reads_return("in memory", &in_memory(&ShiftedClock::new()));
}
