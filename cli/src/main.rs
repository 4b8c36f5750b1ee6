//! `strongroom`: the command line of the storage engine.
//!
//! Each command family has one file or folder. A command on a vault opens it, does one thing
//! through the engine's public interface and closes it. Only data goes to standard output.
//! Warnings, notes, progress bars and errors go to standard error. Secrets, record keys and values
//! never appear in an error or a log.

mod args;
mod artifacts;
mod documents;
mod exit;
mod hint;
mod keys;
mod manual;
mod new_file;
mod ops;
mod output;
mod partition;
mod records;
mod recovery;
mod secret;
mod session;
mod space;
mod stats;
mod store;
mod vault;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use strongroom::check::ReadData;
use strongroom::{Error, ErrorKind};
use tracing_subscriber::EnvFilter;

use args::{Args, Command};
use exit::{Failure, Outcome};
use session::Session;

/// Environment variable that holds the log directives.
///
/// For example `STRONGROOM_LOG=strongroom=debug`.
const LOG_VARIABLE: &str = "STRONGROOM_LOG";

fn main() -> ExitCode {
    let Args { global, command } = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => return exit::report_usage(&usage),
    };
    let subject = command.subject();
    let done = start_log()
        .and_then(|()| Session::new(&global, subject))
        .and_then(|session| run(&session, &command));
    match done {
        Ok(outcome) => outcome.code(),
        Err(failure) => failure.report(subject, global.json),
    }
}

fn run(session: &Session<'_>, command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::Init { cipher, costs, .. } => vault::init(session, *cipher, costs),
        Command::Info { .. } => vault::info(session),
        Command::Check { store: true, read_data, .. } => store::check(session, *read_data),
        Command::Check { read_data, read_data_part, rebuild_index, .. } => {
            let read_data = match *read_data_part {
                Some((part, of)) => ReadData::Part { part, of },
                None if *read_data => ReadData::All,
                None => ReadData::No,
            };
            vault::check(session, read_data, *rebuild_index)
        }
        Command::Compact { .. } => vault::compact(session),
        Command::Records(command) => records::run(session, command),
        Command::Artifacts(command) => artifacts::run(session, command),
        Command::Ops(command) => ops::run(session, command),
        Command::Stats { .. } => stats::run(session),
        Command::Keys(command) => keys::run(session, command),
        Command::Space(command) => space::run(session, command),
        Command::Partition(command) => partition::run(session, command),
        Command::Doc(command) => documents::run(session, command),
        Command::Completions { shell } => manual::completions(session, *shell),
        Command::Man { folder } => manual::pages(session, folder),
    }
}

/// Starts the log if [`LOG_VARIABLE`] is set and not empty.
fn start_log() -> Result<(), Failure> {
    let Some(directives) = std::env::var_os(LOG_VARIABLE).filter(|d| !d.is_empty()) else {
        return Ok(());
    };
    let filter = EnvFilter::try_new(directives.to_string_lossy()).map_err(|e| {
        Error::new(ErrorKind::Invalid, "start log").with_detail(format!("{LOG_VARIABLE}: {e}"))
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    Ok(())
}
