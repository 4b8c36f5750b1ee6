//! Crates, clock, randomness and threads are each named in one place.

use std::path::Path;

use crate::manifest::{dependencies, ships};
use crate::paths::{Named, paths};
use crate::source::sources;
use crate::tree::{Finding, Tree};

/// A name in source code.
enum Name {
    /// A crate: the first segment of a path.
    Crate(&'static str),
    /// Adjacent segments of a path; `*` may replace the last.
    Item(&'static [&'static str]),
}

/// Names, and the only place that may use them.
struct Home {
    names: &'static [Name],
    /// Files, and folders with a slash at their end.
    places: &'static [&'static str],
    /// One more allowed file, with the reason.
    allowed: Option<(&'static str, &'static str)>,
    advice: &'static str,
}

const HOMES: [Home; 6] = [
    Home {
        names: &[Name::Crate("redb")],
        places: &["engine/store/src/state/"],
        allowed: None,
        advice: "redb is named in engine/store/src/state/ alone: add what is needed there",
    },
    Home {
        names: &[Name::Crate("bincode")],
        places: &["engine/format/"],
        allowed: None,
        advice: "bincode is named in engine/format/ alone: encode there",
    },
    Home {
        names: &[Name::Crate("tokio")],
        places: &["backends/src/object_store/bridge.rs"],
        allowed: None,
        advice: "tokio is named in bridge.rs alone: call the bridge",
    },
    Home {
        names: &[
            Name::Item(&["SystemTime"]),
            Name::Item(&["Instant", "now"]),
            Name::Item(&["time", "*"]),
            Name::Item(&["thread", "sleep"]),
        ],
        places: &["engine/base/src/component/"],
        allowed: None,
        advice: "the clock is used in engine/base/src/component/ alone: ask the Clock",
    },
    Home {
        names: &[
            Name::Crate("getrandom"),
            Name::Crate("rand"),
            Name::Item(&["Uuid", "new_v4"]),
            Name::Item(&["Uuid", "now_v7"]),
        ],
        places: &["engine/base/src/component/"],
        allowed: None,
        advice: "randomness is drawn in engine/base/src/component/ alone: ask the Entropy",
    },
    Home {
        names: &[
            Name::Item(&["thread", "spawn"]),
            Name::Item(&["thread", "Builder"]),
            Name::Item(&["thread", "scope"]),
        ],
        places: &[
            "engine/base/src/pool.rs",
            "engine/base/src/pool/",
            "backends/src/object_store/bridge.rs",
        ],
        allowed: Some((
            "engine/testkit/src/conformance/race.rs",
            "a race needs all its threads at once, which a bounded pool does not promise",
        )),
        advice: "threads start only in engine/base/src/pool.rs and bridge.rs: run it on a Pool",
    },
];

/// Crates, and the manifests of shipping crates that may depend on them.
const DEPENDENCIES: [(&str, &[&str]); 5] = [
    ("redb", &["engine/store/Cargo.toml"]),
    ("bincode", &["engine/format/Cargo.toml"]),
    ("tokio", &["backends/Cargo.toml"]),
    ("getrandom", &["engine/base/Cargo.toml"]),
    ("rand", &[]),
];

impl Name {
    fn is_in(&self, path: &Named) -> bool {
        match self {
            Self::Crate(name) => path.segments.first().is_some_and(|first| first == name),
            Self::Item(item) => path.segments.windows(item.len()).any(|window| {
                let last = item.len() - 1;
                window[..last].iter().zip(*item).all(|(segment, name)| segment == name)
                    && (window[last] == item[last] || (last > 0 && window[last] == "*"))
            }),
        }
    }
}

impl Home {
    fn includes(&self, path: &Path) -> bool {
        self.places.iter().any(|place| {
            if place.ends_with('/') { path.starts_with(place) } else { path == Path::new(place) }
        })
    }

    fn allows(&self, path: &Path) -> bool {
        self.allowed.is_some_and(|(file, _)| path == Path::new(file))
    }
}

/// Returns names that are used outside of their place.
fn strays(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources(tree, "") {
        let paths = paths(&source.tokens);
        for home in &HOMES {
            if home.includes(source.path) || home.allows(source.path) {
                continue;
            }
            for path in &paths {
                if home.names.iter().any(|name| name.is_in(path)) {
                    findings.push(Finding::new(source.path, path.line, home.advice));
                }
            }
        }
    }
    findings
}

/// Returns the dependencies of crates that may not have them.
fn stray_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| ships(path)) {
        for dependency in dependencies(text) {
            let home = DEPENDENCIES.iter().find(|(name, _)| *name == dependency.name);
            if let Some((name, manifests)) = home
                && !manifests.iter().any(|manifest| path == Path::new(manifest))
            {
                let message = format!("{name} may be a dependency of {manifests:?} alone");
                findings.push(Finding::new(path, dependency.line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, planted, repository};

    const ROOM: &str = "engine/strongroom/src/vault/keys.rs";

    #[test]
    fn names_of_the_repository_are_at_home() {
        for (file, reason) in HOMES.iter().filter_map(|home| home.allowed) {
            println!("allowed: threads in {file}: {reason}");
            let is_used = repository().contains_key(Path::new(file));
            assert!(is_used, "{file} is gone: remove the entry in {}", file!());
        }
        assert_none(&strays(repository()));
    }

    #[test]
    fn dependencies_of_the_repository_are_at_home() {
        assert_none(&stray_dependencies(repository()));
    }

    #[test]
    fn crate_outside_its_place_is_reported() {
        for name in ["redb", "bincode", "tokio", "getrandom", "rand"] {
            let call = format!("fn f() {{ {name}::f(); }}");
            assert_one(&added(strays, &planted(ROOM, &call)), ROOM, "alone");
            let import = format!("use {{{name}, std::fmt}};");
            assert_one(&added(strays, &planted(ROOM, &import)), ROOM, "alone");
        }
        let path = "engine/store/src/objects/mod.rs";
        assert_one(&added(strays, &planted(path, "use redb::Database;")), path, "redb");
        let path = "backends/src/object_store/mod.rs";
        assert_one(&added(strays, &planted(path, "use tokio::time;")), path, "tokio");
    }

    #[test]
    fn clock_outside_its_place_is_reported() {
        for text in [
            "use std::time::{Duration as D, SystemTime};",
            "fn f() { std::time::Instant::now(); }",
            "use std::time::*;",
            "fn f() { thread::sleep(d); }",
        ] {
            assert_one(&added(strays, &planted(ROOM, text)), ROOM, "ask the Clock");
        }
    }

    #[test]
    fn thread_outside_its_place_is_reported() {
        for text in [
            "fn f() { std::thread::spawn(g); }",
            "use std::thread::{Builder};",
            "fn f() { thread::scope(g); }",
        ] {
            assert_one(&added(strays, &planted(ROOM, text)), ROOM, "on a Pool");
        }
    }

    #[test]
    fn names_in_comments_and_tests_are_not_reported() {
        let text = "// redb::x\n#[cfg(test)]\nmod more { fn f() { std::thread::spawn(g); } }";
        assert_none(&added(strays, &planted(ROOM, text)));
    }

    #[test]
    fn dependency_outside_its_crate_is_reported() {
        let path = "engine/content/Cargo.toml";
        for (name, _) in DEPENDENCIES {
            let text = format!("\n[dev-dependencies]\n{name}.workspace = true");
            assert_one(&added(stray_dependencies, &planted(path, &text)), path, name);
        }
    }
}
