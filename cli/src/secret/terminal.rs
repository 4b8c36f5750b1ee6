//! Password prompts on the terminal, without echo.
//!
//! The prompt uses the controlling terminal, because standard input and output may be pipes. While
//! a password is typed, the terminal sends no signals: Ctrl-C arrives as a character and ends the
//! line. So the terminal is never left without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use strongroom::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Longest line that a terminal passes on, in bytes.
const LINE_BYTES_MAX: usize = 4096;

const READ: &str = "read password";

/// The terminal with echo off, until this is dropped.
///
/// Input typed ahead between two questions is kept, so that both answers can be pasted at once.
pub(super) struct Terminal {
    device: File,
    before: Termios,
    interrupt: u8,
}

impl Terminal {
    /// Opens the controlling terminal of the process, if it has one.
    pub(super) fn open() -> Result<Option<Self>> {
        let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
            return Ok(None);
        };
        let failed = |e: rustix::io::Errno| Error::io("silence terminal", e.into());
        let before = tcgetattr(&device).map_err(failed)?;
        let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
        let mut silent = before.clone();
        silent.input_modes |= InputModes::ICRNL;
        silent.local_modes |= LocalModes::ICANON | LocalModes::ECHONL;
        silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        tcsetattr(&device, OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Some(Self { device, before, interrupt }))
    }

    /// Reads one line, without its end. `Cancelled` for Ctrl-C and for the end of input.
    pub(super) fn ask(&mut self, question: &str) -> Result<Zeroizing<String>> {
        let failed = |e| Error::io(READ, e);
        self.device.write_all(question.as_bytes()).map_err(failed)?;
        let mut line = Zeroizing::new(vec![0; LINE_BYTES_MAX]);
        let len = loop {
            match self.device.read(&mut line) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(failed)?,
            }
        };
        let ends_with = |byte| len > 0 && line[len - 1] == byte;
        if self.interrupt != 0 && ends_with(self.interrupt) || len == 0 {
            let _ = self.device.write_all(b"\n");
            return Err(Error::new(ErrorKind::Cancelled, READ).with_detail("no password was typed"));
        }
        typed(&line[..len - usize::from(ends_with(b'\n'))])
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.device, OptionalActions::Drain, &self.before);
    }
}

/// Returns a line as text.
///
/// Keys such as Ctrl-Z and the arrows have no effect here. They would enter the password unseen, so
/// they are refused.
fn typed(line: &[u8]) -> Result<Zeroizing<String>> {
    let refuse = |detail: &str| Err(Error::new(ErrorKind::Invalid, READ).with_detail(detail));
    match std::str::from_utf8(line) {
        Err(_) => refuse("the typed text is not UTF-8"),
        Ok(line) if line.contains(|c: char| c.is_control() && c != '\t') => {
            refuse("the typed text has control characters, perhaps from Ctrl or arrow keys")
        }
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
    }
}
