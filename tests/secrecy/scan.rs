//! Searches bytes for markers, at any alignment and in common encodings.

use std::collections::HashMap;

use crate::markers::Markers;

/// Number of bytes that the lookup of a form compares first.
const HEAD_BYTES: usize = 8;

/// All encoded forms of all markers, by their first bytes.
pub(crate) struct Scanner {
    by_head: HashMap<[u8; HEAD_BYTES], Vec<Form>>,
}

struct Form {
    /// Number of the marker, and name of the encoding.
    name: String,
    bytes: Vec<u8>,
}

impl Scanner {
    pub(crate) fn new(markers: &Markers) -> Self {
        let mut scanner = Self { by_head: HashMap::new() };
        for (n, marker) in markers.iter().enumerate() {
            for (form, bytes) in forms(marker.as_bytes()) {
                let head = *bytes.first_chunk().expect("forms are longer");
                let name = format!("marker {n}, {form}");
                scanner.by_head.entry(head).or_default().push(Form { name, bytes });
            }
        }
        scanner
    }

    /// Returns a description of the first marker in `bytes`.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<String> {
        let mut at = 0;
        while let Some(head) = bytes[at..].first_chunk::<HEAD_BYTES>() {
            // Skips zeros: most of a new state file is zeros, and no form begins with eight zeros.
            if *head == [0; HEAD_BYTES] {
                at += 1;
                continue;
            }
            for form in self.by_head.get(head).into_iter().flatten() {
                if bytes[at..].starts_with(&form.bytes) {
                    return Some(format!("{} at byte {at}", form.name));
                }
            }
            at += 1;
        }
        None
    }
}

/// Returns the encoded forms of a marker.
///
/// A form leaves out bits that share a digit with neighbouring bytes.
fn forms(marker: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let list = marker.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes();
    let mut forms = vec![
        ("raw", marker.to_vec()),
        ("reversed", marker.iter().rev().copied().collect()),
        ("hexadecimal", hex(marker)),
        ("upper hexadecimal", hex(marker).to_ascii_uppercase()),
        ("UTF-16", marker.iter().flat_map(|&byte| [byte, 0]).collect()),
        ("decimal numbers", list),
    ];
    for (alphabet, name) in [(&STANDARD, "base 64"), (&URL, "base 64 for URLs")] {
        for shift in 0..3 {
            forms.push((name, base64_within(marker, shift, alphabet)));
        }
    }
    forms
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digits = b"0123456789abcdef";
    let both = |&byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
    bytes.iter().flat_map(both).collect()
}

const STANDARD: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut digits = Vec::new();
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |n: usize| alphabet[(bits >> (18 - 6 * n) & 63) as usize];
        digits.extend((0..=group.len()).map(digit));
    }
    digits
}

/// Returns the base 64 digits that depend on `marker` only.
///
/// `shift` bytes of a group of three come before the marker.
fn base64_within(marker: &[u8], shift: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let mut text = vec![0; shift];
    text.extend_from_slice(marker);
    text.truncate(text.len() / 3 * 3);
    let digits = base64(&text, alphabet);
    digits[if shift == 0 { 0 } else { shift + 1 }..].to_vec()
}

#[test]
fn marker_is_found_in_every_form_and_alignment() {
    let markers = Markers::draw();
    let scanner = Scanner::new(&markers);
    for (n, marker) in markers.iter().enumerate() {
        for shift in 0..5 {
            let text = ["?".repeat(shift), marker.to_owned(), "after".into()].concat();
            let hex = hex(text.as_bytes());
            let numbers = format!("{:?}", text.as_bytes());
            let encoded = base64(text.as_bytes(), &STANDARD);
            for bytes in [text.as_bytes(), &hex, numbers.as_bytes(), &encoded] {
                let mut file = vec![0; 1_000 + shift];
                file.extend_from_slice(bytes);
                file.extend([0xff; 100]);
                let found = scanner.find(&file).unwrap_or_default();
                assert!(found.starts_with(&format!("marker {n}, ")), "{found:?}");
                file.truncate(1_000 + shift + 16);
                assert_eq!(scanner.find(&file), None, "half a marker does not match");
            }
        }
    }
}
