//! A service that processes batches of files despite random kills.
//!
//! ```text
//! cargo run --release -p strongroom-examples --example batch_service [FOLDER]
//! STRONGROOM_KILLS=200 cargo run --release -p strongroom-examples --example batch_service
//! ```
//!
//! `service.rs` is a host's code. At its start it resumes the work of the last process. Then it
//! submits its batch, one operation for each part of the folder, with ids that derive from the
//! batch. A restart therefore needs no knowledge of the progress: nothing is submitted twice. Each
//! file takes about a millisecond of work, and a policy decides how many commit together.
//!
//! The other files disturb it. They kill it (SIGKILL) while it opens the vault, before its first
//! checkpoint, at work and as it ends, ten times unless `STRONGROOM_KILLS` sets another number.
//! They stop it once in good order, half-way, and restart it each time. A service that finishes its
//! batch before the kill gets the next batch, and the kill does not count.
//!
//! A journal proves that nothing was repeated. Every processed file adds a row to it, in the commit
//! of its result and checkpoint. The key of the row is unique: the file, the try of its operation,
//! the position within that try. Rows are never removed or overwritten, so a file that was
//! committed twice would have two. Results must equal those that are computed directly.

mod process;
mod proof;
mod service;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use strongroom::backends::component::{Entropy, OsEntropy};
use strongroom::keys::{KeySource, Unlock};
use strongroom::operations::OperationsQuery;
use strongroom::{ErrorKind, SecretKey, Vault, VaultOptions};

use process::{Moment, Process};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The files of each part of the folder, by relative path.
type Parts = BTreeMap<String, Vec<String>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => demonstrate(Path::new(env!("CARGO_MANIFEST_DIR"))),
        [folder] => demonstrate(Path::new(folder)),
        ["serve", site, folder, batch] => {
            service::serve(Path::new(site), Path::new(folder), batch.parse()?)
        }
        _ => Err("usage: batch_service [FOLDER]".into()),
    }
}

/// Kills and restarts the service, then proves its result.
fn demonstrate(folder: &Path) -> Outcome {
    let wanted = std::env::var("STRONGROOM_KILLS").map_or(Ok(10), |kills| kills.parse())?;
    let parts = parts_of(folder)?;
    let files: usize = parts.values().map(Vec::len).sum();
    println!("folder: {} with {files} files in {} parts", folder.display(), parts.len());
    if parts.is_empty() {
        return Err("a folder with files is needed".into());
    }
    let scratch = tempfile::tempdir()?;
    let site = scratch.path();
    fs::write(site.join("key"), random::<{ SecretKey::BYTES }>()?)?;
    options(site).create(site.join("vault"))?.close()?;

    let mut batch = 0;
    let mut kills = [0; Moment::ALL.len()];
    while kills.iter().sum::<usize>() < wanted {
        let aim = Moment::ALL[kills.iter().sum::<usize>() % Moment::ALL.len()];
        let killed = Process::start(site, folder, batch)?.kill(aim)?;
        if let Some(moment) = killed {
            kills[moment as usize] += 1;
        }
        if matches!(killed, None | Some(Moment::End)) {
            batch += 1;
        }
    }
    let [opening, first, work, end] = kills;
    println!(
        "killed: {} times (in opening {opening}, before the first checkpoint {first}, in work \
         {work}, after the end {end})",
        kills.iter().sum::<usize>()
    );
    let left = stop_half_way(site, folder, &mut batch)?;
    println!("stopped: in good order, with {left} resumable operations");
    Process::start(site, folder, batch)?.finish()?;
    proof::prove(site, folder, &parts, batch + 1)
}

/// Stops the service in good order; returns the number of unfinished operations, each resumable.
fn stop_half_way(site: &Path, folder: &Path, batch: &mut u64) -> Outcome<usize> {
    for _ in 0..10 {
        let mut service = Process::start(site, folder, *batch)?;
        service.works();
        service.stop()?;
        let vault = options(site).open(site.join("vault"))?;
        let left = vault.operations().unfinished(&OperationsQuery::new().limit(usize::MAX))?;
        if !vault.recovery().was_clean() || left.iter().any(|left| !left.resumable.with_all()) {
            return Err(format!("{:?} was found, and left was {left:?}", vault.recovery()).into());
        }
        vault.close()?;
        if !left.is_empty() {
            return Ok(left.len());
        }
        *batch += 1;
    }
    Err("the service always finished before it could be stopped: name a larger folder".into())
}

/// The vault's key is in a file.
///
/// Unlike a password, it takes no time to open with.
struct KeyFile(PathBuf);

impl KeySource for KeyFile {
    fn unlock(&self) -> strongroom::Result<Unlock> {
        let bytes = fs::read(&self.0).map_err(|e| strongroom::Error::io("read key", e))?;
        let bytes = bytes.try_into().map_err(|_| {
            strongroom::Error::new(ErrorKind::Invalid, "read key").with_detail("it is not 32 bytes")
        })?;
        Ok(Unlock::Key(SecretKey::new(bytes)))
    }
}

/// Key and vault share a folder, which no real host should do.
fn options(site: &Path) -> VaultOptions {
    Vault::options(KeyFile(site.join("key"))).purpose("batch service")
}

/// Lists all regular files below `folder`, grouped by first level.
///
/// Build output and the version control's own files are skipped.
fn parts_of(folder: &Path) -> Outcome<Parts> {
    let mut parts = Parts::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        for entry in fs::read_dir(folder.join(&within))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() && ![".git", "target"].map(Into::into).contains(&entry.file_name()) {
                folders.push(path);
            } else if kind.is_file()
                && let Some(path) = path.to_str()
            {
                let part = path.split_once('/').map_or(".", |(first, _)| first);
                parts.entry(part.to_owned()).or_default().push(path.to_owned());
            }
        }
    }
    for files in parts.values_mut() {
        files.sort_unstable();
    }
    Ok(parts)
}

/// Draws unpredictable bytes.
fn random<const BYTES: usize>() -> strongroom::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    OsEntropy.fill(&mut bytes)?;
    Ok(bytes)
}
