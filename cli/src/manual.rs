//! `completions` and `man`: files for the shell, made from the definition of the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;
use strongroom::Error;

use crate::args::Args;
use crate::exit::{Failure, Outcome};
use crate::session::Session;

/// Prints the completion script of a shell.
pub(crate) fn completions(session: &Session<'_>, shell: Shell) -> Result<Outcome, Failure> {
    session.expect_no_opening_options()?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "strongroom", &mut script);
    let script = String::from_utf8(script).expect("completions are UTF-8");
    let document = json!({ "shell": shell.to_string(), "script": script });
    session.answer(&document, script.trim_end().to_owned())?;
    Ok(Outcome::Done)
}

/// Writes a manual page for every command into `folder`. Replaces existing pages.
pub(crate) fn pages(session: &Session<'_>, folder: &Path) -> Result<Outcome, Failure> {
    session.expect_no_opening_options()?;
    let failed = |e| Error::io("write manual pages", e).with_subject(folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let command = Args::command().disable_help_subcommand(true);
    let pages = count(&command);
    clap_mangen::generate_to(command, folder).map_err(failed)?;
    let path = folder.display().to_string();
    let text = format!("{pages} manual pages written to {path}");
    session.answer(&json!({ "folder": path, "pages": pages }), text)?;
    Ok(Outcome::Done)
}

/// Returns the number of commands: this one and all below it.
fn count(command: &clap::Command) -> usize {
    1 + command.get_subcommands().map(count).sum::<usize>()
}
