//! Parsers for sizes and times on the command line.

use std::time::Duration;

/// Length of a day in seconds.
pub(super) const DAY_SECS: u64 = 24 * 60 * 60;

/// A time in the past, absolute or relative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Absolute time in milliseconds since the Unix epoch.
    At(u64),
    /// Age: this long before now.
    Ago(Duration),
}

impl When {
    /// Returns the time in milliseconds since the Unix epoch.
    pub(crate) fn unix_millis(self, now_unix_millis: u64) -> u64 {
        match self {
            Self::At(unix_millis) => unix_millis,
            Self::Ago(ago) => {
                let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                now_unix_millis.saturating_sub(millis)
            }
        }
    }
}

/// Parses a number of bytes, with an optional suffix.
///
/// The suffixes K, M, G and T mean KiB, MiB, GiB and TiB.
pub(super) fn bytes(typed: &str) -> Result<u64, String> {
    let units = [(['K', 'k'], 10), (['M', 'm'], 20), (['G', 'g'], 30), (['T', 't'], 40)];
    let parted =
        units.iter().find_map(|&(unit, bits)| Some((typed.strip_suffix(unit)?, 1_u64 << bits)));
    let (digits, unit) = parted.unwrap_or((typed, 1));
    if !is_number(digits) {
        return Err("not a size such as 65536, 64K or 4M".into());
    }
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "the number is too large".into())
}

/// Parses one part of several, such as 1/7.
pub(super) fn part(typed: &str) -> Result<(u32, u32), String> {
    let parted = typed.split_once('/').filter(|(part, of)| is_number(part) && is_number(of));
    parted
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)))
        .filter(|&(part, of): &(u32, u32)| (1..=of).contains(&part))
        .ok_or_else(|| "not a part such as 1/7".into())
}

/// Parses a whole number of days, hours, minutes or seconds.
pub(super) fn duration(typed: &str) -> Result<Duration, String> {
    const WANTED: &str = "not a duration such as 30d, 12h, 90m or 45s";
    let units = [('d', DAY_SECS), ('h', 60 * 60), ('m', 60), ('s', 1)];
    let parted = units.iter().find_map(|&(unit, secs)| Some((typed.strip_suffix(unit)?, secs)));
    let (digits, secs) = parted.ok_or(WANTED)?;
    if !is_number(digits) {
        return Err(WANTED.into());
    }
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(secs));
    number.map(Duration::from_secs).ok_or_else(|| "the duration is too long".into())
}

/// Parses an RFC 3339 date or time, or an age like `7d ago`.
///
/// A date means its first moment in UTC.
pub(super) fn when(typed: &str) -> Result<When, String> {
    if let Some(ago) = typed.strip_suffix("ago") {
        return duration(ago.trim_end()).map(When::Ago);
    }
    rfc3339(typed).map(When::At).ok_or_else(|| {
        "not a time since 1970 such as 2026-11-22, 2026-11-22T04:21:44Z or '7d ago'".into()
    })
}

/// Returns whether the text has digits only. `parse` would also accept a sign.
fn is_number(typed: &str) -> bool {
    !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses RFC 3339 into milliseconds since the Unix epoch.
fn rfc3339(typed: &str) -> Option<u64> {
    let (date, time) = match typed.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (typed, None),
    };
    let [year, month, day] = parts(date, '-', [4, 2, 2])?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    let millis = time.map_or(Some(0), time_of_day)?;
    u64::try_from(days_since_epoch(year, month, day) * 86_400_000 + millis).ok()
}

/// Parses a time of day into milliseconds of UTC.
///
/// The form is `hh:mm:ss` with an optional fraction, and an offset from UTC.
fn time_of_day(typed: &str) -> Option<i64> {
    // This program prints times with ` UTC`.
    let of_utc = typed.strip_suffix(['Z', 'z']).or(typed.strip_suffix(" UTC"));
    let (clock, offset) = if let Some(clock) = of_utc {
        (clock, 0)
    } else {
        let at = typed.rfind(['+', '-'])?;
        let [hours, minutes] = parts(&typed[at + 1..], ':', [2, 2])?;
        let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
        (&typed[..at], if typed[at..].starts_with('-') { -minutes } else { minutes })
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hours, minutes, seconds] = parts(clock, ':', [2, 2, 2])?;
    if !is_number(fraction) {
        return None;
    }
    let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
    let millis: i64 = millis.parse().ok()?;
    let is_time = hours < 24 && minutes < 60 && seconds < 60;
    is_time.then_some((((hours * 60 + minutes - offset) * 60) + seconds) * 1_000 + millis)
}

/// Parses numbers of exactly these widths, separated by `between`.
fn parts<const N: usize>(typed: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = typed.split(between);
    for (into, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && is_number(part))?;
        *into = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Returns the day number of a date in the proleptic Gregorian calendar.
///
/// It counts in eras of 400 years that begin on 1 March. Source: Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms".
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_accepts_optional_unit() {
        let good = [("1024", 1_024), ("64K", 65_536), ("4m", 4 << 20), ("0", 0), ("2G", 2 << 30)];
        for (typed, expected) in good {
            assert_eq!(bytes(typed), Ok(expected), "{typed}");
        }
        let bad = ["", "K", "+1", "-1", "1 K", "1KiB", "1.5M", "16777216T", "99999999999999999999"];
        for bad in bad {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn duration_needs_a_unit() {
        let secs = |typed| duration(typed).map(|duration| duration.as_secs());
        let good = [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("45s", 45), ("0s", 0)];
        for (typed, expected) in good {
            assert_eq!(secs(typed), Ok(expected), "{typed}");
        }
        let bad = [
            "", "30", "0", "d", "-1d", "+1d", "1.5h", "1 d", "1D", "1M", "1w", "1d2h", "1µs", "١d",
        ];
        for bad in bad {
            assert!(secs(bad).unwrap_err().contains("as 30d"), "{bad}");
        }
        for long in ["18446744073709551616s", "213503982334602d", "99999999999999999999999d"] {
            assert_eq!(secs(long).unwrap_err(), "the duration is too long", "{long}");
        }
        assert_eq!(secs("213503982334601d"), Ok(213_503_982_334_601 * 86_400));
    }

    #[test]
    fn time_is_read_as_rfc_3339_and_as_printed() {
        let good = [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000),
            ("2025-12-31T23:59:59.999Z", 1_767_225_599_999),
            ("2025-12-31t23:59:59z", 1_767_225_599_000),
            ("2025-12-31 23:59:59 UTC", 1_767_225_599_000),
            ("2026-01-01T01:59:59.5+02:00", 1_767_225_599_500),
            ("2025-12-31T18:29:59.1234-05:30", 1_767_225_599_123),
        ];
        for (typed, expected) in good {
            assert_eq!(when(typed), Ok(When::At(expected)), "{typed}");
        }
        let bad = [
            "",
            "now",
            "1969-12-31",
            "2026-1-1",
            "2026-13-01",
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-01-00",
            "2026-01-01T",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00+24:00",
            "+2026-01-01",
            "٢٠٢٦-01-01",
        ];
        for bad in bad {
            assert!(when(bad).unwrap_err().contains("as 2026-11-22"), "{bad}");
        }
    }

    #[test]
    fn age_counts_back_from_now() {
        for typed in ["7d ago", "7dago", "168h ago"] {
            let when = when(typed).unwrap();
            assert_eq!(when.unix_millis(1_000_000_000), 1_000_000_000 - 604_800_000, "{typed}");
            assert_eq!(when.unix_millis(5), 0);
        }
        for bad in ["ago", "7 ago", "-7d ago", "yesterday ago"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
