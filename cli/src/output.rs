//! Standard output: text for people, one JSON document for programs.
//!
//! Only `records get` prints raw bytes. Elsewhere, bytes that are not text are escaped. A JSON
//! document is compact and on one line. Long lists are written as they are read, so an error can
//! leave a document incomplete; the exit code reports it.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use strongroom::operations::Failure as OperationFailure;
use zeroize::Zeroizing;

use crate::exit::Failure;

/// Buffered standard output. Call [`finish`](Self::finish), or the last bytes may be lost.
pub(crate) struct Output {
    to: BufWriter<Unbuffered>,
}

/// Standard output without the buffer of `Stdout`, which is never zeroised.
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

    /// Writes one line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.to, "{line}").map_err(Failure::of_output)
    }

    /// Writes text, or a piece of a document, unchanged.
    pub(crate) fn piece(&mut self, piece: impl fmt::Display) -> Result<(), Failure> {
        write!(self.to, "{piece}").map_err(Failure::of_output)
    }

    /// Writes bytes, unchanged.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(Failure::of_output)
    }

    /// Writes text as a JSON string.
    pub(crate) fn string(&mut self, text: &str) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.to, text).map_err(|e| Failure::of_output(e.into()))
    }

    /// Writes the rest of the buffer.
    ///
    /// Keys and documents may have passed through the buffer, so it is zeroised.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.to.flush().map_err(Failure::of_output);
        let (Unbuffered, buffer) = self.to.into_parts();
        drop(buffer.map(Zeroizing::new));
        flushed
    }
}

/// Prints one JSON document and nothing else.
pub(crate) fn print_json(document: &Json) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(document)?;
    output.finish()
}

/// Formats bytes as text. Prints non-UTF-8, control characters and backslashes as `\xNN`.
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

/// Formats bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Parses hex digits; `None` if the text has other characters.
pub(crate) fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| {
        let &[high, low] = pair else { return None };
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    });
    pairs.collect()
}

/// Returns a UTF-8 key as a JSON string, else as `{"hex": "…"}`.
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

/// Returns the failure of an operation as JSON.
pub(crate) fn failure_json(failure: &OperationFailure) -> Json {
    json!({ "unix_millis": failure.unix_millis, "error": failure.error })
}

/// Formats an age in its two largest units: `35d 4h`, `2m 5s`, `0s`.
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

/// Formats milliseconds since the Unix epoch as `2026-11-22 04:21:44 UTC`.
pub(crate) fn time(unix_millis: u64) -> String {
    let seconds = unix_millis / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Proleptic Gregorian calendar in eras of 400 years that begin on 1 March. Source: Howard
    // Hinnant, "chrono-Compatible Low-Level Date Algorithms".
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
    fn text_escapes_only_non_text() {
        assert_eq!(text("naïve key".as_bytes()), "naïve key");
        assert_eq!(text(b"a\xff\0\n\\"), r"a\xff\x00\x0a\x5c");
    }

    #[test]
    fn hex_round_trips_and_refuses_other_text() {
        assert_eq!(unhex(hex(b"\0\xffk").as_bytes()).unwrap(), b"\0\xffk");
        assert_eq!(unhex(b"0A").unwrap(), [10]);
        for bad in ["0", "0g", "+1", " 1"] {
            assert_eq!(unhex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn age_is_printed_in_two_largest_units() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 3_038_399];
        let expected = ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "35d 3h"];
        assert_eq!(ages.map(|secs| age(Duration::from_secs(secs))), expected);
    }

    #[test]
    fn time_follows_the_gregorian_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(1_767_225_599_999), "2025-12-31 23:59:59 UTC");
    }
}
