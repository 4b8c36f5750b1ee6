//! One invocation: opening its vault, and its messages.
//!
//! All messages go to standard error, and `--quiet` suppresses them. A closed standard error never
//! ends a command.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;
use strongroom::backends::{Backend, open_url};
use strongroom::keys::{Cipher, PasswordCosts};
use strongroom::vault::LockPolicy;
use strongroom::{Error, ErrorKind, Reason, Vault, VaultOptions};

use crate::args::{Costs, Global};
use crate::exit::Failure;
use crate::output::{Output, print_json};
use crate::recovery;
use crate::secret::{Origin, PASSWORD_VARIABLE, Prompt, SecretOptions, Source};

/// Variable with the URL of the store, if no option gives one.
const BACKEND_VARIABLE: &str = "STRONGROOM_BACKEND";

/// Pause between two attempts to open the vault under `--wait`.
const WAIT_PAUSE: Duration = Duration::from_millis(250);

/// Pause between two frames of a spinner.
const SPINNER_PAUSE: Duration = Duration::from_millis(100);

/// Global options, and the path of the vault.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    path: &'a Path,
    global: &'a Global,
    origin: Origin,
}

/// Destination of notes and warnings: standard error, or none under `--quiet`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    quiet: bool,
}

impl Notes {
    /// Prints one line.
    pub(crate) fn say(self, line: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }
}

/// An open vault, and the secret that opened it.
pub(crate) struct Opened {
    pub(crate) vault: Vault,
    pub(crate) source: Source,
}

impl<'a> Session<'a> {
    /// Returns `Invalid` if the options contradict each other.
    pub(crate) fn new(global: &'a Global, path: &'a Path) -> Result<Self, Failure> {
        let options = SecretOptions {
            password_file: global.opening.password_file.as_deref(),
            key_file: global.opening.key_file.as_deref(),
            variable: PASSWORD_VARIABLE,
        };
        Ok(Self { path, global, origin: options.origin()?.unwrap_or(Origin::TERMINAL) })
    }

