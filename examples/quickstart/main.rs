//! Imports a folder over eight lanes and survives a kill.
//!
//! It is killed half-way, resumes, and proves that every file is there exactly once.
//!
//! ```text
//! cargo run --release -p quickstart [FOLDER]
//! ```
//!
//! The import runs in a separate process. SIGKILL ends the first process when half of the files are
//! imported; a second one resumes. Each file's row and its lane's checkpoint commit together. Every
//! import of a file raises a counter in its data by one. A repeated file would have 2, and a lost
//! one would be missing.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use strongroom::check::CheckOptions;
use strongroom::operations::{Checkpoint, Lane, OperationState};
use strongroom::records::{ROW_BYTES_MAX, TypedNamespace};
use strongroom::{SecretPassword, Staged, Vault, WriteTx};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Number of times that each file was imported.
const IMPORTED: TypedNamespace<String, u32> = TypedNamespace::new("imported");
const OPERATION: &str = "import";
/// The folder that is imported without an argument.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const LANES: usize = 8;
/// Files, or bytes of files, after which a lane commits.
const FILES_PER_COMMIT: usize = 16;
const BYTES_PER_COMMIT: u64 = 512 << 10;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => demonstrate(&Path::new(REPOSITORY).canonicalize()?),
        [folder] => demonstrate(Path::new(folder)),
        ["import", vault, folder] => import(Path::new(vault), Path::new(folder)),
        _ => Err("usage: quickstart [FOLDER]".into()),
    }
}

/// Returns the vault's password: from the environment, or a public one.
fn password() -> SecretPassword {
    let given = std::env::var("STRONGROOM_PASSWORD");
    SecretPassword::new(given.unwrap_or_else(|_| "the quickstart's password".into()))
}

fn demonstrate(folder: &Path) -> Outcome {
    println!("quickstart: import a folder over {LANES} lanes, kill it half-way, resume, and prove");
    let files = files_of(folder)?;
    let bytes: u64 = files.values().sum();
    println!("folder: {} with {} files, {bytes} bytes", folder.display(), files.len());
    if files.len() < 2 {
        return Err("a folder with at least two files is needed to be killed half-way".into());
    }
    let scratch = tempfile::tempdir()?;
    let vault = scratch.path().join("vault");
    Vault::options(password()).create(&vault)?.close()?;

    let killed_at = import_until_killed(&vault, folder, files.len())?;
    println!("killed: SIGKILL when {killed_at} of {} files were acknowledged", files.len());
    show_progress_after_kill(&vault, killed_at)?;
    if !spawn_import(&vault, folder)?.wait()?.success() {
        return Err("the second import failed".into());
    }
    prove(&vault, folder, &files)
}

