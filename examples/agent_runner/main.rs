//! Agents that work on tasks and store what they leave behind, and a reviewer who looks at it while
//! they go on.
//!
//! ```text
//! cargo run --release --example agent_runner
//! ```
//!
//! Each of four agents has a thread and three tasks. A task is a file of functions
//! (`calculator.rs`) that is edited step by step; after each step the agent stores what changed, as
//! a unified diff, the log of a check of the whole file, and the results of its tests: three
//! artifacts, each with another version by every step (`agent.rs`). The reviewer (`reviewer.rs`)
//! searches for what is new, verifies and reads it, and tags what was reviewed; it is woken up by
//! agents and told nothing by them.
//!
//! At the end the numbers must add up: what was put, what was reviewed, what the vault counts, and the
//! diffs, which applied one after the other to the first file give the last. Then a task is exported as
//! an archive, a quota refuses what does not fit, and logs are dropped as retention says. Whatever is not
//! as it should be is an error.

mod agent;
mod calculator;
mod proof;
mod reviewer;

use std::error::Error;
use std::sync::mpsc;
use std::thread;

use strongroom::{SecretPassword, Vault};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What all tasks are for.
const SPEC: &str = "calculator";
const AGENTS: u64 = 4;
const TASKS_PER_AGENT: u64 = 3;
const TASKS: u64 = AGENTS * TASKS_PER_AGENT;

/// What nobody has reviewed yet.
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
        // The reviewer ends when all agents have let go of their ends, whether they did well or not.
        drop(wake);
        let mut done = Vec::new();
        for agent in agents {
            done.extend(agent.join().map_err(|_| "an agent panicked")??);
        }
        Ok((done, reviewer.join().map_err(|_| "the reviewer panicked")??))
    })?;

    println!("stored: {} versions by {AGENTS} agents in {TASKS} tasks", proof::count(&done));
    println!(
        "reviewed: {} versions, {} bytes; {} of them beside agents at work",
        reviewed.uris.len(),
        reviewed.bytes,
        reviewed.beside_agents
    );
    proof::counts(&artifacts, &done, &reviewed)?;
    proof::diffs_add_up(&artifacts, &done)?;
    proof::exported(&artifacts, &done)?;
    proof::quota(&artifacts)?;
    proof::retention(&vault)?;
    drop(artifacts);
    Ok(vault.close()?)
}
