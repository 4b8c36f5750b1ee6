//! Artifacts on an S3 server, compared with bare objects and a tool.
//!
//! Bare objects are put and got four at once through the same client. restic runs one process for
//! each file.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use strongroom::Vault;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri};
use strongroom::backends::{Backend, Condition, Key, open_url};
use strongroom::storage::MemoryState;
use strongroom_testkit::TestKey;

use crate::artifacts::bytes::Source;
use crate::environment::Environment;
use crate::measure::{self, Contender, Samples, Series};
use crate::options::Options;
use crate::peers::{PASSWORD, STRONGROOM};
use crate::report::{figure, write_raw};

const URL: &str = "STRONGROOM_S3_URL";
const BARE: &str = "bare objects, four at once";
const RESTIC: &str = "restic, a process each";

const ROUNDS: usize = 7;
/// Length of a bare object: that of a pack.
const OBJECT_BYTES: usize = 16 << 20;
/// Bare objects in progress at the same time: as many as packs.
const AT_ONCE: usize = 4;

/// Sizes of the artifacts.
const SIZES: [(&str, usize); 2] = [("1 MiB", 1 << 20), ("64 MiB", 64 << 20)];

/// One verb and size.
struct Section {
    name: String,
    bytes: usize,
    series: Vec<Series>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    options.refuse_workloads()?;
    let url = std::env::var(URL).with_context(|| format!("{URL} names the server"))?;
    let (folder, environment) = crate::site(options)?;
    let place = format!("compare-{}-{}", environment.date, std::process::id());
    let (store, parameters) = url.split_once('?').context("the URL names an endpoint")?;
    let store = open_url(&format!("{store}/{place}?{parameters}"))?;
    let restic = Restic::create(folder.path(), &url, &place)?;
    let mut sections = Vec::new();
    for (size, bytes) in SIZES {
        let (put, get) = measure(options, size, bytes, &store, restic.as_ref())?;
        sections.extend([put, get]);
    }
    let table = table(&environment, &sections);
    println!("{table}");
    let mut raw = format!("{}\n", json!({ "environment": environment.json() }));
    for section in &sections {
        write_raw(&mut raw, &section.name, &section.series);
    }
    crate::write_results(&options.out_dir(&environment.date, "object-stores"), &table, &raw)
}

/// Measures puts of one size, and gets of the last of them.
fn measure(
    options: &Options,
    size: &str,
    bytes: usize,
    store: &Arc<dyn Backend>,
    restic: Option<&Restic>,
) -> Result<(Section, Section)> {
    let rounds = options.rounds_of(ROUNDS);
    eprintln!("{size}: {rounds} rounds of puts, then of gets");
    let vault = Vault::options(TestKey).create_on(MemoryState::new(), Arc::clone(store))?;
    let own = Own { vault: vault.clone(), source: Source::new(1), last: None };
    let bare =
        Bare { store: Arc::clone(store), source: Source::new(2), last: Vec::new(), number: 0 };
    let backup = restic.map(|restic| restic.file(Source::new(3), bytes));

    let (own, bare) = (shared(own), shared(bare));
    let backup = backup.map(shared);
    let mut puts = vec![
        contender(STRONGROOM, &own, move |own, samples| own.put(bytes, samples)),
        contender(BARE, &bare, move |bare, samples| bare.put(bytes, samples)),
    ];
    let mut gets = vec![contender(STRONGROOM, &own, Own::get), contender(BARE, &bare, Bare::get)];
    if let Some(backup) = &backup {
        puts.push(contender(RESTIC, backup, Backup::put));
        gets.push(contender(RESTIC, backup, Backup::get));
    }
    let section = |verb: &str, series| Section { name: format!("{verb} {size}"), bytes, series };
    let put = section("put", measure::series(rounds, 1, &mut puts)?);
    let get = section("get", measure::series(rounds, 1, &mut gets)?);
    drop((puts, gets, own));
    vault.close()?;
    Ok((put, get))
}

type Shared<T> = Arc<parking_lot::Mutex<T>>;

fn shared<T>(value: T) -> Shared<T> {
    Arc::new(parking_lot::Mutex::new(value))
}

/// Makes a contender that puts in one part and gets next.
fn contender<T: 'static>(
    label: &'static str,
    on: &Shared<T>,
    mut turn: impl FnMut(&mut T, &mut Samples) -> Result<()> + 'static,
) -> Contender {
    let on = Arc::clone(on);
    Contender { label, turn: Box::new(move |samples| turn(&mut on.lock(), samples)) }
}

struct Own {
    vault: Vault,
    source: Source,
    last: Option<(ArtifactUri, Vec<u8>)>,
}

impl Own {
    fn put(&mut self, bytes: usize, samples: &mut Samples) -> Result<()> {
        let body = self.source.bytes(bytes);
        let spec = || -> Result<_> {
            let name = ArtifactName::new("compare", "object-stores", "file")?;
            Ok(ArtifactSpec::new(name).size(bytes as u64))
        };
        let put = || Ok(self.vault.artifacts().put(spec()?, &body[..])?);
        let (uri, _) = samples.time_both(1, put)?;
        self.last = Some((uri, body));
        Ok(())
    }

    fn get(&mut self, samples: &mut Samples) -> Result<()> {
        let (uri, body) = self.last.as_ref().context("puts come first")?;
        let (got, _) = samples.time_both(1, || Ok(self.vault.artifacts().read(uri)?))?;
        ensure!(got == body[..], "what was got is what was put");
        Ok(())
    }
}

