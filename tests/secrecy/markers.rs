//! The markers: random texts that a worker uses as the host's data.

use std::fmt;
use std::ops::Range;

use strongroom::SecretKey;
use strongroom::backends::component::{Entropy, OsEntropy};

/// Length of a marker, in bytes: the length of a raw key.
pub(crate) const MARKER_BYTES: usize = SecretKey::BYTES;

/// The use of a marker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    RecordKey,
    Value,
    StagedValue,
    Namespace,
    Operation,
    Lane,
    Checkpoint,
    Label,
    Password,
    RawKey,
    /// Data of refused calls only.
    Refused,
    /// The text of a document.
    Document,
    DocumentPassword,
}

impl Use {
    /// Returns the numbers of the markers for this use.
    pub(crate) fn range(self) -> Range<usize> {
        match self {
            Self::RecordKey => 0..8,
            Self::Value => 8..16,
            Self::StagedValue => 16..22,
            Self::Namespace => 22..28,
            Self::Operation => 28..32,
            Self::Lane => 32..38,
            Self::Checkpoint => 38..44,
            Self::Label => 44..48,
            Self::Password => 48..52,
            Self::RawKey => 52..56,
            Self::Refused => 56..64,
            Self::Document => 64..68,
            Self::DocumentPassword => 68..70,
        }
    }
}

/// Names that the host gives. Errors may contain them, files and log lines must not.
const NAMES: [Use; 3] = [Use::Namespace, Use::Operation, Use::Lane];

/// 70 markers of letters, digits and underscores.
pub(crate) struct Markers {
    all: Vec<String>,
}

impl Markers {
    /// Draws unique markers from the entropy of the operating system.
    pub(crate) fn draw() -> Self {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz__";
        let marker = |_| {
            let mut bytes = [0; MARKER_BYTES];
            OsEntropy.fill(&mut bytes).unwrap();
            bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte % 64)])).collect()
        };
        Self { all: (0..Use::DocumentPassword.range().end).map(marker).collect() }
    }

    /// Parses the output of [`Display`](fmt::Display).
    pub(crate) fn parse(text: &str) -> Self {
        Self { all: text.split(',').map(str::to_owned).collect() }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }

    /// Returns the markers for one use.
    pub(crate) fn of(&self, usage: Use) -> &[String] {
        &self.all[usage.range()]
    }

    /// Returns the markers that no error may contain: all except the names.
    pub(crate) fn secret(&self) -> impl Iterator<Item = &str> {
        let names = NAMES.map(Use::range);
        let is_name = move |n: &usize| names.iter().any(|range| range.contains(n));
        self.all.iter().enumerate().filter(move |(n, _)| !is_name(n)).map(|(_, m)| m.as_str())
    }

    pub(crate) fn raw_key(&self, n: usize) -> SecretKey {
        SecretKey::new(self.of(Use::RawKey)[n].as_bytes().try_into().unwrap())
    }
}

impl fmt::Display for Markers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all.join(","))
    }
}
