//! One invocation: how it opens its vault, and what it says beside the data.
//!
//! All that is said here goes to standard error and falls silent under `--quiet`; a standard
//! error that is closed never ends a command.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;
use strongroom::backends::{Backend, open_url};
use strongroom::keys::{Cipher, PasswordCosts};
use strongroom::vault::LockPolicy;
use strongroom::{Error, ErrorKind, Vault, VaultOptions};

use crate::args::{Costs, Global};
use crate::exit::Failure;
use crate::output::{Output, print_json};
use crate::recovery;
use crate::secret::{Origin, PASSWORD_VARIABLE, Question, Source, Told};

/// Where the content lies, unless an option says so.
const BACKEND_VARIABLE: &str = "STRONGROOM_BACKEND";

/// Pause between two tries for the vault under `--wait`.
const WAIT_PAUSE: Duration = Duration::from_millis(250);

/// Pause between two turns of a spinner.
const SPINNER_PAUSE: Duration = Duration::from_millis(100);

/// What the global options and the path of the vault say.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    path: &'a Path,
    global: &'a Global,
    origin: Origin,
}

/// Where notes and warnings go: standard error, or nowhere under `--quiet`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    quiet: bool,
}

impl Notes {
    /// One line.
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
    /// `Invalid` if the options contradict each other.
    pub(crate) fn new(global: &'a Global, path: &'a Path) -> Result<Self, Failure> {
        let told = Told {
            password_file: global.opening.password_file.as_deref(),
            key_file: global.opening.key_file.as_deref(),
            variable: PASSWORD_VARIABLE,
        };
        Ok(Self { path, global, origin: told.origin()?.unwrap_or(Origin::TERMINAL) })
    }

    /// The vault's folder.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Whether output is a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    /// Where the secret comes from that opens the vault.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn notes(&self) -> Notes {
        Notes { quiet: self.global.quiet }
    }

    /// One line on standard error.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        self.notes().say(line);
    }

    /// The one thing that a command has to tell: `text`, or the document in its place.
    pub(crate) fn answer(&self, document: &Json, text: String) -> Result<(), Failure> {
        if self.json() {
            return print_json(document);
        }
        let mut output = Output::new();
        output.line(text)?;
        output.finish()
    }

    /// `Invalid` if an option is given that is about a vault which exists.
    pub(crate) fn expect_no_recovery_options(&self) -> Result<(), Failure> {
        let opening = &self.global.opening;
        if opening.adopt || opening.restore_key_set || opening.take_over {
            return Err(usage(
                "--adopt, --restore-key-set and --take-over are for a vault that exists",
            ));
        }
        Ok(())
    }

    /// `Invalid` if an option is given that is about opening a vault.
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

    /// `Invalid` if standard input shall be two things: those of `others` that are it, or one of
    /// them and what opens the vault.
    pub(crate) fn expect_one_stdin(&self, others: &[(bool, &str)]) -> Result<(), Failure> {
        let vault = (self.origin.is_stdin(), "what opens the vault");
        let all = [&[vault], others].concat();
        match all.iter().filter(|(is_stdin, _)| *is_stdin).collect::<Vec<_>>()[..] {
            [(_, one), (_, other), ..] => {
                Err(usage(format!("{one} and {other} cannot both come from standard input")))
            }
            _ => Ok(()),
        }
    }

    /// Makes the vault, sealed with `cipher` if one is told.
    pub(crate) fn create(
        &self,
        purpose: &str,
        cipher: Option<Cipher>,
        costs: &Costs,
    ) -> Result<Vault, Failure> {
        self.expect_no_recovery_options()?;
        expect_password_for(costs, &self.origin)?;
        let options = self.options(&self.source(Question::New), purpose)?;
        let options = options.password_costs(costs.costs());
        let options = match cipher {
            Some(cipher) => options.cipher(cipher),
            None => options,
        };
        Ok(options.create(self.path)?)
    }

    /// Opens the vault, telling those who wait for it `purpose`, and tells what was recovered.
    pub(crate) fn open(&self, purpose: &str) -> Result<Vault, Failure> {
        Ok(self.open_with(purpose, PasswordCosts::default())?.vault)
    }

    /// The same, for changes of its keys: passwords that are set cost `costs`.
    pub(crate) fn open_with(&self, purpose: &str, costs: PasswordCosts) -> Result<Opened, Failure> {
        let source = self.source(Question::Old);
        let opening = &self.global.opening;
        let vault = self
            .options(&source, purpose)?
            .password_costs(costs)
            .take_over(opening.take_over)
            .adopt_older_state(opening.adopt)
            .restore_key_set(opening.restore_key_set)
            .open(self.path)?;
        recovery::tell(self.notes(), vault.recovery());
        Ok(Opened { vault, source })
    }

    fn source(&self, question: Question) -> Source {
        Source::new(self.origin.clone(), question, self.path, self.notes())
    }

    /// What the vault whose state is lost is looked at with.
    pub(crate) fn without_state(&self) -> Result<VaultOptions, Failure> {
        self.expect_no_recovery_options()?;
        self.options(&self.source(Question::Old), "check")
    }

    /// The store that the content lies on, if it is not in the vault's folder.
    fn backend(&self) -> Result<Option<Arc<dyn Backend>>, Failure> {
        let told = self.global.opening.backend.clone();
        let url = told.or_else(|| std::env::var(BACKEND_VARIABLE).ok());
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            if self.global.opening.take_over {
                return Err(usage("--take-over is for content on a store, which --backend names"));
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

    /// A bar over the objects of the share space; what it hears tells how many they are.
    pub(crate) fn objects_bar(&self) -> ProgressBar {
        self.counting_bar("{bar:40} {pos}/{len} objects")
    }

    /// A bar over the operations, which hears how many they are.
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

    /// A bar over so many bytes on their way to standard output.
    pub(crate) fn output_bar(&self, bytes: u64) -> ProgressBar {
        if io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        self.bytes_bar(Some(bytes))
    }

    /// A bar over so many bytes, or a spinner if it is not known how many they are.
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

/// Moves `bar`, as the engine reports.
pub(crate) fn moving(bar: &ProgressBar) -> impl Fn(u64, Option<u64>) + use<'_> {
    |done, total| {
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    }
}

/// Options that do not go together.
pub(crate) fn usage(detail: impl Into<String>) -> Failure {
    Error::new(ErrorKind::Invalid, "read options").with_detail(detail).into()
}

/// `Invalid` if costs are told for a secret that is no password.
pub(crate) fn expect_password_for(costs: &Costs, origin: &Origin) -> Result<(), Failure> {
    if costs.are_told() && matches!(origin, Origin::KeyFile(_)) {
        return Err(usage("--memory-mib, --passes and --lanes are for passwords, not key files"));
    }
    Ok(())
}