/// Starts an import, and kills it when half the files are acknowledged.
fn import_until_killed(vault: &Path, folder: &Path, files: usize) -> Outcome<usize> {
    let mut child = spawn_import(vault, folder)?;
    let acknowledged = BufReader::new(child.stdout.take().expect("piped"));
    let mut count = 0;
    for line in acknowledged.lines() {
        count += line?.parse::<usize>()?;
        if count >= files / 2 {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(count)
}

fn spawn_import(vault: &Path, folder: &Path) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("import").arg(vault).arg(folder).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn show_progress_after_kill(vault: &Path, acknowledged: usize) -> Outcome {
    let vault = Vault::options(password()).open(vault)?;
    let recovery = vault.recovery();
    let snapshot = vault.read()?;
    let status = snapshot.operation(OPERATION)?.ok_or("the operation is gone")?;
    let stored = snapshot.count("files")?;
    println!(
        "recovered: {} files in {} lanes at {:.0} %, {} unfinished objects removed",
        stored,
        status.lanes.len(),
        100.0 * status.progress(),
        recovery.objects
    );
    if stored < acknowledged as u64 {
        return Err(format!("{stored} files are there, {acknowledged} were acknowledged").into());
    }
    drop(snapshot);
    Ok(vault.close()?)
}

/// Imports as a host would: begins or resumes, and continues each lane from its checkpoint.
fn import(vault: &Path, folder: &Path) -> Outcome {
    let vault = Vault::options(password()).purpose("import").open(vault)?;
    let operation = vault.operations().begin_or_resume(OPERATION, (0..LANES).map(lane_name))?;
    let files = files_of(folder)?;
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let (vault, operation, files) = (&vault, &operation, &files);
                scope.spawn(move || -> Outcome {
                    let lane = operation.lane(&lane_name(number))?;
                    let own = files.keys().filter(|path| lane_of(path) == number);
                    import_lane(vault, &lane, folder, &own.collect::<Vec<_>>())
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane panicked"))
    })?;
    drop(operation);
    Ok(vault.close()?)
}

fn import_lane(vault: &Vault, lane: &Lane, folder: &Path, paths: &[&String]) -> Outcome {
    let status = lane.status()?;
    if status.complete {
        return Ok(());
    }
    let mut done = status.decode::<usize>()?.unwrap_or(0);
    loop {
        let group = next_group(vault, folder, &paths[done..])?;
        let count = group.len();
        let checkpoint = Checkpoint::encode(&(done + count))?;
        let checkpoint = if done + count == paths.len() {
            checkpoint.complete()
        } else {
            checkpoint.progress((done + count) as f64 / paths.len() as f64)
        };
        vault.write(|tx| -> Outcome {
            for (path, content) in group {
                tx.insert("files", path, content)?;
                raise_counter(tx, path)?;
            }
            Ok(tx.checkpoint(lane, checkpoint)?)
        })?;
        done += count;
        println!("{count}");
        if done == paths.len() {
            return Ok(());
        }
    }
}

/// Returns the next few files, with staged content: short content stays in memory, long content is
/// stored.
fn next_group<'a>(
    vault: &Vault,
    folder: &Path,
    paths: &[&'a String],
) -> Outcome<Vec<(&'a String, Staged)>> {
    let mut group = Vec::new();
    let mut bytes = 0;
    for path in paths.iter().take(FILES_PER_COMMIT) {
        let content = vault.stage(File::open(folder.join(path))?)?;
        bytes += content.len();
        group.push((*path, content));
        if bytes >= BYTES_PER_COMMIT {
            break;
        }
    }
    Ok(group)
}

fn raise_counter(tx: &mut WriteTx<'_>, path: &String) -> Outcome {
    let imported = IMPORTED.get_in(tx, path)?.unwrap_or(0);
    Ok(IMPORTED.insert(tx, path, &(imported + 1))?)
}

fn prove(vault: &Path, folder: &Path, files: &BTreeMap<String, u64>) -> Outcome {
    let vault = Vault::options(password()).open(vault)?;
    let snapshot = vault.read()?;
    let status = snapshot.operation(OPERATION)?.ok_or("the operation is gone")?;
    if status.state != OperationState::Completed {
        return Err("the operation is not completed".into());
    }
    let mut long = 0;
    for (path, len) in files {
        let imported = IMPORTED.get(&snapshot, path)?;
        if imported != Some(1) {
            return Err(format!("{path} was imported {imported:?} times").into());
        }
        let value = snapshot.get("files", path)?.ok_or("a file is missing")?;
        long += usize::from(value.len() > ROW_BYTES_MAX as u64);
        if value.len() != *len || !same_bytes(value.into_reader(), File::open(folder.join(path))?)?
        {
            return Err(format!("{path} differs from its source").into());
        }
    }
    let stored = snapshot.count("files")?;
    if stored != files.len() as u64 {
        return Err(format!("{stored} files stored, {} expected", files.len()).into());
    }
    drop(snapshot);
    let report = vault.check(&CheckOptions::new().read_data(strongroom::check::ReadData::All))?;
    if !report.is_ok() || !report.unknown.is_empty() {
        return Err(format!("check found {report:?}").into());
    }
    println!(
        "proved: {stored} files, each imported exactly once and equal to its source byte by byte; \
         {long} long ones in {} chunks; resumed as generation {}; check found nothing wrong",
        report.chunks, status.generation
    );
    Ok(vault.close()?)
}

fn same_bytes(left: impl Read, right: impl Read) -> Outcome<bool> {
    let (mut left, mut right) = (BufReader::new(left), BufReader::new(right));
    loop {
        let (a, b) = (left.fill_buf()?, right.fill_buf()?);
        let common = a.len().min(b.len());
        if common == 0 {
            return Ok(a.len() == b.len());
        }
        if a[..common] != b[..common] {
            return Ok(false);
        }
        left.consume(common);
        right.consume(common);
    }
}

/// Lists all regular files below `folder`, with paths and lengths.
///
/// Build output and the version control's own files are skipped.
fn files_of(folder: &Path) -> Outcome<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
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
                files.insert(path.to_owned(), entry.metadata()?.len());
            }
        }
    }
    Ok(files)
}

fn lane_name(number: usize) -> String {
    format!("lane-{number}")
}

/// Returns a file's lane, the same in every process.
fn lane_of(path: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).expect("fewer than 8")
}
