//! Processes and servers that are killed: what was acknowledged is there, and only the rest is sent again.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::{Backend, StoreOptions, StoreRetryPolicy};
use strongroom::testing::TestKey;
use strongroom::{
    ArtifactName, ArtifactSpec, ArtifactUri, CancelToken, ErrorKind, GcOptions, MemoryState,
    SecretPassword, SpaceOptions, Vault, VaultOptions,
};

use crate::proxy::Proxy;
use crate::scene::{noise, options, put, whole};
use crate::server::Place;
use crate::setting;
use crate::support::content::Content;
use crate::support::process::{Heard, Worker, say};
use crate::support::random::Random;

const MIB: u64 = 1 << 20;
const URL: &str = "STRONGROOM_TEST_STORE";
const MIB_VARIABLE: &str = "STRONGROOM_STORE_UPLOAD_MIB";
const KILLS_VARIABLE: &str = "STRONGROOM_STORE_UPLOAD_KILLS";
const SERVER_KILLS_VARIABLE: &str = "STRONGROOM_STORE_SERVER_KILLS";

/// How long work may take to get done while a server starts anew.
const WORK_MAX: Duration = Duration::from_secs(120);
/// A pack, half of which is an object.
const PACK_BYTES: u64 = 2 * MIB;
/// Most packs that a put has in memory: one being filled, and those on their way.
const PACKS_UNDER_WAY: u64 = 5;

fn content_bytes() -> u64 {
    setting(MIB_VARIABLE, 48) * MIB
}

fn upload_options(store: Arc<dyn Backend>) -> VaultOptions {
    let object_bytes = usize::try_from(PACK_BYTES / 2).unwrap();
    Vault::options(TestKey).object_bytes(object_bytes).backend(store)
}

fn upload_name() -> ArtifactName {
    ArtifactName::new("spec", "task", "dump").unwrap()
}

/// What a process does that is killed.
pub(crate) fn upload(folder: &Path) {
    let store = Place::at(std::env::var(URL).unwrap()).open();
    let vault = upload_options(store).open(folder).unwrap();
    let artifacts = vault.artifacts();
    say("putting");
    if !artifacts.exists(&upload_name().newest()).unwrap() {
        let size = content_bytes();
        let told = AtomicU64::new(0);
        let progress = |done: u64, _: Option<u64>| {
            if told.swap(done / MIB, Ordering::Relaxed) < done / MIB {
                say(&format!("at {}", done / MIB));
            }
        };
        let spec = ArtifactSpec::new(upload_name()).size(size);
        let content = Content::new(size);
        artifacts.put_with(spec, content, &progress, &CancelToken::new()).unwrap();
    }
    vault.close().unwrap();
    say("done");
}

#[test]
fn an_upload_that_is_killed_again_and_again_sends_only_the_rest() {
    let test = "an_upload_that_is_killed_again_and_again_sends_only_the_rest";
    let Some(place) = Place::new(test) else { return };
    let kills = setting(KILLS_VARIABLE, 3);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("vault");
    let store = place.open();
    upload_options(Arc::clone(&store)).create(&folder).unwrap().close().unwrap();
    let proxy = Proxy::start(place.address());
    let through = place.through(&format!("http://{}", proxy.addr()));
    let start = || Worker::start_with("upload", &folder, &[(URL, through.url().to_owned())]);
    let mut random = Random::new(1);
    for kill in 0..kills {
        let worker = start();
        worker.expect("putting");
        // A step of the way further each time, or whenever it is done.
        let until = content_bytes() / MIB * (kill + 1) / (kills + 1);
        let at = format!("at {}", until.max(1));
        while let Some(line) = worker.line() {
            if line == at || line == "done" {
                break;
            }
        }
        // Within what it does at that moment.
        let _ = worker.hear(Duration::from_micros(random.below(30_000)));
        worker.signal("KILL");
        while worker.hear(Duration::from_secs(60)) != Heard::End {}
    }
    let worker = start();
    while let Some(line) = worker.line() {
        if line == "done" {
            break;
        }
    }
    drop(worker);

    let put =
        |seen: &&crate::proxy::Seen| seen.method == "PUT" && seen.target.contains("/content/");
    let sent: u64 = proxy.log().iter().filter(put).map(|seen| seen.body_bytes).sum();
    let vault = upload_options(Arc::clone(&store)).open(&folder).unwrap();
    let mut read = vault.artifacts().open(&upload_name().newest()).unwrap();
    let mut expected = Content::new(content_bytes());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for _ in 0..content_bytes() / MIB {
        read.read_exact(&mut left).unwrap();
        expected.read_exact(&mut right).unwrap();
        assert!(left == right, "the artifact is what was put");
    }
    assert_eq!(read.read(&mut left).unwrap(), 0, "and no longer");
    drop(read);
    vault.gc(&GcOptions::default()).unwrap();
    vault.clean(&CancelToken::new()).unwrap();
    let report = whole(&vault);
    assert!(report.unknown.is_empty(), "nothing else is left: {report:?}");
    let in_vain = sent - content_bytes();
    println!(
        "put of {} bytes killed {kills} times: {sent} bytes sent, {in_vain} of them in vain",
        content_bytes()
    );
    let slack = content_bytes() / 100 + 2 * PACK_BYTES;
    assert!(in_vain <= kills * PACKS_UNDER_WAY * PACK_BYTES + slack, "{in_vain}");
}

