//! The name (spec, task and type) and the URI of artifacts.

use std::fmt;
use std::str::FromStr;

use strongroom_base::{Error, ErrorKind, Result};

use crate::records::check_name;

const SCHEME: &str = "strongroom:///artifact/";

/// The name of an artifact: a spec, one of its tasks, and a type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName {
    pub(super) spec: String,
    pub(super) task: String,
    pub(super) kind: String,
}

impl ArtifactName {
    /// Makes a name.
    ///
    /// `Invalid` unless each part has 1 to [`NAME_BYTES_MAX`](crate::records::NAME_BYTES_MAX) bytes
    /// and no control character.
    pub fn new(
        spec: impl Into<String>,
        task: impl Into<String>,
        kind: impl Into<String>,
    ) -> Result<Self> {
        const NAME: &str = "name artifact";
        let (spec, task, kind) = (spec.into(), task.into(), kind.into());
        check_name(NAME, "spec", &spec)?;
        check_name(NAME, "task", &task)?;
        check_name(NAME, "type", &kind)?;
        Ok(Self { spec, task, kind })
    }

    /// Returns the spec.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Returns the task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Returns the type: `diff`, `log`, `test`, or any other.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the URI of its newest version at the time of use.
    pub fn newest(&self) -> ArtifactUri {
        ArtifactUri { name: self.clone(), version: None }
    }

    /// Returns the URI of one of its versions.
    pub fn version(&self, version: u64) -> ArtifactUri {
        ArtifactUri { name: self.clone(), version: Some(version) }
    }
}

impl fmt::Debug for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.newest(), f)
    }
}

/// The URI of an artifact or of one of its versions.
///
/// The form is `strongroom:///artifact/<spec>/<task>/<type>`, and `@<version>`. In the parts
/// everything except ASCII letters, digits and `-._~` is percent-encoded (RFC 3986). Any
/// percent-encoding is accepted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactUri {
    pub(super) name: ArtifactName,
    pub(super) version: Option<u64>,
}

impl ArtifactUri {
    /// Makes the URI of a row.
    pub(crate) fn of([spec, task, kind]: [&str; 3], version: u64) -> Self {
        let name =
            ArtifactName { spec: spec.to_owned(), task: task.to_owned(), kind: kind.to_owned() };
        Self { name, version: Some(version) }
    }

    /// Returns the artifact's name.
    pub fn name(&self) -> &ArtifactName {
        &self.name
    }

    /// Returns the version's number; `None` for the newest.
    pub fn version(&self) -> Option<u64> {
        self.version
    }
}

impl fmt::Display for ArtifactUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArtifactName { spec, task, kind } = &self.name;
        write!(f, "{SCHEME}{}/{}/{}", Encoded(spec), Encoded(task), Encoded(kind))?;
        self.version.map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

impl fmt::Debug for ArtifactUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ArtifactUri {
    type Err = Error;

    /// Parses a URI; `Invalid` for other text.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |detail: &str| {
            Error::new(ErrorKind::Invalid, "parse URI").with_detail(detail.to_owned())
        };
        let path = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| invalid("the URI does not begin with strongroom:///artifact/"))?;
        let parts: Vec<&str> = path.split('/').collect();
        let [spec, task, last] = parts[..] else {
            return Err(invalid("the URI's path is not spec/task/type"));
        };
        let (kind, version) = match last.split_once('@') {
            None => (last, None),
            Some((kind, version)) => {
                let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
                let version = version.parse().ok().filter(|&version| is_number && version > 0);
                (
                    kind,
                    Some(version.ok_or_else(|| {
                        invalid("the URI's version is not a number of at least 1")
                    })?),
                )
            }
        };
        let decode =
            |part: &str| decode(part).ok_or_else(|| invalid("a part of the URI is badly encoded"));
        let name = ArtifactName::new(decode(spec)?, decode(task)?, decode(kind)?)?;
        Ok(Self { name, version })
    }
}

struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn printed_name_parses(
            spec in "\\PC{1,30}",
            task in "\\PC{1,30}",
            kind in "\\PC{1,30}",
            version in proptest::option::of(1..u64::MAX),
        ) {
            let name = ArtifactName::new(spec, task, kind).unwrap();
            let uri = ArtifactUri { name, version };
            let text = uri.to_string();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(text.parse::<ArtifactUri>().unwrap(), uri);
        }
    }

    #[test]
    fn other_text_is_invalid() {
        let kept = "strongroom:///artifact/s%20p/1.1/log@12".parse::<ArtifactUri>().unwrap();
        assert_eq!((kept.name().spec(), kept.version()), ("s p", Some(12)));
        for bad in [
            "",
            "strongroom:///artifact/",
            "strongroom:///artifact/s/t",
            "strongroom:///artifact/s/t/k/more",
            "strongroom:///artifact/s//k",
            "strongroom:///artifact/s/t/k@",
            "strongroom:///artifact/s/t/k@0",
            "strongroom:///artifact/s/t/k@+1",
            "strongroom:///artifact/s/t/k@1@2",
            "strongroom:///artifact/s/t/k@99999999999999999999",
            "strongroom:///artifact/s/t/%4",
            "strongroom:///artifact/s/t/%zz",
            "strongroom:///artifact/s/t/%ff",
            "strongroom:///artifact/s/t/%00",
            "https:///artifact/s/t/k",
        ] {
            let error = bad.parse::<ArtifactUri>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
