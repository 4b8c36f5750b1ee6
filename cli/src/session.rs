//! One invocation: how it opens its vault, and what it says beside the data.
//!
//! All that is said here goes to standard error and falls silent under `--quiet`; a standard
//! error that is closed never ends a command.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use strongroom::testing::TestKey;
use strongroom::{LockPolicy, Recovery, Vault, VaultOptions};

use crate::args::Global;
use crate::exit::Failure;

/// Pause between two tries for the vault under `--wait`.
const WAIT_PAUSE: Duration = Duration::from_millis(250);

/// Pause between two turns of a spinner.
const SPINNER_PAUSE: Duration = Duration::from_millis(100);

/// What the global options and the vault's path say.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    path: &'a Path,
    global: &'a Global,
}

impl<'a> Session<'a> {
    pub(crate) fn new(global: &'a Global, path: &'a Path) -> Self {
        Self { path, global }
    }

    /// The vault's folder.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Whether output is a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    /// Format 0 keeps nothing secret: nobody should learn that too late.
    pub(crate) fn warn_unsealed(&self) {
        self.say("warning: format 0 is unsealed and for development only");
    }

    /// One line on standard error.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if !self.global.quiet {
            let _ = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }

    /// Makes the vault.
    pub(crate) fn create(&self, purpose: &str) -> Result<Vault, Failure> {
        Ok(self.options(purpose).create(self.path)?)
    }

    /// Opens the vault, telling those who wait for it `purpose`, and tells what was recovered.
    pub(crate) fn open(&self, purpose: &str) -> Result<Vault, Failure> {
        let vault = self.options(purpose).open(self.path)?;
        self.tell_recovery(vault.recovery());
        Ok(vault)
    }

    fn options(&self, purpose: &str) -> VaultOptions {
        let options = Vault::options(TestKey).purpose(purpose);
        match self.global.wait {
            None => options,
            Some(seconds) => options.lock_policy(LockPolicy {
                timeout: Duration::from_secs(seconds.into()),
                tries: u32::MAX,
                first_pause: WAIT_PAUSE,
                growth: 1.0,
            }),
        }
    }

    fn tell_recovery(&self, recovery: &Recovery) {
        if let Some(holder) = &recovery.died {
            self.say(format!("note: the last process died at work: {holder}"));
        }
        let mut done = Vec::new();
        if recovery.state_repaired {
            done.push("state repaired".to_owned());
        }
        if recovery.unfinished_state {
            done.push("unfinished state discarded".to_owned());
        }
        if recovery.temporaries > 0 {
            done.push(format!("temporary files removed: {}", recovery.temporaries));
        }
        if recovery.objects > 0 {
            done.push(format!("leftover objects removed: {}", recovery.objects));
        }
        if !done.is_empty() {
            self.say(format!("note: recovered: {}", done.join(", ")));
        }
        if let Some(error) = &recovery.clean_up_error {
            self.say(format!("warning: clean-up not finished: {error}"));
        }
    }

    /// A spinner for work of unknown length; `template` shows `{pos}` or `{bytes}`.
    pub(crate) fn spinner(&self, template: &str) -> ProgressBar {
        let bar = if self.has_bars() {
            ProgressBar::new_spinner()
        } else {
            return ProgressBar::hidden();
        };
        bar.enable_steady_tick(SPINNER_PAUSE);
        bar.with_style(ProgressStyle::with_template(template).expect("templates are literals"))
    }

    /// A bar over so many bytes on their way to standard output.
    pub(crate) fn output_bar(&self, bytes: u64) -> ProgressBar {
        if !self.has_bars() || io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
        ProgressBar::new(bytes).with_style(style.expect("templates are literals"))
    }

    fn has_bars(&self) -> bool {
        !self.global.quiet && io::stderr().is_terminal()
    }
}
