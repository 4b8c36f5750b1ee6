//! An agent: works through its tasks, and stores the results of each step.

use std::sync::mpsc::Sender;

use similar::TextDiff;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri, Artifacts};

use crate::calculator::{check, new_file, steps, test};
use crate::{NEW, Outcome, SPEC, TASKS_PER_AGENT};

/// An agent's own account of a task. The reviewer never sees it.
pub(crate) struct Done {
    pub(crate) task: String,
    pub(crate) uris: Vec<ArtifactUri>,
    /// Sum of the lengths of everything that was stored, in bytes.
    pub(crate) bytes: u64,
    /// The file before the first step, and after the last.
    pub(crate) first: String,
    pub(crate) last: String,
}

/// Works through the tasks of one agent.
pub(crate) fn work(artifacts: &Artifacts, agent: u64, wake: &Sender<()>) -> Outcome<Vec<Done>> {
    let own = agent * TASKS_PER_AGENT..(agent + 1) * TASKS_PER_AGENT;
    own.map(|task| work_on(artifacts, agent, task, wake)).collect()
}

fn work_on(artifacts: &Artifacts, agent: u64, task: u64, wake: &Sender<()>) -> Outcome<Done> {
    let first = new_file(task);
    let mut done = Done {
        task: format!("task-{task}"),
        uris: Vec::new(),
        bytes: 0,
        last: first.clone(),
        first,
    };
    for (number, step) in (1..).zip(steps(task, &done.first)) {
        let spec = |kind: &str| -> Outcome<ArtifactSpec> {
            let name = ArtifactName::new(SPEC, &done.task, kind)?;
            Ok(ArtifactSpec::new(name)
                .tag(NEW)
                .tag(format!("agent-{agent}"))
                .metadata("step", format!("{number}: {}", step.summary)))
        };
        let diff = TextDiff::from_lines(&done.last, &step.text);
        let (added, removed) = (count(&diff, '+'), count(&diff, '-'));
        let diff = diff.unified_diff().header("a/functions", "b/functions").to_string();
        let diff_spec = spec("diff")?.mime("text/x-diff");
        let diff_spec = diff_spec.metadata("added", added).metadata("removed", removed);

        let log = check(&step.text);
        let log_spec = spec("log")?.mime("text/plain");

        let (results, failed) = test(task, &step.text);
        let verdict = if failed == 0 { "passed" } else { "failed" };
        let test_spec = spec("test")?.mime("text/plain").tag(verdict);
        let test_spec = test_spec.metadata("failed", failed.to_string());

        for (spec, text) in [(diff_spec, diff), (log_spec, log), (test_spec, results)] {
            done.uris.push(artifacts.put(spec, text.as_bytes())?);
            done.bytes += text.len() as u64;
            // If the reviewer has ended, its result shows when it is joined.
            let _ = wake.send(());
        }
        done.last = step.text;
    }
    Ok(done)
}

fn count(diff: &TextDiff<'_, '_, str>, sign: char) -> String {
    let lines =
        diff.iter_all_changes().filter(|change| change.tag().to_string() == sign.to_string());
    lines.count().to_string()
}
