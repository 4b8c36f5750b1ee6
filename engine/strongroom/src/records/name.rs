//! The rule for names that hosts give to namespaces, operations and lanes.

use strongroom_base::{Error, ErrorKind, Reason, Result};

/// Longest name of a namespace, an operation or a lane, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Returns `Invalid` for a name that breaks the rules.
///
/// It must have 1 to [`NAME_BYTES_MAX`] bytes and no control character.
pub(crate) fn check_name(operation: &'static str, what: &str, name: &str) -> Result<()> {
    let detail = if name.is_empty() {
        format!("{what} is empty")
    } else if name.len() > NAME_BYTES_MAX {
        format!("{what} has {} bytes, the limit is {NAME_BYTES_MAX}", name.len())
    } else if name.chars().any(char::is_control) {
        format!("{what} has a control character")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, operation)
        .with_reason(Reason::NameInvalid)
        .with_detail(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_reported_with_the_length() {
        let longest = "n".repeat(NAME_BYTES_MAX);
        for good in ["n", "naïve/name 1", &longest] {
            check_name("insert record", "namespace", good).unwrap();
        }
        let too_long = "n".repeat(NAME_BYTES_MAX + 1);
        for (bad, expected) in [("", "is empty"), ("a\0b", "control"), (&*too_long, "129 bytes")] {
            let error = check_name("insert record", "namespace", bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
