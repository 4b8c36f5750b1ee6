//! Cycles between rooms: chains of imports that return to their start.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::arrows;
use crate::tree::Tree;

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns all cycles, each once, from its first room by name.
fn cycles(tree: &Tree) -> Vec<String> {
    let mut graph = Graph::new();
    for arrow in arrows(tree).0 {
        graph.entry(arrow.from.name).or_default().insert(arrow.to.name);
    }
    let mut found = Vec::new();
    for start in graph.keys() {
        follow(&graph, &mut vec![start], &mut found);
    }
    found
}

/// Extends `way` by rooms with names after its first room's.
fn follow<'g>(graph: &'g Graph, way: &mut Vec<&'g String>, found: &mut Vec<String>) {
    let (start, last) = (way[0], way[way.len() - 1]);
    for next in graph.get(last).into_iter().flatten() {
        if next == start {
            let names: Vec<_> = way.iter().map(|name| name.as_str()).collect();
            found.push(format!("{} -> {start}", names.join(" -> ")));
        } else if next > start && !way.contains(&next) {
            way.push(next);
            follow(graph, way, found);
            way.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{made_up, repository};

    #[test]
    fn rooms_of_the_repository_have_no_cycle() {
        let found = cycles(repository());
        println!("cycles between rooms: {}", found.len());
        assert!(found.is_empty(), "break each at its upward import: {found:#?}");
    }

    #[test]
    fn cycles_between_rooms_are_counted_once() {
        let tree = made_up(&[
            ("engine/store/src/state/mod.rs", "use crate::objects::A;"),
            ("engine/store/src/objects/mod.rs", "use crate::{state::B, refs::C};"),
            ("engine/store/src/refs/mod.rs", "use crate::state::B;"),
            ("engine/store/src/commit/mod.rs", "use crate::state::B;"),
        ]);
        let [objects, refs, state] =
            ["objects", "refs", "state"].map(|room| format!("strongroom_store::{room}"));
        let expected = [
            format!("{objects} -> {refs} -> {state} -> {objects}"),
            format!("{objects} -> {state} -> {objects}"),
        ];
        assert_eq!(cycles(&tree), expected);
    }
}