    /// Returns the vault's folder.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Returns whether the output is a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    /// Returns the source of the secret that opens the vault.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn notes(&self) -> Notes {
        Notes { quiet: self.global.quiet }
    }

    /// Prints one line on standard error.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        self.notes().say(line);
    }

    /// Prints the only result of a command: `text`, or the document under `--json`.
    pub(crate) fn answer(&self, document: &Json, text: String) -> Result<(), Failure> {
        if self.json() {
            return print_json(document);
        }
        let mut output = Output::new();
        output.line(text)?;
        output.finish()
    }

    /// Returns `Invalid` for an option that applies only to an existing vault.
    pub(crate) fn expect_no_recovery_options(&self) -> Result<(), Failure> {
        let opening = &self.global.opening;
        if opening.adopt || opening.restore_key_set || opening.take_over {
            return Err(usage("--adopt, --restore-key-set and --take-over need an existing vault"));
        }
        Ok(())
    }

    /// Returns `Invalid` for an option that applies only to opening a vault.
    pub(crate) fn expect_no_opening_options(&self) -> Result<(), Failure> {
        let opening = &self.global.opening;
        if opening.password_file.is_some()
            || opening.key_file.is_some()
            || opening.password_memory_max_mib.is_some()
            || opening.backend.is_some()
        {
            return Err(usage("this command opens no vault and takes no key"));
        }
        self.expect_no_recovery_options()
    }

    /// Returns `Invalid` if standard input would serve two purposes.
    ///
    /// `others` lists the other possible uses, besides the secret that opens the vault.
    pub(crate) fn expect_one_stdin(&self, others: &[(bool, &str)]) -> Result<(), Failure> {
        let vault = (self.origin.is_stdin(), "the secret that opens the vault");
        let all = [&[vault], others].concat();
        match all.iter().filter(|(is_stdin, _)| *is_stdin).collect::<Vec<_>>()[..] {
            [(_, one), (_, other), ..] => {
                Err(usage(format!("{one} and {other} cannot both come from standard input")))
            }
            _ => Ok(()),
        }
    }

    /// Creates the vault, sealed with `cipher` if one is given.
    pub(crate) fn create(
        &self,
        purpose: &str,
        cipher: Option<Cipher>,
        costs: &Costs,
    ) -> Result<Vault, Failure> {
        self.expect_no_recovery_options()?;
        expect_password_for(costs, &self.origin)?;
        let options = self.options(&self.source(Prompt::New), purpose)?;
        let options = options.password_costs(costs.costs());
        let options = match cipher {
            Some(cipher) => options.cipher(cipher),
            None => options,
        };
        Ok(options.create(self.path)?)
    }

    /// Opens the vault and reports its recovery. Other processes that wait see `purpose`.
    pub(crate) fn open(&self, purpose: &str) -> Result<Vault, Failure> {
        Ok(self.open_with(purpose, PasswordCosts::default())?.vault)
    }

    /// Opens the vault like `open`. New passwords will have these `costs`.
    pub(crate) fn open_with(&self, purpose: &str, costs: PasswordCosts) -> Result<Opened, Failure> {
        let source = self.source(Prompt::Old);
        let opening = &self.global.opening;
        let vault = self
            .options(&source, purpose)?
            .password_costs(costs)
            .take_over(opening.take_over)
            .adopt_older_state(opening.adopt)
            .restore_key_set(opening.restore_key_set)
            .open(self.path)?;
        recovery::report(self.notes(), vault.recovery());
        Ok(Opened { vault, source })
    }

    /// Closes the vault after the command has taken effect.
    ///
    /// Its commits are durable before, and repeating the command would repeat them. So a failed
    /// close is a warning, except if the commits are in a state that another session superseded.
    pub(crate) fn close(&self, vault: Vault) -> Result<(), Failure> {
        match vault.close() {
            Err(error) if error.reason() == Some(Reason::CommitsSuperseded) => Err(error.into()),
            Err(error) => {
                self.say(format!(
                    "warning: the command took effect, but the vault was not closed in order: {error}"
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn source(&self, question: Prompt) -> Source {
        Source::new(self.origin.clone(), question, self.path, self.notes())
    }

    /// Returns the options to inspect a vault whose state is lost.
    pub(crate) fn without_state(&self) -> Result<VaultOptions, Failure> {
        self.expect_no_recovery_options()?;
        self.options(&self.source(Prompt::Old), "check")
    }

    /// Returns the content's store, if it is outside the vault's folder.
    fn backend(&self) -> Result<Option<Arc<dyn Backend>>, Failure> {
        let option = self.global.opening.backend.clone();
        let url = option.or_else(|| std::env::var(BACKEND_VARIABLE).ok());
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            if self.global.opening.take_over {
                return Err(usage("--take-over needs a store, which --backend names"));
            }
            return Ok(None);
        };
        Ok(Some(open_url(&url)?))
    }

    fn options(&self, source: &Source, purpose: &str) -> Result<VaultOptions, Failure> {
        let mut options = Vault::options(source.clone()).purpose(purpose);
        if let Some(backend) = self.backend()? {
            options = options.backend(backend);
        }
        if let Some(mib) = self.global.opening.password_memory_max_mib {
            options = options.password_memory_kib_max(mib.saturating_mul(1024));
        }
        Ok(match self.global.wait {
            None => options,
            Some(seconds) => options.lock_policy(LockPolicy {
                timeout: Duration::from_secs(seconds.into()),
                tries: u32::MAX,
                first_pause: WAIT_PAUSE,
                growth: 1.0,
            }),
        })
    }

    /// Returns a spinner for work of unknown length. `template` shows `{pos}` or `{bytes}`.
    pub(crate) fn spinner(&self, template: &str) -> ProgressBar {
        let bar = if self.has_bars() {
            ProgressBar::new_spinner()
        } else {
            return ProgressBar::hidden();
        };
        bar.enable_steady_tick(SPINNER_PAUSE);
        bar.with_style(ProgressStyle::with_template(template).expect("templates are literals"))
    }

    /// Returns a bar over the objects of the share space. Its length arrives with the progress.
    pub(crate) fn objects_bar(&self) -> ProgressBar {
        self.counting_bar("{bar:40} {pos}/{len} objects")
    }

    /// Returns a bar over the operations. Its length arrives with the progress.
    pub(crate) fn operations_bar(&self) -> ProgressBar {
        self.counting_bar("{bar:40} {pos}/{len} operations")
    }

    fn counting_bar(&self, template: &str) -> ProgressBar {
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template);
        ProgressBar::new(0).with_style(style.expect("templates are literals"))
    }

    /// Returns a bar over `bytes` that go to standard output.
    pub(crate) fn output_bar(&self, bytes: u64) -> ProgressBar {
        if io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        self.bytes_bar(Some(bytes))
    }

    /// Returns a bar over `bytes`, or a spinner for an unknown number.
    pub(crate) fn bytes_bar(&self, bytes: Option<u64>) -> ProgressBar {
        let Some(bytes) = bytes else {
            return self.spinner("{spinner} {bytes} stored, {bytes_per_sec}");
        };
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
        ProgressBar::new(bytes).with_style(style.expect("templates are literals"))
    }

    fn has_bars(&self) -> bool {
        !self.global.quiet && io::stderr().is_terminal()
    }
}

/// Returns a callback that moves `bar` as the engine reports progress.
pub(crate) fn moving(bar: &ProgressBar) -> impl Fn(u64, Option<u64>) + use<'_> {
    |done, total| {
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    }
}

/// Returns the error for options that exclude each other.
pub(crate) fn usage(detail: impl Into<String>) -> Failure {
    Error::new(ErrorKind::Invalid, "read options").with_detail(detail).into()
}

/// Returns `Invalid` for costs of a secret that is not a password.
pub(crate) fn expect_password_for(costs: &Costs, origin: &Origin) -> Result<(), Failure> {
    if costs.is_given() && matches!(origin, Origin::KeyFile(_)) {
        return Err(usage(
            "--memory-mib, --passes and --lanes apply to passwords, not to key files",
        ));
    }
    Ok(())
}
