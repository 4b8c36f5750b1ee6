//! Puts and gets of one size by several threads.
//!
//! Each thread has its own artifacts.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::{fs, thread};

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::bytes::Source;
use super::stores::{Kind, Session};
use crate::data::touch;
use crate::measure::{Contender, Samples};

/// The amount of puts and gets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) bytes: usize,
    /// Puts of each thread in a turn: of one thread, and of several.
    puts: [usize; 2],
    /// Gets of each thread in a turn, likewise.
    gets: [usize; 2],
    /// Artifacts that exist before the gets.
    filled: usize,
    /// The store for puts is recreated each turn.
    ///
    /// It would grow too large.
    is_fresh: bool,
}

impl Size {
    pub(super) const ALL: [Self; 4] = [
        Self {
            name: "1 KiB",
            bytes: 1 << 10,
            puts: [64, 32],
            gets: [512, 128],
            filled: 1_000,
            is_fresh: false,
        },
        Self {
            name: "64 KiB",
            bytes: 64 << 10,
            puts: [16, 8],
            gets: [64, 32],
            filled: 200,
            is_fresh: false,
        },
        Self {
            name: "1 MiB",
            bytes: 1 << 20,
            puts: [8, 2],
            gets: [16, 4],
            filled: 32,
            is_fresh: false,
        },
        Self {
            name: "64 MiB",
            bytes: 64 << 20,
            puts: [2, 1],
            gets: [2, 1],
            filled: 4,
            is_fresh: true,
        },
    ];

    pub(super) fn is_large(&self) -> bool {
        self.is_fresh
    }
}

/// Selects one of two numbers by the number of threads.
fn of_turn([one, several]: [usize; 2], threads: usize) -> usize {
    if threads == 1 { one } else { several }
}

/// Runs `work` with each session in parallel, and measures the total time.
fn time_together<T: Sync>(
    samples: &mut Samples,
    operations: usize,
    sessions: &mut [Box<dyn Session>],
    tasks: &[T],
    work: impl Fn(&mut dyn Session, &T) -> Result<()> + Copy + Send,
) -> Result<()> {
    if let ([session], [task]) = (&mut *sessions, tasks) {
        return samples.time_both(operations, || work(session.as_mut(), task)).map(drop);
    }
    // All threads exist before the time begins, and none has started before.
    let (ready, start) = (&Barrier::new(sessions.len() + 1), &Barrier::new(sessions.len() + 1));
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (session, task) in sessions.iter_mut().zip(tasks) {
            running.push(scope.spawn(move || {
                ready.wait();
                start.wait();
                work(session.as_mut(), task)
            }));
        }
        ready.wait();
        let all = || {
            start.wait();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a thread does not panic"))
        };
        samples.time_both(operations, all).map(drop)
    })
}

/// Measures puts under new names, of bytes that were never put before.
pub(super) fn puts(kind: Kind, size: Size, threads: usize, dir: &Path) -> Result<Contender> {
    let dir = dir.join(kind.label());
    let mut sessions = kind.open(&dir, threads)?;
    let mut source = Source::new(1);
    let mut numbers = 0..;
    let of_turn = of_turn(size.puts, threads);
    let turn = move |samples: &mut Samples| {
        if size.is_fresh {
            sessions.clear();
            fs::remove_dir_all(&dir)?;
            sessions = kind.open(&dir, threads)?;
        }
        let mut tasks = Vec::new();
        for _ in 0..threads {
            let new = |number: usize| (format!("a{number}"), source.bytes(size.bytes));
            tasks.push(numbers.by_ref().take(of_turn).map(new).collect::<Vec<_>>());
        }
        let put = |session: &mut dyn Session, task: &Vec<(String, Vec<u8>)>| {
            task.iter().try_for_each(|(name, bytes)| session.put(name, bytes))
        };
        time_together(samples, threads * of_turn, &mut sessions, &tasks, put)?;
        // Unwritten data of one contender must not be written in the time of another.
        rustix::fs::sync();
        Ok(())
    };
    Ok(Contender { label: kind.label(), turn: Box::new(turn) })
}

/// Measures gets of existing artifacts, from a store that was reopened; the system's cache is warm.
pub(super) fn gets(kind: Kind, size: Size, threads: usize, dir: &Path) -> Result<Contender> {
    let filled = Filled::new(kind, size, dir.join(kind.label()))?;
    let mut sessions = kind.open(&filled.dir, threads)?;
    let mut source = Source::new(2);
    let of_turn = of_turn(size.gets, threads);
    let turn = move |samples: &mut Samples| {
        let mut tasks = Vec::new();
        for _ in 0..threads {
            let pick = |_| filled.entries[source.below(filled.entries.len())].clone();
            tasks.push((0..of_turn).map(pick).collect::<Vec<_>>());
        }
        let get = |session: &mut dyn Session, task: &Vec<(String, u64)>| {
            task.iter().try_for_each(|(name, _)| {
                let bytes = session.get(name)?;
                ensure!(bytes.len() == size.bytes, "{} bytes were got", bytes.len());
                Ok(())
            })
        };
        time_together(samples, threads * of_turn, &mut sessions, &tasks, get)?;
        // Checks, outside the measured time, that the bytes are those that were put.
        let (name, sum) = &tasks[0][0];
        let bytes: Bytes = sessions[0].get(name)?;
        ensure!(touch(&bytes) == *sum, "other bytes were got");
        Ok(())
    };
    Ok(Contender { label: kind.label(), turn: Box::new(turn) })
}

/// A store with the artifacts to get.
struct Filled {
    dir: PathBuf,
    /// Name, and the sum of its bytes.
    entries: Vec<(String, u64)>,
}

impl Filled {
    fn new(kind: Kind, size: Size, dir: PathBuf) -> Result<Self> {
        let mut source = Source::new(3);
        let mut sessions = kind.open(&dir, 1)?;
        let mut entries = Vec::new();
        for number in 0..size.filled {
            let (name, bytes) = (format!("a{number}"), source.bytes(size.bytes));
            sessions[0].put(&name, &bytes)?;
            entries.push((name, touch(&bytes)));
        }
        rustix::fs::sync();
        Ok(Self { dir, entries })
    }
}
