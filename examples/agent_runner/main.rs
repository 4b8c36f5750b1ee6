//! Agents work on tasks and store results; a reviewer checks them.
//!
//! ```text
//! cargo run --release -p agent_runner
//! ```
//!
//! Each of four agents has a thread and three tasks. A task is a file of functions
//! (`calculator.rs`) that is edited step by step. After each step the agent stores three artifacts:
//! the change as a unified diff, the log of a check of the whole file, and the results of its
//! tests. Each step adds a version of each (`agent.rs`). The reviewer (`reviewer.rs`) searches for
//! new versions, verifies and reads them, and tags them as reviewed. Agents only wake it up.
//!
//! At the end the numbers of stored, reviewed and counted versions must be equal. The diffs,
//! applied in order to the first file, must give the last. Then a task is exported as an archive, a
//! quota refuses content that does not fit, and retention deletes logs. Any deviation is an error.

mod agent;
mod calculator;
mod proof;
mod reviewer;

use std::error::Error;
use std::sync::mpsc;
use std::thread;

use strongroom::{SecretPassword, Vault};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The spec of all tasks.
const SPEC: &str = "calculator";
const AGENTS: u64 = 4;
const TASKS_PER_AGENT: u64 = 3;
const TASKS: u64 = AGENTS * TASKS_PER_AGENT;

/// Tag of versions that were not reviewed yet.
const NEW: &str = "new";
const REVIEWED: &str = "reviewed";

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let password = SecretPassword::new("the agent runner's password");
    let vault = Vault::options(password).create(folder.path().join("vault"))?;
    let artifacts = vault.artifacts();

    let (wake, woken) = mpsc::channel();
    let (done, reviewed) = thread::scope(|scope| -> Outcome<_> {
        let reviewer = scope.spawn(|| reviewer::review_all(&vault.artifacts(), woken));
        let agents: Vec<_> = (0..AGENTS)
            .map(|agent| {
                let (artifacts, wake) = (artifacts.clone(), wake.clone());
                scope.spawn(move || agent::work(&artifacts, agent, &wake))
            })
            .collect();
        // The reviewer ends when all agents have dropped their senders, with or without success.
        drop(wake);
        let mut done = Vec::new();
        for agent in agents {
            done.extend(agent.join().map_err(|_| "an agent panicked")??);
        }
        Ok((done, reviewer.join().map_err(|_| "the reviewer panicked")??))
    })?;

    println!("stored: {} versions by {AGENTS} agents in {TASKS} tasks", proof::count(&done));
    println!(
        "reviewed: {} versions, {} bytes; {} of them while agents worked",
        reviewed.uris.len(),
        reviewed.bytes,
        reviewed.during_work
    );
    proof::counts(&artifacts, &done, &reviewed)?;
    proof::diffs_add_up(&artifacts, &done)?;
    proof::exported(&artifacts, &done)?;
    proof::quota(&artifacts)?;
    proof::retention(&vault)?;
    drop(artifacts);
    Ok(vault.close()?)
}
