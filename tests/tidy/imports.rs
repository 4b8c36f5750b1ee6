//! No room and no crate imports a higher one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::lexer::tokens;
use crate::order::{Place, Position, folder_of, lib_of, position};
use crate::paths::{Named, paths};
use crate::source::{crate_folder, modules, sources};
use crate::tree::{Finding, Tree};

/// An upward import that is allowed, with its reason.
type Allowed = (&'static str, &'static str, &'static str);

/// Upward imports that are allowed: the importer, the imported, the reason.
///
/// At most 3.
const UPWARD: &[Allowed] = &[];
const _: () = assert!(UPWARD.len() <= 3, "mend the imports instead of allowing them");

/// An import of one place by another.
#[derive(Debug)]
pub(crate) struct Arrow {
    pub(crate) from: Place,
    pub(crate) to: Place,
    path: PathBuf,
    line: usize,
}

/// Returns imports across places, and files and imports that no table covers.
pub(crate) fn arrows(tree: &Tree) -> (Vec<Arrow>, Vec<Finding>) {
    let (mut arrows, mut findings) = (Vec::new(), Vec::new());
    let exports = exports(tree);
    for source in sources(tree, "") {
        let from = match position(source.path) {
            Position::In(place) => place,
            Position::Outside => continue,
            Position::Unknown => {
                let message = "in no known room: add the room to the tables in tests/tidy/order.rs";
                findings.push(Finding::new(source.path, 1, message));
                continue;
            }
        };
        for named in paths(&source.tokens) {
            match target(source.path, &named, &exports) {
                Target::Place(to) if to.name != from.name => {
                    let path = source.path.to_owned();
                    arrows.push(Arrow { from: from.clone(), to, path, line: named.line });
                }
                Target::All => findings.push(Finding::new(
                    source.path,
                    named.line,
                    "imports all names of the crate: name what is used",
                )),
                Target::Place(_) | Target::Foreign => {}
            }
        }
    }
    (arrows, findings)
}

/// Returns upward imports that are not in `allowed`, and its unused entries.
///
/// Files and imports that no table covers are findings as well.
fn upward(tree: &Tree, allowed: &[Allowed]) -> Vec<Finding> {
    let (arrows, mut findings) = arrows(tree);
    let upward: Vec<_> = arrows.iter().filter(|arrow| !arrow.from.may_import(&arrow.to)).collect();
    let covers =
        |(from, to, _): &Allowed, arrow: &Arrow| arrow.from.name == *from && arrow.to.name == *to;
    for arrow in &upward {
        if !allowed.iter().any(|entry| covers(entry, arrow)) {
            let message = format!(
                "{} imports {}, which is not below it: move the code down, or pass it in from above",
                arrow.from.name, arrow.to.name
            );
            findings.push(Finding::new(&arrow.path, arrow.line, message));
        }
    }
    for entry in allowed {
        if !upward.iter().any(|arrow| covers(entry, arrow)) {
            let message = format!("{} no longer imports {}: remove the entry", entry.0, entry.1);
            findings.push(Finding::new(Path::new(file!()), 1, message));
        }
    }
    findings
}

enum Target {
    Place(Place),
    /// Every name of the crate.
    All,
    /// A crate outside of the project, or one below all rooms.
    Foreign,
}

/// The names at the root of a crate, each with its room.
type Exports = BTreeMap<(&'static str, String), Place>;

fn exports(tree: &Tree) -> Exports {
    let mut exports = Exports::new();
    for (path, text) in tree {
        let Some(lib) = crate_folder(path).and_then(lib_of) else { continue };
        if folder_of(lib).is_none_or(|folder| *path != Path::new(folder).join("src/lib.rs")) {
            continue;
        }
        for named in paths(&tokens(text)) {
            let below = named.absolute(&[]).unwrap_or_else(|| named.segments.clone());
            if let [room, .., name] = below.as_slice()
                && let Some(place) = Place::of_room(lib, room)
            {
                let name = named.alias.as_ref().unwrap_or(name);
                exports.insert((lib, name.clone()), place);
            }
        }
    }
    exports
}

fn target(path: &Path, named: &Named, exports: &Exports) -> Target {
    let own = crate_folder(path).and_then(lib_of).expect("its position is known");
    let (lib, below) = if let Some(below) = named.absolute(&modules(path)) {
        (own, below)
    } else {
        let [lib, below @ ..] = named.segments.as_slice() else { return Target::Foreign };
        (lib.as_str(), below.to_vec())
    };
    let Some(whole) = Place::of_crate(lib) else { return Target::Foreign };
    let Some(name) = below.first() else {
        return if lib == own { Target::Foreign } else { Target::Place(whole) };
    };
    let known = exports.iter().find(|((of, export), _)| *of == lib && export == name);
    match Place::of_room(lib, name).or_else(|| known.map(|(_, place)| place.clone())) {
        Some(room) => Target::Place(room),
        None if lib != own => Target::Place(whole),
        None if name == "*" && named.segments.last().is_some_and(|last| last == "*") => Target::All,
        None => Target::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{added, assert_none, assert_one, made_up, planted, repository};

    fn check(tree: &Tree) -> Vec<Finding> {
        upward(tree, UPWARD)
    }

    #[test]
    fn imports_of_the_repository_run_downwards() {
        for (from, to, reason) in UPWARD {
            println!("allowed upward: {from} imports {to}: {reason}");
        }
        println!("upward imports that are allowed: {}", UPWARD.len());
        assert_none(&check(repository()));
    }

    #[test]
    fn import_of_a_higher_room_is_reported() {
        let path = "engine/strongroom/src/records/name.rs";
        let part = "strongroom::records imports strongroom::vault";
        assert_one(&added(check, &planted(path, "use crate::vault::Vault;")), path, part);
        assert_one(&added(check, &planted(path, "fn f(_: &crate::Vault) {}")), path, part);
        assert_one(&added(check, &planted(path, "use super::super::vault::Vault;")), path, part);
        assert_one(
            &added(check, &planted(path, "use crate::{Batch, VaultOptions as I};")),
            path,
            part,
        );
    }

    #[test]
    fn import_of_a_neighbour_is_reported() {
        let path = "engine/store/src/refs/mod.rs";
        assert_one(&added(check, &planted(path, "use crate::state::Table;")), path, "store::state");
    }

    #[test]
    fn import_of_a_higher_crate_is_reported() {
        let path = "engine/base/src/key.rs";
        let part = "strongroom_base imports strongroom_store::state";
        assert_one(
            &added(check, &planted(path, "use strongroom_store::state::Table;")),
            path,
            part,
        );
        assert_one(&added(check, &planted(path, "use strongroom;")), path, "imports strongroom,");
        let path = "cli/src/exit.rs";
        assert_one(
            &added(check, &planted(path, "use strongroom_testkit as kit;")),
            path,
            "testkit",
        );
    }

    #[test]
    fn comments_texts_and_tests_are_no_imports() {
        let tree = planted(
            "engine/strongroom/src/records/name.rs",
            "/// [`crate::vault`]\nconst S: &str = \"crate::vault\";\n\
             #[cfg(test)] mod more { use crate::vault::Vault; }",
        );
        assert_none(&added(check, &tree));
    }

    #[test]
    fn room_outside_the_tables_is_reported() {
        let path = "engine/strongroom/src/attic.rs";
        assert_one(&added(check, &planted(path, "//! Old things.")), path, "no known room");
    }

    #[test]
    fn import_of_all_names_is_reported() {
        let path = "engine/strongroom/src/vault/keys.rs";
        assert_one(&added(check, &planted(path, "use crate::*;")), path, "name what is used");
    }

    #[test]
    fn allowed_import_without_use_is_reported() {
        let tree = made_up(&[("engine/base/src/a.rs", "use strongroom_store::X;")]);
        let entry = ("strongroom_base", "strongroom_store", "an example");
        assert_none(&upward(&tree, &[entry]));
        assert_one(&upward(&made_up(&[]), &[entry]), file!(), "remove the entry");
    }
}