/// A server of the test's own, made and ended by the script beside it. It ends with this process, however that
/// does.
struct Server {
    folder: PathBuf,
    url: String,
    guard: Child,
}

impl Server {
    fn command(verb: &str, folder: &Path) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/ceph");
        let mut command = Command::new(script);
        command.arg(verb).arg(folder).stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    fn script(verb: &str, folder: &Path) -> String {
        let done = Self::command(verb, folder).output().unwrap();
        assert!(done.status.success(), "{verb} succeeds");
        String::from_utf8(done.stdout).unwrap()
    }

    fn start(folder: PathBuf) -> Self {
        let said = Self::script("up", &folder);
        let guard = Self::command("guard", &folder).stdin(Stdio::piped()).spawn().unwrap();
        let url = said.split('\'').nth(1).expect("the URL stands between quotes").to_owned();
        Self { folder, url, guard }
    }

    fn kill_and_start(&self, verb: &str) {
        Self::script(verb, &self.folder);
        Self::script("up", &self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        assert!(self.guard.wait().unwrap().success(), "the guard ends the server");
    }
}

/// What the server's clients do, as it is acknowledged.
enum Work {
    Artifact,
    Update,
}

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    let test = "a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged";
    // It names a server; the one that is killed is another, with the same credentials.
    if Place::new(test).is_none() {
        return;
    }
    let kills = setting(SERVER_KILLS_VARIABLE, 2);
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path().join("ceph"));
    let policy = StoreRetryPolicy { tries: 12, ..StoreRetryPolicy::default() };
    let store = StoreOptions::new().retry(policy).open(&server.url).unwrap();
    let state = MemoryState::new();
    let vault = options(&store).create_on(state.clone(), Arc::clone(&store)).unwrap();
    let password = SecretPassword::new("of a partition");
    let space = vault.create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap();
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();

    let (at_work, failures) = (AtomicBool::new(true), AtomicU64::new(0));
    let kept: Mutex<BTreeMap<u64, ArtifactUri>> = Mutex::default();
    let written = AtomicU64::new(0);
    // Between two kills work of both kinds gets done.
    let (acknowledge, acknowledged) = channel();
    let wait_for_work = || {
        acknowledged.try_iter().for_each(drop);
        let (mut artifacts, mut updates) = (0, 0);
        while artifacts < 4 || updates < 1 {
            match acknowledged.recv_timeout(WORK_MAX).expect("work gets done") {
                Work::Artifact => artifacts += 1,
                Work::Update => updates += 1,
            }
        }
    };
    let failed = |error: strongroom::Error| {
        let kinds = [ErrorKind::Unavailable, ErrorKind::Uncertain];
        assert!(kinds.contains(&error.kind()), "{error}");
        failures.fetch_add(1, Ordering::Relaxed);
    };
    let failed = &failed;
    thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (vault, kept, at_work) = (&vault, &kept, &at_work);
            let acknowledge = acknowledge.clone();
            scope.spawn(move || {
                for round in 0.. {
                    if !at_work.load(Ordering::Acquire) {
                        break;
                    }
                    let number = round * 2 + thread;
                    let name = ArtifactName::new("spec", number.to_string(), "log").unwrap();
                    let bytes = noise(700_000, number);
                    match vault.artifacts().put(ArtifactSpec::new(name), &bytes[..]) {
                        Ok(uri) => {
                            kept.lock().insert(number, uri);
                            let _ = acknowledge.send(Work::Artifact);
                        }
                        Err(e) => failed(e),
                    }
                }
            });
        }
        let (partition, written, at_work) = (&partition, &written, &at_work);
        scope.spawn(move || {
            for round in 1.. {
                if !at_work.load(Ordering::Acquire) {
                    break;
                }
                match partition.write(format!(r#"{{"round": {round}}}"#)) {
                    Ok(_) => {
                        written.store(round, Ordering::Release);
                        let _ = acknowledge.send(Work::Update);
                    }
                    Err(e) => failed(e),
                }
            }
        });
        for kill in 0..kills {
            wait_for_work();
            server.kill_and_start(if kill % 2 == 0 { "kill" } else { "kill-gateway" });
        }
        wait_for_work();
        at_work.store(false, Ordering::Release);
    });
    let last = written.load(Ordering::Acquire);
    let document = partition.read().unwrap().text().to_owned();
    // The one behind it may have happened although its caller was told that nothing is known.
    let possible = [last, last + 1].map(|round| format!(r#"{{"round": {round}}}"#));
    assert!(possible.contains(&document), "{document} and not {possible:?}");
    drop((partition, space));
    vault.close().unwrap();

    let vault = options(&store).open_on(state, store).unwrap();
    whole(&vault);
    let kept = kept.into_inner();
    for (number, uri) in &kept {
        assert!(vault.artifacts().read(uri).unwrap() == noise(700_000, *number), "{uri}");
    }
    let later = put(&vault, "later", &noise(700_000, 1 << 40));
    assert!(vault.artifacts().read(&later).is_ok());
    println!(
        "a server killed {kills} times under load: {} artifacts and {last} updates acknowledged, \
         {} calls failed, none lost",
        kept.len(),
        failures.into_inner()
    );
    vault.close().unwrap();
}