/// A host's own code without a library: no encryption, no names, no deduplication.
struct Bare {
    store: Arc<dyn Backend>,
    source: Source,
    last: Vec<(Key, Bytes)>,
    number: u64,
}

impl Bare {
    fn put(&mut self, bytes: usize, samples: &mut Samples) -> Result<()> {
        let body = Bytes::from(self.source.bytes(bytes));
        let mut parts = Vec::new();
        for at in (0..bytes).step_by(OBJECT_BYTES) {
            let key = Key::new(format!("bare/{bytes}-{}-{at}", self.number))?;
            parts.push((key, body.slice(at..bytes.min(at + OBJECT_BYTES))));
        }
        self.number += 1;
        let put = |(key, part): &(Key, Bytes)| -> Result<()> {
            self.store.put(key, part.clone(), &Condition::Absent)?;
            Ok(())
        };
        samples.time_both(1, || at_once(&parts, put))?;
        self.last = parts;
        Ok(())
    }

    fn get(&mut self, samples: &mut Samples) -> Result<()> {
        let get = |(key, part): &(Key, Bytes)| -> Result<()> {
            ensure!(self.store.get(key)?.body == part, "what was got is what was put");
            Ok(())
        };
        samples.time_both(1, || at_once(&self.last, get)).map(drop)
    }
}

fn at_once<T: Sync>(tasks: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    for tasks in tasks.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let running: Vec<_> = tasks.iter().map(|task| scope.spawn(|| work(task))).collect();
            running.into_iter().try_for_each(|task| task.join().expect("a thread does not panic"))
        })?;
    }
    Ok(())
}

/// A repository of restic on the same server.
#[derive(Clone)]
struct Restic {
    home: PathBuf,
    repository: String,
}

impl Restic {
    /// Makes a repository; `None` if restic is not installed.
    fn create(folder: &Path, url: &str, place: &str) -> Result<Option<Self>> {
        if Command::new("restic").arg("version").output().is_err() {
            eprintln!("warning: restic is not installed, and left out");
            return Ok(None);
        }
        let bucket = url.trim_start_matches("s3://").split(['/', '?']).next().unwrap_or_default();
        let (_, endpoint) = url.split_once("endpoint=").context("the URL names an endpoint")?;
        let endpoint = endpoint.split('&').next().unwrap_or_default();
        let home = folder.join("restic");
        fs::create_dir_all(&home)?;
        fs::write(home.join("secret"), PASSWORD)?;
        let repository = format!("s3:{endpoint}/{bucket}/{place}-restic");
        let restic = Self { home, repository };
        restic.run(&["init"])?;
        Ok(Some(restic))
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new("restic")
            .args(arguments)
            .env("HOME", &self.home)
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD_FILE", self.home.join("secret"))
            .stdin(Stdio::null())
            .output()
            .context("start restic")?;
        ensure!(
            output.status.success(),
            "restic failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }

    fn file(&self, source: Source, bytes: usize) -> Backup {
        let path = self.home.join(format!("file-{bytes}"));
        Backup { restic: self.clone(), source, bytes, path }
    }
}

/// A file whose versions are backed up.
struct Backup {
    restic: Restic,
    source: Source,
    bytes: usize,
    path: PathBuf,
}

impl Backup {
    fn path(&self) -> Result<&str> {
        self.path.to_str().context("the path is text")
    }

    fn put(&mut self, samples: &mut Samples) -> Result<()> {
        fs::write(&self.path, self.source.bytes(self.bytes))?;
        let path = self.path()?;
        samples.time_children(|| self.restic.run(&["backup", "--quiet", path])).map(drop)
    }

    fn get(&mut self, samples: &mut Samples) -> Result<()> {
        let path = self.path()?;
        let dump = ["dump", "--path", path, "latest", path];
        let got = samples.time_children(|| self.restic.run(&dump))?;
        ensure!(got == fs::read(&self.path)?, "what was got is what was put");
        Ok(())
    }
}

fn table(environment: &Environment, sections: &[Section]) -> String {
    let mut text = format!(
        "# Artifacts on an S3 server\n\n{}\n\nA server on the same machine. Contenders in turn, round by \
         round. Times are medians of the rounds, with the smallest and the largest; ratios are Strongroom's time \
         as a multiple of the peer's, round by round, then their median.\n\n\
         | | | time, ms | rounds | MB/s | CPU, ms | strongroom's time of it | rounds |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        environment.prose_with(&["object_store"])
    );
    for section in sections {
        let own = section.series.iter().find(|series| series.label == STRONGROOM);
        for (place, series) in section.series.iter().enumerate() {
            let name = if place == 0 { format!("**{}**", section.name) } else { String::new() };
            let nanos = series.nanos();
            let ratio = own.filter(|own| own.label != series.label).map(|own| own.ratio_to(series));
            let (ratio, rounds) = ratio.map_or_else(Default::default, |ratio| {
                let rounds = format!("{}..{}", figure(ratio.min), figure(ratio.max));
                (figure(ratio.median), rounds)
            });
            let cpu = series.on_processor().map(|cpu| figure(cpu.nanos().median / 1e6));
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {}..{} | {} | {} | {ratio} | {rounds} |",
                series.label,
                figure(nanos.median / 1e6),
                figure(nanos.min / 1e6),
                figure(nanos.max / 1e6),
                figure(section.bytes as f64 * 1e3 / nanos.median),
                cpu.unwrap_or_default(),
            );
        }
    }
    text
}
