//! The order of crates and rooms: each may import only lower ones.

use std::path::Path;

use crate::source::{crate_folder, modules};

/// Crates by library name and folder, from the lowest level up.
///
/// Crates of one level may not import each other.
const CRATES: [&[(&str, &str)]; 7] = [
    &[("strongroom_base", "engine/base")],
    &[("strongroom_format", "engine/format"), ("strongroom_sharing", "engine/sharing")],
    &[("strongroom_crypto", "engine/crypto"), ("strongroom_backends", "backends")],
    &[("strongroom_store", "engine/store")],
    &[("strongroom_content", "engine/content")],
    &[("strongroom", "engine/strongroom")],
    &[("strongroom_testkit", "engine/testkit"), ("strongroom_cli", "cli")],
];

/// Rooms of a crate, from the lowest level up.
///
/// Rooms of one level may not import each other.
const ROOMS: [(&str, &[&[&str]]); 3] = [
    ("strongroom_store", &[&["state", "objects", "refs"], &["commit"]]),
    ("strongroom_content", &[&["pipeline"], &["index", "survey"], &["store"]]),
    (
        "strongroom",
        &[&["records"], &["operations", "artifacts"], &["documents"], &["vault"], &["background"]],
    ),
];

/// Files outside of all rooms: crate roots, and access for the test kit.
const OUTSIDE: [&str; 4] = [
    "engine/content/src/lib.rs",
    "engine/store/src/lib.rs",
    "engine/strongroom/src/lib.rs",
    "engine/strongroom/src/testing.rs",
];

/// A room of a crate, or a whole crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Level among crates, and among the rooms of the crate.
    level: (usize, usize),
    /// Name of the library, and of the room after `::`.
    pub(crate) name: String,
}

impl Place {
    /// Returns the crate of the library `lib`.
    pub(crate) fn of_crate(lib: &str) -> Option<Self> {
        let level = CRATES.iter().position(|level| level.iter().any(|(name, _)| *name == lib))?;
        Some(Self { level: (level, 0), name: lib.to_owned() })
    }

    /// Returns the room `room` of the library `lib`.
    pub(crate) fn of_room(lib: &str, room: &str) -> Option<Self> {
        let (_, levels) = ROOMS.iter().find(|(name, _)| *name == lib)?;
        let inner = levels.iter().position(|rooms| rooms.contains(&room))?;
        let (level, _) = Self::of_crate(lib)?.level;
        Some(Self { level: (level, inner), name: format!("{lib}::{room}") })
    }

    /// Returns whether the order lets this place import `other`.
    pub(crate) fn may_import(&self, other: &Self) -> bool {
        self.name == other.name || other.level < self.level
    }
}

/// Returns the library whose crate is in `folder`.
pub(crate) fn lib_of(folder: &Path) -> Option<&'static str> {
    let all = CRATES.iter().flat_map(|level| level.iter());
    all.into_iter().find(|(_, path)| folder == Path::new(path)).map(|(lib, _)| *lib)
}

/// Returns the folder of the crate of the library `lib`.
pub(crate) fn folder_of(lib: &str) -> Option<&'static str> {
    let all = CRATES.iter().flat_map(|level| level.iter());
    all.into_iter().find(|(name, _)| *name == lib).map(|(_, folder)| *folder)
}

/// A source file in the order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The file is in a room, or in a crate without rooms.
    In(Place),
    /// The file is in no room, and may import its whole crate.
    Outside,
    /// The file is in no room or crate that the tables name.
    Unknown,
}

/// Returns the position of a source file.
pub(crate) fn position(path: &Path) -> Position {
    let Some(lib) = crate_folder(path).and_then(lib_of) else { return Position::Unknown };
    let place = if OUTSIDE.iter().any(|outside| path == Path::new(outside)) {
        return Position::Outside;
    } else if ROOMS.iter().any(|(name, _)| *name == lib) {
        modules(path).first().and_then(|room| Place::of_room(lib, room))
    } else {
        Place::of_crate(lib)
    };
    place.map_or(Position::Unknown, Position::In)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_places_alone_may_be_imported() {
        let room = |name| Place::of_room("strongroom", name).expect("a room");
        let base = Place::of_crate("strongroom_base").expect("a crate");
        assert!(room("vault").may_import(&room("records")));
        assert!(!room("records").may_import(&room("vault")));
        assert!(!room("operations").may_import(&room("artifacts")));
        assert!(room("records").may_import(&base));
        assert!(!base.may_import(&room("records")));
    }

    #[test]
    fn position_of_a_file_is_its_room() {
        let of = |path| position(Path::new(path));
        let objects = Place::of_room("strongroom_store", "objects").expect("a room");
        assert_eq!(of("engine/store/src/objects/pins.rs"), Position::In(objects));
        assert_eq!(of("engine/strongroom/src/testing.rs"), Position::Outside);
        assert_eq!(of("engine/strongroom/src/attic/mod.rs"), Position::Unknown);
        assert_eq!(of("engine/attic/src/lib.rs"), Position::Unknown);
    }
}
