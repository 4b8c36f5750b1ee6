//! Paths in an exported archive: host names, made safe to unpack on any system.
//!
//! A name becomes one file name on every common file system. Characters other than ASCII letters,
//! digits and `-._` are percent-encoded. So no name has a separator, a drive, or a character that
//! some system composes differently. Encoding also avoids `.`, `..`, Windows devices, and a dot at
//! the end. If a name has capitals, `~` and a mask of them follow it, so that two names which
//! differ only in case stay distinct without case sensitivity. No encoded name has a `~` otherwise.

use std::fmt::Write;

use super::name::ArtifactName;

/// Name of the list of versions, in the root of an archive.
pub(super) const LISTING: &str = "metadata.json";

/// Longest encoded name.
///
/// File systems allow 255 bytes. `~`, the mask, `@` and a version's number take at most 54.
const ENCODED_BYTES_MAX: usize = 200;

/// Length of the kept beginning of a longer name, before its hash.
const ENCODED_BYTES_KEPT: usize = 120;

/// Returns the path of a version in the spec's archive: `<task>/<type>@<version>`.
pub(super) fn archive_path(name: &ArtifactName, version: u64) -> String {
    format!("{}/{}@{version}", file_name(name.task()), file_name(name.kind()))
}

fn file_name(name: &str) -> String {
    let mut encoded = encode(name);
    if encoded.len() > ENCODED_BYTES_MAX {
        encoded.truncate(ENCODED_BYTES_KEPT);
        // 64 digits, which no mask has.
        return format!("{encoded}~{}", blake3::hash(name.as_bytes()).to_hex());
    }
    let letters = name.bytes().filter(u8::is_ascii_alphabetic);
    let capitals = letters.enumerate().filter(|(_, letter)| letter.is_ascii_uppercase());
    let mask = capitals.fold(0_u128, |mask, (at, _)| mask | 1 << at);
    if mask > 0 {
        write!(encoded, "~{mask:x}").expect("a string takes all");
    }
    encoded
}

fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let last = name.len() - 1;
    for (at, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if is_plain && !(byte == b'.' && at == last) && !(at == 0 && is_reserved(name)) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    encoded
}

/// Returns whether a name is reserved: ours, or a Windows device, with or without an extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let is_device = match stem.as_bytes() {
        b"con" | b"prn" | b"aux" | b"nul" => true,
        [b'c', b'o', b'm', digit] | [b'l', b'p', b't', digit] => digit.is_ascii_digit(),
        _ => false,
    };
    is_device || name.eq_ignore_ascii_case(LISTING)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    const LONGEST: usize = 255 - "@18446744073709551615".len();

    #[test]
    fn plain_name_is_kept_and_hostile_name_encoded() {
        for (name, expected) in [
            ("1.1_a-b", "1.1_a-b"),
            ("..", ".%2E"),
            (".", "%2E"),
            ("../etc", "..%2Fetc"),
            ("C:\\x", "C%3A%5Cx~1"),
            ("dot.", "dot%2E"),
            ("space ", "space%20"),
            ("con", "%63on"),
            ("Com7.txt", "%43om7.txt~1"),
            ("com77", "com77"),
            ("metadata.json", "%6Detadata.json"),
            ("~", "%7E"),
            ("TASK-1", "TASK-1~f"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(file_name(name), expected, "{name}");
        }
    }

    #[test]
    fn long_names_fit_and_differ() {
        let names = [
            "é".repeat(64),
            "é".repeat(63) + "è",
            "É".repeat(64),
            "A".repeat(128),
            "a".repeat(128),
        ];
        let paths: BTreeSet<_> =
            names.iter().map(|name| file_name(name).to_ascii_lowercase()).collect();
        assert_eq!(paths.len(), names.len());
        assert!(paths.iter().all(|path| path.len() <= LONGEST), "{paths:?}");
    }

    proptest! {
        #[test]
        fn names_map_to_distinct_file_names(
            names in proptest::collection::btree_set("[aAbBéÉ~%.@/ 126cdeCDE]{1,3}|\\PC{1,32}", 1..40),
        ) {
            let mut seen = HashMap::new();
            for name in &names {
                let file = file_name(name);
                prop_assert!(file.len() <= LONGEST);
                prop_assert!(file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._%~".contains(&b)));
                prop_assert!(!file.ends_with('.'));
                let other = seen.insert(file.to_ascii_lowercase(), name);
                prop_assert_eq!(other, None);
            }
        }
    }
}
