//! What goes to standard output: text for people, one JSON document for programs.
//!
//! Bytes that are not text are never printed raw, except by `records get`. A JSON document is
//! compact and on one line; long lists are written as they are read, so a document that an error
//! cut short is incomplete, and the exit code tells.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use strongroom::operations::Failure as OperationFailure;
use zeroize::Zeroizing;

use crate::exit::Failure;

/// Standard output, buffered; [`finish`](Self::finish) it, or its last bytes may be lost.
pub(crate) struct Output {
    to: BufWriter<Unbuffered>,
}

/// Standard output without the buffer of `Stdout`, which nobody zeroises.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { to: BufWriter::with_capacity(64 << 10, Unbuffered) }
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.to, "{line}").map_err(Failure::of_output)
    }

    /// Text or a piece of a document, as it is.
    pub(crate) fn piece(&mut self, piece: impl fmt::Display) -> Result<(), Failure> {
        write!(self.to, "{piece}").map_err(Failure::of_output)
    }

    /// Bytes, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(Failure::of_output)
    }

    /// Text as a JSON string.
    pub(crate) fn string(&mut self, text: &str) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.to, text).map_err(|e| Failure::of_output(e.into()))
    }

    /// Writes what is left. Keys and documents may have passed through the buffer: it is zeroised.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.to.flush().map_err(Failure::of_output);
        let (Unbuffered, buffer) = self.to.into_parts();
        drop(buffer.map(Zeroizing::new));
        flushed
    }
}

/// One JSON document and nothing else.
pub(crate) fn print_json(document: &Json) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(document)?;
    output.finish()
}

/// Bytes as text: what is not UTF-8, control characters and the backslash as `\xNN`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The bytes of hex digits; `None` if they are not that.
pub(crate) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| {
        let &[high, low] = pair else { return None };
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    });
    pairs.collect()
}

/// A key: a string if it is UTF-8, else `{"hex": "…"}`.
pub(crate) fn key_json(key: &[u8]) -> Json {
    match std::str::from_utf8(key) {
        Ok(key) => Json::from(key),
        Err(_) => json!({ "hex": hex(key) }),
    }
}

/// Adds bytes to an object: as `name` if they are UTF-8, else in hex as `name_hex`.
pub(crate) fn add_bytes(object: &mut Map<String, Json>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), Json::from(text)),
        Err(_) => object.insert(format!("{name}_hex"), Json::from(hex(bytes))),
    };
}

/// How an operation failed.
pub(crate) fn failure_json(failure: &OperationFailure) -> Json {
    json!({ "unix_millis": failure.unix_millis, "error": failure.error })
}

/// How long ago, in the two largest units that tell: `35d 4h`, `2m 5s`, `0s`.
pub(crate) fn age(age: Duration) -> String {
    let secs = age.as_secs();
    let (days, hours, mins) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, mins) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{mins}m {}s", secs % 60),
        (0, _, _) => format!("{hours}h {mins}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Milliseconds since the Unix epoch as `2026-11-22 04:21:44 UTC`.
pub(crate) fn time(unix_millis: u64) -> String {
    let seconds = unix_millis / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The proleptic Gregorian calendar in eras of 400 years that begin on a 1 March
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_what_is_not_text_and_only_that() {
        assert_eq!(text("naïve key".as_bytes()), "naïve key");
        assert_eq!(text(b"a\xff\0\n\\"), r"a\xff\x00\x0a\x5c");
    }

    #[test]
    fn hex_goes_both_ways_and_refuses_the_rest() {
        assert_eq!(unhex(hex(b"\0\xffk").as_bytes()).unwrap(), b"\0\xffk");
        assert_eq!(unhex(b"0A").unwrap(), [10]);
        for bad in ["0", "0g", "+1", " 1"] {
            assert_eq!(unhex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_age_is_told_in_the_units_that_matter() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 3_038_399];
        let expected = ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "35d 3h"];
        assert_eq!(ages.map(|secs| age(Duration::from_secs(secs))), expected);
    }

    #[test]
    fn times_are_of_the_gregorian_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(1_767_225_599_999), "2025-12-31 23:59:59 UTC");
    }
}
