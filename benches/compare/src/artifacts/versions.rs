//! Versions of a large file, each put by its own process.
//!
//! Compared with backup tools: total processor time, and stored bytes.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, ensure};

use super::bytes::Source;
use super::tools::Tool;
pub(crate) use super::tools::put_version;
use crate::measure::{self, Contender, Samples, Series};

/// The length of the file, and the number of its versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) file_bytes: usize,
    pub(super) versions: usize,
}

impl Sizes {
    pub(super) const WHOLE: Self = Self { file_bytes: 100_000_000, versions: 10 };
    pub(super) const QUICK: Self = Self { file_bytes: 10_000_000, versions: 3 };
}

/// The measurements of the versions.
pub(super) struct Versions {
    pub(super) sizes: Sizes,
    pub(super) rounds: usize,
    /// All versions together.
    pub(super) series: Vec<Series>,
    pub(super) tools: Vec<Outcome>,
}

/// The result of one tool.
pub(super) struct Outcome {
    pub(super) tool: Tool,
    /// `None` if it is not installed.
    pub(super) version: Option<String>,
    /// Bytes after the first version and after all, in each round.
    ///
    /// The round that warmed up is included.
    pub(super) stored: Rc<RefCell<Vec<[u64; 2]>>>,
}

impl Outcome {
    /// Returns the last round's bytes after the first and all versions.
    pub(super) fn last(&self) -> Option<[u64; 2]> {
        self.stored.borrow().last().copied()
    }
}

/// Measures the installed tools.
pub(super) fn measure(sizes: Sizes, rounds: usize, dir: &Path) -> Result<Versions> {
    eprintln!("{} versions of {} bytes: {} rounds", sizes.versions, sizes.file_bytes, rounds + 1);
    let files = Rc::new(files(sizes, dir)?);
    let (mut contenders, mut tools) = (Vec::new(), Vec::new());
    for tool in Tool::ALL {
        let outcome = Outcome { tool, version: tool.version(), stored: Rc::default() };
        if outcome.version.is_some() {
            contenders.push(contender(tool, &files, &outcome.stored, dir));
        } else {
            eprintln!("warning: {} is not installed, and is left out", tool.label());
        }
        tools.push(outcome);
    }
    let series = measure::series(rounds, 1, &mut contenders)?;
    fs::remove_dir_all(dir)?;
    Ok(Versions { sizes, rounds, series, tools })
}

/// Writes all versions as files, each in a separate folder.
fn files(sizes: Sizes, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut source = Source::new(4);
    let mut bytes = source.bytes(sizes.file_bytes);
    let mut files = Vec::new();
    for version in 0..sizes.versions {
        if version > 0 {
            source.edit(&mut bytes);
        }
        let folder = dir.join(format!("version-{version}"));
        fs::create_dir_all(&folder)?;
        files.push(folder.join("file"));
        fs::write(&files[version], &bytes)?;
    }
    Ok(files)
}

/// Makes a contender: one turn stores all versions in a new repository. Reading them back is
/// checked afterwards.
fn contender(
    tool: Tool,
    files: &Rc<Vec<PathBuf>>,
    stored: &Rc<RefCell<Vec<[u64; 2]>>>,
    dir: &Path,
) -> Contender {
    let (files, stored) = (Rc::clone(files), Rc::clone(stored));
    let dir = dir.join(format!("{tool:?}"));
    let turn = move |samples: &mut Samples| {
        let repository = tool.create(dir.clone())?;
        let (first, rest) = files.split_first().expect("there is a first version");
        let after_first = samples.time_children(|| {
            repository.put(first)?;
            let after_first = repository.bytes()?;
            rest.iter().try_for_each(|file| repository.put(file))?;
            Ok(after_first)
        })?;
        stored.borrow_mut().push([after_first, repository.bytes()?]);
        let last = files.last().expect("there is a last version");
        let is_same = repository.newest(last)? == fs::read(last)?;
        ensure!(is_same, "{} gives back other bytes", tool.label());
        fs::remove_dir_all(&dir)?;
        rustix::fs::sync();
        Ok(())
    };
    Contender { label: tool.label(), turn: Box::new(turn) }
}
